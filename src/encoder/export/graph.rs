//! Puts nodes together into a graph, one call an operator.

use prost::Message;

use super::proto::{
    Attribute, Dimension, EXTERNAL, Entry, Graph, Model, Node, OperatorSet, Shape, Size, Tensor,
    TensorType, Type, ValueInfo, element, kind,
};
use super::quantise::{self, BLOCK};
use super::{Export, Form, Stored};
use crate::encoder::Precision;
use crate::encoder::weights::{Numbers, Place, Weights};
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
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Fixed(usize),
    Named(&'static str),
}

/// A graph being written. Large weights stay in the weights file; the graph names their place there.
pub(super) struct Builder<'a> {
    weights: &'a Weights,
    /// The weights stand in the graph itself.
    inline: bool,
    precision: Precision,
    graph: Graph,
    matrices: Vec<Stored>,
    converted: Vec<Stored>,
    count: usize,
}

impl<'a> Builder<'a> {
    pub fn new(weights: &'a Weights, form: Form, precision: Precision) -> Self {
        Self {
            weights,
            inline: form == Form::File,
            precision,
            graph: Graph {
                name: "encoder".into(),
                ..Graph::default()
            },
            matrices: Vec::new(),
            converted: Vec::new(),
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

    /// A weight of the model, checked to be of this shape.
    pub fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Name> {
        let place = self.weights.place(name, shape)?;
        let known = self.graph.initializer.iter();
        if known.clone().all(|tensor| tensor.name != name) {
            let tensor = self.tensor(name, shape, place);
            self.graph.initializer.push(tensor);
        }
        Ok(name.into())
    }

    fn tensor(&mut self, name: &str, shape: &[usize], place: Place) -> Tensor {
        let tensor = Tensor {
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: element::F32,
            name: name.into(),
            ..Tensor::default()
        };
        if self.inline {
            let values = self.weights.values(place);
            return Tensor {
                raw_data: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ..tensor
            };
        }
        if place.numbers != Numbers::F32 {
            self.converted.push(Stored {
                name: name.into(),
                shape: shape.into(),
                place,
            });
        }
        // What is converted is given to the session by its name, and not looked for in the file.
        let entry = |key: &str, value: String| Entry {
            key: key.into(),
            value,
        };
        Tensor {
            external_data: vec![
                entry("location", self.weights.file.file_name().into()),
                entry("offset", place.offset.to_string()),
                entry("length", (4 * shape.iter().product::<usize>()).to_string()),
            ],
            data_location: EXTERNAL,
            ..tensor
        }
    }

    /// `x · weightᵀ + bias` for `x` of shape `[rows, from]` and a weight `[to, from]`, in the graph's precision.
    pub fn linear(
        &mut self,
        weight: &str,
        x: &str,
        bias: &str,
        from: usize,
        to: usize,
    ) -> Result<Name> {
        let shape = [to, from];
        let place = self.weights.place(weight, &shape)?;
        if self.precision == Precision::Int8 && from.is_multiple_of(BLOCK) {
            return Ok(self.quantised_linear(weight, x, bias, shape, place));
        }
        if place.numbers == Numbers::F32 {
            self.matrices.push(Stored {
                name: weight.into(),
                shape: shape.into(),
                place,
            });
        }
        let weight = self.weight(weight, &shape)?;
        Ok(self.node("Gemm", &[x, &weight, bias], &[("transB", Value::Int(1))]))
    }

    fn quantised_linear(
        &mut self,
        weight: &str,
        x: &str,
        bias: &str,
        [to, from]: [usize; 2],
        place: Place,
    ) -> Name {
        let (bytes, scales) = quantise::blocks(&self.weights.values(place));
        let blocks = from / BLOCK;
        let tensor = |part: &str, dims: &[usize], data_type, raw_data| Tensor {
            dims: dims.iter().map(|&n| n as i64).collect(),
            data_type,
            name: format!("{weight}.{part}"),
            raw_data,
            ..Tensor::default()
        };
        let scales = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = tensor("bytes", &[to, blocks, BLOCK], element::U8, bytes);
        let scales = tensor("scales", &[to, blocks], element::F32, scales);
        let names = (bytes.name.clone(), scales.name.clone());
        self.graph.initializer.extend([bytes, scales]);
        let attributes = [
            ("K", Value::Int(from as i64)),
            ("N", Value::Int(to as i64)),
            ("bits", Value::Int(8)),
            ("block_size", Value::Int(BLOCK as i64)),
            // Products of bytes, summed in i32.
            ("accuracy_level", Value::Int(4)),
        ];
        let product = self.runtime_node("MatMulNBits", &[x, &names.0, &names.1], &attributes);
        self.node("Add", &[&product, bias], &[])
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

    /// Gives a value its name outside.
    pub fn output(&mut self, value: &str, name: &str, shape: &[Extent]) {
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
    }

    /// Ends the graph.
    pub fn finish(self) -> Export {
        let opset = |domain: &str, version| OperatorSet {
            domain: domain.into(),
            version,
        };
        let mut opset_import = vec![opset("", OPSET)];
        if !self.inline {
            opset_import.push(opset("com.microsoft", 1));
        }
        let model = Model {
            ir_version: IR_VERSION,
            producer_name: "vecdb".into(),
            graph: Some(self.graph),
            opset_import,
        };
        Export {
            graph: model.encode_to_vec(),
            matrices: self.matrices,
            converted: self.converted,
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
