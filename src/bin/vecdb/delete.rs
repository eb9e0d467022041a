//! `vecdb delete`: documents by id or by their fields.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vecdb::{Collection, Filter};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::text;
use crate::tidy::tidy;

pub const AFTER_HELP: &str = "\
Where more than a fifth of a segment is deleted it is written anew, so that the space returns. A signal ends that, and not \
the deletion.

Examples:
  vecdb delete b-tree skip-list --db notes.vecdb
  vecdb delete --filter 'year < 2000' --dry-run
  vecdb query 'out of date' --json | jq -r .id | vecdb delete --from-file -

With --json, one object:
  {\"deleted\": 2, \"unknown\": [\"…\"], \"dry_run\": false}
  unknown: ids that no document has
  deleted: with --dry-run, how many would be

Exit codes: 0 all deleted, 1 an id is unknown (the others are deleted) or nothing matches, 2 error (nothing is deleted).";

/// Which documents.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The documents' ids
    #[arg(required_unless_present_any = ["from_file", "filter"], value_name = "ID")]
    pub ids: Vec<String>,
    /// A file with one id a line; - is stdin
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
    /// All documents whose fields match, such as "lang = 'en' and year >= 2020"
    #[arg(long, short = 'f', value_name = "FILTER", conflicts_with_all = ["ids", "from_file"])]
    pub filter: Option<String>,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Serialize)]
struct DeletedObject<'a> {
    deleted: u64,
    unknown: &'a [String],
    dry_run: bool,
}

/// Deletes the documents in one step.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let wanted = wanted(arguments)?;
    let database = if arguments.dry_run {
        global.open_for_reading()?
    } else {
        global.open_for_writing()?
    };
    let collection = database.existing_collection(global.collection_name())?;
    let (known, unknown) = wanted.find(&collection)?;
    let deleted = if arguments.dry_run {
        known.len() as u64
    } else {
        collection.delete(&known)?
    };
    let name = collection.name().to_owned();
    drop(collection);
    if !arguments.dry_run {
        tidy(&database, &Interrupt::listen()?, output)?;
        database.close()?;
    }

    for id in &unknown {
        output.note(format_args!("no document {id:?} in collection {name:?}"));
    }
    if output.json {
        output.object(&DeletedObject {
            deleted,
            unknown: &unknown,
            dry_run: arguments.dry_run,
        })?;
    } else if arguments.dry_run {
        for id in known {
            output.line(text::plain(&id))?;
        }
        output.flush()?;
    }
    let verb = if arguments.dry_run {
        "would delete"
    } else {
        "deleted"
    };
    output.note(format_args!("{verb} {}", text::count(deleted, "document")));
    Ok(Outcome::found(unknown.is_empty() && deleted > 0))
}

/// What is to go.
enum Wanted {
    Ids(BTreeSet<String>),
    Matching(Filter),
}

/// What was typed, checked before the database is touched.
fn wanted(arguments: &Arguments) -> Result<Wanted, Failure> {
    if let Some(filter) = &arguments.filter {
        return Ok(Wanted::Matching(Filter::parse(filter)?));
    }
    let listed = arguments.from_file.as_deref().map(read_list).transpose()?;
    let listed = listed.unwrap_or_default();
    let listed = listed.lines().filter(|line| !line.is_empty());
    let typed = arguments.ids.iter().map(String::as_str);
    Ok(Wanted::Ids(
        typed.chain(listed).map(str::to_owned).collect(),
    ))
}

impl Wanted {
    /// The ids that are there, and those that are not.
    fn find(self, collection: &Collection) -> Result<(Vec<String>, Vec<String>), Failure> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        match self {
            Self::Ids(ids) => {
                for id in ids {
                    if collection.get(&id)?.is_some() {
                        known.push(id);
                    } else {
                        unknown.push(id);
                    }
                }
            }
            Self::Matching(filter) => {
                for document in collection.documents() {
                    let document = document?;
                    if filter.matches(&document.fields) {
                        known.push(document.id);
                    }
                }
            }
        }
        Ok((known, unknown))
    }
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
