//! A classifier over vectors with its loss, and the gradient of that, as one graph.
//!
//! ```text
//! rows ─ linear ─ activation ─ normalisation ─ linear ─ log softmax ─┬→ loss, right
//!                               (if there is one)          labels ───┴─ d logits ─ … ─→ d rows, d weights
//! ```

use std::collections::BTreeSet;

use super::gradient::{differentiate, gradient_name};
use super::nodes::{Nodes, Value};
use super::proto::element;
use crate::encoder::model::Activation;

/// Input: vectors, `[rows, hidden]` f32.
pub(in crate::encoder) const ROWS: &str = "rows";
/// Input: the class of each, a whole number in f32, `[rows]`.
pub(in crate::encoder) const LABELS: &str = "labels";
/// Input: what each row's loss counts in the gradient, `[1]` f32.
pub(in crate::encoder) const SCALE: &str = "scale";
/// Output: each row's cross-entropy in nats, `[rows]` f32.
pub(in crate::encoder) const LOSS: &str = "loss";
/// Output: 1 for a row whose class is the likeliest, else 0, `[rows]` f32.
pub(in crate::encoder) const RIGHT: &str = "right";

/// What stands between the two linear maps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::encoder) enum Bend {
    Tanh,
    Of(Activation),
}

/// A classifier's weights, by name.
#[derive(Clone, Debug)]
pub(in crate::encoder) struct Classifier {
    /// `[hidden, hidden]`, `[hidden]`
    pub transform: [String; 2],
    pub bend: Bend,
    /// Scale and bias, each `[hidden]`, and what is added to the variance.
    pub norm: Option<([String; 2], f32)>,
    /// `[classes, hidden]`, `[classes]`
    pub output: [String; 2],
    pub classes: usize,
}

impl Classifier {
    /// The names of its weights.
    pub fn weights(&self) -> impl Iterator<Item = &String> {
        let norm = self.norm.iter().flat_map(|(names, _)| names);
        self.transform.iter().chain(norm).chain(&self.output)
    }

    /// The bytes of the graph. One that does not learn gives no gradients, and takes no [`SCALE`].
    pub fn graph(&self, learns: bool) -> Vec<u8> {
        let mut graph = Nodes::new("classifier", "");
        for input in [ROWS, LABELS] {
            graph.take_in(input, element::F32);
        }
        for weight in self.weights() {
            graph.take_in(weight, element::F32);
        }
        let linear = |graph: &mut Nodes, x: &str, [weight, bias]: &[String; 2]| {
            graph.node("Gemm", &[x, weight, bias], &[("transB", Value::Int(1))])
        };
        let transformed = linear(&mut graph, ROWS, &self.transform);
        let mut bent = match self.bend {
            Bend::Tanh => graph.node("Tanh", &[&transformed], &[]),
            Bend::Of(Activation::Gelu) => graph.node("Gelu", &[&transformed], &[]),
            Bend::Of(Activation::GeluTanh) => {
                let tanh = [("approximate", Value::Text("tanh"))];
                graph.node("Gelu", &[&transformed], &tanh)
            }
            Bend::Of(Activation::Relu) => graph.node("Relu", &[&transformed], &[]),
        };
        if let Some(([scale, bias], epsilon)) = &self.norm {
            let attributes = [
                ("axis", Value::Int(-1)),
                ("epsilon", Value::Float(*epsilon)),
            ];
            bent = graph.node("LayerNormalization", &[&bent, scale, bias], &attributes);
        }
        let logits = linear(&mut graph, &bent, &self.output);
        if !learns {
            self.loss(&mut graph, &logits);
            return graph.finish(true);
        }
        let wanted: BTreeSet<String> = self.weights().cloned().chain([ROWS.into()]).collect();
        let gradient = differentiate(&mut graph.graph, &logits, &wanted, &BTreeSet::new());
        let [likelihoods, one_hot] = self.loss(&mut graph, &logits);
        // Of the logits: softmax − one-hot.
        graph.take_in(SCALE, element::F32);
        let softmax = graph.node("Exp", &[&likelihoods], &[]);
        let slope = graph.node("Sub", &[&softmax, &one_hot], &[]);
        let slope = graph.node("Mul", &[&slope, SCALE], &[]);
        graph.append(gradient.backward, &gradient_name(&logits), &slope);
        graph.finish(true)
    }

    /// Losses and right ones; returns the logarithms of the likelihoods, and the labels as a row of 0 and one 1.
    fn loss(&self, graph: &mut Nodes, logits: &str) -> [String; 2] {
        let along = [("axis", Value::Int(-1))];
        let likelihoods = graph.node("LogSoftmax", &[logits], &along);
        let labels = graph.node(
            "Cast",
            &[LABELS],
            &[("to", Value::Int(element::I64.into()))],
        );
        let depth = graph.integers(&[self.classes as i64], true);
        let ends = graph.floats(&[0.0, 1.0]);
        let one_hot = graph.node("OneHot", &[&labels, &depth, &ends], &along);
        let picked = graph.node("Mul", &[&likelihoods, &one_hot], &[]);
        let axis = graph.integers(&[-1], false);
        let sum = [("keepdims", Value::Int(0))];
        let sum = graph.node("ReduceSum", &[&picked, &axis], &sum);
        let loss = graph.node("Neg", &[&sum], &[]);
        graph.alias(&loss, LOSS);
        let best = [("axis", Value::Int(-1)), ("keepdims", Value::Int(0))];
        let best = graph.node("ArgMax", &[&likelihoods], &best);
        let is_right = graph.node("Equal", &[&best, &labels], &[]);
        let right = graph.node(
            "Cast",
            &[&is_right],
            &[("to", Value::Int(element::F32.into()))],
        );
        graph.alias(&right, RIGHT);
        [likelihoods, one_hot]
    }
}
