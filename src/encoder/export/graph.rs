//! A model's weights in a graph: named where they lie in the file, written into it, or left to be given.

use std::ops::{Deref, DerefMut};

use super::nodes::Nodes;
pub(super) use super::nodes::{Extent, Name, Value};
use super::proto::{EXTERNAL, Entry, Tensor, element};
use super::quantise::{self, BLOCK};
use super::{Export, Form, Stored};
use crate::encoder::Precision;
use crate::encoder::weights::{Numbers, Place, Weights};
use crate::error::Result;

/// A graph being written over weights. Large ones stay in the weights file; the graph names their place there.
pub(super) struct Builder<'a> {
    nodes: Nodes,
    weights: &'a Weights,
    form: Form,
    precision: Precision,
    matrices: Vec<Stored>,
    converted: Vec<Stored>,
    /// Weights that are inputs.
    pub given: Vec<(Name, Vec<usize>)>,
}

impl Deref for Builder<'_> {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.nodes
    }
}

impl DerefMut for Builder<'_> {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.nodes
    }
}

impl<'a> Builder<'a> {
    pub fn new(weights: &'a Weights, form: Form, precision: Precision) -> Self {
        Self {
            nodes: Nodes::new("encoder", ""),
            weights,
            form,
            precision,
            matrices: Vec::new(),
            converted: Vec::new(),
            given: Vec::new(),
        }
    }

    /// A weight of the model, checked to be of this shape.
    pub fn weight(&mut self, name: &str, shape: &[usize]) -> Result<Name> {
        let place = self.weights.place(name, shape)?;
        if self.form == Form::Training {
            if self.given.iter().all(|(given, _)| given != name) {
                self.given.push((name.into(), shape.into()));
                self.nodes.take_in(name, element::F32);
            }
            return Ok(name.into());
        }
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
        if self.form == Form::File {
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

    /// Ends the graph.
    pub fn finish(self) -> Export {
        Export {
            graph: self.nodes.finish(self.form != Form::File),
            matrices: self.matrices,
            converted: self.converted,
        }
    }

    /// The graph alone, and the weights that it takes.
    #[cfg(feature = "tune")]
    pub fn into_parts(self) -> (Nodes, Vec<(Name, Vec<usize>)>) {
        (self.nodes, self.given)
    }
}
