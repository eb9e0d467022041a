//! The scan: every selected row is looked at, and the answer is exactly that of scoring all of them in f32, or nearly so where
//! that is all that is asked for.
//!
//! The codes' keys rule out most rows. The best few by key are scored in f32; the k-th of these scores bounds the answer
//! from below, as does the least score that is wanted; a row whose code proves it to be worse (`quantise.rs` has the
//! bound) is never read in f32.
//!
//! Among many rows, thousands are not proved to be worse where the nearest ones are far away and so about as far as all
//! others. Where only a part of the exact answer is asked for, only those are read whose keys do not tell them apart from the
//! k-th best key; and where there are int4 codes, half as many bytes, these go first, and int8 codes look at what is left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::quantise::QueryCode;
use super::rerank::{best_first, candidates_for, rerank};
use super::vectors::{Keys, Space};
use super::{Effort, Nearest, RowHit};
use crate::error::Result;

/// From so many rows on, and where no more than this part of the exact answer is asked for, a key that tells a row apart from
/// the k-th best is believed: of 1,000 such keys about one is wrong.
const MANY_ROWS: usize = 16_384;
const BY_KEYS: f32 = 0.99;
/// So many rows are a millisecond's work, and shared out among threads.
const SHARED_ROWS: usize = 1 << 16;
/// So many rows are looked at together by [`within`].
const ROWS_AT_ONCE: usize = 4_096;
/// While the codes of so many rows are compared, those of as many more come from memory.
const COMING: usize = 32;

/// Codes, and the query to compare them with.
pub(super) type Coded<'a> = (Keys<'a>, QueryCode);

/// May a scan of so many rows believe keys?
pub(super) fn believes_keys(effort: Effort, rows: usize) -> bool {
    rows >= MANY_ROWS && matches!(effort, Effort::Recall(part) if part <= BY_KEYS)
}

/// The best `k` rows of `slots`, best first. Fewer only if `slots` are fewer, or no more reach the least score. `coarse`
/// goes first where keys are believed.
pub(super) fn scan(
    space: Space<'_>,
    fine: &Coded<'_>,
    coarse: Option<&Coded<'_>>,
    nearest: &Nearest<'_>,
    slots: Vec<u32>,
) -> Result<Vec<RowHit>> {
    let query = nearest.vector;
    let k = nearest.k.min(slots.len());
    if k == 0 {
        return Ok(Vec::new());
    }
    let possible = if believes_keys(nearest.effort, slots.len()) {
        let codes = coarse.into_iter().chain([fine]);
        codes.fold(slots, |slots, coded| {
            not_told_apart(coded, nearest, k, &slots)
        })
    } else {
        not_proved_worse(space, fine, nearest, k, &slots)?
    };
    let mut hits = rerank(space, query, k, possible)?;
    hits.retain(|hit| hit.score >= nearest.least_score);
    Ok(hits)
}

/// Those of `slots` whose keys do not tell them apart from the k-th best.
fn not_told_apart(
    (keys, code): &Coded<'_>,
    nearest: &Nearest<'_>,
    k: usize,
    slots: &[u32],
) -> Vec<u32> {
    let found = keys_of(*keys, code, slots);
    let wanted = code.least_key(nearest.least_score);
    let best = best_keys(&found, k, wanted);
    let keys = best.iter().map(|&at| found[at as usize]);
    let least = match keys.min() {
        Some(worst) if best.len() == k => wanted.max(worst.saturating_sub(code.doubt())),
        _ => wanted,
    };
    reaching(least, slots, &found).collect()
}

/// Those of `slots` whose codes do not prove them to be worse than the best `k`.
fn not_proved_worse(
    space: Space<'_>,
    (keys, code): &Coded<'_>,
    nearest: &Nearest<'_>,
    k: usize,
    slots: &[u32],
) -> Result<Vec<u32>> {
    let found = keys_of(*keys, code, slots);
    let wanted = code.least_key(nearest.least_score);
    let best = best_keys(&found, candidates_for(k).min(slots.len()), wanted);
    let best = best.iter().map(|&at| slots[at as usize]);
    let first = rerank(space, nearest.vector, k, best)?;
    let least = match first.last() {
        Some(worst) if first.len() == k => wanted.max(code.least_key(worst.score)),
        _ => wanted,
    };
    Ok(reaching(least, slots, &found).collect())
}

fn reaching<'a>(least: i32, slots: &'a [u32], keys: &'a [i32]) -> impl Iterator<Item = u32> + 'a {
    let reaching = slots
        .iter()
        .zip(keys)
        .filter(move |&(_, &key)| key >= least);
    reaching.map(|(&slot, _)| slot)
}

/// All rows of `slots` whose score reaches `least_score`, best first.
pub(super) fn within(
    space: Space<'_>,
    (keys, code): &Coded<'_>,
    query: &[f32],
    least_score: f32,
    slots: &[u32],
) -> Result<Vec<RowHit>> {
    let least = code.least_key(least_score);
    let (mut hits, mut found) = (Vec::new(), Vec::with_capacity(ROWS_AT_ONCE));
    for slots in slots.chunks(ROWS_AT_ONCE) {
        found.clear();
        keys.of(code, slots, &mut found);
        for slot in reaching(least, slots, &found) {
            let hit = space.hit(query, slot)?;
            if hit.score >= least_score {
                hits.push(hit);
            }
        }
    }
    hits.sort_unstable_by(best_first);
    Ok(hits)
}

/// The key of each slot; by several threads where they are many.
fn keys_of(keys: Keys<'_>, code: &QueryCode, slots: &[u32]) -> Vec<i32> {
    let of = |slots: &[u32]| {
        let mut found = Vec::with_capacity(slots.len());
        let mut coming = slots.chunks(COMING).skip(1);
        for now in slots.chunks(COMING) {
            for &slot in coming.next().unwrap_or_default() {
                keys.prefetch(slot);
            }
            keys.of(code, now, &mut found);
        }
        found
    };
    if slots.len() < SHARED_ROWS {
        return of(slots);
    }
    let parts: Vec<Vec<i32>> = slots.par_chunks(SHARED_ROWS / 4).map(of).collect();
    parts.concat()
}

/// Positions of the `count` highest keys that are not below `least`.
fn best_keys(keys: &[i32], count: usize, least: i32) -> Vec<u32> {
    let mut heap: BinaryHeap<Reverse<(i32, u32)>> = BinaryHeap::with_capacity(count + 1);
    for (&key, at) in keys.iter().zip(0u32..) {
        if key < least {
            continue;
        }
        if heap.len() < count {
            heap.push(Reverse((key, at)));
        } else if let Some(mut worst) = heap.peek_mut()
            && key > worst.0.0
        {
            *worst = Reverse((key, at));
        }
    }
    heap.into_iter().map(|Reverse((_, at))| at).collect()
}
