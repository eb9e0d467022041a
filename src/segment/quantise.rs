//! f32 rows → int8 codes, and back to a score with a proven error.
//!
//! A row x is written as `c = round((x − μ) / s)` with the segment's mean μ and one scale s for all components, so that
//! every code lies in ±127. ε is the longest `x − (μ + s·c)` and r the longest `s·c` of the segment. A query q is coded as
//! k with a scale t of its own, and rows are compared by a *key*, an i32 that is greater for nearer rows.
//!
//! Cosine and dot: `t·k ≈ q`, without centring, and the key is `k·c`. By Cauchy–Schwarz on each error
//!
//!   q·x  ≈  q·μ + s·t·key        off by at most  |q|·ε + |q − t·k|·r
//!
//! L2: `q̂ = μ + t·k ≈ q`. Distances do not change when μ is taken from both sides, and with ρ = s/t
//!
//!   |q̂ − x̂|²  =  |t·k − s·c|²  =  |t·k|² − 2·s·t·(k·c − ρ·|c|²/2)        the key is  k·c − round(ρ·|c|²/2)
//!
//! where x̂ = μ + s·c. By the triangle inequality |q̂ − x̂| ≤ |q − x| + |q − q̂| + ε, so a row nearer than δ has
//! `key ≥ (|t·k|² − (δ + |q − q̂| + ε)²) / 2st − ½`. t is never so small that a key could leave i32.

use std::io::{self, Write};

use super::format::u64_at;
use super::map::as_f32;
use crate::error::Result;
use crate::vector::{Metric, product, sum_lanes};

/// Bytes before μ in the section.
const FIXED_BYTES: usize = 32;

/// int8 codes have a multiple of so many components.
const PADDING: usize = 64;

/// Bytes of one row's code.
pub(super) fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(PADDING)
}

/// Codes made of codes: what they stand for, beside what those stood for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Recoded {
    /// One step of the new codes.
    pub scale: f64,
    /// The longest difference between what a row's codes stand for, before and after.
    pub longest_error: f64,
    /// The root of the mean square of these differences.
    pub typical_error: f64,
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
    /// The error that rows have as a rule, where it is known to be less than the longest.
    typical_error: f64,
    /// Codes of a query have a multiple of so many components.
    padding: usize,
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
        let per_step = scale.recip();
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
                code[at] = code_of(x * per_step);
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
            typical_error: longest_error,
            padding: PADDING,
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
        let longest_error = value(1)?;
        Some(Self {
            scale,
            longest_error,
            longest_code: value(2)?,
            longest_row: value(3)?,
            typical_error: longest_error,
            padding: PADDING,
            centre,
        })
    }

    /// That of other codes of the same rows; `recoded` tells how they differ from the codes of this one.
    pub fn recoded(&self, recoded: Recoded, padding: usize) -> Self {
        Self {
            scale: recoded.scale,
            longest_error: self.longest_error + recoded.longest_error,
            longest_code: self.longest_code + recoded.longest_error,
            typical_error: self.longest_error + recoded.typical_error,
            padding,
            ..self.clone()
        }
    }

    /// The code of a row, as [`fit`](Self::fit) makes it, into one of [`stride`] components.
    pub fn code(&self, row: &[f32], code: &mut [i8]) {
        let per_step = self.scale.recip();
        let (coded, padding) = code.split_at_mut(row.len());
        for ((code, &x), &centre) in coded.iter_mut().zip(row).zip(&self.centre) {
            *code = code_of((f64::from(x) - f64::from(centre)) * per_step);
        }
        padding.fill(0);
    }

    /// How far what this one's codes stand for is at most from what those stood for that they were made of.
    pub fn longest_difference(&self, from: &Self) -> f64 {
        self.longest_error - from.longest_error
    }

    /// s: one step of a code.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// μ, shape `[dimension]`.
    #[cfg(test)]
    pub fn centre(&self) -> &[f32] {
        &self.centre
    }

    /// Codes a query of the segment's dimension, to be compared by `metric`.
    pub fn query(&self, query: &[f32], metric: Metric) -> QueryCode {
        match metric {
            Metric::Cosine | Metric::Dot => self.by_product(query),
            Metric::L2 => self.by_distance(query),
        }
    }

    fn by_product(&self, query: &[f32]) -> QueryCode {
        let coded = Coded::new(query, self.padding, |_| 0.0, 0.0);
        let norm = product(query, query).sqrt();
        let at_centre = product(query, &self.centre);
        let coding = norm * self.longest_error + coded.error * self.longest_code;
        let typical = norm * self.typical_error + coded.error * self.longest_code;
        let unit = self.scale * coded.step;
        let terms = query.len() as f64;
        // What the f32 product itself may be off, n·ε·|q|·|x|, and a little for the f64 sums here.
        let rounding =
            terms * f64::from(f32::EPSILON) * norm * self.longest_row + terms * UNDERFLOW;
        QueryCode {
            offset: 15 * coded.code.iter().map(|&k| i32::from(k)).sum::<i32>(),
            code: coded.code,
            doubt: doubt(typical / unit, query.len()),
            estimate: Estimate::Product {
                unit,
                at_centre,
                bound: (coding + rounding) * 1.000_001,
            },
        }
    }

    fn by_distance(&self, query: &[f32]) -> QueryCode {
        // With a finer step than this a key could leave i32.
        let most = query.len() as f64 * 127.0 * 127.0;
        let most_ratio = 2.0 * (f64::from(i32::MAX) / most - 1.0);
        let centre = |at: usize| self.centre.get(at).map_or(0.0, |&x| f64::from(x));
        let coded = Coded::new(query, self.padding, centre, self.scale / most_ratio);
        let square: i64 = coded.code.iter().map(|&k| i64::from(k).pow(2)).sum();
        let square = coded.step.powi(2) * square as f64;
        let unit = self.scale * coded.step;
        // d(δ²) = 2·δ·dδ, and a key is a part of −δ²/2: at the distance of the mean, where rows are at most.
        let typical = self.typical_error + coded.error;
        let typical = square.sqrt().max(typical) * typical;
        let terms = query.len() as f64;
        QueryCode {
            offset: 15 * coded.code.iter().map(|&k| i32::from(k)).sum::<i32>(),
            code: coded.code,
            doubt: doubt(typical / unit, query.len()),
            estimate: Estimate::Distance {
                unit,
                half_ratio: self.scale / coded.step / 2.0,
                square,
                bound: (self.longest_error + coded.error) * 1.000_001,
                rounding: (terms + 8.0) * f64::from(f32::EPSILON),
                underflow: (terms * UNDERFLOW).sqrt(),
            },
        }
    }
}

/// Twice what a product of two f32 loses at most where it is too small to keep all of its digits.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64 * f32::EPSILON as f64;

/// The nearest code. Which of two equally near ones does not matter.
#[inline]
fn code_of(steps: f64) -> i8 {
    // Beside a number so large nothing behind the point has room: the sum is rounded, and the code is its lowest byte. A
    // compiler does this for many components at once, which it does not with `round` and `as`.
    const LARGE: f64 = (3_u64 << 51) as f64;
    (steps.clamp(-127.0, 127.0) + LARGE).to_bits() as i8
}

/// `x − centre ≈ step · code`.
struct Coded {
    code: Vec<i8>,
    step: f64,
    /// The length of the difference.
    error: f64,
}

impl Coded {
    fn new(query: &[f32], padding: usize, centre: impl Fn(usize) -> f64, least_step: f64) -> Self {
        let off_centre: Vec<f64> = (query.iter().enumerate())
            .map(|(at, &x)| f64::from(x) - centre(at))
            .collect();
        let larger = |most: f64, x: &f64| if x.abs() > most { x.abs() } else { most };
        let largest = off_centre.iter().fold(0.0, larger);
        let step = (largest / 127.0).max(least_step);
        let step = if step > 0.0 { step } else { 1.0 };
        let per_step = step.recip();
        let mut code = vec![0i8; query.len().next_multiple_of(padding)];
        for (code, x) in code.iter_mut().zip(&off_centre) {
            *code = code_of(x * per_step);
        }
        let error = sum_lanes(&off_centre, &code[..query.len()], |x, code| {
            (x - step * f64::from(code)).powi(2)
        });
        Self {
            code,
            step,
            error: error.sqrt(),
        }
    }
}

/// Three standard deviations, in keys, of what errors add up to that reach `together` if all components conspire, but are
/// independent.
fn doubt(together: f64, components: usize) -> i32 {
    (3.0 * together / (components as f64).sqrt()).ceil() as i32
}

/// A query ready to be compared with codes.
pub(super) struct QueryCode {
    /// int8, padded as the rows are.
    pub code: Vec<i8>,
    /// 15 · Σ k: by so much twice the product with stored int4 codes is more than the product with what they are.
    pub offset: i32,
    doubt: i32,
    estimate: Estimate,
}

/// What a key says of a score. All but `half_ratio` is in the data's units.
enum Estimate {
    Product {
        /// s·t
        unit: f64,
        /// q·μ
        at_centre: f64,
        /// The estimate is off by so much at most.
        bound: f64,
    },
    Distance {
        /// s·t
        unit: f64,
        /// s/2t
        half_ratio: f64,
        /// |q̂ − μ|²
        square: f64,
        /// ε + |q − q̂|
        bound: f64,
        /// The f32 distance is off by this part of itself at most,
        rounding: f64,
        /// and by so much more.
        underflow: f64,
    },
}

impl QueryCode {
    /// The part of a row's square that is taken from its product to give its key, if its square counts.
    pub fn half_ratio(&self) -> Option<f64> {
        match self.estimate {
            Estimate::Product { .. } => None,
            Estimate::Distance { half_ratio, .. } => Some(half_ratio),
        }
    }

    /// Two rows whose keys differ by more than this are told apart, nearly always.
    pub fn doubt(&self) -> i32 {
        self.doubt
    }

    /// The least key that a row can have whose exact score reaches `score`.
    pub fn least_key(&self, score: f32) -> i32 {
        let score = f64::from(score);
        let least = match self.estimate {
            Estimate::Product {
                unit,
                at_centre,
                bound,
            } => (score - bound - at_centre) / unit,
            Estimate::Distance {
                unit,
                square,
                bound,
                rounding,
                underflow,
                ..
            } if !score.is_nan() => {
                let reach = (-score).max(0.0) * (1.0 + rounding) + underflow + bound;
                let reach = reach.powi(2);
                // The f64 difference is a little off, and a key by half a unit.
                let slack = 1e-12 * (square + reach);
                (square - reach - slack) / (2.0 * unit) - 0.500_001
            }
            Estimate::Distance { .. } => f64::NAN,
        };
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
    use crate::segment::tests::Random;

    fn fit(rows: &[&[f32]], dimension: usize) -> (Quantiser, Vec<i8>) {
        Quantiser::fit(rows.len() as u32, dimension, |row| Ok(rows[row as usize]))
            .expect("every row is there")
    }

    proptest! {
        #[test]
        fn no_row_is_further_from_its_estimate_than_the_bound(
            flat in proptest::collection::vec(-1.0f32..1.0, 7 * 21),
            shift in -10.0f32..10.0,
            row_scale in -60i32..=40,
            query_scale in -3i32..=3,
        ) {
            let scale = 2f32.powi(row_scale);
            let flat: Vec<f32> = flat.into_iter().map(|x| (x + shift) * scale).collect();
            let rows: Vec<&[f32]> = flat.chunks(21).collect();
            let (query, rows) = rows.split_first().expect("seven rows");
            let query: Vec<f32> = query.iter().map(|x| x * 10f32.powi(query_scale)).collect();
            let (quantiser, codes) = fit(rows, 21);
            let best = Kernel::best();
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let coded = quantiser.query(&query, metric);
                for (row, code) in rows.iter().zip(codes.chunks(64)) {
                    let exact = match metric {
                        Metric::Cosine | Metric::Dot => best.dot_f32(&query, row),
                        Metric::L2 => -best.square_distance_f32(&query, row).sqrt(),
                    };
                    let product = best.dot(&coded.code, code);
                    let square = coded.half_ratio().map_or(0.0, |half| half * f64::from(best.dot(code, code)));
                    let key = product - square.round() as i32;
                    prop_assert!(key >= coded.least_key(exact), "{metric}: {key}, {exact}");
                    prop_assert!(coded.least_key(f32::NAN) == i32::MIN && coded.least_key(f32::NEG_INFINITY) == i32::MIN);
                }
            }
        }

        #[test]
        fn the_bound_is_narrow_enough_to_rule_rows_out(seed in 0u64..1_000) {
            let mut random = Random(seed);
            let flat: Vec<f32> = (0..101 * 64).map(|_| random.component()).collect();
            let rows: Vec<&[f32]> = flat.chunks(64).collect();
            let (query, rows) = rows.split_first().expect("a row");
            let (quantiser, codes) = fit(rows, 64);
            let best = Kernel::best();
            let coded = quantiser.query(query, Metric::L2);
            let half = coded.half_ratio().expect("squares count");
            let mut distances: Vec<f32> = rows.iter().map(|row| best.square_distance_f32(query, row).sqrt()).collect();
            distances.sort_by(f32::total_cmp);
            let least = coded.least_key(-distances[9]);
            let key = |code: &[i8]| best.dot(&coded.code, code) - (half * f64::from(best.dot(code, code))).round() as i32;
            let possible = codes.chunks(64).filter(|code| key(code) >= least).count();
            prop_assert!((10..30).contains(&possible), "{possible} of 100 rows may be among the ten best");
        }
    }

    #[test]
    fn keys_of_the_widest_vectors_fit_an_i32() {
        let dimension = 65_536;
        let (low, high) = (vec![-1.0f32; dimension], vec![1.0f32; dimension]);
        let (quantiser, codes) = fit(&[&low, &high], dimension);
        let best = Kernel::best();
        for query in [
            &low,
            &high,
            &vec![0.0; dimension],
            &vec![1e-3; dimension],
            &vec![1e9; dimension],
        ] {
            let coded = quantiser.query(query, Metric::L2);
            let half = coded.half_ratio().expect("squares count");
            for (row, code) in [&low, &high].into_iter().zip(codes.chunks(dimension)) {
                let square = (half * f64::from(best.dot(code, code))).round();
                let key = i64::from(best.dot(&coded.code, code)) - square as i64;
                assert!(i32::try_from(key).is_ok(), "{key}");
                let score = -best.square_distance_f32(query, row).sqrt();
                assert!(key >= i64::from(coded.least_key(score)), "{key}, {score}");
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
