//! Rows → one immutable file → hits.
//!
//!   EmbeddedDocument → build.rs → file → `Segment::open` → filter → rows → search → `RowHit`
//!
//! In goes a batch of documents with the vectors of their passages; out comes one file that answers queries on its own and
//! is never written again. No file holds an absolute path or a number that another builder could give too. Nothing that
//! lies in a file makes this code panic: it is checked when the segment opens, or when it is read. The sections of `text/`
//! are read by `tantivy`, which believes what bears right checksums: damage is told before it reads them. On a file that was
//! forged, checksums included, it may panic, which is caught and told, or ask for more memory than there is.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what goes in and out; the open segment |
//! | `format.rs` | the file's frame: sections by kind, the header |
//! | `writer.rs` | sections → bytes with checksums |
//! | `sections.rs` | bytes → verified sections |
//! | `map.rs` | the file's bytes in memory (unsafe: mapping, casts) |
//! | `source.rs` | what a segment is built from |
//! | `build.rs` | documents → bytes |
//! | `merge.rs` | live documents of open segments → bytes |
//! | `documents.rs` | the tables of documents and rows |
//! | `ids.rs` | which ids a segment cannot hold |
//! | `quantise.rs` | f32 → int8, with a proven bound on the error |
//! | `int4.rs` | int8 → int4, which walks read |
//! | `kernel/` | dot products for each instruction set (unsafe: intrinsics) |
//! | `vectors.rs` | codes and rows as slices |
//! | `builder/` | codes → a raw graph |
//! | `graph.rs` | the frozen graph: repaired, written, validated |
//! | `findable.rs` | every row found by its own vector |
//! | `walked.rs` | what a segment has for walks, made and tried |
//! | `questions.rs` | stored rows that are asked, to find out how good walks are |
//! | `calibration.rs` | how far a walk has to go for a wanted recall |
//! | `inputs.rs` | what the encoder was given for each row |
//! | `slots.rs` | sets of slots; which rows are selected |
//! | `filters.rs` | the filters asked last |
//! | `search.rs` | walk or scan |
//! | `walk.rs` | the walk over the graph |
//! | `flat.rs` | the scan |
//! | `rerank.rs` | exact scores, best first |
//! | `text/` | stored text, attributes, fields (`tantivy`) |
//! | `deep.rs` | does what is stored agree with what it was made of? |
//! | `salvage.rs` | what a damaged file still tells |
//! | `tombstones.rs` | the file of deleted rows |
//! | `forged.rs` | for fuzz targets and tests: files with right checksums over any bytes |
//!
#![doc = include_str!("FORMAT.md")]

mod build;
mod builder;
mod calibration;
mod deep;
mod documents;
mod filters;
mod findable;
mod flat;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod forged;
mod format;
mod graph;
mod ids;
mod inputs;
mod int4;
mod kernel;
mod map;
mod merge;
mod quantise;
mod questions;
mod rerank;
mod salvage;
mod search;
mod sections;
mod slots;
mod source;
mod text;
pub(crate) mod tombstones;
mod vectors;
mod walk;
mod walked;
mod writer;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use crate::document::{Attributes, EmbeddedDocument, InputHash};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::scratch::Scratch;
use crate::vector::{MAX_DIMENSION, Metric};
pub(crate) use build::build;
pub(crate) use builder::Builder;
use calibration::Calibration;
use documents::Tables;
use filters::FilterCache;
use flat::Coded;
use format::Kind;
use graph::Graph;
use ids::IdFilter;
use inputs::Inputs;
use int4::Int4Codes;
use kernel::Kernel;
use map::{Map, as_i8, as_u32};
pub(crate) use merge::{Merge, build_bytes_a_row, rows_within};
use quantise::{Quantiser, Recoded, stride};
pub(crate) use salvage::named_documents;
use search::Walkable;
use sections::Sections;
pub(crate) use slots::{Selection, SlotSet};
pub(crate) use source::{Stop, check};
use text::TextIndex;
use vectors::{AnyCodes, Codes, Keys, Order, Rows, Space};

/// What all rows of a segment share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentSpec {
    /// The encoder's fingerprint; empty for user-supplied vectors.
    pub fingerprint: String,
    pub dimension: usize,
    pub metric: Metric,
}

/// How a segment is built.
#[derive(Clone, Debug)]
pub(crate) struct BuildOptions {
    /// Segments with fewer rows get no graph.
    pub graph_from_rows: usize,
    /// Who links the rows.
    pub builder: Builder,
    /// Shuffles the order in which rows enter the graph.
    pub seed: u64,
    /// Files for what waits for its turn while the segment is built; without them it waits in memory.
    pub scratch: Option<Scratch>,
}

/// A merged segment with fewer rows gets no graph.
///
/// Measured at 64 and at 384 components, ten hits aimed at 0.95: a walk takes 0.4 to 0.5 times as long as the scan of 2,000
/// rows, 0.2 to 0.3 times of 4,000, 0.14 to 0.19 times of 10,000. What speaks for more rows is the build, 0.5 to 0.7 ms a row
/// on two cores that others shared, and that a scan is exact.
pub(crate) const MERGED_GRAPH_FROM_ROWS: usize = 4_000;
/// Of documents just added: their segment is written while the caller and all other writers wait, so fewer get their graph
/// afterwards, by a merge.
const SEALED_GRAPH_FROM_ROWS: usize = 10_000;

impl Default for BuildOptions {
    /// For documents just added.
    fn default() -> Self {
        Self {
            graph_from_rows: SEALED_GRAPH_FROM_ROWS,
            builder: Builder::default(),
            seed: 0,
            scratch: None,
        }
    }
}

impl BuildOptions {
    /// For what is sealed already.
    pub fn for_merging() -> Self {
        Self {
            graph_from_rows: MERGED_GRAPH_FROM_ROWS,
            ..Self::default()
        }
    }
}

/// What a search is to find.
#[derive(Clone, Copy)]
pub(crate) struct Nearest<'a> {
    /// Shape `[dimension]`.
    pub vector: &'a [f32],
    /// At most so many rows.
    pub k: usize,
    pub effort: Effort,
    /// No row with a lower score is wanted: what other segments have found already, or what the caller asked for.
    pub least_score: f32,
}

/// How hard a search tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effort {
    /// Finds on average at least this part of the exact answer, in (0, 1).
    Recall(f32),
    /// Finds the exact answer.
    Exact,
}

/// A row found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RowHit {
    pub row: u32,
    /// Exact, from the f32 rows.
    pub score: f32,
}

/// Where a search reads the codes and the graph from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Residency {
    /// From the mapped file: the system keeps in memory what is used, and takes it back when others need the space.
    #[default]
    Mapped,
    /// From a copy in memory, in huge pages where the system has them, made at the first search. Faster where there are
    /// many rows; a passage takes about half as many bytes as it has components, and 132 more.
    Pinned,
}

/// A segment open for reading; immutable; shared by threads.
///
/// Rows and document ordinals given to its methods must be below [`rows`](Self::rows) and [`documents`](Self::documents);
/// everything that the segment itself returns is.
pub(crate) struct Segment {
    spec: SegmentSpec,
    sections: Arc<Sections>,
    residency: Residency,
    calibration: Calibration,
    /// What the int4 codes stand for, if there are any.
    int4: Option<Quantiser>,
    /// The order is as it was written, and makes sense;
    ordered: OnceLock<()>,
    /// so are the codes that a scan reads,
    scannable: OnceLock<()>,
    /// and the graph and the codes that a walk reads.
    walkable: OnceLock<()>,
    /// The product of each slot's code with itself, where the metric needs it: of the codes that a scan reads,
    squares: OnceLock<Vec<i32>>,
    /// and of those that a walk reads.
    walked_squares: OnceLock<Vec<i32>>,
    /// The slot of each row; empty where it is the row's own number.
    slots: OnceLock<Vec<u32>>,
    filters: FilterCache,
    quantiser: Quantiser,
    ids: IdFilter,
    text: TextIndex,
}

impl Segment {
    /// Maps the file and validates header, footer and small sections.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NewerFormat`], or [`Error::Damaged`] with the place.
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_map(Map::open(path)?, path)
    }

    /// Reads codes and graph from there.
    pub fn reside(self, residency: Residency) -> Self {
        Self { residency, ..self }
    }

    /// The same over bytes in memory, for rows not yet sealed. `name` stands for the path in errors.
    pub fn from_bytes(bytes: Vec<u8>, name: &Path) -> Result<Self> {
        Self::from_map(Map::copy(&bytes, name)?, name)
    }

    fn from_map(map: Map, path: &Path) -> Result<Self> {
        let sections = Arc::new(Sections::open(map, path)?);
        let header = sections.header();
        let (dimension, rows) = (header.dimension as usize, header.rows as usize);
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(sections.damaged(Kind::Header, 16, "the dimension is 0 or too large"));
        }
        let metric = build::metric_of(header.metric)
            .ok_or_else(|| sections.damaged(Kind::Header, 12, "the metric is unknown"))?;
        let fingerprint = str::from_utf8(sections.bytes(Kind::Fingerprint)).map(str::to_owned);
        let fingerprint =
            fingerprint.map_err(|_| sections.damaged(Kind::Fingerprint, 0, "it is not UTF-8"))?;
        sections.expect_length(Kind::Quantiser, Some(Quantiser::section_bytes(dimension)))?;
        sections.expect_length(Kind::Codes, rows.checked_mul(stride(dimension)))?;
        sections.expect_length(Kind::Vectors, rows.checked_mul(4 * dimension))?;
        let quantiser = Quantiser::read(sections.bytes(Kind::Quantiser))
            .ok_or_else(|| sections.damaged(Kind::Quantiser, 0, "it holds what no rows give"))?;
        let int4 = match sections.bytes(Kind::Int4Quantiser) {
            [] => None,
            bytes => Some(Recoded::read(bytes).ok_or_else(|| {
                sections.damaged(Kind::Int4Quantiser, 0, "it holds what no codes give")
            })?),
        };
        let [section_bytes, row_bytes] =
            int4.map_or([0; 2], |_| [int4::SECTION_BYTES, int4::stride(dimension)]);
        sections.expect_length(Kind::Int4Quantiser, Some(section_bytes))?;
        sections.expect_length(Kind::Int4Codes, rows.checked_mul(row_bytes))?;
        Tables::new(&sections).validate(&sections)?;
        Graph::check_lengths(&sections)?;
        Inputs::check_lengths(&sections)?;
        let calibration = Calibration::read(sections.bytes(Kind::Calibration), header.version)
            .ok_or_else(|| sections.damaged(Kind::Calibration, 0, "it was never measured"))?;
        let text = TextIndex::open(Arc::clone(&sections))?;
        Ok(Self {
            spec: SegmentSpec {
                fingerprint,
                dimension,
                metric,
            },
            sections,
            residency: Residency::Mapped,
            calibration,
            int4: int4.map(|recoded| recoded.quantiser(&quantiser)),
            ordered: OnceLock::new(),
            scannable: OnceLock::new(),
            walkable: OnceLock::new(),
            squares: OnceLock::new(),
            walked_squares: OnceLock::new(),
            slots: OnceLock::new(),
            filters: FilterCache::default(),
            quantiser,
            ids: IdFilter::default(),
            text,
        })
    }

    /// Verifies the checksum of every block, and that the graph makes sense.
    ///
    /// # Errors
    /// [`Error::Damaged`] at the first block that is not as it was written.
    pub fn verify(&self) -> Result<()> {
        Kind::ALL
            .iter()
            .try_for_each(|&kind| self.sections.verify(kind))?;
        self.make_scannable()?;
        self.make_walkable()
    }

    pub fn spec(&self) -> &SegmentSpec {
        &self.spec
    }

    pub fn rows(&self) -> u32 {
        self.sections.header().rows
    }

    pub fn documents(&self) -> u32 {
        self.sections.header().documents
    }

    /// Is it searched by a walk? Otherwise by a scan.
    pub fn has_graph(&self) -> bool {
        Graph::new(&self.sections).is_some()
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.sections.file_bytes()
    }

    /// The ordinal of the document with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        let tables = self.tables();
        let all = || (0..self.documents()).map(|document| tables.id(document));
        self.ids
            .may_hold(id, self.documents(), all)
            .then(|| tables.find(id))
            .flatten()
    }

    /// Asks for what tells a hit's document from memory;
    pub fn prefetch_row(&self, row: u32) {
        self.tables().prefetch_row(row);
    }

    /// once that is there, for the document's id.
    pub fn prefetch_id(&self, row: u32) {
        self.tables().prefetch_id(row);
    }

    pub fn document_id(&self, document: u32) -> &str {
        self.tables().id(document)
    }

    pub fn content_hash(&self, document: u32) -> u128 {
        self.tables().content_hash(document)
    }

    pub fn rows_of(&self, document: u32) -> Range<u32> {
        self.tables().rows_of(document)
    }

    pub fn document_of(&self, row: u32) -> u32 {
        self.tables().document_of(row)
    }

    /// Bytes of the document's text.
    pub fn range(&self, row: u32) -> Range<usize> {
        self.tables().range(row)
    }

    /// The document's whole text.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn text(&self, document: u32) -> Result<String> {
        self.rows_of(document).map(|row| self.piece(row)).collect()
    }

    /// What the document carries beside id and text.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn attributes(&self, document: u32) -> Result<Attributes> {
        self.text.attributes(self.rows_of(document).start)
    }

    /// An error at a document's entry.
    pub fn wrong_document(&self, document: u32, what: &str) -> Error {
        let at = document as usize * documents::ENTRY_BYTES;
        let what = format!("document {:?}: {what}", self.document_id(document));
        self.sections.damaged(Kind::Documents, at, &what)
    }

    /// The text of the row's passage. Reads no more of the document than the passage.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn passage_text(&self, row: u32) -> Result<String> {
        let tables = self.tables();
        let range = tables.range(row);
        // No capacity: the range is the file's word, and only the pieces say how long the text is.
        let mut text = String::new();
        for row in row..tables.rows_of(tables.document_of(row)).end {
            let piece = tables.piece(row);
            if piece.start >= range.end {
                break;
            }
            let stored = self.piece(row)?;
            let wanted = stored.get(..piece.end.min(range.end) - piece.start);
            text.push_str(wanted.ok_or_else(|| {
                self.sections
                    .damaged(Kind::RowRanges, 0, "a passage ends inside a character")
            })?);
        }
        Ok(text)
    }

    /// Where the rows are whose document matches. Kept for the next query with the same filter.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn matching(&self, filter: &Filter) -> Result<Arc<SlotSet>> {
        self.filters
            .get(filter, || self.slots_of(&self.matching_rows(filter)?))
    }

    fn matching_rows(&self, filter: &Filter) -> Result<RoaringBitmap> {
        self.text.matching(filter, self.tables())
    }

    /// Where these rows are. Numbers beyond the segment's rows mean nothing.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn slots_of(&self, rows: &RoaringBitmap) -> Result<SlotSet> {
        let slots = self.slots()?;
        let mut set = SlotSet::none(self.rows());
        for row in rows.iter().take_while(|&row| row < self.rows()) {
            set.insert(slot_of(slots, row));
        }
        Ok(set)
    }

    /// The best rows, best first; ties by row. Fewer than `k` only if fewer are selected and reach the least score.
    ///
    /// Exact when asked for, and where fewer than 16,384 rows are scanned, that is without a graph, for small selections, and
    /// for those that lie far from the query; otherwise as good as asked for.
    ///
    /// # Errors
    /// [`Error::Dimension`] if `query` is of another length than the rows; [`Error::Damaged`].
    pub fn search(&self, nearest: &Nearest<'_>, selection: Selection<'_>) -> Result<Vec<RowHit>> {
        self.check_dimension(nearest.vector)?;
        if let Some(walkable) = self.walkable()?
            && let Some(hits) = search::walk(self.space()?, walkable, nearest, selection)?
        {
            return Ok(hits);
        }
        let fine = self.scanned(nearest.vector)?;
        let slots = selection.slots(self.rows());
        let coarse = if flat::believes_keys(nearest.effort, slots.len()) {
            self.coarsely_scanned(nearest.vector)?
        } else {
            None
        };
        flat::scan(self.space()?, &fine, coarse.as_ref(), nearest, slots)
    }

    /// All selected rows with at least this score, best first; ties by row. Exact.
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn within(
        &self,
        vector: &[f32],
        least_score: f32,
        selection: Selection<'_>,
    ) -> Result<Vec<RowHit>> {
        self.check_dimension(vector)?;
        let coded = self.scanned(vector)?;
        let slots = selection.slots(self.rows());
        flat::within(self.space()?, &coded, vector, least_score, &slots)
    }

    /// The row's vector, finite, shape `[dimension]`.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn vector(&self, row: u32) -> Result<&[f32]> {
        let (slot, dimension) = (slot_of(self.slots()?, row), self.spec.dimension);
        let vector = Rows::new(&self.sections, dimension).at(slot)?;
        if vector.iter().all(|component| component.is_finite()) {
            return Ok(vector);
        }
        let at = slot as usize * dimension * 4;
        let what = "a vector holds what no vector can hold";
        Err(self.sections.damaged(Kind::Vectors, at, what))
    }

    /// The hash of what the encoder made the row's vector from, if that is known.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn input(&self, row: u32) -> Result<Option<InputHash>> {
        Inputs::new(&self.sections).hash(row)
    }

    /// The vector that the encoder made from this input, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn made_from(&self, input: InputHash) -> Result<Option<&[f32]>> {
        let row = Inputs::new(&self.sections).find(input)?;
        row.map(|row| self.vector(row)).transpose()
    }

    /// The slot of each row; empty where it is the row's own number.
    fn slots(&self) -> Result<&[u32]> {
        self.make_ordered()?;
        Ok(self.slots.get_or_init(|| self.order().slots()))
    }

    fn check_dimension(&self, query: &[f32]) -> Result<()> {
        let (expected, given) = (self.spec.dimension, query.len());
        if expected == given {
            Ok(())
        } else {
            Err(Error::Dimension { expected, given })
        }
    }

    /// The graph and the row of each of its nodes, verified; `None` if it has none.
    fn graph(&self) -> Result<Option<(Graph<'_>, Order<'_>)>> {
        self.make_walkable()?;
        Ok(Graph::new(&self.sections).map(|graph| (graph, self.order())))
    }

    fn piece(&self, row: u32) -> Result<String> {
        let stored = self.text.piece(row)?;
        let expected = self.tables().piece(row).len();
        if stored.len() == expected {
            Ok(stored)
        } else {
            Err(self
                .sections
                .damaged(Kind::TextStore, 0, "a row's text has another length"))
        }
    }

    fn tables(&self) -> Tables<'_> {
        Tables::new(&self.sections)
    }

    fn order(&self) -> Order<'_> {
        Order::new(as_u32(self.sections.bytes(Kind::Order)))
    }

    /// The order says which row is scored, and codes and graph say which are not, so all of what a search reads of them is
    /// verified before it.
    fn make_ordered(&self) -> Result<()> {
        once(&self.ordered, || {
            self.sections.verify_once(Kind::Order)?;
            match self.order().wrong(self.rows()) {
                None => Ok(()),
                Some(at) => {
                    let what = "it is no order of the rows";
                    Err(self.sections.damaged(Kind::Order, 4 * at, what))
                }
            }
        })
    }

    fn make_scannable(&self) -> Result<()> {
        once(&self.scannable, || {
            self.make_ordered()?;
            self.sections.verify_once(Kind::Codes)?;
            if self.residency == Residency::Pinned && Graph::new(&self.sections).is_none() {
                self.sections.pin(&[Kind::Codes])?;
            }
            Ok(())
        })
    }

    fn make_walkable(&self) -> Result<()> {
        once(&self.walkable, || {
            if Graph::new(&self.sections).is_none() {
                return Ok(());
            }
            self.make_ordered()?;
            let codes = self.walked_kind();
            for kind in [
                codes,
                Kind::Seeds,
                Kind::Orphans,
                Kind::Twins,
                Kind::Neighbours,
            ] {
                self.sections.verify_once(kind)?;
            }
            Graph::validate(&self.sections)?;
            if self.residency == Residency::Pinned {
                self.sections.pin(&[codes, Kind::Neighbours, Kind::Order])?;
            }
            Ok(())
        })
    }

    /// The codes that walks read.
    fn walked_kind(&self) -> Kind {
        match self.int4 {
            Some(_) => Kind::Int4Codes,
            None => Kind::Codes,
        }
    }

    /// What a walk reads, verified. `None` without a graph.
    fn walkable(&self) -> Result<Option<Walkable<'_>>> {
        self.make_walkable()?;
        let Some(graph) = Graph::new(&self.sections) else {
            return Ok(None);
        };
        let (bytes, dimension) = (self.sections.bytes(self.walked_kind()), self.spec.dimension);
        let (codes, quantiser) = match &self.int4 {
            Some(quantiser) => (AnyCodes::Int4(Int4Codes::new(bytes, dimension)), quantiser),
            None => (
                AnyCodes::Int8(Codes::new(as_i8(bytes), dimension)),
                &self.quantiser,
            ),
        };
        Ok(Some(Walkable {
            graph,
            keys: self.keys(codes, &self.walked_squares),
            quantiser,
            calibration: &self.calibration,
        }))
    }

    /// What a scan reads, verified, and the query to compare it with.
    fn scanned(&self, query: &[f32]) -> Result<Coded<'_>> {
        self.make_scannable()?;
        let bytes = as_i8(self.sections.bytes(Kind::Codes));
        let codes = AnyCodes::Int8(Codes::new(bytes, self.spec.dimension));
        let code = self.quantiser.query(query, self.spec.metric);
        Ok((self.keys(codes, &self.squares), code))
    }

    /// The same of int4 codes, if there are any.
    fn coarsely_scanned(&self, query: &[f32]) -> Result<Option<Coded<'_>>> {
        let walkable = self.walkable()?.filter(|_| self.int4.is_some());
        let coded = |walkable: Walkable<'_>| walkable.quantiser.query(query, self.spec.metric);
        Ok(walkable.map(|walkable| (walkable.keys, coded(walkable))))
    }

    fn keys<'a>(&'a self, codes: AnyCodes<'a>, squares: &'a OnceLock<Vec<i32>>) -> Keys<'a> {
        let (dimension, metric, kernel) = (self.spec.dimension, self.spec.metric, Kernel::best());
        let squares: &[i32] = match metric {
            Metric::Cosine | Metric::Dot => &[],
            Metric::L2 => squares.get_or_init(|| codes.squares(dimension, kernel)),
        };
        Keys {
            codes,
            kernel,
            squares,
        }
    }

    /// The rows themselves, and which of them stands in which slot, verified.
    fn space(&self) -> Result<Space<'_>> {
        self.make_ordered()?;
        Ok(Space {
            kernel: Kernel::best(),
            rows: Rows::new(&self.sections, self.spec.dimension),
            order: self.order(),
            metric: self.spec.metric,
        })
    }
}

/// Does what is done once; again if it failed. Another thread may do it too, to the same end: `work` only looks at bytes that
/// never change, and what it leaves for later (`pinned`, bits of verified blocks) is handed over as `sections.rs` tells.
/// Nobody waits for another, so a thread that takes up other work in the middle of it cannot be waited for by that work.
fn once(done: &OnceLock<()>, work: impl FnOnce() -> Result<()>) -> Result<()> {
    if done.get().is_none() {
        work()?;
        let _ = done.set(());
    }
    Ok(())
}

/// The row's slot, from those of all rows; of none where each row's is its own number.
fn slot_of(slots: &[u32], row: u32) -> u32 {
    slots.get(row as usize).copied().unwrap_or(row)
}
