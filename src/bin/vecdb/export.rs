//! `vecdb export`: a collection as a file that other programs read.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use vecdb::{Collection, Error, ExportFormat, ExportOptions, Exported};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

pub const AFTER_HELP: &str = "\
Writes all documents of a collection, as they are when it begins. With --vectors each has its passages, byte ranges and \
vectors, and `vecdb import` encodes nothing; without, the texts are encoded on import. The first line (in Parquet the \
footer's metadata) says which encoder made the vectors.

Examples:
  vecdb export --db notes.vecdb > notes.jsonl
  vecdb export notes.jsonl --vectors -c notes
  vecdb export | jq -r 'select(.fields.year >= 1970) | .id'
  vecdb export notes.parquet --format parquet --vectors
  python3 -c 'import pandas; print(pandas.read_parquet(\"notes.parquet\"))'

JSON lines, after a first one about the collection, one object a document:
  {\"id\": \"…\", \"text\": \"…\", \"title\": \"…\", \"source\": \"…\", \"fields\": {…},
   \"passages\": [{\"start\": 0, \"end\": 210, \"vector\": [0.1, …]}]}
  what a document has not is left out

Parquet, a row a passage (a document without --vectors):
  id, passage, start, end, vector (list of float), and on a document's
  first row text, title, source, fields (JSON)

With --json and a FILE, one object:
  {\"file\": \"…\", \"documents\": 300, \"passages\": 1204, \"bytes\": 2345678,
   \"seconds\": 1.2}

Exit codes: 0 done, 2 error, 130 ended by a signal (no file is left).";

/// Where to, and what of it.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file, replaced when the export is whole; stdout if none is named
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// With passages and their vectors
    #[arg(long)]
    pub vectors: bool,
    /// The file's format
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = FormatName::Jsonl)]
    pub format: FormatName,
}

/// A format as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum FormatName {
    /// One JSON object a line
    Jsonl,
    /// Columns
    #[cfg(feature = "parquet")]
    Parquet,
}

impl From<FormatName> for ExportFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Jsonl => Self::JsonLines,
            #[cfg(feature = "parquet")]
            FormatName::Parquet => Self::Parquet,
        }
    }
}

#[derive(Serialize)]
struct ExportedObject<'a> {
    file: &'a str,
    documents: u64,
    passages: u64,
    bytes: u64,
    seconds: f64,
}

/// Writes the file.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let collection = global.collection_for_reading()?;
    let interrupt = Interrupt::listen()?;
    let Some(path) = &arguments.file else {
        if arguments.format != FormatName::Jsonl && io::stdout().is_terminal() {
            let what = "columns are nothing for a terminal; name a file, or send them somewhere";
            return Err(Failure::Usage(what.into()));
        }
        return match write(&collection, io::stdout(), arguments, &interrupt, output) {
            Err(Failure::Library(Error::Cancelled)) => Ok(Outcome::Interrupted),
            // Nobody reads any more.
            Err(Failure::Library(Error::Io { source, .. })) => Err(Failure::Output(source)),
            written => written.map(|_| Outcome::Done),
        };
    };
    let temporary = path.with_added_extension("tmp");
    let failed = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Io {
            action,
            path,
            source,
        }
    };
    let file = File::create(&temporary).map_err(failed("create", &temporary))?;
    let written = write(&collection, &file, arguments, &interrupt, output).and_then(|written| {
        file.sync_all().map_err(failed("write", &temporary))?;
        std::fs::rename(&temporary, path).map_err(failed("rename", &temporary))?;
        Ok(written)
    });
    let (exported, elapsed) = match written {
        Ok(written) => written,
        Err(failure) => {
            let _ = std::fs::remove_file(&temporary);
            return match failure {
                Failure::Library(Error::Cancelled) => Ok(Outcome::Interrupted),
                failure => Err(failure),
            };
        }
    };
    let bytes = file.metadata().map_err(failed("read", path))?.len();
    let shown = path.display().to_string();
    if output.json {
        output.object(&ExportedObject {
            file: &shown,
            documents: exported.documents,
            passages: exported.passages,
            bytes,
            seconds: elapsed.as_secs_f64(),
        })?;
    }
    output.note(format_args!(
        "exported {} to {shown} ({}) in {}",
        words(exported),
        text::bytes(bytes),
        text::duration(elapsed)
    ));
    Ok(Outcome::Done)
}

fn words(exported: Exported) -> String {
    let documents = text::count(exported.documents, "document");
    match exported.passages {
        0 => documents,
        passages => format!("{documents} with {}", text::count(passages, "passage")),
    }
}

fn write(
    collection: &Collection,
    out: impl Write + Send,
    arguments: &Arguments,
    interrupt: &Interrupt,
    output: &Output,
) -> Result<(Exported, Duration), Failure> {
    let total = collection.len();
    let mut meter = Meter::start(total, output);
    let options = ExportOptions::default()
        .format(arguments.format.into())
        .vectors(arguments.vectors)
        .progress(|exported| {
            meter.update(exported.documents, total, words(*exported));
            interrupt.flow()
        });
    let exported = collection.export(BufWriter::with_capacity(1 << 18, out), options);
    meter.finish();
    Ok((exported?, meter.elapsed()))
}
