//! Asking: vector + filter → the best rows of each part → documents → hits.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::collection::Collection;
use super::embed::same_encoder;
use super::part::{Part, Snapshot};
use crate::document::Fields;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::segment::{Effort, Nearest, Segment, Selection, SlotSet};
use crate::vector::Vector;

const DEFAULT_LIMIT: usize = 10;

/// A filter, or text that parses to one.
pub trait IntoFilter {
    /// The filter.
    ///
    /// # Errors
    /// [`Error::Filter`] with the place where the text does not parse.
    fn into_filter(self) -> Result<Filter>;
}

impl IntoFilter for Filter {
    fn into_filter(self) -> Result<Filter> {
        Ok(self)
    }
}

impl IntoFilter for &str {
    fn into_filter(self) -> Result<Filter> {
        Filter::parse(self)
    }
}

impl IntoFilter for &String {
    fn into_filter(self) -> Result<Filter> {
        Filter::parse(self)
    }
}

/// A document found, with its best passage.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The document's id.
    pub id: String,
    /// Higher is nearer; the cosine, in [-1, 1].
    pub score: f32,
    /// The text of the document's best passage.
    pub passage: String,
    /// Where the passage lies, in bytes of the document's text.
    pub range: Range<usize>,
    /// The document's title.
    pub title: Option<String>,
    /// The document's fields.
    pub fields: Fields,
    /// Where the document came from.
    pub source: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Text(String),
    Vector(Vector),
}

/// A query being put together; [`Query::run`] runs it.
///
/// ```
/// # use vecdb::{CollectionOptions, Database, Document, Vector};
/// # let folder = tempfile::tempdir()?;
/// # let db = Database::open(folder.path().join("t.vecdb"))?;
/// # let notes = db.create_collection("notes", CollectionOptions::vectors(2))?;
/// # notes.add_vectors([(Document::new("a", "x").field("year", 2021), Vector::new(vec![1.0, 0.0])?)])?;
/// let hits = notes.query_vector(Vector::new(vec![1.0, 0.2])?).filter("year >= 2020").limit(5).min_score(0.3).run()?;
/// assert_eq!(hits[0].id, "a");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a query does nothing until it is run"]
pub struct Query {
    collection: Collection,
    ask: Ask,
    filter: Option<Result<Filter>>,
    limit: usize,
    offset: usize,
    min_score: Option<f32>,
}

impl Query {
    pub(super) fn new(collection: Collection, ask: Ask) -> Self {
        Self {
            collection,
            ask,
            filter: None,
            limit: DEFAULT_LIMIT,
            offset: 0,
            min_score: None,
        }
    }

    /// Only documents whose fields match; a second filter replaces the first. Text that does not parse is an error of
    /// [`Query::run`].
    pub fn filter(mut self, filter: impl IntoFilter) -> Self {
        self.filter = Some(filter.into_filter());
        self
    }

    /// At most so many hits; 10 if not said.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Leaves out so many of the best hits.
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Only hits with at least this score.
    pub fn min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// Runs it. Hits are best first, each document once. There are fewer than `limit` only if fewer documents match.
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Query`], [`Error::Dimension`], [`Error::EncoderMismatch`], the encoder's errors, or
    /// [`Error::Damaged`].
    pub fn run(mut self) -> Result<Vec<Hit>> {
        let filter = self.filter.take().transpose()?;
        if self.min_score.is_some_and(f32::is_nan) {
            return Err(Error::Query {
                what: "the minimum score is not a number".into(),
            });
        }
        let snapshot = self.collection.state.snapshot();
        let vector = match &self.ask {
            // Also on an empty collection: a query that cannot be run must not look like one without hits.
            Ask::Vector(vector) => vector.clone().to_unit()?,
            Ask::Text(text) if text.trim().is_empty() => {
                return Err(Error::Query {
                    what: "its text is empty".into(),
                });
            }
            Ask::Text(_) if snapshot.record.dimension.is_none() => return Ok(Vec::new()),
            Ask::Text(text) => self.embed(&snapshot, text)?,
        };
        match snapshot.record.dimension {
            None => return Ok(Vec::new()),
            Some(expected) if expected != vector.dimension() => {
                return Err(Error::Dimension {
                    expected,
                    given: vector.dimension(),
                });
            }
            Some(_) => {}
        }
        let wanted = self.offset.saturating_add(self.limit);
        let mut found = Search::new(&snapshot, filter.as_ref())?.best(vector.as_slice(), wanted)?;
        if let Some(least) = self.min_score {
            found.retain(|hit| hit.score >= least);
        }
        found
            .into_iter()
            .skip(self.offset)
            .take(self.limit)
            .map(|hit| hit.read())
            .collect()
    }

    fn embed(&self, snapshot: &Snapshot, text: &str) -> Result<Vector> {
        let record = &snapshot.record;
        let Some(stored) = &record.encoder else {
            let what = "it holds user-supplied vectors; ask with `query_vector`".into();
            return Err(Error::Collection {
                name: record.name.clone(),
                what,
            });
        };
        let encoder = &self.collection.inner.encoder;
        same_encoder(&record.name, stored, &encoder.record()?.0)?;
        encoder.query(text)
    }
}

/// The parts that are searched.
struct Search<'a> {
    parts: Vec<Searched<'a>>,
}

/// A part, and which of its rows may be found.
struct Searched<'a> {
    segment: Arc<Segment>,
    matching: Option<Arc<SlotSet>>,
    dead: &'a SlotSet,
}

impl Searched<'_> {
    fn selection(&self) -> Selection<'_> {
        Selection {
            only: self.matching.as_deref(),
            ..Selection::except(self.dead)
        }
    }
}

/// A document's best row.
struct Found {
    segment: Arc<Segment>,
    row: u32,
    score: f32,
}

impl<'a> Search<'a> {
    fn new(snapshot: &'a Snapshot, filter: Option<&Filter>) -> Result<Self> {
        let searched = |part: &'a Part| {
            let segment = part.segment()?;
            let matching = filter.map(|filter| segment.matching(filter)).transpose()?;
            let dead = part.dead_slots(&segment)?;
            Ok(Searched {
                segment,
                matching,
                dead,
            })
        };
        Ok(Self {
            parts: snapshot.parts.iter().map(searched).collect::<Result<_>>()?,
        })
    }

    /// The `wanted` best documents, best first.
    ///
    /// Rows are passages, and a document may hold many of the best: where the best rows do not show enough documents,
    /// twice as many are asked for, until there are enough or no row is left.
    fn best(&self, query: &[f32], wanted: usize) -> Result<Vec<Found>> {
        let all_rows: usize = self
            .parts
            .iter()
            .map(|part| part.segment.rows() as usize)
            .sum();
        let wanted = wanted.min(all_rows);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let mut rows_wanted = wanted;
        loop {
            let mut rows = Vec::new();
            let mut more = false;
            for (at, part) in self.parts.iter().enumerate() {
                let nearest = Nearest {
                    vector: query,
                    k: rows_wanted,
                    effort: Effort::Recall(0.95),
                    least_score: f32::NEG_INFINITY,
                };
                let hits = part.segment.search(&nearest, part.selection())?;
                more |= hits.len() == rows_wanted && rows_wanted < part.segment.rows() as usize;
                rows.extend(hits.into_iter().map(|hit| (at, hit)));
            }
            rows.sort_by(|(a, x), (b, y)| {
                y.score
                    .total_cmp(&x.score)
                    .then((a, x.row).cmp(&(b, y.row)))
            });
            // Beyond these, a part that has more rows could still hold better ones.
            if more {
                rows.truncate(rows_wanted);
            }
            let mut seen = HashSet::new();
            rows.retain(|(at, hit)| {
                seen.insert((*at, self.parts[*at].segment.document_of(hit.row)))
            });
            if rows.len() >= wanted || !more {
                rows.truncate(wanted);
                let found = |(at, hit): (usize, crate::segment::RowHit)| {
                    let segment = Arc::clone(&self.parts[at].segment);
                    Found {
                        segment,
                        row: hit.row,
                        score: hit.score,
                    }
                };
                return Ok(rows.into_iter().map(found).collect());
            }
            rows_wanted = rows_wanted.saturating_mul(2);
        }
    }
}

impl Found {
    fn read(self) -> Result<Hit> {
        let Self {
            segment,
            row,
            score,
        } = self;
        let document = segment.document_of(row);
        let attributes = segment.attributes(document)?;
        Ok(Hit {
            id: segment.document_id(document).to_owned(),
            score,
            passage: segment.passage_text(row)?,
            range: segment.range(row),
            title: attributes.title,
            fields: attributes.fields,
            source: attributes.source,
        })
    }
}
