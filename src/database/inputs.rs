//! Windows → vectors, each made once: what the encoder is given again has its vector already.

use std::collections::HashMap;

use crate::document::InputHash;
use crate::encoder::{Encoder, Window};
use crate::error::Result;
use crate::vector::Vector;

/// So many tokens are encoded before the caller hears of it.
const TOKENS_AT_ONCE: usize = 32 << 10;

/// The different inputs of a call.
#[derive(Default)]
pub(super) struct Inputs {
    all: Vec<Input>,
    places: HashMap<InputHash, usize>,
    /// Those whose vector has to be made, as places in `all`.
    fresh: Vec<(usize, Window)>,
}

struct Input {
    hash: InputHash,
    vector: Option<Vector>,
    /// Passages that have it and did not get its vector yet.
    waiting: usize,
}

impl Inputs {
    /// The place of a window's input.
    pub fn take(
        &mut self,
        window: Window,
        made: impl Fn(InputHash) -> Result<Option<Vector>>,
    ) -> Result<usize> {
        let hash = window.input();
        if let Some(&at) = self.places.get(&hash) {
            self.all[at].waiting += 1;
            return Ok(at);
        }
        let (at, vector) = (self.all.len(), made(hash)?);
        if vector.is_none() {
            self.fresh.push((at, window));
        }
        self.places.insert(hash, at);
        self.all.push(Input {
            hash,
            vector,
            waiting: 1,
        });
        Ok(at)
    }

    pub fn hash(&self, at: usize) -> InputHash {
        self.all[at].hash
    }

    /// How many have to be encoded,
    pub fn fresh(&self) -> u64 {
        self.fresh.len() as u64
    }

    /// and their tokens.
    pub fn fresh_tokens(&self) -> u64 {
        self.fresh.iter().map(|(_, w)| w.token_count() as u64).sum()
    }

    /// Makes the vectors that are missing. In slices, so that the caller is told of what takes long.
    pub fn encode(
        &mut self,
        encoder: &Encoder,
        tell: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<()> {
        let (total, mut done) = (self.fresh_tokens(), 0);
        let mut fresh = std::mem::take(&mut self.fresh).into_iter().peekable();
        while fresh.peek().is_some() {
            let (mut places, mut windows, mut tokens) = (Vec::new(), Vec::new(), 0);
            while tokens < TOKENS_AT_ONCE
                && let Some((at, window)) = fresh.next()
            {
                tokens += window.token_count();
                places.push(at);
                windows.push(window);
            }
            for (at, vector) in places.into_iter().zip(encoder.encode(&windows)?) {
                self.all[at].vector = Some(vector);
            }
            done += tokens as u64;
            if done < total {
                tell(done as f64 / total as f64)?;
            }
        }
        Ok(())
    }

    /// The vector of an input, once for each time that it was taken.
    pub fn deal(&mut self, at: usize) -> Vector {
        let input = &mut self.all[at];
        input.waiting -= 1;
        let vector = match input.waiting {
            0 => input.vector.take(),
            _ => input.vector.clone(),
        };
        vector.expect("found or made, and not yet given to the last")
    }
}
