//! AVX-512 with VNNI: 64 bytes at a time, four rows at a time.
//!
//! `dpbusd` multiplies unsigned by signed bytes, so a row's bytes b are read as b + 128 (one exclusive or), and the query's
//! sum times 128 is taken off at the end: `Σ (b + 128)·q − 128·Σ q = Σ b·q`, exactly.

use std::arch::x86_64::*;

use super::{AHEAD, NIBBLES, dot_lanes, prefetch, row_of, square_distance_lanes};

/// Rows scored side by side, so that each piece of the query is read once for all of them.
const SIDE: usize = 4;

/// One pair: |a|·sign(b, a) needs no sum of either.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
pub fn dot(a: &[i8], b: &[i8]) -> i32 {
    let zero = _mm512_setzero_si512();
    let mut sums = zero;
    for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
        let (a, b) = (load(a), load(b));
        let signed = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), zero, b);
        sums = _mm512_dpbusd_epi32(sums, _mm512_abs_epi8(a), signed);
    }
    _mm512_reduce_add_epi32(sums)
}

/// 128 · Σ query.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn offset(query: &[i8]) -> i32 {
    let ones = _mm512_set1_epi8(1);
    let mut sums = _mm512_setzero_si512();
    for part in query.as_chunks::<64>().0 {
        sums = _mm512_dpbusd_epi32(sums, ones, load(part));
    }
    128 * _mm512_reduce_add_epi32(sums)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn load<T>(bytes: &[T; 64]) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: the array has the 64 bytes that an unaligned load reads.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// `Σ (row + 128) · query` for each row. All have the query's length.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn dot_side<const N: usize>(query: &[i8], rows: [&[i8]; N]) -> [i32; N] {
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut sums = [_mm512_setzero_si512(); N];
    let rows = rows.map(|row| &row.as_chunks::<64>().0[..query.len() / 64]);
    for (at, part) in query.as_chunks::<64>().0.iter().enumerate() {
        let part = load(part);
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_xor_si512(load(&row[at]), flip), part);
        }
    }
    totals(sums)
}

/// `Σ row · query` for each row of nibbles.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn dot_nibbles_side<const N: usize>(query: &[i8], rows: [&[u8]; N]) -> [i32; N] {
    let low = _mm512_set1_epi8(NIBBLES as i8);
    let mut sums = [_mm512_setzero_si512(); N];
    let rows = rows.map(|row| &row.as_chunks::<64>().0[..query.len() / 128]);
    for (at, parts) in query.as_chunks::<128>().0.iter().enumerate() {
        let halves = parts.as_chunks::<64>().0;
        let (first, second) = (load(&halves[0]), load(&halves[1]));
        for (sum, row) in sums.iter_mut().zip(rows) {
            let pairs = load(&row[at]);
            let above = _mm512_and_si512(_mm512_srli_epi16::<4>(pairs), low);
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_and_si512(pairs, low), first);
            *sum = _mm512_dpbusd_epi32(*sum, above, second);
        }
    }
    totals(sums)
}

/// The sum of each register's lanes.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn totals<const N: usize>(sums: [__m512i; N]) -> [i32; N] {
    if let [a, b, c, d] = sums.as_slice() {
        // Side by side, which takes half the steps.
        let pair =
            |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (ab, cd) = (pair(*a, *b), pair(*c, *d));
        let four = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        let two = _mm256_add_epi32(
            _mm512_castsi512_si256(four),
            _mm512_extracti64x4_epi64::<1>(four),
        );
        let one = _mm_add_epi32(
            _mm256_castsi256_si128(two),
            _mm256_extracti128_si256::<1>(two),
        );
        let mut each = [0; N];
        each[0] = _mm_extract_epi32::<0>(one);
        each[1] = _mm_extract_epi32::<1>(one);
        each[2] = _mm_extract_epi32::<2>(one);
        each[3] = _mm_extract_epi32::<3>(one);
        each
    } else {
        sums.map(|sum| _mm512_reduce_add_epi32(sum))
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
    let stride = query.len();
    let offset = offset(query);
    out.reserve(rows.len());
    for &row in rows.iter().take(AHEAD) {
        prefetch(codes, row, stride);
    }
    let (fours, rest) = rows.as_chunks::<SIDE>();
    for (nth, four) in fours.iter().enumerate() {
        for &row in rows.iter().skip(nth * SIDE + AHEAD).take(SIDE) {
            prefetch(codes, row, stride);
        }
        let four = four.map(|row| row_of(codes, row, stride));
        out.extend(dot_side(query, four).map(|sum| sum - offset));
    }
    for &row in rest {
        out.push(dot_side(query, [row_of(codes, row, stride)])[0] - offset);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn dots_nibbles(query: &[i8], codes: &[u8], rows: &[u32], out: &mut Vec<i32>) {
    let stride = query.len() / 2;
    out.reserve(rows.len());
    let (fours, rest) = rows.as_chunks::<SIDE>();
    for four in fours {
        let four = four.map(|row| row_of(codes, row, stride));
        out.extend(dot_nibbles_side(query, four));
    }
    for &row in rest {
        out.extend(dot_nibbles_side(query, [row_of(codes, row, stride)]));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    dot_lanes(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub fn square_distance_f32(a: &[f32], b: &[f32]) -> f32 {
    square_distance_lanes(a, b)
}
