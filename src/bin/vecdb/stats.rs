//! `vecdb stats`: what the collections hold and take.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vecdb::encoder::{Encoder, EncoderOptions};
use vecdb::{Collection, CollectionInfo, Filter, RecallOptions, VersionInfo};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Shows every collection, or the one that --collection names.

--recall asks stored passages, drawn at random, both as usual and exactly, and tells what part of the exact hits the usual \
search found, with a 95 % interval. A passage's own document is left out: it would always be found. Each --filter is \
measured too.

Examples:
  vecdb stats --db notes.vecdb
  vecdb stats --json | jq .bytes
  vecdb stats --recall --filter \"lang = 'en'\" --filter 'year >= 2020'

With --json, one object a collection:
  {\"collection\": \"default\", \"metric\": \"cosine\", \"dimension\": 384 or null,
   \"encoder\": {\"name\": \"…\", \"fingerprint\": \"…\"} or null,
   \"provider\": \"CPU\" or null,
   \"documents\": 37, \"passages\": 1204, \"dead_passages\": 0,
   \"unsealed_passages\": 0, \"segments\": 1, \"due_segments\": 0,
   \"bytes\": 2345678,
   \"before\": {\"encoder\": {…}, \"documents\": 37, \"bytes\": 234567} or null,
   \"next\": the same or null,
   \"recall\": [{\"filter\": null, \"k\": 10, \"recall\": 0.962, \"low\": 0.951,
               \"high\": 0.971, \"queries\": 500}]}
  provider: what runs the encoder here; null if no encoder opens
  dead_passages: of deleted or replaced documents, still on disk
  unsealed_passages: stored, not yet in a segment
  due_segments: being merged or due, by a long-lived writer or `vecdb compact`
  before: what `vecdb tune --rollback` returns to, and the space that it takes
  next: what `vecdb tune --apply` is filling, or was when it was interrupted
  recall: only with --recall; its numbers are null if there is nothing to find

Exit codes: 0 done, 1 the database has no collection, 2 error.";

/// What to measure.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Measure what part of the exact hits a usual search finds
    #[arg(long)]
    pub recall: bool,
    /// Measure it under this filter too; may be given many times
    #[arg(long, short = 'f', value_name = "FILTER", requires = "recall")]
    pub filter: Vec<String>,
    /// Passages to ask
    #[arg(long, value_name = "N", default_value_t = 500, requires = "recall")]
    pub samples: usize,
    /// Hits to look at
    #[arg(
        short = 'k',
        value_name = "K",
        default_value_t = 10,
        requires = "recall"
    )]
    pub k: usize,
    /// The recall that the search aims at, instead of 0.95
    #[arg(long, value_name = "RECALL", requires = "recall")]
    pub target_recall: Option<f32>,
    /// Draws other passages
    #[arg(long, value_name = "N", default_value_t = 0, requires = "recall")]
    pub seed: u64,
}

#[derive(Serialize)]
struct StatsObject<'a> {
    collection: &'a str,
    metric: String,
    dimension: Option<usize>,
    encoder: Option<EncoderObject<'a>>,
    provider: Option<&'a str>,
    documents: u64,
    passages: u64,
    dead_passages: u64,
    unsealed_passages: u64,
    segments: u64,
    due_segments: u64,
    bytes: u64,
    before: Option<VersionObject<'a>>,
    next: Option<VersionObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall: Option<Vec<RecallObject<'a>>>,
}

#[derive(Serialize)]
struct VersionObject<'a> {
    encoder: EncoderObject<'a>,
    documents: u64,
    bytes: u64,
}

impl<'a> VersionObject<'a> {
    fn of(version: &'a VersionInfo) -> Self {
        Self {
            encoder: EncoderObject::of(&version.encoder),
            documents: version.documents,
            bytes: version.bytes,
        }
    }
}

#[derive(Serialize)]
struct RecallObject<'a> {
    filter: Option<&'a str>,
    k: usize,
    recall: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    queries: u64,
}

/// An encoder, as it is told.
#[derive(Serialize)]
pub struct EncoderObject<'a> {
    name: &'a str,
    fingerprint: &'a str,
}

impl<'a> EncoderObject<'a> {
    /// Of name and fingerprint.
    pub fn of((name, fingerprint): &'a (String, String)) -> Self {
        Self { name, fingerprint }
    }
}

/// Prints the figures.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let filters = arguments.filters()?;
    let database = global.open_for_reading()?;
    let names = match &global.collection {
        Some(name) => vec![name.clone()],
        None => {
            let collections = database.collections();
            collections.into_iter().map(|info| info.name).collect()
        }
    };
    // Each opened once, and only where a collection has an encoder.
    let mut providers: HashMap<Option<PathBuf>, Provider> = HashMap::new();
    for (place, name) in names.iter().enumerate() {
        let collection = database.existing_collection(name)?;
        let info = collection.info();
        let provider = match &info.encoder {
            Some(_) => match global.encoder_options_for(&collection) {
                Ok(options) => {
                    let known = providers.entry(options.model.clone());
                    Some(known.or_insert_with(|| runs_on(&options)).clone())
                }
                Err(why) => Some(Err(why.to_string())),
            },
            None => None,
        };
        let provider = provider.as_ref();
        // Before the first line: measuring takes a while, and may fail.
        let recall = match arguments.recall {
            true => Some(arguments.measure(&collection, &filters)?),
            false => None,
        };
        if output.json {
            output.object(&object(&info, provider, recall))?;
        } else {
            if place > 0 {
                output.line("")?;
            }
            print_info(&info, provider, output)?;
            for measured in recall.iter().flatten() {
                print_recall(measured, output)?;
            }
        }
    }
    if names.is_empty() {
        output.note("the database has no collection yet");
    }
    Ok(Outcome::found(!names.is_empty()))
}

/// What runs the encoder here, or why nothing does.
type Provider = Result<String, String>;

fn runs_on(options: &EncoderOptions) -> Provider {
    let encoder = Encoder::open(options).map_err(|error| error.to_string())?;
    Ok(encoder.provider())
}

impl Arguments {
    /// Each filter as typed and as it is meant, none first.
    fn filters(&self) -> Result<Vec<Option<(&str, Filter)>>, Failure> {
        let mut filters = vec![None];
        for typed in &self.filter {
            filters.push(Some((typed.as_str(), Filter::parse(typed)?)));
        }
        Ok(filters)
    }

    fn measure<'a>(
        &self,
        collection: &Collection,
        filters: &[Option<(&'a str, Filter)>],
    ) -> Result<Vec<RecallObject<'a>>, Failure> {
        let mut measured = Vec::new();
        for filter in filters {
            let mut options = RecallOptions::default()
                .samples(self.samples)
                .k(self.k)
                .seed(self.seed);
            if let Some(target) = self.target_recall {
                options = options.target_recall(target);
            }
            if let Some((_, filter)) = filter {
                options = options.filter(filter.clone());
            }
            let recall = collection.measure_recall(options)?;
            measured.push(RecallObject {
                filter: filter.as_ref().map(|&(typed, _)| typed),
                k: self.k,
                recall: recall.map(|told| told.recall),
                low: recall.map(|told| told.low),
                high: recall.map(|told| told.high),
                queries: recall.map_or(0, |told| told.queries),
            });
        }
        Ok(measured)
    }
}

fn object<'a>(
    info: &'a CollectionInfo,
    provider: Option<&'a Provider>,
    recall: Option<Vec<RecallObject<'a>>>,
) -> StatsObject<'a> {
    StatsObject {
        collection: &info.name,
        metric: info.metric.to_string(),
        dimension: info.dimension,
        encoder: info.encoder.as_ref().map(EncoderObject::of),
        provider: provider.and_then(|provider| provider.as_deref().ok()),
        documents: info.documents,
        passages: info.passages,
        dead_passages: info.dead_passages,
        unsealed_passages: info.unsealed_passages,
        segments: info.segments,
        due_segments: info.due_segments,
        bytes: info.bytes,
        before: info.before.as_ref().map(VersionObject::of),
        next: info.next.as_ref().map(VersionObject::of),
        recall,
    }
}

fn print_recall(measured: &RecallObject<'_>, output: &mut Output) -> io::Result<()> {
    let value = match (measured.recall, measured.low, measured.high) {
        (Some(recall), Some(low), Some(high)) => format!(
            "{} ({low:.3} to {high:.3}), {} passages asked",
            output.accent(&format!("{recall:.3}")),
            text::grouped(measured.queries)
        ),
        _ => "nothing to find".into(),
    };
    let name = format!("recall@{}", measured.k);
    let filter = measured.filter.map_or_else(String::new, |filter| {
        format!(", where {}", text::plain(filter))
    });
    output.line(format_args!("  {name:<10} {value}{filter}"))
}

fn print_info(
    info: &CollectionInfo,
    provider: Option<&Provider>,
    output: &mut Output,
) -> io::Result<()> {
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
    row("vectors", format!("{dimension}, {}", info.metric))?;
    let encoder = info.encoder.as_ref().map_or_else(
        || "none".into(),
        |(name, fingerprint)| format!("{} ({fingerprint})", text::plain(name)),
    );
    row("encoder", encoder)?;
    for (what, version) in [("before", &info.before), ("next", &info.next)] {
        if let Some(version) = version {
            let (name, fingerprint) = &version.encoder;
            let holds = format!(
                "{} ({fingerprint}), {}, {} on disk",
                text::plain(name),
                text::count(version.documents, "document"),
                text::bytes(version.bytes)
            );
            row(what, holds)?;
        }
    }
    match provider {
        Some(Ok(provider)) => row("runs on", provider.clone()),
        Some(Err(why)) => row("runs on", format!("nothing here: {}", text::plain(why))),
        None => Ok(()),
    }
}
