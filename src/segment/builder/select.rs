//! Which of the near nodes become neighbours: HNSW's algorithm 4 with the slack of Vamana (Jayaram Subramanya et al.,
//! DiskANN, 2019, algorithm 2).

use super::distance::{Distances, Near};

/// Keeps at most `most` of `candidates`, which stand nearest first and all differ.
///
/// A candidate is kept unless some kept one is nearer to it, by the factor `slack` of squared distances, than the node
/// itself: a walk would reach it through that one. If `fill`, room left is then given to the nearest that were passed over.
pub(super) fn select(
    distances: &Distances<'_>,
    candidates: &[Near],
    most: usize,
    slack: f32,
    fill: bool,
    kept: &mut Vec<u32>,
) {
    kept.clear();
    for candidate in candidates {
        if kept.len() == most {
            break;
        }
        let own = candidate.distance() as f32;
        let covered = kept
            .iter()
            .any(|&other| slack * (distances.between(candidate.row(), other) as f32) < own);
        if !covered {
            kept.push(candidate.row());
        }
    }
    if fill {
        let chosen = kept.len();
        for candidate in candidates {
            if kept.len() == most {
                break;
            }
            if !kept[..chosen].contains(&candidate.row()) {
                kept.push(candidate.row());
            }
        }
    }
}
