//! What happens inside the model while it reads a text.

use std::ops::Range;

use super::export::{EMBEDDINGS, attention_name, hidden_name};
use super::session::Output;
use super::tokenizer::Token as Place;
use super::{Encoder, Window};
use crate::error::{Error, Result};

/// A token of an inspected window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its row in the vocabulary.
    pub id: u32,
    /// As the vocabulary has it: "rust", "##ed", "▁the".
    pub text: String,
    /// Its bytes in the text, on char boundaries; `None` for special tokens and those of a prompt.
    pub range: Option<Range<usize>>,
}

/// How the tokens of a window look at each other in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// `[heads, tokens, tokens]`, row by row: how much the second index of a token looks at the third; each row sums to 1.
    pub weights: Vec<f32>,
    /// Heads.
    pub heads: usize,
}

/// All that a model computes for one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The tokens, special ones included.
    pub tokens: Vec<Token>,
    /// Components of a token's vector.
    pub hidden: usize,
    /// The tokens' rows of the embedding table, before they have seen any context, `[tokens, hidden]`.
    pub embeddings: Vec<f32>,
    /// Token vectors: of the normalised embeddings first, then after each layer, `[tokens, hidden]` each. Not unit length.
    pub layers: Vec<Vec<f32>>,
    /// Attention of each layer.
    pub attention: Vec<Attention>,
}

impl Inspection {
    /// The contextual vector of a token: the last layer's.
    ///
    /// # Panics
    /// If there is no such token.
    pub fn token_vector(&self, token: usize) -> &[f32] {
        assert!(
            token < self.tokens.len(),
            "there are {} tokens",
            self.tokens.len()
        );
        let last = self.layers.last().map_or(&[][..], Vec::as_slice);
        &last[token * self.hidden..][..self.hidden]
    }
}

impl Encoder {
    /// Reads a passage and tells all that happens: its tokens with their bytes, their vectors in every layer, attention,
    /// and context-free embeddings. One inspection a window, as [`windows`](Self::windows) cuts the text; the sentence
    /// vector is [`encode`](Self::encode)'s.
    ///
    /// A session is opened for each call, and everything is copied out: for looking, not for bulk.
    ///
    /// ```
    /// # vecdb::setup::ensure()?;
    /// use vecdb::encoder::{Encoder, EncoderOptions};
    ///
    /// let encoder = Encoder::open(&EncoderOptions::default())?;
    /// let seen = &encoder.inspect("The bank of the river.")?[0];
    /// let bank = seen.tokens.iter().position(|token| token.text == "bank").expect("a token");
    /// assert_eq!(seen.tokens[bank].range, Some(4..8));
    /// assert_eq!(seen.token_vector(bank).len(), 384);
    /// # Ok::<(), vecdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Model`] for a folder that brings an ONNX file of its own; as [`encode`](Self::encode).
    pub fn inspect(&self, text: &str) -> Result<Vec<Inspection>> {
        let pool = &self.0.pool;
        let mut session = pool.network().inspection(pool.runtime())?;
        let inspect = |(window, places): (Window, Vec<Place>)| {
            let ids: Vec<i64> = window.tokens.iter().map(|&id| i64::from(id)).collect();
            let tokens = self.places(text, &window, &places);
            inspection(tokens, session.inspect(&ids)?)
        };
        self.cut_with_places(text)?
            .into_iter()
            .map(inspect)
            .collect()
    }

    fn places(&self, text: &str, window: &Window, places: &[Place]) -> Vec<Token> {
        let tokens = window.tokens.iter().enumerate().map(|(at, &id)| {
            let place = at.checked_sub(window.prompt).and_then(|at| places.get(at));
            Token {
                id,
                text: self.0.tokenizer.name(id),
                range: place.map(|token| char_range(text, token.start, token.end)),
            }
        });
        tokens.collect()
    }
}

fn inspection(tokens: Vec<Token>, mut outputs: Vec<Output>) -> Result<Inspection> {
    let mut take = |name: &str| {
        let at = outputs.iter().position(|output| output.name == name);
        at.map(|at| outputs.swap_remove(at))
    };
    let missing = || Error::Encode {
        what: "the model did not tell all its layers".into(),
    };
    let embeddings = take(EMBEDDINGS).ok_or_else(missing)?;
    let mut layers = Vec::new();
    while let Some(output) = take(&hidden_name(layers.len())) {
        layers.push(output.numbers);
    }
    let mut attention = Vec::new();
    while let Some(output) = take(&attention_name(attention.len() + 1)) {
        let heads = output.shape.get(1).copied().unwrap_or(0);
        let weights = output.numbers;
        attention.push(Attention { weights, heads });
    }
    if layers.is_empty() {
        return Err(missing());
    }
    Ok(Inspection {
        tokens,
        hidden: embeddings.shape.last().copied().unwrap_or(0),
        embeddings: embeddings.numbers,
        layers,
        attention,
    })
}

/// Byte-level tokenizers cut inside characters.
fn char_range(text: &str, start: usize, end: usize) -> Range<usize> {
    text.floor_char_boundary(start)..text.ceil_char_boundary(end)
}
