//! AVX2: 32 bytes at a time.

use std::arch::x86_64::*;

use super::{AHEAD, NIBBLES, dot_lanes, prefetch, row_of, square_distance_lanes};

#[target_feature(enable = "avx2")]
#[inline]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    let ones = _mm256_set1_epi16(1);
    let mut sums = _mm256_setzero_si256();
    for (a, b) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
        let (a, b) = (load(a), load(b));
        // Pairs reach at most 2 · 127 · 127 = 32,258, so the 16-bit sums never saturate.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
    }
    total(sums)
}

/// The sum of the lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn total(sums: __m256i) -> i32 {
    let four = _mm_add_epi32(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256::<1>(sums),
    );
    let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn load<T>(bytes: &[T; 32]) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: the array has the 32 bytes that an unaligned load reads.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn dot_nibbles(query: &[i8], row: &[u8]) -> i32 {
    let (low, ones) = (_mm256_set1_epi8(NIBBLES as i8), _mm256_set1_epi16(1));
    let mut sums = _mm256_setzero_si256();
    for (parts, pairs) in query
        .as_chunks::<128>()
        .0
        .iter()
        .zip(row.as_chunks::<64>().0)
    {
        let (first, second) = parts.split_at(64);
        let (first, second) = (first.as_chunks::<32>().0, second.as_chunks::<32>().0);
        for ((first, second), pairs) in first.iter().zip(second).zip(pairs.as_chunks::<32>().0) {
            let pairs = load(pairs);
            let above = _mm256_and_si256(_mm256_srli_epi16::<4>(pairs), low);
            // Two pairs reach at most 4 · 15 · 127 = 7,620, so the 16-bit sums never saturate.
            let two = _mm256_add_epi16(
                _mm256_maddubs_epi16(_mm256_and_si256(pairs, low), load(first)),
                _mm256_maddubs_epi16(above, load(second)),
            );
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(two, ones));
        }
    }
    total(sums)
}

#[target_feature(enable = "avx2")]
pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
    let stride = query.len();
    out.reserve(rows.len());
    for (at, &row) in rows.iter().enumerate() {
        if let Some(&next) = rows.get(at + AHEAD) {
            prefetch(codes, next, stride);
        }
        out.push(dot(query, row_of(codes, row, stride)));
    }
}

#[target_feature(enable = "avx2")]
pub fn dots_nibbles(query: &[i8], codes: &[u8], rows: &[u32], out: &mut Vec<i32>) {
    let row = |row| row_of(codes, row, query.len() / 2);
    out.extend(rows.iter().map(|&at| dot_nibbles(query, row(at))));
}

#[target_feature(enable = "avx2")]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    dot_lanes(a, b)
}

#[target_feature(enable = "avx2")]
pub fn square_distance_f32(a: &[f32], b: &[f32]) -> f32 {
    square_distance_lanes(a, b)
}
