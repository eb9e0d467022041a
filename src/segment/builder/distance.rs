//! Exact distances between rows, from their codes.
//!
//! The squared Euclidean distance `|a|² + |b|² − 2·a·b` of int8 codes is an integer: symmetric, never negative, and the same
//! on every machine. A component is at most 127 and a row has at most 65,536 of them, so a distance is at most
//! 4 · 127² · 65,536 < 2³² and fits `u32`; wrapping arithmetic therefore gives it exactly.

use rayon::prelude::*;

use crate::segment::kernel::Kernel;
use crate::segment::vectors::Codes;

/// Distances between the rows of `codes`.
pub(super) struct Distances<'a> {
    codes: Codes<'a>,
    kernel: Kernel,
    /// Each row's product with itself.
    squares: Vec<u32>,
}

impl<'a> Distances<'a> {
    pub fn new(codes: Codes<'a>) -> Self {
        let kernel = Kernel::best();
        let square = |row| {
            let code = codes.row(row);
            kernel.dot(code, code) as u32
        };
        Self {
            codes,
            kernel,
            squares: (0..codes.rows()).into_par_iter().map(square).collect(),
        }
    }

    /// The distance of two rows.
    pub fn between(&self, a: u32, b: u32) -> u32 {
        let product = self.kernel.dot(self.codes.row(a), self.codes.row(b));
        self.combine(a, b, product)
    }

    /// Replaces `out` by the distance of `from` to each of `rows`.
    pub fn each(&self, from: u32, rows: &[u32], products: &mut Vec<i32>, out: &mut Vec<Near>) {
        products.clear();
        self.codes
            .dots(self.kernel, self.codes.row(from), rows, products);
        out.clear();
        out.extend(
            rows.iter()
                .zip(products)
                .map(|(&row, product)| Near::new(self.combine(from, row, *product), row)),
        );
    }

    fn combine(&self, a: u32, b: u32, product: i32) -> u32 {
        self.squares[a as usize]
            .wrapping_add(self.squares[b as usize])
            .wrapping_sub((product as u32).wrapping_mul(2))
    }
}

/// A row and how far it is: ordered by distance, then by row, as one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near(u64);

impl Near {
    pub fn new(distance: u32, row: u32) -> Self {
        Self(u64::from(distance) << 32 | u64::from(row))
    }

    pub fn distance(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn row(self) -> u32 {
        self.0 as u32
    }
}
