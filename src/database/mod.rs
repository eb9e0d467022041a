//! The database: joins the stages into one thing to open, add to and ask.
//!
//! INTERFACE DRAFT: bodies follow.

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use crate::document::{Document, Fields};
use crate::error::Result;
use crate::filter::Filter;
use crate::vector::{Metric, Vector};

/// How a database is opened.
#[derive(Clone, Debug, Default)]
pub struct DatabaseOptions {
    pub(crate) model: Option<PathBuf>,
    pub(crate) runtime: Option<PathBuf>,
    pub(crate) must_exist: bool,
    pub(crate) read_only: bool,
}

impl DatabaseOptions {
    /// The encoder's model folder, instead of `VECDB_MODEL_DIR` and the data folder.
    pub fn model(self, folder: impl Into<PathBuf>) -> Self { let _ = folder.into(); todo!() }
    /// The ONNX Runtime library, instead of the places that are searched.
    pub fn runtime(self, library: impl Into<PathBuf>) -> Self { let _ = library.into(); todo!() }
    /// `Error::NotFound` instead of a new database where there is none.
    pub fn must_exist(self) -> Self { todo!() }
    /// Takes no lock and changes nothing: a snapshot of what is sealed.
    pub fn read_only(self) -> Self { todo!() }
    /// Opens the folder.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> { let _ = path.as_ref(); todo!() }
}

/// A folder of collections. Cloning is cheap; all methods may be called from many threads.
#[derive(Clone)]
pub struct Database {}

impl Database {
    /// Opens for reading and writing; made if absent.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> { let _ = path.as_ref(); todo!() }
    /// `DatabaseOptions::default()`.
    pub fn options() -> DatabaseOptions { todo!() }
    /// Opened read-only?
    pub fn is_read_only(&self) -> bool { todo!() }
    /// The collection, made with the default encoder and cosine if absent.
    pub fn collection(&self, name: &str) -> Result<Collection> { let _ = name; todo!() }
    /// The collection, `Error::NoCollection` if absent.
    pub fn existing_collection(&self, name: &str) -> Result<Collection> { let _ = name; todo!() }
    /// A new collection; an existing one if its settings are the same.
    pub fn create_collection(&self, name: &str, options: CollectionOptions) -> Result<Collection> { let _ = (name, options); todo!() }
    /// All collections, by name.
    pub fn collections(&self) -> Vec<CollectionInfo> { todo!() }
    /// Seals everything acknowledged, so that other processes see it.
    pub fn flush(&self) -> Result<()> { todo!() }
    /// `flush`, and releases the lock when the last clone goes. Dropping does the same, but cannot report.
    pub fn close(self) -> Result<()> { todo!() }
    /// Verifies every checksum and every reference; lists what is wrong.
    pub fn check(path: impl AsRef<Path>) -> Result<Report> { let _ = path.as_ref(); todo!() }
}

/// What `Database::check` found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Files read, with their sizes in bytes.
    pub files: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is wrong, one sentence each; empty is good.
    pub problems: Vec<String>,
    /// What is worth knowing but harmless (left-over files, unsealed rows).
    pub remarks: Vec<String>,
}

/// Settings of a new collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionOptions {
    pub(crate) metric: Metric,
    pub(crate) dimension: Option<usize>,
}

impl CollectionOptions {
    /// A collection of user-supplied vectors of this many components; no encoder.
    pub fn vectors(dimension: usize) -> Self { let _ = dimension; todo!() }
}

/// What a collection is and holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CollectionInfo {
    /// Its name.
    pub name: String,
    /// Its metric.
    pub metric: Metric,
    /// Components of its vectors; `None` until the first text is added.
    pub dimension: Option<usize>,
    /// The encoder that made it: name and fingerprint. `None` for user-supplied vectors or while empty.
    pub encoder: Option<(String, String)>,
    /// Live documents.
    pub documents: u64,
    /// Live passages.
    pub passages: u64,
    /// Passages of deleted or replaced documents that still take space.
    pub dead_passages: u64,
    /// Acknowledged passages not yet sealed into a segment.
    pub unsealed_passages: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Documents under one encoder and one metric. Cloning is cheap.
#[derive(Clone)]
pub struct Collection {}

/// What `add` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Added {
    /// Documents with an id that was new.
    pub added: u64,
    /// Documents that replaced one of the same id.
    pub updated: u64,
    /// Documents that were already there, equal in every byte.
    pub unchanged: u64,
    /// Passages encoded and stored.
    pub passages: u64,
    /// Tokens encoded, padding not counted.
    pub tokens: u64,
}

/// Where a long call stands.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing now.
    pub stage: Stage,
    /// Documents taken from the iterator and encoded so far.
    pub documents: u64,
    /// Bytes of text in them.
    pub text_bytes: u64,
    /// Passages encoded so far.
    pub passages: u64,
    /// Documents acknowledged: a kill does not lose them.
    pub durable_documents: u64,
}

/// What a long call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Text → vectors.
    Encoding,
    /// Vectors → segment on disk.
    Sealing,
}

/// Settings of `Collection::ingest`.
#[derive(Default)]
pub struct BatchOptions<'a> {
    pub(crate) progress: Option<Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>>,
}

impl<'a> BatchOptions<'a> {
    /// Called after each batch; `ControlFlow::Break` seals what is encoded and returns `Error::Cancelled`.
    pub fn progress(self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self { let _ = Box::new(callback); todo!() }
}

impl Collection {
    /// Its name.
    pub fn name(&self) -> &str { todo!() }
    /// What it is and holds.
    pub fn info(&self) -> CollectionInfo { todo!() }
    /// Adds or replaces documents; durable when it returns. All or nothing.
    pub fn add(&self, documents: impl IntoIterator<Item = Document>) -> Result<Added> { let _ = documents.into_iter(); todo!() }
    /// As `add`, each document being one passage with the caller's vector, shape `[dimension]`.
    pub fn add_vectors(&self, documents: impl IntoIterator<Item = (Document, Vector)>) -> Result<Added> { let _ = documents.into_iter(); todo!() }
    /// Adds a stream of documents in bounded memory, sealing segment after segment. Stops at the first error; what is durable stays.
    pub fn ingest(&self, documents: impl IntoIterator<Item = Result<Document>>, options: BatchOptions<'_>) -> Result<Added> { let _ = (documents.into_iter(), options.progress); todo!() }
    /// Deletes documents by id; durable when it returns. Returns how many were there.
    pub fn delete<I: AsRef<str>>(&self, ids: impl IntoIterator<Item = I>) -> Result<u64> { let _ = ids.into_iter(); todo!() }
    /// The document with this id.
    pub fn get(&self, id: &str) -> Result<Option<Document>> { let _ = id; todo!() }
    /// All live documents, segment by segment in the order they were added.
    pub fn documents(&self) -> Documents { todo!() }
    /// The number of live documents.
    pub fn len(&self) -> u64 { todo!() }
    /// No live document?
    pub fn is_empty(&self) -> bool { todo!() }
    /// Nearest documents to a text.
    pub fn query(&self, text: impl Into<String>) -> Query { let _ = text.into(); todo!() }
    /// Nearest documents to a vector, shape `[dimension]`.
    pub fn query_vector(&self, vector: Vector) -> Query { let _ = vector; todo!() }
}

/// Iterator over a collection's live documents, a snapshot.
pub struct Documents {}

impl Iterator for Documents {
    type Item = Result<Document>;
    fn next(&mut self) -> Option<Self::Item> { todo!() }
}

/// A filter, or text that parses to one.
pub trait IntoFilter {
    /// The filter, or why it does not parse.
    fn into_filter(self) -> Result<Filter>;
}

impl IntoFilter for Filter {
    fn into_filter(self) -> Result<Filter> { Ok(self) }
}

impl IntoFilter for &str {
    fn into_filter(self) -> Result<Filter> { Filter::parse(self) }
}

/// A query being put together.
pub struct Query {}

impl Query {
    /// Only documents whose fields match. Errors show at `run`.
    pub fn filter(self, filter: impl IntoFilter) -> Self { let _ = filter.into_filter(); todo!() }
    /// At most this many hits (default 10).
    pub fn limit(self, limit: usize) -> Self { let _ = limit; todo!() }
    /// Skips this many best hits first.
    pub fn offset(self, offset: usize) -> Self { let _ = offset; todo!() }
    /// Only hits with at least this score.
    pub fn min_score(self, score: f32) -> Self { let _ = score; todo!() }
    /// Runs it; hits are best first, one a document.
    pub fn run(self) -> Result<Vec<Hit>> { todo!() }
}

/// A document found, with its best passage.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The document's id.
    pub id: String,
    /// Higher is nearer; under cosine in [-1, 1].
    pub score: f32,
    /// The best passage's text.
    pub passage: String,
    /// The passage's bytes in the document's text.
    pub range: Range<usize>,
    /// The document's title.
    pub title: Option<String>,
    /// The document's fields.
    pub fields: Fields,
    /// The document's source.
    pub source: Option<String>,
}
