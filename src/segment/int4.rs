//! int8 codes → int4 codes, which walks read.
//!
//! What a walk waits for is memory, line by line of 64 bytes: int4 codes are half as many. They tell neighbours apart nearly
//! as well (of 100,000 passages a walk that keeps 24 nodes finds 0.950 of the ten best where int8 codes find 0.951), and what
//! they leave in doubt the f32 rows decide. This is the first level of locally-adaptive vector quantisation
//! (arXiv:2304.04759), with one scale for all rows, so that keys stay integers.
//!
//! A component of `x − μ` lies near `s·c` with c one of −15, −13, …, 13, 15: zero is no level, and nothing is lost by that.
//! Stored is `u = (c + 15) / 2`, from 0 to 15; so `Σ k·c = 2·Σ k·u − 15·Σ k`. The step 2s is the one that makes the error the
//! least on a sample: what lies further out is cut off, which for normal components pays from 2.5 standard deviations on.
//!
//! Rows of very different lengths lose too much by one scale. Where they do, there are no int4 codes, and walks read int8.

use std::io::{self, Write};

use rayon::prelude::*;

use super::format::u64_at;
use super::quantise::{Quantiser, Recoded};
use super::vectors::Codes;

/// int4 codes have a multiple of so many components.
const PADDING: usize = 128;
/// The highest code.
const TOP: f64 = 15.0;
/// Rows that the step is chosen by.
const SAMPLE: usize = 1_024;
/// Steps tried, each by so much shorter than the one before.
const STEPS: i32 = 32;
const SHORTER: f64 = 0.92;
/// Codes whose error is more of a row's square than this, on average, are not worth walking by. Normal components give 0.012.
const MOST_ERROR: f64 = 0.03;
/// Bytes of the section that says what the codes stand for.
pub(super) const SECTION_BYTES: usize = 24;

/// Bytes of one row's code.
pub(super) fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(PADDING) / 2
}

/// A segment's int4 codes, shape `[rows, stride]`, and what they stand for.
pub(super) struct Int4 {
    pub codes: Vec<u8>,
    pub recoded: Recoded,
}

impl Int4 {
    /// Codes again what int8 codes stand for. `None` where that saves nothing, or loses too much.
    pub fn fit(codes: Codes<'_>, dimension: usize, quantiser: &Quantiser) -> Option<Self> {
        let rows = codes.rows();
        if rows == 0 || stride(dimension) >= super::quantise::stride(dimension) {
            return None;
        }
        let sampled: Vec<&[i8]> = (0..rows)
            .step_by((rows as usize).div_ceil(SAMPLE))
            .map(|row| &codes.row(row)[..dimension])
            .collect();
        let steps = (0..STEPS).map(|nth| 127.0 / TOP * SHORTER.powi(nth));
        let tried = steps.map(|step| (step, relative_error(&Levels::new(step), &sampled)));
        let (step, error) = tried.min_by(|a, b| a.1.total_cmp(&b.1))?;
        if error > MOST_ERROR {
            return None;
        }
        let levels = Levels::new(step);
        let mut packed = vec![0; rows as usize * stride(dimension)];
        let (longest, total) = packed
            .par_chunks_exact_mut(stride(dimension))
            .enumerate()
            .map(|(row, packed)| {
                let code = &codes.row(row as u32)[..dimension];
                pack(&levels, code, packed);
                levels.square_error(code)
            })
            .fold(
                || (0.0f64, 0.0),
                |all, error| (all.0.max(error), all.1 + error),
            )
            .reduce(|| (0.0, 0.0), |a, b| (a.0.max(b.0), a.1 + b.1));
        let scale = quantiser.scale();
        Some(Self {
            codes: packed,
            recoded: Recoded {
                scale: scale * step,
                longest_error: scale * longest.sqrt(),
                typical_error: scale * (total / f64::from(rows)).sqrt(),
            },
        })
    }
}

impl Recoded {
    /// Writes the section.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let values = [self.scale, self.longest_error, self.typical_error];
        values
            .into_iter()
            .try_for_each(|value| out.write_all(&value.to_le_bytes()))
    }

    /// Reads the section. `None` if it holds what no codes give.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let value = |nth: usize| {
            u64_at(bytes, 8 * nth)
                .map(f64::from_bits)
                .filter(|x| x.is_finite() && *x >= 0.0)
        };
        Some(Self {
            scale: value(0).filter(|&scale| scale > 0.0)?,
            longest_error: value(1)?,
            typical_error: value(2)?,
        })
    }

    /// What the codes stand for, where `quantiser` made those that they were made of.
    pub fn quantiser(self, quantiser: &Quantiser) -> Quantiser {
        quantiser.recoded(self, PADDING)
    }
}

/// int4 codes, shape `[rows, stride]`.
#[derive(Clone, Copy)]
pub(super) struct Int4Codes<'a> {
    pub bytes: &'a [u8],
    pub stride: usize,
}

impl<'a> Int4Codes<'a> {
    /// `bytes` holds whole rows of `dimension` components.
    pub fn new(bytes: &'a [u8], dimension: usize) -> Self {
        Self {
            bytes,
            stride: stride(dimension),
        }
    }

    pub fn row(&self, row: u32) -> &'a [u8] {
        &self.bytes[row as usize * self.stride..][..self.stride]
    }

    pub fn rows(&self) -> u32 {
        (self.bytes.len() / self.stride) as u32
    }

    /// Each row's product with itself; its first `dimension` components count.
    pub fn squares(&self, dimension: usize) -> Vec<i32> {
        let square = |row: &[u8]| {
            let component = |at| i32::from(2 * nibble(row, at)) - 15;
            (0..dimension).map(|at| component(at).pow(2)).sum()
        };
        self.bytes.chunks_exact(self.stride).map(square).collect()
    }
}

/// The stored code and its error, for each int8 code, in int8 steps.
struct Levels([(u8, f64); 256]);

impl Levels {
    /// `step`: half of what lies between two codes.
    fn new(step: f64) -> Self {
        Self(std::array::from_fn(|byte| {
            let code = f64::from(byte as u8 as i8);
            let stored = ((code / step + TOP) / 2.0).round().clamp(0.0, TOP);
            (stored as u8, code - step * (2.0 * stored - TOP))
        }))
    }

    fn of(&self, code: i8) -> (u8, f64) {
        self.0[code as u8 as usize]
    }

    fn square_error(&self, row: &[i8]) -> f64 {
        row.iter().map(|&code| self.of(code).1.powi(2)).sum()
    }
}

/// The mean over rows of the square of the error, as a part of the row's.
fn relative_error(levels: &Levels, rows: &[&[i8]]) -> f64 {
    let of_row = |row: &&[i8]| {
        let square: f64 = row.iter().map(|&code| f64::from(code).powi(2)).sum();
        levels.square_error(row) / square.max(1.0)
    };
    rows.iter().map(of_row).sum::<f64>() / rows.len() as f64
}

fn pack(levels: &Levels, row: &[i8], packed: &mut [u8]) {
    for (at, &code) in row.iter().enumerate() {
        let (byte, shift) = place(at);
        packed[byte] |= levels.of(code).0 << shift;
    }
}

/// Where a component stands: its byte, and the place of its bits there. `kernel/mod.rs` draws it.
fn place(at: usize) -> (usize, u32) {
    let (block, within) = (at / PADDING, at % PADDING);
    let half = PADDING / 2;
    (
        half * block + within % half,
        if within < half { 0 } else { 4 },
    )
}

/// A component's code.
pub(super) fn nibble(row: &[u8], at: usize) -> u8 {
    let (byte, shift) = place(at);
    row[byte] >> shift & 15
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::segment::kernel::Kernel;
    use crate::segment::tests::Random;
    use crate::segment::vectors::{AnyCodes, Keys};
    use crate::vector::Metric;

    /// Rows about a centre, as long as `length` says.
    fn rows(
        random: &mut Random,
        dimension: usize,
        count: usize,
        length: impl Fn(usize) -> f32,
    ) -> Vec<Vec<f32>> {
        let of_length = |nth| {
            random
                .unit(dimension)
                .as_slice()
                .iter()
                .map(|x| x * length(nth))
                .collect()
        };
        (0..count).map(of_length).collect()
    }

    fn fit(rows: &[Vec<f32>]) -> (Quantiser, Vec<i8>) {
        let row = |row: u32| Ok(rows[row as usize].as_slice());
        Quantiser::fit(rows.len() as u32, rows[0].len(), row).expect("every row is there")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_row_is_further_from_its_int4_estimate_than_the_bound(seed in any::<u64>(), dimension in 65usize..300) {
            let mut random = Random(seed);
            let rows = rows(&mut random, dimension, 60, |_| 1.0);
            let (quantiser, codes) = fit(&rows);
            let int4 = Int4::fit(Codes::new(&codes, dimension), dimension, &quantiser);
            prop_assume!(int4.is_some());
            let int4 = int4.expect("assumed");
            let quantiser = int4.recoded.quantiser(&quantiser);
            let kernel = Kernel::best();
            let codes = Int4Codes::new(&int4.codes, dimension);
            let query = random.unit(dimension);
            for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
                let squares = if metric == Metric::L2 { codes.squares(dimension) } else { Vec::new() };
                let keys = Keys { codes: AnyCodes::Int4(codes), kernel, squares: &squares };
                let code = quantiser.query(query.as_slice(), metric);
                let (all, mut found) = ((0..60).collect::<Vec<u32>>(), Vec::new());
                keys.of(&code, &all, &mut found);
                for (row, key) in rows.iter().zip(found) {
                    let exact = match metric {
                        Metric::Cosine | Metric::Dot => kernel.dot_f32(query.as_slice(), row),
                        Metric::L2 => -kernel.square_distance_f32(query.as_slice(), row).sqrt(),
                    };
                    prop_assert!(key >= code.least_key(exact), "{metric}: {key}, {exact}");
                }
            }
        }
    }

    #[test]
    fn neighbours_are_told_apart_nearly_as_well_as_by_int8() {
        let (mut random, dimension) = (Random(5), 384);
        let rows = rows(&mut random, dimension, 2_000, |_| 1.0);
        let (quantiser, codes) = fit(&rows);
        let int4 = Int4::fit(Codes::new(&codes, dimension), dimension, &quantiser);
        let int4 = int4.expect("normal components");
        let recoded = int4.recoded;
        assert!(
            recoded.typical_error < 0.12 && recoded.typical_error > 0.08,
            "{recoded:?}"
        );
        let coded = Int4Codes::new(&int4.codes, dimension);
        for (row, vector) in rows.iter().enumerate() {
            let decoded =
                |at| recoded.scale * (2.0 * f64::from(nibble(coded.row(row as u32), at)) - TOP);
            let centre = quantiser.centre();
            let square = (0..dimension)
                .map(|at| (f64::from(vector[at]) - f64::from(centre[at]) - decoded(at)).powi(2));
            // The int8 codes that they were made of add a hundredth.
            assert!(
                square.sum::<f64>().sqrt() < recoded.longest_error + 0.02,
                "row {row}"
            );
        }
    }

    #[test]
    fn narrow_rows_and_rows_of_very_different_lengths_get_none() {
        let mut random = Random(6);
        let none = |rows: Vec<Vec<f32>>| {
            let (dimension, (quantiser, codes)) = (rows[0].len(), fit(&rows));
            Int4::fit(Codes::new(&codes, dimension), dimension, &quantiser).is_none()
        };
        assert!(none(rows(&mut random, 64, 50, |_| 1.0)));
        assert!(!none(rows(&mut random, 65, 50, |_| 1.0)));
        assert!(!none(
            rows(&mut random, 128, 500, |nth| 1.0 + (nth % 2) as f32 / 10.0)
        ));
        assert!(none(
            rows(&mut random, 128, 500, |nth| 1.3f32.powi(nth as i32 % 20))
        ));
        assert!(none(vec![vec![0.5; 128]; 9]), "zero is no level");
    }

    #[test]
    fn what_the_codes_stand_for_comes_back_and_nothing_else_is_read() {
        let recoded = Recoded {
            scale: 0.5,
            longest_error: 0.25,
            typical_error: 0.125,
        };
        let mut bytes = Vec::new();
        recoded.write(&mut bytes).expect("a Vec takes every write");
        assert_eq!(bytes.len(), SECTION_BYTES);
        assert_eq!(Recoded::read(&bytes), Some(recoded));
        assert_eq!(Recoded::read(&bytes[..20]), None);
        for at in [0, 8, 16] {
            let mut forged = bytes.clone();
            forged[at..at + 8].copy_from_slice(&f64::NAN.to_le_bytes());
            assert_eq!(Recoded::read(&forged), None);
        }
        assert_eq!(Recoded::read(&[0; SECTION_BYTES]), None);
    }
}
