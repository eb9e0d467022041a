//! NEON: 16 bytes at a time.

use std::arch::aarch64::*;

use super::{NIBBLES, row_of};

#[target_feature(enable = "neon")]
#[inline]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sums = vdupq_n_s32(0);
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        // SAFETY: each chunk has the 16 bytes that a load reads.
        let (a, b) = unsafe { (vld1q_s8(a.as_ptr()), vld1q_s8(b.as_ptr())) };
        sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
        sums = vpadalq_s16(sums, vmull_high_s8(a, b));
    }
    vaddvq_s32(sums)
}

#[target_feature(enable = "neon")]
pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
    out.extend(
        rows.iter()
            .map(|&row| dot(query, row_of(codes, row, query.len()))),
    );
}

#[target_feature(enable = "neon")]
#[inline]
fn dot_nibbles(query: &[i8], row: &[u8]) -> i32 {
    let low = vdupq_n_u8(NIBBLES);
    let mut sums = vdupq_n_s32(0);
    for (parts, pairs) in query
        .as_chunks::<128>()
        .0
        .iter()
        .zip(row.as_chunks::<64>().0)
    {
        let (first, second) = parts.split_at(64);
        let (first, second) = (first.as_chunks::<16>().0, second.as_chunks::<16>().0);
        for ((first, second), pairs) in first.iter().zip(second).zip(pairs.as_chunks::<16>().0) {
            // SAFETY: each chunk has the 16 bytes that a load reads.
            let (first, second, pairs) = unsafe {
                (
                    vld1q_s8(first.as_ptr()),
                    vld1q_s8(second.as_ptr()),
                    vld1q_u8(pairs.as_ptr()),
                )
            };
            for (part, nibbles) in [
                (first, vandq_u8(pairs, low)),
                (second, vshrq_n_u8::<4>(pairs)),
            ] {
                let nibbles = vreinterpretq_s8_u8(nibbles);
                sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(part), vget_low_s8(nibbles)));
                sums = vpadalq_s16(sums, vmull_high_s8(part, nibbles));
            }
        }
    }
    vaddvq_s32(sums)
}

#[target_feature(enable = "neon")]
pub fn dots_nibbles(query: &[i8], codes: &[u8], rows: &[u32], out: &mut Vec<i32>) {
    let row = |row| row_of(codes, row, query.len() / 2);
    out.extend(rows.iter().map(|&at| dot_nibbles(query, row(at))));
}
