//! `vecdb ingest`: files into a collection.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use vecdb::ingest::{Format, Plan, Sources};
use vecdb::{Added, Merging};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::load;
use crate::output::Output;
use crate::text;
use crate::tidy::tidy;

pub const AFTER_HELP: &str = "\
Reads .txt, .md, .jsonl and .csv. Everything is read and checked before the first document is stored. A document whose id \
is there already is replaced; one that is there already and equal is left alone, so the same command can be run again at any \
time: it adds what is new and encodes nothing twice, no passage either that is there in another document.

Examples:
  vecdb ingest notes/ --db notes.vecdb
  vecdb ingest faq.jsonl --text-field answer --title-field question --dry-run
  curl -s https://example.org/items.jsonl | vecdb ingest - --skip-bad
  vecdb ingest scifact/ -c scifact              a folder in BEIR's layout

With --json, one object:
  {\"files\": 37, \"documents\": 300, \"text_bytes\": 401234, \"skipped\": 0,
   \"added\": 280, \"updated\": 15, \"unchanged\": 5, \"passages\": 1204,
   \"reused\": 104, \"tokens\": 98765, \"seconds\": 12.3, \"interrupted\": false}
  with --dry-run only files, documents, text_bytes and skipped.

Exit codes: 0 done, 2 error, 130 ended by a signal (what was stored stays; run it again to go on).";

/// What to read, and how.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Files and folders; - is stdin
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The key or column that holds the id [default: _id, id]
    #[arg(long, value_name = "NAME")]
    pub id_field: Option<String>,
    /// The key or column that holds the text [default: text, content, body]
    #[arg(long, value_name = "NAME")]
    pub text_field: Option<String>,
    /// The key or column that holds the title [default: title]
    #[arg(long, value_name = "NAME")]
    pub title_field: Option<String>,
    /// The format of stdin and of files named here; in folders the extension decides
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FormatName>,
    /// Leave bad records out, and list them, instead of stopping at the first
    #[arg(long)]
    pub skip_bad: bool,
    /// Read and check everything, and store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Memory for documents in hand and for merging, beside the model's [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = text::parse_bytes)]
    pub max_memory: Option<u64>,
}

/// A format as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum FormatName {
    /// A file is one document
    Text,
    /// A file is one document with a title
    Markdown,
    /// One JSON object a line
    Jsonl,
    /// A table with a header row
    Csv,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Text => Self::Text,
            FormatName::Markdown => Self::Markdown,
            FormatName::Jsonl => Self::JsonLines,
            FormatName::Csv => Self::Csv,
        }
    }
}

#[derive(Serialize)]
struct PlanObject {
    files: u64,
    documents: u64,
    text_bytes: u64,
    skipped: u64,
}

#[derive(Serialize)]
struct IngestedObject {
    #[serde(flatten)]
    plan: PlanObject,
    added: u64,
    updated: u64,
    unchanged: u64,
    passages: u64,
    reused: u64,
    tokens: u64,
    seconds: f64,
    interrupted: bool,
}

/// Checks the files, then stores their documents.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if !arguments.dry_run {
        // Not only after minutes of reading.
        global.database_path()?;
    }
    let plan = load::plan(sources(arguments), output)?;
    load::tell_what_is_left_out(&plan, output);
    if arguments.dry_run {
        if output.json {
            output.object(&plan_object(&plan))?;
        } else {
            output.line(format_args!(
                "{} in {}, {} of text",
                text::count(plan.documents, "document"),
                text::count(plan.files, "file"),
                text::bytes(plan.text_bytes)
            ))?;
        }
        return Ok(Outcome::Done);
    }

    let interrupt = Interrupt::listen()?;
    let path = global.database_path()?;
    if !path.exists() {
        // Where the encoder is missing, no empty database is left behind.
        global.encoder()?;
    }
    // Half for the documents in hand, half for the merge that may run meanwhile.
    let half = arguments.max_memory.map(|bytes| bytes / 2);
    let mut options = global.options();
    if let Some(bytes) = half {
        options = options.merging(Merging::background().memory_bytes(bytes));
    }
    let database = options.open(path)?;
    let collection = database.collection(global.collection_name())?;
    let ingested = load::store(&plan, &collection, half, Some(&interrupt), output)?;
    drop(collection);
    if ingested.interrupted.is_none() {
        tidy(&database, &interrupt, output)?;
    }
    database.close()?;

    match ingested.interrupted {
        Some(stored) => output.note(format_args!(
            "stopped: {} of {} documents are stored; the same command goes on from here",
            text::grouped(stored),
            text::grouped(plan.documents)
        )),
        None => output.note(load::summary(&plan, &ingested)),
    }
    if output.json {
        let Added {
            added,
            updated,
            unchanged,
            passages,
            reused,
            tokens,
            ..
        } = ingested.added;
        output.object(&IngestedObject {
            plan: plan_object(&plan),
            added,
            updated,
            unchanged,
            passages,
            reused,
            tokens,
            seconds: ingested.elapsed.as_secs_f64(),
            interrupted: ingested.interrupted.is_some(),
        })?;
    }
    Ok(Outcome::unless_interrupted(ingested.interrupted.is_some()))
}

fn sources(arguments: &Arguments) -> Sources {
    let mut sources = Sources::new().skip_bad(arguments.skip_bad);
    for path in &arguments.paths {
        sources = if path == Path::new("-") {
            sources.reader("stdin", io::stdin())
        } else {
            sources.path(path)
        };
    }
    if let Some(name) = &arguments.id_field {
        sources = sources.id_field(name);
    }
    if let Some(name) = &arguments.text_field {
        sources = sources.text_field(name);
    }
    if let Some(name) = &arguments.title_field {
        sources = sources.title_field(name);
    }
    if let Some(name) = arguments.format {
        sources = sources.format(name.into());
    }
    sources
}

fn plan_object(plan: &Plan) -> PlanObject {
    PlanObject {
        files: plan.files,
        documents: plan.documents,
        text_bytes: plan.text_bytes,
        skipped: plan.skipped_count,
    }
}
