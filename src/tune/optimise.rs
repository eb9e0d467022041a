//! Gradients → steps: AdamW with clipping, warm-up and cosine decay.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::encoder::trunk::Numbers;

const BETAS: [f32; 2] = [0.9, 0.999];
const EPSILON: f32 = 1e-8;
const DECAY: f32 = 0.01;
/// The length that a step's gradients have at most, all together.
const LONGEST: f64 = 1.0;
/// Of all steps, that part warms up.
const WARM_UP: f64 = 0.1;
/// Numbers that are stepped together.
const CHUNK: usize = 1 << 16;

/// AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AdamW {
    pub steps: u32,
    /// Running means of gradients, and of their squares.
    pub means: Numbers,
    pub squares: Numbers,
}

impl AdamW {
    /// Moves the weights by a step. Matrices decay, biases and normalisations do not.
    pub fn step(
        &mut self,
        weights: &mut Numbers,
        gradients: &Numbers,
        shapes: &BTreeMap<String, Vec<usize>>,
        rate: f32,
    ) {
        self.steps += 1;
        let shrink = clipping(gradients);
        let steps = self.steps as i32;
        let unbias = BETAS.map(|beta| 1.0 - beta.powi(steps));
        for (name, gradient) in gradients {
            let Some(weights) = weights.get_mut(name) else {
                continue;
            };
            let zeros = || vec![0.0; gradient.len()];
            let means = self.means.entry(name.clone()).or_insert_with(zeros);
            let squares = self.squares.entry(name.clone()).or_insert_with(zeros);
            let matrix = shapes.get(name).is_some_and(|shape| shape.len() > 1);
            let kept = if matrix { 1.0 - rate * DECAY } else { 1.0 };
            let parts = weights
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK));
            let parts = parts.zip(
                means
                    .par_chunks_mut(CHUNK)
                    .zip(squares.par_chunks_mut(CHUNK)),
            );
            parts.for_each(|((weights, gradient), (means, squares))| {
                let numbers = weights
                    .iter_mut()
                    .zip(gradient)
                    .zip(means.iter_mut().zip(squares));
                for ((weight, gradient), (mean, square)) in numbers {
                    let gradient = gradient * shrink;
                    *mean = BETAS[0] * *mean + (1.0 - BETAS[0]) * gradient;
                    *square = BETAS[1] * *square + (1.0 - BETAS[1]) * gradient * gradient;
                    let root = (*square / unbias[1]).sqrt() + EPSILON;
                    *weight = *weight * kept - rate * (*mean / unbias[0]) / root;
                }
            });
        }
    }
}

/// What gradients are multiplied by so that they are not too long.
fn clipping(gradients: &Numbers) -> f32 {
    let squares = gradients.values().map(|numbers| {
        numbers
            .iter()
            .map(|x| f64::from(*x) * f64::from(*x))
            .sum::<f64>()
    });
    let length = squares.sum::<f64>().sqrt();
    if length > LONGEST {
        (LONGEST / length) as f32
    } else {
        1.0
    }
}

/// The part of the highest rate at a step: up in a straight line, down along a cosine.
pub(super) fn schedule(step: usize, steps: usize) -> f32 {
    let (step, steps) = (step as f64, steps.max(1) as f64);
    let up = (WARM_UP * steps).max(1.0);
    if step < up {
        return ((step + 1.0) / up).min(1.0) as f32;
    }
    let done = (step - up) / (steps - up).max(1.0);
    (0.5 * (1.0 + (std::f64::consts::PI * done).cos())) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_paper() {
        // By hand: the first step moves by the rate against the gradient's sign, and a matrix decays before.
        let one = |numbers: &[f32]| Numbers::from([("w".to_owned(), numbers.to_vec())]);
        let shapes = BTreeMap::from([("w".to_owned(), vec![1, 2])]);
        let (mut adam, mut weights) = (AdamW::default(), one(&[1.0, -2.0]));
        adam.step(&mut weights, &one(&[0.3, -0.4]), &shapes, 0.1);
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} {b}");
        near(weights["w"][0], 1.0 * (1.0 - 0.001) - 0.1);
        near(weights["w"][1], -2.0 * (1.0 - 0.001) + 0.1);
        // The second with gradients that are clipped from length 5 to 1.
        adam.step(&mut weights, &one(&[3.0, -4.0]), &shapes, 0.1);
        let mean = (0.9 * 0.03 + 0.1 * 0.6) / (1.0 - 0.81);
        let square = (0.999 * 0.3_f32.powi(2) * 0.001 + 0.001 * 0.36) / (1.0 - 0.999_f32.powi(2));
        near(weights["w"][0], 0.899 * 0.999 - 0.1 * mean / square.sqrt());
    }

    #[test]
    fn the_rate_rises_and_falls() {
        let rates: Vec<f32> = (0..100).map(|step| schedule(step, 100)).collect();
        assert_eq!((rates[0], rates[9], rates[10]), (0.1, 1.0, 1.0));
        assert!(rates[10..].windows(2).all(|pair| pair[0] >= pair[1]) && rates[99] < 0.01);
        assert_eq!(schedule(0, 1), 1.0);
    }
}
