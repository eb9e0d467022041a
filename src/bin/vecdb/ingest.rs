//! `vecdb ingest`: files into a collection.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use vecdb::ingest::{Format, Plan, Sources};
use vecdb::{Added, BatchOptions, Collection, Error, Progress, Stage};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

pub const AFTER_HELP: &str = "\
Reads .txt, .md, .jsonl and .csv. Everything is read and checked before the first document is stored. A document whose id
is there already is replaced; one that is there already and equal is left alone, so the same command can be run again at any
time: it adds what is new and encodes nothing twice.

Examples:
  vecdb ingest notes/ --db notes.vecdb
  vecdb ingest faq.jsonl --text-field answer --title-field question --dry-run
  curl -s https://example.org/items.jsonl | vecdb ingest - --format jsonl --skip-bad
  vecdb ingest scifact/ --collection scifact            a folder in BEIR's layout

With --json, one object:
  {\"files\": 37, \"documents\": 300, \"text_bytes\": 401234, \"skipped\": 0, \"added\": 280, \"updated\": 15,
   \"unchanged\": 5, \"passages\": 1204, \"tokens\": 98765, \"seconds\": 12.3, \"interrupted\": false}
  with --dry-run only files, documents, text_bytes and skipped.

Exit codes: 0 done, 2 error, 130 ended by a signal (what was stored stays; run it again to go on).";

/// How many skipped records are named.
const SKIPPED_SHOWN: usize = 20;

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
    tokens: u64,
    seconds: f64,
    interrupted: bool,
}

/// What `store` leaves behind.
pub struct Ingested {
    /// What the library counted; zeros where a signal came.
    pub added: Added,
    /// Time it took, opening the encoder included.
    pub elapsed: Duration,
    /// Documents that are stored, where a signal came.
    pub interrupted: Option<u64>,
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
    let plan = plan(sources(arguments), output)?;
    tell_what_is_left_out(&plan, output);
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
    let database = global.options().open(global.database_path()?)?;
    let collection = database.collection(global.collection_name())?;
    let ingested = store(&plan, &collection, Some(&interrupt), output)?;
    drop(collection);
    database.close()?;

    match ingested.interrupted {
        Some(stored) => output.note(format_args!(
            "stopped: {} of {} documents are stored; the same command goes on from here",
            text::grouped(stored),
            text::grouped(plan.documents)
        )),
        None => output.note(summary(&plan, &ingested)),
    }
    if output.json {
        let Added {
            added,
            updated,
            unchanged,
            passages,
            tokens,
            ..
        } = ingested.added;
        output.object(&IngestedObject {
            plan: plan_object(&plan),
            added,
            updated,
            unchanged,
            passages,
            tokens,
            seconds: ingested.elapsed.as_secs_f64(),
            interrupted: ingested.interrupted.is_some(),
        })?;
    }
    Ok(if ingested.interrupted.is_some() {
        Outcome::Interrupted
    } else {
        Outcome::Done
    })
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

/// The first pass: everything is read and checked, nothing is stored.
pub fn plan(sources: Sources, output: &Output) -> Result<Plan, Failure> {
    let mut meter = Meter::start(0, output);
    let plan = sources.plan_with(|scanned| {
        let documents = text::count(scanned.documents, "document");
        meter.update(
            scanned.bytes,
            scanned.bytes_total,
            format_args!("reading: {documents}"),
        );
        ControlFlow::Continue(())
    });
    meter.finish();
    Ok(plan?)
}

/// The second pass: the documents are encoded and stored.
pub fn store(
    plan: &Plan,
    collection: &Collection,
    interrupt: Option<&Interrupt>,
    output: &Output,
) -> Result<Ingested, Failure> {
    let mut meter = Meter::start(plan.text_bytes, output);
    let mut encoded = 0;
    let result = collection.ingest(
        plan.documents(),
        BatchOptions::default().progress(|progress| {
            encoded = progress.documents;
            meter.update(
                progress.text_bytes,
                plan.text_bytes,
                words(progress, plan, meter.elapsed()),
            );
            if interrupt.is_some_and(Interrupt::is_asked) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }),
    );
    meter.finish();
    let elapsed = meter.elapsed();
    match result {
        Ok(added) => Ok(Ingested {
            added,
            elapsed,
            interrupted: None,
        }),
        // Breaking off stores what is encoded.
        Err(Error::Cancelled) => Ok(Ingested {
            added: Added::default(),
            elapsed,
            interrupted: Some(encoded),
        }),
        Err(error) => {
            if encoded > 0 {
                output.note("what was stored before stays; the same command goes on from there");
            }
            Err(error.into())
        }
    }
}

fn words(progress: &Progress, plan: &Plan, elapsed: Duration) -> String {
    let mut words = format!(
        "{} of {} documents, {} passages/s",
        text::grouped(progress.documents),
        text::grouped(plan.documents),
        text::per_second(progress.passages, elapsed)
    );
    if progress.stage == Stage::Sealing {
        words.push_str(", writing a segment");
    }
    words
}

fn tell_what_is_left_out(plan: &Plan, output: &Output) {
    for remark in &plan.remarks {
        output.note(text::plain(remark));
    }
    for skipped in plan.skipped.iter().take(SKIPPED_SHOWN) {
        output.note(format_args!(
            "skipped {}: {}",
            text::plain(&skipped.place),
            text::plain(&skipped.what)
        ));
    }
    let more = plan
        .skipped_count
        .saturating_sub(plan.skipped.len().min(SKIPPED_SHOWN) as u64);
    if more > 0 {
        output.note(format_args!("skipped {} more", text::grouped(more)));
    }
    if !plan.unknown_extensions.is_empty() {
        let kinds: Vec<String> = plan
            .unknown_extensions
            .iter()
            .map(|(extension, files)| {
                let kind = if extension.is_empty() {
                    "no extension".into()
                } else {
                    format!(".{}", text::plain(extension))
                };
                format!("{kind} ({})", text::grouped(*files))
            })
            .collect();
        output.note(format_args!(
            "passed over files that no reader knows: {}",
            kinds.join(", ")
        ));
    }
}

fn plan_object(plan: &Plan) -> PlanObject {
    PlanObject {
        files: plan.files,
        documents: plan.documents,
        text_bytes: plan.text_bytes,
        skipped: plan.skipped_count,
    }
}

/// `added 1,204 passages of 295 documents from 37 files (15 updated, 5 unchanged) in 12.3 s, 98 passages/s`
pub fn summary(plan: &Plan, ingested: &Ingested) -> String {
    let Added {
        added,
        updated,
        unchanged,
        passages,
        ..
    } = ingested.added;
    let mut others = Vec::new();
    for (number, what) in [
        (updated, "updated"),
        (unchanged, "unchanged"),
        (plan.skipped_count, "skipped"),
    ] {
        if number > 0 {
            others.push(format!("{} {what}", text::grouped(number)));
        }
    }
    let others = if others.is_empty() {
        String::new()
    } else {
        format!(" ({})", others.join(", "))
    };
    let files = text::count(plan.files, "file");
    let elapsed = text::duration(ingested.elapsed);
    if added + updated == 0 {
        return format!("nothing new in {files}{others}, {elapsed}");
    }
    format!(
        "added {} of {} from {files}{others} in {elapsed}, {} passages/s",
        text::count(passages, "passage"),
        text::count(added + updated, "document"),
        text::per_second(passages, ingested.elapsed)
    )
}
