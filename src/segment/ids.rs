//! Which ids a segment may hold: a filter that says no to nearly all others without a look at the file.
//!
//! An id that is new is looked for in every segment. A binary search touches about twenty places of the file; the filter
//! (Bloom 1970, all of an id's bits in one word, as in arXiv:2101.01719) touches one word of memory. It takes two bytes a
//! document, and about as long to fill as the search for a quarter of the ids, so that is when it is made.
//!
//! Threads share it without locks: `searches` only counts, more or less, and decides nothing but when the filter is made;
//! `words` are set once and hand over what they hold. Who asks meanwhile waits for the one thread that fills them, which
//! calls nothing that waits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use xxhash_rust::xxh3::xxh3_64;

/// A search among fewer ids is as fast without.
const LEAST_DOCUMENTS: u32 = 256;
/// Filled when one search was made for so many documents.
const DOCUMENTS_A_SEARCH: u32 = 4;
/// A word of 64 bits for so many documents.
const DOCUMENTS_A_WORD: u32 = 4;
const BITS: u32 = 5;

/// The filter, once it is worth its making.
#[derive(Default)]
pub(super) struct IdFilter {
    searches: AtomicU32,
    words: OnceLock<Vec<u64>>,
}

impl IdFilter {
    /// `false` if no document has the id. `all` gives the ids of all documents.
    pub fn may_hold<'a, I: Iterator<Item = &'a str>>(
        &self,
        id: &str,
        documents: u32,
        all: impl FnOnce() -> I,
    ) -> bool {
        let words = match self.words.get() {
            Some(words) => words,
            None if documents < LEAST_DOCUMENTS => return true,
            None if self.searches.fetch_add(1, Ordering::Relaxed)
                < documents / DOCUMENTS_A_SEARCH =>
            {
                return true;
            }
            None => self.words.get_or_init(|| fill(documents, all())),
        };
        let (word, bits) = place(id, words.len());
        words[word] & bits == bits
    }
}

fn fill<'a>(documents: u32, ids: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let mut words = vec![0; documents.div_ceil(DOCUMENTS_A_WORD).max(1) as usize];
    for id in ids {
        let (word, bits) = place(id, words.len());
        words[word] |= bits;
    }
    words
}

/// An id's word and its bits there.
fn place(id: &str, words: usize) -> (usize, u64) {
    let hash = xxh3_64(id.as_bytes());
    // The high half chooses the word, six bits each of the low half a bit.
    let word = ((hash >> 32) * words as u64) >> 32;
    let bits = (0..BITS).fold(0, |bits, nth| bits | 1 << ((hash >> (6 * nth)) & 63));
    (word as usize, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u32>) -> Vec<String> {
        range.map(|at| format!("document {at}")).collect()
    }

    #[test]
    fn every_id_may_be_there_and_few_others() {
        let there = ids(0..20_000);
        let filter = IdFilter::default();
        let ask = |id: &str| filter.may_hold(id, 20_000, || there.iter().map(String::as_str));
        for round in 0..2 {
            assert!(there.iter().all(|id| ask(id)), "round {round}");
        }
        let wrong = ids(20_000..120_000).iter().filter(|id| ask(id)).count();
        assert!(wrong < 2_000, "{wrong} of 100,000 others may be there");
    }

    #[test]
    fn it_is_made_when_it_was_asked_often_enough() {
        let there = ids(0..1_000);
        let filter = IdFilter::default();
        let ask = |id: &str| filter.may_hold(id, 1_000, || there.iter().map(String::as_str));
        let first_no = (0..).position(|_| !ask("another")).expect("at last");
        assert_eq!(first_no, 250);
        let small = IdFilter::default();
        assert!((0..10_000).all(|_| small.may_hold("x", 255, || std::iter::once(""))));
    }
}
