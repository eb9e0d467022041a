//! Who is asked to find out how good walks are, and what they find.
//!
//! Stored rows are asked for the rows nearest to them, each as if it were not there, and its clump neither: walks may not use
//! these nodes, and the exact answer leaves them out. Where rows are spread as questions are, a row alone is a fair stand-in
//! for a question. Where rows come in clumps (near copies, versions, many rows made of few) it is not: its best rows are then
//! the rest of its clump, which a walk cannot miss, while a question lies in no clump and its best rows belong to several.
//! So much is left out as lies before the widest gap in closeness among the nearest rows. It never lies so far out that what
//! remains is nearer to a row at random than to the row asked: what remained of clumps far apart would be no answer to
//! anything.
//!
//! Nodes that walks of fixed length had to keep for the ten best, by 1,000 questions and by 384 rows left out so. The million are
//! mixtures of near pairs of the 100,000 MiniLM passages, so that each lies among some twenty close to it:
//!
//! | rows | recall | questions | rows alone | rows and their clumps |
//! |---|---|---|---|---|
//! | 100,000 | 0.95 | 17 | 26 | 38 |
//! | | 0.99 | 57 | 79 | 99 |
//! | 1,000,000 | 0.95 | 65 | 16 | 85 |
//! | | 0.99 | 346 | 40 | 324 |
//!
//! Rows blurred with noise are no stand-in: noise as long as a row is far from the mean needs 16 nodes for 0.95 and 50 for 0.99
//! of the 100,000, 19 and 101 of the million, since it hardly leaves the side of its row's clump. Nor are mixtures of rows
//! that have nothing to do with each other: of the million a walk finds half of what is nearest to the sum of two.

use rayon::prelude::*;

use super::graph::Graph;
use super::quantise::Quantiser;
use super::search::candidates;
use super::slots::Selection;
use super::source::Stop;
use super::vectors::{Keys, exact_score};
use super::walk::{Ended, Walk, Width};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::vector::Metric;

/// Rows asked.
const SAMPLES: usize = 384;
/// An answer has at most so many rows.
pub(super) const MOST_WANTED: usize = 100;
/// A clump has at most so many rows,
const CLUMP: usize = 100;
/// and is at most this part of the segment.
const CLUMP_PART: usize = 100;

/// What walks for the questions did.
pub(super) struct Answers {
    /// The mean of the parts that they found.
    pub mean: f64,
    /// What may be promised of it.
    pub promised: f64,
    /// Nodes that they looked at on average.
    pub nodes: f64,
}

/// A row asked.
struct Query<'v> {
    vector: &'v [f32],
    /// The row, its clump, and the twins of all of them: not there. Sorted.
    without: Vec<u32>,
    /// Scores of the best other rows, best first.
    scores: Vec<f32>,
}

/// A graph over coded rows that is tried.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub keys: Keys<'a>,
    pub graph: Graph<'a>,
    pub quantiser: &'a Quantiser,
    pub metric: Metric,
    pub seed: u64,
    pub stop: Stop<'a>,
}

impl<'a> Sample<'a> {
    /// The same over another graph.
    pub fn over<'g>(&self, graph: Graph<'g>) -> Sample<'g>
    where
        'a: 'g,
    {
        Sample { graph, ..*self }
    }
}

/// The mean, and the mean less its standard error.
fn mean_and_promise(recalls: &[f64]) -> (f64, f64) {
    let count = recalls.len() as f64;
    let mean = recalls.iter().sum::<f64>() / count;
    let variance = recalls.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - (variance / count).sqrt())
}

/// Gives a row, in the numbering of codes and graph.
pub(super) type RowOf<'v> = &'v (dyn Fn(u32) -> Result<&'v [f32]> + Sync);

/// Rows that are asked, and what they are to find.
pub(super) struct Questions<'v> {
    asked: Vec<Query<'v>>,
    vector: RowOf<'v>,
}

impl<'v> Questions<'v> {
    /// Draws rows of the sample and scores all others. What is asked does not depend on the sample's codes.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it was stopped; and what `vector` says.
    pub fn draw(sample: &Sample<'_>, vector: RowOf<'v>) -> Result<Self> {
        let rows = sample.keys.codes.rows();
        let mut random = Random(sample.seed);
        // A twin is found through its node, and cannot be left out alone.
        let is_node = |&row: &u32| !sample.graph.neighbours(row).is_empty();
        let drawn = (0..4 * SAMPLES).map(|_| (random.next() % u64::from(rows.max(1))) as u32);
        let drawn = drawn.filter(is_node).take(SAMPLES.min(rows as usize));
        let asked = drawn.map(|row| Ok((row, vector(row)?)));
        let asked: Vec<(u32, &[f32])> = asked.collect::<Result<_>>()?;
        let clump = CLUMP.min(rows as usize / CLUMP_PART);
        let nearest = nearest(sample, &asked, rows, clump + MOST_WANTED, &vector)?;
        let query = |(&(row, vector), nearest): (&(u32, &'v [f32]), Vec<Near>)| {
            let closeness = |other: &[f32]| closeness(sample.metric, score(sample, vector, other));
            let others = asked.iter().map(|&(_, other)| closeness(other));
            let at_random = others.sum::<f64>() / asked.len() as f64;
            let scores = nearest.iter().map(|near| near.score);
            let others: Vec<f64> = scores
                .map(|score| self::closeness(sample.metric, score))
                .collect();
            let clump = clump_of(closeness(vector), &others, at_random, clump);
            let nodes = nearest[..clump].iter().map(|near| near.row).chain([row]);
            let mut without: Vec<u32> = nodes
                .flat_map(|row| sample.graph.twins(row).chain([row]))
                .collect();
            without.sort_unstable();
            let others = nearest[clump..].iter();
            let others = others.filter(|near| without.binary_search(&near.row).is_err());
            Query {
                vector,
                scores: others.map(|near| near.score).collect(),
                without,
            }
        };
        Ok(Self {
            asked: asked.par_iter().zip(nearest).map(query).collect(),
            vector,
        })
    }

    /// Is there nobody to ask?
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// What such walks find of the best `k` rows.
    pub fn ask(&self, sample: &Sample<'_>, k: usize, width: Width) -> Result<Answers> {
        let found = |query: &Query<'_>| {
            if (sample.stop)() {
                return Err(Error::Cancelled);
            }
            self.recall(sample, query, k, width)
        };
        let each = self.asked.par_iter().map(found);
        let (recalls, ended): (Vec<f64>, Vec<Ended>) = each
            .collect::<Result<Vec<_>>>()
            .map(|each| each.into_iter().unzip())?;
        let (mean, promised) = mean_and_promise(&recalls);
        let nodes: usize = ended.iter().map(|ended| ended.looked_at).sum();
        Ok(Answers {
            mean,
            promised,
            nodes: nodes as f64 / ended.len().max(1) as f64,
        })
    }

    /// The part of the best `k` rows that a walk finds, and how it ended; a row that ties the k-th counts.
    fn recall(
        &self,
        sample: &Sample<'_>,
        query: &Query<'_>,
        k: usize,
        width: Width,
    ) -> Result<(f64, Ended)> {
        let code = sample.quantiser.query(query.vector, sample.metric);
        let walk = Walk {
            keys: sample.keys,
            graph: sample.graph,
            code: &code,
            width,
            without: &query.without,
            least_key: i32::MIN,
        };
        let all = Selection::ALL;
        let (rows, ended) = walk.run(|met, ended| {
            let found = candidates(&sample.graph, all, &code, met, k);
            (found.slots, ended)
        });
        let k = k.min(query.scores.len());
        let Some(&kth) = k.checked_sub(1).and_then(|last| query.scores.get(last)) else {
            return Ok((1.0, ended));
        };
        let mut found = 0;
        for row in rows {
            // A twin that is not there may come with a node that is.
            if query.without.binary_search(&row).is_err() {
                found += usize::from(score(sample, query.vector, (self.vector)(row)?) >= kth);
            }
        }
        Ok((found.min(k) as f64 / k as f64, ended))
    }
}

/// How many of the rows nearest to a row are its clump: those before the widest gap, at most `most`. `own` is how close the
/// row is to itself, `others` how close the nearest rows are to it, best first, and `at_random` how close a row at random is.
fn clump_of(own: f64, others: &[f64], at_random: f64, most: usize) -> usize {
    let halfway = (own + at_random) / 2.0;
    let mut widest = (0, f64::NEG_INFINITY);
    for (count, pair) in (1..=most).zip(others.windows(2)) {
        // What is not clump is to be nearer to the row than to a row at random.
        if pair[1] < halfway {
            break;
        }
        if pair[0] - pair[1] > widest.1 {
            widest = (count, pair[0] - pair[1]);
        }
    }
    widest.0
}

/// A score as a number whose differences mean the same in each metric: for unit rows half a squared distance.
fn closeness(metric: Metric, score: f32) -> f64 {
    let score = f64::from(score);
    match metric {
        Metric::Cosine | Metric::Dot => score,
        Metric::L2 => -0.5 * score * score,
    }
}

fn score(sample: &Sample<'_>, query: &[f32], row: &[f32]) -> f32 {
    exact_score(sample.metric, sample.keys.kernel, query, row)
}

/// A row and its score.
#[derive(Clone, Copy)]
struct Near {
    score: f32,
    row: u32,
}

/// The best rows met so far.
#[derive(Clone)]
struct Best {
    met: Vec<Near>,
    /// Lower scores are among the wanted no more.
    least: f32,
}

impl Best {
    const EMPTY: Self = Self {
        met: Vec::new(),
        least: f32::NEG_INFINITY,
    };

    fn cut(&mut self, wanted: usize) {
        if self.met.len() > wanted {
            let by_score = |a: &Near, b: &Near| b.score.total_cmp(&a.score);
            let (_, last, _) = self.met.select_nth_unstable_by(wanted - 1, by_score);
            self.least = last.score;
            self.met.truncate(wanted);
        }
    }
}

/// For each row asked the `wanted` best of all other rows but its twins, best first: exact.
fn nearest<'v>(
    sample: &Sample<'_>,
    asked: &[(u32, &[f32])],
    rows: u32,
    wanted: usize,
    vector: &(impl Fn(u32) -> Result<&'v [f32]> + Sync),
) -> Result<Vec<Vec<Near>>> {
    const ROWS_AT_ONCE: u32 = 4_096;
    /// So many stay in the first cache while all that are asked go over them.
    const BLOCK: usize = 16;
    let chunk = |first: u32| {
        let mut best = vec![Best::EMPTY; asked.len()];
        let rows: Vec<u32> = (first..rows.min(first.saturating_add(ROWS_AT_ONCE))).collect();
        for block in rows.chunks(BLOCK) {
            if (sample.stop)() {
                return Err(Error::Cancelled);
            }
            let block = block.iter().map(|&row| Ok((row, vector(row)?)));
            let block: Vec<(u32, &[f32])> = block.collect::<Result<_>>()?;
            for (&(asked, query), best) in asked.iter().zip(&mut best) {
                for &(row, vector) in &block {
                    let score = score(sample, query, vector);
                    let is_left_out =
                        || row == asked || sample.graph.twins(asked).any(|twin| twin == row);
                    if score >= best.least && !is_left_out() {
                        best.met.push(Near { score, row });
                    }
                }
                if best.met.len() >= 4 * wanted {
                    best.cut(wanted);
                }
            }
        }
        best.iter_mut().for_each(|best| best.cut(wanted));
        Ok(best)
    };
    let join = |mut a: Vec<Best>, b: Vec<Best>| {
        for (a, b) in a.iter_mut().zip(b) {
            a.met.extend(b.met);
            a.cut(wanted);
        }
        Ok(a)
    };
    let chunks = (0..rows).into_par_iter().step_by(ROWS_AT_ONCE as usize);
    let best = chunks
        .map(chunk)
        .try_reduce(|| vec![Best::EMPTY; asked.len()], join)?;
    let sorted = best.into_iter().map(|mut best| {
        best.met
            .sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
        best.met
    });
    Ok(sorted.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clump_ends_at_the_widest_gap() {
        let clumped = [0.97, 0.965, 0.95, 0.75, 0.74, 0.6];
        assert_eq!(clump_of(1.0, &clumped, 0.0, 100), 3);
        assert_eq!(clump_of(1.0, &clumped, 0.0, 3), 3);
        assert_eq!(clump_of(1.0, &clumped, 0.0, 2), 2);
        assert_eq!(clump_of(1.0, &clumped, 0.0, 0), 0);
        // Behind the clump nothing is near.
        assert_eq!(clump_of(1.0, &clumped, 0.6, 100), 2);
        assert_eq!(clump_of(1.0, &clumped, 0.95, 100), 0);
        // The same by distance.
        let distances = [0.25f32, 0.28, 0.32, 0.7, 0.72].map(|d| closeness(Metric::L2, -d));
        assert_eq!(clump_of(0.0, &distances, -1.0, 100), 3);
        assert_eq!(clump_of(0.0, &distances, -0.2, 100), 2);
        assert_eq!(clump_of(1.0, &[], 0.0, 100), 0);
    }
}
