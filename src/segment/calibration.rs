//! How many nodes a walk has to keep so that it finds a wanted part of the exact answer: measured when the graph is built.
//!
//! Stored rows are asked for the rows nearest to them, each as if it were not there, and its clump neither: walks may not use
//! these nodes, and the exact answer leaves them out. Where rows are spread as questions are, a row alone is a fair stand-in
//! for a question. Where rows come in clumps (near copies, versions, many rows made of few) it is not: its best rows are then
//! the rest of its clump, which a walk cannot miss, while a question lies in no clump and its best rows belong to several.
//! So much is left out as lies before the widest gap in closeness among the nearest rows. It never lies so far out that what
//! remains is nearer to a row at random than to the row asked: what remained of clumps far apart would be no answer to
//! anything.
//!
//! Nodes that were needed on average for the ten best, by 1,000 questions and by 384 rows left out so. The million are
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
//!
//! What is promised is the mean over the sample less its standard error. Of the million, where a question in a hundred is far
//! harder than the others, that is 125 nodes for 0.95 and 330 for 0.99. Twice the standard error made it 150 and 500 with one
//! sample, and with another no walk was promised 0.99, so that all rows were scanned: a hundred times as long as the walk that
//! would have found them.

use std::io::{self, Write};

use rayon::prelude::*;

use super::format::u32_at;
use super::graph::Graph;
use super::quantise::Quantiser;
use super::search::candidates;
use super::slots::Selection;
use super::source::Stop;
use super::vectors::{Keys, exact_score};
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::vector::Metric;

/// Rows asked.
const SAMPLES: usize = 384;
/// A clump has at most so many rows,
const CLUMP: usize = 100;
/// and is at most this part of the segment.
const CLUMP_PART: usize = 100;
/// Answers of so many rows are measured; others lie between or beyond.
const KS: [usize; 2] = [10, 100];
/// Nodes kept beyond k. The first is the least that any walk keeps: what it costs is little, and questions unlike any row
/// need it where rows find each other with less.
const BEYOND_K: [usize; 21] = [
    6, 10, 14, 18, 22, 30, 38, 46, 54, 70, 86, 118, 150, 214, 310, 470, 630, 950, 1_270, 2_550,
    5_110,
];
/// Nodes that every walk keeps, at least.
pub(super) const LEAST_EF: usize = KS[0] + BEYOND_K[0];
/// Nothing more is to be learned beyond this recall.
const ENOUGH: f64 = 0.9995;
const POINT_BYTES: usize = 12;
/// Nodes kept where nothing was measured, as format 1 does not.
const UNMEASURED_EF: usize = 128;

/// Recall of walks that keep `ef` nodes for the best `k` rows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    k: u32,
    ef: u32,
    recall: f32,
}

/// A row asked.
struct Query<'v> {
    vector: &'v [f32],
    /// The row, its clump, and the twins of all of them: not there. Sorted.
    without: Vec<u32>,
    /// Scores of the best other rows, best first.
    scores: Vec<f32>,
}

/// Measured points, sorted by k and ef.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calibration(Vec<Point>);

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

impl Calibration {
    /// Asks the questions with wider and wider walks.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it was stopped; and what reading a row says.
    pub fn measure(sample: &Sample<'_>, questions: &Questions<'_>) -> Result<Self> {
        let rows = sample.keys.codes.rows() as usize;
        let mut points = Vec::new();
        if questions.asked.is_empty() {
            return Ok(Self::default());
        }
        for k in KS.into_iter().filter(|&k| k <= rows) {
            for ef in BEYOND_K.map(|beyond| k + beyond) {
                let (mean, promised) = questions.ask(sample, k, ef)?;
                points.push(Point {
                    k: k as u32,
                    ef: ef as u32,
                    recall: promised.max(0.0) as f32,
                });
                if mean >= ENOUGH || ef >= rows {
                    break;
                }
            }
        }
        Ok(Self(points))
    }

    /// Would walks by the other codes of `finer` be promised as much with so many times fewer nodes? Asked for the recalls
    /// that most are aimed at.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn is_beaten(
        &self,
        finer: &Sample<'_>,
        questions: &Questions<'_>,
        times: f64,
    ) -> Result<bool> {
        let k = KS[0];
        for target in [0.95, 0.99] {
            let ef = self
                .ef(k, target)
                .unwrap_or(k + BEYOND_K[BEYOND_K.len() - 1]);
            let (_, promised) = questions.ask(finer, k, k.max((ef as f64 / times) as usize))?;
            if promised >= f64::from(target) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Nodes to keep so that `target` of the best `k` rows are found on average; `None` if no walk measured found so many.
    pub fn ef(&self, k: usize, target: f32) -> Option<usize> {
        if self.0.is_empty() {
            return Some(UNMEASURED_EF.max(2 * k));
        }
        let mut measured = self.0.chunk_by(|a, b| a.k == b.k);
        let first = measured.next()?;
        let (mut below, mut ef_below) = (first[0].k as usize, reach(first, target)?);
        let mut ef = ef_below;
        for points in measured {
            if k <= below {
                break;
            }
            let (above, ef_above) = (points[0].k as usize, reach(points, target)?);
            let part = (k.min(above) - below) as f64 / (above - below) as f64;
            ef = ef_below + part * (ef_above - ef_below);
            (below, ef_below) = (above, ef_above);
        }
        if k > below {
            ef *= k as f64 / below as f64;
        }
        Some((ef.ceil() as usize).max(k + BEYOND_K[0]).max(LEAST_EF))
    }

    /// Writes the section.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|point| {
            out.write_all(&point.k.to_le_bytes())?;
            out.write_all(&point.ef.to_le_bytes())?;
            out.write_all(&point.recall.to_le_bytes())
        })
    }

    /// Reads the section. `None` if it holds what nothing measured gives.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(POINT_BYTES) {
            return None;
        }
        let point = |bytes: &[u8]| {
            let point = Point {
                k: u32_at(bytes, 0)?,
                ef: u32_at(bytes, 4)?,
                recall: f32::from_bits(u32_at(bytes, 8)?),
            };
            let valid = point.k > 0 && point.ef >= point.k && (0.0..=1.0).contains(&point.recall);
            valid.then_some(point)
        };
        let points: Vec<Point> = bytes
            .chunks(POINT_BYTES)
            .map(point)
            .collect::<Option<_>>()?;
        points
            .is_sorted_by(|a, b| (a.k, a.ef) < (b.k, b.ef))
            .then_some(Self(points))
    }
}

/// The fewest nodes with which one of `points`, or a place between two, has the recall.
fn reach(points: &[Point], target: f32) -> Option<f64> {
    let at = points.iter().position(|point| point.recall >= target)?;
    let to = points[at];
    let Some(from) = at.checked_sub(1).map(|before| points[before]) else {
        return Some(f64::from(to.ef));
    };
    let part = f64::from(target - from.recall) / f64::from(to.recall - from.recall);
    // Not more nodes than it takes: f32 recalls are off in the eighth digit.
    Some(f64::from(from.ef) + (part - 1e-6) * f64::from(to.ef - from.ef))
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
        let nearest = nearest(sample, &asked, rows, clump + KS[KS.len() - 1], &vector)?;
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

    /// The part of the best `k` rows that walks find which keep `ef` nodes: the mean, and what may be promised.
    fn ask(&self, sample: &Sample<'_>, k: usize, ef: usize) -> Result<(f64, f64)> {
        let found = |query: &Query<'_>| {
            if (sample.stop)() {
                return Err(Error::Cancelled);
            }
            self.recall(sample, query, k, ef)
        };
        let each = self.asked.par_iter().map(found);
        each.collect::<Result<Vec<f64>>>()
            .map(|each| mean_and_promise(&each))
    }

    /// The part of the best `k` rows that a walk finds; a row that ties the k-th counts.
    fn recall(&self, sample: &Sample<'_>, query: &Query<'_>, k: usize, ef: usize) -> Result<f64> {
        let k = k.min(query.scores.len());
        let Some(&kth) = k.checked_sub(1).and_then(|last| query.scores.get(last)) else {
            return Ok(1.0);
        };
        let code = sample.quantiser.query(query.vector, sample.metric);
        let walk = Walk {
            keys: sample.keys,
            graph: sample.graph,
            code: &code,
            ef,
            without: &query.without,
            least_key: i32::MIN,
        };
        let all = Selection::ALL;
        let rows = walk.run(|met, _| candidates(&sample.graph, all, &code, met, k).slots);
        let mut found = 0;
        for row in rows {
            // A twin that is not there may come with a node that is.
            if query.without.binary_search(&row).is_err() {
                found += usize::from(score(sample, query.vector, (self.vector)(row)?) >= kth);
            }
        }
        Ok(found.min(k) as f64 / k as f64)
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

    fn calibration() -> Calibration {
        let point = |k, ef, recall| Point { k, ef, recall };
        Calibration(vec![
            point(10, 20, 0.8),
            point(10, 30, 0.9),
            point(10, 40, 0.99),
            point(100, 120, 0.9),
            point(100, 200, 0.99),
        ])
    }

    #[test]
    fn nodes_to_keep_lie_between_and_beyond_what_was_measured() {
        let measured = calibration();
        for (k, target, ef) in [
            (10, 0.5, Some(20)),
            (1, 0.5, Some(20)),
            (10, 0.85, Some(25)),
            (10, 0.9, Some(30)),
            (1, 0.9, Some(30)),
            (100, 0.9, Some(120)),
            (55, 0.9, Some(75)),
            (200, 0.9, Some(240)),
            (200, 0.5, Some(240)),
            (10, 0.995, None),
        ] {
            assert_eq!(measured.ef(k, target), ef, "{k} rows at {target}");
        }
        assert_eq!(Calibration::default().ef(100, 0.9), Some(200));
    }

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

    #[test]
    fn what_was_measured_comes_back_and_nothing_else_is_read() {
        let mut bytes = Vec::new();
        calibration()
            .write(&mut bytes)
            .expect("a Vec takes every write");
        assert_eq!(Calibration::read(&bytes), Some(calibration()));
        assert_eq!(Calibration::read(&[]), Some(Calibration::default()));
        assert_eq!(Calibration::read(&bytes[..13]), None);
        let forge = |at: usize, value: [u8; 4]| {
            let mut forged = bytes.clone();
            forged[at..at + 4].copy_from_slice(&value);
            Calibration::read(&forged)
        };
        assert_eq!(forge(0, 0u32.to_le_bytes()), None);
        assert_eq!(forge(4, 9u32.to_le_bytes()), None);
        assert_eq!(forge(4, 31u32.to_le_bytes()), None);
        assert_eq!(forge(8, f32::NAN.to_le_bytes()), None);
        assert_eq!(forge(8, 1.5f32.to_le_bytes()), None);
    }
}
