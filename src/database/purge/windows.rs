//! Short stretches of bytes that are looked for, many at once, wherever they stand.
//!
//! Windows have one of three lengths. The hash of each stretch of that length rolls along the bytes that are searched
//! (Karp and Rabin 1987); where it is a window's, the bytes themselves are compared.

use std::collections::HashMap;
use std::ops::ControlFlow;

/// Lengths of windows, bytes.
const LENGTHS: [usize; 3] = [32, 16, 8];
/// A shorter stretch of bytes has no window.
pub(super) const SHORTEST: usize = LENGTHS[2];
/// So many bytes of the end of one piece have to be searched again before the next.
pub(super) const OVERLAP: usize = LENGTHS[0] - 1;
/// A window of fewer different bytes stands anywhere: it says nothing.
const LEAST_DIFFERENT: usize = 4;

/// The windows that are looked for.
pub(super) struct Windows([Class; 3]);

/// Windows of one length.
struct Class {
    length: usize,
    by_hash: HashMap<u64, Box<[u8]>>,
    /// A bit for what may be a window's hash: few stretches pass, and only these are looked up.
    bits: Vec<u64>,
    /// What a byte weighs that leaves the stretch.
    first: u64,
}

/// Odd, and without a pattern in its bits: the golden ratio's.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const BITS: u32 = 22;

impl Windows {
    pub fn new() -> Self {
        Self(LENGTHS.map(Class::new))
    }

    /// How many are looked for.
    pub fn len(&self) -> usize {
        self.0.iter().map(|class| class.by_hash.len()).sum()
    }

    /// Looks for the beginning, the middle and the end of these bytes. `false` if they are too few, or too much alike.
    pub fn insert(&mut self, bytes: &[u8]) -> bool {
        let class = self.0.iter_mut().find(|class| class.length <= bytes.len());
        let Some(class) = class else { return false };
        let last = bytes.len() - class.length;
        let windows = [0, last / 2, last].map(|at| &bytes[at..at + class.length]);
        // Each, whatever became of the others.
        windows.map(|window| class.insert(window)).contains(&true)
    }

    /// Looks no longer for those that stand in these bytes.
    pub fn remove(&mut self, bytes: &[u8]) {
        for class in &mut self.0 {
            let mut found = Vec::new();
            let _ = class.search(bytes, |_, hash| {
                found.push(hash);
                ControlFlow::<()>::Continue(())
            });
            for hash in found {
                class.by_hash.remove(&hash);
            }
        }
    }

    /// Where one of them stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let first = |class: &Class| {
            let stop = class.search(bytes, |at, _| ControlFlow::Break(at));
            stop.break_value()
        };
        self.0.iter().filter_map(first).min()
    }
}

impl Class {
    fn new(length: usize) -> Self {
        let first = (1..length).fold(1_u64, |power, _| power.wrapping_mul(BASE));
        Self {
            length,
            by_hash: HashMap::new(),
            bits: Vec::new(),
            first,
        }
    }

    fn insert(&mut self, window: &[u8]) -> bool {
        let mut different = window.to_vec();
        different.sort_unstable();
        different.dedup();
        if different.len() < LEAST_DIFFERENT {
            return false;
        }
        if self.bits.is_empty() {
            self.bits = vec![0; 1 << (BITS - 6)];
        }
        let hash = window.iter().fold(0, |hash, &byte| roll(hash, byte));
        let (word, bit) = place(hash);
        self.bits[word] |= bit;
        self.by_hash.entry(hash).or_insert_with(|| window.into());
        true
    }

    /// Calls `found` with place and hash of each window in these bytes.
    fn search<B>(
        &self,
        bytes: &[u8],
        mut found: impl FnMut(usize, u64) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.by_hash.is_empty() || bytes.len() < self.length {
            return ControlFlow::Continue(());
        }
        let (head, rest) = bytes.split_at(self.length);
        let mut hash = head.iter().fold(0, |hash, &byte| roll(hash, byte));
        let mut look = |at: usize, hash| {
            let (word, bit) = place(hash);
            if self.bits[word] & bit != 0
                && let Some(window) = self.by_hash.get(&hash)
                && **window == bytes[at..at + self.length]
            {
                return found(at, hash);
            }
            ControlFlow::Continue(())
        };
        look(0, hash)?;
        for ((&gone, &new), at) in bytes.iter().zip(rest).zip(1..) {
            let without = hash.wrapping_sub(weight(gone).wrapping_mul(self.first));
            hash = roll(without, new);
            look(at, hash)?;
        }
        ControlFlow::Continue(())
    }
}

fn weight(byte: u8) -> u64 {
    u64::from(byte) + 1
}

fn roll(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(weight(byte))
}

/// Where the hash's bit is.
fn place(hash: u64) -> (usize, u64) {
    // The low bits depend on the last bytes alone.
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(BASE) >> (64 - BITS);
    ((mixed >> 6) as usize, 1 << (mixed & 63))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn windows_are_found_where_a_plain_search_finds_them() {
        let mut random = Random(5);
        let mut outcomes = [0, 0];
        for round in 0..300 {
            // Few letters, so that stretches repeat.
            let mut text = |length| -> Vec<u8> {
                let letter = |_| b'a' + random.below(5) as u8;
                (0..length).map(letter).collect()
            };
            let (wanted, mut searched) = (text(8 + round % 40), text(3_000));
            let length = LENGTHS.into_iter().find(|&n| n <= wanted.len());
            let length = length.expect("8 at least");
            let last = wanted.len() - length;
            let mut stretches = [0, last / 2, last]
                .map(|at| &wanted[at..at + length])
                .to_vec();
            stretches.retain(|stretch| {
                let letters = stretch.iter().collect::<std::collections::BTreeSet<_>>();
                letters.len() >= LEAST_DIFFERENT
            });
            if round % 3 == 0 {
                let at = random.below(searched.len() - wanted.len());
                searched[at..at + wanted.len()].copy_from_slice(&wanted);
            }
            let mut windows = Windows::new();
            assert_eq!(
                windows.insert(&wanted),
                !stretches.is_empty(),
                "round {round}"
            );
            let plain = searched
                .windows(length)
                .position(|stretch| stretches.contains(&stretch));
            assert_eq!(windows.find(&searched), plain, "round {round}");
            outcomes[usize::from(plain.is_some())] += 1;
            windows.remove(&searched);
            assert_eq!(windows.find(&searched), None, "round {round}");
            windows.remove(&wanted);
            assert_eq!(windows.len(), 0, "round {round}");
        }
        assert!(outcomes[0] > 50 && outcomes[1] > 50, "{outcomes:?}");
    }

    #[test]
    fn what_is_short_or_says_nothing_is_not_looked_for() {
        let mut windows = Windows::new();
        for bytes in [&b"1234567"[..], &[0; 100], b"abcabcabcabcabcabc", b""] {
            assert!(!windows.insert(bytes), "{bytes:?}");
        }
        assert_eq!(windows.len(), 0);
        assert!(windows.insert(b"12345678"));
        assert_eq!(windows.find(b"..12345678.."), Some(2));
        assert_eq!(windows.find(b"..1234567"), None);
    }
}
