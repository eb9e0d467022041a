//! Sentences → texts with gaps, as `create_pretraining_data.py` of the paper makes them.
//!
//! Sentences of a document are put together up to the length; a cut between two of them makes a pair, or, in half of the
//! cases, another document's sentences take the second one's place, and those that it had come next. Of a text's tokens 15 % are
//! to be guessed: 80 % of these are masked, 10 % are replaced by chance, 10 % stay.

use crate::encoder::Alphabet;
use crate::encoder::trunk::Masked;
use crate::random::Random;
use crate::tune::split::shuffle;

/// Of a hundred tokens, those that are to be guessed.
const GUESSED: usize = 15;
/// Of ten texts, those that are shorter than they might be, so that short ones are known too.
const SHORT: usize = 1;
/// The tokens of a text of a sentence at least.
const LEAST: usize = 8;

/// A document: its sentences, each its tokens.
pub(super) type Sentences = Vec<Vec<u32>>;

/// How texts are made.
pub(super) struct Making<'a> {
    pub alphabet: &'a Alphabet,
    /// The token for a gap.
    pub mask: u32,
    /// Tokens of a text, special ones included.
    pub length: usize,
    /// Whether they are pairs.
    pub pairs: bool,
}

impl Making<'_> {
    /// Texts that hold every sentence of the documents, each with the place of its document; in an order by chance.
    pub fn texts(&self, documents: &[&Sentences], seed: u64) -> Vec<(usize, Masked)> {
        let mut random = Random(seed);
        let mut texts = Vec::new();
        for at in 0..documents.len() {
            self.document(documents, at, &mut random, &mut texts);
        }
        shuffle(&mut texts, &mut random);
        texts
    }

    /// Tokens that a text may have beside the special ones.
    pub fn capacity(&self) -> usize {
        let after = if self.pairs { 2 } else { 1 } * self.alphabet.after.len();
        let special = self.alphabet.before.len() + after;
        self.length.saturating_sub(special).max(2)
    }

    fn document(
        &self,
        documents: &[&Sentences],
        at: usize,
        random: &mut Random,
        texts: &mut Vec<(usize, Masked)>,
    ) {
        let (sentences, capacity) = (documents[at], self.capacity());
        let length = |random: &mut Random| match random.below(10) < SHORT && capacity > LEAST {
            true => LEAST + random.below(capacity - LEAST),
            false => capacity,
        };
        let mut wanted = length(random);
        let (mut start, mut end, mut tokens) = (0, 0, 0);
        while end < sentences.len() {
            tokens += sentences[end].len();
            end += 1;
            if tokens < wanted && end < sentences.len() {
                continue;
            }
            let chunk = &sentences[start..end];
            let cut = match chunk.len() {
                1 => 1,
                count => 1 + random.below(count - 1),
            };
            let mut first = chunk[..if self.pairs { cut } else { chunk.len() }].concat();
            let mut second = Vec::new();
            let mut follows = None;
            if self.pairs && documents.len() > 1 {
                let is_next = chunk.len() > 1 && random.below(2) == 0;
                second = match is_next {
                    true => chunk[cut..].concat(),
                    false => {
                        // Those that it replaces come next.
                        end = start + cut;
                        let room = wanted.saturating_sub(first.len()).max(1);
                        another(documents, at, room, random)
                    }
                };
                follows = Some(is_next);
            } else if self.pairs {
                second = chunk[cut..].concat();
            }
            shorten(&mut first, &mut second, capacity, random);
            texts.push((at, self.with_gaps(&first, &second, follows, random)));
            (start, tokens) = (end, 0);
            wanted = length(random);
        }
    }

    fn with_gaps(
        &self,
        first: &[u32],
        second: &[u32],
        follows: Option<bool>,
        random: &mut Random,
    ) -> Masked {
        let Alphabet { before, after, .. } = self.alphabet;
        let mut tokens = [before, first, after].concat();
        let second_at = tokens.len();
        if !second.is_empty() {
            tokens.extend(second.iter().chain(after));
        }
        let places = before.len()..before.len() + first.len();
        let mut places: Vec<usize> = places.chain(second_at..second_at + second.len()).collect();
        shuffle(&mut places, random);
        places.truncate((places.len() * GUESSED).div_ceil(100).max(1));
        let mut gaps: Vec<(usize, u32)> = places.iter().map(|&at| (at, tokens[at])).collect();
        gaps.sort_unstable();
        for &(at, _) in &gaps {
            match random.below(10) {
                0 => {}
                1 => tokens[at] = random.below(self.alphabet.tokens) as u32,
                _ => tokens[at] = self.mask,
            }
        }
        Masked {
            tokens,
            second: second_at,
            gaps,
            follows,
        }
    }
}

/// Sentences of another document, from one that chance draws.
fn another(documents: &[&Sentences], not: usize, room: usize, random: &mut Random) -> Vec<u32> {
    let drawn = random.below(documents.len() - 1);
    let sentences = documents[drawn + usize::from(drawn >= not)];
    let start = random.below(sentences.len().max(1));
    let mut tokens = Vec::new();
    for sentence in sentences.iter().skip(start) {
        tokens.extend(sentence);
        if tokens.len() >= room {
            break;
        }
    }
    tokens
}

/// Takes tokens from the ends of the longer one until both have room.
fn shorten(first: &mut Vec<u32>, second: &mut Vec<u32>, capacity: usize, random: &mut Random) {
    while first.len() + second.len() > capacity {
        let longer = if first.len() > second.len() {
            &mut *first
        } else {
            &mut *second
        };
        match random.below(2) {
            0 => drop(longer.remove(0)),
            _ => drop(longer.pop()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alphabet() -> Alphabet {
        Alphabet {
            before: vec![2],
            after: vec![3],
            mask: Some(4),
            tokens: 1_000,
        }
    }

    /// Documents whose tokens tell document, sentence and place.
    fn documents() -> Vec<Sentences> {
        let sentence =
            |document: u32, nth: u32| (0..5 + nth % 4).map(move |at| (document, nth, at));
        let token = |(document, nth, at)| 10 + document * 100 + nth * 10 + at;
        (0..6)
            .map(|document| {
                let sentences = (0..9).map(|nth| sentence(document, nth).map(token).collect());
                sentences.collect()
            })
            .collect()
    }

    fn whole(text: &Masked) -> Vec<u32> {
        let mut tokens = text.tokens.clone();
        text.gaps.iter().for_each(|&(at, token)| tokens[at] = token);
        tokens
    }

    #[test]
    fn fifteen_of_a_hundred_tokens_are_gaps_and_eight_of_ten_of_these_are_masked() {
        let (alphabet, documents) = (alphabet(), documents());
        let documents: Vec<&Sentences> = documents.iter().collect();
        let making = Making {
            alphabet: &alphabet,
            mask: 4,
            length: 32,
            pairs: true,
        };
        let (mut tokens, mut gaps, mut masked, mut same, mut pairs, mut next) = (0, 0, 0, 0, 0, 0);
        for seed in 0..200 {
            for (of, text) in making.texts(&documents, seed) {
                assert!(text.tokens.len() <= 32);
                tokens += text.tokens.len() - 3;
                gaps += text.gaps.len();
                masked += text
                    .gaps
                    .iter()
                    .filter(|gap| text.tokens[gap.0] == 4)
                    .count();
                same += text
                    .gaps
                    .iter()
                    .filter(|gap| text.tokens[gap.0] == gap.1)
                    .count();
                let whole = whole(&text);
                assert_eq!((whole[0], whole[text.second - 1]), (2, 3));
                assert_eq!(whole.last(), Some(&3));
                let document = |token: u32| ((token - 10) / 100) as usize;
                let (first, second) = (document(whole[1]), document(whole[text.second]));
                assert_eq!(first, of);
                pairs += 1;
                next += usize::from(text.follows == Some(true));
                assert_eq!(text.follows, Some(first == second));
            }
        }
        let part = |a: usize, b: usize| a as f64 / b as f64;
        // Rounded up a text.
        assert!((0.15..0.19).contains(&part(gaps, tokens)));
        assert!((0.78..0.82).contains(&part(masked, gaps)));
        assert!((0.08..0.12).contains(&part(same, gaps)));
        assert!((0.3..0.6).contains(&part(next, pairs)));
    }

    #[test]
    fn without_pairs_every_sentence_is_in_a_text_once() {
        let (alphabet, documents) = (alphabet(), documents());
        let documents: Vec<&Sentences> = documents.iter().collect();
        let making = Making {
            alphabet: &alphabet,
            mask: 4,
            length: 1_000,
            pairs: false,
        };
        let texts = making.texts(&documents, 3);
        let mut seen: Vec<u32> = texts.iter().flat_map(|(_, text)| whole(text)).collect();
        seen.retain(|token| *token >= 10);
        seen.sort_unstable();
        let mut all: Vec<u32> = documents.iter().flat_map(|d| d.concat()).collect();
        all.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn the_same_seed_makes_the_same_texts() {
        let (alphabet, documents) = (alphabet(), documents());
        let documents: Vec<&Sentences> = documents.iter().collect();
        let making = Making {
            alphabet: &alphabet,
            mask: 4,
            length: 24,
            pairs: true,
        };
        assert_eq!(making.texts(&documents, 5), making.texts(&documents, 5));
        assert_ne!(making.texts(&documents, 5), making.texts(&documents, 6));
    }
}
