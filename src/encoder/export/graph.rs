//! Puts nodes together into a graph, one call an operator.

use prost::Message;

use super::proto::{
    Attribute, Dimension, EXTERNAL, Entry, Graph, Model, Node, OperatorSet, Shape, Size, Tensor,
    TensorType, Type, ValueInfo, element, kind,
};
use super::{Export, Matrix};
use crate::encoder::weights::{Place, Weights};
use crate::error::Result;

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
pub(super) enum Extent {
    Fixed(usize),
    Named(&'static str),
}

/// A graph being written. Large weights stay in the weights file; the graph names their place there.
pub(super) struct Builder<'a> {
    weights: &'a Weights,
    graph: Graph,
    matrices: Vec<Matrix>,
    count: usize,
}

impl<'a> Builder<'a> {
    pub fn new(name: &str, weights: &'a Weights) -> Self {
        Self {
            weights,
            graph: Graph {
                name: name.into(),
                ..Graph::default()
            },
            matrices: Vec::new(),
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
        let output = format!("{operator}_{}", self.count);
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

    /// A weight of the model, checked to be f32 of this shape.
    pub fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Name> {
        let Place { offset, length } = self.weights.place(name, shape)?;
        if self
            .graph
            .initializer
            .iter()
            .all(|tensor| tensor.name != name)
        {
            let entry = |key: &str, value: String| Entry {
                key: key.into(),
                value,
            };
            self.graph.initializer.push(Tensor {
                dims: shape.iter().map(|&n| n as i64).collect(),
                data_type: element::F32,
                name: name.into(),
                external_data: vec![
                    entry("location", self.weights.file_name().into()),
                    entry("offset", offset.to_string()),
                    entry("length", length.to_string()),
                ],
                data_location: EXTERNAL,
                ..Tensor::default()
            });
        }
        Ok(name.into())
    }

    /// A weight that a matrix product uses: worth repacking.
    pub fn matrix(&mut self, name: &str, shape: &[usize]) -> Result<Name> {
        let place = self.weights.place(name, shape)?;
        self.matrices.push(Matrix {
            name: name.into(),
            shape: shape.into(),
            place,
        });
        self.weight(name, shape)
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
        let name = format!("constant_{}", self.count);
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

    /// Gives a value its name outside and ends the graph.
    pub fn finish(mut self, value: &str, name: &str, shape: &[Extent]) -> Export {
        self.graph.node.push(Node {
            input: vec![value.into()],
            output: vec![name.into()],
            name: name.into(),
            op_type: "Identity".into(),
            ..Node::default()
        });
        self.graph
            .output
            .push(value_info(name, element::F32, shape));
        let opset = |domain: &str, version| OperatorSet {
            domain: domain.into(),
            version,
        };
        let model = Model {
            ir_version: IR_VERSION,
            producer_name: "vecdb".into(),
            graph: Some(self.graph),
            opset_import: vec![opset("", OPSET), opset("com.microsoft", 1)],
        };
        Export {
            graph: model.encode_to_vec(),
            matrices: self.matrices,
        }
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
