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
    /// What stands before its own tokens.
    pub context: Vec<u32>,
    pub tokens: T,
}

/// How a text is to be cut.
pub(super) struct Cut<'a> {
    /// Tokens of a piece, its context's among them.
    pub capacity: usize,
    /// At most so many of them are in the piece before too.
    pub overlap: Option<usize>,
    /// Bytes where a piece should rather begin than anywhere else, in order.
    pub breaks: &'a [usize],
    /// What the encoder reads before the piece that begins at a byte: at most half of the capacity.
    pub context: &'a dyn Fn(usize) -> Result<Vec<u32>>,
}

impl Cut<'_> {
    /// Of a text without structure.
    pub fn plain(capacity: usize, overlap: Option<usize>) -> Self {
        Self {
            capacity,
            overlap,
            breaks: &[],
            context: &|_| Ok(Vec::new()),
        }
    }
}

/// Cuts `text` into pieces. There is at least one.
pub(super) fn cut<T>(
    tokenizer: &Tokenizer,
    text: &str,
    how: &Cut<'_>,
    keep: impl Fn(&[Token]) -> T,
) -> Result<Vec<Piece<T>>> {
    let mut pieces = Vec::new();
    let mut blocks = Blocks { text, at: 0 };
    let mut tokens: Vec<Token> = Vec::new();
    // The first token that is not behind the window being cut, and the byte where that window starts.
    let mut first = 0;
    let mut start = 0;
    loop {
        let context = (how.context)(start)?;
        let capacity = how.capacity.saturating_sub(context.len()).max(2);
        while tokens.len() - first <= capacity {
            let Some(block) = blocks.next() else { break };
            tokens.drain(..first);
            first = 0;
            tokenizer.tokens(&text[block.clone()], block.start, &mut tokens)?;
        }
        let ahead = &tokens[first..];
        let at_break = break_end(ahead, capacity, how.breaks);
        let (end, next) = match at_break {
            Some(end) => (end, end),
            None if ahead.len() <= capacity => {
                pieces.push(Piece {
                    range: start..text.len(),
                    context,
                    tokens: keep(ahead),
                });
                return Ok(pieces);
            }
            None => {
                let end = window_end(text, ahead, capacity);
                (end, overlap_start(text, ahead, end, how.overlap))
            }
        };
        let next_start = floor_char(text, ahead[next].start);
        let range = start..ceil_char(text, ahead[end - 1].end).max(next_start);
        pieces.push(Piece {
            range,
            context,
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

/// How many of the tokens stand before the first break that leaves a window no smaller than a quarter of the capacity: small
/// sections are kept together, and others stand alone.
fn break_end(tokens: &[Token], capacity: usize, breaks: &[usize]) -> Option<usize> {
    let least = (capacity / 4).max(1);
    let from = tokens.get(least - 1)?.start + 1;
    let &at = breaks.get(breaks.partition_point(|&at| at < from))?;
    let before = tokens[..tokens.len().min(capacity + 1)].partition_point(|token| token.start < at);
    (before < tokens.len() && before <= capacity).then_some(before)
}

/// How many of the tokens form the next window: up to a paragraph's end in the second half of the capacity, else a sentence's
/// or a line's, else a word's, else the capacity. `tokens` is longer than `capacity`.
fn window_end(text: &str, tokens: &[Token], capacity: usize) -> usize {
    let half = capacity / 2;
    let (mut sentence_end, mut word_end) = (None, None);
    for end in (half + 1..=capacity).rev() {
        if !tokens[end].starts_word {
            continue;
        }
        let gap = gap(text, &tokens[end - 1], &tokens[end]);
        if gap.bytes().filter(|&byte| byte == b'\n').count() > 1 {
            return end;
        }
        if sentence_end.is_none() && ends_sentence(text, gap, &tokens[end - 1]) {
            sentence_end = Some(end);
        }
        word_end = word_end.or(Some(end));
    }
    sentence_end.or(word_end).unwrap_or(capacity)
}

/// What stands between two neighbours.
fn gap<'a>(text: &'a str, token: &Token, next: &Token) -> &'a str {
    text.get(token.end..next.start).unwrap_or_default()
}

/// The token that the window after one of `end` tokens starts with: the first line start in the overlap (of a table's row, or
/// of code), else the first word start.
fn overlap_start(text: &str, tokens: &[Token], end: usize, overlap: Option<usize>) -> usize {
    let shared = overlap.map_or(end / OVERLAP_PART, |tokens| tokens.min(end / 2));
    let earliest = (end - shared).max(1);
    let starts_line = |&at: &usize| gap(text, &tokens[at - 1], &tokens[at]).contains('\n');
    (earliest..end)
        .find(starts_line)
        .or_else(|| (earliest..end).find(|&at| tokens[at].starts_word))
        .unwrap_or(end)
}

/// Is there a sentence or line end between a token and its neighbour, where the gap between them is?
fn ends_sentence(text: &str, gap: &str, token: &Token) -> bool {
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
