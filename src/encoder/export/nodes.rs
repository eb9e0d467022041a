//! Nodes, constants, inputs and outputs: a graph that knows nothing of weights.

#[cfg(feature = "tune")]
use std::collections::BTreeSet;

use prost::Message;

use super::proto::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Size, Tensor, TensorType, Type,
    ValueInfo, element, kind,
};

/// The operator set of the standard domain; Gelu came with it.
const OPSET: i64 = 20;
/// IR version that belongs to it; ONNX Runtime 1.22 reads up to 10.
const IR_VERSION: i64 = 9;

/// The name of a value in the graph.
pub(super) type Name = String;

/// An attribute's value.
pub(super) enum Value<'a> {
    Float(f32),
    Int(i64),
    Text(&'a str),
    Ints(&'a [i64]),
}

/// A dimension of an input or output.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Fixed(usize),
    Named(&'static str),
}

/// A graph being written.
pub(super) struct Nodes {
    pub graph: Graph,
    /// Stands before the names of what is made here.
    prefix: &'static str,
    count: usize,
}

impl Nodes {
    pub fn new(name: &str, prefix: &'static str) -> Self {
        Self {
            graph: Graph {
                name: name.into(),
                ..Graph::default()
            },
            prefix,
            count: 0,
        }
    }

    /// One node with one output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Value<'_>)],
    ) -> Name {
        self.node_of("", operator, inputs, attributes)
    }

    /// One node of ONNX Runtime's own operators, which every CPU build has.
    pub fn runtime_node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Value<'_>)],
    ) -> Name {
        self.node_of("com.microsoft", operator, inputs, attributes)
    }

    fn node_of(
        &mut self,
        domain: &str,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Value<'_>)],
    ) -> Name {
        self.count += 1;
        let output = format!("{}{operator}_{}", self.prefix, self.count);
        self.graph.node.push(Node {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: operator.into(),
            attribute: attributes
                .iter()
                .map(|(name, value)| attribute(name, value))
                .collect(),
            domain: domain.into(),
        });
        output
    }

    /// Integers known now: shapes, axes. `dims` is `[]` for a scalar.
    pub fn integers(&mut self, values: &[i64], scalar: bool) -> Name {
        let dims = if scalar {
            vec![]
        } else {
            vec![values.len() as i64]
        };
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(element::I64, dims, bytes)
    }

    /// A scalar known now.
    pub fn float(&mut self, value: f32) -> Name {
        self.constant(element::F32, vec![], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, data_type: i32, dims: Vec<i64>, raw_data: Vec<u8>) -> Name {
        self.count += 1;
        let name = format!("{}constant_{}", self.prefix, self.count);
        self.graph.initializer.push(Tensor {
            dims,
            data_type,
            name: name.clone(),
            raw_data,
            ..Tensor::default()
        });
        name
    }

    pub fn input_i64(&mut self, name: &str, shape: &[Extent]) {
        self.graph.input.push(value_info(name, element::I64, shape));
    }

    pub fn input_f32(&mut self, name: &str, shape: &[Extent]) {
        self.graph.input.push(value_info(name, element::F32, shape));
    }

    /// A second name for a value.
    fn call(&mut self, value: &str, name: &str) {
        self.graph.node.push(Node {
            input: vec![value.into()],
            output: vec![name.into()],
            name: name.into(),
            op_type: "Identity".into(),
            ..Node::default()
        });
    }

    /// Gives a value its name outside.
    pub fn output(&mut self, value: &str, name: &str, shape: &[Extent]) {
        self.call(value, name);
        self.graph
            .output
            .push(value_info(name, element::F32, shape));
    }

    /// An input of any shape.
    pub fn take_in(&mut self, name: &str, elem_type: i32) {
        self.graph.input.push(of_any_shape(name, elem_type));
    }

    /// The bytes of a model; `runtime` if it has operators that only ONNX Runtime knows.
    pub fn finish(self, runtime: bool) -> Vec<u8> {
        let opset = |domain: &str, version| OperatorSet {
            domain: domain.into(),
            version,
        };
        let mut opset_import = vec![opset("", OPSET)];
        if runtime {
            opset_import.push(opset("com.microsoft", 1));
        }
        let model = Model {
            ir_version: IR_VERSION,
            producer_name: "vecdb".into(),
            graph: Some(self.graph),
            opset_import,
        };
        model.encode_to_vec()
    }
}

/// What cutting a graph into a forward and a backward one takes.
#[cfg(feature = "tune")]
impl Nodes {
    /// Makes a value an output of another name.
    pub fn alias(&mut self, value: &str, name: &str) {
        self.call(value, name);
        self.give_out(name, element::F32);
    }

    /// Makes a value of the graph itself an output.
    pub fn give_out(&mut self, name: &str, elem_type: i32) {
        self.graph.output.push(of_any_shape(name, elem_type));
    }

    /// Numbers known now, `[values]`.
    pub fn floats(&mut self, values: &[f32]) -> Name {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.constant(element::F32, vec![values.len() as i64], bytes)
    }

    /// Puts the nodes and outputs of another graph behind its own, which name values of both; what the other calls `input` is
    /// the value of that name here.
    pub fn append(&mut self, mut other: Self, input: &str, value: &str) {
        for name in other.graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if name == input {
                *name = value.into();
            }
        }
        self.graph.node.append(&mut other.graph.node);
        self.graph.output.append(&mut other.graph.output);
        let known = |name: &str, graph: &Graph| graph.initializer.iter().any(|t| t.name == name);
        for tensor in other.graph.initializer {
            if !known(&tensor.name, &self.graph) {
                self.graph.initializer.push(tensor);
            }
        }
    }

    /// The names of the graph's inputs.
    pub fn inputs(&self) -> Vec<Name> {
        let inputs = self.graph.input.iter();
        inputs.map(|input| input.name.clone()).collect()
    }

    /// Makes a value that nothing here computes an input, of another name.
    pub fn rename_input(&mut self, value: &str, name: &str) {
        for input in self.graph.node.iter_mut().flat_map(|node| &mut node.input) {
            if input == value {
                *input = name.into();
            }
        }
        self.take_in(name, element::F32);
    }

    /// Every value that a node takes.
    pub fn names_used(&self) -> BTreeSet<Name> {
        let nodes = self.graph.node.iter();
        nodes.flat_map(|node| node.input.iter().cloned()).collect()
    }
}

fn of_any_shape(name: &str, elem_type: i32) -> ValueInfo {
    ValueInfo {
        name: name.into(),
        r#type: Some(Type {
            tensor_type: Some(TensorType {
                elem_type,
                shape: None,
            }),
        }),
    }
}

fn attribute(name: &str, value: &Value<'_>) -> Attribute {
    let base = Attribute {
        name: name.into(),
        ..Attribute::default()
    };
    match *value {
        Value::Float(f) => Attribute {
            f,
            kind: kind::FLOAT,
            ..base
        },
        Value::Int(i) => Attribute {
            i,
            kind: kind::INT,
            ..base
        },
        Value::Text(s) => Attribute {
            s: s.as_bytes().to_vec(),
            kind: kind::STRING,
            ..base
        },
        Value::Ints(ints) => Attribute {
            ints: ints.to_vec(),
            kind: kind::INTS,
            ..base
        },
    }
}

fn value_info(name: &str, elem_type: i32, shape: &[Extent]) -> ValueInfo {
    let dim = shape.iter().map(|extent| Dimension {
        size: Some(match *extent {
            Extent::Fixed(n) => Size::Fixed(n as i64),
            Extent::Named(name) => Size::Named(name.into()),
        }),
    });
    let tensor_type = TensorType {
        elem_type,
        shape: Some(Shape { dim: dim.collect() }),
    };
    ValueInfo {
        name: name.into(),
        r#type: Some(Type {
            tensor_type: Some(tensor_type),
        }),
    }
}
