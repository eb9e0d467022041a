//! Weights → ONNX graph.
//!
//! In: a model folder's configuration and the places of its weights. Out: the bytes of an ONNX model that maps token
//! ids to pooled sentence vectors. The weights are not copied: the graph names their byte ranges in the weights file.
//!
//! | file | |
//! |---|---|
//! | `bert.rs` | the architecture, operator by operator |
//! | `graph.rs` | nodes and initializers → graph |
//! | `proto.rs` | the protobuf messages |
//!
//! ```text
//! ids  [batch, tokens] i64 ─┐
//!                           ├─ embeddings ─ layer × n ─ pooling ─ vectors [batch, hidden] f32
//! mask [batch, tokens] f32 ─┘
//! ```
//!
//! The operators are written as ONNX Runtime would fuse them, so that no optimiser has to run when a session opens,
//! and every runtime version executes the same graph.

mod bert;
mod graph;
mod proto;

use super::model::Model;
use super::weights::{Place, Weights};
use crate::error::Result;

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
/// Output: pooled vectors, `[batch, hidden]` f32, not normalised.
pub(super) const OUTPUT: &str = "vectors";

/// A model as ONNX Runtime takes it.
pub(super) struct Export {
    /// The ONNX model, weights left out.
    pub graph: Vec<u8>,
    /// The weights of its matrix products.
    pub matrices: Vec<Matrix>,
}

/// A weight that a matrix product uses.
pub(super) struct Matrix {
    /// Its name in the graph.
    pub name: String,
    pub shape: Vec<usize>,
    pub place: Place,
}

/// Writes the model's graph.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a weight that is missing, of another shape, or not f32.
pub(super) fn export(model: &Model, weights: &Weights) -> Result<Export> {
    bert::export(model, weights)
}
