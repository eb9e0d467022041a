//! What is learnt: the weights themselves, or low-rank additions to the matrices (LoRA, Hu et al. 2021, arXiv:2106.09685).

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::encoder::trunk::Numbers;
use crate::random::Random;

/// An addition is this times its two factors' product.
const SCALE: f32 = 2.0;

/// How parameters make weights.
pub(super) enum Adaptation {
    /// They are the weights.
    Direct {
        start: Numbers,
        shapes: BTreeMap<String, Vec<usize>>,
    },
    /// Each matrix `[out, in]` is what it was plus `2 · B A`, with `A` of shape `[rank, in]` and `B` of `[out, rank]`.
    LowRank {
        start: Numbers,
        shapes: BTreeMap<String, Vec<usize>>,
        rank: usize,
    },
}

fn factors(name: &str) -> [String; 2] {
    [format!("{name} A"), format!("{name} B")]
}

impl Adaptation {
    /// The parameters at the beginning: what they make is what was.
    pub fn start(&self, seed: u64) -> Numbers {
        match self {
            Self::Direct { start, .. } => start.clone(),
            Self::LowRank { shapes, rank, .. } => {
                let mut random = Random(seed);
                let mut parameters = Numbers::new();
                for (name, to, from) in matrices(shapes) {
                    let [a, b] = factors(name);
                    parameters.insert(a, first_factor(*rank, from, &mut random));
                    parameters.insert(b, vec![0.0; to * rank]);
                }
                parameters
            }
        }
    }

    /// The shapes of the parameters.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Direct { shapes, .. } => shapes.clone(),
            Self::LowRank { shapes, rank, .. } => {
                let parts = matrices(shapes).flat_map(|(name, to, from)| {
                    let [a, b] = factors(name);
                    [(a, vec![*rank, from]), (b, vec![to, *rank])]
                });
                parts.collect()
            }
        }
    }

    /// The weights that they make.
    pub fn weights(&self, parameters: &Numbers) -> Numbers {
        match self {
            Self::Direct { .. } => parameters.clone(),
            Self::LowRank {
                start,
                shapes,
                rank,
            } => {
                let mut weights = start.clone();
                for (name, _, from) in matrices(shapes) {
                    let [a, b] = factors(name);
                    let (a, b) = (&parameters[&a], &parameters[&b]);
                    let Some(weight) = weights.get_mut(name) else {
                        continue;
                    };
                    let rows = weight.par_chunks_mut(from).zip(b.par_chunks(*rank));
                    rows.for_each(|(row, b)| {
                        for (b, a) in b.iter().zip(a.chunks_exact(from)) {
                            let factor = SCALE * b;
                            row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
                        }
                    });
                }
                weights
            }
        }
    }

    /// The gradients of the parameters from those of the weights.
    pub fn gradients(&self, parameters: &Numbers, gradients: Numbers) -> Numbers {
        let Self::LowRank { shapes, rank, .. } = self else {
            return gradients;
        };
        let mut of_parameters = Numbers::new();
        for (name, to, from) in matrices(shapes) {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let names = factors(name);
            let (a, b) = (&parameters[&names[0]], &parameters[&names[1]]);
            let mut of_a = vec![0.0; rank * from];
            let mut of_b = vec![0.0; to * rank];
            for (row, gradient) in gradient.chunks_exact(from).enumerate() {
                for at in 0..*rank {
                    let a = &a[at * from..][..from];
                    let product: f32 = gradient.iter().zip(a).map(|(g, a)| g * a).sum();
                    of_b[row * rank + at] = SCALE * product;
                    let factor = SCALE * b[row * rank + at];
                    let of_a = &mut of_a[at * from..][..from];
                    of_a.iter_mut()
                        .zip(gradient)
                        .for_each(|(sum, g)| *sum += factor * g);
                }
            }
            let [a, b] = names;
            of_parameters.extend([(a, of_a), (b, of_b)]);
        }
        of_parameters
    }
}

/// What the factor `[rank, from]` of a product begins with whose other factor begins at zero: Kaiming's uniform distribution, as
/// the paper's code has it.
pub(super) fn first_factor(rank: usize, from: usize, random: &mut Random) -> Vec<f32> {
    let bound = 1.0 / (from as f32).sqrt();
    let numbers = (0..rank * from)
        .map(|_| bound * ((random.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0));
    numbers.collect()
}

/// Names, rows and columns of the matrices.
fn matrices(shapes: &BTreeMap<String, Vec<usize>>) -> impl Iterator<Item = (&str, usize, usize)> {
    shapes.iter().filter_map(|(name, shape)| match shape[..] {
        [to, from] => Some((name.as_str(), to, from)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_the_factors_are_those_of_finite_differences() {
        let shapes = BTreeMap::from([("w".to_owned(), vec![3, 4]), ("b".to_owned(), vec![3])]);
        let start = Numbers::from([
            ("w".to_owned(), vec![0.5; 12]),
            ("b".to_owned(), vec![1.0; 3]),
        ]);
        let lora = Adaptation::LowRank {
            start: start.clone(),
            shapes,
            rank: 2,
        };
        let mut parameters = lora.start(1);
        assert_eq!(lora.weights(&parameters), start);
        let mut random = Random(2);
        let mut number = || random.below(2_001) as f32 / 1_000.0 - 1.0;
        parameters
            .get_mut("w B")
            .expect("there")
            .iter_mut()
            .for_each(|x| *x = number());
        let factors: Vec<f32> = (0..12).map(|_| number()).collect();
        let loss = |parameters: &Numbers| -> f32 {
            lora.weights(parameters)["w"]
                .iter()
                .zip(&factors)
                .map(|(a, b)| a * b)
                .sum()
        };
        let told = lora.gradients(
            &parameters,
            Numbers::from([("w".to_owned(), factors.clone())]),
        );
        for name in ["w A", "w B"] {
            for (at, &told) in told[name].iter().enumerate() {
                let moved = |by: f32| {
                    let mut parameters = parameters.clone();
                    parameters.get_mut(name).expect("there")[at] += by;
                    loss(&parameters)
                };
                let seen = (moved(0.01) - moved(-0.01)) / 0.02;
                assert!((seen - told).abs() < 1e-3, "{name} {at}");
            }
        }
    }
}
