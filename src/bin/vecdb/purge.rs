//! `vecdb compact --purge`: nothing of what is deleted stays in the files, and proof of it.

use serde::Serialize;
use vecdb::{Compacted, Database, Error, Purged};

use crate::compact::{self, held};
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

#[derive(Serialize)]
struct PurgedObject<'a> {
    proved: bool,
    erased_documents: u64,
    erased_passages: u64,
    windows: u64,
    shared_windows: u64,
    files: u64,
    file_bytes: u64,
    stored_documents: u64,
    merges: u64,
    merged_segments: u64,
    passages: u64,
    dead_passages: u64,
    segments: u64,
    bytes: u64,
    seconds: f64,
    problems: &'a [String],
    remarks: &'a [String],
}

/// Erases, searches, and tells what was found.
pub fn run(database: Database, output: &mut Output) -> Result<Outcome, Failure> {
    let interrupt = Interrupt::listen()?;
    let (_, bytes_before) = held(&database);
    let mut meter = Meter::start(bytes_before, output);
    let result = database.purge(|so_far: &Compacted| {
        let words = format!("{} made", text::count(so_far.merges, "merge"));
        let (_, bytes) = held(&database);
        meter.update(bytes_before.saturating_sub(bytes), bytes_before, words);
        interrupt.flow()
    });
    meter.finish();
    let purged = match result {
        Ok(purged) => purged,
        Err(Error::Cancelled) => {
            output.note("stopped: not everything is erased; the same command goes on from here");
            return Ok(Outcome::Interrupted);
        }
        Err(error) => return Err(error.into()),
    };
    let (segments, bytes) = held(&database);
    database.close()?;
    if output.json {
        let Compacted {
            merges,
            segments: merged_segments,
            passages,
            dead_passages,
            ..
        } = purged.compacted;
        output.object(&PurgedObject {
            proved: purged.is_proved(),
            erased_documents: purged.documents,
            erased_passages: purged.passages,
            windows: purged.windows,
            shared_windows: purged.shared_windows,
            files: purged.files,
            file_bytes: purged.bytes,
            stored_documents: purged.stored_documents,
            merges,
            merged_segments,
            passages,
            dead_passages,
            segments,
            bytes,
            seconds: meter.elapsed().as_secs_f64(),
            problems: &purged.problems,
            remarks: &purged.remarks,
        })?;
    } else {
        tell(&purged, &meter, output)?;
    }
    Ok(if purged.is_proved() {
        Outcome::Done
    } else {
        Outcome::Bad
    })
}

fn tell(purged: &Purged, meter: &Meter, output: &mut Output) -> Result<(), Failure> {
    output.note(compact::words(&purged.compacted, meter.elapsed()));
    output.line(format_args!(
        "erased {} ({}); the catalog was made anew",
        text::count(purged.documents, "document"),
        text::count(purged.passages, "passage")
    ))?;
    output.line(format_args!(
        "looked for {} of their texts and vectors in {} ({}) and in {}",
        text::count(purged.windows, "piece"),
        text::count(purged.files, "file"),
        text::bytes(purged.bytes),
        text::count(purged.stored_documents, "stored document")
    ))?;
    if purged.is_proved() {
        output.line("none was found")?;
    }
    for problem in &purged.problems {
        output.line(text::plain(problem))?;
    }
    output.flush()?;
    for remark in &purged.remarks {
        output.note(format_args!("remark: {}", text::plain(remark)));
    }
    Ok(())
}
