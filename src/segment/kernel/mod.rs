//! Dot products: int4 codes for walking, int8 codes for scanning, f32 rows for the final score. With `map.rs`, the place of unsafe code.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | choosing the instruction set; the f32 product |
//! | `scalar.rs` | the reference |
//! | `avx2.rs`, `avx512.rs`, `neon.rs` | the same for each instruction set (unsafe: intrinsics) |
//!
//! Every instruction set gives the same result to the last bit: integers are exact, and the f32 product sums 32 fixed
//! lanes in a fixed order and never fuses. So a score does not depend on the machine.
//!
//! Codes lie in ±127 (−128 is never written), so that `|a|·sign(b, a)` fits the instructions that multiply unsigned by
//! signed bytes. Code slices have equal lengths, a multiple of 64; what lies behind the last component is zero.
//!
//! *Nibbles* are codes from 0 to 15, two in a byte: byte b of block n, of 64 bytes, has component 128n + b in its lower and
//! 128n + 64 + b in its upper half, so that whole registers meet whole registers of the query.
//!
//! The loop over rows is inside the function that has the instruction set; the walk around it is not. A walk calls it once
//! a node, for some twenty rows and a microsecond or so, where a call costs nothing that could be measured.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon;
mod scalar;

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
            // SAFETY: as above; the whole build has it.
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => unsafe { neon::dot(a, b) },
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
            // SAFETY: as above; the whole build has it.
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => unsafe { neon::dots(query, codes, rows, out) },
        }
    }

    /// Appends the dot product of `query` with each of `rows` to `out`. `codes` holds rows of nibbles, `query.len()` a row;
    /// the query's length is a multiple of 128. Nothing is read ahead: whoever walks knows sooner what will be read.
    ///
    /// # Panics
    /// If a row lies outside `codes`.
    pub fn dots_nibbles(self, query: &[i8], codes: &[u8], rows: &[u32], out: &mut Vec<i32>) {
        match self.0 {
            Set::Scalar => scalar::dots_nibbles(query, codes, rows, out),
            // SAFETY: `available` is the only maker of a `Kernel`, and it checked the processor's features.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::dots_nibbles(query, codes, rows, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512Vnni => unsafe { avx512::dots_nibbles(query, codes, rows, out) },
            // SAFETY: as above; the whole build has it.
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Set::Neon => unsafe { neon::dots_nibbles(query, codes, rows, out) },
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

/// The lower half of a byte.
const NIBBLES: u8 = 0x0F;

/// One row's code.
#[inline(always)]
fn row_of<T>(codes: &[T], row: u32, stride: usize) -> &[T] {
    &codes[row as usize * stride..][..stride]
}

/// Rows ahead of the one being scored whose codes are asked for from memory: enough that their six lines each fill what
/// the processor can have under way.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 8;

/// Asks for a row's code from memory.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn prefetch(codes: &[i8], row: u32, stride: usize) {
    for line in row_of(codes, row, stride).chunks(64) {
        prefetch_line(line);
    }
}

/// Asks for the line of memory where `place` starts.
#[inline(always)]
pub(super) fn prefetch_line<T>(place: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, whatever the address is.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
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
        fn every_instruction_set_gives_the_scalar_result_on_nibbles(
            blocks in 1usize..5,
            query in proptest::collection::vec(-127i8..=127, 128 * 4),
            nibbles in proptest::collection::vec(any::<u8>(), 64 * 4 * 7),
            extreme in any::<bool>(),
        ) {
            let (query, stride) = (&query[..128 * blocks], 64 * blocks);
            let nibbles: Vec<u8> = if extreme { vec![0xFF; nibbles.len()] } else { nibbles };
            let query: Vec<i8> = query.iter().map(|&x| if extreme { 127 } else { x }).collect();
            let ids: Vec<u32> = (0..(nibbles.len() / stride) as u32).rev().collect();
            let unpacked = |row: u32, at: usize| {
                let byte = row_of(&nibbles, row, stride)[at / 128 * 64 + at % 64];
                i32::from(if at % 128 < 64 { byte & 15 } else { byte >> 4 })
            };
            let dot = |&row: &u32| query.iter().zip(0..).map(|(&x, at)| i32::from(x) * unpacked(row, at)).sum::<i32>();
            let expected: Vec<i32> = ids.iter().map(dot).collect();
            for kernel in Kernel::available() {
                let mut found = Vec::new();
                kernel.dots_nibbles(&query, &nibbles, &ids, &mut found);
                prop_assert_eq!(&found, &expected, "{:?}", kernel);
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
