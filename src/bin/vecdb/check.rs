//! `vecdb check`: is the database as it was written?

use serde::Serialize;
use vecdb::Database;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Reads every file of the database, compares every checksum and follows every reference. Changes nothing.

Examples:
  vecdb check --db notes.vecdb
  vecdb check --json | jq -r '.problems[]'

With --json, one object:
  {\"files\": 12, \"bytes\": 2345678, \"problems\": [\"…\"], \"remarks\": [\"…\"]}
  problems: damage, a sentence each; remarks: worth knowing but harmless.

Exit codes: 0 sound, 2 damaged, or not to be read at all.";

#[derive(Serialize)]
struct ReportObject<'a> {
    files: u64,
    bytes: u64,
    problems: &'a [String],
    remarks: &'a [String],
}

/// Checks, and lists what is wrong.
pub fn run(global: &Global, output: &mut Output) -> Result<Outcome, Failure> {
    let path = global.database_path()?;
    let report = Database::check(path)?;
    let outcome = if report.problems.is_empty() {
        Outcome::Done
    } else {
        Outcome::Bad
    };
    if output.json {
        output.object(&ReportObject {
            files: report.files,
            bytes: report.bytes,
            problems: &report.problems,
            remarks: &report.remarks,
        })?;
        return Ok(outcome);
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
    if outcome == Outcome::Done {
        output.line(format_args!("{} is sound ({read})", path.display()))?;
    } else {
        output.flush()?;
        let problems = text::count(report.problems.len() as u64, "problem");
        output.note(format_args!(
            "{} is damaged: {problems} ({read})",
            path.display()
        ));
    }
    Ok(outcome)
}
