//! The reference that every instruction set must equal.

use super::row_of;

pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| i32::from(a) * i32::from(b))
        .sum()
}

pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
    out.extend(
        rows.iter()
            .map(|&row| dot(query, row_of(codes, row, query.len()))),
    );
}
