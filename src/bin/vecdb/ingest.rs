//! `vecdb ingest`: files into a collection.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;
use vecdb::ingest::{Format, Plan, Reading, Sources};
use vecdb::{Collection, CollectionOptions, Database, Error, Merging, Metric, Synced};

use crate::args::Global;
use crate::dry_run::dry_run;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::load::{self, Failures, Ingested};
use crate::output::Output;
use crate::report::Report;
use crate::text;
use crate::tidy::tidy;
use crate::watch::watch;

pub const AFTER_HELP: &str = "\
Reads texts, Markdown, source code, HTML, EPUB, PDF, Word, Excel, PowerPoint, OpenDocument, RTF, e-mail, CSV, TSV, JSON, \
JSON Lines, Parquet and Arrow, also packed (gz, zst) and in archives (zip, tar). The bytes tell a file's format, and its name where they do not. A \
document whose id is there already is replaced; one that is there already and equal is left alone, so the same command can be \
run again at any time: it adds what is new and encodes nothing twice, no passage either that is there in another document. A \
file that cannot be read is told in a line and does not stop the others.

Examples:
  vecdb ingest notes/ --db notes.vecdb
  vecdb ingest notes/ --prune                   and delete what is gone
  vecdb ingest notes/ --watch                   and stay for what changes
  vecdb ingest papers/ --include '*.pdf' --report papers.jsonl
  vecdb ingest faq.jsonl --text-field answer --title-field question --dry-run
  curl -s https://example.org/items.jsonl | vecdb ingest - --keep-going
  vecdb ingest scifact/ -c scifact              a folder in BEIR's layout
  vecdb ingest wiki.parquet --vector-field emb  rows with vectors of their own
  vecdb ingest docs.jsonl --vectors docs.npy --metric dot

With --json, one object:
  {\"files\": 37, \"formats\": {\"markdown\": 36, \"pdf\": 1}, \"documents\": 300,
   \"text_bytes\": 401234, \"failed\": 0, \"added\": 280, \"updated\": 15,
   \"unchanged\": 5, \"renamed\": 0, \"pruned\": 0, \"passages\": 1204, \"reused\": 104,
   \"tokens\": 98765, \"seconds\": 12.3, \"times\": {\"reading\": 0.0,
   \"cutting\": 0.2, \"encoding\": 11.9, \"writing\": 0.2}, \"interrupted\": false}
  with --dry-run files to failed, and passages, tokens and seconds to come,
  which are null where there is no encoder to tell them.
With vectors nothing is encoded, and --prune does not look after what is gone.
--report writes an object a line for each file:
  {\"path\": \"…\", \"format\": \"pdf\" or null, \"bytes\": 1234, \"documents\": 1,
   \"failed\": 0, \"failures\": [{\"place\": \"…\", \"what\": \"…\"}]}

Exit codes: 0 done, 2 error or a file failed (with --keep-going only an error), 130 ended by a signal (what was stored stays; \
run it again to go on).";

/// How long reading one document may take.
const READER_TIME: Duration = Duration::from_secs(60);
/// A process that reads documents may have at least so much memory: below it even small ones cannot be read.
const LEAST_READER_MEMORY: u64 = 256 << 20;

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
    /// The column of Parquet and Arrow files that holds vectors, to store as they are
    #[arg(long, value_name = "NAME")]
    pub vector_field: Option<String>,
    /// A NumPy file with the vector of each record, to store as they are
    #[arg(long, value_name = "FILE", conflicts_with = "vector_field")]
    pub vectors: Option<PathBuf>,
    /// How vectors of a new collection are compared
    #[arg(long, value_name = "METRIC", value_parser = ["cosine", "dot", "l2"])]
    pub metric: Option<String>,
    /// The format of stdin and of files named here, whatever they look like
    #[arg(long, value_parser = formats(), hide_possible_values = true, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// In folders, only files that match, as in a .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// In folders, no files that match; may be repeated
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Read also what .gitignore, .ignore and .vecdbignore leave out
    #[arg(long)]
    pub no_ignore: bool,
    /// Encode passages without the headings above them
    #[arg(long)]
    pub no_headings: bool,
    /// Delete documents whose file or record is gone from these paths
    #[arg(long, conflicts_with_all = ["vector_field", "vectors"])]
    pub prune: bool,
    /// Stay, and ingest again what changes, until a signal comes
    #[arg(long, conflicts_with_all = ["dry_run", "vector_field", "vectors"])]
    pub watch: bool,
    /// Exit with 0 though files failed
    #[arg(long)]
    pub keep_going: bool,
    /// Write what became of each file, as JSON Lines
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Read and check everything, count its cost, and store nothing
    #[arg(long)]
    pub dry_run: bool,
    /// About the memory for reading, documents in hand and merging, beside the model's
    #[arg(long, value_name = "SIZE", value_parser = text::parse_bytes, default_value = "1G")]
    pub max_memory: u64,
}

/// Formats by their names, and by endings of files.
fn formats() -> impl TypedValueParser<Value = Format> {
    let names = Format::ALL.iter().map(|format| {
        let endings = format.extensions().iter();
        let others = endings.filter(|&&ending| ending != format.name());
        PossibleValue::new(format.name()).aliases(others.copied())
    });
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Format>())
}

/// What was read, as `--json` tells it.
#[derive(Serialize)]
pub struct ReadObject<'a> {
    files: u64,
    formats: &'a std::collections::BTreeMap<&'static str, u64>,
    documents: u64,
    text_bytes: u64,
    failed: u64,
}

#[derive(Serialize)]
struct IngestedObject<'a> {
    #[serde(flatten)]
    read: ReadObject<'a>,
    added: u64,
    updated: u64,
    unchanged: u64,
    renamed: u64,
    pruned: u64,
    passages: u64,
    reused: u64,
    tokens: u64,
    seconds: f64,
    times: TimesObject,
    interrupted: bool,
}

/// Seconds, stage by stage.
#[derive(Serialize)]
struct TimesObject {
    reading: f64,
    cutting: f64,
    encoding: f64,
    writing: f64,
}

/// Reads the files, and stores their documents.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if !arguments.dry_run {
        // Not only after minutes of reading.
        global.database_path()?;
    }
    let report = arguments.report.as_deref().map(Report::new).transpose()?;
    let failures = Failures::default();
    let sources = || {
        let sources = failures.hear(sources(arguments));
        match &report {
            Some(report) => report.hear(sources),
            None => sources,
        }
    };
    let plan = sources().plan()?;
    load::tell_what_is_passed_over(&plan, output);
    let outcome = if arguments.dry_run {
        let failed = dry_run(&plan, &failures, global, output)?;
        ended(failed, arguments)
    } else {
        let interrupt = Interrupt::listen()?;
        let mut session = Session::open(arguments, &failures, &interrupt, global)?;
        let outcome = session.store(&plan, output)?;
        if arguments.watch && outcome != Outcome::Interrupted {
            watch(plan, &sources, &mut session, output)?;
        }
        session.close()?;
        outcome
    };
    if let Some(report) = report {
        report.finish()?;
    }
    Ok(outcome)
}

fn ended(failed: u64, arguments: &Arguments) -> Outcome {
    if failed > 0 && !arguments.keep_going {
        Outcome::Bad
    } else {
        Outcome::Done
    }
}

/// A database into which files go.
pub struct Session<'a> {
    arguments: &'a Arguments,
    database: Database,
    collection: Collection,
    settings: load::Settings<'a>,
    interrupt: &'a Interrupt,
}

impl<'a> Session<'a> {
    fn open(
        arguments: &'a Arguments,
        failures: &Failures,
        interrupt: &'a Interrupt,
        global: &Global,
    ) -> Result<Self, Failure> {
        let path = global.database_path()?;
        let has_vectors = arguments.vector_field.is_some() || arguments.vectors.is_some();
        if !path.exists() && !has_vectors {
            // Where the encoder is missing, no empty database is left behind.
            global.encoder()?;
        }
        // Half for the documents in hand, of which they seldom take much, a quarter for the merge that may run meanwhile. A process
        // that reads documents may have as much as the documents.
        let half = arguments.max_memory / 2;
        let merging = Merging::background().memory_bytes(arguments.max_memory / 4);
        let options = global.options().merging(merging);
        let database = options.open(path)?;
        let collection = collection(&database, arguments.metric.as_deref(), global)?;
        Ok(Self {
            arguments,
            database,
            collection,
            settings: load::Settings {
                has_vectors,
                max_memory: Some(half),
                prune: arguments.prune,
                interrupt: Some(interrupt),
                failures: failures.clone(),
            },
            interrupt,
        })
    }

    /// Stores what is planned, and tells what was done.
    pub fn store(&mut self, plan: &Plan, output: &mut Output) -> Result<Outcome, Failure> {
        let ingested = load::store(plan, &self.collection, &self.settings, output)?;
        let is_interrupted = ingested.interrupted.is_some();
        if !is_interrupted {
            tidy(&self.database, self.interrupt, output)?;
        }
        tell(plan, &ingested, output)?;
        Ok(match is_interrupted {
            true => Outcome::Interrupted,
            false => ended(ingested.reading.failed, self.arguments),
        })
    }

    /// Has a signal come?
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.flow().is_break()
    }

    fn close(self) -> Result<(), Failure> {
        drop(self.collection);
        Ok(self.database.close()?)
    }
}

fn tell(plan: &Plan, ingested: &Ingested, output: &mut Output) -> Result<(), Failure> {
    load::tell_what_was_seen(&ingested.reading, output);
    match ingested.interrupted {
        Some(stored) => output.note(format_args!(
            "stopped: {} are stored, of {} of {} files; the same command goes on from here",
            text::count(stored, "document"),
            text::grouped(ingested.reading.files),
            text::grouped(plan.files)
        )),
        None => {
            output.note(load::summary(ingested));
            if plan.files > 1 {
                output.note(format_args!("read {}", load::formats(&ingested.reading)));
            }
            if ingested.synced.added.passages > 0 {
                output.note(load::work(ingested));
            }
        }
    }
    if output.json {
        output.object(&ingested_object(ingested))?;
    }
    Ok(())
}

fn ingested_object(ingested: &Ingested) -> IngestedObject<'_> {
    let Synced {
        added,
        renamed,
        pruned,
        ..
    } = ingested.synced;
    IngestedObject {
        read: read_object(&ingested.reading),
        added: added.added,
        updated: added.updated,
        unchanged: added.unchanged,
        renamed,
        pruned,
        passages: added.passages,
        reused: added.reused,
        tokens: added.tokens,
        seconds: ingested.elapsed.as_secs_f64(),
        times: TimesObject {
            reading: added.times.reading.as_secs_f64(),
            cutting: added.times.cutting.as_secs_f64(),
            encoding: added.times.encoding.as_secs_f64(),
            writing: added.times.writing.as_secs_f64(),
        },
        interrupted: ingested.interrupted.is_some(),
    }
}

/// The collection, made if absent; then the metric counts, and else it must be the one that is there.
fn collection(
    database: &Database,
    metric: Option<&str>,
    global: &Global,
) -> Result<Collection, Failure> {
    let name = global.collection_name();
    let metric = metric.map(|metric| match metric {
        "dot" => Metric::Dot,
        "l2" => Metric::L2,
        _ => Metric::Cosine,
    });
    let Some(metric) = metric else {
        return Ok(database.collection(name)?);
    };
    match database.existing_collection(name) {
        Ok(collection) if collection.info().metric == metric => Ok(collection),
        Ok(collection) => Err(Failure::Usage(format!(
            "collection {name:?} is under {} already; leave --metric out, or name another by -c",
            collection.info().metric
        ))),
        Err(Error::NoCollection { .. }) => {
            let options = CollectionOptions::default().metric(metric);
            Ok(database.create_collection(name, options)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn sources(arguments: &Arguments) -> Sources {
    let mut sources = Sources::new();
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
    if let Some(name) = &arguments.vector_field {
        sources = sources.vector_field(name);
    }
    if let Some(path) = &arguments.vectors {
        sources = sources.vectors(path);
    }
    if let Some(format) = arguments.format {
        sources = sources.format(format);
    }
    sources = arguments.include.iter().fold(sources, Sources::include);
    sources = arguments.exclude.iter().fold(sources, Sources::exclude);
    if arguments.no_ignore {
        sources = sources.no_ignore();
    }
    // From its bytes to its segment a text stands in memory some three times, and twice while it is read.
    sources = sources.max_bytes(arguments.max_memory / 8);
    if arguments.no_headings {
        sources = sources.without_headings();
    }
    // Where the system does not say which program this is, a thread must do.
    if let Ok(program) = std::env::current_exe() {
        let memory = (arguments.max_memory / 2).max(LEAST_READER_MEMORY);
        // A little more than it is given: it ends itself only where nobody does.
        let time = READER_TIME.as_secs() + 2;
        let limits = [format!("--memory={memory}"), format!("--time={time}")];
        let arguments = ["read-documents".into()].into_iter().chain(limits);
        sources = sources
            .reader_process(program, arguments)
            .reader_time(READER_TIME);
    }
    sources
}

/// For `--json`.
pub fn read_object(reading: &Reading) -> ReadObject<'_> {
    ReadObject {
        files: reading.files,
        formats: &reading.formats,
        documents: reading.documents,
        text_bytes: reading.text_bytes,
        failed: reading.failed,
    }
}
