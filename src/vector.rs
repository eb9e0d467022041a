//! A vector: finite, non-empty `f32` components.

use crate::error::{Error, Result};

/// The largest number of components a vector may have.
pub const MAX_DIMENSION: usize = 65_536;

/// The greatest length of a vector under [`Metric::Dot`] and [`Metric::L2`], 2⁶² (4.6·10¹⁸). The square of the sum or
/// difference of two such vectors fits an f32, and so does everything on the way to it: no score overflows.
const MAX_LENGTH: f64 = (1u64 << 62) as f64;

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
        let norm = self.norm();
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

    /// The Euclidean length.
    fn norm(&self) -> f64 {
        product(&self.0, &self.0).sqrt()
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

/// How near two vectors are. Whatever the metric, a higher score is nearer.
///
/// | metric | score of a query q and a vector x | stored as |
/// |---|---|---|
/// | [`Cosine`](Self::Cosine) | the cosine of their angle, in [-1, 1] | x with length 1 |
/// | [`Dot`](Self::Dot) | the inner product q·x, any number | x as given |
/// | [`L2`](Self::L2) | the negative distance −\|q − x\|, at most 0 | x as given |
///
/// Scores are f32. Under `Dot` and `L2` a vector, query or stored, may be zero and has a length of at most
/// 2⁶² (4.6·10¹⁸), so that no score overflows; a longer one is [`Error::Vector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// The cosine of the angle, in [-1, 1]. Vectors are stored with length 1.
    #[default]
    Cosine,
    /// The inner product, for vectors whose length means something: popularity, or confidence. A long vector can be
    /// nearer to a query than the query's own copy.
    Dot,
    /// The Euclidean distance, negative: a score of -0.5 says that the vectors are 0.5 apart, in the data's own units.
    L2,
}

impl Metric {
    /// A vector that was stored before, bit by bit as it was; another one as [`Metric::prepare`] makes it.
    ///
    /// # Errors
    /// As [`Metric::prepare`].
    pub(crate) fn keep(self, vector: Vector) -> Result<Vector> {
        // Of its length in f64 what rounding its components leaves.
        if self == Self::Cosine && (vector.norm() - 1.0).abs() < 1e-5 {
            return Ok(vector);
        }
        self.prepare(vector)
    }

    /// The vector as it is stored, and as a query is compared: shape unchanged.
    ///
    /// # Errors
    /// [`Error::Vector`] if it has no direction, under cosine, or is too long, under the others.
    pub(crate) fn prepare(self, vector: Vector) -> Result<Vector> {
        match self {
            Self::Cosine => vector.to_unit(),
            Self::Dot | Self::L2 => {
                let norm = vector.norm();
                if norm > MAX_LENGTH {
                    return Err(Error::Vector {
                        what: format!(
                            "its length is {norm:.2e}; under {self} it is at most {MAX_LENGTH:.2e}"
                        ),
                    });
                }
                Ok(vector)
            }
        }
    }
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::L2 => "l2",
        })
    }
}

/// For each of `places` the vector that stands there.
#[cfg(feature = "encoder")]
pub(crate) fn deal(vectors: Vec<Vector>, places: &[usize]) -> Vec<Vector> {
    let mut left = vec![0_usize; vectors.len()];
    for &place in places {
        left[place] += 1;
    }
    let mut vectors: Vec<Option<Vector>> = vectors.into_iter().map(Some).collect();
    let mut take = |place: usize| {
        left[place] -= 1;
        // Copied for all but the last: mostly each is named once, and together they are most of the memory.
        match left[place] {
            0 => vectors[place].take(),
            _ => vectors[place].clone(),
        }
    };
    let dealt = places.iter().map(|&place| take(place));
    dealt.map(|vector| vector.expect("counted above")).collect()
}

/// `Σ a·b` in f64: the squares of large f32 components overflow f32.
pub(crate) fn product(a: &[f32], b: &[f32]) -> f64 {
    sum_lanes(a, b, |a, b| f64::from(a) * f64::from(b))
}

/// The sum of a term of each pair, in eight lanes: one sum after the other would wait for each addition.
#[inline]
pub(crate) fn sum_lanes<A: Copy, B: Copy>(a: &[A], b: &[B], term: impl Fn(A, B) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(&a, &b)| term(a, b)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vectors_whose_scores_fit_are_taken() {
        let vector = |x: f32| Vector::new(vec![x, 0.0]).expect("finite");
        let longest = MAX_LENGTH as f32;
        for metric in [Metric::Dot, Metric::L2] {
            for good in [0.0, 1.0, longest, -longest] {
                let prepared = metric.prepare(vector(good)).expect("short enough");
                assert_eq!(prepared, vector(good), "{metric}");
            }
            for bad in [longest * 1.001, f32::MAX, f32::MIN] {
                let error = metric.prepare(vector(bad)).expect_err("too long");
                assert!(error.to_string().contains("length"), "{metric}: {error}");
            }
        }
        let unit = Metric::Cosine
            .prepare(vector(f32::MAX))
            .expect("any length");
        assert_eq!(unit, vector(1.0));
        assert!(Metric::Cosine.prepare(vector(0.0)).is_err());
    }
}
