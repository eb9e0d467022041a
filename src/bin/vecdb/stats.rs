//! `vecdb stats`: what the collections hold and take.

use std::io;

use serde::Serialize;
use vecdb::{CollectionInfo, Metric};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Shows every collection, or the one that --collection names.

Examples:
  vecdb stats --db notes.vecdb
  vecdb stats --json | jq .bytes

With --json, one object a collection:
  {\"collection\": \"default\", \"metric\": \"cosine\", \"dimension\": 384 or null,
   \"encoder\": {\"name\": \"…\", \"fingerprint\": \"…\"} or null,
   \"documents\": 37, \"passages\": 1204, \"dead_passages\": 0,
   \"unsealed_passages\": 0, \"segments\": 1, \"due_segments\": 0,
   \"bytes\": 2345678}
  dead_passages: of deleted or replaced documents, still on disk
  unsealed_passages: stored, not yet in a segment
  due_segments: to be merged next, by a long-lived writer or `vecdb compact`

Exit codes: 0 done, 1 the database has no collection, 2 error.";

#[derive(Serialize)]
struct StatsObject<'a> {
    collection: &'a str,
    metric: &'static str,
    dimension: Option<usize>,
    encoder: Option<EncoderObject<'a>>,
    documents: u64,
    passages: u64,
    dead_passages: u64,
    unsealed_passages: u64,
    segments: u64,
    due_segments: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct EncoderObject<'a> {
    name: &'a str,
    fingerprint: &'a str,
}

/// Prints the figures.
pub fn run(global: &Global, output: &mut Output) -> Result<Outcome, Failure> {
    let database = global.open_for_reading()?;
    let collections = match &global.collection {
        Some(name) => vec![database.existing_collection(name)?.info()],
        None => database.collections(),
    };
    for (place, info) in collections.iter().enumerate() {
        if output.json {
            output.object(&object(info))?;
        } else {
            if place > 0 {
                output.line("")?;
            }
            print_info(info, output)?;
        }
    }
    if collections.is_empty() {
        output.note("the database has no collection yet");
    }
    Ok(Outcome::found(!collections.is_empty()))
}

fn object(info: &CollectionInfo) -> StatsObject<'_> {
    StatsObject {
        collection: &info.name,
        metric: metric_name(info.metric),
        dimension: info.dimension,
        encoder: info
            .encoder
            .as_ref()
            .map(|(name, fingerprint)| EncoderObject { name, fingerprint }),
        documents: info.documents,
        passages: info.passages,
        dead_passages: info.dead_passages,
        unsealed_passages: info.unsealed_passages,
        segments: info.segments,
        due_segments: info.due_segments,
        bytes: info.bytes,
    }
}

fn print_info(info: &CollectionInfo, output: &mut Output) -> io::Result<()> {
    output.line(output.bold(&text::plain(&info.name)))?;
    let mut row = |name: &str, value: String| output.line(format_args!("  {name:<10} {value}"));
    row("documents", text::grouped(info.documents))?;
    let mut passages = text::grouped(info.passages);
    if info.dead_passages > 0 {
        passages.push_str(&format!(
            ", and {} deleted that still take space",
            text::grouped(info.dead_passages)
        ));
    }
    if info.unsealed_passages > 0 {
        passages.push_str(&format!(
            ", of them {} not yet in a segment",
            text::grouped(info.unsealed_passages)
        ));
    }
    row("passages", passages)?;
    let mut segments = text::grouped(info.segments);
    if info.due_segments > 0 {
        segments.push_str(&format!(
            ", {} to be merged (`vecdb compact` does it now)",
            text::grouped(info.due_segments)
        ));
    }
    row("segments", segments)?;
    row("on disk", text::bytes(info.bytes))?;
    let dimension = info.dimension.map_or_else(
        || "no vector yet".into(),
        |d| format!("{} components", text::grouped(d as u64)),
    );
    row(
        "vectors",
        format!("{dimension}, {}", metric_name(info.metric)),
    )?;
    let encoder = info.encoder.as_ref().map_or_else(
        || "none".into(),
        |(name, fingerprint)| format!("{} ({fingerprint})", text::plain(name)),
    );
    row("encoder", encoder)
}

fn metric_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        _ => "other",
    }
}
