//! What layers gave that are not trained: the same for a text at every step, so it is computed once.

use std::collections::HashMap;
use std::sync::Mutex;

use super::lock;
use crate::encoder::batch::Row;

/// Layers that are not trained, and what they gave for texts.
pub(super) struct FrozenLayers {
    /// That they take, with their shapes.
    pub weights: Vec<(String, Vec<usize>)>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By a text's tokens, `[tokens, hidden]`.
    leaving: HashMap<Vec<u32>, Vec<f32>>,
    bytes: usize,
}

impl FrozenLayers {
    pub fn new(weights: Vec<(String, Vec<usize>)>) -> Self {
        Self {
            weights,
            known: Mutex::default(),
        }
    }

    /// What the layers gave for all of these rows, each padded to so many numbers; `None` if one was not kept.
    pub fn recall(&self, rows: &[Row<'_>], padded: usize) -> Option<Vec<f32>> {
        let known = lock(&self.known);
        let mut leaving = Vec::with_capacity(rows.len() * padded);
        for (at, row) in rows.iter().enumerate() {
            leaving.extend_from_slice(known.leaving.get(row.tokens)?);
            leaving.resize((at + 1) * padded, 0.0);
        }
        Some(leaving)
    }

    /// Keeps what they gave, while there is memory for it.
    pub fn remember(
        &self,
        rows: &[Row<'_>],
        leaving: &[f32],
        padded: usize,
        hidden: usize,
        memory: usize,
    ) {
        let mut known = lock(&self.known);
        for (row, leaving) in rows.iter().zip(leaving.chunks_exact(padded)) {
            let leaving = &leaving[..row.tokens.len() * hidden];
            let bytes = 4 * (leaving.len() + row.tokens.len());
            if known.bytes + bytes <= memory && !known.leaving.contains_key(row.tokens) {
                known.bytes += bytes;
                known.leaving.insert(row.tokens.to_vec(), leaving.to_vec());
            }
        }
    }
}
