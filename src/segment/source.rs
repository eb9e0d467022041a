//! What a segment is built from: documents in memory here, live documents of open segments in `merge.rs`.

use std::borrow::Cow;
use std::ops::Range;

use super::builder::Start;
use super::graph::Graph;
use super::{EmbeddedDocument, SegmentSpec};
use crate::document::{Attributes, InputHash, MAX_ID_BYTES};
use crate::error::{Error, Result};

/// Rows are numbered below this, as in tantivy.
pub(super) const MAX_ROWS: usize = i32::MAX as usize;

/// Asked between documents and between rows whether to stop.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Documents and their rows, numbered from 0 in the order in which they are to stand. The rows of a document stand together.
/// Whoever implements this has made sure that a segment can hold them.
pub(super) trait Source: Sync {
    fn numbering(&self) -> &Numbering;
    fn documents(&self) -> u32 {
        self.numbering().documents()
    }
    fn rows(&self) -> u32 {
        self.numbering().rows()
    }
    fn rows_of(&self, document: u32) -> Range<u32> {
        self.numbering().rows_of(document)
    }
    fn id(&self, document: u32) -> &str;
    fn content_hash(&self, document: u32) -> u128;
    fn text_bytes(&self, document: u32) -> usize;
    fn attributes(&self, document: u32) -> Result<Cow<'_, Attributes>>;
    /// The row's passage: bytes of its document's text.
    fn range(&self, row: u32) -> Range<usize>;
    /// The document's text from this passage's start to the next one's.
    fn piece(&self, row: u32) -> Result<Cow<'_, str>>;
    /// Shape `[dimension]`.
    fn vector(&self, row: u32) -> Result<&[f32]>;
    /// What the encoder made the vector from, if that is known.
    fn input(&self, row: u32) -> Result<Option<InputHash>>;
    /// A graph over a good part of the rows that is worth going on from.
    fn older_graph(&self) -> Result<Option<OlderGraph<'_>>> {
        Ok(None)
    }
}

/// Which rows each document has, and where each row comes from: two numbers, as the source means them.
pub(super) struct Numbering {
    /// Row of each document's first passage, and the number of rows at the end.
    first_rows: Vec<u32>,
    rows: Vec<(u32, u32)>,
}

impl Numbering {
    /// Without documents.
    pub fn new() -> Self {
        Self {
            first_rows: vec![0],
            rows: Vec::new(),
        }
    }

    /// Takes the next document, by its rows.
    ///
    /// # Errors
    /// [`Error::Document`], naming `id`, if there are too many rows for one segment.
    pub fn push(
        &mut self,
        id: &str,
        rows: impl ExactSizeIterator<Item = (u32, u32)>,
    ) -> Result<()> {
        if self.rows.len() + rows.len() > MAX_ROWS {
            return Err(Error::Document {
                id: id.to_owned(),
                what: "its segment would hold more than 2,147,483,647 passages".into(),
            });
        }
        self.rows.extend(rows);
        self.first_rows.push(self.rows.len() as u32);
        Ok(())
    }

    pub fn documents(&self) -> u32 {
        self.first_rows.len() as u32 - 1
    }

    pub fn rows(&self) -> u32 {
        self.rows.len() as u32
    }

    pub fn rows_of(&self, document: u32) -> Range<u32> {
        let at = document as usize;
        self.first_rows[at]..self.first_rows[at + 1]
    }

    /// Is it the first row of its document?
    pub fn is_first(&self, row: u32) -> bool {
        self.first_rows.binary_search(&row).is_ok()
    }

    /// Where each row comes from.
    pub fn origins(&self) -> &[(u32, u32)] {
        &self.rows
    }
}

/// The graph of a segment whose rows are among those of a source; see [`Start`].
pub(super) struct OlderGraph<'a> {
    pub graph: Graph<'a>,
    /// The source's row for each node of the graph; `NONE` for those that are left out.
    pub now: Vec<u32>,
}

impl OlderGraph<'_> {
    pub fn start(&self) -> Start<'_> {
        Start {
            neighbours: self.graph.lists(),
            seeds: self.graph.seeds,
            now: &self.now,
        }
    }
}

/// Documents in memory.
pub(super) struct InMemory<'a> {
    documents: &'a [&'a EmbeddedDocument],
    /// Each row comes from a document, and is one of its passages.
    numbering: Numbering,
}

impl<'a> InMemory<'a> {
    /// Checks the documents.
    ///
    /// # Errors
    /// [`Error::Document`] if one is not as [`EmbeddedDocument`] says; [`Error::Dimension`].
    pub fn new(spec: &SegmentSpec, documents: &'a [&'a EmbeddedDocument]) -> Result<Self> {
        let mut numbering = Numbering::new();
        for (document, at) in documents.iter().zip(0..) {
            check(document, spec.dimension)?;
            let passages = 0..document.passages.len() as u32;
            numbering.push(&document.id, passages.map(|nth| (at, nth)))?;
        }
        Ok(Self {
            documents,
            numbering,
        })
    }

    fn document(&self, document: u32) -> &'a EmbeddedDocument {
        self.documents[document as usize]
    }

    fn row(&self, row: u32) -> (&'a EmbeddedDocument, usize) {
        let (document, nth) = self.numbering.origins()[row as usize];
        (self.document(document), nth as usize)
    }
}

impl Source for InMemory<'_> {
    fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    fn id(&self, document: u32) -> &str {
        &self.document(document).id
    }

    fn content_hash(&self, document: u32) -> u128 {
        self.document(document).content_hash
    }

    fn text_bytes(&self, document: u32) -> usize {
        self.document(document).text.len()
    }

    fn attributes(&self, document: u32) -> Result<Cow<'_, Attributes>> {
        Ok(Cow::Borrowed(&self.document(document).attributes))
    }

    fn range(&self, row: u32) -> Range<usize> {
        let (document, nth) = self.row(row);
        document.passages[nth].range.clone()
    }

    fn piece(&self, row: u32) -> Result<Cow<'_, str>> {
        let (document, nth) = self.row(row);
        let end = document
            .passages
            .get(nth + 1)
            .map_or(document.text.len(), |next| next.range.start);
        Ok(Cow::Borrowed(
            &document.text[document.passages[nth].range.start..end],
        ))
    }

    fn vector(&self, row: u32) -> Result<&[f32]> {
        let (document, nth) = self.row(row);
        Ok(document.passages[nth].vector.as_slice())
    }

    fn input(&self, row: u32) -> Result<Option<InputHash>> {
        let (document, nth) = self.row(row);
        Ok(document.passages[nth].input)
    }
}

fn wrong<T>(document: &EmbeddedDocument, what: &str) -> Result<T> {
    Err(Error::Document {
        id: document.id.clone(),
        what: what.into(),
    })
}

/// Checks what a segment's tables promise of one document.
///
/// # Errors
/// [`Error::Document`], [`Error::Dimension`].
pub(crate) fn check(document: &EmbeddedDocument, dimension: usize) -> Result<()> {
    if document.id.len() > MAX_ID_BYTES {
        return wrong(document, "its id is too long");
    }
    if document.passages.is_empty() {
        return wrong(document, "it has no passage");
    }
    let mut previous = 0;
    for (nth, passage) in document.passages.iter().enumerate() {
        let range = &passage.range;
        if document.text.get(range.clone()).is_none() {
            return wrong(document, "a passage does not lie on the text's characters");
        }
        if range.start < previous || (nth == 0 && range.start != 0) {
            return wrong(
                document,
                "its passages do not start at 0 and go on in order",
            );
        }
        previous = range.start;
        let given = passage.vector.dimension();
        if given != dimension {
            return Err(Error::Dimension {
                expected: dimension,
                given,
            });
        }
    }
    Ok(())
}
