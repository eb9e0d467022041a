//! Files into a collection: the two passes of `vecdb ingest` and `vecdb demo`, and what is said about them.

use std::ops::ControlFlow;
use std::time::Duration;

use vecdb::ingest::{Plan, Sources};
use vecdb::{Added, BatchOptions, Collection, Error, Progress, Stage};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

/// How many skipped records are named.
const SKIPPED_SHOWN: usize = 20;

/// What `store` leaves behind.
pub struct Ingested {
    /// What the library counted; zeros where a signal came.
    pub added: Added,
    /// Time it took, opening the encoder included.
    pub elapsed: Duration,
    /// Documents that are stored, where a signal came.
    pub interrupted: Option<u64>,
}

/// The first pass: everything is read and checked, nothing is stored.
pub fn plan(sources: Sources, output: &Output) -> Result<Plan, Failure> {
    let mut meter = Meter::start(0, output);
    let plan = sources.plan_with(|scanned| {
        let documents = text::count(scanned.documents, "document");
        meter.update(
            scanned.bytes,
            scanned.bytes_total,
            format_args!("reading: {documents}"),
        );
        ControlFlow::Continue(())
    });
    meter.finish();
    Ok(plan?)
}

/// The second pass: the documents are encoded and stored.
pub fn store(
    plan: &Plan,
    collection: &Collection,
    max_memory: Option<u64>,
    interrupt: Option<&Interrupt>,
    output: &Output,
) -> Result<Ingested, Failure> {
    let mut meter = Meter::start(plan.text_bytes, output);
    let mut encoded = 0;
    let mut options = BatchOptions::default().progress(|progress| {
        encoded = progress.documents;
        meter.update(
            progress.text_bytes,
            plan.text_bytes,
            words(progress, plan, meter.elapsed()),
        );
        interrupt.map_or(ControlFlow::Continue(()), Interrupt::flow)
    });
    if let Some(bytes) = max_memory {
        options = options.max_memory(bytes);
    }
    let result = collection.ingest(plan.documents(), options);
    meter.finish();
    let elapsed = meter.elapsed();
    match result {
        Ok(added) => Ok(Ingested {
            added,
            elapsed,
            interrupted: None,
        }),
        // Breaking off stores what is encoded.
        Err(Error::Cancelled) => Ok(Ingested {
            added: Added::default(),
            elapsed,
            interrupted: Some(encoded),
        }),
        Err(error) => {
            if encoded > 0 {
                output.note("what was stored before stays; the same command goes on from there");
            }
            Err(error.into())
        }
    }
}

fn words(progress: &Progress, plan: &Plan, elapsed: Duration) -> String {
    let mut words = format!(
        "{} of {} documents, {} passages/s",
        text::grouped(progress.documents),
        text::grouped(plan.documents),
        text::per_second(progress.passages, elapsed)
    );
    if progress.stage == Stage::Sealing {
        words.push_str(", writing a segment");
    }
    words
}

/// Remarks, skipped records and files of unknown kinds.
pub fn tell_what_is_left_out(plan: &Plan, output: &Output) {
    for remark in &plan.remarks {
        output.note(text::plain(remark));
    }
    for skipped in plan.skipped.iter().take(SKIPPED_SHOWN) {
        output.note(format_args!(
            "skipped {}: {}",
            text::plain(&skipped.place),
            text::plain(&skipped.what)
        ));
    }
    let more = plan
        .skipped_count
        .saturating_sub(plan.skipped.len().min(SKIPPED_SHOWN) as u64);
    if more > 0 {
        output.note(format_args!("skipped {} more", text::grouped(more)));
    }
    if !plan.unknown_extensions.is_empty() {
        let kinds: Vec<String> = plan
            .unknown_extensions
            .iter()
            .map(|(extension, files)| {
                let kind = if extension.is_empty() {
                    "no extension".into()
                } else {
                    format!(".{}", text::plain(extension))
                };
                format!("{kind} ({})", text::grouped(*files))
            })
            .collect();
        output.note(format_args!(
            "passed over files that no reader knows: {}",
            kinds.join(", ")
        ));
    }
}

/// `added 1,204 passages of 295 documents from 37 files (15 updated, 5 unchanged) in 12.3 s, 98 passages/s`
pub fn summary(plan: &Plan, ingested: &Ingested) -> String {
    let Added {
        added,
        updated,
        unchanged,
        passages,
        reused,
        ..
    } = ingested.added;
    let mut others = Vec::new();
    for (number, what) in [
        (updated, "updated"),
        (unchanged, "unchanged"),
        (plan.skipped_count, "skipped"),
    ] {
        if number > 0 {
            others.push(format!("{} {what}", text::grouped(number)));
        }
    }
    let others = if others.is_empty() {
        String::new()
    } else {
        format!(" ({})", others.join(", "))
    };
    let files = text::count(plan.files, "file");
    let elapsed = text::duration(ingested.elapsed);
    if added + updated == 0 {
        return format!("nothing new in {files}{others}, {elapsed}");
    }
    let known = match reused {
        0 => String::new(),
        _ => format!(", {} of them known,", text::grouped(reused)),
    };
    format!(
        "added {}{known} of {} from {files}{others} in {elapsed}, {} passages/s",
        text::count(passages, "passage"),
        text::count(added + updated, "document"),
        text::per_second(passages, ingested.elapsed)
    )
}
