//! A collection: documents under one encoder and one metric.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::embed::{Cost, Help, Opened, Prepared};
use super::fits;
use super::ingest::{self, BatchOptions};
use super::inner::{Handle, Inner, State};
use super::part::{Content, Snapshot};
use super::query::{Ask, Query};
use super::ready::{self, Ready};
use super::versions::VersionInfo;
use super::write::{Maker, Stored};
use crate::document::{Document, EmbeddedDocument};
use crate::error::{Error, Result};
use crate::store::EncoderRecord;
use crate::vector::{Metric, Vector};

/// Settings of a new collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionOptions {
    pub(super) metric: Metric,
    pub(super) dimension: Option<usize>,
}

impl CollectionOptions {
    /// A collection of user-supplied vectors, shape `[dimension]`, under cosine; it needs no encoder.
    pub fn vectors(dimension: usize) -> Self {
        Self {
            metric: Metric::default(),
            dimension: Some(dimension),
        }
    }

    /// How vectors are compared. Texts go only into a collection under cosine.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }
}

/// What a collection is and holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Its metric.
    pub metric: Metric,
    /// Components of its vectors; `None` until the first document is added.
    pub dimension: Option<usize>,
    /// The encoder that makes its vectors: name and fingerprint. `None` for user-supplied vectors, and while it is empty.
    pub encoder: Option<(String, String)>,
    /// Live documents.
    pub documents: u64,
    /// Live passages.
    pub passages: u64,
    /// Passages of deleted or replaced documents that still take space.
    pub dead_passages: u64,
    /// Acknowledged passages that are not yet sealed into a segment.
    pub unsealed_passages: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Segments that are being merged, or are to be merged next; see [`Database::compact`](super::Database::compact).
    pub due_segments: u64,
    /// Bytes of its segments on disk.
    pub bytes: u64,
    /// What [`Collection::roll_back`] returns to.
    pub before: Option<VersionInfo>,
    /// What a `reembed` that is in progress, or was interrupted, is filling.
    pub next: Option<VersionInfo>,
}

impl CollectionInfo {
    pub(super) fn of(inner: &Inner, state: &State) -> Self {
        let snapshot = &*state.snapshot();
        let rows: u64 = snapshot.parts.iter().map(|p| u64::from(p.rows())).sum();
        let dead: u64 = snapshot.parts.iter().map(|p| p.dead.len()).sum();
        let record = &snapshot.record;
        let [next, before] = VersionInfo::of(inner, &state.name);
        Self {
            before,
            next,
            name: record.name.clone(),
            metric: record.metric,
            dimension: record.dimension,
            encoder: record
                .encoder
                .as_ref()
                .map(|e| (e.name.clone(), e.fingerprint.clone())),
            documents: snapshot.live_documents(),
            passages: rows - dead,
            dead_passages: dead,
            unsealed_passages: snapshot.unsealed_rows(),
            segments: snapshot.sealed_parts() as u64,
            due_segments: inner.count_due(snapshot) as u64,
            bytes: record.segments.iter().map(|s| s.bytes).sum(),
        }
    }
}

/// What adding did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Documents whose id was new.
    pub added: u64,
    /// Documents that replaced one of the same id.
    pub updated: u64,
    /// Documents that were there already, equal in everything; nothing was done for them.
    pub unchanged: u64,
    /// Passages stored.
    pub passages: u64,
    /// Those of them that were not encoded, since the encoder had the same before: their vectors were there, or are made
    /// once for several.
    pub reused: u64,
    /// Tokens encoded, padding not counted.
    pub tokens: u64,
    /// Where the time went.
    pub times: StageTimes,
}

/// Where the time of adding went, stage after stage; what runs beside a stage is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageTimes {
    /// Waiting for documents: reading that the encoder is faster than.
    pub reading: Duration,
    /// Documents → windows, and looking for those that are known.
    pub cutting: Duration,
    /// Windows → vectors.
    pub encoding: Duration,
    /// Vectors → a segment on disk.
    pub writing: Duration,
}

impl Added {
    pub(super) fn count(&mut self, stored: Stored) {
        self.added += stored.added;
        self.updated += stored.updated;
    }

    pub(super) fn spend(&mut self, cost: Cost) {
        self.passages += cost.passages;
        self.reused += cost.reused;
        self.tokens += cost.tokens;
        self.times.encoding += cost.encoding;
    }
}

/// Documents under one encoder and one metric. Cloning is cheap; all methods may be called from many threads.
///
/// ```
/// # use vecdb::{CollectionOptions, Database, Document, Vector};
/// # let folder = tempfile::tempdir()?;
/// # let db = Database::open(folder.path().join("t.vecdb"))?;
/// let points = db.create_collection("points", CollectionOptions::vectors(2))?;
/// let east = Document::new("east", "to the right").field("axis", "x");
/// points.add_vectors([(east.clone(), Vector::new(vec![1.0, 0.0])?)])?;
/// assert_eq!(points.get("east")?, Some(east));
/// assert_eq!(points.documents().count(), 1);
/// assert_eq!(points.delete(["east", "nobody"])?, 1);
/// assert!(points.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Collection {
    pub(super) inner: Arc<Handle>,
    pub(super) state: Arc<State>,
}

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection")
            .field("name", &self.state.name)
            .finish_non_exhaustive()
    }
}

impl Collection {
    pub(super) fn new(inner: &Arc<Handle>, state: Arc<State>) -> Self {
        Self {
            inner: Arc::clone(inner),
            state,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// What it is and holds.
    pub fn info(&self) -> CollectionInfo {
        CollectionInfo::of(&self.inner, &self.state)
    }

    /// The number of live documents.
    pub fn len(&self) -> u64 {
        self.state.snapshot().live_documents()
    }

    /// Is there no live document?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds documents; one whose id is there already is replaced. All or none of them are durable when it returns, and
    /// visible to this process at once.
    ///
    /// # Errors
    /// [`Error::Document`] or [`Error::DuplicateId`] for what cannot be stored, [`Error::EncoderMismatch`] if another
    /// encoder made the collection, [`Error::Model`], [`Error::Runtime`] or [`Error::Encode`] from the encoder,
    /// [`Error::ReadOnly`], or the write failed. Nothing is changed then, but for one case: when the disk failed in the
    /// middle of a commit, further writes are refused, and opening the database again shows whether the call got through.
    #[cfg_attr(
        feature = "encoder",
        doc = "
```
# vecdb::setup::ensure()?;
# let folder = tempfile::tempdir()?;
use vecdb::{Database, Document};
let notes = Database::open(folder.path().join(\"notes.vecdb\"))?.collection(\"notes\")?;
let added = notes.add([Document::new(\"a1\", \"Sled is an embedded store.\").field(\"lang\", \"en\")])?;
assert_eq!((added.added, added.passages), (1, 1));
# Ok::<(), Box<dyn std::error::Error>>(())
```"
    )]
    pub fn add(&self, documents: impl IntoIterator<Item = Document>) -> Result<Added> {
        let documents: Vec<Document> = documents.into_iter().collect();
        let mut ids = HashSet::new();
        for document in &documents {
            document.validate()?;
            if !ids.insert(document.id.as_str()) {
                return Err(Error::DuplicateId {
                    id: document.id.clone(),
                });
            }
        }
        drop(ids);
        if documents.is_empty() {
            return Ok(Added::default());
        }
        let encoder = self.encoder()?;
        let prepared = prepare(documents, &encoder).collect();
        self.store_new(encoder.maker(), prepared, |new, added| {
            let help = Help {
                made: &|_| None,
                tell: &mut |_| Ok(()),
                memory: u64::MAX,
            };
            embed(&encoder, &self.state.snapshot(), new, help, added)
        })
    }

    /// As [`Collection::add`], with the caller's vectors, shape `[dimension]`: each document is one passage, and its text
    /// may be empty. The first call fixes the collection's dimension.
    ///
    /// # Errors
    /// As [`Collection::add`]; [`Error::Dimension`] for a vector of another length, [`Error::Vector`] for one without a
    /// direction under cosine, or too long under another [`Metric`], [`Error::Collection`] if an encoder made the collection.
    pub fn add_vectors(
        &self,
        documents: impl IntoIterator<Item = (Document, Vector)>,
    ) -> Result<Added> {
        let mut ready = Ready::new(self);
        let embedded = documents.into_iter();
        let embedded = embedded.map(|(document, vector)| ready.embedded(document, vector));
        let embedded: Vec<EmbeddedDocument> = embedded.collect::<Result<_>>()?;
        let Some(dimension) = ready.dimension() else {
            return Ok(Added::default());
        };
        let maker = ready.maker(dimension)?;
        self.store_new(maker, embedded, |new, added| {
            added.passages += new.len() as u64;
            Ok(new)
        })
    }

    /// Adds a stream of documents in bounded memory ([`BatchOptions::max_memory`]): encoded batch by batch, sealed into a
    /// segment every 10,000 passages.
    /// What [`Progress::durable_documents`](super::Progress) counts survives whatever happens next, and running the same
    /// stream again encodes only what is missing.
    ///
    /// # Errors
    /// As [`Collection::add`], and any error of the stream itself. What was encoded before it is sealed first.
    /// [`Error::Cancelled`] if the progress callback said so.
    pub fn ingest(
        &self,
        documents: impl IntoIterator<Item = Result<Document>>,
        options: BatchOptions<'_>,
    ) -> Result<Added> {
        ingest::run(self, documents.into_iter(), options)
    }

    /// As [`Collection::ingest`], of documents with the caller's vectors, as [`Collection::add_vectors`] takes them.
    ///
    /// # Errors
    /// As [`Collection::add_vectors`], any error of the stream itself, and [`Error::Cancelled`]. What came before it is stored.
    pub fn ingest_vectors(
        &self,
        documents: impl IntoIterator<Item = Result<(Document, Vector)>>,
        options: BatchOptions<'_>,
    ) -> Result<Added> {
        ready::ingest(self, &mut documents.into_iter(), options)
    }

    /// Deletes documents by id; durable when it returns. Returns how many there were.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], or the write failed.
    pub fn delete<I: AsRef<str>>(&self, ids: impl IntoIterator<Item = I>) -> Result<u64> {
        self.inner.delete(
            &self.state,
            ids.into_iter().map(|id| id.as_ref().to_owned()).collect(),
        )
    }

    /// The document with this id.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its bytes are not what was written.
    pub fn get(&self, id: &str) -> Result<Option<Document>> {
        let snapshot = self.state.snapshot();
        let found = snapshot.find(id);
        found
            .map(|(part, document)| snapshot.parts[part].document(document))
            .transpose()
    }

    /// All live documents: a snapshot, oldest segment first.
    pub fn documents(&self) -> Documents {
        Documents::of(&self.state.snapshot())
    }

    /// The documents nearest to a text.
    pub fn query(&self, text: impl Into<String>) -> Query {
        Query::new(self.clone(), Ask::Text(text.into()))
    }

    /// The documents nearest to a vector, shape `[dimension]`; under cosine any but zero.
    pub fn query_vector(&self, vector: Vector) -> Query {
        Query::new(self.clone(), Ask::Vector(vector))
    }

    /// The documents that resemble these; [`Query::less_like`] says what they are not to resemble.
    pub fn more_like<I: AsRef<str>>(&self, ids: impl IntoIterator<Item = I>) -> Query {
        Query::new(self.clone(), Ask::Examples).more_like(ids)
    }

    /// The encoder, if its vectors may go into this collection.
    pub(super) fn encoder(&self) -> Result<Encoding> {
        if self.inner.read_only {
            return Err(Error::ReadOnly {
                path: self.inner.path.clone(),
            });
        }
        let stored = &self.state.snapshot().record;
        let opened = self.inner.encoder.open(stored)?;
        let (record, dimension) = opened.record();
        fits(stored, Some(&record), dimension)?;
        Ok(Encoding {
            opened,
            record,
            dimension,
        })
    }

    /// The documents with their vectors; those that are there already, equal in everything, are only counted.
    pub(super) fn embed_new(
        &self,
        encoder: &Encoding,
        documents: Vec<Document>,
        help: Help<'_>,
        added: &mut Added,
    ) -> Result<Vec<EmbeddedDocument>> {
        let snapshot = self.state.snapshot();
        let (known, new): (Vec<_>, Vec<_>) =
            prepare(documents, encoder).partition(|document| snapshot.holds(document));
        added.unchanged += known.len() as u64;
        embed(encoder, &snapshot, new, help, added)
    }

    /// Stores the documents in one step, but for those that are there already, equal in everything: these are only counted,
    /// if they are still there in that step. `embed` makes what is stored of those that are not.
    fn store_new<T: Content>(
        &self,
        maker: Maker<'_>,
        documents: Vec<T>,
        embed: impl Fn(Vec<T>, &mut Added) -> Result<Vec<EmbeddedDocument>>,
    ) -> Result<Added> {
        let (mut added, mut known, mut new) = (Added::default(), documents, Vec::new());
        loop {
            let snapshot = self.state.snapshot();
            let (still, changed): (Vec<T>, Vec<T>) = known
                .into_iter()
                .partition(|document| snapshot.holds(document));
            known = still;
            new.extend(embed(changed, &mut added)?.into_iter().map(Arc::new));
            let stored = self.inner.store(&self.state, maker, &known, new.clone())?;
            if let Some(stored) = stored {
                added.unchanged = known.len() as u64;
                added.count(stored);
                return Ok(added);
            }
        }
    }
}

/// The documents with their vectors, those of `snapshot` where they are there.
fn embed(
    encoder: &Encoding,
    snapshot: &Snapshot,
    documents: Vec<Prepared>,
    help: Help<'_>,
    added: &mut Added,
) -> Result<Vec<EmbeddedDocument>> {
    let waiting = help.made;
    // It may be by another encoder by now: then what is made here is refused when it is stored.
    let stored = snapshot.record.encoder.as_ref();
    let is_by_it = stored.is_none_or(|e| e.fingerprint == encoder.record.fingerprint);
    let made = |input| match waiting(input) {
        None if is_by_it => snapshot.made_from(input),
        found => Ok(found),
    };
    let (embedded, cost) = encoder.opened.embed(documents, made, help)?;
    added.spend(cost);
    Ok(embedded)
}

fn prepare(documents: Vec<Document>, encoder: &Encoding) -> impl Iterator<Item = Prepared> {
    let fingerprint = encoder.record.fingerprint.as_bytes();
    let documents = documents.into_iter();
    documents.map(move |document| Prepared::new(document, fingerprint))
}

/// The encoder that makes the vectors of a call.
pub(super) struct Encoding {
    opened: Opened,
    record: EncoderRecord,
    dimension: usize,
}

impl Encoding {
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(super) fn maker(&self) -> Maker<'_> {
        Maker {
            encoder: Some(&self.record),
            dimension: self.dimension,
        }
    }
}

/// A collection's live documents, as they were when it was asked.
pub struct Documents {
    snapshot: Arc<Snapshot>,
    part: usize,
    document: u32,
}

impl Documents {
    pub(super) fn of(snapshot: &Arc<Snapshot>) -> Self {
        Self {
            snapshot: Arc::clone(snapshot),
            part: 0,
            document: 0,
        }
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let part = self.snapshot.parts.get(self.part)?;
            if self.document == part.documents() {
                self.part += 1;
                self.document = 0;
                continue;
            }
            let document = self.document;
            self.document += 1;
            if !part.is_dead(document) {
                return Some(part.document(document));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::Database;
    use super::*;

    fn vector() -> Vector {
        Vector::new(vec![1.0, 0.0]).expect("finite")
    }

    #[test]
    fn what_changes_while_a_call_embeds_is_replaced_by_the_call() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = Database::open(folder.path().join("t.vecdb")).expect("opens");
        let points = db.create_collection("points", CollectionOptions::vectors(2));
        let points = points.expect("a collection");
        let pair = |text: &str| ["a", "b"].map(|id| (Document::new(id, text), vector()));
        points.add_vectors(pair("old")).expect("adds");
        points.delete(["b"]).expect("deletes");
        let embedded = |(document, vector)| Prepared::new(document, b"").with_vector(vector);
        let (changed, times) = (Cell::new(false), Cell::new(0));
        let maker = Maker {
            encoder: None,
            dimension: 2,
        };
        let mut documents: Vec<EmbeddedDocument> = pair("old").map(embedded).into();
        // As it was stored.
        let known = points.state.snapshot();
        let (part, at) = known.find("a").expect("there");
        documents[0].content_hash = known.parts[part].content_hash(at);
        let added = points.store_new(maker, documents, |new, _| {
            times.set(times.get() + new.len());
            if !changed.replace(true) {
                points.add_vectors(pair("new")).expect("adds");
            }
            Ok(new)
        });
        let added = added.expect("adds");
        assert_eq!((added.updated, added.unchanged, times.get()), (2, 0, 2));
        for id in ["a", "b"] {
            let document = points.get(id).expect("reads").expect("there");
            assert_eq!(document.text, "old");
        }
    }
}
