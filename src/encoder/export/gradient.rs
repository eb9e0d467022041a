//! A graph → its gradient, as a graph (reverse-mode differentiation, operator by operator).
//!
//! ```text
//! inputs, weights ─ forward ─┬─ output
//!                            └─ saved values ─┐
//!            d output, saved values, weights ─┴ backward ─ d weight, d input, …
//! ```
//!
//! What the backward graph needs of the forward one's values becomes an output there and an input here, so nothing is computed
//! twice. The rules are those of calculus; each is tested against finite differences. Shapes are the transformer's: the two
//! summands of an `Add` are of one shape, but where `broadcast` names one that is the same for each text of a batch.

use std::collections::{BTreeMap, BTreeSet};

use super::nodes::{Name, Nodes, Value};
use super::proto::{Graph, Node, element, kind};

/// A value's gradient is called so.
pub(in crate::encoder) fn gradient_name(value: &str) -> String {
    format!("d {value}")
}

/// What comes of differentiating.
pub(super) struct Gradient {
    /// Nodes of the backward graph; its inputs and outputs are for the caller to declare.
    pub backward: Nodes,
    /// Values that the forward graph has to give out, and whether they are integers.
    pub saved: Vec<(Name, bool)>,
    /// Of `wanted`, what the output depends on.
    pub found: Vec<Name>,
}

/// Differentiates the value `output` of `forward` by `wanted`; adds to `forward` what only the gradient needs.
pub(super) fn differentiate(
    forward: &mut Graph,
    output: &str,
    wanted: &BTreeSet<Name>,
    broadcast: &BTreeSet<Name>,
) -> Gradient {
    let mut depends: BTreeSet<Name> = wanted.clone();
    for node in &forward.node {
        if node.input.iter().any(|name| depends.contains(name)) {
            depends.extend(node.output.iter().cloned());
        }
    }
    let mut rules = Rules {
        graph: Nodes::new("gradient", "back_"),
        depends,
        broadcast,
        gradients: BTreeMap::from([(output.to_owned(), gradient_name(output))]),
        shapes: Vec::new(),
    };
    for node in forward.node.iter_mut().rev() {
        if node.output.iter().any(|name| rules.depends.contains(name)) {
            rules.node(node);
        }
    }
    forward.node.append(&mut rules.shapes);

    let Rules {
        mut graph,
        gradients,
        ..
    } = rules;
    let mut found = Vec::new();
    for name in wanted {
        if let Some(gradient) = gradients.get(name) {
            graph.alias(gradient, &gradient_name(name));
            found.push(name.clone());
        }
    }
    let used = graph.names_used();
    let mut saved = Vec::new();
    for node in &forward.node {
        let of_integers = node.op_type == "Shape";
        let outputs = node.output.iter().filter(|name| used.contains(*name));
        saved.extend(outputs.map(|name| (name.clone(), of_integers)));
    }
    for tensor in &forward.initializer {
        if used.contains(&tensor.name) {
            graph.graph.initializer.push(tensor.clone());
        }
    }
    Gradient {
        backward: graph,
        saved,
        found,
    }
}

struct Rules<'a> {
    graph: Nodes,
    depends: BTreeSet<Name>,
    broadcast: &'a BTreeSet<Name>,
    gradients: BTreeMap<Name, Name>,
    /// Nodes that the forward graph gets at its end.
    shapes: Vec<Node>,
}

impl Rules<'_> {
    fn node(&mut self, node: &mut Node) {
        let Some(dy) = self.gradients.get(&node.output[0]).cloned() else {
            return;
        };
        let inputs: Vec<&str> = node.input.iter().map(String::as_str).collect();
        match (node.op_type.as_str(), &inputs[..]) {
            ("Gemm", [x, weight, bias]) => self.linear(x, weight, bias, &dy),
            ("Add", [a, b]) => {
                self.give(a, &dy);
                self.give(b, &dy);
            }
            ("Mul", [a, b]) => {
                for (to, other) in [(a, b), (b, a)] {
                    if self.depends.contains(*to) {
                        let d = self.op("Mul", &[&dy, other]);
                        self.give(to, &d);
                    }
                }
            }
            ("FusedMatMul", [a, b]) => {
                let alpha = float(node, "alpha");
                self.product(a, b, &dy, alpha, true);
            }
            ("MatMul", [a, b]) => self.product(a, b, &dy, 1.0, false),
            ("Softmax", [x]) => {
                let p = &node.output[0];
                let weighed = self.op("Mul", &[&dy, p]);
                let total = self.reduce("ReduceSum", &weighed, -1, true);
                let centred = self.op("Sub", &[&dy, &total]);
                let d = self.op("Mul", &[p, &centred]);
                self.give(x, &d);
            }
            ("Gelu", [x]) => {
                let d = match node.attribute.is_empty() {
                    true => self.gelu(x),
                    false => self.gelu_tanh(x),
                };
                let d = self.op("Mul", &[&dy, &d]);
                self.give(x, &d);
            }
            ("Relu", [x]) => {
                let zero = self.graph.float(0.0);
                let positive = self.op("Greater", &[x, &zero]);
                let on = self
                    .graph
                    .node("Cast", &[&positive], &[("to", Value::Int(1))]);
                let d = self.op("Mul", &[&dy, &on]);
                self.give(x, &d);
            }
            ("Tanh", [x]) => {
                let y = &node.output[0];
                let square = self.op("Mul", &[y, y]);
                let one = self.graph.float(1.0);
                let slope = self.op("Sub", &[&one, &square]);
                let d = self.op("Mul", &[&dy, &slope]);
                self.give(x, &d);
            }
            ("Reshape", [x, _]) => {
                let shape = format!("shape of {x} for {}", node.output[0]);
                self.shapes.push(Node {
                    input: vec![(*x).to_owned()],
                    output: vec![shape.clone()],
                    name: shape.clone(),
                    op_type: "Shape".into(),
                    ..Node::default()
                });
                let d = self.op("Reshape", &[&dy, &shape]);
                self.give(x, &d);
            }
            ("Transpose", [x]) => {
                let order = integers(node, "perm");
                let mut back = vec![0; order.len()];
                for (at, &from) in order.iter().enumerate() {
                    back[from as usize] = at as i64;
                }
                let d = self
                    .graph
                    .node("Transpose", &[&dy], &[("perm", Value::Ints(&back))]);
                self.give(x, &d);
            }
            ("LayerNormalization", [x, scale, bias]) => {
                let (mean, inverse) = (
                    format!("{} mean", node.output[0]),
                    format!("{} inverse", node.output[0]),
                );
                self.layer_norm([x, scale, bias], &mean, &inverse, &dy);
                node.output.extend([mean, inverse]);
            }
            // Integers and masks: `depends` lets none of them through.
            (other, _) => unreachable!("{other} has no rule"),
        }
    }

    /// `y = x · weightᵀ + bias`
    fn linear(&mut self, x: &str, weight: &str, bias: &str, dy: &str) {
        if self.depends.contains(weight) {
            let d = self
                .graph
                .node("Gemm", &[dy, x], &[("transA", Value::Int(1))]);
            self.give(weight, &d);
        }
        if self.depends.contains(bias) {
            let d = self.reduce("ReduceSum", dy, 0, false);
            self.give(bias, &d);
        }
        if self.depends.contains(x) {
            // What came before is added by the product itself.
            let d = match self.gradients.get(x).cloned() {
                Some(before) => self.graph.node("Gemm", &[dy, weight, &before], &[]),
                None => self.graph.node("Gemm", &[dy, weight], &[]),
            };
            self.gradients.insert(x.to_owned(), d);
        }
    }

    /// `y = alpha · a · b`, or `· bᵀ`, of the last two axes.
    fn product(&mut self, a: &str, b: &str, dy: &str, alpha: f32, b_transposed: bool) {
        let mut times = |left: &str, right: &str, trans_a: bool, trans_b: bool| {
            let attributes = [
                ("alpha", Value::Float(alpha)),
                ("transA", Value::Int(trans_a.into())),
                ("transB", Value::Int(trans_b.into())),
            ];
            self.graph
                .runtime_node("FusedMatMul", &[left, right], &attributes)
        };
        let da = times(dy, b, false, !b_transposed);
        let db = match b_transposed {
            true => times(dy, a, true, false),
            false => times(a, dy, true, false),
        };
        self.give(a, &da);
        self.give(b, &db);
    }

    /// `½ (1 + erf(x/√2)) + x · φ(x)`
    fn gelu(&mut self, x: &str) -> Name {
        use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
        let [root, one, half, factor] =
            [FRAC_1_SQRT_2, 1.0, 0.5, FRAC_2_SQRT_PI].map(|x| self.graph.float(x));
        let t = self.op("Mul", &[x, &root]);
        let erf = self.op("Erf", &[&t]);
        let square = self.op("Mul", &[&t, &t]);
        let negative = self.op("Neg", &[&square]);
        let bell = self.op("Exp", &[&negative]);
        let bell = self.op("Mul", &[&t, &bell]);
        let bell = self.op("Mul", &[&bell, &factor]);
        let sum = self.op("Add", &[&erf, &bell]);
        let sum = self.op("Add", &[&sum, &one]);
        self.op("Mul", &[&sum, &half])
    }

    /// Of `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    fn gelu_tanh(&mut self, x: &str) -> Name {
        let root = (2.0 / std::f32::consts::PI).sqrt();
        let [root, cubic, cubic3, one, half] =
            [root, 0.044_715, 3.0 * 0.044_715, 1.0, 0.5].map(|x| self.graph.float(x));
        let square = self.op("Mul", &[x, x]);
        let inner = self.op("Mul", &[&square, &cubic]);
        let inner = self.op("Add", &[&inner, &one]);
        let inner = self.op("Mul", &[&inner, x]);
        let inner = self.op("Mul", &[&inner, &root]);
        let tanh = self.op("Tanh", &[&inner]);
        let slope = self.op("Mul", &[&square, &cubic3]);
        let slope = self.op("Add", &[&slope, &one]);
        let slope = self.op("Mul", &[&slope, &root]);
        let slope = self.op("Mul", &[&slope, x]);
        let tanh2 = self.op("Mul", &[&tanh, &tanh]);
        let bend = self.op("Sub", &[&one, &tanh2]);
        let bent = self.op("Mul", &[&bend, &slope]);
        let sum = self.op("Add", &[&tanh, &bent]);
        let sum = self.op("Add", &[&sum, &one]);
        self.op("Mul", &[&sum, &half])
    }

    /// With `x̂ = (x − mean) · inverse` and `g = dy · scale`: `inverse · (g − mean(g) − x̂ · mean(g · x̂))`.
    fn layer_norm(&mut self, [x, scale, bias]: [&str; 3], mean: &str, inverse: &str, dy: &str) {
        let centred = self.op("Sub", &[x, mean]);
        let normal = self.op("Mul", &[&centred, inverse]);
        if self.depends.contains(scale) {
            let weighed = self.op("Mul", &[dy, &normal]);
            let d = self.reduce("ReduceSum", &weighed, 0, false);
            self.give(scale, &d);
        }
        if self.depends.contains(bias) {
            let d = self.reduce("ReduceSum", dy, 0, false);
            self.give(bias, &d);
        }
        if self.depends.contains(x) {
            let g = self.op("Mul", &[dy, scale]);
            let mean_g = self.reduce("ReduceMean", &g, -1, true);
            let along = self.op("Mul", &[&g, &normal]);
            let along = self.reduce("ReduceMean", &along, -1, true);
            let along = self.op("Mul", &[&normal, &along]);
            let d = self.op("Sub", &[&g, &mean_g]);
            let d = self.op("Sub", &[&d, &along]);
            let d = self.op("Mul", &[&d, inverse]);
            self.give(x, &d);
        }
    }

    fn op(&mut self, operator: &str, inputs: &[&str]) -> Name {
        self.graph.node(operator, inputs, &[])
    }

    fn reduce(&mut self, operator: &str, x: &str, axis: i64, keep: bool) -> Name {
        let axes = self.graph.integers(&[axis], false);
        let keep = [("keepdims", Value::Int(keep.into()))];
        self.graph.node(operator, &[x, &axes], &keep)
    }

    /// Adds to the gradient of a value, if it is of interest.
    fn give(&mut self, to: &str, d: &str) {
        if !self.depends.contains(to) {
            return;
        }
        let d = match self.broadcast.contains(to) {
            true => self.reduce("ReduceSum", d, 0, true),
            false => d.to_owned(),
        };
        let sum = match self.gradients.get(to).cloned() {
            Some(before) => self.op("Add", &[&before, &d]),
            None => d,
        };
        self.gradients.insert(to.to_owned(), sum);
    }
}

fn float(node: &Node, name: &str) -> f32 {
    let found = node.attribute.iter().find(|a| a.name == name);
    found.map_or(1.0, |attribute| {
        debug_assert_eq!(attribute.kind, kind::FLOAT);
        attribute.f
    })
}

fn integers(node: &Node, name: &str) -> Vec<i64> {
    let found = node.attribute.iter().find(|a| a.name == name);
    found.map_or(Vec::new(), |attribute| attribute.ints.clone())
}

/// The type of a saved value.
pub(super) fn element_of(integers: bool) -> i32 {
    if integers { element::I64 } else { element::F32 }
}
