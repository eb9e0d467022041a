//! A linear map of queries' vectors, learnt beside an encoder that stays as it is: `q + U V q`, of low rank.
//!
//! Passages do not pass through it, so what is embedded stays, and the encoder's fingerprint with it. It lies in the model's folder
//! as `query_adapter.safetensors`: `up` is U, `[dimension, rank]`, and `down` is V, `[rank, dimension]`, f32.

use std::path::Path;

use super::model::unusable;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::vector::Vector;

/// Where it lies in a model folder.
pub(super) const ADAPTER_FILE: &str = "query_adapter.safetensors";
const UP: &str = "up";
const DOWN: &str = "down";
/// The largest rank that is read.
const MAX_RANK: usize = 4_096;

/// The map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Adapter {
    pub rank: usize,
    /// `[dimension, rank]`
    pub up: Vec<f32>,
    /// `[rank, dimension]`
    pub down: Vec<f32>,
}

impl Adapter {
    /// That of a folder, if there is one.
    pub(super) fn read(folder: &Path, dimension: usize) -> Result<Option<Self>> {
        if !folder.join(ADAPTER_FILE).exists() {
            return Ok(None);
        }
        let file = Weights::open(folder, ADAPTER_FILE)?;
        let rank = file.shape(DOWN).and_then(|shape| shape.first().copied());
        let Some(rank) = rank.filter(|rank| (1..=MAX_RANK).contains(rank)) else {
            return Err(file
                .file
                .unusable("it lacks `down`, or its rank is not one"));
        };
        let up = file.values(file.place(UP, &[dimension, rank])?);
        let down = file.values(file.place(DOWN, &[rank, dimension])?);
        if !up.iter().chain(&down).all(|x| x.is_finite()) {
            return Err(unusable(
                folder,
                format!("{ADAPTER_FILE} has numbers that are none"),
            ));
        }
        Ok(Some(Self { rank, up, down }))
    }

    /// Writes it into a model folder.
    #[cfg(feature = "tune")]
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        use super::weights::Tensor;
        let dimension = self.up.len() / self.rank;
        let (up, down) = ([dimension, self.rank], [self.rank, dimension]);
        let tensors = [
            (UP, Tensor::of(&self.up, &up)),
            (DOWN, Tensor::of(&self.down, &down)),
        ];
        super::weights::write(&tensors, None, &folder.join(ADAPTER_FILE))
    }

    /// What it makes of a query's vector, not of length 1.
    pub(crate) fn apply(&self, query: &[f32]) -> Vec<f32> {
        let low: Vec<f32> = self
            .down
            .chunks_exact(query.len())
            .map(|row| dot(row, query))
            .collect();
        let rows = self.up.chunks_exact(self.rank);
        query
            .iter()
            .zip(rows)
            .map(|(x, row)| x + dot(row, &low))
            .collect()
    }

    /// The same, at length 1.
    pub(super) fn adapt(&self, query: &Vector) -> Result<Vector> {
        Vector::new(self.apply(query.as_slice()))
            .and_then(Vector::to_unit)
            .map_err(|error| Error::Encode {
                what: format!("the query adapter's output cannot be used: {error}"),
            })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
