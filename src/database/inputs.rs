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
    places: HashMap<InputHash, usize>,
    /// The vector of each, where it is there already.
    vectors: Vec<Option<Vector>>,
    /// Those whose vector has to be made, with their places.
    fresh: Vec<(usize, Window)>,
}

impl Inputs {
    /// The place of a window's input.
    pub fn take(
        &mut self,
        input: InputHash,
        window: Window,
        made: impl Fn(InputHash) -> Result<Option<Vector>>,
    ) -> Result<usize> {
        if let Some(&at) = self.places.get(&input) {
            return Ok(at);
        }
        let (at, vector) = (self.vectors.len(), made(input)?);
        if vector.is_none() {
            self.fresh.push((at, window));
        }
        self.places.insert(input, at);
        self.vectors.push(vector);
        Ok(at)
    }

    /// How many have to be encoded,
    pub fn fresh(&self) -> u64 {
        self.fresh.len() as u64
    }

    /// and their tokens.
    pub fn fresh_tokens(&self) -> u64 {
        self.fresh.iter().map(|(_, w)| w.token_count() as u64).sum()
    }

    /// The vector at each place; makes those that are missing. In slices, so that the caller is told of what takes long.
    pub fn encode(
        self,
        encoder: &Encoder,
        tell: &mut dyn FnMut(f64) -> Result<()>,
    ) -> Result<Vec<Vector>> {
        let (total, mut done) = (self.fresh_tokens(), 0);
        let mut vectors = self.vectors;
        let mut fresh = self.fresh.into_iter().peekable();
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
                vectors[at] = Some(vector);
            }
            done += tokens as u64;
            if done < total {
                tell(done as f64 / total as f64)?;
            }
        }
        let all = vectors.into_iter();
        Ok(all.map(|vector| vector.expect("found or made")).collect())
    }
}
