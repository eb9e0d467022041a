//! The scan: every selected row is looked at, and the answer is exactly that of scoring all of them in f32.
//!
//! The codes' products rule out most rows. The best few by code are scored in f32; the k-th of these scores bounds the
//! answer from below; a row whose code proves it to be worse (`quantise.rs` has the bound) is never read in f32.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::RowHit;
use super::quantise::QueryCode;
use super::rerank::{candidates_for, rerank};
use super::vectors::Space;
use crate::error::Result;

/// The best `k` of `rows`, best first.
pub(super) fn scan(
    space: Space<'_>,
    query: &[f32],
    code: &QueryCode,
    k: usize,
    rows: &[u32],
) -> Result<Vec<RowHit>> {
    let k = k.min(rows.len());
    if k == 0 {
        return Ok(Vec::new());
    }
    let mut products = Vec::with_capacity(rows.len());
    space
        .codes
        .products(space.kernel, code, rows, &mut products);
    let best = best_products(&products, candidates_for(k).min(rows.len()));
    let first = rerank(space, query, k, best.iter().map(|&at| rows[at as usize]))?;
    // Fewer than k only if k is 0: `best` holds at least k rows.
    let least = first
        .last()
        .map_or(i32::MIN, |worst| code.least_product(worst.score));
    let possible = rows
        .iter()
        .zip(&products)
        .filter(|&(_, &product)| product >= least)
        .map(|(&row, _)| row);
    rerank(space, query, k, possible)
}

/// Positions of the `count` highest products.
fn best_products(products: &[i32], count: usize) -> Vec<u32> {
    let mut heap: BinaryHeap<Reverse<(i32, u32)>> = BinaryHeap::with_capacity(count + 1);
    for (&product, at) in products.iter().zip(0u32..) {
        if heap.len() < count {
            heap.push(Reverse((product, at)));
        } else if let Some(mut least) = heap.peek_mut()
            && product > least.0.0
        {
            *least = Reverse((product, at));
        }
    }
    heap.into_iter().map(|Reverse((_, at))| at).collect()
}
