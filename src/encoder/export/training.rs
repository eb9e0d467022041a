//! A part of the network as two graphs: forward, and backward from the gradient of what it gives.

use std::collections::BTreeSet;
use std::ops::Range;

use super::gradient::{differentiate, element_of, gradient_name};
use super::graph::Builder;
use super::nodes::Name;
use super::proto::element;
use super::{Form, transformer};
use crate::encoder::Precision;
use crate::encoder::model::Config;
use crate::encoder::weights::Weights;
use crate::error::Result;

/// Input: what goes into the part, `[batch × tokens, hidden]` f32.
pub(in crate::encoder) const ENTERING: &str = "entering";
/// Input of MPNet: what is added to the scores for distances, `[1, heads, tokens, tokens]` f32.
pub(in crate::encoder) const DISTANCES: &str = "distances";
/// Output: token vectors, `[batch × tokens, hidden]` f32.
pub(in crate::encoder) const LEAVING: &str = "leaving";

/// Which part of the network, and what of it is trained.
pub(in crate::encoder) struct Part {
    pub layers: Range<usize>,
    /// Weights by their names in the file.
    pub trained: BTreeSet<Name>,
    /// The gradient of what goes in is wanted, and that of the bias for distances.
    pub embeddings: bool,
    pub drops: bool,
}

/// Graphs of a part.
pub(in crate::encoder) struct Graphs {
    pub forward: Vec<u8>,
    /// Empty where nothing is trained.
    pub backward: Vec<u8>,
    /// Weights that both take, with their shapes.
    pub weights: Vec<(Name, Vec<usize>)>,
    /// Inputs of the backward graph.
    pub taken: BTreeSet<Name>,
    /// Values whose gradients the backward graph gives, each under its [`gradient_name`].
    pub gradients: Vec<Name>,
}

/// Writes a part's graphs.
///
/// # Errors
/// [`Error::Model`](crate::Error::Model) for a weight that is missing or of another shape.
pub(in crate::encoder) fn graphs(
    config: &Config,
    weights: &Weights,
    part: &Part,
) -> Result<Graphs> {
    let builder = Builder::new(weights, Form::Training, Precision::F32);
    let (builder, output) = transformer::write_part(builder, config, weights, part)?;
    let (mut forward, weights) = builder.into_parts();
    let mut wanted: BTreeSet<Name> = part.trained.clone();
    if part.embeddings {
        wanted.insert(ENTERING.into());
        if config.distance_buckets > 0 {
            wanted.insert(DISTANCES.into());
        }
    }
    if wanted.is_empty() {
        forward.alias(&output, LEAVING);
        return Ok(Graphs {
            forward: forward.finish(true),
            backward: Vec::new(),
            weights,
            taken: BTreeSet::new(),
            gradients: Vec::new(),
        });
    }
    let broadcast = BTreeSet::from([DISTANCES.to_owned()]);
    let mut gradient = differentiate(&mut forward.graph, &output, &wanted, &broadcast);
    forward.alias(&output, LEAVING);
    let used = gradient.backward.names_used();
    let mut taken = BTreeSet::new();
    for (name, integers) in &gradient.saved {
        forward.give_out(name, element_of(*integers));
        gradient.backward.take_in(name, element_of(*integers));
    }
    let leaving = gradient_name(&output);
    gradient
        .backward
        .rename_input(&leaving, &gradient_name(LEAVING));
    for input in forward.inputs() {
        if used.contains(&input) {
            gradient.backward.take_in(&input, element::F32);
            taken.insert(input);
        }
    }
    Ok(Graphs {
        forward: forward.finish(true),
        backward: gradient.backward.finish(true),
        weights,
        taken,
        gradients: gradient.found,
    })
}
