//! The end of a command that writes: what it left to be merged is merged, and the space of what is deleted returns.
//!
//! A process that lives on does that in the background; this one would be gone before a large merge is done.

use vecdb::{Database, Error};

use crate::compact::held;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

/// Seals, and makes all due merges. A signal ends it: what the command did is done.
pub fn tidy(database: &Database, interrupt: &Interrupt, output: &Output) -> Result<(), Failure> {
    database.flush()?;
    let (_, before) = held(database);
    let mut meter = Meter::start(before, output);
    let result = database.compact(|so_far| {
        let (_, bytes) = held(database);
        let words = format!("merging: {} made", text::count(so_far.merges, "merge"));
        meter.update(before.saturating_sub(bytes), before, words);
        interrupt.flow()
    });
    meter.finish();
    match result {
        Ok(_) => {}
        Err(Error::Cancelled) => {
            output.note("stopped merging: the next command that writes goes on")
        }
        // Everything acknowledged is there all the same.
        Err(error) => output.note(format_args!("not all segments could be merged: {error}")),
    }
    Ok(())
}
