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
    let record = collection.state.snapshot().record.clone();
    // The first vector tells the dimension where the collection does not.
    let mut documents = documents.peekable();
    let dimension = match (record.dimension, documents.peek()) {
        (Some(dimension), _) => dimension,
        (None, Some(Ok((_, vector)))) => vector.dimension(),
        (None, _) => {
            return documents.next().map_or(Ok(Added::default()), |first| {
                first.map(|_| Added::default())
            });
        }
    };
    fits(&record, None, dimension)?;
    let maker = Maker {
        encoder: None,
        dimension,
    };
    let mut seen = HashSet::new();
    let mut embedded = documents.map(|next| {
        let (document, vector) = next?;
        document.validate_without_text()?;
        if !seen.insert(xxh3_128(document.id.as_bytes())) {
            return Err(Error::DuplicateId { id: document.id });
        }
        if vector.dimension() != dimension {
            return Err(Error::Dimension {
                expected: dimension,
                given: vector.dimension(),
            });
        }
        let prepared = Prepared::with_maker(document, &vector);
        Ok(prepared.with_vector(record.metric.prepare(vector)?))
    });
    store(collection, maker, &mut embedded, options)
}
