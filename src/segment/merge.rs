//! Live documents of open segments → the bytes of one segment.
//!
//! The rows of a document are dead together, so a dead row's document is left out whole. Texts and f32 rows pass from the
//! sources' maps to the new file one by one; everything read is verified on the way, so damage is told and never copied.

use std::borrow::Cow;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::build;
use super::builder::{NONE, WIDTH};
use super::quantise::stride;
use super::source::{MAX_ROWS, Numbering, OlderGraph, Source, Stop};
use super::{BuildOptions, Segment, SegmentSpec};
use crate::document::{Attributes, InputHash};
use crate::error::{Error, Result};

/// What building takes for a row: lists with room to grow, marks of the walks, and an older graph's new numbers.
const BUILDER_BYTES: u64 = 640;
/// An older graph is gone on from if so much of it is left, and it is so much of the new one. Adding to it costs in
/// proportion to what is added; but each time a part of its nodes dies, its walks get a little longer (`builder/mod.rs` has
/// the figures), and a graph made anew is as good as ever.
const ENOUGH_OF_A_GRAPH: f64 = 0.5;
/// A row's number, its document's, its place in the sources, its input's hash, and the text index's columns, about.
const TABLE_BYTES: u64 = 148;

/// About how much memory building a segment takes for each row, its sources and its file not counted.
pub(crate) fn build_bytes_a_row(dimension: usize) -> u64 {
    stride(dimension) as u64 + TABLE_BYTES + 4 * WIDTH as u64 + BUILDER_BYTES
}

/// How many rows a segment may have so that building it takes about so many bytes of memory, its sources and its file not
/// counted.
pub(crate) fn rows_within(bytes: u64, dimension: usize, options: &BuildOptions) -> u64 {
    let flat = stride(dimension) as u64 + TABLE_BYTES;
    let with_graph = bytes / build_bytes_a_row(dimension);
    let graph_from = options.graph_from_rows as u64;
    let rows = if with_graph >= graph_from {
        with_graph
    } else {
        // Too few for a graph, which costs most.
        (bytes / flat).min(graph_from.saturating_sub(1))
    };
    rows.min(MAX_ROWS as u64)
}

/// Segments that are to become one.
pub(crate) struct Merge {
    sources: Vec<Arc<Segment>>,
    /// Source and ordinal of each document that is kept, by source and then by ordinal.
    documents: Vec<(u32, u32)>,
    /// Each row comes from a source, and is one of its rows.
    numbering: Numbering,
    /// Are the sources damaged, so that what can be done without is not believed?
    salvages: bool,
}

impl Merge {
    /// Merges segments less their dead rows, in the order in which they are given.
    ///
    /// # Errors
    /// [`Error::Document`] if there are too many rows for one segment.
    pub fn new(sources: Vec<(Arc<Segment>, Arc<RoaringBitmap>)>) -> Result<Self> {
        let (mut documents, mut numbering) = (Vec::new(), Numbering::new());
        for ((segment, dead), source) in sources.iter().zip(0..) {
            for document in 0..segment.documents() {
                let range = segment.rows_of(document);
                if dead.contains(range.start) {
                    continue;
                }
                documents.push((source, document));
                let id = segment.document_id(document);
                numbering.push(id, range.map(|row| (source, row)))?;
            }
        }
        Ok(Self {
            sources: sources.into_iter().map(|(segment, _)| segment).collect(),
            documents,
            numbering,
            salvages: false,
        })
    }

    /// Of sources of which anything may be damaged: makes the graph anew, and forgets input hashes that cannot be read.
    pub fn salvaging(self) -> Self {
        Self {
            salvages: true,
            ..self
        }
    }

    /// Where a source's rows stand in the merged segment; those that are left out stand nowhere.
    pub fn moved(
        &self,
        source: usize,
        rows: impl IntoIterator<Item = u32>,
    ) -> impl Iterator<Item = u32> {
        let origins = self.numbering.origins();
        let place = move |row| origins.binary_search(&(source as u32, row)).ok();
        rows.into_iter().filter_map(place).map(|at| at as u32)
    }

    /// All rows of the merged segment that come from a source.
    pub fn rows_from(&self, source: usize) -> Range<u32> {
        let origins = self.numbering.origins();
        let first = |source| origins.partition_point(|row| row.0 < source) as u32;
        first(source as u32)..first(source as u32 + 1)
    }

    /// How many documents have their first row among these rows of the merged segment.
    pub fn count_documents(&self, rows: &RoaringBitmap) -> u32 {
        let is_first = |&row: &u32| self.numbering.is_first(row);
        rows.iter().filter(is_first).count() as u32
    }

    /// Rows that are kept.
    pub fn rows(&self) -> u32 {
        self.numbering.rows()
    }

    /// Writes the merged segment.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if `stop` said so; [`Error::Damaged`] if a source is not as it was written;
    /// [`Error::DuplicateId`] if two sources hold the same document; [`Error::Io`].
    pub fn write(
        &self,
        spec: &SegmentSpec,
        options: &BuildOptions,
        stop: Stop<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        build::write(spec, self, options, stop, out)
    }

    fn at_document(&self, document: u32) -> (&Segment, u32) {
        let (source, document) = self.documents[document as usize];
        (&self.sources[source as usize], document)
    }

    fn at_row(&self, row: u32) -> (&Segment, u32) {
        let (source, row) = self.numbering.origins()[row as usize];
        (&self.sources[source as usize], row)
    }
}

impl Source for Merge {
    fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    fn id(&self, document: u32) -> &str {
        let (segment, document) = self.at_document(document);
        segment.document_id(document)
    }

    fn content_hash(&self, document: u32) -> u128 {
        let (segment, document) = self.at_document(document);
        segment.content_hash(document)
    }

    fn text_bytes(&self, document: u32) -> usize {
        let (segment, document) = self.at_document(document);
        segment.tables().text_bytes(document)
    }

    fn attributes(&self, document: u32) -> Result<Cow<'_, Attributes>> {
        let (segment, document) = self.at_document(document);
        segment.attributes(document).map(Cow::Owned)
    }

    fn range(&self, row: u32) -> Range<usize> {
        let (segment, row) = self.at_row(row);
        segment.range(row)
    }

    fn piece(&self, row: u32) -> Result<Cow<'_, str>> {
        let (segment, row) = self.at_row(row);
        segment.piece(row).map(Cow::Owned)
    }

    fn vector(&self, row: u32) -> Result<&[f32]> {
        let (segment, row) = self.at_row(row);
        segment.vector(row)
    }

    fn input(&self, row: u32) -> Result<Option<InputHash>> {
        let (segment, row) = self.at_row(row);
        match segment.input(row) {
            Err(Error::Damaged { .. }) if self.salvages => Ok(None),
            input => input,
        }
    }

    /// That of the source with the most rows, if it gives enough of them.
    fn older_graph(&self) -> Result<Option<OlderGraph<'_>>> {
        let sources = 0..self.sources.len();
        if self.salvages {
            return Ok(None);
        }
        let Some(largest) = sources.max_by_key(|&source| self.rows_from(source).len()) else {
            return Ok(None);
        };
        let (segment, kept) = (&self.sources[largest], self.rows_from(largest).len());
        let Some((graph, order)) = segment.graph()? else {
            return Ok(None);
        };
        let enough = |of: u32| kept as f64 >= ENOUGH_OF_A_GRAPH * f64::from(of);
        if !enough(self.rows()) || !enough(segment.rows()) {
            return Ok(None);
        }
        let mut now: Vec<u32> = (0..segment.rows())
            .map(|slot| {
                self.moved(largest, [order.row(slot)])
                    .next()
                    .unwrap_or(NONE)
            })
            .collect();
        // A node that is gone lives on in a row that had its code.
        for &[node, twin] in graph.all_twins() {
            if now[node as usize] == NONE {
                now[node as usize] = now[twin as usize];
            }
        }
        Ok(Some(OlderGraph { graph, now }))
    }
}
