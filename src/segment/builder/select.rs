//! Which of the near nodes become neighbours: HNSW's algorithm 4 with the slack of Vamana (Jayaram Subramanya et al.,
//! DiskANN, 2019, algorithm 2).

use super::distance::{Distances, Near};

/// Keeps at most `most` of `candidates`, which stand nearest first and all differ.
///
/// A candidate is passed over where a kept one is nearer to it, `slack` times over in squared distance, than the node
/// itself: a walk reaches it through that one.
pub(super) fn select(
    distances: &Distances<'_>,
    candidates: &[Near],
    most: usize,
    slack: f32,
    kept: &mut Vec<u32>,
) {
    kept.clear();
    for candidate in candidates {
        if kept.len() == most {
            break;
        }
        let own = candidate.distance() as f32;
        let nearer =
            |&other: &u32| slack * (distances.between(candidate.row(), other) as f32) < own;
        if !kept.iter().any(nearer) {
            kept.push(candidate.row());
        }
    }
}
