//! MPNet's bias for the distance between two tokens: near ones have a bucket each, far ones share them by logarithm, and the
//! two directions have buckets of their own (Raffel et al. 2020, arXiv:1910.10683, section 2.1).

use super::graph::{Builder, Name, Value};
use crate::encoder::model::Config;
use crate::error::Result;

/// Tokens further away than this share the last bucket.
const MAX_DISTANCE: f64 = 128.0;

/// `[1, heads, tokens, tokens]`: what is added to the score of a query (third) for a key (fourth).
///
/// `tokens` is the name of the number of tokens, shape `[1]`; `weight` that of the table `[buckets, heads]`.
pub(super) fn bias(
    graph: &mut Builder<'_>,
    config: &Config,
    tokens: &str,
    weight: &str,
) -> Result<Name> {
    let farthest = config.positions as i64 - 1;
    let buckets: Vec<i64> = (-farthest..=farthest)
        .map(|distance| bucket(distance, config.distance_buckets as i64))
        .collect();
    let buckets = graph.integers(&buckets, false);
    let (zero, one) = (graph.integers(&[0], true), graph.integers(&[1], true));
    let (first, second) = (graph.integers(&[0], false), graph.integers(&[1], false));
    let offset = graph.integers(&[farthest], true);
    let count = graph.node("Squeeze", &[tokens], &[]);
    let places = graph.node("Range", &[&zero, &count, &one], &[]);
    let keys = graph.node("Unsqueeze", &[&places, &first], &[]);
    let queries = graph.node("Unsqueeze", &[&places, &second], &[]);
    let distances = graph.node("Sub", &[&keys, &queries], &[]);
    let at = graph.node("Add", &[&distances, &offset], &[]);
    let rows = graph.node("Gather", &[&buckets, &at], &[]);
    let biases = graph.node("Gather", &[weight, &rows], &[]);
    let biases = graph.node(
        "Transpose",
        &[&biases],
        &[("perm", Value::Ints(&[2, 0, 1]))],
    );
    Ok(graph.node("Unsqueeze", &[&biases, &first], &[]))
}

/// The bucket of a key that stands `distance` tokens after the query.
pub(in crate::encoder) fn bucket(distance: i64, buckets: i64) -> i64 {
    let half = buckets / 2;
    let side = if distance > 0 { half } else { 0 };
    let far = distance.abs();
    let exact = half / 2;
    if far < exact {
        return side + far;
    }
    let part = (far as f64 / exact as f64).ln() / (MAX_DISTANCE / exact as f64).ln();
    side + (exact + (part * (half - exact) as f64) as i64).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_tokens_have_buckets_of_their_own_and_far_ones_share() {
        let of = |distance| bucket(distance, 32);
        assert_eq!([of(0), of(-1), of(-7), of(1), of(7)], [0, 1, 7, 17, 23]);
        assert_eq!(
            [of(-8), of(-11), of(-12), of(-127), of(-500)],
            [8, 8, 9, 15, 15]
        );
        assert_eq!([of(8), of(500)], [24, 31]);
    }
}
