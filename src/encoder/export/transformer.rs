//! A transformer encoder as ONNX operators.
//!
//! Every matrix product of a weight is a `Gemm` over `[tokens, hidden]` with `transB`: that is the layout in which the
//! weights lie in the file, so they are used where they are, without a copy.

use super::graph::{Builder, Extent, Name, Value};
use super::names::Names;
use super::proto::element;
#[cfg(feature = "tune")]
use super::{DISTANCES, ENTERING, Part};
use super::{EMBEDDINGS, FILE_IDS, FILE_MASK, FILE_SEGMENTS, FILE_VECTORS};
use super::{Form, distance};
use super::{IDS, MASK, POOLING, VECTORS, attention_name, hidden_name};
use crate::encoder::model::{Activation, Config};
use crate::encoder::weights::Weights;
use crate::error::Result;

/// What is added to the attention scores of padding: its weight becomes exactly zero in f32.
const MASKED: f32 = -1e9;
/// ONNX's number for f32, as `Cast` takes it.
const F32: i64 = 1;

/// Where values are dropped while training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum Dropped {
    #[cfg(feature = "tune")]
    Embeddings,
    Attention,
    AttentionOutput,
    Output,
}

impl Dropped {
    /// The input that says what of it is kept.
    pub fn input(self, layer: usize) -> Name {
        format!("kept {self:?} {layer}")
    }
}

struct Layers<'a> {
    graph: Builder<'a>,
    weights: &'a Weights,
    config: &'a Config,
    names: &'static Names,
    prefix: &'static str,
    form: Form,
    /// Inputs say what is dropped.
    drops: bool,
    /// `[batch, tokens, heads, head_size]`
    heads_shape: Name,
    /// `[batch, tokens, hidden]`
    hidden_shape: Name,
    /// `[-1, hidden]`
    flat_shape: Name,
    /// What is added to scores, `[batch, 1 or heads, 1 or tokens, tokens]`.
    bias: Name,
}

const BATCH: [Extent; 2] = [Extent::Named("batch"), Extent::Named("tokens")];

/// Adds the whole network to `graph`, with its inputs and outputs.
pub(super) fn write<'a>(
    mut graph: Builder<'a>,
    config: &'a Config,
    weights: &'a Weights,
    form: Form,
) -> Result<Builder<'a>> {
    let ids = if form == Form::File { FILE_IDS } else { IDS };
    graph.input_i64(ids, &BATCH);
    let mask = match form {
        Form::File => {
            graph.input_i64(FILE_MASK, &BATCH);
            graph.node("Cast", &[FILE_MASK], &[("to", Value::Int(F32))])
        }
        _ => {
            graph.input_f32(MASK, &BATCH);
            MASK.to_owned()
        }
    };
    if form == Form::File && config.segments > 0 {
        graph.input_i64(FILE_SEGMENTS, &BATCH);
    }
    if form == Form::Serving {
        graph.input_f32(POOLING, &BATCH);
    }

    let shape = graph.node("Shape", &[ids], &[]);
    let mut layers = Layers::new(graph, config, weights, form, &shape, &mask);
    let mut x = layers.embeddings(ids)?;
    layers.tell_hidden(0, &x);
    for layer in 0..config.layers {
        let attended = layers.attention(layer, &x)?;
        x = layers.feed_forward(layer, &attended)?;
        layers.tell_hidden(layer + 1, &x);
    }
    layers.finish(&x);
    Ok(layers.graph)
}

/// Adds a part of the network for training: some layers, and before the first of all the normalisation of the embeddings, whose
/// sum is then what goes in.
#[cfg(feature = "tune")]
pub(super) fn write_part<'a>(
    mut graph: Builder<'a>,
    config: &'a Config,
    weights: &'a Weights,
    part: &Part,
) -> Result<(Builder<'a>, Name)> {
    graph.take_in(ENTERING, element::F32);
    graph.take_in(MASK, element::F32);
    let shape = graph.node("Shape", &[MASK], &[]);
    let mut layers = Layers::new(graph, config, weights, Form::Training, &shape, MASK);
    layers.drops = part.drops;
    if config.distance_buckets > 0 {
        layers.graph.take_in(DISTANCES, element::F32);
        layers.bias = layers.graph.node("Add", &[&layers.bias, DISTANCES], &[]);
    }
    let mut x = ENTERING.to_owned();
    if part.layers.start == 0 {
        x = layers.layer_norm("embeddings.LayerNorm", &x)?;
        x = layers.dropped(&x, Dropped::Embeddings, 0);
    }
    for layer in part.layers.clone() {
        let attended = layers.attention(layer, &x)?;
        x = layers.feed_forward(layer, &attended)?;
    }
    Ok((layers.graph, x))
}

/// What stands before the names of weights in a file that holds a head beside the encoder.
#[cfg(feature = "tune")]
pub(in crate::encoder) fn full_prefix(config: &Config) -> &'static str {
    Names::of(config.architecture).prefix
}

/// What stands before every weight's name: those of a model with a head on top are named with the base model's before them.
pub(in crate::encoder) fn prefix(config: &Config, weights: &Weights) -> &'static str {
    if weights.has("embeddings.word_embeddings.weight") {
        ""
    } else {
        Names::of(config.architecture).prefix
    }
}

impl<'a> Layers<'a> {
    fn new(
        mut graph: Builder<'a>,
        config: &'a Config,
        weights: &'a Weights,
        form: Form,
        shape: &str,
        mask: &str,
    ) -> Self {
        let head_sizes = graph.integers(
            &[config.heads as i64, (config.hidden / config.heads) as i64],
            false,
        );
        let heads_shape = graph.node("Concat", &[shape, &head_sizes], &[("axis", Value::Int(0))]);
        let hidden_size = graph.integers(&[config.hidden as i64], false);
        let hidden_shape = graph.node("Concat", &[shape, &hidden_size], &[("axis", Value::Int(0))]);
        let flat_shape = graph.integers(&[-1, config.hidden as i64], false);
        let one = graph.float(1.0);
        let masked = graph.float(MASKED);
        let padding = graph.node("Sub", &[&one, mask], &[]);
        let bias = graph.node("Mul", &[&padding, &masked], &[]);
        let middle = graph.integers(&[1, 2], false);
        let bias = graph.node("Unsqueeze", &[&bias, &middle], &[]);

        let names = Names::of(config.architecture);
        let prefix = prefix(config, weights);
        Self {
            graph,
            weights,
            config,
            names,
            prefix,
            form,
            drops: false,
            heads_shape,
            hidden_shape,
            flat_shape,
            bias,
        }
    }
}

impl Layers<'_> {
    /// The outputs that stand at the end.
    fn finish(&mut self, x: &str) {
        let hidden = self.config.hidden;
        let graph = &mut self.graph;
        let all = graph.node("Reshape", &[x, &self.hidden_shape], &[]);
        let whole = [BATCH[0], BATCH[1], Extent::Fixed(hidden)];
        match self.form {
            Form::Serving => {
                // The weights of a row sum to what the pooling asks for, so pooling is one product.
                let axis = graph.integers(&[1], false);
                let row = graph.node("Unsqueeze", &[POOLING, &axis], &[]);
                let pooled = graph.node("MatMul", &[&row, &all], &[]);
                let pooled = graph.node("Squeeze", &[&pooled, &axis], &[]);
                graph.output(&pooled, VECTORS, &[BATCH[0], Extent::Fixed(hidden)]);
            }
            Form::File => graph.output(&all, FILE_VECTORS, &whole),
            Form::Inspection | Form::Training => {}
        }
    }

    /// Makes a layer's token vectors an output, where they are asked for.
    fn tell_hidden(&mut self, layer: usize, x: &str) {
        if self.form == Form::Inspection {
            let all = self.graph.node("Reshape", &[x, &self.hidden_shape], &[]);
            let shape = [BATCH[0], BATCH[1], Extent::Fixed(self.config.hidden)];
            self.graph.output(&all, &hidden_name(layer), &shape);
        }
    }

    /// Word, position and segment embeddings, normalised: `[batch × tokens, hidden]`.
    fn embeddings(&mut self, ids: &str) -> Result<Name> {
        let Config {
            hidden,
            vocabulary,
            positions,
            first_position,
            segments,
            ..
        } = *self.config;
        let words = self.weight("embeddings.word_embeddings.weight", &[vocabulary, hidden])?;
        let places = self.weight(
            "embeddings.position_embeddings.weight",
            &[positions, hidden],
        )?;
        let types = match segments {
            0 => None,
            _ => Some(self.weight(
                "embeddings.token_type_embeddings.weight",
                &[segments, hidden],
            )?),
        };
        let graph = &mut self.graph;
        let axis = graph.integers(&[0], false);
        let tokens = graph.node("Shape", &[ids], &[("start", Value::Int(1))]);
        let words = graph.node("Gather", &[&words, ids], &[]);
        if self.form == Form::Inspection {
            let shape = [BATCH[0], BATCH[1], Extent::Fixed(hidden)];
            graph.output(&words, EMBEDDINGS, &shape);
        }
        let mut places = if first_position == 0 {
            graph.node("Slice", &[&places, &axis, &tokens, &axis], &[])
        } else {
            let start = graph.integers(&[first_position as i64], false);
            let end = graph.node("Add", &[&tokens, &start], &[]);
            graph.node("Slice", &[&places, &start, &end, &axis], &[])
        };
        let mut sum = None;
        match types {
            // What we encode is one text: all its tokens are of segment 0.
            Some(types) if self.form != Form::File => {
                let zero = graph.integers(&[0], true);
                let segment = graph.node("Gather", &[&types, &zero], &[]);
                places = graph.node("Add", &[&places, &segment], &[]);
            }
            Some(types) => {
                let segment = graph.node("Gather", &[&types, FILE_SEGMENTS], &[]);
                sum = Some(graph.node("Add", &[&words, &segment], &[]));
            }
            None => {}
        }
        let sum = graph.node("Add", &[&sum.unwrap_or(words), &places], &[]);
        let flat = graph.node("Reshape", &[&sum, &self.flat_shape], &[]);
        if self.config.distance_buckets > 0 {
            let shape = [self.config.distance_buckets, self.config.heads];
            let weight = self.weight("encoder.relative_attention_bias.weight", &shape)?;
            let distances = distance::bias(&mut self.graph, self.config, &tokens, &weight)?;
            self.bias = self.graph.node("Add", &[&self.bias, &distances], &[]);
        }
        self.layer_norm("embeddings.LayerNorm", &flat)
    }

    /// Self-attention, its residual and normalisation.
    fn attention(&mut self, layer: usize, x: &str) -> Result<Name> {
        let Config { hidden, heads, .. } = *self.config;
        let names = self.names;
        let scale = 1.0 / ((hidden / heads) as f32).sqrt();
        let query = self.heads(&self.in_layer(layer, names.query), x)?;
        let key = self.heads(&self.in_layer(layer, names.key), x)?;
        let value = self.heads(&self.in_layer(layer, names.value), x)?;
        let graph = &mut self.graph;
        let scores = match self.form {
            // Only ONNX Runtime knows the fused product, and a file is for everybody.
            Form::File => {
                let key = graph.node(
                    "Transpose",
                    &[&key],
                    &[("perm", Value::Ints(&[0, 1, 3, 2]))],
                );
                let scores = graph.node("MatMul", &[&query, &key], &[]);
                let scale = graph.float(scale);
                graph.node("Mul", &[&scores, &scale], &[])
            }
            _ => {
                let product = [("alpha", Value::Float(scale)), ("transB", Value::Int(1))];
                graph.runtime_node("FusedMatMul", &[&query, &key], &product)
            }
        };
        let scores = graph.node("Add", &[&scores, &self.bias], &[]);
        let attention = graph.node("Softmax", &[&scores], &[("axis", Value::Int(-1))]);
        if self.form == Form::Inspection {
            let shape = [BATCH[0], Extent::Fixed(heads), BATCH[1], BATCH[1]];
            graph.output(&attention, &attention_name(layer + 1), &shape);
        }
        let attention = self.dropped(&attention, Dropped::Attention, layer);
        let graph = &mut self.graph;
        let context = graph.node("MatMul", &[&attention, &value], &[]);
        let context = graph.node(
            "Transpose",
            &[&context],
            &[("perm", Value::Ints(&[0, 2, 1, 3]))],
        );
        let context = graph.node("Reshape", &[&context, &self.flat_shape], &[]);
        let output = self.in_layer(layer, names.attention_output);
        let out = self.linear(&output, &context, hidden, hidden)?;
        let out = self.dropped(&out, Dropped::AttentionOutput, layer);
        let sum = self.graph.node("Add", &[&out, x], &[]);
        self.layer_norm(&self.in_layer(layer, names.attention_norm), &sum)
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
        let Config {
            hidden,
            intermediate,
            activation,
            ..
        } = *self.config;
        let names = self.names;
        let widening = self.in_layer(layer, names.widening);
        let wide = self.linear(&widening, x, hidden, intermediate)?;
        let active = match activation {
            Activation::Gelu => self.graph.node("Gelu", &[&wide], &[]),
            Activation::GeluTanh => {
                self.graph
                    .node("Gelu", &[&wide], &[("approximate", Value::Text("tanh"))])
            }
            Activation::Relu => self.graph.node("Relu", &[&wide], &[]),
        };
        let narrowing = self.in_layer(layer, names.narrowing);
        let narrow = self.linear(&narrowing, &active, intermediate, hidden)?;
        let narrow = self.dropped(&narrow, Dropped::Output, layer);
        let sum = self.graph.node("Add", &[&narrow, x], &[]);
        self.layer_norm(&self.in_layer(layer, names.output_norm), &sum)
    }

    /// What is left of a value while training (Srivastava et al. 2014), by an input that holds 0 or 1/(1 − p).
    fn dropped(&mut self, x: &str, at: Dropped, layer: usize) -> Name {
        if !self.drops {
            return x.into();
        }
        let kept = at.input(layer);
        self.graph.take_in(&kept, element::F32);
        self.graph.node("Mul", &[x, &kept], &[])
    }

    fn in_layer(&self, layer: usize, name: &str) -> String {
        format!("{}.{layer}.{name}", self.names.layer)
    }

    /// `x · weightᵀ + bias`.
    fn linear(&mut self, name: &str, x: &str, from: usize, to: usize) -> Result<Name> {
        let weight = format!("{}{name}.weight", self.prefix);
        let bias = self.weight(&format!("{name}.bias"), &[to])?;
        self.graph.linear(&weight, x, &bias, from, to)
    }

    fn layer_norm(&mut self, name: &str, x: &str) -> Result<Name> {
        let hidden = self.config.hidden;
        // Weights converted from TensorFlow keep its names.
        let old = self.weights.has(&format!("{}{name}.gamma", self.prefix));
        let (scale, bias) = if old {
            ("gamma", "beta")
        } else {
            ("weight", "bias")
        };
        let scale = self.weight(&format!("{name}.{scale}"), &[hidden])?;
        let bias = self.weight(&format!("{name}.{bias}"), &[hidden])?;
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
