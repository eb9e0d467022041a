//! Documents that come with their vectors → segments, in bounded memory.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_128;

use super::collection::{Added, Collection};
use super::embed::{Prepared, Weight};
use super::fits;
use super::ingest::{BatchOptions, Progress, SEAL_TEXT_BYTES, Stage};
use super::write::Maker;
use crate::document::{Document, EmbeddedDocument};
use crate::error::{Error, Result};
use crate::store::CollectionRecord;
use crate::vector::Vector;

/// Stores documents; a segment is written when they take a quarter of the memory. Few large segments are made sooner than many
/// small ones that are merged later.
pub(super) fn store(
    collection: &Collection,
    maker: Maker<'_>,
    documents: &mut dyn Iterator<Item = Result<EmbeddedDocument>>,
    options: BatchOptions<'_>,
) -> Result<Added> {
    let memory = options.memory() / 4;
    let mut callback = options.into_callback();
    let mut progress = Progress::start(Stage::Sealing);
    let mut added = Added::default();
    let mut buffer: Vec<EmbeddedDocument> = Vec::new();
    let mut held = Weight::default();
    let seal = |buffer: &mut Vec<EmbeddedDocument>, added: &mut Added| -> Result<()> {
        if !buffer.is_empty() {
            let start = Instant::now();
            let documents = std::mem::take(buffer);
            let stored = collection
                .inner
                .store_sealed(&collection.state, maker, documents)?;
            added.count(stored);
            added.times.writing += start.elapsed();
        }
        Ok(())
    };
    let mut start = Instant::now();
    let mut end = Ok(());
    for document in documents {
        let document = match document {
            Ok(document) => document,
            // What came before it is kept.
            Err(error) => {
                end = Err(error);
                break;
            }
        };
        progress.documents += 1;
        progress.text_bytes += document.text.len() as u64;
        if collection.state.snapshot().holds(&document) {
            added.unchanged += 1;
        } else {
            let passages = document.passages.len() as u64;
            held.passages += passages;
            held.text += document.text.len() as u64;
            added.passages += passages;
            buffer.push(document);
        }
        progress.passages = added.passages;
        if held.bytes(maker.dimension) >= memory || held.text >= SEAL_TEXT_BYTES as u64 {
            added.times.reading += start.elapsed();
            seal(&mut buffer, &mut added)?;
            held = Weight::default();
            progress.durable_documents = progress.documents;
            start = Instant::now();
        }
        let told = callback.as_mut().map(|callback| callback(&progress));
        if told == Some(ControlFlow::Break(())) {
            end = Err(Error::Cancelled);
            break;
        }
    }
    added.times.reading += start.elapsed();
    let sealed = seal(&mut buffer, &mut added);
    end.and(sealed).map(|()| added)
}

/// The user's documents with the user's vectors.
pub(super) fn ingest(
    collection: &Collection,
    documents: &mut dyn Iterator<Item = Result<(Document, Vector)>>,
    options: BatchOptions<'_>,
) -> Result<Added> {
    let mut ready = Ready::new(collection);
    // The first vector tells the dimension where the collection does not.
    let mut documents = documents.peekable();
    let first = match documents.peek() {
        Some(Ok((_, vector))) => Some(vector.dimension()),
        _ => None,
    };
    let Some(dimension) = ready.record.dimension.or(first) else {
        documents.next().transpose()?;
        return Ok(Added::default());
    };
    let maker = ready.maker(dimension)?;
    let mut embedded = documents.map(|next| {
        let (document, vector) = next?;
        ready.embedded(document, vector)
    });
    store(collection, maker, &mut embedded, options)
}

/// Checks documents with their vectors, one after another.
pub(super) struct Ready {
    record: CollectionRecord,
    /// Of the first vector, where the collection has none.
    dimension: Option<usize>,
    /// Hashes of all ids.
    seen: HashSet<u128>,
}

impl Ready {
    pub fn new(collection: &Collection) -> Self {
        let record = collection.state.snapshot().record.clone();
        Self {
            dimension: record.dimension,
            record,
            seen: HashSet::new(),
        }
    }

    /// What is stored of a document, if it fits the collection and those before it.
    pub fn embedded(&mut self, document: Document, vector: Vector) -> Result<EmbeddedDocument> {
        document.validate_without_text()?;
        if !self.seen.insert(xxh3_128(document.id.as_bytes())) {
            return Err(Error::DuplicateId { id: document.id });
        }
        let expected = *self.dimension.get_or_insert(vector.dimension());
        if vector.dimension() != expected {
            return Err(Error::Dimension {
                expected,
                given: vector.dimension(),
            });
        }
        let prepared = Prepared::of_vectors(document, [&vector]);
        Ok(prepared.with_vector(self.record.metric.prepare(vector)?))
    }

    /// Whose vectors they are, if the collection takes them.
    pub fn maker(&self, dimension: usize) -> Result<Maker<'static>> {
        fits(&self.record, None, dimension)?;
        Ok(Maker {
            encoder: None,
            dimension,
        })
    }

    /// Components of the vectors; `None` where there are none yet.
    pub fn dimension(&self) -> Option<usize> {
        self.dimension
    }
}
