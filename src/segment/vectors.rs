//! A segment's vectors as slices: int8 codes to find rows by, f32 rows to score them by. The one place where a metric is
//! what is done with them.

use super::format::Kind;
use super::kernel::Kernel;
use super::map::as_f32;
use super::quantise::{QueryCode, stride};
use super::sections::Sections;
use crate::error::Result;
use crate::vector::Metric;

/// int8 codes, shape `[rows, stride]`.
#[derive(Clone, Copy)]
pub(super) struct Codes<'a> {
    bytes: &'a [i8],
    stride: usize,
}

impl<'a> Codes<'a> {
    /// `bytes` holds whole rows of `dimension` components, padded.
    pub fn new(bytes: &'a [i8], dimension: usize) -> Self {
        Self {
            bytes,
            stride: stride(dimension),
        }
    }

    pub fn rows(&self) -> u32 {
        (self.bytes.len() / self.stride) as u32
    }

    /// One row's code.
    pub fn row(&self, row: u32) -> &'a [i8] {
        &self.bytes[row as usize * self.stride..][..self.stride]
    }

    /// Each row's product with itself.
    pub fn squares(&self, kernel: Kernel) -> Vec<i32> {
        let codes = self.bytes.chunks_exact(self.stride);
        codes.map(|code| kernel.dot(code, code)).collect()
    }

    /// Appends the product of `code`, a code of the same length, with each of `rows` to `out`.
    pub fn dots(&self, kernel: Kernel, code: &[i8], rows: &[u32], out: &mut Vec<i32>) {
        kernel.dots(code, self.bytes, rows, out);
    }
}

/// f32 rows, shape `[rows, dimension]`. A row's block is verified the first time it is read: scores come from nothing
/// else, so damage never becomes a wrong one.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    sections: &'a Sections,
    dimension: usize,
}

impl<'a> Rows<'a> {
    /// The section holds whole rows of `dimension` components.
    pub fn new(sections: &'a Sections, dimension: usize) -> Self {
        Self {
            sections,
            dimension,
        }
    }

    /// One row.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged).
    pub fn row(&self, row: u32) -> Result<&'a [f32]> {
        let bytes = 4 * self.dimension;
        let start = row as usize * bytes;
        Ok(as_f32(
            self.sections
                .verified(Kind::Vectors, start..start + bytes)?,
        ))
    }
}

/// Everything that a search reads of the vectors.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub codes: Codes<'a>,
    pub rows: Rows<'a>,
    pub kernel: Kernel,
    pub metric: Metric,
    /// Each row's code times itself, shape `[rows]`; empty where the metric needs none.
    pub squares: &'a [i32],
}

impl Space<'_> {
    /// Appends each row's key to `out`: greater for nearer rows, as far as codes can tell.
    pub fn keys(&self, query: &QueryCode, rows: &[u32], out: &mut Vec<i32>) {
        let start = out.len();
        self.codes.dots(self.kernel, &query.code, rows, out);
        if let Some(half_ratio) = query.half_ratio() {
            for (key, &row) in out[start..].iter_mut().zip(rows) {
                // Never negative, so that adding a half rounds it.
                let square = half_ratio * f64::from(self.squares[row as usize]) + 0.5;
                *key = key.saturating_sub(square as i32);
            }
        }
    }

    /// One row's exact score.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged).
    pub fn score(&self, query: &[f32], row: u32) -> Result<f32> {
        let row = self.rows.row(row)?;
        Ok(match self.metric {
            Metric::Cosine | Metric::Dot => self.kernel.dot_f32(query, row),
            // Not `-`, which makes a zero negative.
            Metric::L2 => 0.0 - self.kernel.square_distance_f32(query, row).sqrt(),
        })
    }
}
