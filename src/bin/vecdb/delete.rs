//! `vecdb delete`: documents by id.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Examples:
  vecdb delete b-tree skip-list --db notes.vecdb
  vecdb delete --from-file gone.txt --dry-run
  vecdb query 'out of date' --filter 'year < 2000' --json | jq -r .id | vecdb delete --from-file -

With --json, one object:
  {\"deleted\": 2, \"unknown\": [\"…\"], \"dry_run\": false}
  unknown: ids that no document has; with --dry-run, deleted counts what would be.

Exit codes: 0 all deleted, 1 an id is unknown (the others are deleted), 2 error (nothing is deleted).";

/// Which documents.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The documents' ids
    #[arg(required_unless_present = "from_file", value_name = "ID")]
    pub ids: Vec<String>,
    /// A file with one id a line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Serialize)]
struct DeletedObject<'a> {
    deleted: u64,
    unknown: Vec<&'a str>,
    dry_run: bool,
}

/// Deletes the documents in one step.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let listed = arguments
        .from_file
        .as_deref()
        .map(read_list)
        .transpose()?
        .unwrap_or_default();
    let ids: BTreeSet<&str> = arguments
        .ids
        .iter()
        .map(String::as_str)
        .chain(listed.lines())
        .filter(|id| !id.is_empty())
        .collect();

    let database = if arguments.dry_run {
        global.open_for_reading()?
    } else {
        global.open_for_writing()?
    };
    let collection = database.existing_collection(global.collection_name())?;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for id in ids {
        if collection.get(id)?.is_some() {
            known.push(id)
        } else {
            unknown.push(id)
        }
    }
    let deleted = if arguments.dry_run {
        known.len() as u64
    } else {
        collection.delete(&known)?
    };
    let name = collection.name().to_owned();
    drop(collection);
    if !arguments.dry_run {
        database.close()?;
    }

    for id in &unknown {
        output.note(format_args!("no document {id:?} in collection {name:?}"));
    }
    let outcome = if unknown.is_empty() {
        Outcome::Done
    } else {
        Outcome::Nothing
    };
    if output.json {
        output.object(&DeletedObject {
            deleted,
            unknown,
            dry_run: arguments.dry_run,
        })?;
    } else if arguments.dry_run {
        for id in known {
            output.line(text::plain(id))?;
        }
        output.flush()?;
        output.note(format_args!(
            "would delete {}",
            text::count(deleted, "document")
        ));
    } else {
        output.note(format_args!("deleted {}", text::count(deleted, "document")));
    }
    Ok(outcome)
}

fn read_list(path: &Path) -> Result<String, Failure> {
    let mut list = String::new();
    let read = if path == Path::new("-") {
        io::stdin().read_to_string(&mut list).map(|_| ())
    } else {
        std::fs::read_to_string(path).map(|text| list = text)
    };
    read.map_err(|error| {
        Failure::Usage(format!("cannot read ids from {}: {error}", path.display()))
    })?;
    Ok(list)
}
