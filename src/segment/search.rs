//! A query and a selection → the best rows, by a walk over the graph, where that is faster than a scan.

use super::calibration::Calibration;
use super::graph::Graph;
use super::quantise::{Quantiser, QueryCode};
use super::rerank::rerank;
use super::slots::Selection;
use super::vectors::{Keys, Space};
use super::walk::{Met, Walk};
use super::{Effort, Nearest, RowHit};
use crate::error::Result;

/// A selection of at most so many rows is scanned: a walk through so few finds too little, and a scan of them is quick.
const SCAN_ROWS: u64 = 5_000;
/// So is one of at most this part of the segment.
const SCAN_PART: u64 = 33;

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
    if !is_worth_walking(slots, selected) {
        return Ok(None);
    }
    let Some(ef) = ef_for(nearest.effort, calibration, k, slots) else {
        return Ok(None);
    };
    let code = quantiser.query(nearest.vector, space.metric);
    let walk = Walk {
        keys,
        graph,
        code: &code,
        ef,
        without: &[],
        least_key: code.least_key(nearest.least_score),
        most_scored: most_scored(slots, selected),
    };
    let walked = walk.run(selection, |met, cut_short| {
        let slots = candidates(&graph, selection, &code, met, k);
        // Too few, and more could have come: the walk met too little of what is selected.
        (slots.len() >= k || cut_short).then_some(slots)
    });
    let Some(walked) = walked.flatten() else {
        return Ok(None);
    };
    let mut hits = rerank(space, nearest.vector, k, walked)?;
    hits.retain(|hit| hit.score >= nearest.least_score);
    Ok(Some(hits))
}

fn is_worth_walking(slots: u32, selected: u64) -> bool {
    selected > SCAN_ROWS.max(u64::from(slots) / SCAN_PART)
        // Where most rows are selected a walk meets them at once, however few there are.
        || selected >= u64::from(slots) - u64::from(slots) / 4
}

/// How many nodes a walk has to keep; `None` if a scan is better.
fn ef_for(effort: Effort, calibration: &Calibration, k: usize, slots: u32) -> Option<usize> {
    let Effort::Recall(target) = effort else {
        return None;
    };
    let ef = calibration.ef(k, target)?;
    // A walk that keeps a good part of the segment costs more than reading it in order.
    (8 * ef as u64 <= u64::from(slots)).then_some(ef)
}

/// A walk that scores a good part of what a scan would is not worth going on with.
fn most_scored(slots: u32, selected: u64) -> u64 {
    if selected == u64::from(slots) {
        u64::MAX
    } else {
        selected / 4
    }
}

/// The selected slots, at nodes met or their twins, among which the best `k` are: the first `k`, and those behind them
/// whose keys do not tell them apart from the k-th.
pub(super) fn candidates(
    graph: &Graph<'_>,
    selection: Selection<'_>,
    code: &QueryCode,
    met: &[Met],
    k: usize,
) -> Vec<u32> {
    let mut slots = Vec::with_capacity(2 * k);
    let mut least = i32::MIN;
    for met in met {
        if met.key < least {
            break;
        }
        if graph.has_twins() {
            let node_and_twins = std::iter::once(met.slot).chain(graph.twins(met.slot));
            slots.extend(node_and_twins.filter(|&slot| selection.contains(slot)));
        } else {
            slots.push(met.slot);
        }
        if slots.len() >= k && least == i32::MIN {
            least = met.key.saturating_sub(code.doubt());
        }
    }
    slots
}
