//! `vecdb compact`: fewer segments, and no space for what is deleted.

use clap::Args;
use serde::Serialize;
use vecdb::{Compacted, Database, Error, Merging};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::purge;
use crate::text;

pub const AFTER_HELP: &str = "\
Merges segments of about the same size, and writes anew those with more than a fifth of their passages deleted, in all \
collections. Small ones are merged whenever a command that writes ends, so this is for large collections, before they are \
queried much or copied. Queries go on meanwhile; an interrupted compaction loses nothing.

With --purge everything that holds a deleted passage is written anew, also the catalog, whose log keeps what passed through \
it; then all files are searched for what was erased. Copies elsewhere, snapshots among them, keep what they have.

Examples:
  vecdb compact --db notes.vecdb
  vecdb compact --memory 256 --json
  vecdb delete --filter \"person = 'n-17'\" && vecdb compact --purge

With --json, one object:
  {\"merges\": 2, \"merged_segments\": 9, \"passages\": 40960,
   \"dead_passages\": 1204, \"segments\": 3, \"bytes\": 2345678,
   \"seconds\": 12.3, \"interrupted\": false}
  passages: written anew; dead_passages: deleted ones that are gone
  segments, bytes: what there is now
with --purge instead of \"interrupted\":
  {…, \"proved\": true, \"erased_documents\": 12, \"erased_passages\": 31,
   \"windows\": 180, \"shared_windows\": 6, \"files\": 9,
   \"file_bytes\": 2399999, \"stored_documents\": 3400,
   \"problems\": [\"…\"], \"remarks\": [\"…\"]}
  windows: stretches of 8 to 32 bytes of erased texts and vectors that were
  looked for, in all files as they are and in all stored documents as they
  read; shared_windows: not looked for, since live documents have them too
  problems: where some were found, and files that are not vecdb's

Exit codes: 0 done, also where nothing was due, 2 error, or something erased may still be there, 130 ended by a signal.";

/// What it may take.
#[derive(Args, Debug)]
pub struct Arguments {
    /// About how much memory a merge may take; segments that would need more are left as they are
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u64,
    /// Leave nothing of what is deleted in any file, and search them all to prove it
    #[arg(long)]
    pub purge: bool,
}

#[derive(Serialize)]
struct CompactedObject {
    merges: u64,
    merged_segments: u64,
    passages: u64,
    dead_passages: u64,
    segments: u64,
    bytes: u64,
    seconds: f64,
    interrupted: bool,
}

/// Makes all due merges.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let merging = Merging::on_request()
        .memory_bytes(arguments.memory.saturating_mul(1 << 20))
        .threads(threads);
    let database = global
        .options()
        .must_exist()
        .merging(merging)
        .open(global.database_path()?)?;
    if arguments.purge {
        return purge::run(database, output);
    }
    let interrupt = Interrupt::listen()?;
    let (_, bytes_before) = held(&database);
    let mut meter = Meter::start(bytes_before, output);
    let mut made = Compacted::default();
    let result = database.compact(|so_far| {
        made = *so_far;
        let (segments, bytes) = held(&database);
        let words = format!(
            "{} made, {} left",
            text::count(made.merges, "merge"),
            text::count(segments, "segment")
        );
        meter.update(bytes_before.saturating_sub(bytes), bytes_before, words);
        interrupt.flow()
    });
    meter.finish();
    let interrupted = match result {
        Ok(all) => {
            made = all;
            false
        }
        Err(Error::Cancelled) => true,
        Err(error) => return Err(error.into()),
    };
    let (segments, bytes) = held(&database);
    database.close()?;

    if output.json {
        output.object(&CompactedObject {
            merges: made.merges,
            merged_segments: made.segments,
            passages: made.passages,
            dead_passages: made.dead_passages,
            segments,
            bytes,
            seconds: meter.elapsed().as_secs_f64(),
            interrupted,
        })?;
    }
    output.note(format_args!(
        "{}{}; now {}, {}",
        if interrupted { "stopped: " } else { "" },
        words(&made, meter.elapsed()),
        text::count(segments, "segment"),
        text::bytes(bytes)
    ));
    Ok(Outcome::unless_interrupted(interrupted))
}

/// What was merged.
pub fn words(made: &Compacted, elapsed: std::time::Duration) -> String {
    if made.merges == 0 {
        return "nothing to merge".into();
    }
    format!(
        "merged {} ({}, {} deleted ones gone) in {}",
        text::count(made.segments, "segment"),
        text::count(made.passages, "passage"),
        text::grouped(made.dead_passages),
        text::duration(elapsed)
    )
}

/// Segments of all collections, and their bytes.
pub fn held(database: &Database) -> (u64, u64) {
    let collections = database.collections();
    let segments = collections.iter().map(|info| info.segments).sum();
    (segments, collections.iter().map(|info| info.bytes).sum())
}
