//! Every row is found by its own vector: tried when the graph is built, and made so where it is not.
//!
//! Nothing in HNSW promises that a walk with a row's vector ends at the row, though it nearly always does. A node that is
//! missed gets a link from a node that its walk met; where these have no room, or it is missed all the same, it becomes an
//! *orphan*: walks start there, too.

use rayon::prelude::*;

use super::calibration::{LEAST_EF, Sample};
use super::graph::Frozen;
use super::slots::Selection;
use super::walk::Walk;
use crate::error::{Error, Result};

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
    let missed = missed(&sample.over(graph.as_graph()), &nodes, &vector)?;
    let mut linked = Vec::new();
    for Missed { node, met } in missed {
        if graph.link_from_one_of(&met, node) {
            linked.push(node);
        } else {
            graph.orphans.push(node);
        }
    }
    let again = self::missed(&sample.over(graph.as_graph()), &linked, &vector)?;
    graph.orphans.extend(again.iter().map(|missed| missed.node));
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
            ef: LEAST_EF,
            without: &[],
            least_key: i32::MIN,
            most_scored: u64::MAX,
        };
        let missed = walk.run(Selection::ALL, |met, _| {
            let full = met.len() == LEAST_EF;
            let worst = met.last().filter(|_| full).map_or(i32::MIN, |met| met.key);
            let is_missed = own[0] > worst && met.iter().all(|met| met.slot != node);
            is_missed.then(|| met.iter().map(|met| met.slot).collect())
        });
        let missed: Option<Vec<u32>> = missed.flatten();
        Ok(missed.map(|met| Missed { node, met }))
    };
    let walks = nodes.par_iter().map(walk);
    walks.filter_map(Result::transpose).collect()
}
