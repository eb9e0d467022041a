//! What the machine can do at most: fused multiply-adds of f32, and reading memory.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

/// Rounds of the chains of multiply-adds.
const ROUNDS: u64 = 20_000_000;
/// Independent chains: more than latency times throughput, fewer than there are registers.
const CHAINS: usize = 12;
/// What a query streams: the matrices of a model of 10 million parameters.
const STREAM_BYTES: usize = 42_500_000;

/// GFLOP/s of multiply-adds and GB/s of reading, on so many threads at once.
pub fn measured(threads: usize) -> Value {
    let (name, lanes, chains) = kernel();
    let flops = threads as f64 * ROUNDS as f64 * CHAINS as f64 * lanes as f64 * 2.0;
    // The best of many short runs: whatever else the machine does in between is not its limit.
    let gflops = (0..20).map(|_| {
        flops
            / slowest(threads, |_| {
                black_box(chains(black_box(ROUNDS)));
            })
            / 1e9
    });
    let gflops = gflops.fold(0.0, f64::max);

    // Not zeros, which the system would give as one page.
    let parts: Vec<Vec<u64>> = (0..threads)
        .map(|n| vec![n as u64 + 1; STREAM_BYTES / 8 / threads])
        .collect();
    let stream = (0..20).map(|_| {
        slowest(threads, |n| {
            black_box(sum(black_box(&parts[n])));
        })
    });
    let stream = stream.fold(f64::MAX, f64::min);
    json!({
        "threads": threads,
        "kernel": name,
        "peak_gflops": gflops,
        "stream_ms": stream * 1e3,
        "stream_gb_per_s": STREAM_BYTES as f64 / stream / 1e9,
    })
}

/// Seconds from a common start to the end of the last.
fn slowest(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let (barrier, work) = (&barrier, &work);
    thread::scope(|scope| {
        let started = (0..threads).map(|n| {
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                work(n);
                start.elapsed().as_secs_f64()
            })
        });
        let started: Vec<_> = started.collect();
        let times = started
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        times.fold(0.0, f64::max)
    })
}

fn sum(words: &[u64]) -> u64 {
    let mut sums = [0_u64; 16];
    for chunk in words.chunks_exact(16) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

type Chains = fn(u64) -> f32;

/// The widest kernel that this processor has, and its lanes.
#[cfg(target_arch = "x86_64")]
fn kernel() -> (&'static str, usize, Chains) {
    if is_x86_feature_detected!("avx512f") {
        return ("AVX-512", 16, |rounds| {
            // SAFETY: the feature was just detected.
            unsafe { avx512(rounds) }
        });
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return ("AVX2", 8, |rounds| {
            // SAFETY: the features were just detected.
            unsafe { avx2(rounds) }
        });
    }
    ("scalar", 1, scalar)
}

#[cfg(not(target_arch = "x86_64"))]
fn kernel() -> (&'static str, usize, Chains) {
    ("scalar", 1, scalar)
}

fn scalar(rounds: u64) -> f32 {
    let (x, y) = (black_box(0.999_f32), black_box(0.001_f32));
    let mut sums: [f32; CHAINS] = std::array::from_fn(|n| black_box(n as f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sum.mul_add(x, y);
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: u64) -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let (x, y) = (
        _mm256_set1_ps(black_box(0.999)),
        _mm256_set1_ps(black_box(0.001)),
    );
    // Different starts: equal chains would be computed once.
    let mut sums: [_; CHAINS] = std::array::from_fn(|n| _mm256_set1_ps(black_box(n as f32)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, y);
        }
    }
    sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: u64) -> f32 {
    use std::arch::x86_64::{_mm512_cvtss_f32, _mm512_fmadd_ps, _mm512_set1_ps};
    let (x, y) = (
        _mm512_set1_ps(black_box(0.999)),
        _mm512_set1_ps(black_box(0.001)),
    );
    let mut sums: [_; CHAINS] = std::array::from_fn(|n| _mm512_set1_ps(black_box(n as f32)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    sums.into_iter().map(|sum| _mm512_cvtss_f32(sum)).sum()
}

/// The most memory that this process has had; `None` where the system does not tell.
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}
