//! NEON: 16 bytes at a time.

use std::arch::aarch64::*;

use super::row_of;

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

pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
    out.extend(
        rows.iter()
            .map(|&row| dot(query, row_of(codes, row, query.len()))),
    );
}
