//! How many nodes a walk has to keep so that it finds a wanted part of the exact answer: measured when the graph is built.
//!
//! Two samples are asked for the rows nearest to them, and the harder one counts:
//!
//! - Rows, each as if it were not there: the walk may not use its node, and the exact answer leaves it out. Of rows that may
//!   use their own node a walk finds far more than of questions.
//! - Rows blurred with normal noise as long as the row is far from the mean: questions lie further from the rows than rows
//!   from each other. Where rows are many and near each other (a million mixtures of near pairs), a walk that finds 0.95 for
//!   the first sample finds 0.84 for real questions.
//!
//! Of 1,000 questions to 100,000 MiniLM passages a walk that keeps 24 nodes finds 0.951 of the ten best, of blurred rows
//! 0.942, of rows that are not there 0.918. What is promised is the mean over a sample less its standard error.

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

/// Queries of each sample.
const SAMPLES: usize = 192;
/// Answers of so many rows are measured; others lie between or beyond.
const KS: [usize; 2] = [10, 100];
/// Nodes kept beyond k. The first is the least that any walk keeps: what it costs is little, and questions unlike any row
/// need it where rows find each other with less.
const BEYOND_K: [usize; 17] = [
    6, 10, 14, 18, 22, 30, 38, 46, 54, 70, 86, 118, 150, 214, 310, 470, 630,
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

struct Query {
    /// The row that is not there.
    without: Option<u32>,
    vector: Vec<f32>,
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
    /// Runs the sample. `vector` gives a row in the numbering of `keys` and `graph`.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it was stopped; and what `vector` says.
    pub fn measure<'v>(
        sample: &Sample<'_>,
        vector: impl Fn(u32) -> Result<&'v [f32]> + Sync,
    ) -> Result<Self> {
        let rows = sample.keys.codes.rows();
        let mut random = Random(sample.seed);
        // A twin is found through its node, and cannot be left out alone.
        let is_node = |&row: &u32| !sample.graph.neighbours(row).is_empty();
        let drawn = (0..4 * SAMPLES).map(|_| (random.next() % u64::from(rows.max(1))) as u32);
        let drawn = drawn.filter(is_node).take(SAMPLES.min(rows as usize));
        let drawn: Vec<u32> = drawn.collect();
        let mut queries = Vec::with_capacity(2 * drawn.len());
        for &row in &drawn {
            queries.push(Query {
                without: Some(row),
                vector: vector(row)?.to_vec(),
            });
        }
        for &row in &drawn {
            queries.push(Query {
                without: None,
                vector: blurred(vector(row)?, sample, &mut random),
            });
        }
        if queries.is_empty() {
            return Ok(Self::default());
        }
        let exact = exact_scores(sample, &queries, rows, &vector)?;
        let mut points = Vec::new();
        for k in KS.into_iter().filter(|&k| k <= rows as usize) {
            for beyond in BEYOND_K {
                let ef = k + beyond;
                let found = |(query, scores): (&Query, &Vec<f32>)| {
                    if (sample.stop)() {
                        return Err(Error::Cancelled);
                    }
                    let k = k.min(scores.len());
                    recall(sample, query, scores, k, ef, &vector)
                };
                let each = queries.par_iter().zip(&exact).map(found);
                let each = each.collect::<Result<Vec<f64>>>()?;
                let (rows_left_out, rows_blurred) = each.split_at(drawn.len());
                let (mean, promised) = [rows_left_out, rows_blurred]
                    .map(mean_and_promise)
                    .into_iter()
                    .min_by(|a, b| a.1.total_cmp(&b.1))
                    .unwrap_or_default();
                points.push(Point {
                    k: k as u32,
                    ef: ef as u32,
                    recall: promised.max(0.0) as f32,
                });
                if mean >= ENOUGH || ef >= rows as usize {
                    break;
                }
            }
        }
        Ok(Self(points))
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

/// The part of the best `k` rows that a walk finds; a row that ties the k-th counts.
fn recall<'v>(
    sample: &Sample<'_>,
    query: &Query,
    scores: &[f32],
    k: usize,
    ef: usize,
    vector: &impl Fn(u32) -> Result<&'v [f32]>,
) -> Result<f64> {
    let Some(&kth) = k.checked_sub(1).and_then(|last| scores.get(last)) else {
        return Ok(1.0);
    };
    let code = sample.quantiser.query(&query.vector, sample.metric);
    let walk = Walk {
        keys: sample.keys,
        graph: sample.graph,
        code: &code,
        ef,
        without: query.without,
        least_key: i32::MIN,
        most_scored: u64::MAX,
    };
    let all = Selection::ALL;
    let rows = walk.run(all, |met, _| candidates(&sample.graph, all, &code, met, k));
    let mut found = 0;
    for row in rows.unwrap_or_default() {
        let score = exact_score(
            sample.metric,
            sample.keys.kernel,
            &query.vector,
            vector(row)?,
        );
        found += usize::from(score >= kth);
    }
    Ok(found.min(k) as f64 / k as f64)
}

/// For each query the best scores of all other rows but its twins, best first, as many as are needed.
fn exact_scores<'v>(
    sample: &Sample<'_>,
    queries: &[Query],
    rows: u32,
    vector: &(impl Fn(u32) -> Result<&'v [f32]> + Sync),
) -> Result<Vec<Vec<f32>>> {
    const ROWS_AT_ONCE: u32 = 4_096;
    let wanted = KS[KS.len() - 1].min(rows as usize);
    let keep = |scores: &mut Vec<f32>| {
        if scores.len() > wanted {
            scores.select_nth_unstable_by(wanted - 1, |a, b| b.total_cmp(a));
            scores.truncate(wanted);
        }
    };
    let chunk = |first: u32| {
        let mut best = vec![Vec::new(); queries.len()];
        for row in first..rows.min(first.saturating_add(ROWS_AT_ONCE)) {
            if (sample.stop)() {
                return Err(Error::Cancelled);
            }
            let vector = vector(row)?;
            for (query, best) in queries.iter().zip(&mut best) {
                let is_left_out =
                    |asked| row == asked || sample.graph.twins(asked).any(|twin| twin == row);
                if query.without.is_some_and(is_left_out) {
                    continue;
                }
                best.push(exact_score(
                    sample.metric,
                    sample.keys.kernel,
                    &query.vector,
                    vector,
                ));
                if best.len() >= 8 * wanted {
                    keep(best);
                }
            }
        }
        best.iter_mut().for_each(keep);
        Ok(best)
    };
    let join = |mut a: Vec<Vec<f32>>, b: Vec<Vec<f32>>| {
        for (a, b) in a.iter_mut().zip(b) {
            a.extend(b);
            keep(a);
        }
        Ok(a)
    };
    let chunks = (0..rows).into_par_iter().step_by(ROWS_AT_ONCE as usize);
    let mut best = chunks
        .map(chunk)
        .try_reduce(|| vec![Vec::new(); queries.len()], join)?;
    best.iter_mut()
        .for_each(|scores| scores.sort_unstable_by(|a, b| b.total_cmp(a)));
    Ok(best)
}

/// The row with noise as long as it is far from the mean.
fn blurred(row: &[f32], sample: &Sample<'_>, random: &mut Random) -> Vec<f32> {
    let length = |components: &mut dyn Iterator<Item = f32>| {
        let squares = components.map(|x| f64::from(x).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let noise: Vec<f32> = row.iter().map(|_| random.normal()).collect();
    let centre = sample.quantiser.centre();
    let far = length(&mut row.iter().zip(centre).map(|(x, c)| x - c));
    let scale = far / length(&mut noise.iter().copied()).max(f64::MIN_POSITIVE);
    let noise = noise.iter().map(|&x| (f64::from(x) * scale) as f32);
    let mut query: Vec<f32> = row.iter().zip(noise).map(|(x, noise)| x + noise).collect();
    let norm = length(&mut query.iter().copied());
    if sample.metric == Metric::Cosine && norm > 0.0 {
        let to_unit = |x: &mut f32| *x = (f64::from(*x) / norm) as f32;
        query.iter_mut().for_each(to_unit);
    }
    query
}

impl Random {
    /// Mean 0: the sum of four uniform numbers, less their mean.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let uniform = |shift: u32| (bits >> shift & 0xFFFF) as f32 / 65_536.0;
        [0, 16, 32, 48].into_iter().map(uniform).sum::<f32>() - 2.0
    }
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
