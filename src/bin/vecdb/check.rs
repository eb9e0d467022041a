//! `vecdb check`: is the database as it was written? And `--repair`, if not.

use clap::Args;
use serde::Serialize;
use vecdb::{Affected, CheckOptions, Effect, Repaired, Report};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Reads every file of the database, compares every checksum and follows every reference. Changes nothing, but for --repair.

--repair puts what is damaged into the folder aside/ of the database, deletes nothing, makes MANIFEST and catalog anew from \
each other, and writes what can be read of damaged segments into new ones. It says which documents are lost, to be added again.

Examples:
  vecdb check --db notes.vecdb
  vecdb check --deep
  vecdb check --json | jq -r '.problems[]'
  vecdb check --repair --json | jq -r '.affected[].ids[]'

With --json, one object:
  {\"files\": 12, \"bytes\": 2345678, \"problems\": [\"…\"], \"remarks\": [\"…\"]}
  problems: damage, a sentence each; remarks: worth knowing but harmless
With --json and --repair, the same as it is afterwards, and in it:
  {\"done\": [\"…\"], \"lost\": [\"…\"], \"affected\": [
    {\"collection\": \"default\", \"segment\": \"…/01J….seg\",
     \"effect\": \"lost\", \"ids\": [\"…\"], \"unnamed\": 0}]}
  done, lost: a sentence each; effect: lost, or undeleted (some of these
  were deleted before); unnamed: documents whose ids cannot be read

Exit codes: 0 sound, or now sound (with --repair: also where something is lost), 2 damaged, or not to be read at all.";

/// How thoroughly, and whether to change anything.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Beside reading every byte, decode every text, recompute every code, walk every graph
    #[arg(long)]
    pub deep: bool,
    /// Repair what is damaged, and say what is lost
    #[arg(long)]
    pub repair: bool,
}

#[derive(Serialize)]
struct ReportObject<'a> {
    files: u64,
    bytes: u64,
    problems: &'a [String],
    remarks: &'a [String],
    #[serde(flatten)]
    repaired: Option<RepairedObject<'a>>,
}

#[derive(Serialize)]
struct RepairedObject<'a> {
    done: &'a [String],
    lost: &'a [String],
    affected: Vec<AffectedObject<'a>>,
}

#[derive(Serialize)]
struct AffectedObject<'a> {
    collection: &'a str,
    segment: String,
    effect: &'static str,
    ids: &'a [String],
    unnamed: u64,
}

/// Checks, and lists what is wrong; repairs it if that is asked for.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let path = global.database_path()?;
    let mut options = CheckOptions::default();
    if arguments.deep {
        options = options.deep();
    }
    let repaired = arguments.repair.then(|| options.repair(path)).transpose()?;
    let report = match &repaired {
        Some(repaired) => repaired.report.clone(),
        None => options.check(path)?,
    };
    let outcome = if report.problems.is_empty() {
        Outcome::Done
    } else {
        Outcome::Bad
    };
    if output.json {
        output.object(&object(&report, repaired.as_ref()))?;
        return Ok(outcome);
    }
    if let Some(repaired) = &repaired {
        tell(repaired, output)?;
    }
    for problem in &report.problems {
        output.line(text::plain(problem))?;
    }
    for remark in &report.remarks {
        output.note(format_args!("remark: {}", text::plain(remark)));
    }
    let read = format!(
        "{}, {}",
        text::count(report.files, "file"),
        text::bytes(report.bytes)
    );
    let path = path.display();
    if outcome == Outcome::Done {
        let now = match &repaired {
            Some(repaired) if !repaired.done.is_empty() => "now ",
            _ => "",
        };
        output.line(format_args!("{path} is {now}sound ({read})"))?;
    } else {
        output.flush()?;
        let problems = text::count(report.problems.len() as u64, "problem");
        output.note(format_args!("{path} is damaged: {problems} ({read})"));
        if repaired.is_none() {
            output.note("`vecdb check --repair` keeps what can be read, and says what is lost");
        }
    }
    Ok(outcome)
}

/// What a repair did, and what it could not keep: an id a line, so that none is left out.
fn tell(repaired: &Repaired, output: &mut Output) -> Result<(), Failure> {
    for done in &repaired.done {
        output.note(text::plain(done));
    }
    for lost in &repaired.lost {
        output.line(text::plain(lost))?;
    }
    for affected in &repaired.affected {
        let collection = text::plain(&affected.collection);
        let of = format!("collection {collection}, of {}", affected.segment.display());
        let documents = text::count(affected.ids.len() as u64, "document");
        if !affected.ids.is_empty() {
            let what = match affected.effect {
                Effect::Undeleted => {
                    format!("some of {documents} had been deleted and are there again")
                }
                _ => format!("{documents} lost"),
            };
            output.line(format_args!("{what} ({of}):"))?;
        }
        for id in &affected.ids {
            output.line(format_args!("  {}", text::plain(id)))?;
        }
        if affected.unnamed > 0 {
            let documents = text::count(affected.unnamed, "document");
            output.line(format_args!(
                "{documents} lost whose ids cannot be read ({of})"
            ))?;
        }
    }
    Ok(())
}

fn object<'a>(report: &'a Report, repaired: Option<&'a Repaired>) -> ReportObject<'a> {
    let affected = |affected: &'a Affected| AffectedObject {
        collection: &affected.collection,
        segment: affected.segment.display().to_string(),
        effect: match affected.effect {
            Effect::Undeleted => "undeleted",
            _ => "lost",
        },
        ids: &affected.ids,
        unnamed: affected.unnamed,
    };
    ReportObject {
        files: report.files,
        bytes: report.bytes,
        problems: &report.problems,
        remarks: &report.remarks,
        repaired: repaired.map(|repaired| RepairedObject {
            done: &repaired.done,
            lost: &repaired.lost,
            affected: repaired.affected.iter().map(affected).collect(),
        }),
    }
}
