//! The gradient graphs beside finite differences.

use std::collections::{BTreeMap, BTreeSet};

use super::super::device::Provider;
use super::super::export::{DISTANCES, ENTERING, LEAVING, MASK, Part, gradient_name, graphs};
use super::super::model::{Model, Source};
use super::super::session::{Given, Kept, Runtime, Session};
use super::super::weights::{WEIGHTS_FILE, Weights};
use super::models::models;
use super::*;
use crate::random::Random;

const ROWS: usize = 2;
const TOKENS: usize = 5;

struct Network {
    forward: Session,
    backward: Session,
    taken: BTreeSet<String>,
    gradients: Vec<String>,
    hidden: usize,
    mask: Vec<f32>,
    values: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Network {
    fn open(folder: &Path) -> Self {
        let model = Model::read(folder, &EncoderOptions::default()).expect("a model");
        let Source::Weights(config) = &model.source else {
            panic!("weights");
        };
        let weights = Weights::open(folder, WEIGHTS_FILE).expect("weights");
        let part = |trained| Part {
            layers: 0..config.layers,
            trained,
            embeddings: true,
            drops: false,
        };
        let names = graphs(config, &weights, &part(BTreeSet::new()))
            .expect("written")
            .weights;
        let all = names.iter().map(|(name, _)| name.clone()).collect();
        let graphs = graphs(config, &weights, &part(all)).expect("written");
        let mut values = BTreeMap::new();
        for (name, shape) in names {
            let place = weights.place(&name, &shape).expect("there");
            values.insert(name, (shape, weights.values(place)));
        }
        let mut random = Random(3);
        let mut numbers = |count: usize| -> Vec<f32> {
            (0..count)
                .map(|_| (random.next() % 2_001) as f32 / 1_000.0 - 1.0)
                .collect()
        };
        let entering = vec![ROWS * TOKENS, config.hidden];
        values.insert(
            ENTERING.into(),
            (entering, numbers(ROWS * TOKENS * config.hidden)),
        );
        if config.distance_buckets > 0 {
            let shape = vec![1, config.heads, TOKENS, TOKENS];
            values.insert(
                DISTANCES.into(),
                (shape, numbers(config.heads * TOKENS * TOKENS)),
            );
        }
        let runtime = Runtime::start(None).expect("a runtime");
        let open = |graph: &[u8]| {
            Session::open_for_training(&runtime, graph, &Provider::Cpu, 1).expect("opens")
        };
        Self {
            forward: open(&graphs.forward),
            backward: open(&graphs.backward),
            taken: graphs.taken,
            gradients: graphs.gradients,
            hidden: config.hidden,
            mask: vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            values,
        }
    }

    fn run(&mut self) -> Kept {
        let shape = [ROWS, TOKENS];
        let mask = Given {
            name: MASK,
            shape: &shape,
            numbers: &self.mask,
        };
        let values = self.values.iter().map(|(name, (shape, numbers))| Given {
            name,
            shape,
            numbers,
        });
        self.forward
            .run_and_keep(values.chain([mask]), None)
            .expect("runs")
    }

    /// A sum of what comes out with fixed weights, padding left out.
    fn loss(&mut self, factors: &[f32]) -> f64 {
        let kept = self.run();
        let out = kept.numbers(LEAVING).expect("given");
        out.iter().zip(factors).map(|(a, b)| f64::from(a * b)).sum()
    }
}

#[test]
fn every_gradient_is_that_of_finite_differences() {
    for name in ["bert", "distilbert", "roberta", "mpnet"] {
        let mut network = Network::open(&models().root.path().join(name));
        let mut random = Random(5);
        let hidden = network.hidden;
        let factors: Vec<f32> = (0..ROWS * TOKENS * hidden)
            .map(|at| network.mask[at / hidden] * ((random.next() % 2_001) as f32 / 1_000.0 - 1.0))
            .collect();
        let kept = network.run();
        let leaving = gradient_name(LEAVING);
        let shape = [ROWS * TOKENS, hidden];
        let start = Given {
            name: &leaving,
            shape: &shape,
            numbers: &factors,
        };
        let values = network
            .values
            .iter()
            .filter(|(name, _)| network.taken.contains(*name));
        let values = values.map(|(name, (shape, numbers))| Given {
            name,
            shape,
            numbers,
        });
        let gradients = network
            .backward
            .run_and_keep(values.chain([start]), Some(&kept))
            .expect("runs");
        assert_eq!(network.gradients.len(), network.values.len(), "{name}");
        for of in network.gradients.clone() {
            let gradient = gradients
                .numbers(&gradient_name(&of))
                .expect("given")
                .to_vec();
            // Along a random direction, so that every number counts.
            let direction: Vec<f32> = gradient
                .iter()
                .map(|_| if random.next() % 2 == 0 { 1.0 } else { -1.0 })
                .collect();
            let told: f64 = gradient
                .iter()
                .zip(&direction)
                .map(|(g, d)| f64::from(g * d))
                .sum();
            let before = network.values[&of].1.clone();
            let step = 1e-3;
            let mut at = |step: f32| {
                let moved = before
                    .iter()
                    .zip(&direction)
                    .map(|(x, d)| x + step * d)
                    .collect();
                network.values.get_mut(&of).expect("there").1 = moved;
                network.loss(&factors)
            };
            let mut slope = |step: f32| (at(step) - at(-step)) / (2.0 * f64::from(step));
            // Richardson's extrapolation: the error of a step goes with its square.
            let seen = (4.0 * slope(step) - slope(2.0 * step)) / 3.0;
            network.values.get_mut(&of).expect("there").1 = before;
            let size = gradient
                .iter()
                .map(|g| f64::from(g * g))
                .sum::<f64>()
                .sqrt();
            // The loss is a sum in f32: below a hundredth nothing is seen.
            assert!(
                (told - seen).abs() <= 0.01 + 0.01 * size,
                "{name} {of}: {told}, seen {seen}"
            );
        }
    }
}
