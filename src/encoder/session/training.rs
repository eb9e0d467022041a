//! Graphs that are trained: every weight goes in with each run, and what a run gives may stay with the runtime for the next.

use std::collections::BTreeMap;

use ort::session::SessionInputValue;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, TensorRef};

use super::{Place, Runtime, Session, Values, builder, failed};
use crate::encoder::device::Provider;
use crate::error::{Error, Result};

/// Numbers that go into a run.
pub(in crate::encoder) struct Given<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    pub numbers: &'a [f32],
}

/// Values that a run gave, by their names; they lie where the runtime put them.
pub(in crate::encoder) struct Kept(BTreeMap<String, DynValue>);

impl Kept {
    /// Bytes that all of it takes.
    pub fn bytes(&self) -> usize {
        let elements = self.0.values().map(|value| value.shape().num_elements());
        4 * elements.sum::<usize>()
    }

    /// The numbers of a value.
    pub fn numbers(&self, name: &str) -> Result<&[f32]> {
        let value = self.0.get(name).ok_or_else(|| Error::Encode {
            what: format!("the graph did not give {name:?}"),
        })?;
        let (_, numbers) = value.try_extract_tensor::<f32>().map_err(failed)?;
        Ok(numbers)
    }
}

impl Session {
    /// Opens a graph all of whose weights are inputs.
    pub fn open_for_training(
        runtime: &Runtime,
        graph: &[u8],
        provider: &Provider,
        threads: usize,
    ) -> Result<Self> {
        let none = Values::default();
        let place = Place {
            provider,
            threads,
            values: &none,
            packed: None,
        };
        let open = || {
            let level = GraphOptimizationLevel::Disable;
            builder(runtime, "", &place, level)?.commit_from_memory(graph)
        };
        Ok(Self {
            session: open().map_err(failed)?,
            interface: None,
        })
    }

    /// Runs it over numbers, and values that another run kept; keeps all that it gives.
    pub fn run_and_keep<'a>(
        &mut self,
        given: impl IntoIterator<Item = Given<'a>>,
        kept: Option<&Kept>,
    ) -> Result<Kept> {
        let mut inputs: Vec<(String, SessionInputValue<'_>)> = Vec::new();
        for Given {
            name,
            shape,
            numbers,
        } in given
        {
            let tensor = TensorRef::from_array_view((shape.to_vec(), numbers)).map_err(failed)?;
            inputs.push((name.to_owned(), tensor.into()));
        }
        let wanted = self.session.inputs().iter().map(|input| input.name());
        let wanted: Vec<&str> = wanted.collect();
        for (name, value) in kept.iter().flat_map(|kept| &kept.0) {
            if wanted.contains(&name.as_str()) {
                inputs.push((name.clone(), value.into()));
            }
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let values = outputs.into_iter();
        Ok(Kept(
            values
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        ))
    }
}
