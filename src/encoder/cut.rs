//! Title, prompt and text → windows.

use super::tokenizer::Token;
use super::window::{Cut, Piece};
use super::{Encoder, Inner, Window, window};
use crate::error::Result;
use crate::outline::Outline;

/// A title of more than this part of a window is cut into windows of its own.
const TITLE_PART: usize = 4;

/// Headings and a table's header take at most this part of a window.
const CONTEXT_PART: usize = 4;

impl Encoder {
    pub(super) fn cut(
        &self,
        prompt: &[u32],
        title: &str,
        text: &str,
        outline: &Outline,
    ) -> Result<Vec<Window>> {
        let tokenizer = &self.0.tokenizer;
        let fixed = tokenizer.before().len() + prompt.len() + tokenizer.after().len();
        // `open` checked that the prompts leave room.
        let capacity = self.0.model.max_tokens - fixed;
        let overlap = self.0.model.overlap;
        let window = |title: &[u32], piece: Piece<Vec<u32>>| Window {
            range: piece.range,
            prompt: tokenizer.before().len() + prompt.len(),
            tokens: [
                tokenizer.before(),
                prompt,
                title,
                &piece.context,
                &piece.tokens,
                tokenizer.after(),
            ]
            .concat(),
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
                let whole = Piece {
                    range: 0..text.len(),
                    context: Vec::new(),
                    tokens,
                };
                return Ok(vec![window(&title_tokens, whole)]);
            }
        }
        let context = |at| self.context(title, text, outline, at, capacity / CONTEXT_PART);
        let breaks = outline.breaks();
        let along = |capacity| Cut {
            capacity,
            overlap,
            breaks: &breaks,
            context: &context,
        };
        if title_tokens.len() <= capacity / TITLE_PART {
            let room = capacity - title_tokens.len();
            let pieces = window::cut(tokenizer, text, &along(room), window::ids)?;
            let windows = pieces.into_iter().map(|piece| window(&title_tokens, piece));
            return Ok(windows.collect());
        }
        let titles = Cut::plain(capacity, overlap);
        let titles = window::cut(tokenizer, title, &titles, window::ids)?;
        let texts = window::cut(tokenizer, text, &along(capacity), window::ids)?;
        let titles = titles.into_iter().map(|piece| Piece {
            range: 0..0,
            ..piece
        });
        Ok(titles
            .chain(texts)
            .map(|piece| window(&[], piece))
            .collect())
    }

    /// The tokens of what stands above a place: the headings, the innermost first to stay where there is no room for all, and
    /// the header of the table that it is in.
    fn context(
        &self,
        title: &str,
        text: &str,
        outline: &Outline,
        at: usize,
        room: usize,
    ) -> Result<Vec<u32>> {
        let mut context = Vec::new();
        if outline.without_context {
            return Ok(context);
        }
        let tokenizer = &self.0.tokenizer;
        if let Some(header) = outline.table_header_at(text, at) {
            context = window::leading_ids(tokenizer, header, room)?;
            context.truncate(room);
        }
        let mut above = outline.headings_before(at);
        // The title is read with each window anyway.
        above.retain(|heading| *heading != title);
        for heading in above.iter().rev() {
            let tokens = window::leading_ids(tokenizer, heading, room)?;
            if tokens.len() + context.len() > room {
                break;
            }
            context.splice(..0, tokens);
        }
        Ok(context)
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
        let how = Cut::plain(capacity, model.overlap);
        let pieces = window::cut(tokenizer, text, &how, <[Token]>::to_vec)?;
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
