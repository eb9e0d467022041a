//! Asking: a text, a vector or examples, and what is wanted of the answer.
//!
//!   Query → batch.rs → vector → search.rs → documents → `Hit`, or `Scored` without text

use std::ops::Range;

use super::batch::{QueryTimings, find, find_all};
use super::collection::Collection;
use super::example::Examples;
use super::part::Snapshot;
use super::search::{Found, Search, Wanted};
use crate::document::Fields;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::segment::Effort;
use crate::vector::Vector;

const DEFAULT_LIMIT: usize = 10;
pub(super) const DEFAULT_RECALL: f32 = 0.95;

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
    /// Higher is nearer; what it says depends on the collection's [`Metric`](crate::Metric): the cosine in [-1, 1], the
    /// inner product, or the negative Euclidean distance.
    pub score: f32,
    /// The text of the document's best passage.
    pub passage: String,
    /// Where the passage lies, in bytes of the document's text.
    pub range: Range<usize>,
    /// The page (sheet, slide) where the passage begins, counted from 1; `None` where there are none.
    pub page: Option<u32>,
    /// The headings above the passage's beginning, outermost first.
    pub headings: Vec<String>,
    /// The document's title.
    pub title: Option<String>,
    /// The document's fields.
    pub fields: Fields,
    /// Where the document came from.
    pub source: Option<String>,
}

/// A document found, without what it says: [`Query::scores`] gives it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scored {
    /// The document's id.
    pub id: String,
    /// As [`Hit::score`].
    pub score: f32,
    /// Where the document's best passage lies, in bytes of its text.
    pub range: Range<usize>,
}

/// What a query starts from.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Text(String),
    Vector(Vector),
    /// Only examples.
    Examples,
}

/// A query being put together; [`Query::run`] runs it.
///
/// ```
/// # use vecdb::{CollectionOptions, Database, Document, Vector};
/// # let folder = tempfile::tempdir()?;
/// # let db = Database::open(folder.path().join("t.vecdb"))?;
/// # let notes = db.create_collection("notes", CollectionOptions::vectors(2))?;
/// # let point = |x, y| Vector::new(vec![x, y]);
/// # notes.add_vectors([
/// #     (Document::new("a", "x").field("year", 2021), point(1.0, 0.0)?),
/// #     (Document::new("b", "y").field("year", 2022), point(0.9, 0.1)?),
/// # ])?;
/// let hits = notes.query_vector(point(1.0, 0.2)?).filter("year >= 2020").limit(5).min_score(0.3).run()?;
/// assert_eq!(hits[0].id, "b");
/// // All that are near, not only the nearest; and what resembles a document.
/// assert_eq!(notes.query_vector(point(1.0, 0.2)?).within(0.9).run()?.len(), 2);
/// assert_eq!(notes.more_like(["a"]).run()?[0].id, "b");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a query does nothing until it is run"]
pub struct Query {
    pub(super) collection: Collection,
    pub(super) ask: Ask,
    examples: Examples,
    filter: Option<Result<Filter>>,
    limit: Option<usize>,
    offset: usize,
    min_score: Option<f32>,
    within: Option<f32>,
    target_recall: f32,
}

impl Query {
    pub(super) fn new(collection: Collection, ask: Ask) -> Self {
        Self {
            collection,
            ask,
            examples: Examples::default(),
            filter: None,
            limit: None,
            offset: 0,
            min_score: None,
            within: None,
            target_recall: DEFAULT_RECALL,
        }
    }

    /// Only documents whose fields match; a second filter replaces the first. Text that does not parse is an error of
    /// [`Query::run`].
    pub fn filter(mut self, filter: impl IntoFilter) -> Self {
        self.filter = Some(filter.into_filter());
        self
    }

    /// At most so many hits. If not said: 10, or all with [`Query::within`].
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Leaves out so many of the best hits.
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Only hits with at least this score, of the best `limit`.
    pub fn min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// All documents with at least this score, however many: no one is missed, and there is no limit unless
    /// [`Query::limit`] sets one. Under [`Metric::L2`](crate::Metric::L2), `within(-0.5)` is all that are at most 0.5
    /// away. Reads all codes, as [`Query::exact`].
    pub fn within(mut self, score: f32) -> Self {
        self.within = Some(score);
        self
    }

    /// The part of the true hits to be found, on average, in (0, 1]; 0.95 if not said, and 1.0 is [`Query::exact`].
    /// Less is faster where segments are large enough to have a graph.
    pub fn target_recall(mut self, recall: f32) -> Self {
        self.target_recall = recall;
        self
    }

    /// The true hits and no others: every vector is compared with the query.
    pub fn exact(self) -> Self {
        self.target_recall(1.0)
    }

    /// Nearer to these documents too, which are themselves not among the hits. With `q` the query's own vector and P and
    /// N the means of the vectors of the documents to be like and not, the query is asked with L + (L − N), where L is
    /// the mean of q and P, or P alone in [`Collection::more_like`] (Rocchio 1971). Each document counts once, as the mean
    /// of its passages. Ids that are not there are an error of [`Query::run`].
    pub fn more_like<I: AsRef<str>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        let ids = ids.into_iter().map(|id| id.as_ref().to_owned());
        self.examples.like.extend(ids);
        self
    }

    /// Further from these documents, as [`Query::more_like`] tells; they are not among the hits.
    pub fn less_like<I: AsRef<str>>(mut self, ids: impl IntoIterator<Item = I>) -> Self {
        let ids = ids.into_iter().map(|id| id.as_ref().to_owned());
        self.examples.unlike.extend(ids);
        self
    }

    /// Runs it. Hits are best first, each document once. There are fewer than `limit` only if fewer documents match.
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Query`], [`Error::Vector`], [`Error::Dimension`], [`Error::EncoderMismatch`], the
    /// encoder's errors, or [`Error::Damaged`].
    pub fn run(self) -> Result<Vec<Hit>> {
        Ok(self.run_timed()?.0)
    }

    /// [`Query::run`], and where its time went.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub fn run_timed(self) -> Result<(Vec<Hit>, QueryTimings)> {
        find(self, |search, found| search.hit(found))
    }

    /// As [`Query::run`], but says only which documents and how near: no stored text or field is read.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub fn scores(self) -> Result<Vec<Scored>> {
        Ok(find(self, |search, found| Ok(search.scored(found)))?.0)
    }

    /// Runs many queries on all threads of the current rayon pool, with what each of them says; answers come in the
    /// queries' order and are those of [`Query::run`]. Texts are encoded together, and queries of one collection see the
    /// same state of it.
    ///
    /// ```
    /// # use vecdb::{CollectionOptions, Database, Document, Query, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let notes = db.create_collection("notes", CollectionOptions::vectors(2))?;
    /// # let point = |x, y| Vector::new(vec![x, y]);
    /// # notes.add_vectors([(Document::new("a", "x"), point(1.0, 0.0)?), (Document::new("b", "y"), point(0.0, 1.0)?)])?;
    /// let queries = [point(2.0, 0.1)?, point(0.1, 2.0)?].map(|vector| notes.query_vector(vector).limit(1));
    /// let answers = Query::run_all(queries)?;
    /// assert_eq!((&*answers[0][0].id, &*answers[1][0].id), ("a", "b"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// That of the first query that fails, as [`Query::run`].
    pub fn run_all(queries: impl IntoIterator<Item = Self>) -> Result<Vec<Vec<Hit>>> {
        Ok(Self::run_all_timed(queries)?.0)
    }

    /// [`Query::run_all`], and where the time of all went, as a clock on the wall tells it.
    ///
    /// # Errors
    /// As [`Query::run_all`].
    pub fn run_all_timed(
        queries: impl IntoIterator<Item = Self>,
    ) -> Result<(Vec<Vec<Hit>>, QueryTimings)> {
        let queries = queries.into_iter().collect();
        find_all(queries, |search, found| search.hit(found))
    }

    /// [`Query::run_all`] with the answers of [`Query::scores`].
    ///
    /// # Errors
    /// As [`Query::run_all`].
    pub fn scores_all(queries: impl IntoIterator<Item = Self>) -> Result<Vec<Vec<Scored>>> {
        let queries = queries.into_iter().collect();
        Ok(find_all(queries, |search, found| Ok(search.scored(found)))?.0)
    }

    /// What can be said to be wrong before anything is searched.
    pub(super) fn check(&mut self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Query { what: what.into() });
        if let Some(Err(error)) = self.filter.take_if(|filter| filter.is_err()) {
            return Err(error);
        }
        if [self.min_score, self.within]
            .into_iter()
            .flatten()
            .any(f32::is_nan)
        {
            return refuse("the minimum score is not a number");
        }
        if !(self.target_recall > 0.0 && self.target_recall <= 1.0) {
            let recall = self.target_recall;
            return refuse(&format!(
                "a recall of {recall} cannot be aimed at; 0.95 can, and 1 is exact"
            ));
        }
        if matches!(&self.ask, Ask::Text(text) if text.trim().is_empty()) {
            return refuse("its text is empty");
        }
        if matches!(self.ask, Ask::Examples) && self.examples.is_empty() {
            return refuse("it names no document to be like");
        }
        Ok(())
    }

    /// The answer in one state of the collection. `encoded` is the text's vector.
    pub(super) fn answer<T>(
        self,
        snapshot: &Snapshot,
        encoded: Option<Vector>,
        read: impl Fn(&Search<'_>, &Found) -> Result<T>,
    ) -> Result<Vec<T>> {
        let metric = snapshot.record.metric;
        let own = match self.ask {
            // Also on an empty collection: a query that cannot be run must not look like one without hits.
            Ask::Vector(vector) => Some(metric.prepare(vector)?),
            Ask::Text(_) => encoded,
            Ask::Examples => None,
        };
        let Some(expected) = snapshot.record.dimension else {
            // Nothing was ever added; an example that is asked for is an error here too.
            self.examples.find(snapshot)?;
            return Ok(Vec::new());
        };
        if let Some(own) = own.as_ref().filter(|own| own.dimension() != expected) {
            return Err(Error::Dimension {
                expected,
                given: own.dimension(),
            });
        }
        let (vector, examples) = match own {
            Some(own) if self.examples.is_empty() => (own, Vec::new()),
            own => {
                let own = own.as_ref().map(Vector::as_slice);
                let (vector, examples) = self.examples.combine(snapshot, own)?;
                (metric.prepare(Vector::new(vector)?)?, examples)
            }
        };
        let search = Search::new(snapshot, self.filter.transpose()?.as_ref(), &examples)?;
        let least_score = self.min_score.unwrap_or(f32::NEG_INFINITY);
        let (vector, limit) = (vector.as_slice(), self.limit);
        let found = match self.within {
            Some(score) => search.within(vector, score.max(least_score))?,
            None => {
                let limit = limit.unwrap_or(DEFAULT_LIMIT);
                let effort = match self.target_recall {
                    1.0 => Effort::Exact,
                    recall => Effort::Recall(recall),
                };
                let wanted = Wanted {
                    documents: self.offset.saturating_add(limit),
                    least_score,
                    effort,
                };
                search.best(vector, wanted)?
            }
        };
        search.prefetch(&found);
        let found = found.iter().skip(self.offset);
        found
            .take(limit.unwrap_or(usize::MAX))
            .map(|found| read(&search, found))
            .collect()
    }
}
