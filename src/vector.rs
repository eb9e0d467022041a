//! A vector: finite, non-empty `f32` components.

use crate::error::{Error, Result};

/// The largest number of components a vector may have.
pub const MAX_DIMENSION: usize = 65_536;

/// A finite, non-empty vector of `f32` components.
///
/// [`Vector::new`] is the only door, so NaN and infinity never reach an index.
///
/// ```
/// let v = vecdb::Vector::new(vec![3.0, 4.0])?.to_unit()?;
/// assert_eq!(v.as_slice(), [0.6, 0.8]);
/// assert!(vecdb::Vector::new(vec![f32::NAN]).is_err());
/// # Ok::<(), vecdb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<f32>")]
pub struct Vector(Box<[f32]>);

impl Vector {
    /// Takes `values`, shape `[dimension]`.
    ///
    /// # Errors
    /// [`Error::Vector`] if it is empty, has more than 65,536 components, or holds NaN or infinity.
    pub fn new(values: impl Into<Box<[f32]>>) -> Result<Self> {
        let values = values.into();
        if values.is_empty() {
            return Err(Error::Vector {
                what: "it has no components".into(),
            });
        }
        if values.len() > MAX_DIMENSION {
            let n = values.len();
            return Err(Error::Vector {
                what: format!("it has {n} components; at most {MAX_DIMENSION} are stored"),
            });
        }
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::Vector {
                what: format!("component {at} is {}", values[at]),
            });
        }
        Ok(Self(values))
    }

    /// The same direction with Euclidean length 1, as cosine similarity wants it.
    ///
    /// # Errors
    /// [`Error::Vector`] if every component is zero: such a vector has no direction.
    pub fn to_unit(mut self) -> Result<Self> {
        // f64: the squares of large f32 components overflow f32.
        let norm = self
            .0
            .iter()
            .map(|&x| f64::from(x) * f64::from(x))
            .sum::<f64>()
            .sqrt();
        if norm == 0.0 {
            return Err(Error::Vector {
                what: "every component is zero, so it has no direction".into(),
            });
        }
        for x in &mut self.0 {
            *x = (f64::from(*x) / norm) as f32;
        }
        Ok(self)
    }

    /// The number of components.
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    /// The components, shape `[dimension]`.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }
}

impl TryFrom<Vec<f32>> for Vector {
    type Error = Error;

    fn try_from(values: Vec<f32>) -> Result<Self> {
        Self::new(values)
    }
}

/// How near two vectors are. Scores are higher for nearer vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// The cosine of the angle, in [-1, 1]. Vectors are stored with length 1.
    #[default]
    Cosine,
}
