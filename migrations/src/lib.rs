//! Frozen steps between the on-disk formats of vecdb, and the runner that takes a database through them.
//!
//! ```text
//! FORMAT → stamp.rs → Stamp → run.rs (plan, migrate) → step.rs (one frozen step a file) → g<n>/ → FORMAT
//! ```
//!
//! This package depends on nothing of vecdb, so that a step written for one version can't be changed by the next: a step
//! holds its own copy of the layouts it reads and writes. `README.md` says how a format change is made.
//!
//! | file | subject |
//! |---|---|
//! | `stamp.rs` | the file `FORMAT`: which format, which generation |
//! | `layout.rs` | where a generation lies, and what is left over from others |
//! | `step.rs` | what a step is, and the steps there are |
//! | `run.rs` | which steps a database needs, and taking them |
//! | `files.rs` | every change that the runner makes to files |
//!
//! # Generations
//!
//! A step never changes what it reads: it fills the empty folder of the next generation. The stamp names the generation that
//! counts, and renaming a new stamp over the old one is the commit point.
//!
//! ```text
//! notes.vecdb/                       notes.vecdb/
//!   FORMAT   "vecdb 1 1\n"             FORMAT   "vecdb 2 2\n"
//!   LOCK                               LOCK
//!   MANIFEST                           g2/
//!   meta/             ── step 1→2 →      MANIFEST
//!   segments/                            meta/
//!                                        segments/
//! ```
//!
//! The first generation lies in the database's folder itself, every later one in its `g<n>/` ([`data_folder`]). A crash
//! before the rename leaves the old generation current, and the next run removes the unfinished one; a crash after it
//! leaves the new generation current, and the next run removes the old.

mod files;
mod layout;
mod run;
mod stamp;
mod step;

use std::io;
use std::path::{Path, PathBuf};

pub use layout::data_folder;
pub use run::{Plan, migrate, plan};
pub use stamp::Stamp;
pub use step::{Step, StepError};

/// The format that this version of vecdb reads and writes.
pub const CURRENT_FORMAT: u32 = 1;

/// `std::result::Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The folder has no stamp, or one that vecdb did not write.
    #[error("{} is not a vecdb database: {what}", path.display())]
    NotADatabase {
        /// The folder.
        path: PathBuf,
        /// How it can be told.
        what: &'static str,
    },

    /// The stamp begins as vecdb's do and goes on otherwise.
    #[error("{} is damaged: {what}; it holds one line such as \"vecdb 1 1\"", path.display())]
    Damaged {
        /// The stamp's file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },

    /// A newer vecdb wrote the database.
    #[error("{} has format {found}, and this vecdb reads up to {supported}; install a newer vecdb", path.display())]
    Newer {
        /// The database's folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known.
        supported: u32,
    },

    /// No step leads on from the database's format.
    #[error("{} has format {from}, and no step leads on from it; migrate it with an older vecdb first", path.display())]
    NoStep {
        /// The database's folder.
        path: PathBuf,
        /// The format where the way ends.
        from: u32,
    },

    /// A step failed. The generation it read is untouched and current.
    #[error(
        "the step from format {from} to {to} failed, and the database stays as it was: {source}"
    )]
    Step {
        /// The format that the step reads.
        from: u32,
        /// The format that the step writes.
        to: u32,
        /// Why it failed.
        source: StepError,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
