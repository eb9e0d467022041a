//! `vecdb migrate`: from an older format to the one that this version reads.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vecdb::Database;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Other commands refuse a database that an older vecdb made, and change nothing in it; this one brings it to the format of \
today. New files are written beside the old ones, which count until the new are whole, and then go: an interrupted \
migration loses nothing, and running it again completes it. There is no way back but a copy made before.

Examples:
  vecdb migrate --db notes.vecdb --dry-run
  vecdb migrate --db notes.vecdb

With --json, one object:
  {\"from\": 1, \"to\": 3, \"steps\": [[1, 2], [2, 3]],
   \"into\": \"notes.vecdb/g3\",
   \"bytes_needed\": 2345678, \"bytes_free\": 123456789,
   \"removed\": [\"notes.vecdb/g2\"], \"dry_run\": false}
  into: where the new files lie; null without steps
  bytes_needed: about so much free space, at most
  bytes_free: before; null where the system does not tell
  removed: what an interrupted migration had left

Exit codes: 0 migrated, or nothing to do, 2 error, also for a database of a newer format.";

/// How it is done.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Serialize)]
struct MigratedObject {
    from: u32,
    to: u32,
    steps: Vec<(u32, u32)>,
    into: Option<String>,
    bytes_needed: u64,
    bytes_free: Option<u64>,
    removed: Vec<String>,
    dry_run: bool,
}

/// Migrates, or tells what that would be.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let (path, dry_run) = (global.database_path()?, arguments.dry_run);
    let bytes_free = fs4::available_space(path).ok();
    let migration = if dry_run {
        Database::migration(path)?
    } else {
        Database::migrate(path, |from, to| {
            output.note(format_args!("from format {from} to {to} …"));
        })?
    };
    let shown = |path: &PathBuf| path.display().to_string();
    let object = MigratedObject {
        from: migration.from,
        to: migration.to,
        steps: migration.steps,
        into: migration.into.as_ref().map(shown),
        bytes_needed: migration.bytes_needed,
        bytes_free,
        removed: migration.leftovers.iter().map(shown).collect(),
        dry_run,
    };
    if output.json {
        output.object(&object)?;
    } else {
        for line in lines(&object, &shown(&path.to_path_buf())) {
            output.line(text::plain(&line))?;
        }
    }
    Ok(Outcome::Done)
}

/// What was done, or would be.
fn lines(object: &MigratedObject, path: &str) -> Vec<String> {
    let MigratedObject { from, to, .. } = object;
    let verb = if object.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let removed = |what| format!("{verb} {what}, left over from an interrupted migration");
    let mut lines: Vec<String> = object.removed.iter().map(removed).collect();
    let Some(into) = &object.into else {
        lines.push(format!(
            "{path} has format {from}, which is current: nothing to migrate"
        ));
        return lines;
    };
    if !object.dry_run {
        lines.push(format!("{path} has format {to} now, and had {from}"));
        return lines;
    }
    for (from, to) in &object.steps {
        lines.push(format!("would take the step from format {from} to {to}"));
    }
    let needed = text::bytes(object.bytes_needed);
    let free = object.bytes_free.map_or_else(String::new, |bytes| {
        format!("; {} are free", text::bytes(bytes))
    });
    lines.push(format!(
        "would write at most about {needed} into {into}{free}"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(dry_run: bool) -> MigratedObject {
        MigratedObject {
            from: 1,
            to: 3,
            steps: vec![(1, 2), (2, 3)],
            into: Some("a.vecdb/g3".into()),
            bytes_needed: 2_500_000,
            bytes_free: Some(90_000_000_000),
            removed: vec!["a.vecdb/g2".into()],
            dry_run,
        }
    }

    #[test]
    fn a_dry_run_tells_the_steps_and_what_they_take() {
        assert_eq!(
            lines(&object(true), "a.vecdb"),
            [
                "would remove a.vecdb/g2, left over from an interrupted migration",
                "would take the step from format 1 to 2",
                "would take the step from format 2 to 3",
                "would write at most about 2.5 MB into a.vecdb/g3; 90.0 GB are free",
            ]
        );
    }

    #[test]
    fn a_migration_tells_what_was_done() {
        assert_eq!(
            lines(&object(false), "a.vecdb"),
            [
                "removed a.vecdb/g2, left over from an interrupted migration",
                "a.vecdb has format 3 now, and had 1",
            ]
        );
    }
}
