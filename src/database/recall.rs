//! How good the usual search is: stored passages, drawn at random, asked as queries → recall with an interval.
//!
//! Each is asked twice on one snapshot, as usual and exactly, for one document more than `k`; its own document, which
//! finds itself, is then left out. A hit of the usual search counts if its score reaches the exact `k`-th one, so that
//! documents that are equally near count as each other. No encoder is needed.
//!
//! The interval is Wilson's (1927) with a design effect, as for a sample of clusters: the hits of one query rise and fall
//! together, so ten hits tell less than ten draws would. The number of draws that they are worth is taken from the spread
//! between the queries, and lies between the number of queries and that of hits. Where nothing was missed the spread says
//! nothing, and each query counts as one draw.

use std::collections::BTreeSet;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use roaring::RoaringBitmap;

use super::collection::Collection;
use super::part::Snapshot;
use super::query::{DEFAULT_RECALL, IntoFilter};
use super::search::{Search, Wanted};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::random::Random;
use crate::segment::Effort;

/// The 97.5th percentile of the normal distribution: 95 % lie within it on both sides.
const Z: f64 = 1.959_964;

/// How [`Collection::measure_recall`] measures.
#[derive(Debug)]
pub struct RecallOptions {
    samples: usize,
    k: usize,
    filter: Option<Result<Filter>>,
    target_recall: f32,
    seed: u64,
}

impl Default for RecallOptions {
    /// 500 stored passages, ten hits each, no filter, the recall that a query aims at if it is not told.
    fn default() -> Self {
        Self {
            samples: 500,
            k: 10,
            filter: None,
            target_recall: DEFAULT_RECALL,
            seed: 0,
        }
    }
}

impl RecallOptions {
    /// Asks so many passages, or all if there are fewer.
    #[must_use]
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// Looks at so many hits.
    #[must_use]
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Searches under a filter. The passages asked are drawn from all, matching or not: a question does not know the
    /// filter it is asked under.
    #[must_use]
    pub fn filter(mut self, filter: impl IntoFilter) -> Self {
        self.filter = Some(filter.into_filter());
        self
    }

    /// Searches with another [`target_recall`](super::Query::target_recall) than the usual one.
    #[must_use]
    pub fn target_recall(mut self, recall: f32) -> Self {
        self.target_recall = recall;
        self
    }

    /// Draws other passages.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// What [`Collection::measure_recall`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recall {
    /// The part of the exact hits that the usual search found, in [0, 1].
    pub recall: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end of its 95 % interval.
    pub high: f64,
    /// Passages asked for which there was something to find.
    pub queries: u64,
}

impl Collection {
    /// Measures what part of the exact answer a usual query finds, with stored passages as queries. Reads every code once
    /// for each passage asked, on all threads of the current rayon pool. `None` if there is nothing to find: fewer than
    /// two documents, or none that match.
    ///
    /// ```
    /// # use vecdb::{CollectionOptions, Database, Document, RecallOptions, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    /// # points.add_vectors((1..9).map(|n| (Document::new(format!("p{n}"), ""), Vector::new(vec![1.0, n as f32]).expect("finite"))))?;
    /// let measured = points.measure_recall(RecallOptions::default().k(3))?.expect("two documents or more");
    /// // So few documents are scanned, and a scan misses nothing.
    /// assert_eq!((measured.recall, measured.high, measured.queries), (1.0, 1.0, 8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Filter`], [`Error::Query`] for options that make no sense, or [`Error::Damaged`].
    pub fn measure_recall(&self, options: RecallOptions) -> Result<Option<Recall>> {
        let refuse = |what: &str| Err(Error::Query { what: what.into() });
        let filter = options.filter.transpose()?;
        if options.k == 0 {
            return refuse("recall of no hits says nothing");
        }
        if options.samples == 0 {
            return refuse("no passage is to be asked, so nothing is measured");
        }
        if !(options.target_recall > 0.0 && options.target_recall < 1.0) {
            return refuse("the recall aimed at is not between 0 and 1");
        }
        let snapshot = self.state.snapshot();
        let search = Search::new(&snapshot, filter.as_ref(), &[])?;
        let usual = Effort::Recall(options.target_recall);
        let found = draw(&snapshot, options.samples, options.seed)
            .into_par_iter()
            .map(|(part, row)| found(&snapshot, &search, usual, options.k, part, row))
            .collect::<Result<Vec<_>>>()?;
        let found: Vec<_> = found.into_iter().filter(|found| found.wanted > 0).collect();
        Ok((!found.is_empty()).then(|| estimate(&found)))
    }
}

/// What one query was to find, and found.
#[derive(Clone, Copy)]
struct Counted {
    found: u32,
    wanted: u32,
}

/// Asks with the vector of a row.
fn found(
    snapshot: &Snapshot,
    search: &Search<'_>,
    usual: Effort,
    k: usize,
    part: usize,
    row: u32,
) -> Result<Counted> {
    let segment = snapshot.parts[part].segment()?;
    let vector = segment.vector(row)?;
    let own = (part, segment.document_of(row));
    let scores = |effort| -> Result<Vec<f32>> {
        let wanted = Wanted {
            documents: k.saturating_add(1),
            least_score: f32::NEG_INFINITY,
            effort,
        };
        let mut found = search.best(vector, wanted)?;
        found.retain(|found| search.place(found) != own);
        Ok(found.iter().take(k).map(|found| found.score).collect())
    };
    let exact = scores(Effort::Exact)?;
    let Some(&least) = exact.last() else {
        return Ok(Counted {
            found: 0,
            wanted: 0,
        });
    };
    let reached = scores(usual)?
        .iter()
        .filter(|&&score| score >= least)
        .count();
    Ok(Counted {
        found: reached as u32,
        wanted: exact.len() as u32,
    })
}

/// Different live rows, each as likely as any other: parts and rows.
fn draw(snapshot: &Snapshot, samples: usize, seed: u64) -> Vec<(usize, u32)> {
    let live: Vec<RoaringBitmap> = snapshot
        .parts
        .iter()
        .map(|part| {
            let mut rows = RoaringBitmap::new();
            rows.insert_range(0..part.rows());
            rows - &*part.dead
        })
        .collect();
    let total: u64 = live.iter().map(RoaringBitmap::len).sum();
    let mut ranks = different(total, samples as u64, seed)
        .into_iter()
        .peekable();
    let mut drawn = Vec::new();
    let mut before = 0;
    for (part, live) in live.iter().enumerate() {
        let end = before + live.len();
        while let Some(rank) = ranks.next_if(|&rank| rank < end) {
            // A segment has less than 2^32 rows.
            drawn.extend(live.select((rank - before) as u32).map(|row| (part, row)));
        }
        before = end;
    }
    drawn
}

/// `count` different numbers below `end`, or all of them, in order (Floyd's algorithm: Bentley and Floyd 1987).
fn different(end: u64, count: u64, seed: u64) -> BTreeSet<u64> {
    let mut random = Random(seed);
    let mut taken = BTreeSet::new();
    for last in end.saturating_sub(count)..end {
        if !taken.insert(random.next() % (last + 1)) {
            taken.insert(last);
        }
    }
    taken
}

/// The recall and its interval. `counted` is not empty, and each entry wants something.
fn estimate(counted: &[Counted]) -> Recall {
    let queries = counted.len() as f64;
    let sum = |what: fn(&Counted) -> u32| counted.iter().map(|c| f64::from(what(c))).sum::<f64>();
    let wanted = sum(|c| c.wanted);
    let recall = sum(|c| c.found) / wanted;
    let deviations = counted
        .iter()
        .map(|c| (f64::from(c.found) - recall * f64::from(c.wanted)).powi(2));
    let variance = deviations.sum::<f64>() * queries / (queries - 1.0) / (wanted * wanted);
    let draws = recall * (1.0 - recall) / variance;
    // Not a number where there was one query, or where nothing was missed.
    let draws = if draws.is_nan() {
        queries
    } else {
        draws.clamp(queries, wanted)
    };
    let (low, high) = wilson(recall, draws);
    Recall {
        recall,
        low,
        high,
        queries: counted.len() as u64,
    }
}

fn wilson(part: f64, draws: f64) -> (f64, f64) {
    let z2 = Z * Z / draws;
    let centre = (part + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (part * (1.0 - part) / draws + z2 / (4.0 * draws)).sqrt();
    // Rounding must not leave the estimate outside.
    let (low, high) = (centre - half, centre + half);
    (low.clamp(0.0, part), high.clamp(part, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_drawn_are_different_and_all_as_likely() {
        let mut times = [0_u32; 20];
        for seed in 0..4_000 {
            let drawn = different(20, 5, seed);
            assert_eq!(drawn.len(), 5);
            for number in drawn {
                times[number as usize] += 1;
            }
        }
        // 1,000 each, with a standard deviation of 27.
        assert!(times.iter().all(|n| (870..1_130).contains(n)), "{times:?}");
        assert_eq!(
            different(3, 9, 0).into_iter().collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert!(different(0, 9, 0).is_empty());
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, table I: 81 of 263 and 0 of 20.
        let close = |a: f64, b: f64| (a - b).abs() < 5e-5;
        let (low, high) = wilson(81.0 / 263.0, 263.0);
        assert!(close(low, 0.2553) && close(high, 0.3662), "{low} {high}");
        let (low, high) = wilson(0.0, 20.0);
        assert!(low == 0.0 && close(high, 0.1611), "{low} {high}");
    }

    #[test]
    fn the_interval_holds_the_truth_as_often_as_it_says_though_hits_of_a_query_fail_together() {
        // Of the queries a fifth is hard and finds each hit with a chance of 3/4, the others find all: in the mean 0.95.
        let mut random = Random(7);
        let mut happens = |permille: u64| random.next() % 1_000 < permille;
        let (mut held, rounds) = (0, 1_000);
        for _ in 0..rounds {
            let mut query = || {
                let hard = happens(200);
                let found = (0..10).filter(|_| !hard || happens(750)).count() as u32;
                Counted { found, wanted: 10 }
            };
            let told = estimate(&(0..100).map(|_| query()).collect::<Vec<_>>());
            held += u32::from((told.low..=told.high).contains(&0.95));
        }
        assert!((930..=980).contains(&held), "{held} of {rounds}");
    }

    #[test]
    fn an_interval_lies_around_its_recall_and_within_0_and_1() {
        let counted = |found: &[u32]| -> Vec<Counted> {
            let count = |&found| Counted { found, wanted: 10 };
            found.iter().map(count).collect()
        };
        for found in [
            &[10][..],
            &[0],
            &[3],
            &[10, 10, 10],
            &[0, 10],
            &[9, 10, 10, 8],
        ] {
            let told = estimate(&counted(found));
            assert!(
                0.0 <= told.low && told.low <= told.recall,
                "{found:?}: {told:?}"
            );
            assert!(
                told.recall <= told.high && told.high <= 1.0,
                "{found:?}: {told:?}"
            );
            assert!(told.high - told.low > 0.01, "{found:?}: {told:?}");
        }
        let all = estimate(&counted(&[10; 500]));
        assert!((0.99..1.0).contains(&all.low), "{all:?}");
    }
}
