//! `vecdb query`: the documents nearest to a text.

use std::io::{self, Read as _};
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use vecdb::{Fields, Hit};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Filters compare fields: = != < <= > >=, in ('a', 'b'), exists, and, or, not, parentheses.

Examples:
  vecdb query 'store on one machine' --db notes.vecdb
  vecdb query 'tree that stays balanced' --filter \"lang = 'en' and year < 1980\"
  vecdb query 'how do plants eat' -k 3 --full
  git log -1 --format=%B | vecdb query - --json | jq -r .id

With --json, one object a hit, best first:
  {\"rank\": 1, \"id\": \"…\", \"score\": 0.62, \"title\": \"…\" or null, \"passage\": \"…\",
   \"range\": [0, 210], \"fields\": {…}, \"source\": \"…\" or null}
  score: higher is nearer, under cosine in [-1, 1]
  range: the passage's bytes in the document's text

Exit codes: 0 hits, 1 no hit, 2 error.";

/// Lines of a passage that are shown without `--full`.
const SNIPPET_LINES: usize = 3;
const INDENT: &str = "    ";

/// What to find.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What to look for, in any words; - reads it from stdin
    #[arg(required = true, value_name = "TEXT")]
    pub text: Vec<String>,
    /// Only documents whose fields match, such as "lang = 'en' and year >= 2020"
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Option<String>,
    /// At most this many hits
    #[arg(long, short = 'k', value_name = "N", default_value_t = 10)]
    pub limit: usize,
    /// Skip this many best hits first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: usize,
    /// Only hits with at least this score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub min_score: Option<f32>,
    /// The whole passage, not only its first lines
    #[arg(long)]
    pub full: bool,
    /// Say on stderr where the time went
    #[arg(long)]
    pub timings: bool,
}

/// A hit as `--json` prints it.
#[derive(Serialize)]
pub struct HitObject<'a> {
    rank: usize,
    id: &'a str,
    score: f32,
    title: Option<&'a str>,
    passage: &'a str,
    range: [usize; 2],
    fields: &'a Fields,
    source: Option<&'a str>,
}

impl<'a> HitObject<'a> {
    /// `rank` counts from 1.
    pub fn new(rank: usize, hit: &'a Hit) -> Self {
        Self {
            rank,
            id: &hit.id,
            score: hit.score,
            title: hit.title.as_deref(),
            passage: &hit.passage,
            range: [hit.range.start, hit.range.end],
            fields: &hit.fields,
            source: hit.source.as_deref(),
        }
    }
}

/// Runs the query and prints its hits.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let question = question(&arguments.text)?;
    let start = Instant::now();
    let database = global.open_for_reading()?;
    let collection = database.existing_collection(global.collection_name())?;
    let opened = start.elapsed();

    let mut query = collection
        .query(question)
        .limit(arguments.limit)
        .offset(arguments.offset);
    if let Some(filter) = &arguments.filter {
        query = query.filter(filter.as_str());
    }
    if let Some(score) = arguments.min_score {
        query = query.min_score(score);
    }
    let hits = query.run()?;
    let total = start.elapsed();

    for (place, hit) in hits.iter().enumerate() {
        let rank = arguments.offset + place + 1;
        if output.json {
            output.object(&HitObject::new(rank, hit))?;
        } else {
            print_hit(rank, hit, arguments.full, output)?;
        }
    }
    output.flush()?;
    if hits.is_empty() {
        output.note(nothing_found(arguments, collection.len()));
    }
    if arguments.timings {
        output.note(format_args!(
            "open database {}, load encoder and search {}, total {}",
            text::duration(opened),
            text::duration(total - opened),
            text::duration(total)
        ));
    }
    Ok(Outcome::found(!hits.is_empty()))
}

/// The words as one text; a lone `-` stands for stdin.
fn question(words: &[String]) -> Result<String, Failure> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    let mut question = String::new();
    io::stdin()
        .read_to_string(&mut question)
        .map_err(|error| Failure::Usage(format!("cannot read the query from stdin: {error}")))?;
    Ok(question)
}

fn nothing_found(arguments: &Arguments, documents: u64) -> String {
    if documents == 0 {
        return "no hit: the collection is empty".into();
    }
    let mut reasons = Vec::new();
    if arguments.filter.is_some() {
        reasons.push("the filter");
    }
    if arguments.min_score.is_some() {
        reasons.push("--min-score");
    }
    if arguments.offset > 0 {
        reasons.push("--offset");
    }
    let documents = text::count(documents, "document");
    if reasons.is_empty() {
        format!("no hit in {documents}")
    } else {
        format!(
            "no hit in {documents} that {} lets through",
            reasons.join(" and ")
        )
    }
}

/// One hit for people: a line with score and names, the passage, the fields.
pub fn print_hit(rank: usize, hit: &Hit, full: bool, output: &mut Output) -> io::Result<()> {
    let mut head = format!(
        "{rank:>2}  {}  {}",
        output.accent(&format!("{:.3}", hit.score)),
        output.bold(&text::plain(&hit.id))
    );
    if let Some(title) = text::other_title(&hit.id, hit.title.as_deref()) {
        head.push_str("  ");
        head.push_str(&text::cut(
            title,
            output
                .width()
                .saturating_sub(text::columns(&hit.id) + 13)
                .max(10),
        ));
    }
    output.line(head)?;
    let width = output.width().saturating_sub(INDENT.len()).max(20);
    let lines = text::wrap(&hit.passage, width);
    let shown = if full {
        lines.len()
    } else {
        lines.len().min(SNIPPET_LINES)
    };
    for (place, line) in lines.iter().take(shown).enumerate() {
        if place + 1 == shown && shown < lines.len() {
            output.line(format_args!(
                "{INDENT}{}",
                text::cut(&format!("{line} {}", lines[shown]), width - MORE.len() - 1)
                    + " "
                    + &output.dim(MORE)
            ))?;
        } else {
            output.line(format_args!("{INDENT}{line}"))?;
        }
    }
    if !hit.fields.is_empty() {
        let fields = text::cut(&text::fields(&hit.fields), width);
        output.line(format_args!("{INDENT}{}", output.dim(&fields)))?;
    }
    Ok(())
}

/// Stands where a passage is cut.
const MORE: &str = "(--full)";
