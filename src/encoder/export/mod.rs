//! Weights → ONNX graph.
//!
//! In: a model folder's configuration and the places of its weights. Out: the bytes of an ONNX model that maps token
//! ids to pooled sentence vectors. The weights are not copied: the graph names their byte ranges in the weights file.
//!
//! | file | |
//! |---|---|
//! | `transformer.rs` | the network, operator by operator |
//! | `names.rs` | what each architecture calls its weights |
//! | `distance.rs` | MPNet's bias for distances |
//! | `quantise.rs` | matrices in 8 bits |
//! | `gradient.rs` | a graph → the graph of its gradient |
//! | `training.rs` | a part of the network, forward and backward |
//! | `classifier.rs` | what is guessed of a vector, how wrong it is, and the gradient |
//! | `graph.rs` | weights in a graph |
//! | `nodes.rs` | nodes, constants, inputs and outputs |
//! | `proto.rs` | the protobuf messages |
//!
//! ```text
//! ids     [batch, tokens] i64 ─┐
//! mask    [batch, tokens] f32 ─┼─ embeddings ─ layer × n ─ weighted sum ─ vectors [batch, hidden] f32
//! pooling [batch, tokens] f32 ─┘
//! ```
//!
//! The operators are written as ONNX Runtime would fuse them, so that no optimiser has to run when a session opens,
//! and every runtime version executes the same graph.

#[cfg(feature = "tune")]
mod classifier;
mod distance;
#[cfg(feature = "tune")]
mod gradient;
mod graph;
mod names;
mod nodes;
mod proto;
mod quantise;
#[cfg(feature = "tune")]
mod training;
mod transformer;

use super::Precision;
use super::model::Config;
use super::weights::{Place, Weights};
use crate::error::Result;
#[cfg(feature = "tune")]
pub(super) use classifier::{Bend, Classifier, LABELS, LOSS, RIGHT, ROWS, SCALE};
#[cfg(feature = "tune")]
pub(super) use distance::bucket as distance_bucket;
#[cfg(feature = "tune")]
pub(super) use gradient::gradient_name;
use graph::Builder;
#[cfg(feature = "tune")]
pub(super) use training::{DISTANCES, ENTERING, Graphs, LEAVING, Part, graphs};
#[cfg(feature = "tune")]
pub(super) use transformer::{Dropped, full_prefix, prefix};

/// Raised with every change that can change a vector; part of the fingerprint.
///
/// Not only the graph counts: raise it too when the constants or rules of `window.rs` and of
/// [`Encoder::windows`](super::Encoder::windows), or a new release of the `tokenizers` crate, change which tokens are
/// encoded for a text.
pub(super) const EXPORTER_VERSION: u32 = 1;

/// Input: token ids, `[batch, tokens]` i64; padding holds any valid id.
pub(super) const IDS: &str = "ids";
/// Input: 1 for a token, 0 for padding, `[batch, tokens]` f32.
pub(super) const MASK: &str = "mask";
/// Input: how much of each token's vector is in the text's, `[batch, tokens]` f32.
pub(super) const POOLING: &str = "pooling";
/// Output: pooled vectors, `[batch, hidden]` f32, not normalised.
pub(super) const VECTORS: &str = "vectors";
/// Output of an inspection: rows of the word embeddings, `[batch, tokens, hidden]` f32.
pub(super) const EMBEDDINGS: &str = "embeddings";

/// Inputs and output of a file for other programs, named as exports on the Hugging Face hub name them.
pub(super) const FILE_IDS: &str = "input_ids";
pub(super) const FILE_MASK: &str = "attention_mask";
pub(super) const FILE_SEGMENTS: &str = "token_type_ids";
pub(super) const FILE_VECTORS: &str = "last_hidden_state";

/// Output of an inspection: token vectors after so many layers, `[batch, tokens, hidden]` f32.
pub(super) fn hidden_name(layers: usize) -> String {
    format!("hidden_{layers}")
}

/// Output of an inspection: attention in the n-th layer, counted from 1, `[batch, heads, tokens, tokens]` f32.
pub(super) fn attention_name(layer: usize) -> String {
    format!("attention_{layer}")
}

/// What a graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Vectors of texts.
    Serving,
    /// All that happens inside.
    Inspection,
    /// For other programs: standard operators alone, i64 inputs, the weights inside.
    File,
    /// Parts that are trained: weights are inputs.
    Training,
}

/// A model as ONNX Runtime takes it.
pub(super) struct Export {
    /// The ONNX model, weights left out.
    pub graph: Vec<u8>,
    /// The weights of its matrix products that are read as they lie in the file.
    pub matrices: Vec<Stored>,
    /// Weights that are not: they have to be converted to f32.
    pub converted: Vec<Stored>,
}

/// A weight in the weights file.
pub(super) struct Stored {
    /// Its name in the graph.
    pub name: String,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// Writes the model's graph.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a weight that is missing, of another shape, or of a type that is not read.
pub(super) fn export(
    config: &Config,
    weights: &Weights,
    form: Form,
    precision: Precision,
) -> Result<Export> {
    let graph = Builder::new(weights, form, precision);
    Ok(transformer::write(graph, config, weights, form)?.finish())
}
