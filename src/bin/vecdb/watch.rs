//! `vecdb ingest --watch`: files are ingested again when they change.
//!
//! The paths are looked at every second, and more seldom where looking takes long: that works on every file system, also those of
//! other machines, which tell nobody of changes.

use std::thread::sleep;
use std::time::{Duration, Instant};

use vecdb::ingest::{Plan, Sources};

use crate::failure::{Failure, Outcome};
use crate::ingest::Session;
use crate::output::Output;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Looking takes at most this part of the time.
const PART: u32 = 20;
/// A signal is heard within this time.
const HEARD: Duration = Duration::from_millis(100);

/// Ingests what changes after `plan` was ingested, until a signal comes.
pub fn watch(
    plan: Plan,
    sources: &dyn Fn() -> Sources,
    session: &mut Session<'_>,
    output: &mut Output,
) -> Result<(), Failure> {
    output.note("watching for changes; Ctrl-C ends it");
    let mut ingested = plan.stamps();
    let mut last = ingested.clone();
    let mut pause = EVERY;
    loop {
        let start = Instant::now();
        while start.elapsed() < pause {
            if session.is_interrupted() {
                return Ok(());
            }
            sleep(HEARD);
        }
        let start = Instant::now();
        // All files may be gone for a while, and the folder itself.
        let Ok(plan) = sources().changed_since(&ingested).plan() else {
            continue;
        };
        let stamps = plan.stamps();
        pause = EVERY.max(start.elapsed() * PART);
        // What is being written is not read until it keeps still.
        let is_still = stamps == last;
        last.clone_from(&stamps);
        if stamps == ingested || !is_still {
            continue;
        }
        if session.store(&plan, output)? == Outcome::Interrupted {
            return Ok(());
        }
        output.flush()?;
        ingested = stamps;
    }
}
