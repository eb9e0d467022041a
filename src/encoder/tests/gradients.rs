//! What is trained, beside what serves and beside finite differences.

use super::super::trunk::{Numbers, Scope, Trunk};
use super::super::{Encoder, Window};
use super::models::{models, open};
use super::*;
use crate::random::Random;

const TEXTS: [&str; 3] = [
    "the cat sat",
    "a dog",
    "the cat and the dog ran over the hill",
];

/// How far a number is moved.
const STEP: f32 = 3e-4;

/// Of each architecture, one with a dense module among them.
const MODELS: [&str; 5] = ["bert", "distilbert", "roberta", "mpnet", "bert-dense"];

fn trunk(name: &str, scope: &Scope) -> (Encoder, Trunk, Numbers) {
    let encoder = open(&models().root.path().join(name)).expect("opens");
    let (trunk, weights) = encoder.trunk(scope.clone()).expect("weights");
    (encoder, trunk, weights)
}

fn windows(encoder: &Encoder) -> Vec<Window> {
    let cut = TEXTS.iter().map(|text| encoder.windows(None, text));
    cut.flat_map(|windows| windows.expect("cut")).collect()
}

fn scope() -> Scope {
    Scope {
        first_layer: 0,
        tables: true,
        dropout: 0.0,
        memory: 1 << 30,
    }
}

#[test]
fn what_is_trained_gives_the_vectors_that_are_served() {
    for name in MODELS {
        for first_layer in [0, 1] {
            let scope = Scope {
                first_layer,
                tables: first_layer == 0,
                ..scope()
            };
            let (encoder, trunk, weights) = trunk(name, &scope);
            let windows = windows(&encoder);
            let served = encoder.encode(&windows).expect("encoded");
            let windows: Vec<&Window> = windows.iter().collect();
            // The second time from what frozen layers gave the first time.
            for _ in 0..2 {
                let forward = trunk
                    .forward(&weights, &windows, None, false)
                    .expect("runs");
                for (served, given) in served
                    .iter()
                    .zip(forward.vectors.chunks_exact(trunk.dimension()))
                {
                    let unit = Vector::new(given.to_vec())
                        .and_then(Vector::to_unit)
                        .expect("a vector");
                    for (a, b) in served.as_slice().iter().zip(unit.as_slice()) {
                        assert!(
                            (a - b).abs() <= 1e-5,
                            "{name} from layer {first_layer}: {a} {b}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_gradient_is_that_of_finite_differences() {
    for name in MODELS {
        // Nothing is kept in so little memory, so that some runs are computed again.
        for (dropout, memory) in [(0.0, 1 << 30), (0.2, 0)] {
            let scope = Scope {
                dropout,
                memory,
                ..scope()
            };
            let (encoder, trunk, mut weights) = trunk(name, &scope);
            let windows = windows(&encoder);
            let windows: Vec<&Window> = windows.iter().collect();
            let seed = (dropout > 0.0).then_some(7);
            let mut random = Random(5);
            let forward = trunk.forward(&weights, &windows, seed, true).expect("runs");
            let factors: Vec<f32> = forward
                .vectors
                .iter()
                .map(|_| (random.next() % 2_001) as f32 / 1_000.0 - 1.0)
                .collect();
            let gradients = trunk.backward(&weights, forward, &factors).expect("runs");
            assert!(gradients.keys().eq(trunk.trained().keys()), "{name}");
            let loss = |weights: &Numbers| -> f64 {
                let forward = trunk.forward(weights, &windows, seed, false).expect("runs");
                forward
                    .vectors
                    .iter()
                    .zip(&factors)
                    .map(|(a, b)| f64::from(a * b))
                    .sum()
            };
            for (of, gradient) in &gradients {
                // Along a random direction, so that every number counts.
                let direction: Vec<f32> = gradient
                    .iter()
                    .map(|_| {
                        if random.next().is_multiple_of(2) {
                            1.0
                        } else {
                            -1.0
                        }
                    })
                    .collect();
                let told: f64 = gradient
                    .iter()
                    .zip(&direction)
                    .map(|(g, d)| f64::from(g * d))
                    .sum();
                let before = weights[of].clone();
                let mut at = |step: f32| {
                    weights.insert(
                        of.clone(),
                        before
                            .iter()
                            .zip(&direction)
                            .map(|(x, d)| x + step * d)
                            .collect(),
                    );
                    loss(&weights)
                };
                let mut slope = |step: f32| (at(step) - at(-step)) / (2.0 * f64::from(step));
                // Richardson's extrapolation: the error of a step goes with its square.
                let seen = (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0;
                weights.insert(of.clone(), before);
                let size = gradient
                    .iter()
                    .map(|g| f64::from(g * g))
                    .sum::<f64>()
                    .sqrt();
                // The loss is a sum in f32, which shows differences from a hundredth on.
                assert!(
                    (told - seen).abs() <= 0.01 + 0.02 * size,
                    "{name} {of}: {told}, seen {seen}, {size} long"
                );
            }
        }
    }
}
