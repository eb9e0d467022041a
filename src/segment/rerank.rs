//! Rows → their exact scores, best first.

use std::cmp::Ordering;

use super::RowHit;
use super::vectors::Space;
use crate::error::Result;

/// Rows ahead of the one being scored that are asked for from memory.
const AHEAD: usize = 2;

/// How many rows, best by code, are scored in f32 so that the best `k` are among them.
pub(super) fn candidates_for(k: usize) -> usize {
    k.saturating_mul(2).max(k.saturating_add(16))
}

/// Scores the rows of `slots` in f32 and returns the best `k`, best first, ties by row.
pub(super) fn rerank(
    space: Space<'_>,
    query: &[f32],
    k: usize,
    slots: impl IntoIterator<Item = u32>,
) -> Result<Vec<RowHit>> {
    let slots: Vec<u32> = slots.into_iter().collect();
    let mut hits = Vec::with_capacity(slots.len());
    for &slot in slots.iter().take(AHEAD) {
        space.prefetch(slot);
    }
    for (nth, &slot) in slots.iter().enumerate() {
        if let Some(&coming) = slots.get(nth + AHEAD) {
            space.prefetch(coming);
        }
        hits.push(space.hit(query, slot)?);
    }
    if hits.len() > k && k > 0 {
        hits.select_nth_unstable_by(k - 1, best_first);
    }
    hits.truncate(k);
    hits.sort_unstable_by(best_first);
    Ok(hits)
}

/// Best first; ties by row.
pub(super) fn best_first(a: &RowHit, b: &RowHit) -> Ordering {
    // `total_cmp`: a file may hold NaN that was there when its checksum was made.
    b.score.total_cmp(&a.score).then(a.row.cmp(&b.row))
}
