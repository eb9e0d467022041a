//! Queries → answers: one, or many at once. Texts of a batch are encoded together; then each query is answered on its own,
//! in parallel.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::embed::{Opened, same_encoder};
use super::inner::{Inner, State};
use super::part::Snapshot;
use super::query::{Ask, Query};
use super::search::{Found, Search};
use crate::error::{Error, Result};
use crate::vector::Vector;

/// Where the time of queries went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueryTimings {
    /// Opening the encoder, which the first text waits for.
    pub load_encoder: Duration,
    /// Texts → vectors.
    pub encode: Duration,
    /// From vectors to hits with their texts.
    pub search: Duration,
}

/// One query's answer; `read` says what is told of a document found.
pub(super) fn find<T>(
    mut query: Query,
    read: impl Fn(&Search<'_>, &Found) -> Result<T>,
) -> Result<(Vec<T>, QueryTimings)> {
    query.check()?;
    let mut lap = Lap::start();
    let snapshot = query.collection.state.snapshot();
    let text = text_to_encode(&query, &snapshot)?;
    let load_encoder = lap.end();
    let encoded = text.map(|(text, encoder)| encoder.query(text));
    let encoded = encoded.transpose()?;
    let encode = lap.end();
    let hits = query.answer(&snapshot, encoded, read)?;
    let timings = QueryTimings {
        load_encoder,
        encode,
        search: lap.end(),
    };
    Ok((hits, timings))
}

/// Every query's answer, in order.
pub(super) fn find_all<T: Send>(
    mut queries: Vec<Query>,
    read: impl Fn(&Search<'_>, &Found) -> Result<T> + Sync,
) -> Result<(Vec<Vec<T>>, QueryTimings)> {
    queries.iter_mut().try_for_each(Query::check)?;
    let mut lap = Lap::start();
    let snapshots = snapshots(&queries);
    let texts = texts(&queries, &snapshots)?;
    let load_encoder = lap.end();
    let encoded = encode(queries.len(), texts)?;
    let encode = lap.end();
    let answers = (queries, snapshots, encoded)
        .into_par_iter()
        .map(|(query, snapshot, encoded)| query.answer(&snapshot, encoded, &read))
        // First all, then the first error: which one is told must not depend on the threads' timing.
        .collect::<Vec<_>>();
    let answers = answers.into_iter().collect::<Result<_>>()?;
    let timings = QueryTimings {
        load_encoder,
        encode,
        search: lap.end(),
    };
    Ok((answers, timings))
}

/// A stop watch.
struct Lap(Instant);

impl Lap {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start or the last end.
    fn end(&mut self) -> Duration {
        let now = Instant::now();
        now - mem::replace(&mut self.0, now)
    }
}

/// The state that each query sees: the same for all of one collection.
fn snapshots(queries: &[Query]) -> Vec<Arc<Snapshot>> {
    let mut taken: HashMap<*const State, Arc<Snapshot>> = HashMap::new();
    let snapshot_of = |query: &Query| {
        let state = &query.collection.state;
        let taken = taken.entry(Arc::as_ptr(state));
        Arc::clone(taken.or_insert_with(|| state.snapshot()))
    };
    queries.iter().map(snapshot_of).collect()
}

/// Those queries that are texts, by the database and its encoder that they need: queries of many may stand in one batch.
type Texts<'a> = HashMap<(*const Inner, String), (Opened, Vec<(usize, &'a str)>)>;

fn texts<'a>(queries: &'a [Query], snapshots: &[Arc<Snapshot>]) -> Result<Texts<'a>> {
    let mut by_encoder = Texts::new();
    for (at, (query, snapshot)) in queries.iter().zip(snapshots).enumerate() {
        if let Some((text, encoder)) = text_to_encode(query, snapshot)? {
            let key = (&raw const **query.collection.inner, encoder.record().0.name);
            let texts = by_encoder.entry(key).or_insert((encoder, Vec::new()));
            texts.1.push((at, text));
        }
    }
    Ok(by_encoder)
}

/// The vectors of those queries that are texts.
fn encode(queries: usize, texts: Texts<'_>) -> Result<Vec<Option<Vector>>> {
    let mut vectors: Vec<Option<Vector>> = vec![None; queries];
    for (encoder, asked) in texts.into_values() {
        let texts: Vec<&str> = asked.iter().map(|&(_, text)| text).collect();
        for ((at, _), vector) in asked.into_iter().zip(encoder.queries(&texts)?) {
            vectors[at] = Some(vector);
        }
    }
    Ok(vectors)
}

/// The text that is to become the query's vector, and the encoder for it. `None` if it asks with none, or nothing was ever
/// added.
fn text_to_encode<'a>(query: &'a Query, snapshot: &Snapshot) -> Result<Option<(&'a str, Opened)>> {
    let record = &snapshot.record;
    let text = match &query.ask {
        Ask::Text(text) if record.dimension.is_some() => text,
        _ => return Ok(None),
    };
    let Some(stored) = &record.encoder else {
        let what = "it holds user-supplied vectors; ask with `query_vector`".into();
        return Err(Error::Collection {
            name: record.name.clone(),
            what,
        });
    };
    let encoder = query.collection.inner.encoder.open(record)?;
    same_encoder(&record.name, stored, &encoder.record().0)?;
    Ok(Some((text, encoder)))
}
