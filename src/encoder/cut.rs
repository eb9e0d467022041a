//! Title, prompt and text → windows.

use super::tokenizer::Token;
use super::{Encoder, Inner, Window, window};
use crate::error::Result;

/// A title of more than this part of a window is cut into windows of its own.
const TITLE_PART: usize = 4;

impl Encoder {
    pub(super) fn cut(&self, prompt: &[u32], title: &str, text: &str) -> Result<Vec<Window>> {
        let tokenizer = &self.0.tokenizer;
        let fixed = tokenizer.before().len() + prompt.len() + tokenizer.after().len();
        // `open` checked that the prompts leave room.
        let capacity = self.0.model.max_tokens - fixed;
        let overlap = self.0.model.overlap;
        let window = |title: &[u32], tokens: &[u32], range| Window {
            range,
            prompt: tokenizer.before().len() + prompt.len(),
            tokens: [tokenizer.before(), prompt, title, tokens, tokenizer.after()].concat(),
        };

        let title_tokens = if title.is_empty() {
            Vec::new()
        } else {
            window::leading_ids(tokenizer, title, capacity)?
        };
        if title_tokens.len() <= capacity {
            let room = capacity - title_tokens.len();
            let tokens = window::leading_ids(tokenizer, text, room)?;
            if tokens.len() <= room {
                return Ok(vec![window(&title_tokens, &tokens, 0..text.len())]);
            }
        }
        if title_tokens.len() <= capacity / TITLE_PART {
            let pieces = window::cut(
                tokenizer,
                text,
                capacity - title_tokens.len(),
                overlap,
                window::ids,
            )?;
            return Ok(pieces
                .into_iter()
                .map(|piece| window(&title_tokens, &piece.tokens, piece.range))
                .collect());
        }
        let titles = window::cut(tokenizer, title, capacity, overlap, window::ids)?;
        let texts = window::cut(tokenizer, text, capacity, overlap, window::ids)?;
        let titles = titles
            .into_iter()
            .map(|piece| window(&[], &piece.tokens, 0..0));
        Ok(titles
            .chain(
                texts
                    .into_iter()
                    .map(|piece| window(&[], &piece.tokens, piece.range)),
            )
            .collect())
    }

    /// A passage's windows with the places of their tokens in the text, special tokens and the prompt's left out.
    pub(super) fn cut_with_places(&self, text: &str) -> Result<Vec<(Window, Vec<Token>)>> {
        let Inner {
            tokenizer,
            passage_prompt,
            model,
            ..
        } = &*self.0;
        let (before, after) = (tokenizer.before(), tokenizer.after());
        let prompt = before.len() + passage_prompt.len();
        let capacity = model.max_tokens - prompt - after.len();
        let pieces = window::cut(tokenizer, text, capacity, model.overlap, <[Token]>::to_vec)?;
        let windows = pieces.into_iter().map(|piece| {
            let ids = window::ids(&piece.tokens);
            let window = Window {
                range: piece.range,
                tokens: [before, passage_prompt, &ids, after].concat(),
                prompt,
            };
            (window, piece.tokens)
        });
        Ok(windows.collect())
    }
}
