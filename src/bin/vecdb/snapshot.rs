//! `vecdb snapshot`: a copy of the database, made while it is written to.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vecdb::{Error, SnapshotOptions};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Makes a database of its own in DIR, which is absent or empty, with everything that this one holds now. Other processes go on \
reading and writing; if one writes, the copy has what that one sealed: all but the last few seconds. Files are hard links \
where the disk allows it, which takes no time and no space, and copies elsewhere. A copy that was interrupted has no file \
FORMAT and does not open.

Linked files share their bytes with the database's: they survive what is deleted or purged there, and not what the disk \
loses. For a backup name a folder on another disk, or copy the snapshot there.

Examples:
  vecdb snapshot monday.vecdb --db notes.vecdb
  vecdb snapshot /mnt/backup/notes.vecdb --copy --db notes.vecdb
  vecdb check --db /mnt/backup/notes.vecdb
  vecdb query 'tree' --db monday.vecdb

With --json, one object:
  {\"folder\": \"…\", \"collections\": 2, \"documents\": 300,
   \"linked_files\": 5, \"linked_bytes\": 2345678,
   \"copied_files\": 0, \"copied_bytes\": 0, \"complete\": true}
  complete: false where another process writes, whose last seconds may be
  missing

Exit codes: 0 done, 2 error, 130 ended by a signal.";

/// Where to.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The new database's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Copy every file, also where a hard link could be made
    #[arg(long)]
    pub copy: bool,
}

#[derive(Serialize)]
struct SnapshotObject<'a> {
    folder: &'a str,
    collections: u64,
    documents: u64,
    linked_files: u64,
    linked_bytes: u64,
    copied_files: u64,
    copied_bytes: u64,
    complete: bool,
}

/// Makes the copy.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let database = global.open_for_reading()?;
    let interrupt = Interrupt::listen()?;
    let mut options = SnapshotOptions::default();
    if arguments.copy {
        options = options.copy();
    }
    let made = match database.snapshot_while(&arguments.folder, options, || interrupt.flow()) {
        Err(Error::Cancelled) => {
            output.note("stopped: the folder is no database; remove it");
            return Ok(Outcome::Interrupted);
        }
        made => made?,
    };
    let folder = arguments.folder.display().to_string();
    if output.json {
        output.object(&SnapshotObject {
            folder: &folder,
            collections: made.collections,
            documents: made.documents,
            linked_files: made.linked_files,
            linked_bytes: made.linked_bytes,
            copied_files: made.copied_files,
            copied_bytes: made.copied_bytes,
            complete: made.is_complete,
        })?;
    }
    output.note(format_args!(
        "{folder} holds {} in {}: {} linked ({}), {} copied ({})",
        text::count(made.documents, "document"),
        text::count(made.collections, "collection"),
        text::count(made.linked_files, "file"),
        text::bytes(made.linked_bytes),
        text::count(made.copied_files, "file"),
        text::bytes(made.copied_bytes),
    ));
    if !made.is_complete {
        output.note("another process writes: what it has not sealed yet is not in the copy");
    }
    Ok(Outcome::Done)
}
