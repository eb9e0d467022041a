//! Everything that can go wrong, with what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Each message names the thing and the next step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: "open", "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// Bytes on disk are not what was written.
    #[error("{} is damaged at byte {offset}: {what}; run `vecdb check --repair`, or restore it from a backup", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// The first byte found wrong.
        offset: u64,
        /// What is wrong there.
        what: String,
    },

    /// The catalog (the sled store under `meta/`) failed or holds a value that does not decode.
    #[error("the catalog {} failed: {what}; `vecdb check` says more", path.display())]
    Catalog {
        /// The `meta` folder.
        path: PathBuf,
        /// What failed.
        what: String,
    },

    /// The folder is not there.
    #[error("there is no database at {}; `vecdb ingest --db {} FILE` makes one", path.display(), path.display())]
    NotFound {
        /// The folder asked for.
        path: PathBuf,
    },

    /// The folder exists but vecdb did not make it.
    #[error("{} is not a vecdb database ({what}); nothing in it was changed; name another folder", path.display())]
    NotADatabase {
        /// The folder asked for.
        path: PathBuf,
        /// How it can be told.
        what: String,
    },

    /// A newer vecdb wrote this database.
    #[error("{} has format {found}, and this vecdb reads up to {supported}; install a newer vecdb", path.display())]
    NewerFormat {
        /// The database folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this build reads.
        supported: u32,
    },

    /// An older vecdb wrote this database.
    #[error("{} has format {found}, and this vecdb reads {current}; `vecdb migrate --db {}` brings it there", path.display(), path.display())]
    NeedsMigration {
        /// The database folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format this build writes.
        current: u32,
    },

    /// A migration cannot be planned or failed; the generation it read is untouched.
    #[error("the database cannot be migrated: {what}")]
    Migration {
        /// What failed.
        what: String,
    },

    /// Another process, or another `Database` of this one, writes to the database.
    #[error("{} is open for writing in {}", path.display(), held_by(*here, holder))]
    Locked {
        /// The database folder.
        path: PathBuf,
        /// Is it this process that holds it?
        here: bool,
        /// The process that holds it: pid, start time and command as far as known.
        holder: String,
    },

    /// The folder is not the one that was opened for writing: it was moved, removed or replaced.
    #[error("{} was moved, removed or replaced while it was open for writing, so nothing more is written; what was acknowledged is in the folder that was opened, wherever it is now; open it again", path.display())]
    Replaced {
        /// The database folder, as it was opened.
        path: PathBuf,
    },

    /// The operation writes, and the database was opened to read only.
    #[error("{} was opened read-only; open it with `Database::open` to change it", path.display())]
    ReadOnly {
        /// The database folder.
        path: PathBuf,
    },

    /// An encoder cannot be tuned; nothing was changed.
    #[error("cannot tune: {what}")]
    Tune {
        /// Why.
        what: String,
    },

    /// No collection of that name.
    #[error("there is no collection {name:?}{}", one_of(known))]
    NoCollection {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },

    /// A collection of that name exists with other settings, or the name cannot be used.
    #[error("collection {name:?}: {what}")]
    Collection {
        /// The collection's name.
        name: String,
        /// What is wrong.
        what: String,
    },

    /// The device that was asked for cannot run the model.
    #[error("device {device:?} cannot be used: {what}")]
    Device {
        /// The device: "cuda", "tensorrt".
        device: String,
        /// What is missing, and where it comes from.
        what: String,
    },

    /// The collection's vectors were made by another encoder.
    #[error(
        "collection {collection:?} was made by encoder {stored}, and the encoder at hand is {given}; name the model folder it was made with, and the same window, overlap and dimension, or ingest into a new collection"
    )]
    EncoderMismatch {
        /// The collection.
        collection: String,
        /// Fingerprint and name of the encoder that made it.
        stored: String,
        /// Fingerprint and name of the encoder that was loaded.
        given: String,
    },

    /// A document cannot be stored as it is.
    #[error("document {id:?} cannot be stored: {what}")]
    Document {
        /// The document's id.
        id: String,
        /// What is wrong with it.
        what: String,
    },

    /// One call names the same document twice.
    #[error("document {id:?} stands twice in one batch; give each document its own id")]
    DuplicateId {
        /// The id that stands twice.
        id: String,
    },

    /// Components cannot form a vector.
    #[error("this is not a vector: {what}")]
    Vector {
        /// What is wrong.
        what: String,
    },

    /// A vector's length is not the collection's.
    #[error("a vector has {given} components where {expected} are expected")]
    Dimension {
        /// The collection's dimension.
        expected: usize,
        /// The vector's.
        given: usize,
    },

    /// A filter does not parse. The message shows the place with a caret.
    #[error("the filter does not parse: {what}\n{}", filter_place(filter, *offset))]
    Filter {
        /// The filter as typed.
        filter: String,
        /// The byte where it goes wrong.
        offset: usize,
        /// What was expected there.
        what: String,
    },

    /// A query asks for something that cannot be.
    #[error("the query cannot be run: {what}")]
    Query {
        /// What is wrong.
        what: String,
    },

    /// A file to be read is not what its format asks for.
    #[error("{place}: {what}")]
    Input {
        /// File, and line where there is one: `notes.jsonl:12`.
        place: String,
        /// What is wrong there.
        what: String,
    },

    /// The ONNX Runtime library is missing, too old, or does not load.
    #[error(
        "ONNX Runtime cannot be used: {what}; run `vecdb setup`, or set ORT_DYLIB_PATH to libonnxruntime (1.22 or newer)"
    )]
    Runtime {
        /// What failed, and where it was looked for.
        what: String,
    },

    /// A model folder cannot be used.
    #[error("the model folder {} cannot be used: {what}", path.display())]
    Model {
        /// The model folder.
        path: PathBuf,
        /// What is missing or not supported.
        what: String,
    },

    /// The encoder failed while it ran.
    #[error("encoding failed: {what}")]
    Encode {
        /// What failed.
        what: String,
    },

    /// `vecdb setup` could not fetch or unpack something.
    #[error("set-up failed: {what}")]
    Setup {
        /// What failed, and what to do instead.
        what: String,
    },

    /// The caller's cancel flag was set. What was acknowledged before stays.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// For `map_err` on a file operation: `.map_err(Error::io("open", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn catalog(folder: &Path, what: impl Into<String>) -> Self {
        Self::Catalog {
            path: folder.to_path_buf(),
            what: what.into(),
        }
    }

    /// For a place in a file that is not as it was written.
    pub(crate) fn damaged(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_path_buf(),
            offset,
            what: what.into(),
        }
    }
}

fn held_by(here: bool, holder: &str) -> String {
    if here {
        format!("this process already ({holder}); use a clone of that `Database`, or drop it first")
    } else {
        format!("another process ({holder}); wait for it or end it")
    }
}

fn one_of(known: &[String]) -> String {
    if known.is_empty() {
        "; the database has none yet".into()
    } else {
        format!("; there is: {}", known.join(", "))
    }
}

/// The filter around the place, on one line, and a caret under it.
fn filter_place(filter: &str, offset: usize) -> String {
    /// Characters shown on each side; more would wrap on a terminal.
    const AROUND: usize = 40;
    let (before, after) = filter.split_at_checked(offset).unwrap_or((filter, ""));
    let hidden = before.chars().count().saturating_sub(AROUND);
    let one_line = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = if hidden > 0 { "…" } else { "" }.into();
    shown.extend(before.chars().skip(hidden).map(one_line));
    // An ideographic space is as wide as an ideograph, so the caret stays under its character.
    let indent: String = shown
        .chars()
        .map(|c| if is_wide(c) { '\u{3000}' } else { ' ' })
        .collect();
    shown.extend(after.chars().take(AROUND).map(one_line));
    let more = if after.chars().nth(AROUND).is_some() {
        "…"
    } else {
        ""
    };
    format!("  {shown}{more}\n  {indent}^")
}

/// Does a terminal give the character two columns? The large blocks of East Asian scripts and emoji.
fn is_wide(c: char) -> bool {
    matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xff00..=0xff60 | 0x1f300..=0x1faff | 0x20000..=0x3fffd)
}
