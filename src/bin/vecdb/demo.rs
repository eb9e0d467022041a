//! `vecdb demo`: everything once, on real texts.

use std::io;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use vecdb::ingest::{Format, Sources};
use vecdb::setup::{self, SetupOptions};
use vecdb::{Collection, Database};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::load;
use crate::output::Output;
use crate::query::{HitObject, print_hit};
use crate::text;

pub const AFTER_HELP: &str = "\
Fetches ONNX Runtime and the default model if they are missing (as `vecdb setup` does), stores about a hundred short notes \
and asks them questions that share few words with the answers. The database is a temporary one, unless --db names a folder \
to keep it in (VECDB_DB is not looked at).

Examples:
  vecdb demo
  vecdb demo --db demo.vecdb

With --json, one object a hit, as `vecdb query --json` prints it, with \"query\" and \"filter\" (or null) beside.

Exit codes: 0 done, 1 a question found nothing, 2 error.";

/// The sample collection, in the binary so that it is there wherever it runs.
const NOTES: &[u8] = include_bytes!("../../../examples/data/notes.jsonl");

const QUESTIONS: [Question; 4] = [
    Question {
        text: "how do plants make their food",
        filter: None,
    },
    Question {
        text: "how do animals find their way over long distances",
        filter: None,
    },
    Question {
        text: "why does meat turn tasty when it is fried",
        filter: None,
    },
    Question {
        text: "getting data back after a crash",
        filter: Some("topic = 'databases' and level = 'advanced'"),
    },
];

const HITS: usize = 2;

struct Question {
    text: &'static str,
    filter: Option<&'static str>,
}

#[derive(Serialize)]
struct AnswerObject<'a> {
    query: &'a str,
    filter: Option<&'a str>,
    #[serde(flatten)]
    hit: HitObject<'a>,
}

/// Sets up, stores, asks.
pub fn run(global: &Global, output: &mut Output) -> Result<Outcome, Failure> {
    set_up(global, output)?;
    // Keeps the folder until the end.
    let temporary = temporary_folder()?;
    let kept = kept_folder(global);
    let path = kept.map_or_else(|| temporary.path().join("demo.vecdb"), Path::to_path_buf);
    let database = global.options().open(path)?;
    let collection = database.collection(global.collection_name())?;
    let plan = Sources::new()
        .reader("notes.jsonl", NOTES)
        .format(Format::JsonLines)
        .plan()?;
    let ingested = load::store(&plan, &collection, &load::Settings::default(), output)?;
    output.note(format_args!("{}\n", load::summary(&ingested)));

    let mut all_answered = true;
    for question in &QUESTIONS {
        all_answered &= ask(question, &collection, output)?;
    }
    if !output.json {
        tell_what_is_next(global, output)?;
    }
    drop(collection);
    Database::close(database)?;
    Ok(Outcome::found(all_answered))
}

/// Fetches what is missing; nothing where both parts are named.
fn set_up(global: &Global, output: &Output) -> Result<(), Failure> {
    if global.model.is_none() || global.runtime.is_none() {
        setup::run(&SetupOptions::default(), &mut |step| {
            output.note(text::plain(step))
        })?;
    }
    Ok(())
}

/// Where `--db` wants the database. `VECDB_DB` is not meant: the samples have no business among the user's documents.
fn kept_folder(global: &Global) -> Option<&Path> {
    global.db.as_deref().filter(|_| !global.db_from_environment)
}

fn temporary_folder() -> Result<tempfile::TempDir, Failure> {
    tempfile::tempdir()
        .map_err(|error| Failure::Usage(format!("cannot make a temporary folder: {error}")))
}

/// Was anything found?
fn ask(question: &Question, collection: &Collection, output: &mut Output) -> Result<bool, Failure> {
    let start = Instant::now();
    let mut query = collection.query(question.text).limit(HITS);
    if let Some(filter) = question.filter {
        query = query.filter(filter);
    }
    let hits = query.run()?;
    let elapsed = text::duration(start.elapsed());
    if !output.json {
        let filter = question
            .filter
            .map(|filter| format!(" --filter \"{filter}\""))
            .unwrap_or_default();
        let asked = output.bold(&format!("vecdb query '{}'{filter}", question.text));
        output.line(format_args!("$ {asked}  {}", output.dim(&elapsed)))?;
    }
    for (rank, hit) in (1..).zip(&hits) {
        if output.json {
            output.object(&AnswerObject {
                query: question.text,
                filter: question.filter,
                hit: HitObject::new(rank, hit),
            })?;
        } else {
            print_hit(rank, hit, false, output)?;
        }
    }
    if !output.json {
        output.line("")?;
    }
    Ok(!hits.is_empty())
}

fn tell_what_is_next(global: &Global, output: &mut Output) -> io::Result<()> {
    let program = program();
    output.line("Next:")?;
    if let Some(db) = kept_folder(global) {
        output.line(format_args!(
            "  {program} query 'why do leaves need sunlight' --db {}",
            db.display()
        ))?;
    }
    output.line(format_args!("  {program} ingest YOUR_FOLDER --db my.vecdb"))?;
    output.line(format_args!(
        "  {program} query 'what you are looking for' --db my.vecdb"
    ))?;
    output.line(format_args!("  {program} --help"))
}

/// How this command was called, so that the lines can be typed as they stand.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "vecdb".into())
}
