//! Every row is found by its own vector: tried when the graph is built, and made so where it is not.
//!
//! Nothing in HNSW promises that a walk with a row's vector ends at the row, though it nearly always does. A node that is
//! missed gets a link from a node that its walk met; where that cannot be done, or it is missed all the same, it becomes an
//! *orphan*: walks start there, too.

use std::collections::HashSet;

use rayon::prelude::*;

use super::calibration::LEAST_EF;
use super::graph::Frozen;
use super::questions::Sample;
use super::walk::{Walk, Width};
use crate::error::{Error, Result};

/// All nodes are asked for so often at most, as a new link may lead astray the walk to another: of a million rows that are
/// mixtures of near pairs 16,000 are missed at first, then 5,600, 890 and 86; of 100,000 passages 160 and none. It is worth
/// it, since each orphan costs every walk a distance: with 1,900 of them a walk took twice as long as with none.
const PASSES: usize = 4;
/// Those linked are asked for again so often at most.
const ROUNDS: usize = 4;

/// A node, and what the walk with its vector met instead, the nearest first.
struct Missed {
    node: u32,
    met: Vec<u32>,
}

/// Makes every node of the graph findable. The sample's own graph does not count; `vector` gives a row.
///
/// # Errors
/// [`Error::Cancelled`] if it was stopped; and what `vector` says.
pub(super) fn make_findable<'v>(
    graph: &mut Frozen,
    sample: &Sample<'_>,
    vector: impl Fn(u32) -> Result<&'v [f32]> + Sync,
) -> Result<()> {
    let nodes: Vec<u32> = {
        let graph = graph.as_graph();
        let rows = sample.keys.codes.rows();
        let is_node = |&row: &u32| !graph.neighbours(row).is_empty();
        (0..rows).filter(is_node).collect()
    };
    let mut kept = HashSet::new();
    for pass in 1..=PASSES {
        let mut asked = nodes.clone();
        for round in 0..=ROUNDS {
            let missed = missed(&sample.over(graph.as_graph()), &asked, &vector)?;
            if missed.is_empty() && round == 0 {
                graph.orphans.sort_unstable();
                return Ok(());
            }
            asked.clear();
            for Missed { node, met } in missed {
                if pass < PASSES && graph.link(&met, node, &mut kept) {
                    asked.push(node);
                } else {
                    graph.orphans.push(node);
                }
            }
            if asked.is_empty() {
                break;
            }
        }
    }
    graph.orphans.sort_unstable();
    Ok(())
}

/// Those of `nodes` that the least walk with their own vector misses, though they are nearer than some that it met.
fn missed<'v>(
    sample: &Sample<'_>,
    nodes: &[u32],
    vector: &(impl Fn(u32) -> Result<&'v [f32]> + Sync),
) -> Result<Vec<Missed>> {
    let walk = |&node: &u32| {
        if (sample.stop)() {
            return Err(Error::Cancelled);
        }
        let code = sample.quantiser.query(vector(node)?, sample.metric);
        let mut own = Vec::with_capacity(1);
        sample.keys.of(&code, &[node], &mut own);
        let walk = Walk {
            keys: sample.keys,
            graph: sample.graph,
            code: &code,
            width: Width::fixed(LEAST_EF),
            without: &[],
            least_key: i32::MIN,
        };
        let missed = walk.run(|met, _| {
            let full = met.len() == LEAST_EF;
            let worst = met.last().filter(|_| full).map_or(i32::MIN, |met| met.key);
            let is_missed = own[0] > worst && met.iter().all(|met| met.slot != node);
            is_missed.then(|| met.iter().map(|met| met.slot).collect())
        });
        Ok(missed.map(|met| Missed { node, met }))
    };
    let walks = nodes.par_iter().map(walk);
    walks.filter_map(Result::transpose).collect()
}
