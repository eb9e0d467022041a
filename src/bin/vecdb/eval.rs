//! `vecdb eval`: how good is retrieval on queries with known answers?

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use vecdb::Collection;
use vecdb::eval::{BeirFolder, Evaluation, Measure, Qrels, Query, Run, evaluate, read_queries};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

pub const AFTER_HELP: &str = "\
Asks every judged query and compares the hits with the judgements, as trec_eval and BEIR define the measures. The corpus \
must be in the collection already, under the ids that the judgements use.

Examples:
  vecdb ingest scifact/ --db bench.vecdb && vecdb eval scifact/ --db bench.vecdb
  vecdb eval --queries q.jsonl --qrels test.tsv --run-out run.trec

With --json, one object:
  {\"queries\": 300,
   \"measures\": {\"MRR@10\": 0.61, \"Recall@100\": 0.92, \"nDCG@10\": 0.64},
   \"queries_without_judgements\": 0, \"judged_queries_missing\": 0, \"seconds\": 6.2}
  measures are means over the queries counted.

Exit codes: 0 done, 1 no query could be counted, 2 error.";

/// Recall looks at this many hits, whatever `-k` says.
const RECALL_DEPTH: usize = 100;

/// Which queries and judgements.
#[derive(Args, Debug)]
pub struct Arguments {
    /// A folder in BEIR's layout: queries.jsonl and qrels/SPLIT.tsv
    #[arg(value_name = "FOLDER", required_unless_present = "queries", conflicts_with_all = ["queries", "qrels"])]
    pub folder: Option<PathBuf>,
    /// The split in the folder's qrels [default: test, or the only one]
    #[arg(long, value_name = "NAME", conflicts_with = "queries")]
    pub split: Option<String>,
    /// Queries: JSON Lines with _id and text
    #[arg(long, value_name = "FILE", requires = "qrels")]
    pub queries: Option<PathBuf>,
    /// Judgements: BEIR's three columns or TREC's four
    #[arg(long, value_name = "FILE", requires = "queries")]
    pub qrels: Option<PathBuf>,
    /// nDCG and MRR look at this many hits
    #[arg(short, long = "k", value_name = "K", default_value_t = 10, value_parser = at_least_one)]
    pub k: usize,
    /// Write the hits as a TREC run
    #[arg(long, value_name = "FILE")]
    pub run_out: Option<PathBuf>,
}

fn at_least_one(typed: &str) -> Result<usize, String> {
    match typed.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Serialize)]
struct EvaluationObject {
    queries: usize,
    measures: BTreeMap<String, f64>,
    queries_without_judgements: usize,
    judged_queries_missing: usize,
    seconds: f64,
}

/// Asks, measures and prints.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let (queries, qrels) = judged_queries(arguments)?;
    let collection = global.collection_for_reading()?;
    let depth = arguments.k.max(RECALL_DEPTH);
    let (run, elapsed) = ask(&queries, &qrels, &collection, depth, output)?;
    let measures = [
        Measure::Ndcg(arguments.k),
        Measure::Mrr(arguments.k),
        Measure::Recall(RECALL_DEPTH),
    ];
    let evaluation = evaluate(&run, &qrels, &measures);
    if let Some(path) = &arguments.run_out {
        write_run(&run, path)?;
    }
    print(&evaluation, elapsed, output)?;
    if evaluation.judged_queries_missing > 0 {
        let missing = text::grouped(evaluation.judged_queries_missing as u64);
        output.note(format_args!(
            "{missing} judged queries have no text and count nowhere"
        ));
    }
    Ok(Outcome::found(evaluation.queries > 0))
}

fn judged_queries(arguments: &Arguments) -> Result<(Vec<Query>, Qrels), Failure> {
    if let (Some(queries), Some(qrels)) = (&arguments.queries, &arguments.qrels) {
        return Ok((read_queries(queries)?, Qrels::read(qrels)?));
    }
    let Some(folder) = &arguments.folder else {
        return Err(Failure::Usage(
            "name a folder in BEIR's layout, or --queries and --qrels".into(),
        ));
    };
    let Some(beir) = BeirFolder::recognise(folder)? else {
        let what = format!(
            "{} is not laid out as BEIR does: corpus.jsonl, queries.jsonl, qrels/test.tsv",
            folder.display()
        );
        return Err(Failure::Usage(what));
    };
    Ok((
        read_queries(&beir.queries)?,
        Qrels::read(beir.split(arguments.split.as_deref())?)?,
    ))
}

/// Asks the queries that have a relevant document; the others are in no mean, and BEIR's files hold all splits' queries.
fn ask(
    queries: &[Query],
    qrels: &Qrels,
    collection: &Collection,
    depth: usize,
    output: &Output,
) -> Result<(Run, Duration), Failure> {
    let judged: Vec<&Query> = queries
        .iter()
        .filter(|query| qrels.has_relevant(&query.id))
        .collect();
    let total = judged.len() as u64;
    let mut meter = Meter::start(total, output);
    let mut run = Run::default();
    for (asked, query) in (1..).zip(judged) {
        let hits = collection.query(query.text.as_str()).limit(depth).run()?;
        run.insert(
            query.id.as_str(),
            hits.into_iter().map(|hit| (hit.id, hit.score)),
        );
        meter.update(
            asked,
            total,
            format_args!(
                "{} of {} queries",
                text::grouped(asked),
                text::grouped(total)
            ),
        );
    }
    meter.finish();
    Ok((run, meter.elapsed()))
}

fn write_run(run: &Run, path: &Path) -> Result<(), Failure> {
    let file = File::create(path)
        .map_err(|error| Failure::Usage(format!("cannot write {}: {error}", path.display())))?;
    Ok(run.write_trec(BufWriter::new(file), path)?)
}

fn print(evaluation: &Evaluation, elapsed: Duration, output: &mut Output) -> Result<(), Failure> {
    let names = evaluation.measures.iter().map(ToString::to_string);
    let measures: BTreeMap<String, f64> = names.zip(evaluation.means.iter().copied()).collect();
    if output.json {
        output.object(&EvaluationObject {
            queries: evaluation.queries,
            measures,
            queries_without_judgements: evaluation.queries_without_judgements,
            judged_queries_missing: evaluation.judged_queries_missing,
            seconds: elapsed.as_secs_f64(),
        })?;
        return Ok(());
    }
    for (measure, mean) in evaluation.measures.iter().zip(&evaluation.means) {
        output.line(format_args!(
            "{:<11} {}",
            measure.to_string(),
            output.accent(&format!("{mean:.4}"))
        ))?;
    }
    output.line(format_args!(
        "{:<11} {}",
        "queries",
        text::grouped(evaluation.queries as u64)
    ))?;
    let each = elapsed / u32::try_from(evaluation.queries.max(1)).unwrap_or(u32::MAX);
    output.note(format_args!(
        "{} in all, {} a query",
        text::duration(elapsed),
        text::duration(each)
    ));
    Ok(())
}
