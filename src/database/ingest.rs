//! A stream of documents, in bounded memory: batch → vectors → buffer → segment.

use std::collections::HashSet;
use std::ops::ControlFlow;

use xxhash_rust::xxh3::xxh3_128;

use super::collection::{Added, Collection, Encoding};
use super::write::SEAL_ROWS;
use crate::document::{Document, EmbeddedDocument};
use crate::error::{Error, Result};

/// Documents are encoded together until there are so many, or so many bytes of text: enough to sort by length, few enough
/// that progress is told, and a cancel heard, every few seconds on a slow machine.
const BATCH_DOCUMENTS: usize = 256;
const BATCH_TEXT_BYTES: usize = 64 << 10;
/// Text in memory that waits for its segment.
pub(super) const SEAL_TEXT_BYTES: usize = 64 << 20;

/// Where a long call stands.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Progress {
    /// What it is doing now.
    pub stage: Stage,
    /// Documents taken and encoded so far (or found unchanged).
    pub documents: u64,
    /// Bytes of text in them.
    pub text_bytes: u64,
    /// Passages encoded so far.
    pub passages: u64,
    /// Documents that a kill does not lose.
    pub durable_documents: u64,
}

/// What a long call is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Text → vectors.
    Encoding,
    /// Vectors → a segment on disk.
    Sealing,
}

pub(super) type Callback<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// Settings of [`Collection::ingest`].
#[derive(Default)]
pub struct BatchOptions<'a> {
    progress: Option<Callback<'a>>,
}

impl<'a> BatchOptions<'a> {
    /// Called after each batch, and before each seal, whose answer is not heard. `ControlFlow::Break` seals what is encoded and ends the call with
    /// [`Error::Cancelled`].
    #[must_use]
    pub fn progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }
}

impl<'a> BatchOptions<'a> {
    pub(super) fn into_callback(self) -> Option<Callback<'a>> {
        self.progress
    }
}

impl Progress {
    /// Nothing is done yet.
    pub(super) fn start(stage: Stage) -> Self {
        Self {
            stage,
            documents: 0,
            text_bytes: 0,
            passages: 0,
            durable_documents: 0,
        }
    }
}

struct Run<'a> {
    collection: &'a Collection,
    /// Opened for the first document: an empty stream needs none.
    encoder: Option<Encoding>,
    callback: Option<Callback<'a>>,
    progress: Progress,
    added: Added,
    buffer: Vec<EmbeddedDocument>,
    /// Hashes of all ids of the stream: 16 bytes each, however long the ids are.
    seen: HashSet<u128>,
}

pub(super) fn run(
    collection: &Collection,
    mut documents: impl Iterator<Item = Result<Document>>,
    options: BatchOptions<'_>,
) -> Result<Added> {
    let progress = Progress::start(Stage::Encoding);
    let callback = options.into_callback();
    let mut run = Run {
        collection,
        encoder: None,
        callback,
        progress,
        added: Added::default(),
        buffer: Vec::new(),
        seen: HashSet::new(),
    };
    let end = run.batches(&mut documents);
    // Whatever ended the stream, the work done is kept; and what ended it is what the caller is told first.
    let sealed = run.seal();
    end.and(sealed).map(|()| run.added)
}

impl Run<'_> {
    fn batches(&mut self, documents: &mut impl Iterator<Item = Result<Document>>) -> Result<()> {
        loop {
            let (batch, end) = self.take(documents);
            let taken = batch.len() as u64;
            let bytes = batch.iter().map(|d| d.text.len() as u64).sum::<u64>();
            if taken > 0 {
                let encoder = match &self.encoder {
                    Some(encoder) => encoder,
                    None => self.encoder.insert(self.collection.encoder()?),
                };
                self.buffer
                    .extend(self.collection.embed(encoder, batch, &mut self.added)?);
            }
            self.progress.documents += taken;
            self.progress.text_bytes += bytes;
            self.progress.passages = self.added.passages;
            let rows: usize = self.buffer.iter().map(|d| d.passages.len()).sum();
            let text: usize = self.buffer.iter().map(|d| d.text.len()).sum();
            if rows as u64 >= SEAL_ROWS || text >= SEAL_TEXT_BYTES {
                self.seal()?;
            }
            if taken > 0 {
                self.tell()?;
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// The next batch, and how the stream ended if it did.
    fn take(
        &mut self,
        documents: &mut impl Iterator<Item = Result<Document>>,
    ) -> (Vec<Document>, Option<Result<()>>) {
        let mut batch: Vec<Document> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_DOCUMENTS && bytes < BATCH_TEXT_BYTES {
            let document = match documents.next() {
                None => return (batch, Some(Ok(()))),
                Some(next) => next.and_then(|document| document.validate().map(|()| document)),
            };
            match document {
                Ok(document) if !self.seen.insert(xxh3_128(document.id.as_bytes())) => {
                    return (batch, Some(Err(Error::DuplicateId { id: document.id })));
                }
                Ok(document) => {
                    bytes += document.text.len();
                    batch.push(document);
                }
                Err(error) => return (batch, Some(Err(error))),
            }
        }
        (batch, None)
    }

    fn seal(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if let (false, Some(encoder)) = (buffer.is_empty(), &self.encoder) {
            let maker = encoder.maker();
            self.progress.stage = Stage::Sealing;
            if let Some(callback) = &mut self.callback {
                // Whatever the answer, this segment is written: a cancel is heard after it.
                let _ = callback(&self.progress);
            }
            let stored =
                self.collection
                    .inner
                    .store_sealed(&self.collection.state, maker, buffer)?;
            self.added.count(stored);
        }
        self.progress.durable_documents = self.progress.documents;
        Ok(())
    }

    fn tell(&mut self) -> Result<()> {
        self.progress.stage = Stage::Encoding;
        match self
            .callback
            .as_mut()
            .map(|callback| callback(&self.progress))
        {
            Some(ControlFlow::Break(())) => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}
