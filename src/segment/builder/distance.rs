//! Distances between rows, exact for their codes.
//!
//! The squared Euclidean distance `|a|² + |b|² − 2·a·b` of int8 codes is an integer: symmetric, never negative, and the same
//! on every machine. A component is at most 127 and a row has at most 65,536 of them, so a distance is at most
//! 4 · 127² · 65,536 < 2³² and fits `u32`; wrapping arithmetic therefore gives it exactly.
//!
//! Under the inner product rows are linked by their products, as queries will compare them (Morozov & Babenko 2018,
//! "Non-metric similarity graphs for maximum inner product search"): `R² − a·b` with R the longest row's length, which is
//! no metric, but never negative and below 2·R². Linked by Euclidean distance, or by that of Bachrach et al. 2014 with one
//! more component for the length, few rows have a link to a long one, and walks miss most of the answer where lengths
//! vary. What codes leave out, the centre, adds the same to each row's product with a query.

use rayon::prelude::*;

use crate::segment::kernel::Kernel;
use crate::segment::vectors::Codes;
use crate::vector::Metric;

/// Distances between the rows of `codes`.
pub(super) struct Distances<'a> {
    codes: Codes<'a>,
    kernel: Kernel,
    frame: Frame,
}

enum Frame {
    /// Each row's product with itself.
    Squares(Vec<u32>),
    /// R²
    Highest(u32),
}

impl<'a> Distances<'a> {
    pub fn new(codes: Codes<'a>, metric: Metric) -> Self {
        let kernel = Kernel::best();
        let square = |row| {
            let code = codes.row(row);
            kernel.dot(code, code) as u32
        };
        let squares: Vec<u32> = (0..codes.rows()).into_par_iter().map(square).collect();
        let frame = match metric {
            Metric::Cosine | Metric::L2 => Frame::Squares(squares),
            Metric::Dot => Frame::Highest(squares.into_iter().max().unwrap_or(0)),
        };
        Self {
            codes,
            kernel,
            frame,
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
        match &self.frame {
            Frame::Squares(squares) => squares[a as usize]
                .wrapping_add(squares[b as usize])
                .wrapping_sub((product as u32).wrapping_mul(2)),
            Frame::Highest(square) => square.wrapping_sub(product as u32),
        }
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
