//! A query and a selection → the best rows: by a walk over the graph where that is faster, by the scan otherwise.

use super::calibration::Calibration;
use super::flat::{self, scan};
use super::graph::Graph;
use super::quantise::QueryCode;
use super::rerank::rerank;
use super::slots::Selection;
use super::vectors::Space;
use super::walk::{Met, Walk};
use super::{Effort, Nearest, RowHit};
use crate::error::Result;

/// A selection of at most so many rows is scanned: a walk through so few finds too little, and a scan of them is quick.
const SCAN_ROWS: u64 = 5_000;
/// So is one of at most this part of the segment.
const SCAN_PART: u64 = 33;

/// The best selected rows. Fewer than `k` only if fewer are selected and reach the least score.
pub(super) fn search(
    space: Space<'_>,
    graph: Option<(Graph<'_>, &Calibration)>,
    nearest: &Nearest<'_>,
    code: &QueryCode,
    selection: Selection<'_>,
) -> Result<Vec<RowHit>> {
    let slots = space.keys.codes.rows();
    let selected = selection.count(slots);
    let k = nearest.k.min(selected as usize);
    if k == 0 {
        return Ok(Vec::new());
    }
    let walked = match graph {
        Some((graph, calibration)) if is_worth_walking(slots, selected) => {
            let ef = ef_for(nearest.effort, calibration, k, slots);
            ef.map(|ef| Walk {
                keys: space.keys,
                graph,
                code,
                ef,
                without: &[],
                least_key: code.least_key(nearest.least_score),
                most_scored: most_scored(slots, selected),
            })
            .and_then(|walk| {
                walk.run(selection, |met, cut_short| {
                    let slots = candidates(&graph, selection, code, met, k);
                    // Too few, and more could have come: the walk met too little of what is selected.
                    (slots.len() >= k || cut_short).then_some(slots)
                })
            })
            .flatten()
        }
        _ => None,
    };
    let Some(walked) = walked else {
        return scan(space, nearest, code, &selection.slots(slots));
    };
    let mut hits = rerank(space, nearest.vector, k, walked)?;
    hits.retain(|hit| hit.score >= nearest.least_score);
    Ok(hits)
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

/// All selected rows whose score reaches `least_score`, best first: exact.
pub(super) fn within(
    space: Space<'_>,
    query: &[f32],
    code: &QueryCode,
    least_score: f32,
    selection: Selection<'_>,
) -> Result<Vec<RowHit>> {
    let slots = selection.slots(space.keys.codes.rows());
    flat::within(space, query, code, least_score, &slots)
}
