//! Rows → one immutable file → hits. INTERFACE DRAFT: bodies follow.
#![allow(dead_code, unused_variables, reason = "draft")]

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use roaring::RoaringBitmap;

use crate::document::{Attributes, EmbeddedDocument};
use crate::error::Result;
use crate::filter::Filter;
use crate::vector::{Metric, Vector};
use std::sync::Arc;

/// What all rows of a segment share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSpec {
    /// The encoder's fingerprint; empty for user-supplied vectors.
    pub fingerprint: String,
    pub dimension: usize,
    pub metric: Metric,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct BuildOptions {
    /// Segments with fewer rows get no graph.
    pub graph_from_rows: usize,
    pub seed: u64,
}

/// Writes one segment. Rows stand in the order of `documents`, each document's passages together.
pub(crate) fn build(
    spec: &SegmentSpec,
    documents: &[Arc<EmbeddedDocument>],
    options: &BuildOptions,
    out: &mut dyn Write,
) -> Result<()> {
    todo!()
}

/// Which rows a search may return.
#[derive(Clone, Copy)]
pub(crate) enum Selection<'a> {
    All,
    Except(&'a RoaringBitmap),
    Only(&'a RoaringBitmap),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowHit {
    pub row: u32,
    /// Exact, from the f32 rows.
    pub score: f32,
}

/// A segment open for reading; immutable; shared by threads.
pub(crate) struct Segment {}

impl Segment {
    /// Maps the file and validates header, footer, small sections and every neighbour id.
    pub fn open(path: &Path) -> Result<Self> {
        todo!()
    }
    /// The same over bytes in memory, for rows not yet sealed. `name` stands for the path in errors.
    pub fn from_bytes(bytes: Vec<u8>, name: &Path) -> Result<Self> {
        todo!()
    }
    /// Verifies the checksum of every block.
    pub fn verify(&self) -> Result<()> {
        todo!()
    }
    pub fn spec(&self) -> &SegmentSpec {
        todo!()
    }
    pub fn rows(&self) -> u32 {
        todo!()
    }
    pub fn documents(&self) -> u32 {
        todo!()
    }
    pub fn bytes(&self) -> u64 {
        todo!()
    }
    pub fn has_graph(&self) -> bool {
        todo!()
    }
    /// The ordinal of the document with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        todo!()
    }
    pub fn document_id(&self, document: u32) -> &str {
        todo!()
    }
    pub fn content_hash(&self, document: u32) -> u128 {
        todo!()
    }
    pub fn rows_of(&self, document: u32) -> Range<u32> {
        todo!()
    }
    pub fn document_of(&self, row: u32) -> u32 {
        todo!()
    }
    /// Bytes of the document's text.
    pub fn range(&self, row: u32) -> Range<usize> {
        todo!()
    }
    /// [dimension] f32.
    pub fn vector(&self, row: u32) -> &[f32] {
        todo!()
    }
    pub fn text(&self, document: u32) -> Result<String> {
        todo!()
    }
    pub fn attributes(&self, document: u32) -> Result<Attributes> {
        todo!()
    }
    pub fn passage_text(&self, row: u32) -> Result<String> {
        todo!()
    }
    /// All rows whose document matches.
    pub fn matching(&self, filter: &Filter) -> Result<RoaringBitmap> {
        todo!()
    }
    /// The best rows, best first; ties by row. Fewer than `k` only if fewer are selected.
    pub fn search(&self, query: &[f32], k: usize, selection: Selection<'_>) -> Result<Vec<RowHit>> {
        todo!()
    }
}

/// Tombstones: the rows of a segment that are deleted. `segments/<ulid>.<gen>.del`.
pub(crate) mod tombstones {
    use super::*;
    pub(crate) fn write(
        rows: &RoaringBitmap,
        segment_rows: u32,
        out: &mut dyn Write,
    ) -> Result<()> {
        todo!()
    }
    pub(crate) fn read(path: &Path, segment_rows: u32) -> Result<RoaringBitmap> {
        todo!()
    }
}
