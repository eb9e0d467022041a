//! f32 rows → int8 codes, and back to a score with a proven error.
//!
//! A row x is written as `c = round((x − μ) / s)` with the segment's mean μ and one scale s for all components, so that
//! every code lies in ±127. For a query q, coded without centring with a scale t of its own:
//!
//!   q·x  ≈  q·μ + s·t·(code(q)·c)        off by at most  |q|·ε + |q − q̂|·r
//!
//! where ε is the longest `x − (μ + s·c)` and r the longest `s·c` of the segment (Cauchy–Schwarz on each error).

use std::io::{self, Write};

use super::format::u64_at;
use super::map::as_f32;
use crate::error::Result;

/// Bytes before μ in the section.
const FIXED_BYTES: usize = 32;

/// Bytes of one row's code.
pub(super) fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(64)
}

/// How a segment's rows were coded.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantiser {
    /// s: one step of a code.
    scale: f64,
    /// ε: the longest difference between a row and what its code stands for.
    longest_error: f64,
    /// r: the longest `s·c`.
    longest_code: f64,
    /// The longest row.
    longest_row: f64,
    /// μ, shape `[dimension]`.
    centre: Vec<f32>,
}

impl Quantiser {
    /// Codes `rows` rows, each of `dimension` components, which `row` gives: it is asked for each of them three times, in
    /// their order. Returns the codes, shape `[rows, stride]`.
    ///
    /// # Errors
    /// What `row` says.
    pub fn fit<'a>(
        rows: u32,
        dimension: usize,
        row: impl Fn(u32) -> Result<&'a [f32]>,
    ) -> Result<(Self, Vec<i8>)> {
        let centre = mean(rows, dimension, &row)?;
        let off_centre = |row: &[f32], at: usize| f64::from(row[at]) - f64::from(centre[at]);
        let mut largest = 0.0f64;
        for row in (0..rows).map(&row) {
            let row = row?;
            largest = (0..dimension)
                .map(|at| off_centre(row, at).abs())
                .fold(largest, f64::max);
        }
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut codes = vec![0i8; rows as usize * stride(dimension)];
        let (mut longest_error, mut longest_code, mut longest_row) = (0.0f64, 0.0f64, 0.0f64);
        for (row, code) in (0..rows)
            .map(&row)
            .zip(codes.chunks_exact_mut(stride(dimension).max(1)))
        {
            let row = row?;
            let (mut error, mut code_norm, mut row_norm) = (0.0, 0.0, 0.0);
            for at in 0..dimension {
                let x = off_centre(row, at);
                code[at] = (x / scale).round().clamp(-127.0, 127.0) as i8;
                let decoded = scale * f64::from(code[at]);
                error += (x - decoded).powi(2);
                code_norm += decoded.powi(2);
                row_norm += f64::from(row[at]).powi(2);
            }
            longest_error = longest_error.max(error);
            longest_code = longest_code.max(code_norm);
            longest_row = longest_row.max(row_norm);
        }
        let [longest_error, longest_code, longest_row] =
            [longest_error, longest_code, longest_row].map(f64::sqrt);
        let quantiser = Self {
            scale,
            longest_error,
            longest_code,
            longest_row,
            centre,
        };
        Ok((quantiser, codes))
    }

    /// Writes the section.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for value in [
            self.scale,
            self.longest_error,
            self.longest_code,
            self.longest_row,
        ] {
            out.write_all(&value.to_le_bytes())?;
        }
        self.centre
            .iter()
            .try_for_each(|x| out.write_all(&x.to_le_bytes()))
    }

    /// Bytes of the section.
    pub fn section_bytes(dimension: usize) -> usize {
        FIXED_BYTES + 4 * dimension
    }

    /// Reads the section. `None` if it is too short or holds what no fit gives.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let value = |nth: usize| {
            u64_at(bytes, 8 * nth)
                .map(f64::from_bits)
                .filter(|x| x.is_finite() && *x >= 0.0)
        };
        let centre = as_f32(bytes.get(FIXED_BYTES..)?).to_vec();
        if !centre.iter().all(|x| x.is_finite()) {
            return None;
        }
        let scale = value(0).filter(|&scale| scale > 0.0)?;
        Some(Self {
            scale,
            longest_error: value(1)?,
            longest_code: value(2)?,
            longest_row: value(3)?,
            centre,
        })
    }

    /// Codes a query of the segment's dimension.
    pub fn query(&self, query: &[f32]) -> QueryCode {
        let largest = query
            .iter()
            .fold(0.0f64, |largest, &x| largest.max(f64::from(x).abs()));
        let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut code = vec![0i8; stride(query.len())];
        let (mut norm, mut error, mut at_centre) = (0.0, 0.0, 0.0);
        for ((&x, code), &centre) in query.iter().zip(&mut code).zip(&self.centre) {
            let x = f64::from(x);
            *code = (x / step).round().clamp(-127.0, 127.0) as i8;
            norm += x * x;
            error += (x - step * f64::from(*code)).powi(2);
            at_centre += x * f64::from(centre);
        }
        let norm = norm.sqrt();
        let coding = norm * self.longest_error + error.sqrt() * self.longest_code;
        // What the f32 product itself may be off, n·ε·|q|·|x|, and a little for the f64 sums here.
        let rounding = query.len() as f64 * f64::from(f32::EPSILON) * norm * self.longest_row;
        QueryCode {
            code,
            unit: self.scale * step,
            at_centre,
            bound: (coding + rounding) * 1.000_001,
        }
    }
}

/// A query ready to be compared with codes.
pub(super) struct QueryCode {
    /// int8, padded as the rows are.
    pub code: Vec<i8>,
    unit: f64,
    at_centre: f64,
    bound: f64,
}

impl QueryCode {
    /// The least code product that a row can have whose exact score reaches `score`.
    pub fn least_product(&self, score: f32) -> i32 {
        let least = (f64::from(score) - self.bound - self.at_centre) / self.unit;
        // A NaN, as damaged rows can give, must rule nothing out.
        if least.is_nan() {
            i32::MIN
        } else {
            least.floor() as i32
        }
    }
}

fn mean<'a>(
    rows: u32,
    dimension: usize,
    row: impl Fn(u32) -> Result<&'a [f32]>,
) -> Result<Vec<f32>> {
    let mut sums = vec![0.0f64; dimension];
    for row in (0..rows).map(row) {
        for (sum, &x) in sums.iter_mut().zip(row?) {
            *sum += f64::from(x);
        }
    }
    let count = f64::from(rows.max(1));
    Ok(sums.into_iter().map(|sum| (sum / count) as f32).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::kernel::Kernel;

    fn fit(rows: &[&[f32]], dimension: usize) -> (Quantiser, Vec<i8>) {
        Quantiser::fit(rows.len() as u32, dimension, |row| Ok(rows[row as usize]))
            .expect("every row is there")
    }

    proptest! {
        #[test]
        fn no_row_is_further_from_its_estimate_than_the_bound(
            flat in proptest::collection::vec(-1.0f32..1.0, 7 * 21),
            shift in -10.0f32..10.0,
        ) {
            let flat: Vec<f32> = flat.into_iter().map(|x| x + shift).collect();
            let rows: Vec<&[f32]> = flat.chunks(21).collect();
            let (query, rows) = rows.split_first().expect("seven rows");
            let (quantiser, codes) = fit(rows, 21);
            let coded = quantiser.query(query);
            for (row, code) in rows.iter().zip(codes.chunks(64)) {
                let exact = Kernel::best().dot_f32(query, row);
                prop_assert!(Kernel::best().dot(&coded.code, code) >= coded.least_product(exact));
            }
        }
    }

    #[test]
    fn equal_rows_are_coded_without_dividing_by_zero() {
        let (quantiser, codes) = fit(&[&[0.6, 0.8], &[0.6, 0.8]], 2);
        assert!(codes.iter().all(|&code| code == 0));
        let mut bytes = Vec::new();
        quantiser
            .write(&mut bytes)
            .expect("a Vec takes every write");
        assert_eq!(bytes.len(), Quantiser::section_bytes(2));
        assert_eq!(Quantiser::read(&bytes), Some(quantiser));
        assert_eq!(Quantiser::read(&bytes[..20]), None);
    }

    #[test]
    fn numbers_that_are_not_finite_are_not_read() {
        let (quantiser, _) = fit(&[&[0.6, 0.8], &[0.8, 0.6]], 2);
        let mut bytes = Vec::new();
        quantiser
            .write(&mut bytes)
            .expect("a Vec takes every write");
        for at in 0..4 {
            let mut forged = bytes.clone();
            forged[8 * at..8 * at + 8].copy_from_slice(&f64::NAN.to_le_bytes());
            assert_eq!(Quantiser::read(&forged), None, "number {at}");
        }
        for (at, x) in [(0, f32::NAN), (1, f32::INFINITY), (1, f32::NEG_INFINITY)] {
            let mut forged = bytes.clone();
            let place = FIXED_BYTES + 4 * at;
            forged[place..place + 4].copy_from_slice(&x.to_le_bytes());
            assert_eq!(Quantiser::read(&forged), None, "component {at} is {x}");
        }
    }
}
