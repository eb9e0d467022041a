//! How wrong a batch is, and in which direction that falls.

/// Similarities are cosines times this before the softmax, as sentence-transformers trains (temperature 0.05).
const SCALE: f32 = 20.0;

/// A batch's vectors, `[rows, dimension]`, of any length.
pub(super) struct Batch<'a> {
    pub queries: &'a [f32],
    pub passages: &'a [f32],
    pub dimension: usize,
    /// For each query, passages and how much each is wanted; a row sums to 1.
    pub wanted: &'a [Vec<(usize, f32)>],
    /// For each query, passages that are no negatives either: other answers of it.
    pub left_out: &'a [Vec<usize>],
}

/// A loss with its gradients, of the shapes of the batch's.
pub(super) struct Loss {
    pub mean: f32,
    pub queries: Vec<f32>,
    pub passages: Vec<f32>,
}

/// The mean cross-entropy of what each query finds among the batch's passages, by cosine (InfoNCE, van den Oord et al. 2018,
/// arXiv:1807.03748), over the first `dimensions` components each, summed (Matryoshka, arXiv:2205.13147).
pub(super) fn contrastive(batch: &Batch<'_>, dimensions: &[usize]) -> Loss {
    let mut whole = Loss {
        mean: 0.0,
        queries: vec![0.0; batch.queries.len()],
        passages: vec![0.0; batch.passages.len()],
    };
    let share = 1.0 / dimensions.len().max(1) as f32;
    for &kept in dimensions {
        add(batch, kept.min(batch.dimension), share, &mut whole);
    }
    whole
}

fn add(batch: &Batch<'_>, kept: usize, share: f32, whole: &mut Loss) {
    let width = batch.dimension;
    let (queries, query_lengths) = unit(batch.queries, width, kept);
    let (passages, passage_lengths) = unit(batch.passages, width, kept);
    let count = queries.len() / kept.max(1);
    let mut of_queries = vec![0.0; queries.len()];
    let mut of_passages = vec![0.0; passages.len()];
    let mut sum = 0.0_f64;
    for (at, query) in queries.chunks_exact(kept).enumerate() {
        let mut scores: Vec<f32> = passages
            .chunks_exact(kept)
            .map(|passage| SCALE * dot(query, passage))
            .collect();
        for &passage in &batch.left_out[at] {
            scores[passage] = f32::NEG_INFINITY;
        }
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = scores.iter().map(|score| (score - highest).exp()).sum();
        // The gradient of a score: its probability less how much it is wanted.
        let mut slopes: Vec<f32> = scores
            .iter()
            .map(|score| (score - highest).exp() / total)
            .collect();
        for &(passage, wanted) in &batch.wanted[at] {
            sum += f64::from(wanted * (highest + total.ln() - scores[passage]));
            slopes[passage] -= wanted;
        }
        let factor = SCALE * share / count as f32;
        for (passage, slope) in slopes
            .iter()
            .enumerate()
            .filter(|(_, slope)| **slope != 0.0)
        {
            let slope = factor * slope;
            let (from, to) = (passage * kept, at * kept);
            for i in 0..kept {
                of_queries[to + i] += slope * passages[from + i];
                of_passages[from + i] += slope * query[i];
            }
        }
    }
    whole.mean += share * (sum / count.max(1) as f64) as f32;
    through_unit(
        &queries,
        &query_lengths,
        &of_queries,
        kept,
        width,
        &mut whole.queries,
    );
    through_unit(
        &passages,
        &passage_lengths,
        &of_passages,
        kept,
        width,
        &mut whole.passages,
    );
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The first components of each row at length 1, and the lengths that they had.
fn unit(rows: &[f32], width: usize, kept: usize) -> (Vec<f32>, Vec<f32>) {
    let mut units = Vec::with_capacity(rows.len() / width.max(1) * kept);
    let mut lengths = Vec::new();
    for row in rows.chunks_exact(width) {
        let length = dot(&row[..kept], &row[..kept]).sqrt().max(1e-12);
        units.extend(row[..kept].iter().map(|x| x / length));
        lengths.push(length);
    }
    (units, lengths)
}

/// Adds the gradient of rows from that of the same rows at length 1: what lies along the row changes nothing.
fn through_unit(
    units: &[f32],
    lengths: &[f32],
    gradient: &[f32],
    kept: usize,
    width: usize,
    sums: &mut [f32],
) {
    for (at, length) in lengths.iter().enumerate() {
        let (unit, gradient) = (&units[at * kept..][..kept], &gradient[at * kept..][..kept]);
        let along = dot(unit, gradient);
        for i in 0..kept {
            sums[at * width + i] += (gradient[i] - along * unit[i]) / length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut random = Random(1);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count)
                .map(|_| random.below(2_001) as f32 / 1_000.0 - 1.0)
                .collect()
        };
        let (mut queries, mut passages) = (numbers(3 * 6), numbers(5 * 6));
        let wanted = [vec![(0, 1.0)], vec![(1, 0.7), (4, 0.3)], vec![(2, 1.0)]];
        let left_out = [vec![3], vec![], vec![0]];
        let loss = |queries: &[f32], passages: &[f32]| {
            contrastive(
                &Batch {
                    queries,
                    passages,
                    dimension: 6,
                    wanted: &wanted,
                    left_out: &left_out,
                },
                &[6, 3],
            )
        };
        let told = loss(&queries, &passages);
        let step = 1e-3;
        for at in 0..18 {
            let before = queries[at];
            let mut mean = |x| {
                queries[at] = x;
                loss(&queries, &passages).mean
            };
            let seen = (mean(before + step) - mean(before - step)) / (2.0 * step);
            queries[at] = before;
            assert!(
                (seen - told.queries[at]).abs() < 0.02,
                "{at}: {} {seen}",
                told.queries[at]
            );
        }
        for at in 0..30 {
            let before = passages[at];
            let mut mean = |x| {
                passages[at] = x;
                loss(&queries, &passages).mean
            };
            let seen = (mean(before + step) - mean(before - step)) / (2.0 * step);
            passages[at] = before;
            assert!(
                (seen - told.passages[at]).abs() < 0.02,
                "{at}: {} {seen}",
                told.passages[at]
            );
        }
    }
}
