//! What will be read, before any of it is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::walk::{SourceFile, walk};
use super::{Documents, Format, Options, Sources, Vectors};
use crate::error::{Error, Result};

/// The files that were found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// How many there are, readers counted.
    pub files: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Files in folders that were passed over because no reader knows them: `"mp3"` → how many. Files without an extension
    /// count under `""`.
    pub unknown_extensions: BTreeMap<String, u64>,
    /// Files in folders that ignore files leave out.
    pub ignored: u64,
    /// What else is worth knowing: a folder recognised as BEIR's, a link that leads nowhere.
    pub remarks: Vec<String>,
    pub(super) found: Arc<Found>,
}

/// What files look like: their sizes and times of change. A change that keeps both is not seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<String, Stamp>);

/// Of one file: its bytes, and when they were changed.
pub(super) type Stamp = (u64, Option<SystemTime>);

impl Stamps {
    /// Does the file look as it did?
    pub(super) fn holds(&self, file: &SourceFile) -> bool {
        // A system that tells no times tells of no changes.
        self.0.get(&file.shown) == Some(&file.stamp) && file.stamp.1.is_some()
    }
}

/// What reading needs.
#[derive(Debug)]
pub(super) struct Found {
    pub files: Vec<SourceFile>,
    pub options: Arc<Options>,
    pub listener: Listener,
    /// Folders that were named.
    pub roots: Vec<String>,
    /// What could not even be looked at.
    pub bad: Mutex<Vec<Error>>,
}

/// A file, or a record of one, that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The file, and the line where there is one: `notes.jsonl:12`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Input { place, what } => Self {
                place: place.clone(),
                what: what.clone(),
            },
            Error::Io { path, source, .. } => Self {
                place: path.display().to_string(),
                what: match source.kind() {
                    std::io::ErrorKind::Other | std::io::ErrorKind::InvalidData => {
                        source.to_string()
                    }
                    _ => format!("it cannot be read: {source}"),
                },
            },
            other => Self {
                place: String::new(),
                what: other.to_string(),
            },
        }
    }
}

/// A file that was read to its end, or as far as it can be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileRead {
    /// The file.
    pub path: String,
    /// What it is, where that is known.
    pub format: Option<Format>,
    /// Its size.
    pub bytes: u64,
    /// Documents in it.
    pub documents: u64,
    /// What is wrong in it: the first thousand.
    pub failures: Vec<Failure>,
    /// How much is.
    pub failed: u64,
}

type Callback<T> = Mutex<Box<dyn FnMut(&T) -> ControlFlow<()> + Send>>;

/// Who is told what happens while files are read.
#[derive(Default)]
pub(super) struct Listener {
    pub failure: Option<Callback<Failure>>,
    pub file: Option<Callback<FileRead>>,
}

impl Listener {
    /// Is reading to go on after this? It is not, if nobody hears of it.
    pub fn failed(&self, failure: &Failure) -> ControlFlow<()> {
        self.failure
            .as_ref()
            .map_or(ControlFlow::Break(()), |callback| tell(callback, failure))
    }

    pub fn read(&self, file: &FileRead) -> ControlFlow<()> {
        self.file
            .as_ref()
            .map_or(ControlFlow::Continue(()), |callback| tell(callback, file))
    }
}

fn tell<T>(callback: &Callback<T>, what: &T) -> ControlFlow<()> {
    callback.lock().unwrap_or_else(PoisonError::into_inner)(what)
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Plan {
    /// Reads them, as documents with the vectors that they come with ([`Sources::vector_field`], [`Sources::vectors`]).
    pub fn vectors(&self) -> Vectors {
        Vectors::new(self.documents())
    }

    /// What the files look like now, by which [`Sources::changed_since`] knows later which of them changed.
    pub fn stamps(&self) -> Stamps {
        let files = self.found.files.iter();
        Stamps(files.map(|file| (file.shown.clone(), file.stamp)).collect())
    }

    /// Reads them.
    pub fn documents(&self) -> Documents {
        Documents::new(Arc::clone(&self.found))
    }
}

pub(super) fn plan(sources: Sources) -> Result<Plan> {
    let Sources {
        inputs,
        options,
        listener,
    } = sources;
    let mut found = walk(inputs, &options)?;
    if let Some(stamps) = &options.changed_since {
        for file in &mut found.files {
            file.is_unchanged = stamps.holds(file);
        }
    }
    Ok(Plan {
        files: found.files.len() as u64,
        bytes: found.files.iter().map(|file| file.stamp.0).sum(),
        unknown_extensions: found.unknown_extensions,
        ignored: found.ignored,
        remarks: found.remarks,
        found: Arc::new(Found {
            files: found.files,
            roots: found.roots,
            options: Arc::new(options),
            listener,
            bad: Mutex::new(found.bad),
        }),
    })
}
