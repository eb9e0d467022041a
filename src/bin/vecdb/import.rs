//! `vecdb import`: what `vecdb export` wrote, into a collection.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vecdb::{BatchOptions, Error, Progress};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;
use crate::tidy::tidy;

pub const AFTER_HELP: &str = "\
Reads what `vecdb export` wrote, JSON lines or Parquet; for other files there is `vecdb ingest`. The documents go into the \
collection that --collection names, or else into the one of the file's. Documents whose id is there already are replaced, \
equal ones left alone. Vectors are stored as they are; they must be of the collection's encoder. Where the file has none, \
the texts are encoded. The whole file is checked before anything is stored.

Examples:
  vecdb import notes.jsonl --db other.vecdb
  vecdb import notes.parquet -c copy
  ssh host vecdb export --vectors --db notes.vecdb | vecdb import -

With --json, one object:
  {\"collection\": \"notes\", \"vectors\": true, \"added\": 280, \"updated\": 15,
   \"unchanged\": 5, \"passages\": 1204, \"tokens\": 0, \"seconds\": 1.2,
   \"interrupted\": false}
  vectors: whether they came along; passages, tokens: what was stored and
  encoded

Exit codes: 0 done, 2 error, 130 ended by a signal (what was stored stays; run it again to go on).";

/// What to read.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Default, Serialize)]
struct ImportedObject {
    collection: Option<String>,
    vectors: Option<bool>,
    added: u64,
    updated: u64,
    unchanged: u64,
    passages: u64,
    tokens: u64,
    seconds: f64,
    interrupted: bool,
}

/// Checks the file, then stores its documents.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let path = global.database_path()?;
    let is_stream = arguments.file == Path::new("-");
    if !is_stream {
        // Where there is nothing to read, no empty database is left behind.
        File::open(&arguments.file).map_err(|source| Error::Io {
            action: "open",
            path: arguments.file.clone(),
            source,
        })?;
    }
    let interrupt = Interrupt::listen()?;
    let database = global.options().open(path)?;
    let mut meter = Meter::start(0, output);
    let options = BatchOptions::default().progress(|progress: &Progress| {
        let documents = text::count(progress.documents, "document");
        meter.update(0, 0, format_args!("stored: {documents}"));
        interrupt.flow()
    });
    let collection = global.collection.as_deref();
    let result = if is_stream {
        database.import_from(io::stdin(), collection, options)
    } else {
        database.import(&arguments.file, collection, options)
    };
    meter.finish();
    let interrupted = matches!(result, Err(Error::Cancelled));
    let mut object = ImportedObject {
        seconds: meter.elapsed().as_secs_f64(),
        interrupted,
        ..ImportedObject::default()
    };
    match result {
        Ok(imported) => {
            output.note(format_args!(
                "{} into collection {:?} in {}: {} added, {} updated, {} unchanged",
                if imported.vectors {
                    "imported"
                } else {
                    "imported and encoded"
                },
                imported.collection,
                text::duration(meter.elapsed()),
                text::grouped(imported.added.added),
                text::grouped(imported.added.updated),
                text::grouped(imported.added.unchanged)
            ));
            object.collection = Some(imported.collection);
            object.vectors = Some(imported.vectors);
            object.added = imported.added.added;
            object.updated = imported.added.updated;
            object.unchanged = imported.added.unchanged;
            object.passages = imported.added.passages;
            object.tokens = imported.added.tokens;
        }
        Err(Error::Cancelled) => {
            output.note("stopped: what was stored stays; the same command goes on from here");
        }
        Err(error) => return Err(error.into()),
    }
    if !interrupted {
        tidy(&database, &interrupt, output)?;
    }
    database.close()?;
    if output.json {
        output.object(&object)?;
    }
    Ok(Outcome::unless_interrupted(interrupted))
}
