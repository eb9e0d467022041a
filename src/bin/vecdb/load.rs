//! Files into a collection, as `vecdb ingest` and `vecdb demo` put them there, and what is said about them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vecdb::ingest::{Failure as BadFile, Plan, Reading, Sources, Watch};
use vecdb::{Added, BatchOptions, Collection, Error, Progress, Stage, SyncOptions, Synced};

use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

/// Failures on their way from the thread that reads to the one that prints.
#[derive(Clone, Default)]
pub struct Failures(Arc<Mutex<Vec<BadFile>>>);

impl Failures {
    /// Takes them all, and reading goes on.
    pub fn hear(&self, sources: Sources) -> Sources {
        let heard = Arc::clone(&self.0);
        sources.on_failure(move |failure| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(failure.clone());
            ControlFlow::Continue(())
        })
    }

    /// One line each, since the last time.
    pub fn tell(&self, meter: &Meter) {
        let heard = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for BadFile { place, what, .. } in heard {
            meter.line(format_args!(
                "failed: {}: {}",
                text::plain(&place),
                text::plain(&what)
            ));
        }
    }
}

/// How files are stored.
#[derive(Default)]
pub struct Settings<'a> {
    pub max_memory: Option<u64>,
    pub prune: bool,
    /// Do documents come with their vectors?
    pub has_vectors: bool,
    pub interrupt: Option<&'a Interrupt>,
    pub failures: Failures,
}

/// What `store` leaves behind.
pub struct Ingested {
    /// What the library counted; zeros where a signal came.
    pub synced: Synced,
    /// What was read.
    pub reading: Reading,
    /// Time it took, opening the encoder included.
    pub elapsed: Duration,
    /// Documents that are stored, where a signal came.
    pub interrupted: Option<u64>,
}

/// The files are read, and their documents encoded and stored.
pub fn store(
    plan: &Plan,
    collection: &Collection,
    settings: &Settings<'_>,
    output: &Output,
) -> Result<Ingested, Failure> {
    let (mut documents, mut vectors) = (plan.documents(), plan.vectors());
    let watch = match settings.has_vectors {
        true => vectors.watch(),
        false => documents.watch(),
    };
    let mut meter = Meter::start(plan.bytes, output);
    let mut encoded = 0;
    let mut options = BatchOptions::default().progress(|progress| {
        encoded = progress.documents;
        settings.failures.tell(&meter);
        show(progress, plan, &watch, &mut meter);
        settings
            .interrupt
            .map_or(ControlFlow::Continue(()), Interrupt::flow)
    });
    if let Some(bytes) = settings.max_memory {
        options = options.max_memory(bytes);
    }
    let result = if settings.has_vectors {
        let added = collection.ingest_vectors(&mut vectors, options);
        added.map(Synced::from)
    } else {
        let options = SyncOptions::default().batch(options).prune(settings.prune);
        collection.sync(&mut documents, options)
    };
    settings.failures.tell(&meter);
    meter.finish();
    let elapsed = meter.elapsed();
    let (synced, interrupted) = match result {
        Ok(synced) => (synced, None),
        // Breaking off stores what is encoded.
        Err(Error::Cancelled) => (Synced::default(), Some(encoded)),
        Err(error) => {
            if encoded > 0 {
                output.note("what was stored before stays; the same command goes on from there");
            }
            return Err(error.into());
        }
    };
    Ok(Ingested {
        synced,
        reading: watch.reading(),
        elapsed,
        interrupted,
    })
}

fn show(progress: &Progress, plan: &Plan, watch: &Watch, meter: &mut Meter) {
    let reading = watch.reading();
    let mut words = format!(
        "file {} of {}, {}, {} passages/s, {}",
        text::grouped(reading.files),
        text::grouped(plan.files),
        text::count(progress.passages, "passage"),
        text::per_second(progress.passages, meter.elapsed()),
        text::plain(&reading.file),
    );
    if progress.stage == Stage::Sealing {
        words.push_str(", writing a segment");
    }
    // What is taken and not yet encoded is not done.
    let part = progress.text_bytes as f64 / reading.text_bytes.max(1) as f64;
    let done = (reading.bytes as f64 * part.min(1.0)) as u64;
    meter.update(done, plan.bytes, words);
}

/// What the plan passes over.
pub fn tell_what_is_passed_over(plan: &Plan, output: &Output) {
    for remark in &plan.remarks {
        output.note(text::plain(remark));
    }
    tell_unknown(&plan.unknown_extensions, "files", output);
    if plan.ignored > 0 {
        output.note(format_args!(
            "passed over {} that ignore files leave out; --no-ignore reads them",
            text::count(plan.ignored, "file")
        ));
    }
}

/// What turned out to be worth knowing.
pub fn tell_what_was_seen(reading: &Reading, output: &Output) {
    for remark in &reading.remarks {
        output.note(text::plain(remark));
    }
    tell_unknown(&reading.unknown_extensions, "files in archives", output);
}

fn tell_unknown(unknown: &BTreeMap<String, u64>, what: &str, output: &Output) {
    if unknown.is_empty() {
        return;
    }
    let kinds: Vec<String> = unknown
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
        "passed over {what} that no reader knows: {}",
        kinds.join(", ")
    ));
}

/// `added 1,204 passages of 295 documents from 37 files (15 updated, 5 unchanged) in 12.3 s, 98 passages/s`
pub fn summary(ingested: &Ingested) -> String {
    let Synced {
        added:
            Added {
                added,
                updated,
                unchanged,
                passages,
                reused,
                ..
            },
        renamed,
        pruned,
        ..
    } = ingested.synced;
    let mut others = Vec::new();
    for (number, what) in [
        (updated, "updated"),
        (unchanged, "unchanged"),
        (renamed, "renamed"),
        (pruned, "pruned"),
        (ingested.reading.failed, "failed"),
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
    let files = text::count(ingested.reading.files, "file");
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

/// `98,765 tokens, every byte in a passage; encoding 11.9 s, cutting 0.2 s, writing 0.2 s, waiting for files 0.0 s`; less where
/// nothing was encoded.
pub fn work(ingested: &Ingested) -> String {
    let Added { tokens, times, .. } = ingested.synced.added;
    if tokens == 0 {
        return format!(
            "writing {}, reading {}",
            text::duration(times.writing),
            text::duration(times.reading)
        );
    }
    format!(
        "{}, every byte in a passage; encoding {}, cutting {}, writing {}, waiting for files {}",
        text::count(tokens, "token"),
        text::duration(times.encoding),
        text::duration(times.cutting),
        text::duration(times.writing),
        text::duration(times.reading)
    )
}

/// `30 markdown, 12 html, 2 pdf`
pub fn formats(reading: &Reading) -> String {
    let mut formats: Vec<_> = reading.formats.iter().collect();
    formats.sort_by_key(|&(name, &files)| (std::cmp::Reverse(files), *name));
    let formats = formats
        .into_iter()
        .map(|(name, &files)| format!("{} {name}", text::grouped(files)));
    formats.collect::<Vec<_>>().join(", ")
}
