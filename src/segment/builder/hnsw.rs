//! The builder of the `hnsw_rs` crate, kept to measure ours against. The one file that names the crate.
//!
//! Only its construction is used (Malkov & Yashunin, arXiv:1603.09320); our own files store, repair and search the graph.

use std::cmp::Reverse;

use hnsw_rs::prelude::{Distance, Hnsw};

use super::distance::Distances;
use super::{GraphBuilder, MAX_SEEDS, NONE, RawGraph, Task, WIDTH, shuffled};

/// Connections of a node above the base layer; the base layer has twice as many.
const M: usize = WIDTH / 2;
const EF_CONSTRUCTION: usize = 200;
const LAYERS: usize = 16;
/// Rows inserted between two questions whether to stop.
const ROWS_AT_ONCE: usize = 64;

/// Builds with `hnsw_rs` on all threads of the current rayon pool. Which links come out depends on their timing.
pub(in crate::segment) struct HnswRs;

impl GraphBuilder for HnswRs {
    fn build(&self, task: &Task<'_>) -> Option<RawGraph> {
        let order = shuffled(task.nodes, task.seed);
        let mut neighbours = vec![NONE; task.codes.rows() as usize * WIDTH];
        let Some((first, rest)) = order.split_first() else {
            return Some(RawGraph {
                neighbours,
                seeds: Vec::new(),
            });
        };
        let distances = ByRow(Distances::new(task.codes, task.metric));
        let hnsw: Hnsw<'_, u32, ByRow<'_>> =
            Hnsw::new(M, task.nodes.len(), LAYERS, EF_CONSTRUCTION, distances);
        // Alone, so that every other point finds an entry.
        hnsw.insert_slice((std::slice::from_ref(first), *first as usize));
        for rows in rest.chunks(ROWS_AT_ONCE) {
            if (task.stop)() {
                return None;
            }
            let rows: Vec<(&[u32], usize)> = rows
                .iter()
                .map(|row| (std::slice::from_ref(row), *row as usize))
                .collect();
            hnsw.parallel_insert_slice(&rows);
        }
        let mut tops = Vec::with_capacity(order.len());
        for point in hnsw.get_point_indexation() {
            let row = point.get_origin_id();
            tops.push((Reverse(point.get_point_id().0), row as u32));
            // It keeps links above a point's own level too; only the base layer is read here.
            let base = point.get_neighborhood_id().into_iter().next();
            let list = &mut neighbours[row * WIDTH..][..WIDTH];
            list.iter_mut()
                .zip(base.unwrap_or_default())
                .for_each(|(slot, neighbour)| *slot = neighbour.d_id as u32);
        }
        tops.sort_unstable();
        let seeds = tops
            .into_iter()
            .take(MAX_SEEDS)
            .map(|(_, row)| row)
            .collect();
        Some(RawGraph { neighbours, seeds })
    }
}

struct ByRow<'a>(Distances<'a>);

impl Distance<u32> for ByRow<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        self.0.between(a[0], b[0]) as f32
    }
}
