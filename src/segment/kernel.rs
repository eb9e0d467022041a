//! Dot products: int8 codes for walking and scanning, f32 rows for the final score. One of the two files with unsafe code.
//!
//! Every instruction set gives the same result to the last bit: integers are exact, and the f32 product sums 32 fixed
//! lanes in a fixed order and never fuses. So a score does not depend on the machine.
//!
//! Codes lie in ±127 (−128 is never written), so that `|a|·sign(b, a)` fits the instructions that multiply unsigned by
//! signed bytes. Code slices have equal lengths, a multiple of 64; what lies behind the last component is zero.

use std::sync::OnceLock;

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon,
}

impl Kernel {
    /// The fastest set of this machine.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().expect("scalar is always there"))
    }

    /// Every set that this machine has, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self(Set::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2");
            if avx2 {
                sets.push(Self(Set::Avx2));
            }
            let avx512 =
                is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
            if avx2 && avx512 && is_x86_feature_detected!("avx512vnni") {
                sets.push(Self(Set::Avx512Vnni));
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        sets.push(Self(Set::Neon));
        sets
    }

    /// Dot product of two codes.
    pub fn dot(self, a: &[i8], b: &[i8]) -> i32 {
        match self.0 {
            Set::Scalar => scalar::dot(a, b),
            // SAFETY: `available` is the only maker of a `Kernel`, and it checked the processor's features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::dot(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { avx512::dot(a, b) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => neon::dot(a, b),
        }
    }

    /// Appends the dot product of `query` with each of `rows` to `out`. `codes` holds rows of `query.len()` codes.
    ///
    /// # Panics
    /// If a row lies outside `codes`.
    pub fn dots(self, query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
        match self.0 {
            Set::Scalar => scalar::dots(query, codes, rows, out),
            // SAFETY: `available` is the only maker of a `Kernel`, and it checked the processor's features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::dots(query, codes, rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { avx512::dots(query, codes, rows, out) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => neon::dots(query, codes, rows, out),
        }
    }

    /// Dot product of two f32 rows of equal length.
    pub fn dot_f32(self, a: &[f32], b: &[f32]) -> f32 {
        match self.0 {
            Set::Scalar => dot_lanes(a, b),
            // SAFETY: `available` is the only maker of a `Kernel`, and it checked the processor's features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::dot_f32(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { avx512::dot_f32(a, b) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => dot_lanes(a, b),
        }
    }

    /// Square of the Euclidean distance of two f32 rows of equal length.
    pub fn square_distance_f32(self, a: &[f32], b: &[f32]) -> f32 {
        match self.0 {
            Set::Scalar => square_distance_lanes(a, b),
            // SAFETY: `available` is the only maker of a `Kernel`, and it checked the processor's features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::square_distance_f32(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { avx512::square_distance_f32(a, b) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => square_distance_lanes(a, b),
        }
    }
}

/// The one f32 product; each instruction set compiles it for its own width, which does not change the order of sums.
#[inline(always)]
fn dot_lanes(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, |a, b| a * b)
}

/// The one f32 distance, as above.
#[inline(always)]
fn square_distance_lanes(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a, b, |a, b| (a - b) * (a - b))
}

#[inline(always)]
fn sum_lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(a, b);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

fn row_of(codes: &[i8], row: u32, stride: usize) -> &[i8] {
    &codes[row as usize * stride..][..stride]
}

mod scalar {
    pub fn dot(a: &[i8], b: &[i8]) -> i32 {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| i32::from(a) * i32::from(b))
            .sum()
    }

    pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
        out.extend(
            rows.iter()
                .map(|&row| dot(query, super::row_of(codes, row, query.len()))),
        );
    }
}

/// Rows ahead of the one being scored whose codes are asked for from memory.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 5;

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch(codes: &[i8], row: u32, stride: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in row_of(codes, row, stride).chunks(64) {
        // SAFETY: a prefetch reads nothing; the address lies in `codes` besides.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr()) };
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    #[inline]
    pub fn dot(a: &[i8], b: &[i8]) -> i32 {
        let ones = _mm256_set1_epi16(1);
        let mut sums = _mm256_setzero_si256();
        for (a, b) in a.as_chunks::<32>().0.iter().zip(b.as_chunks::<32>().0) {
            // SAFETY: each chunk has the 32 bytes that an unaligned load reads.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(a.as_ptr().cast()),
                    _mm256_loadu_si256(b.as_ptr().cast()),
                )
            };
            // Pairs reach at most 2 · 127 · 127 = 32,258, so the 16-bit sums never saturate.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
        }
        let four = _mm_add_epi32(
            _mm256_castsi256_si128(sums),
            _mm256_extracti128_si256::<1>(sums),
        );
        let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
        _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
    }

    #[target_feature(enable = "avx2")]
    pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
        let stride = query.len();
        out.reserve(rows.len());
        for (at, &row) in rows.iter().enumerate() {
            if let Some(&next) = rows.get(at + super::AHEAD) {
                super::prefetch(codes, next, stride);
            }
            out.push(dot(query, super::row_of(codes, row, stride)));
        }
    }

    #[target_feature(enable = "avx2")]
    pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
        super::dot_lanes(a, b)
    }

    #[target_feature(enable = "avx2")]
    pub fn square_distance_f32(a: &[f32], b: &[f32]) -> f32 {
        super::square_distance_lanes(a, b)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    pub fn dot(a: &[i8], b: &[i8]) -> i32 {
        let zero = _mm512_setzero_si512();
        let mut sums = zero;
        for (a, b) in a.as_chunks::<64>().0.iter().zip(b.as_chunks::<64>().0) {
            // SAFETY: each chunk has the 64 bytes that an unaligned load reads.
            let (a, b) = unsafe {
                (
                    _mm512_loadu_si512(a.as_ptr().cast()),
                    _mm512_loadu_si512(b.as_ptr().cast()),
                )
            };
            let signed = _mm512_mask_sub_epi8(b, _mm512_movepi8_mask(a), zero, b);
            sums = _mm512_dpbusd_epi32(sums, _mm512_abs_epi8(a), signed);
        }
        _mm512_reduce_add_epi32(sums)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn dots(query: &[i8], codes: &[i8], rows: &[u32], out: &mut Vec<i32>) {
        let stride = query.len();
        out.reserve(rows.len());
        for (at, &row) in rows.iter().enumerate() {
            if let Some(&next) = rows.get(at + super::AHEAD) {
                super::prefetch(codes, next, stride);
            }
            out.push(dot(query, super::row_of(codes, row, stride)));
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
        super::dot_lanes(a, b)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub fn square_distance_f32(a: &[f32], b: &[f32]) -> f32 {
        super::square_distance_lanes(a, b)
    }
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon {
    use std::arch::aarch64::*;

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
                .map(|&row| dot(query, super::row_of(codes, row, query.len()))),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_instruction_set_gives_the_scalar_result(
            blocks in 1usize..8,
            seed in proptest::collection::vec(-127i8..=127, 64 * 8 * 4),
            extreme in any::<bool>(),
        ) {
            let stride = blocks * 64;
            let codes: Vec<i8> = seed.iter().map(|&x| if extreme { if x < 0 { -127 } else { 127 } } else { x }).collect();
            let (query, rows) = codes.split_at(stride);
            let ids: Vec<u32> = (0..(rows.len() / stride) as u32).rev().collect();
            let mut expected = Vec::new();
            scalar::dots(query, rows, &ids, &mut expected);
            for kernel in Kernel::available() {
                let mut found = Vec::new();
                kernel.dots(query, rows, &ids, &mut found);
                prop_assert_eq!(&found, &expected, "{:?}", kernel);
                prop_assert_eq!(kernel.dot(query, row_of(rows, ids[0], stride)), expected[0], "{:?}", kernel);
            }
        }

        #[test]
        fn a_score_is_the_same_to_the_last_bit_on_every_instruction_set(
            pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..200),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (dot, distance) = (dot_lanes(&a, &b), square_distance_lanes(&a, &b));
            let plain = |term: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| term(a.into(), b.into())).sum::<f64>();
            prop_assert!((f64::from(dot) - plain(|a, b| a * b)).abs() < 1e-4);
            prop_assert!((f64::from(distance) - plain(|a, b| (a - b).powi(2))).abs() < 1e-4);
            for kernel in Kernel::available() {
                prop_assert_eq!(kernel.dot_f32(&a, &b).to_bits(), dot.to_bits(), "{:?}", kernel);
                prop_assert_eq!(kernel.square_distance_f32(&a, &b).to_bits(), distance.to_bits(), "{:?}", kernel);
            }
        }
    }
}
