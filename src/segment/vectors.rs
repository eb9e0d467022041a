//! A segment's vectors as slices: int8 codes to find rows by, f32 rows to score them by. The one place where a metric is
//! what is done with them.
//!
//! They stand in *slots*. Without a graph row n is in slot n; with one, rows that a walk meets together stand together, and
//! an order tells which row is where. The graph and the codes know slots alone; tables and text know rows alone.

use std::cell::RefCell;
use std::ops::Range;

use super::RowHit;
use super::format::Kind;
use super::int4::Int4Codes;
use super::kernel::{Kernel, prefetch_line};
use super::map::as_f32;
use super::quantise::{QueryCode, stride};
use super::sections::Sections;
use crate::error::Result;
use crate::vector::Metric;

/// From so many bytes on, f32 rows are read and not mapped: a search of a million rows of 384 touches a good part of their
/// 1.5 GB in a while, for the sake of some dozen rows a query. A read costs about as much as the page fault it saves.
const LARGE_BYTES: usize = 512 << 20;

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

    /// Are there so many bytes that rows are better read one by one than mapped?
    fn is_large(&self) -> bool {
        self.sections.range(Kind::Vectors).len() >= LARGE_BYTES
    }

    /// Asks for the row in a slot from memory.
    #[inline]
    pub fn prefetch(&self, slot: u32) {
        if !self.is_large() {
            let row = &self.sections.bytes(Kind::Vectors)[self.range(slot)];
            row.chunks(64).for_each(prefetch_line);
        }
    }

    /// What `look` says of the row in a slot. Few rows of a large section become resident.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged).
    pub fn with<T>(&self, slot: u32, look: impl FnOnce(&[f32]) -> T) -> Result<T> {
        if !self.is_large() {
            return self.at(slot).map(look);
        }
        thread_local! {
            static READ: RefCell<(Vec<u8>, Vec<f32>)> = RefCell::default();
        }
        READ.with_borrow_mut(|(bytes, row)| {
            self.sections.read(Kind::Vectors, self.range(slot), bytes)?;
            row.clear();
            let values = bytes.as_chunks().0.iter();
            row.extend(values.map(|value| f32::from_le_bytes(*value)));
            Ok(look(row))
        })
    }

    fn range(&self, slot: u32) -> Range<usize> {
        let bytes = 4 * self.dimension;
        let start = slot as usize * bytes;
        start..start + bytes
    }

    /// The row in a slot.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged).
    pub fn at(&self, slot: u32) -> Result<&'a [f32]> {
        let bytes = self.sections.verified(Kind::Vectors, self.range(slot));
        bytes.map(as_f32)
    }
}

/// Codes of either width.
#[derive(Clone, Copy)]
pub(super) enum AnyCodes<'a> {
    Int8(Codes<'a>),
    Int4(Int4Codes<'a>),
}

impl AnyCodes<'_> {
    #[inline]
    pub fn rows(&self) -> u32 {
        match self {
            Self::Int8(codes) => codes.rows(),
            Self::Int4(codes) => codes.rows(),
        }
    }

    /// Each row's code times itself, shape `[rows]`.
    pub fn squares(&self, dimension: usize, kernel: Kernel) -> Vec<i32> {
        match self {
            Self::Int8(codes) => codes.squares(kernel),
            Self::Int4(codes) => codes.squares(dimension),
        }
    }
}

/// What rows are found by.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub codes: AnyCodes<'a>,
    pub kernel: Kernel,
    /// Each row's code times itself, shape `[rows]`; empty where the metric needs none.
    pub squares: &'a [i32],
}

impl Keys<'_> {
    /// Appends each row's key to `out`: greater for nearer rows, as far as codes can tell.
    #[inline]
    pub fn of(&self, query: &QueryCode, rows: &[u32], out: &mut Vec<i32>) {
        let start = out.len();
        match self.codes {
            AnyCodes::Int8(codes) => codes.dots(self.kernel, &query.code, rows, out),
            AnyCodes::Int4(codes) => {
                let nibbles = codes.bytes;
                self.kernel.dots_nibbles(&query.code, nibbles, rows, out);
                for product in &mut out[start..] {
                    *product = 2 * *product - query.offset;
                }
            }
        }
        if let Some(half_ratio) = query.half_ratio() {
            for (key, &row) in out[start..].iter_mut().zip(rows) {
                // Never negative, so that adding a half rounds it.
                let square = half_ratio * f64::from(self.squares[row as usize]) + 0.5;
                *key = key.saturating_sub(square as i32);
            }
        }
    }

    /// Asks for a row's code from memory.
    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        match self.codes {
            AnyCodes::Int8(codes) => codes.row(row).chunks(64).for_each(prefetch_line),
            AnyCodes::Int4(codes) => codes.row(row).chunks(64).for_each(prefetch_line),
        }
    }
}

/// The score of a row; `query` and `row` have the same length.
pub(super) fn exact_score(metric: Metric, kernel: Kernel, query: &[f32], row: &[f32]) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => kernel.dot_f32(query, row),
        // Not `-`, which makes a zero negative.
        Metric::L2 => 0.0 - kernel.square_distance_f32(query, row).sqrt(),
    }
}

/// Which row each slot holds: its own number where there is no graph, in the order of a walk where there is one.
#[derive(Clone, Copy)]
pub(super) struct Order<'a>(&'a [u32]);

impl<'a> Order<'a> {
    /// Empty: every slot holds the row of its own number.
    pub fn new(rows: &'a [u32]) -> Self {
        Self(rows)
    }

    /// The row in a slot.
    #[inline]
    pub fn row(self, slot: u32) -> u32 {
        if self.0.is_empty() {
            slot
        } else {
            self.0[slot as usize]
        }
    }

    /// Asks for the number of the row in a slot from memory.
    pub fn prefetch(self, slot: u32) {
        prefetch_line(self.0.get(slot as usize..).unwrap_or_default());
    }

    /// The slot of each row; empty where it is the row's own number.
    pub fn slots(self) -> Vec<u32> {
        let mut slots = vec![0; self.0.len()];
        for (&row, slot) in self.0.iter().zip(0..) {
            slots[row as usize] = slot;
        }
        slots
    }

    /// The first place that makes it no order of so many rows.
    pub fn wrong(self, rows: u32) -> Option<usize> {
        let mut seen = vec![false; rows as usize];
        self.0
            .iter()
            .position(|&row| row >= rows || std::mem::replace(&mut seen[row as usize], true))
    }
}

/// Everything that a search reads of the vectors.
#[derive(Clone, Copy)]
pub(super) struct Space<'a> {
    pub kernel: Kernel,
    pub rows: Rows<'a>,
    pub order: Order<'a>,
    pub metric: Metric,
}

impl Space<'_> {
    /// Asks for what [`hit`](Self::hit) reads from memory.
    pub fn prefetch(&self, slot: u32) {
        self.rows.prefetch(slot);
        self.order.prefetch(slot);
    }

    /// The row in a slot with its exact score.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged).
    pub fn hit(&self, query: &[f32], slot: u32) -> Result<RowHit> {
        let (metric, kernel) = (self.metric, self.kernel);
        let score = |vector: &[f32]| exact_score(metric, kernel, query, vector);
        Ok(RowHit {
            row: self.order.row(slot),
            score: self.rows.with(slot, score)?,
        })
    }
}
