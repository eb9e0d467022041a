//! `vecdb tune`: teaches the encoder a corpus.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use vecdb::eval::BeirFolder;
use vecdb::ingest::Sources;
use vecdb::tune::{Examples, Interval, Method, Progress, Report, Stage, Tuning, Verdict};
use vecdb::{Collection, Document};

use crate::apply;
use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

pub const AFTER_HELP: &str = "\
Learns from queries and the documents that answer them, tests on queries that were held out, and writes the new model only if \
the test says that it is better beyond chance and has not forgotten general language. Otherwise only the report is written. \
Nothing else is changed. Ctrl-C stops, and the same command goes on from there.

--apply encodes a collection anew by a model, which is copied into the database; queries are answered by the old vectors until \
the new ones are complete. --rollback returns to the old ones, which are kept until --forget. With --db the model that its \
collection is asked by is what a tuning begins with, and has to beat.

Examples:
  vecdb tune scifact/ --out scifact-model          a folder in BEIR's layout
  vecdb tune --pairs clicks.csv --documents pages/ --out model
  vecdb tune --pairs faq.jsonl --out model --budget 10m
  vecdb tune --db notes.vecdb --out model          the documents alone
  vecdb tune bench/ --questions asked.txt --out model
  vecdb tune --apply model --db notes.vecdb        use it
  vecdb tune --rollback --db notes.vecdb           and go back

A pair has the keys or columns query, positive and, if there are any, negatives: documents' ids, or texts. Of \
documents alone, titles and sentences ask for the texts that they are taken out of. What --questions finds is judged by a teacher \
made of the encoder's token vectors (MaxSim) and of words (BM25); the test is then what the folder judges, or such titles.

With --json, one object:
  {\"accepted\": true, \"verdict\": \"accepted\", \"method\": \"all\",
   \"queries\": 300,
   \"ndcg\": [0.64, 0.69], \"gain\": {\"mean\": 0.05, \"low\": 0.03, \"high\": 0.07},
   \"recall\": [0.92, 0.94], \"general\": [61.2, 60.9],
   \"model\": \"scifact-model\", \"seconds\": 840.1}
  ndcg, gain, recall, general are null if the held-out queries were not asked.
After --apply and --rollback, what was encoded and deleted there:
  {\"collection\": \"default\", \"from\": {\"name\": \"…\", \"fingerprint\": \"…\"},
   \"to\": {…}, \"documents\": 37, \"passages\": 1204, \"deleted\": 0,
   \"seconds\": 12.5}
and after --forget the bytes that became free:
  {\"collection\": \"default\", \"bytes\": 2345678}

Exit codes: 0 accepted, 1 refused, 2 error, 130 ended by a signal.";

/// What is learnt from, and how.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/
    #[arg(value_name = "FOLDER", conflicts_with_all = ["pairs", "documents"])]
    pub folder: Option<PathBuf>,
    /// Pairs of a query and its answer: JSON Lines, CSV, TSV, Parquet
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    /// The documents, a file or a folder; else the collection of --db if that is given, else the pairs' texts
    #[arg(long, value_name = "PATH")]
    pub documents: Option<PathBuf>,
    /// Queries whose answers nobody knows: a text file, one a line, or rows with query, question or text
    #[arg(long, value_name = "FILE")]
    pub questions: Option<PathBuf>,
    /// Where the new model goes, a new folder
    #[arg(long, value_name = "FOLDER", required_unless_present = "version")]
    pub out: Option<PathBuf>,
    /// The split of the folder's qrels to learn from [default: train, or the only one]
    #[arg(long, value_name = "NAME", conflicts_with = "pairs")]
    pub split: Option<String>,
    /// The split to test on [default: test or dev, or a fifth held out of the other]
    #[arg(long, value_name = "NAME", conflicts_with = "pairs")]
    pub test_split: Option<String>,
    /// What is trained: adapter:RANK (queries' vectors alone), layers:N (the last N), all, lora:RANK; auto tries adapter, layers:3
    /// and all
    #[arg(long, value_name = "METHOD", default_value = "auto")]
    pub method: Method,
    /// How often each query is trained on [default: what makes 300 steps, at most 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Queries of a step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=65_536))]
    pub batch: u32,
    /// Mined negatives of each query, beside the other queries' answers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=16))]
    pub negatives: u32,
    /// The highest learning rate [default: 5e-5; 5e-4 for lora, 2e-3 for an adapter]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub learning_rate: Option<f32>,
    /// How likely numbers inside are dropped while training
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    pub dropout: f32,
    /// Numbers of components, each of which is to be good alone (Matryoshka)
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub dimensions: Vec<usize>,
    /// What chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Training ends after that time (10m, 2h, 90s), and auto begins no other method
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub budget: Option<Duration>,
    /// Sentence pairs with scores that must not get worse: sentence1, sentence2, score [default: English definitions]
    #[arg(long, value_name = "FILE")]
    pub general: Option<PathBuf>,
    /// Memory that training may keep for itself, such as 512M or 2G
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = text::parse_bytes)]
    pub max_memory: u64,
    /// Afterwards.
    #[command(flatten)]
    pub version: apply::Arguments,
}

/// A rate as it is typed.
pub fn rate(typed: &str) -> Result<f32, String> {
    let rate: f32 = typed.parse().map_err(|_| "a number, such as 1e-4")?;
    match (0.0..=1.0).contains(&rate) {
        true => Ok(rate),
        false => Err("a number between 0 and 1".into()),
    }
}

/// A length of time as it is typed.
pub fn time(typed: &str) -> Result<Duration, String> {
    let (number, unit) =
        typed.split_at(typed.len() - usize::from(typed.ends_with(['s', 'm', 'h'])));
    let seconds = match unit {
        "m" => 60.0,
        "h" => 3_600.0,
        _ => 1.0,
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a number and s, m or h, such as 10m".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct TunedObject<'a> {
    accepted: bool,
    verdict: String,
    method: Option<&'a str>,
    queries: usize,
    ndcg: Option<[f64; 2]>,
    gain: Option<Interval>,
    recall: Option<[f64; 2]>,
    general: Option<[f64; 2]>,
    model: Option<&'a Path>,
    seconds: f64,
}

/// Reads, trains, tests and tells.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let Some(out) = &arguments.out else {
        return apply::run(&arguments.version, global, output);
    };
    let collection = collection(arguments, global)?;
    let examples = examples(arguments, collection.as_ref())?;
    let options = match &collection {
        Some(collection) => global.encoder_options_for(collection)?,
        None => global.encoder_options(),
    };
    drop(collection);
    let interrupt = Interrupt::listen()?;
    let mut meter = Meter::start(0, output);
    let mut stage = None;
    let tuning = Tuning::default()
        .method(arguments.method)
        .batch(arguments.batch as usize)
        .negatives(arguments.negatives as usize)
        .dropout(arguments.dropout)
        .dimensions(arguments.dimensions.iter().copied())
        .seed(arguments.seed)
        .max_memory(usize::try_from(arguments.max_memory).unwrap_or(usize::MAX));
    let tuning = match arguments.epochs {
        Some(epochs) => tuning.epochs(epochs as usize),
        None => tuning,
    };
    let tuning = match arguments.learning_rate {
        Some(rate) => tuning.learning_rate(rate),
        None => tuning,
    };
    let tuning = match arguments.budget {
        Some(time) => tuning.budget(time),
        None => tuning,
    };
    let tuning = match &arguments.general {
        Some(file) => tuning.general(file),
        None => tuning,
    };
    let shown = output;
    let report = tuning
        .progress(|progress| {
            if stage != Some((progress.stage, progress.method)) {
                stage = Some((progress.stage, progress.method));
                meter.finish();
                meter = Meter::start(progress.total, shown);
                match progress.stage {
                    Stage::Train => {
                        shown.note(format_args!("training, method {}", progress.method))
                    }
                    stage => shown.note(format_args!("{stage}")),
                }
            }
            meter.update(progress.done, progress.total, words(progress));
            interrupt.flow()
        })
        .run(&options, &examples, out)?;
    meter.finish();
    print(&report, out, shown)?;
    Ok(Outcome::found(report.verdict == Verdict::Accepted))
}

/// Where a training stands.
pub fn words(progress: &Progress) -> String {
    let mut words = match progress.stage {
        Stage::Train => "step ".to_owned(),
        _ => String::new(),
    };
    words += &text::grouped(progress.done);
    words += " of ";
    words += &text::grouped(progress.total);
    if let Some(loss) = progress.loss {
        words += &format!(", loss {loss:.3}");
    }
    if let Some(speed) = progress.tokens_per_second {
        words += &format!(", {} tokens/s", text::grouped(speed as u64));
    }
    words
}

/// The documents of a file or a folder.
pub fn read(path: &Path) -> Result<Vec<Document>, Failure> {
    let documents = Sources::new().path(path).plan()?.documents();
    Ok(documents.collect::<Result<_, _>>()?)
}

fn examples(arguments: &Arguments, collection: Option<&Collection>) -> Result<Examples, Failure> {
    let documents = || match (&arguments.documents, collection) {
        (Some(path), _) => read(path),
        (None, Some(collection)) => Ok(collection.documents().collect::<Result<_, _>>()?),
        (None, None) => Ok(Vec::new()),
    };
    let mut examples = match (&arguments.folder, &arguments.pairs) {
        (Some(folder), _) => from_folder(folder, arguments)?,
        (None, Some(pairs)) => Examples::from_pairs(pairs, documents()?)?,
        // Documents alone ask themselves.
        (None, None) => Examples::from_structure(documents()?, arguments.seed),
    };
    if let Some(file) = &arguments.questions {
        examples.questions = Examples::read_questions(file)?;
    }
    Ok(examples)
}

/// The collection that is meant, if it is one: whose documents are, or whose model. Pairs bring their texts, whatever database
/// the environment names.
fn collection(arguments: &Arguments, global: &Global) -> Result<Option<Collection>, Failure> {
    let is_typed = global.db.is_some() && !global.db_from_environment;
    let has_documents =
        arguments.folder.is_some() || arguments.documents.is_some() || arguments.pairs.is_some();
    match is_typed || !has_documents {
        true => Ok(Some(global.collection_for_reading()?)),
        false => Ok(None),
    }
}

fn from_folder(folder: &Path, arguments: &Arguments) -> Result<Examples, Failure> {
    let Some(beir) = BeirFolder::recognise(folder)? else {
        return Err(Failure::Usage(format!(
            "{} is not laid out as BEIR does: corpus.jsonl, queries.jsonl, qrels/train.tsv; for other files there are --pairs \
             and --documents",
            folder.display()
        )));
    };
    let there = |name: &&str| beir.splits.iter().any(|(split, _)| split == name);
    if arguments.questions.is_some() {
        // Nothing is learnt from what is judged.
        let test = arguments
            .test_split
            .as_deref()
            .or_else(|| ["test", "dev"].into_iter().find(there));
        let mut examples = Examples::from_beir(&beir, test, None)?;
        examples.held_out = std::mem::take(&mut examples.examples);
        return Ok(examples);
    }
    let learn = arguments
        .split
        .as_deref()
        .or_else(|| ["train"].into_iter().find(there));
    let test = arguments.test_split.as_deref().or_else(|| {
        // Without a split to learn from, the only one is divided.
        learn.and_then(|learn| {
            ["test", "dev"]
                .into_iter()
                .filter(there)
                .find(|test| *test != learn)
        })
    });
    Ok(Examples::from_beir(&beir, learn, test)?)
}

fn print(report: &Report, out: &Path, output: &mut Output) -> Result<(), Failure> {
    let accepted = report.verdict == Verdict::Accepted;
    let test = report.test.as_ref();
    if output.json {
        output.object(&TunedObject {
            accepted,
            verdict: report.verdict.to_string(),
            method: report.chosen.map(|at| report.attempts[at].method.as_str()),
            queries: report.sizes.test,
            ndcg: test.map(|test| test.ndcg),
            gain: test.map(|test| test.gain),
            recall: test.map(|test| test.recall),
            general: report
                .general
                .as_ref()
                .map(|general| [general.old, general.new]),
            model: accepted.then_some(out),
            seconds: report.seconds,
        })?;
        return Ok(());
    }
    if let Some(test) = test {
        for (name, [old, new], gain) in [
            ("nDCG@10", test.ndcg, test.gain),
            ("Recall@100", test.recall, test.recall_gain),
        ] {
            output.line(format_args!(
                "{name:<11} {old:.4} → {}   {:+.4} ({:+.4} to {:+.4})",
                output.accent(&format!("{new:.4}")),
                gain.mean,
                gain.low,
                gain.high
            ))?;
        }
    }
    if let Some(general) = &report.general {
        output.line(format_args!(
            "{:<11} {:.1} → {:.1}   {}",
            "general", general.old, general.new, general.measure
        ))?;
    }
    match report.chosen.map(|at| &report.attempts[at]) {
        Some(attempt) => output.line(format_args!(
            "{}, method {}",
            report.verdict, attempt.method
        ))?,
        None => output.line(format_args!("{}", report.verdict))?,
    }
    for attempt in &report.attempts {
        if let Some(why) = &attempt.course.stopped {
            output.note(format_args!(
                "training {} ended early: {why}",
                attempt.method
            ));
        }
    }
    let out = out.display();
    match accepted {
        true => output.note(format_args!(
            "the new model is {out}; {out}/tuning.html tells how it went. A collection is asked by it after \
             `vecdb tune --apply {out} --db …`, a new one by --model {out}"
        )),
        false => output.note(format_args!(
            "nothing was changed; {out}/tuning.html tells how it went"
        )),
    }
    output.note(format_args!(
        "{} held-out queries, {} in all",
        text::grouped(report.sizes.test as u64),
        text::duration(Duration::from_secs_f64(report.seconds))
    ));
    Ok(())
}
