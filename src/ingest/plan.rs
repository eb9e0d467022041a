//! The first pass: everything is read, checked and counted.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::read::{self, Record, Stamp};
use super::walk::{Content, SourceFile, place, walk};
use super::{Documents, Options, Sources};
use crate::error::{Error, Result};

/// How many skipped records are told one by one.
const SKIPPED_LISTED: usize = 1_000;
/// How many records lie between two calls of the progress callback.
const RECORDS_BETWEEN: u32 = 512;

/// How far the first pass is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scanned {
    /// Documents found so far.
    pub documents: u64,
    /// Bytes of the files read so far.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// A record or file that was left out because it is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// File, and line where there is one: `notes.jsonl:12`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// What will be read. It was read once, so its numbers are exact as long as the files do not change.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Files that were read, readers counted.
    pub files: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bytes of the documents' texts.
    pub text_bytes: u64,
    /// How many bad records and files are left out.
    pub skipped_count: u64,
    /// The first 1,000 of them.
    pub skipped: Vec<Skipped>,
    /// Files in folders that were passed over because no reader knows their extension: `"pdf"` → how many. Files without
    /// an extension count under `""`.
    pub unknown_extensions: BTreeMap<String, u64>,
    /// What else is worth knowing: a folder recognised as BEIR's, a link that leads nowhere, a file whose encoding was
    /// guessed.
    pub remarks: Vec<String>,
    pub(super) reading: Arc<Reading>,
}

/// What the second pass needs.
#[derive(Debug)]
pub(super) struct Reading {
    /// Each file with its stamp; `None` for one that could not be opened and is left out.
    pub files: Vec<(SourceFile, Option<Stamp>)>,
    pub options: Arc<Options>,
    /// Records whose id stands elsewhere before: number of the file, line.
    pub repeated: HashSet<(u32, u32)>,
}

impl Plan {
    /// The second pass: the documents, in the same order each time it is called.
    pub fn documents(&self) -> Documents {
        Documents::new(Arc::clone(&self.reading))
    }
}

/// What is left out, if that is wanted.
struct Bad {
    skip: bool,
    count: u64,
    listed: Vec<Skipped>,
}

impl Bad {
    fn leave_out(&mut self, error: Error) -> Result<()> {
        let (place, what) = match error {
            Error::Input { place, what } if self.skip => (place, what),
            Error::Input { place, what } => {
                return Err(Error::Input {
                    place,
                    what: format!("{what} (`--skip-bad` leaves out what is bad)"),
                });
            }
            Error::Io { ref path, .. } if self.skip => {
                (path.display().to_string(), error.to_string())
            }
            error => return Err(error),
        };
        self.count += 1;
        if self.listed.len() < SKIPPED_LISTED {
            self.listed.push(Skipped { place, what });
        }
        Ok(())
    }
}

pub(super) fn plan(
    sources: Sources,
    progress: &mut dyn FnMut(&Scanned) -> ControlFlow<()>,
) -> Result<Plan> {
    let options = Arc::new(sources.options);
    let found = walk(sources.inputs, &options)?;
    let mut bad = Bad {
        skip: options.skip_bad,
        count: 0,
        listed: Vec::new(),
    };
    for error in found.bad {
        bad.leave_out(error)?;
    }
    let bytes_total = found.files.iter().map(bytes).sum();
    let bytes_read = Arc::new(AtomicU64::new(0));
    let mut tell = |documents: u64| {
        let scanned = Scanned {
            documents,
            bytes: bytes_read.load(Ordering::Relaxed),
            bytes_total,
        };
        match progress(&scanned) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    };
    let (mut files, mut documents, mut text_bytes) = (0, 0, 0);
    let mut ids = Ids::default();
    let mut remarks = found.remarks;
    let mut stamps = Vec::with_capacity(found.files.len());
    for (file, number) in found.files.iter().zip(0_u32..) {
        let records = match read::open(file, &options, &bytes_read) {
            Ok(opened) => {
                stamps.push(Some(opened.stamp));
                if let Some(encoding) = opened.guessed {
                    remarks.push(format!(
                        "{} is not UTF-8; it is read as {encoding}",
                        file.shown
                    ));
                }
                opened.records
            }
            Err(error) => {
                stamps.push(None);
                bad.leave_out(error)?;
                continue;
            }
        };
        files += 1;
        for (record, count) in records.zip(1_u32..) {
            let checked = match record {
                // Reading on is hopeless, and leaving out the rest in silence is no answer to a failing disk.
                Err(error) if !matches!(error, Error::Input { .. }) => return Err(error),
                record => {
                    record.and_then(|record| check(record, file, number, &found.files, &mut ids))
                }
            };
            match checked {
                Ok(bytes) => {
                    documents += 1;
                    text_bytes += bytes;
                }
                Err(error) => bad.leave_out(error)?,
            }
            if count % RECORDS_BETWEEN == 0 {
                tell(documents)?;
            }
        }
        tell(documents)?;
    }
    Ok(Plan {
        files,
        documents,
        text_bytes,
        skipped_count: bad.count,
        skipped: bad.listed,
        unknown_extensions: found.unknown_extensions,
        remarks,
        reading: Arc::new(Reading {
            files: found.files.into_iter().zip(stamps).collect(),
            options,
            repeated: ids.repeated,
        }),
    })
}

/// Where each id was first seen. An id is known by 128 bits of its hash, so memory does not grow with the ids' lengths.
#[derive(Default)]
struct Ids {
    /// Halves of the hash → number of the file, line (0 for a whole file).
    seen: HashMap<(u64, u64), (u32, u32)>,
    repeated: HashSet<(u32, u32)>,
}

/// The bytes of the record's text, if it can be stored and its id is new.
fn check(
    record: Record,
    file: &SourceFile,
    number: u32,
    files: &[SourceFile],
    ids: &mut Ids,
) -> Result<u64> {
    let Record { line, document } = record;
    let bad = |what: String| Error::Input {
        place: place(&file.shown, line),
        what,
    };
    document.validate().map_err(|error| match error {
        Error::Document { what, .. } => bad(what),
        other => other,
    })?;
    let hash = xxhash_rust::xxh3::xxh3_128(document.id.as_bytes());
    match ids.seen.entry(((hash >> 64) as u64, hash as u64)) {
        Entry::Vacant(entry) => {
            entry.insert((number, line.unwrap_or(0)));
            Ok(document.text.len() as u64)
        }
        Entry::Occupied(entry) => {
            let &(first, first_line) = entry.get();
            ids.repeated.insert((number, line.unwrap_or(0)));
            let first = place(
                &files[first as usize].shown,
                Some(first_line).filter(|&line| line > 0),
            );
            Err(bad(format!(
                "the id {:?} is also that of {first}; give each document its own",
                document.id
            )))
        }
    }
}

fn bytes(file: &SourceFile) -> u64 {
    match &file.content {
        Content::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Content::Spool(spool) => spool.bytes,
    }
}
