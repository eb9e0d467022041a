//! How far a walk has to go so that it finds a wanted part of the exact answer: measured when the graph is built.
//!
//! `questions.rs` tells who is asked, and why walks may be judged by that.
//!
//! How long a walk goes on is a patience in nodes, and a slack that grows with it (`walk.rs`), because these mean the same for
//! questions and for rows without their clumps, as the lengths of beams do, and save a fifth of the nodes. Slack alone saves
//! more, but the rows need far more of it than the questions. Nodes looked at for ten of a million, and the part found:
//!
//! | walk | rows and their clumps | questions |
//! |---|---|---|
//! | a beam of 85 | 95: 0.952 | 95: 0.945 |
//! | slack 0.1 | 38: 0.877 | 50: 0.944 |
//! | patience 60, slack 0.6 | 86: 0.954 | 80: 0.957 |
//! | a beam of 330 | 338: 0.994 | 339: 0.986 |
//! | patience 320, slack 1 | 288: 0.993 | 299: 0.988 |
//!
//! Of the 100,000 a beam of 40 finds 0.983 for questions with 45 nodes, a patience of 20 nodes 0.982 with 37.
//!
//! What is promised is the mean over the sample less its standard error. Of the million, where a question in a hundred is far
//! harder than the others, that is 125 nodes for 0.95 and 330 for 0.99. Twice the standard error made it 150 and 500 with one
//! sample, and with another no walk was promised 0.99, so that all rows were scanned: a hundred times as long as the walk that
//! would have found them.

use std::io::{self, Write};

use super::format::u32_at;
use super::questions::{MOST_WANTED, Questions, Sample};
use super::walk::{Patience, Width};
use crate::error::Result;

/// Answers of so many rows are measured; others lie between or beyond.
const KS: [usize; 2] = [10, MOST_WANTED];
/// Patience tried, in nodes: each 1.4 times the one before.
const PATIENCE: [usize; 21] = [
    2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 180, 256, 360, 512, 720, 1_024, 1_448, 2_048,
];
/// The slack that goes with a patience is its cube root times this.
const SLACK: f32 = 0.11;
/// Nodes kept beyond k for two of patience: with more a walk finds hardly more, and keeping them in order costs as much as it
/// saves to look at fewer.
const KEPT_PER_TWO: usize = 3;
/// Nodes that a walk looks at beyond k, however far they are: what they cost is little, and questions unlike any row need them
/// where rows find each other with less.
const BEYOND_K: usize = 6;
/// Nodes that every walk keeps, at least.
pub(super) const LEAST_EF: usize = KS[0] + BEYOND_K;
/// Nothing more is to be learned beyond this recall.
const ENOUGH: f64 = 0.9995;
const POINT_BYTES: usize = 24;
/// Of the formats before 4, which knew walks of fixed length alone.
const FIXED_POINT_BYTES: usize = 12;
/// Nodes kept where nothing was measured, as format 1 does not.
const UNMEASURED_EF: usize = 128;

/// Recall of walks for the best `k` rows.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    k: u32,
    /// Nodes that they kept at most.
    ef: u32,
    /// When they ended before they had looked at all that they kept.
    patience: Option<Patience>,
    /// Nodes that they looked at on average.
    nodes: f32,
    recall: f32,
}

/// A walk that is far enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    pub width: Width,
    /// Nodes that it will look at, on average.
    pub nodes: f64,
}

/// Measured points, sorted by k, patience and ef.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Calibration(Vec<Point>);

impl Calibration {
    /// Asks the questions with wider and wider walks.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it was stopped; and what reading a row says.
    pub fn measure(sample: &Sample<'_>, questions: &Questions<'_>) -> Result<Self> {
        let rows = sample.keys.codes.rows() as usize;
        let mut points = Vec::new();
        if questions.is_empty() {
            return Ok(Self::default());
        }
        for k in KS.into_iter().filter(|&k| k <= rows) {
            for nodes in PATIENCE {
                let slack = SLACK * (nodes as f32).cbrt();
                let patience = Some(Patience { nodes, slack });
                let width = width(k, k + KEPT_PER_TWO * nodes / 2, patience);
                let answers = questions.ask(sample, k, width)?;
                points.push(Point {
                    k: k as u32,
                    ef: width.ef as u32,
                    patience,
                    nodes: answers.nodes as f32,
                    recall: answers.promised.max(0.0) as f32,
                });
                if answers.mean >= ENOUGH || answers.nodes >= rows as f64 {
                    break;
                }
            }
        }
        Ok(Self(points))
    }

    /// Do walks measured by `other` look at so many times fewer nodes? Asked for the recalls that most are aimed at.
    pub fn is_beaten(&self, other: &Self, times: f64) -> bool {
        [0.95, 0.99].into_iter().any(|target| {
            let [ours, theirs] = [self, other].map(|measured| measured.plan(KS[0], target));
            match (ours, theirs) {
                (Some(ours), Some(theirs)) => ours.nodes > times * theirs.nodes,
                (ours, theirs) => ours.is_none() && theirs.is_some(),
            }
        })
    }

    /// The walk that finds `target` of the best `k` rows on average; `None` if none that was measured found so many.
    pub fn plan(&self, k: usize, target: f32) -> Option<Plan> {
        if self.0.is_empty() {
            let ef = UNMEASURED_EF.max(2 * k);
            let (width, nodes) = (Width::fixed(ef), ef as f64);
            return Some(Plan { width, nodes });
        }
        let mut measured = self.0.chunk_by(|a, b| a.k == b.k);
        let first = measured.next()?;
        let (mut below, mut effort_below) = (first[0].k as usize, Effort::reach(first, target)?);
        let mut effort = effort_below;
        for points in measured {
            if k <= below {
                break;
            }
            let (above, effort_above) = (points[0].k as usize, Effort::reach(points, target)?);
            let part = (k.min(above) - below) as f64 / (above - below) as f64;
            effort = effort_below.towards(effort_above, part);
            (below, effort_below) = (above, effort_above);
        }
        if k > below {
            let times = k as f64 / below as f64;
            effort.ef *= times;
            effort.nodes *= times;
        }
        Some(Plan {
            width: width(k, effort.ef.ceil() as usize, effort.patience()),
            nodes: effort.nodes,
        })
    }

    /// Writes the section.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|point| {
            out.write_all(&point.k.to_le_bytes())?;
            out.write_all(&point.ef.to_le_bytes())?;
            let patience = point.patience.unwrap_or(Patience {
                nodes: u32::MAX as usize,
                slack: f32::MAX,
            });
            out.write_all(&(patience.nodes as u32).to_le_bytes())?;
            out.write_all(&patience.slack.to_le_bytes())?;
            out.write_all(&point.nodes.to_le_bytes())?;
            out.write_all(&point.recall.to_le_bytes())
        })
    }

    /// Reads the section of a file of this format. `None` if it holds what nothing measured gives.
    pub fn read(bytes: &[u8], version: u32) -> Option<Self> {
        let is_fixed = version < 4;
        let point_bytes = if is_fixed {
            FIXED_POINT_BYTES
        } else {
            POINT_BYTES
        };
        if !bytes.len().is_multiple_of(point_bytes) {
            return None;
        }
        let point = |bytes: &[u8]| {
            let (k, ef) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
            let float = |at: usize| u32_at(bytes, at).map(f32::from_bits);
            let (patience, nodes, recall) = if is_fixed {
                (None, ef as f32, float(8)?)
            } else {
                let (nodes, slack) = (u32_at(bytes, 8)? as usize, float(12)?);
                (Some(Patience { nodes, slack }), float(16)?, float(20)?)
            };
            let is_number = |x: f32| x.is_finite() && x >= 0.0;
            let valid = k > 0
                && ef >= k
                && patience.is_none_or(|patience| is_number(patience.slack))
                && is_number(nodes)
                && (0.0..=1.0).contains(&recall);
            valid.then_some(Point {
                k,
                ef,
                patience,
                nodes,
                recall,
            })
        };
        let points: Vec<Point> = bytes
            .chunks(point_bytes)
            .map(point)
            .collect::<Option<_>>()?;
        let is_sorted = points.is_sorted_by(|a, b| match (a.patience, b.patience) {
            (Some(less), Some(more)) => (a.k, less.nodes) < (b.k, more.nodes),
            _ => (a.k, a.ef) < (b.k, b.ef),
        });
        is_sorted.then_some(Self(points))
    }
}

fn width(k: usize, ef: usize, patience: Option<Patience>) -> Width {
    let least = (k + BEYOND_K).max(LEAST_EF);
    let ef = ef.max(least);
    match patience {
        None => Width::fixed(ef),
        patience => Width {
            ef,
            least,
            rank: k,
            patience,
        },
    }
}

/// What lies between measured points.
#[derive(Clone, Copy)]
struct Effort {
    ef: f64,
    /// Nodes and slack.
    patience: Option<[f64; 2]>,
    nodes: f64,
}

impl Effort {
    fn of(point: Point) -> Self {
        Self {
            ef: f64::from(point.ef),
            patience: point
                .patience
                .map(|Patience { nodes, slack }| [nodes as f64, f64::from(slack)]),
            nodes: f64::from(point.nodes),
        }
    }

    /// The least with which one of `points`, or a place between two, has the recall.
    fn reach(points: &[Point], target: f32) -> Option<Self> {
        let at = points.iter().position(|point| point.recall >= target)?;
        let to = points[at];
        let Some(from) = at.checked_sub(1).map(|before| points[before]) else {
            return Some(Self::of(to));
        };
        let part = f64::from(target - from.recall) / f64::from(to.recall - from.recall);
        // Not more nodes than it takes: f32 recalls are off in the eighth digit.
        Some(Self::of(from).towards(Self::of(to), part - 1e-6))
    }

    fn towards(self, other: Self, part: f64) -> Self {
        let between = |a: f64, b: f64| a + part * (b - a);
        Self {
            ef: between(self.ef, other.ef),
            patience: (self.patience.zip(other.patience))
                .map(|(a, b)| [between(a[0], b[0]), between(a[1], b[1])]),
            nodes: between(self.nodes, other.nodes),
        }
    }

    fn patience(self) -> Option<Patience> {
        self.patience.map(|[nodes, slack]| Patience {
            nodes: nodes.ceil() as usize,
            slack: slack as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration() -> Calibration {
        let point = |k, ef, nodes, slack, recall| Point {
            k,
            ef,
            patience: Some(Patience { nodes, slack }),
            nodes: ef as f32 / 2.0,
            recall,
        };
        Calibration(vec![
            point(10, 20, 2, 0.125, 0.8),
            point(10, 30, 4, 0.25, 0.9),
            point(10, 40, 8, 0.5, 0.99),
            point(100, 120, 4, 0.25, 0.9),
            point(100, 200, 8, 0.5, 0.99),
        ])
    }

    #[test]
    fn a_walk_lies_between_and_beyond_what_was_measured() {
        let measured = calibration();
        for (k, target, ef, nodes, slack) in [
            (10, 0.5, 20, 2, 0.125),
            (1, 0.5, 20, 2, 0.125),
            (10, 0.85, 25, 3, 0.1875),
            (10, 0.9, 30, 4, 0.25),
            (1, 0.9, 30, 4, 0.25),
            (100, 0.9, 120, 4, 0.25),
            (55, 0.9, 75, 4, 0.25),
            (200, 0.9, 240, 4, 0.25),
            (200, 0.5, 240, 4, 0.25),
        ] {
            let plan = measured.plan(k, target).expect("so much was found");
            let least = (k + 6).max(16);
            assert_eq!(
                (plan.width.ef, plan.width.rank, plan.width.least),
                (ef, k, least),
                "{k} rows at {target}"
            );
            let found = plan.width.patience.expect("it was measured");
            assert_eq!(found.nodes, nodes, "{k} rows at {target}");
            assert!((found.slack - slack).abs() < 1e-5, "{k} rows at {target}");
            assert!((plan.nodes - ef as f64 / 2.0).abs() < 1e-2, "{plan:?}");
        }
        assert_eq!(measured.plan(10, 0.995), None);
        let unmeasured = Calibration::default().plan(100, 0.9);
        assert_eq!(unmeasured.map(|plan| plan.width), Some(Width::fixed(200)));
    }

    #[test]
    fn codes_are_beaten_by_others_with_far_fewer_nodes() {
        let measured = calibration();
        let times = |times: f32| {
            let mut other = measured.clone();
            other.0.iter_mut().for_each(|point| point.nodes *= times);
            other
        };
        assert!(!measured.is_beaten(&times(0.7), 1.5));
        assert!(measured.is_beaten(&times(0.6), 1.5));
        let mut short = measured.clone();
        short.0.iter_mut().for_each(|point| point.recall *= 0.9);
        assert!(short.is_beaten(&measured, 1.5));
        assert!(!measured.is_beaten(&short, 1.5));
        assert!(!short.is_beaten(&short, 1.5));
    }

    #[test]
    fn what_was_measured_comes_back_and_nothing_else_is_read() {
        let mut bytes = Vec::new();
        calibration()
            .write(&mut bytes)
            .expect("a Vec takes every write");
        assert_eq!(Calibration::read(&bytes, 4), Some(calibration()));
        assert_eq!(Calibration::read(&[], 4), Some(Calibration::default()));
        assert_eq!(Calibration::read(&bytes[..25], 4), None);
        let forge = |at: usize, value: [u8; 4]| {
            let mut forged = bytes.clone();
            forged[at..at + 4].copy_from_slice(&value);
            Calibration::read(&forged, 4)
        };
        assert_eq!(forge(0, 0u32.to_le_bytes()), None);
        assert_eq!(forge(4, 9u32.to_le_bytes()), None);
        assert_eq!(forge(8, 5u32.to_le_bytes()), None);
        for at in [12, 16, 20] {
            assert_eq!(forge(at, f32::NAN.to_le_bytes()), None);
            assert_eq!(forge(at, (-1.5f32).to_le_bytes()), None);
        }
        assert_eq!(forge(20, 1.5f32.to_le_bytes()), None);
    }

    #[test]
    fn walks_of_fixed_length_that_older_formats_measured_are_made_as_they_were() {
        let mut bytes = Vec::new();
        for (k, ef, recall) in [(10u32, 20u32, 0.75f32), (10, 30, 0.875)] {
            bytes.extend(k.to_le_bytes());
            bytes.extend(ef.to_le_bytes());
            bytes.extend(recall.to_le_bytes());
        }
        let measured = Calibration::read(&bytes, 3).expect("as it was written");
        let plan = measured.plan(10, 0.75).expect("so much was found");
        assert_eq!((plan.width, plan.nodes), (Width::fixed(20), 20.0));
        assert_eq!(measured.plan(10, 0.9), None);
        bytes[4..8].copy_from_slice(&31u32.to_le_bytes());
        assert_eq!(Calibration::read(&bytes, 3), None);
    }
}
