//! Text → windows that fit the encoder and together cover every byte.
//!
//! ```text
//! text    |---------------------------------------------------|
//! tokens   t t t t . t t t t t . t t t t t t t . t t t t t t .
//! windows |-----------|
//!                  |--------------|          each ends at a sentence end where one is near, and the
//!                              |----------…  next starts a few words back, at the start of a word
//! ```
//!
//! The text is tokenised once, block by block, so memory does not grow with the text beside the windows themselves.

use std::ops::Range;

use super::tokenizer::{Token, Tokenizer};
use crate::error::Result;

/// Bytes tokenised at once, at most.
const BLOCK_BYTES: usize = 64 * 1024;
/// Closing quotes and brackets between a sentence's end mark and its end, at most. A bound, so that a text of nothing else
/// takes no longer than others.
const CLOSERS: usize = 8;
/// A window overlaps the next by this part of its tokens, where nothing else is said.
const OVERLAP_PART: usize = 8;

/// A stretch of a text: its bytes, and its tokens without special ones, as the caller wants them.
#[derive(Debug, PartialEq)]
pub(super) struct Piece<T> {
    pub range: Range<usize>,
    pub tokens: T,
}

/// Cuts `text` into pieces of at most `capacity` tokens, of which at most `overlap` are in the piece before too. There is at
/// least one piece.
pub(super) fn cut<T>(
    tokenizer: &Tokenizer,
    text: &str,
    capacity: usize,
    overlap: Option<usize>,
    keep: impl Fn(&[Token]) -> T,
) -> Result<Vec<Piece<T>>> {
    let capacity = capacity.max(2);
    let mut pieces = Vec::new();
    let mut blocks = Blocks { text, at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    // The first token that is not behind the window being cut, and the byte where that window starts.
    let mut first = 0;
    let mut start = 0;
    loop {
        while tokens.len() - first <= capacity {
            let Some(block) = blocks.next() else {
                pieces.push(Piece {
                    range: start..text.len(),
                    tokens: keep(&tokens[first..]),
                });
                return Ok(pieces);
            };
            tokens.drain(..first);
            first = 0;
            tokenizer.tokens(&text[block.clone()], block.start, &mut tokens)?;
        }
        let ahead = &tokens[first..];
        let end = window_end(text, ahead, capacity);
        let next = overlap_start(ahead, end, overlap);
        let next_start = floor_char(text, ahead[next].start);
        let range = start..ceil_char(text, ahead[end - 1].end).max(next_start);
        pieces.push(Piece {
            range,
            tokens: keep(&ahead[..end]),
        });
        first += next;
        start = next_start;
    }
}

/// The ids alone, which is all that encoding needs.
pub(super) fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

/// How many of the tokens form the next window: up to a sentence end in the second half of the capacity, else a word
/// end there, else the capacity. `tokens` is longer than `capacity`.
fn window_end(text: &str, tokens: &[Token], capacity: usize) -> usize {
    let half = capacity / 2;
    let mut word_end = None;
    for end in (half + 1..=capacity).rev() {
        if !tokens[end].starts_word {
            continue;
        }
        if ends_sentence(text, &tokens[end - 1], &tokens[end]) {
            return end;
        }
        word_end = word_end.or(Some(end));
    }
    word_end.unwrap_or(capacity)
}

/// The token that the window after one of `end` tokens starts with: the first word start in the overlap.
fn overlap_start(tokens: &[Token], end: usize, overlap: Option<usize>) -> usize {
    let shared = overlap.map_or(end / OVERLAP_PART, |tokens| tokens.min(end / 2));
    let earliest = (end - shared).max(1);
    (earliest..end)
        .find(|&at| tokens[at].starts_word)
        .unwrap_or(end)
}

/// Is there a sentence or line end between two neighbours?
fn ends_sentence(text: &str, token: &Token, next: &Token) -> bool {
    let gap = text.get(token.end..next.start).unwrap_or_default();
    if gap.contains('\n') {
        return true;
    }
    let before = text.get(..token.end).unwrap_or_default();
    let closes = |c: &char| matches!(c, '"' | '\'' | ')' | ']' | '”' | '’' | '»');
    let mut back = before.chars().rev().take(CLOSERS + 1);
    match back.find(|c| !closes(c)) {
        Some('。' | '！' | '？' | '｡') => true,
        Some('.' | '!' | '?' | '…') => gap.starts_with(char::is_whitespace),
        _ => false,
    }
}

/// Ranges of at most [`BLOCK_BYTES`], cut at whitespace where there is some, else between characters.
struct Blocks<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Blocks<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if start == self.text.len() {
            return None;
        }
        let rest = &self.text[start..];
        let limit = floor_char(rest, BLOCK_BYTES);
        let length = if limit == rest.len() {
            limit
        } else {
            // Looking back over half a block is enough: real text has spaces.
            let from = floor_char(rest, BLOCK_BYTES / 2);
            rest[from..limit]
                .rfind(char::is_whitespace)
                .map_or(limit, |at| from + at)
        };
        self.at = start + length;
        Some(start..self.at)
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// The token ids of `text`, or of its beginning: a list longer than `enough` says only that the text is longer.
pub(super) fn leading_ids(tokenizer: &Tokenizer, text: &str, enough: usize) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for block in (Blocks { text, at: 0 }) {
        ids.extend(tokenizer.ids(&text[block])?);
        if ids.len() > enough {
            break;
        }
    }
    Ok(ids)
}
