//! Files → documents, one after another, read ahead by a thread of its own.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use xxhash_rust::xxh3::xxh3_128;

use super::contained::Contained;
use super::plan::{Failure, FileRead, Found};
use super::queue::{Receiver, Sender, bounded};
use super::read::npy::Rows;
use super::read::{Item, Reader, Record, Stop};
use super::walk::{SourceFile, place};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::vector::Vector;

/// Text that is read ahead, in bytes, where one document may have more.
const AHEAD: usize = 8 << 20;
/// How many failures a file tells one by one.
const FAILURES_LISTED: usize = 1_000;

/// The documents of a plan.
///
/// A record or file that cannot be stored is told to [`Sources::on_failure`](super::Sources::on_failure) and left out; without
/// such a callback, or if that breaks, it is an error, and nothing follows it.
pub struct Documents {
    queue: Option<Receiver<Result<Read>>>,
    pub(super) found: Arc<Found>,
    state: Arc<State>,
    is_done: bool,
}

/// A document, with its vector where it comes with one.
type Taken = (Document, Option<Vec<f32>>);

/// A document on its way, and where its file is.
struct Read {
    taken: Taken,
    /// Bytes of all files that were read when it was.
    bytes: u64,
    file: usize,
    /// How many files were read with it.
    files: u64,
}

/// What reader and taker both see.
#[derive(Default)]
struct State {
    reading: Mutex<Reading>,
    /// Numbers of the files in which something failed.
    failed: Mutex<HashSet<usize>>,
}

/// How far reading is, as far as its documents are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// Files that were read, as far as their documents were taken.
    pub files: u64,
    /// Bytes of them, of the file in hand too.
    pub bytes: u64,
    /// Documents taken.
    pub documents: u64,
    /// Bytes of their texts.
    pub text_bytes: u64,
    /// The file of the document taken last.
    pub file: String,
    /// Records and files that failed.
    pub failed: u64,
    /// Files that were read, by their format.
    pub formats: BTreeMap<&'static str, u64>,
    /// Files in archives that were passed over, by their extension.
    pub unknown_extensions: BTreeMap<String, u64>,
    /// What is worth knowing: a file whose encoding was guessed.
    pub remarks: Vec<String>,
}

impl State {
    fn reading(&self) -> Reading {
        let reading = self.reading.lock();
        reading.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Reading)) {
        change(&mut self.reading.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Documents {
    pub(super) fn new(found: Arc<Found>) -> Self {
        Self {
            queue: None,
            found,
            state: Arc::default(),
            is_done: false,
        }
    }

    /// How far it is.
    pub fn reading(&self) -> Reading {
        self.state.reading()
    }

    pub(super) fn failed_files(&self) -> HashSet<usize> {
        let failed = self.state.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A second handle, for a callback while the documents are being taken.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.state))
    }

    fn start(&self) -> Result<Receiver<Result<Read>>> {
        let (sender, receiver) = bounded(AHEAD.min(self.found.options.max_bytes / 2));
        let (found, state) = (Arc::clone(&self.found), Arc::clone(&self.state));
        std::thread::Builder::new()
            .name("vecdb-read".into())
            .spawn(move || read_all(&found, &state, &sender))
            .map_err(|error| {
                Error::io("start a thread for", std::path::Path::new("reading"))(error)
            })?;
        Ok(receiver)
    }
}

/// Sees how far [`Documents`] are.
#[derive(Clone)]
pub struct Watch(Arc<State>);

impl Watch {
    /// How far they are.
    pub fn reading(&self) -> Reading {
        self.0.reading()
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.receive()?;
        Some(taken.map(|(document, _)| document))
    }
}

/// Documents with the vectors that they come with; [`Collection::ingest_vectors`](crate::Collection::ingest_vectors) takes them.
pub struct Vectors(Documents);

impl Vectors {
    pub(super) fn new(documents: Documents) -> Self {
        Self(documents)
    }

    /// How far they are.
    pub fn reading(&self) -> Reading {
        self.0.reading()
    }

    /// As [`Documents::watch`].
    pub fn watch(&self) -> Watch {
        self.0.watch()
    }
}

impl Iterator for Vectors {
    type Item = Result<(Document, Vector)>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.0.receive()?;
        Some(taken.and_then(|(document, vector)| {
            let place = || document.source.clone().unwrap_or_default();
            let vector = vector.ok_or_else(|| Error::Input {
                place: place(),
                what: "it comes with no vector".into(),
            })?;
            let vector = Vector::new(vector).map_err(|error| Error::Input {
                place: place(),
                what: error.to_string(),
            })?;
            Ok((document, vector))
        }))
    }
}

impl Documents {
    fn receive(&mut self) -> Option<Result<Taken>> {
        if self.is_done {
            return None;
        }
        let queue = match &self.queue {
            Some(queue) => queue,
            None => match self.start() {
                Ok(queue) => self.queue.insert(queue),
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            },
        };
        let next = queue.receive();
        self.is_done = !matches!(next, Some(Ok(_)));
        let Some(next) = next else {
            let all = self.found.files.iter().map(|file| file.stamp.0).sum();
            self.state.change(|reading| {
                reading.bytes = all;
                let read = self.found.files.iter().filter(|file| !file.is_unchanged);
                reading.files = read.count() as u64;
            });
            return None;
        };
        Some(next.map(|read| {
            self.state.change(|reading| {
                reading.bytes = read.bytes;
                reading.files = read.files;
                reading.documents += 1;
                reading.text_bytes += read.taken.0.text.len() as u64;
                reading.file.clone_from(&self.found.files[read.file].shown);
            });
            read.taken
        }))
    }
}

/// The thread that reads.
fn read_all(found: &Found, state: &State, sender: &Sender<Result<Read>>) {
    let mut before = 0;
    let mut ids = Ids::default();
    let options = &found.options;
    let mut contained = Contained::new(options.reader_process.clone(), options.reader_time);
    let walked = std::mem::take(&mut *found.bad.lock().unwrap_or_else(PoisonError::into_inner));
    for error in walked {
        if fail(found, state, sender, error).is_break() {
            return;
        }
    }
    let mut rows = match options.vectors.as_deref().map(Rows::open).transpose() {
        Ok(rows) => rows,
        Err(error) => return end(sender, error),
    };
    let mut number = 0;
    for (at, file) in found.files.iter().enumerate() {
        if file.is_unchanged {
            before += file.stamp.0;
            continue;
        }
        number += 1;
        let one = One {
            number,
            rows: rows.as_mut(),
            found,
            state,
            sender,
            at,
            file,
            ids: &mut ids,
            bytes_before: before,
            bytes_read: Arc::default(),
            told: FileRead {
                path: file.shown.clone(),
                format: None,
                bytes: file.stamp.0,
                documents: 0,
                failures: Vec::new(),
                failed: 0,
            },
        };
        if one.read(&mut contained).is_break() {
            return;
        }
        before += file.stamp.0;
    }
    if let Some(left) = rows.as_ref().map(Rows::left).filter(|&left| left > 0) {
        let place = options
            .vectors
            .as_ref()
            .map(|path| path.display().to_string());
        let error = Error::Input {
            place: place.unwrap_or_default(),
            what: format!("it holds {left} vectors more than there are records"),
        };
        // What was taken before it may belong to other records than it was taken for.
        end(sender, error);
    }
}

/// Tells what no callback is asked about.
fn end(sender: &Sender<Result<Read>>, error: Error) {
    let _ = sender.send(Err(error), 1);
}

/// One file, being read.
struct One<'a> {
    found: &'a Found,
    state: &'a State,
    sender: &'a Sender<Result<Read>>,
    at: usize,
    /// Counted from 1, unchanged ones left out.
    number: u64,
    file: &'a SourceFile,
    ids: &'a mut Ids,
    bytes_before: u64,
    /// Vectors beside the records.
    rows: Option<&'a mut Rows>,
    bytes_read: Arc<AtomicU64>,
    told: FileRead,
}

impl One<'_> {
    fn read(mut self, contained: &mut Contained) -> ControlFlow<()> {
        let options = Arc::clone(&self.found.options);
        let (file, bytes_read) = (self.file, Arc::clone(&self.bytes_read));
        // What a reader of records does not expect is a fault of its file, too.
        let read = AssertUnwindSafe(|| {
            let mut reader = Reader {
                options,
                contained,
                bytes_read,
                sink: &mut |item| self.take(item),
            };
            reader.file(file)
        });
        let end = catch_unwind(read).unwrap_or_else(|_| {
            let what = "its reader failed on it: the file is damaged".into();
            let place = file.shown.clone();
            Err(Stop::Failed(Error::Input { place, what }))
        });
        match end {
            Ok(format) => {
                self.told.format = format;
                let is_read = self.told.documents > 0 || self.told.failed == 0;
                if let Some(format) = format.filter(|_| is_read) {
                    self.state
                        .change(|reading| *reading.formats.entry(format.name()).or_default() += 1);
                }
            }
            Err(Stop::Failed(error)) => self.fail(error)?,
            Err(Stop::Cancelled) => return ControlFlow::Break(()),
        }
        self.found.listener.read(&self.told)
    }

    fn take(&mut self, item: Item) -> ControlFlow<()> {
        // A record that failed has its row, too.
        let row = match (&mut self.rows, &item) {
            (Some(rows), Item::Record(_) | Item::Failed(_)) => match rows.next() {
                Ok(row) => row,
                Err(error) => {
                    end(self.sender, error);
                    return ControlFlow::Break(());
                }
            },
            _ => None,
        };
        match item {
            Item::Record(mut record) => {
                record.vector = record.vector.take().or(row);
                match self.check(record) {
                    Ok(taken) => self.send(taken),
                    Err(error) => self.fail(error),
                }
            }
            Item::Failed(error) => self.fail(error),
            Item::Remark(remark) => {
                self.state.change(|reading| reading.remarks.push(remark));
                ControlFlow::Continue(())
            }
            Item::PassedOver(extension) => {
                self.state.change(|reading| {
                    *reading.unknown_extensions.entry(extension).or_default() += 1;
                });
                ControlFlow::Continue(())
            }
        }
    }

    fn send(&mut self, taken: Taken) -> ControlFlow<()> {
        self.told.documents += 1;
        let (document, vector) = &taken;
        let vector = vector.as_ref().map_or(0, |vector| 4 * vector.len());
        let weight = document.text.len() + vector + 1_024;
        // An archive's directory is read twice.
        let read = self.bytes_read.load(Ordering::Relaxed);
        let item = Read {
            taken,
            bytes: self.bytes_before + read.min(self.file.stamp.0),
            file: self.at,
            files: self.number,
        };
        self.sender.send(Ok(item), weight)
    }

    fn fail(&mut self, error: Error) -> ControlFlow<()> {
        self.told.failed += 1;
        let failed = self.state.failed.lock();
        failed
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.at);
        if self.told.failures.len() < FAILURES_LISTED {
            self.told.failures.push(Failure::of(&error));
        }
        fail(self.found, self.state, self.sender, error)
    }

    /// The record's document, if it can be stored and its id is new.
    fn check(&mut self, record: Record) -> Result<Taken> {
        let Record {
            line,
            document,
            vector,
        } = record;
        let source = document.source.clone();
        let bad = |what: String| Error::Input {
            place: source.unwrap_or_else(|| place(&self.file.shown, line)),
            what,
        };
        let checked = match vector {
            Some(_) => document.validate_without_text(),
            None => document.validate(),
        };
        if let Err(error) = checked {
            return Err(match error {
                Error::Document { what, .. } => bad(what),
                other => other,
            });
        }
        match self.ids.first(&document.id, self.at, line) {
            None => Ok((document, vector)),
            Some((file, line)) => {
                let first = place(&self.found.files[file].shown, line);
                Err(bad(format!(
                    "the id {:?} is also that of {first}",
                    document.id
                )))
            }
        }
    }
}

/// Tells of a failure; if nobody wants to hear of it, it is the end.
fn fail(
    found: &Found,
    state: &State,
    sender: &Sender<Result<Read>>,
    error: Error,
) -> ControlFlow<()> {
    state.change(|reading| reading.failed += 1);
    if found.listener.failed(&Failure::of(&error)).is_continue() {
        return ControlFlow::Continue(());
    }
    end(sender, error);
    ControlFlow::Break(())
}

/// Where each id was first seen. An id is known by 128 bits of its hash, so memory does not grow with the ids' lengths.
#[derive(Default)]
struct Ids(HashMap<u128, (u32, u32)>);

impl Ids {
    /// The file and line where the id was before.
    fn first(&mut self, id: &str, file: usize, line: Option<u32>) -> Option<(usize, Option<u32>)> {
        let file = u32::try_from(file).unwrap_or(u32::MAX);
        match self.0.entry(xxh3_128(id.as_bytes())) {
            Entry::Vacant(entry) => {
                entry.insert((file, line.unwrap_or(0)));
                None
            }
            Entry::Occupied(entry) => {
                let &(file, line) = entry.get();
                Some((file as usize, (line > 0).then_some(line)))
            }
        }
    }
}
