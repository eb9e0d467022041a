//! Token vectors → the text's vector: pooling, dense layers, truncation, unit length.

use super::model::{DenseActivation, DenseConfig, Model, Modules, Pooling, unusable};
use super::weights::{WEIGHTS_FILE, Weights};
use crate::error::{Error, Result};
use crate::vector::Vector;

/// What makes one vector of a text's.
pub(super) struct Head {
    pooling: Pooling,
    prompt_is_pooled: bool,
    /// Components of a token's vector.
    inputs: usize,
    dense: Vec<Dense>,
    /// Components of the text's.
    dimension: usize,
}

/// A dense layer with its weights.
struct Dense {
    config: DenseConfig,
    file: Weights,
    /// `[outputs, inputs]`
    matrix: Vec<f32>,
    /// `[outputs]`, or nothing.
    bias: Vec<f32>,
}

impl Head {
    /// Reads what follows a network whose vectors have `inputs` components.
    pub fn open(model: &Model, inputs: usize) -> Result<Self> {
        let Modules {
            pooling,
            prompt_is_pooled,
            dense,
            ..
        } = &model.modules;
        let mut dimension = inputs;
        let mut layers = Vec::new();
        for config in dense {
            if config.inputs != dimension {
                let what = format!(
                    "{}/config.json takes {} numbers, and what stands before it gives {dimension}",
                    config.path, config.inputs
                );
                return Err(unusable(&model.folder, what));
            }
            layers.push(Dense::open(model, config)?);
            dimension = config.outputs;
        }
        let kept = model.kept.unwrap_or(dimension);
        if kept == 0 || kept > dimension {
            let what =
                format!("its vectors have {dimension} components, and {kept} were asked for");
            return Err(unusable(&model.folder, what));
        }
        Ok(Self {
            pooling: *pooling,
            prompt_is_pooled: *prompt_is_pooled,
            inputs,
            dense: layers,
            dimension: kept,
        })
    }

    /// The mean of the token vectors.
    #[cfg(test)]
    pub fn mean(dimension: usize) -> Self {
        Self {
            pooling: Pooling::Mean,
            prompt_is_pooled: true,
            inputs: dimension,
            dense: Vec::new(),
            dimension,
        }
    }

    /// Components of what pooling gives.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How much of each token's vector is in the text's; `prompt` tokens stand before the text, special ones among them.
    pub fn token_weights(&self, prompt: usize, weights: &mut [f32]) {
        let skipped = if self.prompt_is_pooled {
            0
        } else {
            prompt.min(weights.len())
        };
        weights[..skipped].fill(0.0);
        let pooled = weights.len() - skipped;
        match self.pooling {
            Pooling::Mean => weights[skipped..].fill(1.0 / pooled.max(1) as f32),
            Pooling::MeanSqrtLen => weights[skipped..].fill(1.0 / (pooled.max(1) as f32).sqrt()),
            Pooling::Cls => one_hot(weights, 0),
            Pooling::LastToken => one_hot(weights, weights.len().saturating_sub(1)),
            Pooling::WeightedMean => {
                let total: usize = (skipped + 1..=weights.len()).sum();
                for (at, weight) in weights.iter_mut().enumerate().skip(skipped) {
                    *weight = (at + 1) as f32 / total as f32;
                }
            }
        }
    }

    /// Dense layers and truncation.
    pub fn project(&self, pooled: &[f32]) -> Vec<f32> {
        let mut numbers = pooled.to_vec();
        for dense in &self.dense {
            numbers = dense.apply(&numbers);
        }
        numbers.truncate(self.dimension);
        numbers
    }

    /// The gradient of what pooling gave, from that of what [`project`](Self::project) makes of it.
    #[cfg(feature = "tune")]
    pub fn pull_back(&self, pooled: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut given = vec![pooled.to_vec()];
        for dense in &self.dense {
            given.push(dense.apply(&given[given.len() - 1]));
        }
        let whole = given[given.len() - 1].len();
        let mut gradient = gradient.to_vec();
        gradient.resize(whole, 0.0);
        for (dense, output) in self.dense.iter().zip(&given[1..]).rev() {
            gradient = dense.pull_back(output, &gradient);
        }
        gradient
    }

    /// The text's vector from what pooling gave.
    ///
    /// # Errors
    /// [`Error::Encode`] for numbers that are none, or have no direction.
    pub fn finish(&self, pooled: &[f32]) -> Result<Vector> {
        Vector::new(self.project(pooled))
            .and_then(Vector::to_unit)
            .map_err(|error| Error::Encode {
                what: format!("the model's output cannot be used: {error}"),
            })
    }

    /// The dense layers' settings and weights, as the fingerprint has them.
    pub fn describe_dense(&self) -> String {
        let lines = self.dense.iter().map(|dense| {
            let DenseConfig {
                inputs,
                outputs,
                bias,
                activation,
                ..
            } = &dense.config;
            let hash = dense.file.file.hash();
            format!("dense {inputs} {outputs} {bias} {activation:?} {hash:032x}\n")
        });
        lines.collect()
    }

    /// The weights files of the dense layers, in the model's folder.
    pub fn files(&self) -> impl Iterator<Item = String> {
        self.dense
            .iter()
            .map(|dense| format!("{}/{WEIGHTS_FILE}", dense.config.path))
    }
}

fn one_hot(weights: &mut [f32], at: usize) {
    weights.fill(0.0);
    if let Some(weight) = weights.get_mut(at) {
        *weight = 1.0;
    }
}

impl Dense {
    fn open(model: &Model, config: &DenseConfig) -> Result<Self> {
        let name = format!("{}/{WEIGHTS_FILE}", config.path);
        if !model.folder.join(&name).exists() {
            return Err(unusable(&model.folder, format!("{name} is missing")));
        }
        let file = Weights::open(&model.folder, &name)?;
        let matrix = file.place("linear.weight", &[config.outputs, config.inputs])?;
        let bias = match config.bias {
            true => file.values(file.place("linear.bias", &[config.outputs])?),
            false => Vec::new(),
        };
        Ok(Self {
            matrix: file.values(matrix),
            bias,
            config: config.clone(),
            file,
        })
    }

    /// The gradient of what went in, from what came out and its gradient.
    #[cfg(feature = "tune")]
    fn pull_back(&self, output: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut sums = vec![0.0; self.config.inputs];
        let rows = self.matrix.chunks_exact(self.config.inputs);
        for (row, (y, gradient)) in rows.zip(output.iter().zip(gradient)) {
            let slope = match self.config.activation {
                DenseActivation::Identity => 1.0,
                DenseActivation::Tanh => 1.0 - y * y,
                DenseActivation::Relu => f32::from(*y > 0.0),
                DenseActivation::Sigmoid => y * (1.0 - y),
            };
            let factor = slope * gradient;
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, weight)| *sum += factor * weight);
        }
        sums
    }

    fn apply(&self, numbers: &[f32]) -> Vec<f32> {
        let rows = self.matrix.chunks_exact(self.config.inputs);
        let rows = rows.enumerate().map(|(at, row)| {
            let product: f32 = row.iter().zip(numbers).map(|(a, b)| a * b).sum();
            let x = product + self.bias.get(at).copied().unwrap_or(0.0);
            match self.config.activation {
                DenseActivation::Identity => x,
                DenseActivation::Tanh => x.tanh(),
                DenseActivation::Relu => x.max(0.0),
                DenseActivation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            }
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(pooling: Pooling, prompt_is_pooled: bool) -> [f32; 4] {
        let head = Head {
            pooling,
            prompt_is_pooled,
            ..Head::mean(1)
        };
        let mut weights = [9.0; 4];
        head.token_weights(2, &mut weights);
        weights
    }

    #[test]
    fn each_pooling_weighs_tokens_as_it_should_and_leaves_the_prompt_out_where_it_has_to() {
        assert_eq!(weights(Pooling::Mean, true), [0.25; 4]);
        assert_eq!(weights(Pooling::Mean, false), [0.0, 0.0, 0.5, 0.5]);
        assert_eq!(weights(Pooling::MeanSqrtLen, true), [0.5; 4]);
        assert_eq!(weights(Pooling::Cls, false), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(weights(Pooling::LastToken, true), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(weights(Pooling::WeightedMean, true), [0.1, 0.2, 0.3, 0.4]);
        assert_eq!(
            weights(Pooling::WeightedMean, false),
            [0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]
        );
    }
}
