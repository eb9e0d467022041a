//! The reference that every instruction set must equal.

use super::{NIBBLES, row_of};

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

pub fn dots_nibbles(query: &[i8], codes: &[u8], rows: &[u32], out: &mut Vec<i32>) {
    let dot = |row: &[u8]| -> i32 {
        let parts = query.as_chunks::<128>().0.iter();
        let blocks = parts.zip(row.as_chunks::<64>().0);
        blocks
            .map(|(part, block)| {
                let (first, second) = part.split_at(64);
                let each = first.iter().zip(second).zip(block);
                each.map(|((&first, &second), &pair)| {
                    i32::from(first) * i32::from(pair & NIBBLES)
                        + i32::from(second) * i32::from(pair >> 4)
                })
                .sum::<i32>()
            })
            .sum()
    };
    out.extend(
        rows.iter()
            .map(|&row| dot(row_of(codes, row, query.len() / 2))),
    );
}
