//! Which of the near nodes become neighbours: HNSW's algorithm 4 with the slack of Vamana (Jayaram Subramanya et al.,
//! DiskANN, 2019, algorithm 2).

use super::distance::{Distances, Near};

/// How much nearer a kept neighbour must be to a candidate than the node is, in squared distance, to stand for it.
const SLACK: f32 = 1.1;

/// Keeps at most `most` of `candidates`, which stand nearest first and all differ.
///
/// A candidate is passed over where a kept one is nearer to it than the node itself, [`SLACK`] times over: a walk reaches
/// it through that one.
pub(super) fn select(
    distances: &Distances<'_>,
    candidates: &[Near],
    most: usize,
    kept: &mut Vec<u32>,
) {
    kept.clear();
    for candidate in candidates {
        if kept.len() == most {
            break;
        }
        let own = candidate.distance() as f32;
        let nearer =
            |&other: &u32| SLACK * (distances.between(candidate.row(), other) as f32) < own;
        if !kept.iter().any(nearer) {
            kept.push(candidate.row());
        }
    }
}
