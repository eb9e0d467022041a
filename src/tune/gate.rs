//! Did it help? The paired bootstrap over held-out queries (Efron and Tibshirani 1993; for retrieval Sakai 2006).

use serde::Serialize;

use crate::random::Random;

const RESAMPLES: usize = 10_000;

/// A mean gain with the interval that holds it in 95 of 100 cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Interval {
    /// The mean over the queries.
    pub mean: f64,
    /// Below it in 2.5 of 100 cases.
    pub low: f64,
    /// Above it in 2.5 of 100 cases.
    pub high: f64,
}

/// The mean of the differences of each query, new − old, and its interval.
pub(super) fn paired(old: &[f64], new: &[f64], seed: u64) -> Interval {
    let gains: Vec<f64> = new.iter().zip(old).map(|(new, old)| new - old).collect();
    let count = gains.len().max(1);
    let mean = gains.iter().sum::<f64>() / count as f64;
    let mut random = Random(seed);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..gains.len()).map(|_| gains[random.below(gains.len())]);
            drawn.sum::<f64>() / count as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |part: f64| means[((RESAMPLES as f64 * part) as usize).min(RESAMPLES - 1)];
    Interval {
        mean,
        low: at(0.025),
        high: at(0.975),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_mean_and_narrows_with_more_queries() {
        let mut random = Random(4);
        let mut draw = |count: usize, gain: f64| -> (Vec<f64>, Vec<f64>) {
            let mut number = || random.below(1_000) as f64 / 1_000.0;
            let old: Vec<f64> = (0..count).map(|_| number()).collect();
            let new = old
                .iter()
                .map(|x| x + gain + 0.2 * (number() - 0.5))
                .collect();
            (old, new)
        };
        let (old, new) = draw(100, 0.05);
        let few = paired(&old, &new, 1);
        assert!(
            few.low > 0.0 && few.low < few.mean && few.mean < few.high,
            "{few:?}"
        );
        // The textbook's interval for a mean: 1.96 standard errors.
        let gains: Vec<f64> = new.iter().zip(&old).map(|(a, b)| a - b).collect();
        let deviation = (gains.iter().map(|g| (g - few.mean).powi(2)).sum::<f64>() / 99.0).sqrt();
        assert!(
            (few.mean - few.low - 1.96 * deviation / 10.0).abs() < 0.002,
            "{few:?}"
        );
        let (old, new) = draw(10_000, 0.0);
        let none = paired(&old, &new, 1);
        assert!(
            none.high - none.low < 0.003 && none.low < 0.0 && none.high > 0.0,
            "{none:?}"
        );
    }
}
