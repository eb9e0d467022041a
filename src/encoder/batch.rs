//! Token lists → batches of similar length.

use std::collections::HashMap;
use std::ops::Range;

/// Which rows run together.
pub(super) struct Plan<'a> {
    /// Distinct token lists, longest first.
    pub rows: Vec<&'a [u32]>,
    /// For each input, its row.
    pub row_of: Vec<usize>,
    /// Ranges of `rows`, together all of them.
    pub batches: Vec<Range<usize>>,
}

impl<'a> Plan<'a> {
    /// Puts equal lists into one row and rows of similar length into one batch, of at most `max_rows` rows and `budget`
    /// tokens, padding included (one longer row may exceed it).
    pub fn new(inputs: impl Iterator<Item = &'a [u32]>, budget: usize, max_rows: usize) -> Self {
        let mut known: HashMap<&[u32], usize> = HashMap::new();
        let mut rows: Vec<&[u32]> = Vec::new();
        let mut row_of: Vec<usize> = inputs
            .map(|tokens| {
                *known.entry(tokens).or_insert_with(|| {
                    rows.push(tokens);
                    rows.len() - 1
                })
            })
            .collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(rows[row].len()));
        let mut place = vec![0; rows.len()];
        for (at, &row) in order.iter().enumerate() {
            place[row] = at;
        }
        for row in &mut row_of {
            *row = place[*row];
        }
        let rows: Vec<&[u32]> = order.into_iter().map(|row| rows[row]).collect();
        let batches = split(&rows, budget, max_rows);
        Self {
            rows,
            row_of,
            batches,
        }
    }
}

fn split(rows: &[&[u32]], budget: usize, max_rows: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        // The first row is the longest, so it gives the batch's width.
        let count = (budget / rows[start].len().max(1)).clamp(1, max_rows.max(1));
        let end = (start + count).min(rows.len());
        batches.push(start..end);
        start = end;
    }
    batches
}

/// A batch as the graph takes it.
pub(super) struct Padded {
    /// `[rows, width]`; padding is id 0, which the mask hides.
    pub ids: Vec<i64>,
    /// `[rows, width]`: 1 for a token, 0 for padding.
    pub mask: Vec<f32>,
    pub rows: usize,
    pub width: usize,
}

impl Padded {
    pub fn new(rows: &[&[u32]]) -> Self {
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let mut ids = vec![0; rows.len() * width];
        let mut mask = vec![0.0; rows.len() * width];
        for (at, row) in rows.iter().enumerate() {
            let start = at * width;
            for (slot, &id) in ids[start..].iter_mut().zip(*row) {
                *slot = i64::from(id);
            }
            mask[start..start + row.len()].fill(1.0);
        }
        Self {
            ids,
            mask,
            rows: rows.len(),
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn padding_is_masked() {
        let batch = Padded::new(&[&[5, 6, 7], &[8]]);
        assert_eq!((batch.rows, batch.width), (2, 3));
        assert_eq!(batch.ids, [5, 6, 7, 8, 0, 0]);
        assert_eq!(batch.mask, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn every_input_finds_its_own_tokens_and_batches_keep_the_budget(
            lists in prop::collection::vec(prop::collection::vec(0_u32..3, 1..40), 0..60),
            budget in 1_usize..200,
            max_rows in 1_usize..20,
        ) {
            let plan = Plan::new(lists.iter().map(Vec::as_slice), budget, max_rows);
            prop_assert_eq!(plan.row_of.len(), lists.len());
            for (list, &row) in lists.iter().zip(&plan.row_of) {
                prop_assert_eq!(list.as_slice(), plan.rows[row]);
            }
            let distinct: std::collections::HashSet<_> = lists.iter().collect();
            prop_assert_eq!(plan.rows.len(), distinct.len());
            let mut next = 0;
            for batch in &plan.batches {
                prop_assert_eq!(batch.start, next);
                next = batch.end;
                let width = plan.rows[batch.start].len();
                prop_assert!(plan.rows[batch.clone()].iter().all(|row| row.len() <= width));
                prop_assert!(batch.len() <= max_rows);
                prop_assert!(batch.len() == 1 || batch.len() * width <= budget);
            }
            prop_assert_eq!(next, plan.rows.len());
        }
    }
}
