//! A query and a selection → the best rows, by a walk over the graph, where that is faster than a scan.
//!
//! Where only some rows are selected, the walk goes over all of them, far enough for the selected rows among those that it
//! meets to be as many as are wanted. That holds what is promised whatever is selected: the best `k` of the selected rows
//! stand at some rank among all rows, and a walk that finds the wanted part of so many finds it of them. Where they stand too
//! far down, those selected are scanned. (A walk over selected rows alone, as ACORN-1's, arXiv:2403.04871, found 0.18 to 0.34
//! of what was nearest, where all that is selected lay far from the query.)

use super::calibration::Calibration;
use super::graph::Graph;
use super::quantise::{Quantiser, QueryCode};
use super::rerank::rerank;
use super::slots::Selection;
use super::vectors::{Keys, Space};
use super::walk::{Met, Walk, Width};
use super::{Effort, Nearest, RowHit};
use crate::error::Result;

/// A node that a walk looks at costs it about as much as so many rows cost a scan: some 0.8 µs and 20 ns of a million rows of
/// 384 components.
const ROWS_PER_NODE: f64 = 40.0;

/// A graph, and the codes to walk it by.
#[derive(Clone, Copy)]
pub(super) struct Walkable<'a> {
    pub graph: Graph<'a>,
    pub keys: Keys<'a>,
    pub quantiser: &'a Quantiser,
    pub calibration: &'a Calibration,
}

/// The best selected rows, by a walk. Fewer than `k` only if fewer are selected and reach the least score. `None` if they
/// are better found by a scan.
pub(super) fn walk(
    space: Space<'_>,
    walkable: Walkable<'_>,
    nearest: &Nearest<'_>,
    selection: Selection<'_>,
) -> Result<Option<Vec<RowHit>>> {
    let Walkable {
        graph,
        keys,
        quantiser,
        calibration,
    } = walkable;
    let slots = keys.codes.rows();
    let selected = selection.count(slots);
    let k = nearest.k.min(selected as usize);
    if k == 0 {
        return Ok(Some(Vec::new()));
    }
    let code = quantiser.query(nearest.vector, space.metric);
    let mut rank = rank_of(k, selected, slots);
    // The first walk may show that selected rows are rarer here than elsewhere; how rare, the second relies on.
    for _ in 0..2 {
        let Some(width) = width_for(nearest.effort, calibration, rank, selected) else {
            break;
        };
        let walk = Walk {
            keys,
            graph,
            code: &code,
            width,
            without: &[],
            least_key: code.least_key(nearest.least_score),
        };
        let (found, met, ended) = walk.run(|met, ended| {
            let found = candidates(&graph, selection, &code, met, k);
            (found, met.len(), ended)
        });
        // Behind the rank, fewer are found than is wanted.
        if ended.cut_short || (found.slots.len() >= k && found.rank <= rank) {
            let mut hits = rerank(space, nearest.vector, k, found.slots)?;
            hits.retain(|hit| hit.score >= nearest.least_score);
            return Ok(Some(hits));
        }
        if found.slots.is_empty() {
            break;
        }
        rank = (found.rank.max(met) * k).div_ceil(found.slots.len().min(k)) * 3 / 2;
    }
    Ok(None)
}

/// Among so many rows nearest to a query are `k` selected ones, mostly, if it does not matter to which are selected: the mean
/// and two standard deviations of a negative binomial distribution.
fn rank_of(k: usize, selected: u64, slots: u32) -> usize {
    let part = selected as f64 / f64::from(slots);
    let k = k as f64;
    ((k + 2.0 * (k * (1.0 - part)).sqrt()) / part).ceil() as usize
}

/// How far a walk has to go that is to meet the `rank` nearest rows; `None` if a scan of those selected is better.
fn width_for(
    effort: Effort,
    calibration: &Calibration,
    rank: usize,
    selected: u64,
) -> Option<Width> {
    let Effort::Recall(target) = effort else {
        return None;
    };
    let plan = calibration.plan(rank, target)?;
    (ROWS_PER_NODE * plan.nodes <= selected as f64).then_some(plan.width)
}

/// What a walk found.
pub(super) struct Candidates {
    /// Rows among which the best `k` are.
    pub slots: Vec<u32>,
    /// The nodes that it met until there were `k`.
    pub rank: usize,
}

/// The selected slots, at nodes met or their twins, among which the best `k` are: the first `k`, and those behind them
/// whose keys do not tell them apart from the k-th.
pub(super) fn candidates(
    graph: &Graph<'_>,
    selection: Selection<'_>,
    code: &QueryCode,
    met: &[Met],
    k: usize,
) -> Candidates {
    let mut slots = Vec::with_capacity(2 * k);
    let mut least = i32::MIN;
    let mut rank = met.len();
    let is_all = selection.is_all();
    for (nth, met) in met.iter().enumerate() {
        if met.key < least {
            break;
        }
        if graph.has_twins() || !is_all {
            let node_and_twins = std::iter::once(met.slot).chain(graph.twins(met.slot));
            slots.extend(node_and_twins.filter(|&slot| selection.contains(slot)));
        } else {
            slots.push(met.slot);
        }
        if slots.len() >= k && least == i32::MIN {
            least = met.key.saturating_sub(code.doubt());
            rank = nth + 1;
        }
    }
    Candidates { slots, rank }
}
