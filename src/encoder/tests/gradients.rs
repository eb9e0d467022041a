//! What is trained, beside what serves and beside finite differences.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::trunk::{Judged, Masked, Numbers, Scope, Trunk};
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
            agree(name, &mut weights, &gradients, &mut random, loss);
        }
    }
}

/// The gradients say how the loss changes along a random direction of each weight, so that every number counts.
fn agree(
    name: &str,
    weights: &mut Numbers,
    gradients: &Numbers,
    random: &mut Random,
    loss: impl Fn(&Numbers) -> f64,
) {
    for (of, gradient) in gradients {
        let mut sign = || match random.next().is_multiple_of(2) {
            true => 1.0,
            false => -1.0,
        };
        let direction: Vec<f32> = gradient.iter().map(|_| sign()).collect();
        let along = gradient.iter().zip(&direction);
        let told: f64 = along.map(|(g, d)| f64::from(g * d)).sum();
        let before = weights[of].clone();
        let mut at = |step: f32| {
            let moved = before.iter().zip(&direction).map(|(x, d)| x + step * d);
            weights.insert(of.clone(), moved.collect());
            loss(weights)
        };
        let mut slope = |step: f32| (at(step) - at(-step)) / (2.0 * f64::from(step));
        // Richardson's extrapolation: the error of a step goes with its square.
        let seen = (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0;
        weights.insert(of.clone(), before);
        let squares = gradient.iter().map(|g| f64::from(g * g));
        let size = squares.sum::<f64>().sqrt();
        // The loss is a sum in f32, which shows differences from a hundredth on.
        assert!(
            (told - seen).abs() <= 0.01 + 0.02 * size,
            "{name} {of}: {told}, seen {seen}, {size} long"
        );
    }
}

#[test]
fn every_gradient_of_pre_training_is_that_of_finite_differences() {
    // Not the tiny MPNet, which has ReLU: this loss is steep enough that a step crosses its kinks.
    for name in ["bert", "distilbert", "roberta"] {
        let encoder = open(&models().root.path().join(name)).expect("opens");
        let (pretraining, mut weights) = encoder.pretraining(0.0, 3).expect("weights");
        assert_eq!(pretraining.asks_pairs(), name == "bert");
        let mut random = Random(6);
        // From weights that are not where they began, so that no gradient is small.
        for (of, numbers) in &mut weights {
            if pretraining.added().contains_key(of) {
                numbers
                    .iter_mut()
                    .for_each(|x| *x += random.normal() / 10.0);
            }
        }
        let ids = |text: &str| encoder.windows(None, text).expect("cut").remove(0).tokens;
        let examples: Vec<Masked> = TEXTS
            .iter()
            .zip([Some(true), Some(false), None])
            .map(|(text, follows)| {
                let (mut tokens, other) = (ids(text), ids("a dog ran"));
                let second = tokens.len();
                tokens.extend(&other[1..]);
                let gaps = vec![(1, tokens[2]), (second, other[1])];
                Masked {
                    tokens,
                    second,
                    gaps,
                    follows: follows.filter(|_| pretraining.asks_pairs()),
                }
            })
            .collect();
        let factors = [1.5, 0.5];
        let (judged, gradients) = pretraining
            .step(&weights, &examples, factors, 1)
            .expect("runs");
        assert!(gradients.keys().eq(pretraining.trained().keys()), "{name}");
        let loss = |weights: &Numbers| -> f64 {
            let judged = pretraining.judge(weights, &examples).expect("runs");
            let sum = |nth: usize| {
                let mut all = Judged::default();
                judged.iter().for_each(|judged| all += judged[nth]);
                f64::from(factors[nth]) * all.mean()
            };
            sum(0) + sum(1)
        };
        let told: f64 = (0..2)
            .map(|nth| f64::from(factors[nth]) * judged[nth].mean())
            .sum();
        assert!((told - loss(&weights)).abs() < 1e-5, "{name}");
        agree(name, &mut weights, &gradients, &mut random, loss);
    }
}

/// What PyTorch found; `tests/golden/make_gradients.py` made it, and tells of what.
#[derive(Deserialize)]
struct Reference {
    pooled: BTreeMap<String, Summaries>,
    pretraining: ReferencePretraining,
}

#[derive(Deserialize)]
struct ReferencePretraining {
    words: f64,
    pairs: f64,
    gradients: Summaries,
}

/// Of each gradient its length, and its products with two directions.
type Summaries = BTreeMap<String, [f64; 3]>;

fn reference() -> Reference {
    let file = include_bytes!("../../../tests/golden/gradients.json");
    serde_json::from_slice(file).expect("parses")
}

fn is_that_of(name: &str, reference: &Summaries, gradients: &Numbers) {
    assert!(reference.keys().eq(gradients.keys()), "{name}");
    for (of, gradient) in gradients {
        let numbers = || {
            (0..)
                .zip(gradient)
                .map(|(at, &x)| (f64::from(at), f64::from(x)))
        };
        let found = [
            numbers().map(|(_, x)| x * x).sum::<f64>().sqrt(),
            numbers().map(|(at, x)| x * (at + 1.0).sin()).sum(),
            numbers().map(|(at, x)| x * (3.0 * at).cos()).sum(),
        ];
        for (found, expected) in found.iter().zip(reference[of]) {
            assert!(
                (found - expected).abs() < 1e-4 * (1.0 + reference[of][0]),
                "{name} {of}: {found}, by the reference {expected}"
            );
        }
    }
}

const REFERENCE_TEXTS: [&[u32]; 2] = [
    &[2, 10, 11, 12, 13, 3, 14, 15, 16, 3],
    &[2, 17, 18, 3, 19, 3],
];

#[test]
fn every_gradient_is_that_of_another_framework() {
    for (name, reference) in reference().pooled {
        let (_, trunk, weights) = trunk(&name, &scope());
        let window = |tokens: &&[u32]| Window {
            range: 0..0,
            tokens: tokens.to_vec(),
            prompt: 0,
        };
        let windows: Vec<Window> = REFERENCE_TEXTS.iter().map(window).collect();
        let windows: Vec<&Window> = windows.iter().collect();
        let forward = trunk.forward(&weights, &windows, None, true).expect("runs");
        let factors = (1..=forward.vectors.len()).map(|at| (at as f64).sin() as f32);
        let factors: Vec<f32> = factors.collect();
        let gradients = trunk.backward(&weights, forward, &factors).expect("runs");
        is_that_of(&name, &reference, &gradients);
    }
}

#[test]
fn every_gradient_of_pre_training_is_that_of_another_framework() {
    let encoder = open(&models().root.path().join("bert")).expect("opens");
    let (pretraining, mut weights) = encoder.pretraining(0.0, 1).expect("weights");
    for (name, shape) in pretraining.added() {
        let numbers = weights.get_mut(name).expect("there");
        let is_scale = shape.len() == 1 && name.ends_with("weight");
        for (number, at) in numbers.iter_mut().zip(1..) {
            *number = match is_scale {
                true => 1.0,
                false => 0.1 * f64::from(at).sin() as f32,
            };
        }
    }
    let examples = [(6, vec![(2, 20), (7, 21)], true), (4, vec![(1, 22)], false)];
    let examples: Vec<Masked> = examples
        .into_iter()
        .zip(REFERENCE_TEXTS)
        .map(|((second, gaps, follows), tokens)| Masked {
            tokens: tokens.to_vec(),
            second,
            gaps,
            follows: Some(follows),
        })
        .collect();
    let (judged, gradients) = pretraining
        .step(&weights, &examples, [1.0, 0.5], 1)
        .expect("runs");
    let reference = reference().pretraining;
    assert!((judged[0].mean() - reference.words).abs() < 1e-5);
    assert!((judged[1].mean() - reference.pairs).abs() < 1e-5);
    let of_file =
        |(name, gradient): (String, Vec<f32>)| match pretraining.added().contains_key(&name)
            && !name.starts_with("pooler")
        {
            true => (name, gradient),
            // There the encoder's names stand behind `bert.`.
            false => (format!("bert.{name}"), gradient),
        };
    is_that_of(
        "bert",
        &reference.gradients,
        &gradients.into_iter().map(of_file).collect(),
    );
}
