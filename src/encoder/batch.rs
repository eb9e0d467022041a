//! Token lists → batches of similar length.

use std::collections::HashMap;
use std::ops::Range;

use super::head::Head;

/// The tokens of a window, and how many stand before its text: special ones and the prompt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row<'a> {
    pub tokens: &'a [u32],
    pub prompt: usize,
}

/// Which rows run together.
pub(super) struct Plan<'a> {
    /// Distinct rows, longest first.
    pub rows: Vec<Row<'a>>,
    /// For each input, its row.
    pub row_of: Vec<usize>,
    /// Ranges of `rows`, together all of them.
    pub batches: Vec<Range<usize>>,
}

impl<'a> Plan<'a> {
    /// Makes equal inputs one row and puts rows of similar length into one batch, of at most `max_rows` rows and `budget`
    /// tokens, padding included (one longer row may exceed it).
    pub fn new(inputs: impl Iterator<Item = Row<'a>>, budget: usize, max_rows: usize) -> Self {
        let mut known: HashMap<Row<'_>, usize> = HashMap::new();
        let mut rows: Vec<Row<'_>> = Vec::new();
        let mut row_of: Vec<usize> = inputs
            .map(|input| {
                *known.entry(input).or_insert_with(|| {
                    rows.push(input);
                    rows.len() - 1
                })
            })
            .collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.sort_by_key(|&row| std::cmp::Reverse(rows[row].tokens.len()));
        let mut place = vec![0; rows.len()];
        for (at, &row) in order.iter().enumerate() {
            place[row] = at;
        }
        for row in &mut row_of {
            *row = place[*row];
        }
        let rows: Vec<Row<'_>> = order.into_iter().map(|row| rows[row]).collect();
        let batches = split(&rows, budget, max_rows);
        Self {
            rows,
            row_of,
            batches,
        }
    }
}

fn split(rows: &[Row<'_>], budget: usize, max_rows: usize) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    while start < rows.len() {
        // The first row is the longest, so it gives the batch's width.
        let count = (budget / rows[start].tokens.len().max(1)).clamp(1, max_rows.max(1));
        let end = (start + count).min(rows.len());
        batches.push(start..end);
        start = end;
    }
    batches
}

/// A batch as the graph takes it; all of shape `[rows, width]`.
pub(super) struct Padded {
    /// Padding is id 0, which the mask hides.
    pub ids: Vec<i64>,
    /// 1 for a token, 0 for padding.
    pub mask: Vec<f32>,
    /// How much of each token's vector is in its text's; nothing of padding's.
    pub pooling: Vec<f32>,
    pub rows: usize,
    pub width: usize,
}

impl Padded {
    pub fn new(rows: &[Row<'_>], head: &Head) -> Self {
        let width = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0);
        let mut ids = vec![0; rows.len() * width];
        let mut mask = vec![0.0; rows.len() * width];
        let mut pooling = vec![0.0; rows.len() * width];
        for (at, row) in rows.iter().enumerate() {
            let start = at * width;
            for (slot, &id) in ids[start..].iter_mut().zip(row.tokens) {
                *slot = i64::from(id);
            }
            let end = start + row.tokens.len();
            mask[start..end].fill(1.0);
            head.token_weights(row.prompt, &mut pooling[start..end]);
        }
        Self {
            ids,
            mask,
            pooling,
            rows: rows.len(),
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::{Vector, deal};
    use proptest::prelude::*;

    fn row(tokens: &[u32]) -> Row<'_> {
        Row { tokens, prompt: 0 }
    }

    #[test]
    fn padding_is_masked() {
        let batch = Padded::new(&[row(&[5, 6, 7, 9]), row(&[8, 8])], &Head::mean(1));
        assert_eq!((batch.rows, batch.width), (2, 4));
        assert_eq!(batch.ids, [5, 6, 7, 9, 8, 8, 0, 0]);
        assert_eq!(batch.mask, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(batch.pooling, [0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn every_input_finds_its_own_tokens_and_batches_keep_the_budget(
            lists in prop::collection::vec(prop::collection::vec(0_u32..3, 1..40), 0..60),
            budget in 1_usize..200,
            max_rows in 1_usize..20,
        ) {
            let plan = Plan::new(lists.iter().map(|list| row(list)), budget, max_rows);
            prop_assert_eq!(plan.row_of.len(), lists.len());
            for (list, &row) in lists.iter().zip(&plan.row_of) {
                prop_assert_eq!(list.as_slice(), plan.rows[row].tokens);
            }
            let distinct: std::collections::HashSet<_> = lists.iter().collect();
            prop_assert_eq!(plan.rows.len(), distinct.len());
            let mut next = 0;
            for batch in &plan.batches {
                prop_assert_eq!(batch.start, next);
                next = batch.end;
                let width = plan.rows[batch.start].tokens.len();
                prop_assert!(plan.rows[batch.clone()].iter().all(|row| row.tokens.len() <= width));
                prop_assert!(batch.len() <= max_rows);
                prop_assert!(batch.len() == 1 || batch.len() * width <= budget);
            }
            prop_assert_eq!(next, plan.rows.len());
            let vector = |row: usize| Vector::new(vec![row as f32]).expect("finite");
            let dealt = deal((0..plan.rows.len()).map(vector).collect(), &plan.row_of);
            for (vector, &row) in dealt.iter().zip(&plan.row_of) {
                prop_assert_eq!(vector.as_slice(), [row as f32]);
            }
        }
    }
}
