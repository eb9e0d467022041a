//! A better judge than the encoder, made from the same encoder: passages that it finds are judged by their words (BM25, Robertson
//! and Zaragoza 2009) and by their tokens' vectors (MaxSim, Khattab and Zaharia 2020, arXiv:2004.12832) beside their own vectors.
//! What the judge prefers, the encoder learns to prefer.

use std::collections::{HashMap, HashSet};

use super::index::Found;
use crate::encoder::Window;
use crate::encoder::trunk::{Numbers, Trunk};
use crate::error::Result;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// Counts of words over a collection's passages; a word is a token.
pub(super) struct Words {
    passages: f32,
    mean_length: f32,
    passages_with: HashMap<u32, u32>,
}

impl Words {
    pub fn count<'a>(passages: impl IntoIterator<Item = &'a Window>) -> Self {
        let (mut count, mut length) = (0_u64, 0_u64);
        let mut passages_with: HashMap<u32, u32> = HashMap::new();
        for passage in passages {
            let own = passage.own_tokens();
            count += 1;
            length += own.len() as u64;
            for &token in own.iter().collect::<HashSet<_>>() {
                *passages_with.entry(token).or_default() += 1;
            }
        }
        Self {
            passages: count as f32,
            mean_length: length as f32 / count.max(1) as f32,
            passages_with,
        }
    }

    /// BM25 of a passage for a query.
    pub fn score(&self, query: &Window, passage: &Window) -> f32 {
        let own = passage.own_tokens();
        let length = 1.0 - B + B * own.len() as f32 / self.mean_length.max(1.0);
        let query: HashSet<u32> = query.own_tokens().iter().copied().collect();
        let scores = query.into_iter().map(|token| {
            let often = own.iter().filter(|other| **other == token).count() as f32;
            let with = self.passages_with.get(&token).copied().unwrap_or(0) as f32;
            let rare = (1.0 + (self.passages - with + 0.5) / (with + 0.5)).ln();
            rare * often * (K1 + 1.0) / (often + K1 * length)
        });
        // In a set's order sums would differ from run to run.
        let mut scores: Vec<f32> = scores.collect();
        scores.sort_by(f32::total_cmp);
        scores.iter().sum()
    }
}

/// Tokens' vectors of passages, at length 1.
pub(super) struct Tokens<'a> {
    trunk: &'a Trunk,
    weights: &'a Numbers,
    known: HashMap<Vec<u32>, Vec<f32>>,
    bytes: usize,
    memory: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(trunk: &'a Trunk, weights: &'a Numbers, memory: usize) -> Self {
        Self {
            trunk,
            weights,
            known: HashMap::new(),
            bytes: 0,
            memory,
        }
    }

    /// Makes sure that those of all these windows are known. What was known before goes where the memory is full.
    pub fn learn(&mut self, windows: &[&Window]) -> Result<()> {
        if self.bytes > self.memory {
            self.known.clear();
            self.bytes = 0;
        }
        let mut seen = HashSet::new();
        let new = windows.iter().filter(|window| {
            !self.known.contains_key(&window.tokens) && seen.insert(&window.tokens)
        });
        let new: Vec<&Window> = new.copied().collect();
        for (window, vectors) in new
            .iter()
            .zip(self.trunk.token_vectors(self.weights, &new)?)
        {
            self.bytes += 4 * vectors.len();
            self.known.insert(window.tokens.clone(), vectors);
        }
        Ok(())
    }

    /// The mean, over the query's tokens, of the cosine to the passage's nearest token.
    pub fn score(&self, query: &Window, passage: &Window) -> f32 {
        let (Some(query), Some(passage)) = (
            self.known.get(&query.tokens),
            self.known.get(&passage.tokens),
        ) else {
            return 0.0;
        };
        let width = self.trunk.hidden();
        let best = query.chunks_exact(width).map(|query| {
            let cosines = passage
                .chunks_exact(width)
                .map(|passage| dot(query, passage));
            cosines.fold(-1.0, f32::max)
        });
        best.sum::<f32>() / (query.len() / width).max(1) as f32
    }
}

/// In eight sums, so that the compiler adds several at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (parts, others) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = parts
        .remainder()
        .iter()
        .zip(others.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in parts.zip(others) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The judge's score of each hit: the sum of what the three say, each by its own mean and deviation.
pub(super) fn judge(
    words: &Words,
    tokens: &Tokens<'_>,
    query: &Window,
    found: &[Found],
    passages: &[&Window],
) -> Vec<f32> {
    let dense = found.iter().map(|hit| hit.score).collect();
    let lexical = passages
        .iter()
        .map(|passage| words.score(query, passage))
        .collect();
    let late = passages
        .iter()
        .map(|passage| tokens.score(query, passage))
        .collect();
    let mut sums = vec![0.0; found.len()];
    for scores in [dense, lexical, late] {
        for (sum, score) in sums.iter_mut().zip(standard(scores)) {
            *sum += score;
        }
    }
    sums
}

fn standard(scores: Vec<f32>) -> Vec<f32> {
    let count = scores.len().max(1) as f32;
    let mean = scores.iter().sum::<f32>() / count;
    let deviation = (scores
        .iter()
        .map(|score| (score - mean).powi(2))
        .sum::<f32>()
        / count)
        .sqrt();
    scores
        .iter()
        .map(|score| (score - mean) / deviation.max(1e-6))
        .collect()
}
