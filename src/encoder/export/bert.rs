//! BERT (Devlin et al. 2018, arXiv:1810.04805) as ONNX operators, with pooling at its end.
//!
//! Every matrix product of a weight is a `Gemm` over `[tokens, hidden]` with `transB`: that is the layout in which the
//! weights lie in the file, so they are used where they are, without a copy.

use super::graph::{Builder, Extent, Name, Value};
use super::{Export, IDS, MASK, OUTPUT};
use crate::encoder::model::{Activation, BertConfig, Model, Pooling};
use crate::encoder::weights::Weights;
use crate::error::Result;

/// What is added to the attention scores of padding: its weight becomes exactly zero in f32.
const MASKED: f32 = -1e9;

struct Layers<'a> {
    graph: Builder<'a>,
    config: &'a BertConfig,
    prefix: &'static str,
    /// `[batch, tokens, heads, head_size]`
    heads_shape: Name,
    /// `[-1, hidden]`
    flat_shape: Name,
    /// `[batch, 1, 1, tokens]`: 0 for tokens, [`MASKED`] for padding.
    bias: Name,
}

pub(super) fn export(model: &Model, weights: &Weights) -> Result<Export> {
    let config = &model.config;
    let mut graph = Builder::new("bert", weights);
    graph.input_i64(IDS, &[Extent::Named("batch"), Extent::Named("tokens")]);
    graph.input_f32(MASK, &[Extent::Named("batch"), Extent::Named("tokens")]);

    let shape = graph.node("Shape", &[IDS], &[]);
    let head_sizes = graph.integers(
        &[config.heads as i64, (config.hidden / config.heads) as i64],
        false,
    );
    let heads_shape = graph.node("Concat", &[&shape, &head_sizes], &[("axis", Value::Int(0))]);
    let flat_shape = graph.integers(&[-1, config.hidden as i64], false);
    let one = graph.float(1.0);
    let masked = graph.float(MASKED);
    let padding = graph.node("Sub", &[&one, MASK], &[]);
    let bias = graph.node("Mul", &[&padding, &masked], &[]);
    let middle = graph.integers(&[1, 2], false);
    let bias = graph.node("Unsqueeze", &[&bias, &middle], &[]);

    // Weights of a model with a head on top are named with the base model's name before them.
    let prefix = if weights.has("embeddings.word_embeddings.weight") {
        ""
    } else {
        "bert."
    };
    let mut layers = Layers {
        graph,
        config,
        prefix,
        heads_shape,
        flat_shape,
        bias,
    };
    let mut x = layers.embeddings()?;
    for layer in 0..config.layers {
        let attended = layers.attention(layer, &x)?;
        x = layers.feed_forward(layer, &attended)?;
    }

    let Layers { mut graph, .. } = layers;
    let hidden_size = graph.integers(&[config.hidden as i64], false);
    let hidden_shape = graph.node(
        "Concat",
        &[&shape, &hidden_size],
        &[("axis", Value::Int(0))],
    );
    let hidden = graph.node("Reshape", &[&x, &hidden_shape], &[]);
    let pooled = match model.pooling {
        Pooling::Mean => mean(&mut graph, &hidden),
        Pooling::Cls => {
            let first = graph.integers(&[0], true);
            graph.node("Gather", &[&hidden, &first], &[("axis", Value::Int(1))])
        }
    };
    Ok(graph.finish(
        &pooled,
        OUTPUT,
        &[Extent::Named("batch"), Extent::Fixed(config.hidden)],
    ))
}

/// The mean of the vectors of tokens, padding left out.
fn mean(graph: &mut Builder<'_>, hidden: &str) -> Name {
    let axis = graph.integers(&[1], false);
    let row = graph.node("Unsqueeze", &[MASK, &axis], &[]);
    let sum = graph.node("MatMul", &[&row, hidden], &[]);
    let sum = graph.node("Squeeze", &[&sum, &axis], &[]);
    let count = graph.node("ReduceSum", &[MASK, &axis], &[("keepdims", Value::Int(1))]);
    graph.node("Div", &[&sum, &count], &[])
}

impl Layers<'_> {
    /// Word, position and segment embeddings, normalised: `[batch × tokens, hidden]`. All tokens are of segment 0.
    fn embeddings(&mut self) -> Result<Name> {
        let BertConfig {
            hidden,
            vocabulary,
            positions,
            segments,
            ..
        } = *self.config;
        let words = self.weight("embeddings.word_embeddings.weight", &[vocabulary, hidden])?;
        let places = self.weight(
            "embeddings.position_embeddings.weight",
            &[positions, hidden],
        )?;
        let types = self.weight(
            "embeddings.token_type_embeddings.weight",
            &[segments, hidden],
        )?;
        let graph = &mut self.graph;
        let zero = graph.integers(&[0], true);
        let start = graph.integers(&[0], false);
        let tokens = graph.node("Shape", &[IDS], &[("start", Value::Int(1))]);
        let words = graph.node("Gather", &[&words, IDS], &[]);
        let places = graph.node("Slice", &[&places, &start, &tokens, &start], &[]);
        let segment = graph.node("Gather", &[&types, &zero], &[]);
        let places = graph.node("Add", &[&places, &segment], &[]);
        let sum = graph.node("Add", &[&words, &places], &[]);
        let flat = graph.node("Reshape", &[&sum, &self.flat_shape], &[]);
        self.layer_norm("embeddings.LayerNorm", &flat)
    }

    /// Self-attention, its residual and normalisation.
    fn attention(&mut self, layer: usize, x: &str) -> Result<Name> {
        let hidden = self.config.hidden;
        let base = format!("encoder.layer.{layer}.attention");
        let scale = 1.0 / ((hidden / self.config.heads) as f32).sqrt();
        let query = self.heads(&format!("{base}.self.query"), x)?;
        let key = self.heads(&format!("{base}.self.key"), x)?;
        let value = self.heads(&format!("{base}.self.value"), x)?;
        let graph = &mut self.graph;
        let product = [("alpha", Value::Float(scale)), ("transB", Value::Int(1))];
        let scores = graph.runtime_node("FusedMatMul", &[&query, &key], &product);
        let scores = graph.node("Add", &[&scores, &self.bias], &[]);
        let attention = graph.node("Softmax", &[&scores], &[("axis", Value::Int(-1))]);
        let context = graph.node("MatMul", &[&attention, &value], &[]);
        let context = graph.node(
            "Transpose",
            &[&context],
            &[("perm", Value::Ints(&[0, 2, 1, 3]))],
        );
        let context = graph.node("Reshape", &[&context, &self.flat_shape], &[]);
        let out = self.linear(&format!("{base}.output.dense"), &context, hidden, hidden)?;
        let sum = self.graph.node("Add", &[&out, x], &[]);
        self.layer_norm(&format!("{base}.output.LayerNorm"), &sum)
    }

    /// A projection cut into heads: `[batch, heads, tokens, head_size]`.
    fn heads(&mut self, name: &str, x: &str) -> Result<Name> {
        let projected = self.linear(name, x, self.config.hidden, self.config.hidden)?;
        let cut = self
            .graph
            .node("Reshape", &[&projected, &self.heads_shape], &[]);
        Ok(self.graph.node(
            "Transpose",
            &[&cut],
            &[("perm", Value::Ints(&[0, 2, 1, 3]))],
        ))
    }

    /// The feed-forward block, its residual and normalisation.
    fn feed_forward(&mut self, layer: usize, x: &str) -> Result<Name> {
        let BertConfig {
            hidden,
            intermediate,
            activation,
            ..
        } = *self.config;
        let base = format!("encoder.layer.{layer}");
        let wide = self.linear(
            &format!("{base}.intermediate.dense"),
            x,
            hidden,
            intermediate,
        )?;
        let active = match activation {
            Activation::Gelu => self.graph.node("Gelu", &[&wide], &[]),
            Activation::GeluTanh => {
                self.graph
                    .node("Gelu", &[&wide], &[("approximate", Value::Text("tanh"))])
            }
            Activation::Relu => self.graph.node("Relu", &[&wide], &[]),
        };
        let narrow = self.linear(
            &format!("{base}.output.dense"),
            &active,
            intermediate,
            hidden,
        )?;
        let sum = self.graph.node("Add", &[&narrow, x], &[]);
        self.layer_norm(&format!("{base}.output.LayerNorm"), &sum)
    }

    /// `x · weightᵀ + bias`.
    fn linear(&mut self, name: &str, x: &str, from: usize, to: usize) -> Result<Name> {
        let weight = self
            .graph
            .matrix(&format!("{}{name}.weight", self.prefix), &[to, from])?;
        let bias = self.weight(&format!("{name}.bias"), &[to])?;
        Ok(self
            .graph
            .node("Gemm", &[x, &weight, &bias], &[("transB", Value::Int(1))]))
    }

    fn layer_norm(&mut self, name: &str, x: &str) -> Result<Name> {
        let hidden = self.config.hidden;
        let scale = self.weight(&format!("{name}.weight"), &[hidden])?;
        let bias = self.weight(&format!("{name}.bias"), &[hidden])?;
        let epsilon = [
            ("axis", Value::Int(-1)),
            ("epsilon", Value::Float(self.config.epsilon)),
        ];
        Ok(self
            .graph
            .node("LayerNormalization", &[x, &scale, &bias], &epsilon))
    }

    fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Name> {
        self.graph.weight(&format!("{}{name}", self.prefix), shape)
    }
}
