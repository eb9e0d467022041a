//! `vecdb ingest --dry-run`: what would be ingested, and what it would cost.

use std::time::{Duration, Instant};

use serde::Serialize;
use vecdb::encoder::{Encoder, Window};
use vecdb::ingest::Plan;

use crate::args::Global;
use crate::failure::Failure;
use crate::ingest::{ReadObject, read_object};
use crate::load::{self, Failures};
use crate::output::Output;
use crate::progress::Meter;
use crate::text;

#[derive(Serialize)]
struct CostObject<'a> {
    #[serde(flatten)]
    read: ReadObject<'a>,
    passages: Option<u64>,
    tokens: Option<u64>,
    seconds: Option<f64>,
}

/// Reads everything, and tells what encoding it would cost. Gives how many records and files failed.
pub fn dry_run(
    plan: &Plan,
    failures: &Failures,
    global: &Global,
    output: &mut Output,
) -> Result<u64, Failure> {
    let encoder = Encoder::open(&global.encoder_options());
    let mut documents = plan.documents();
    let watch = documents.watch();
    let mut meter = Meter::start(plan.bytes, output);
    let (mut passages, mut tokens, mut sample) = (0, 0, Vec::new());
    for document in documents.by_ref() {
        let document = document?;
        if let Ok(encoder) = &encoder {
            let title = document.title.as_deref();
            let windows = encoder.windows_along(title, &document.text, &document.outline)?;
            passages += windows.len() as u64;
            tokens += windows.iter().map(|w| w.token_count() as u64).sum::<u64>();
            let wanted = SAMPLE - sample.len();
            sample.extend(windows.into_iter().take(wanted.min(SAMPLE_OF_ONE)));
        }
        failures.tell(&meter);
        let reading = watch.reading();
        let files = text::grouped(reading.files);
        let words = format!(
            "reading: file {files} of {}, {}",
            text::grouped(plan.files),
            text::plain(&reading.file)
        );
        meter.update(reading.bytes, plan.bytes, words);
    }
    failures.tell(&meter);
    meter.finish();
    let reading = documents.reading();
    load::tell_what_was_seen(&reading, output);
    let speed = match &encoder {
        Ok(encoder) => throughput(encoder, &sample)?,
        Err(_) => None,
    };
    let seconds = speed.map(|speed| tokens as f64 / speed);
    if output.json {
        let known = encoder.is_ok();
        output.object(&CostObject {
            read: read_object(&reading),
            passages: known.then_some(passages),
            tokens: known.then_some(tokens),
            seconds,
        })?;
        return Ok(reading.failed);
    }
    let failed = match reading.failed {
        0 => String::new(),
        failed => format!(" ({} failed)", text::grouped(failed)),
    };
    output.line(format_args!(
        "{} in {}{failed}, {} of text",
        text::count(reading.documents, "document"),
        text::count(reading.files, "file"),
        text::bytes(reading.text_bytes)
    ))?;
    if !reading.formats.is_empty() {
        output.line(load::formats(&reading))?;
    }
    match (seconds, encoder) {
        (Some(seconds), _) => output.line(format_args!(
            "{} of {}: about {} here, if none of it is stored already",
            text::count(passages, "passage"),
            text::count(tokens, "token"),
            text::duration(Duration::from_secs_f64(seconds))
        ))?,
        (None, Err(error)) => output.note(format_args!(
            "what encoding it costs is not known without an encoder: {error}"
        )),
        (None, Ok(_)) => {}
    }
    Ok(reading.failed)
}

/// Passages whose encoding is timed, and how many of one document.
const SAMPLE: usize = 96;
const SAMPLE_OF_ONE: usize = 4;

/// Tokens per second, of some of the passages that are to be encoded.
fn throughput(encoder: &Encoder, sample: &[Window]) -> Result<Option<f64>, Failure> {
    // Once before the clock runs: the first call repacks the weights.
    encoder.encode(&sample[..sample.len().min(SAMPLE_OF_ONE)])?;
    let start = Instant::now();
    encoder.encode(sample)?;
    let tokens: usize = sample.iter().map(Window::token_count).sum();
    let speed = tokens as f64 / start.elapsed().as_secs_f64();
    Ok((tokens > 0).then_some(speed))
}
