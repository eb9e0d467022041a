//! `vecdb query`: the documents nearest to a text, or to other documents.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use vecdb::{Collection, Fields, Hit, Query};

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
  vecdb query 'how do plants eat' --within 0.5     all that score 0.5 or more
  vecdb query --like b-tree --unlike red-black     what resembles a document
  vecdb query --batch questions.txt --json         a query a line
  git log -1 --format=%B | vecdb query - --json | jq -r .id

With --json, one object a hit, best first:
  {\"rank\": 1, \"id\": \"…\", \"score\": 0.62, \"title\": \"…\" or null, \"passage\": \"…\",
   \"range\": [0, 210], \"page\": 3 or null, \"headings\": [\"…\", …],
   \"fields\": {…}, \"source\": \"…\" or null}
  score: higher is nearer, under cosine in [-1, 1]
  range: the passage's bytes in the document's text
  page, headings: of the passage's beginning
With --batch, \"query\" stands first in each object, and rank starts again.

Exit codes: 0 hits, 1 no hit, 2 error.";

/// Lines of a passage that are shown without `--full`.
const SNIPPET_LINES: usize = 3;
const INDENT: &str = "    ";

/// What to find.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What to look for, in any words; - reads it from stdin
    #[arg(required_unless_present_any = ["like", "batch"], value_name = "TEXT")]
    pub text: Vec<String>,
    /// Look for what resembles this document, beside TEXT or alone; may be repeated
    #[arg(long, value_name = "ID")]
    pub like: Vec<String>,
    /// And resembles this one less; may be repeated
    #[arg(long, value_name = "ID")]
    pub unlike: Vec<String>,
    /// Run a query for each line of a file, - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub batch: Option<PathBuf>,
    /// Only documents whose fields match, such as "lang = 'en' and year >= 2020"
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Option<String>,
    /// At most this many hits [default: 10, or all with --within]
    #[arg(long, short = 'k', value_name = "N")]
    pub limit: Option<usize>,
    /// Skip this many best hits first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: usize,
    /// Only hits with at least this score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub min_score: Option<f32>,
    /// All documents with at least this score, not only the best
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub within: Option<f32>,
    /// Compare every vector with the query, instead of walking the graph
    #[arg(long)]
    pub exact: bool,
    /// The part of the true hits to be found on average [default: 0.95]
    #[arg(long, value_name = "PART", conflicts_with = "exact")]
    pub target_recall: Option<f32>,
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
    page: Option<u32>,
    headings: &'a [String],
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
            page: hit.page,
            headings: &hit.headings,
            fields: &hit.fields,
            source: hit.source.as_deref(),
        }
    }
}

/// A hit of a batch as `--json` prints it.
#[derive(Serialize)]
struct AnswerObject<'a> {
    query: &'a str,
    #[serde(flatten)]
    hit: HitObject<'a>,
}

/// Runs the queries and prints their hits.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let batch = arguments.batch.as_deref().map(lines).transpose()?;
    let question = match arguments.text.as_slice() {
        [] => None,
        words => Some(question(words)?),
    };
    let start = Instant::now();
    let database = global.open_for_reading()?;
    let collection = database.existing_collection(global.collection_name())?;
    let opened = start.elapsed();

    let (answers, timings) = match &batch {
        Some(lines) => {
            let query = |line: &String| arguments.query(Some(line), &collection);
            Query::run_all_timed(lines.iter().map(query))?
        }
        None => {
            let query = arguments.query(question.as_deref(), &collection);
            let (hits, timings) = query.run_timed()?;
            (vec![hits], timings)
        }
    };

    for (nth, hits) in answers.iter().enumerate() {
        let asked = batch.as_ref().map(|lines| lines[nth].as_str());
        print_answer(arguments, asked, hits, output)?;
    }
    output.flush()?;
    let found = answers.iter().any(|hits| !hits.is_empty());
    if !found {
        output.note(nothing_found(arguments, collection.len()));
    }
    if arguments.timings {
        output.note(format_args!(
            "open database {}, load encoder {}, encode {}, search {}, total with output {}",
            text::duration(opened),
            text::duration(timings.load_encoder),
            text::duration(timings.encode),
            text::duration(timings.search),
            text::duration(start.elapsed())
        ));
    }
    // The process ends here, and taking an encoder apart is a tenth of its time; a reader leaves nothing to be closed.
    mem::forget((collection, database));
    Ok(Outcome::found(found))
}

impl Arguments {
    /// All that was typed, with this text or with documents to be like alone.
    fn query(&self, text: Option<&str>, collection: &Collection) -> Query {
        let query = match text {
            Some(text) => collection.query(text).more_like(&self.like),
            None => collection.more_like(&self.like),
        };
        let mut query = query.less_like(&self.unlike).offset(self.offset);
        if let Some(filter) = &self.filter {
            query = query.filter(filter.as_str());
        }
        if let Some(limit) = self.limit {
            query = query.limit(limit);
        }
        if let Some(score) = self.min_score {
            query = query.min_score(score);
        }
        if let Some(score) = self.within {
            query = query.within(score);
        }
        if let Some(recall) = self.target_recall {
            query = query.target_recall(recall);
        }
        if self.exact { query.exact() } else { query }
    }
}

/// The hits of one query; `asked` is its text in a batch.
fn print_answer(
    arguments: &Arguments,
    asked: Option<&str>,
    hits: &[Hit],
    output: &mut Output,
) -> io::Result<()> {
    if let Some(asked) = asked.filter(|_| !output.json) {
        let asked = text::cut(asked, output.width());
        output.line(output.bold(&asked))?;
    }
    for (place, hit) in hits.iter().enumerate() {
        let rank = arguments.offset + place + 1;
        let object = HitObject::new(rank, hit);
        match asked {
            _ if !output.json => print_hit(rank, hit, arguments.full, output)?,
            None => output.object(&object)?,
            Some(query) => output.object(&AnswerObject { query, hit: object })?,
        }
    }
    Ok(())
}

/// The words as one text; a lone `-` stands for stdin.
fn question(words: &[String]) -> Result<String, Failure> {
    if words != ["-"] {
        return Ok(words.join(" "));
    }
    io::read_to_string(io::stdin())
        .map_err(|error| Failure::Usage(format!("cannot read the query from stdin: {error}")))
}

/// The lines of a file, without empty ones; `-` stands for stdin.
fn lines(file: &Path) -> Result<Vec<String>, Failure> {
    let read = match file.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        _ => fs::read_to_string(file),
    };
    let name = text::plain(&file.to_string_lossy());
    let text =
        read.map_err(|error| Failure::Usage(format!("cannot read queries from {name}: {error}")))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    match lines.is_empty() {
        true => Err(Failure::Usage(format!("{name} holds no query"))),
        false => Ok(lines),
    }
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
    if arguments.within.is_some() {
        reasons.push("--within");
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
    if let Some(place) = place(hit) {
        let place = text::cut(&place, output.width().saturating_sub(INDENT.len()).max(20));
        output.line(format_args!("{INDENT}{}", output.dim(&place)))?;
    }
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

/// `page 3 › Filters › Order`: where in the document the passage stands, the title left out.
fn place(hit: &Hit) -> Option<String> {
    let page = hit.page.map(|page| format!("page {page}"));
    let is_title = |heading: &&String| hit.title.as_ref() == Some(heading);
    let headings = hit.headings.iter().skip_while(is_title).cloned();
    let parts: Vec<String> = page.into_iter().chain(headings).collect();
    (!parts.is_empty()).then(|| text::plain(&parts.join(" › ")))
}

/// Stands where a passage is cut.
const MORE: &str = "(--full)";
