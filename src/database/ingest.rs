//! A stream of documents, in bounded memory: batch → vectors → buffer → segment.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::Instant;

use xxhash_rust::xxh3::xxh3_128;

use super::collection::{Added, Collection, Encoding};
use super::embed::{Help, Weight};
use super::write::SEAL_ROWS;
use crate::document::{Document, EmbeddedDocument, InputHash};
use crate::error::{Error, Result};

/// Documents are encoded together until there are so many, or so many bytes of text: enough to sort by length, few enough
/// that progress is told, and a cancel heard, every few seconds on a slow machine.
const BATCH_DOCUMENTS: usize = 256;
const BATCH_TEXT_BYTES: usize = 64 << 10;
/// Below this, every few documents would become a segment.
const LEAST_MEMORY: u64 = 32 << 20;
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
pub struct BatchOptions<'a> {
    progress: Option<Callback<'a>>,
    max_memory: u64,
}

impl Default for BatchOptions<'_> {
    fn default() -> Self {
        Self {
            progress: None,
            max_memory: 1 << 30,
        }
    }
}

impl<'a> BatchOptions<'a> {
    /// Called after each batch, and before each seal, whose answer is not heard. `ControlFlow::Break` seals what is encoded and ends the call with
    /// [`Error::Cancelled`].
    #[must_use]
    pub fn progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }

    /// About how many bytes the documents in hand may take, from their text to their segment, whatever they hold; 1 GiB if
    /// not said, and at least 32 MiB. The encoder, open segments and merges ([`Merging`](super::Merging)) are not in it. A
    /// document that alone takes more than three quarters is refused with [`Error::Document`]: some 100 MB of prose at 1 GiB.
    #[must_use]
    pub fn max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = bytes.max(LEAST_MEMORY);
        self
    }

    pub(super) fn memory(&self) -> u64 {
        self.max_memory
    }

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
    max_memory: u64,
    progress: Progress,
    added: Added,
    buffer: Vec<EmbeddedDocument>,
    /// Document and passage in the buffer by what the encoder was given.
    buffered: HashMap<InputHash, (usize, usize)>,
    /// Hashes of all ids of the stream: 16 bytes each, however long the ids are.
    seen: HashSet<u128>,
}

pub(super) fn run(
    collection: &Collection,
    mut documents: impl Iterator<Item = Result<Document>>,
    options: BatchOptions<'_>,
) -> Result<Added> {
    let progress = Progress::start(Stage::Encoding);
    let max_memory = options.max_memory;
    let callback = options.into_callback();
    let mut run = Run {
        collection,
        encoder: None,
        callback,
        max_memory,
        progress,
        added: Added::default(),
        buffer: Vec::new(),
        buffered: HashMap::new(),
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
            let start = Instant::now();
            let (batch, end) = self.take(documents);
            self.added.times.reading += start.elapsed();
            let taken = batch.len() as u64;
            let bytes = batch.iter().map(|d| d.text.len() as u64).sum::<u64>();
            if taken > 0 {
                let (start, before) = (Instant::now(), self.added.times.encoding);
                self.embed(batch, bytes)?;
                let encoding = self.added.times.encoding - before;
                self.added.times.cutting += start.elapsed().saturating_sub(encoding);
            }
            self.progress.documents += taken;
            self.progress.text_bytes += bytes;
            self.progress.passages = self.added.passages;
            if self.is_full() {
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

    /// Is it time for a segment? What waits may take a quarter of the memory, the next document the rest.
    fn is_full(&self) -> bool {
        let held = Weight {
            text: self.buffer.iter().map(|d| d.text.len() as u64).sum(),
            passages: self.buffer.iter().map(|d| d.passages.len() as u64).sum(),
            tokens: 0,
        };
        let dimension = self.encoder.as_ref().map_or(0, Encoding::dimension);
        held.passages >= SEAL_ROWS
            || held.text >= SEAL_TEXT_BYTES as u64
            || held.bytes(dimension) >= self.max_memory / 4
    }

    fn embed(&mut self, batch: Vec<Document>, bytes: u64) -> Result<()> {
        let encoder = match &self.encoder {
            Some(encoder) => encoder,
            None => self.encoder.insert(self.collection.encoder()?),
        };
        let (buffer, buffered) = (&self.buffer, &self.buffered);
        let made = |input: InputHash| {
            let &(document, passage) = buffered.get(&input)?;
            Some(buffer[document].passages[passage].vector.clone())
        };
        let (callback, begun) = (&mut self.callback, self.progress);
        // A long document is many batches of the encoder's.
        let mut tell_part = |part: f64| {
            let text_bytes = begun.text_bytes + (part * bytes as f64) as u64;
            tell(
                callback.as_mut(),
                &Progress {
                    text_bytes,
                    ..begun
                },
            )
        };
        let (collection, added) = (self.collection, &mut self.added);
        let help = Help {
            made: &made,
            tell: &mut tell_part,
            memory: self.max_memory / 4 * 3,
        };
        let embedded = collection.embed_new(encoder, batch, help, added)?;
        for document in embedded {
            let at = self.buffer.len();
            for (nth, passage) in document.passages.iter().enumerate() {
                self.buffered
                    .extend(passage.input.map(|input| (input, (at, nth))));
            }
            self.buffer.push(document);
        }
        Ok(())
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
        self.buffered = HashMap::new();
        if let (false, Some(encoder)) = (buffer.is_empty(), &self.encoder) {
            let maker = encoder.maker();
            let start = Instant::now();
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
            self.added.times.writing += start.elapsed();
        }
        self.progress.durable_documents = self.progress.documents;
        Ok(())
    }

    fn tell(&mut self) -> Result<()> {
        self.progress.stage = Stage::Encoding;
        tell(self.callback.as_mut(), &self.progress)
    }
}

fn tell(callback: Option<&mut Callback<'_>>, progress: &Progress) -> Result<()> {
    match callback.map(|callback| callback(progress)) {
        Some(ControlFlow::Break(())) => Err(Error::Cancelled),
        _ => Ok(()),
    }
}
