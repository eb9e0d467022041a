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
use super::builder::WIDTH;
use super::quantise::stride;
use super::source::{MAX_ROWS, Source, Stop};
use super::{BuildOptions, Segment, SegmentSpec};
use crate::document::Attributes;
use crate::error::{Error, Result};

/// What `hnsw_rs` takes for a row while it builds.
const BUILDER_BYTES: u64 = 2_560;
/// A row's number, its document's, its place in the sources, and the text index's columns, about.
const TABLE_BYTES: u64 = 128;

/// About how many bytes of memory building a segment of so many rows takes, its sources and its file not counted.
pub(crate) fn bytes_to_build(rows: u64, dimension: usize, options: &BuildOptions) -> u64 {
    let graph = if rows < options.graph_from_rows as u64 {
        0
    } else {
        4 * WIDTH as u64 + BUILDER_BYTES
    };
    rows * (stride(dimension) as u64 + graph + TABLE_BYTES)
}

/// Segments that are to become one.
pub(crate) struct Merge {
    sources: Vec<Arc<Segment>>,
    /// Source and ordinal of each document that is kept, by source and then by ordinal.
    documents: Vec<(u32, u32)>,
    /// Row of each document's first passage, and the number of rows at the end.
    first_rows: Vec<u32>,
    /// Source and row of each row.
    rows: Vec<(u32, u32)>,
}

impl Merge {
    /// Merges segments less their dead rows, in the order in which they are given.
    ///
    /// # Errors
    /// [`Error::Document`] if there are too many rows for one segment.
    pub fn new(sources: Vec<(Arc<Segment>, Arc<RoaringBitmap>)>) -> Result<Self> {
        let (mut documents, mut first_rows, mut rows) = (Vec::new(), vec![0], Vec::new());
        for ((segment, dead), source) in sources.iter().zip(0..) {
            for document in 0..segment.documents() {
                let range = segment.rows_of(document);
                if dead.contains(range.start) {
                    continue;
                }
                if rows.len() + range.len() > MAX_ROWS {
                    return Err(Error::Document {
                        id: segment.document_id(document).to_owned(),
                        what: "its segment would hold more than 2,147,483,647 passages".into(),
                    });
                }
                documents.push((source, document));
                rows.extend(range.map(|row| (source, row)));
                first_rows.push(rows.len() as u32);
            }
        }
        Ok(Self {
            sources: sources.into_iter().map(|(segment, _)| segment).collect(),
            documents,
            first_rows,
            rows,
        })
    }

    /// The ordinal in the merged segment of a source's document; `None` if it is left out.
    pub fn document(&self, source: usize, document: u32) -> Option<u32> {
        let at = self
            .documents
            .binary_search(&(source as u32, document))
            .ok()?;
        Some(at as u32)
    }

    /// Documents that are kept.
    pub fn documents(&self) -> u32 {
        self.documents.len() as u32
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
        let (source, row) = self.rows[row as usize];
        (&self.sources[source as usize], row)
    }
}

impl Source for Merge {
    fn documents(&self) -> u32 {
        self.documents.len() as u32
    }

    fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    fn rows_of(&self, document: u32) -> Range<u32> {
        let at = document as usize;
        self.first_rows[at]..self.first_rows[at + 1]
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
}
