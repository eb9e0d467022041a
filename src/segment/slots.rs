//! Sets of slots: which places in the vector sections a search may return.

/// A set of slots of one segment, one bit a slot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SlotSet {
    words: Vec<u64>,
    len: u64,
}

impl SlotSet {
    /// No slot of a segment with `slots` slots.
    pub fn none(slots: u32) -> Self {
        Self {
            words: vec![0; (slots as usize).div_ceil(64)],
            len: 0,
        }
    }

    /// Adds a slot, which must be one of the segment.
    pub fn insert(&mut self, slot: u32) {
        let word = &mut self.words[slot as usize / 64];
        let bit = 1 << (slot % 64);
        self.len += u64::from(*word & bit == 0);
        *word |= bit;
    }

    #[inline]
    pub fn contains(&self, slot: u32) -> bool {
        self.words[slot as usize / 64] & (1 << (slot % 64)) != 0
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        8 * self.words.len()
    }
}

/// Which rows a search may return.
#[derive(Clone, Copy, Default)]
pub(crate) struct Selection<'a> {
    /// These; `None`: all of the segment.
    pub only: Option<&'a SlotSet>,
    /// Without these.
    pub except: Option<&'a SlotSet>,
}

impl<'a> Selection<'a> {
    /// All rows of the segment.
    pub const ALL: Self = Self {
        only: None,
        except: None,
    };

    /// All but these.
    pub fn except(except: &'a SlotSet) -> Self {
        Self {
            only: None,
            except: Some(except).filter(|set| set.len > 0),
        }
    }

    /// Is every row selected, whatever the segment?
    pub fn is_all(self) -> bool {
        self.only.is_none() && self.except.is_none()
    }

    #[inline]
    pub fn contains(self, slot: u32) -> bool {
        self.only.is_none_or(|set| set.contains(slot))
            && self.except.is_none_or(|set| !set.contains(slot))
    }

    /// How many of `slots` slots are selected.
    pub fn count(self, slots: u32) -> u64 {
        match (self.only, self.except) {
            (None, None) => u64::from(slots),
            (None, Some(except)) => u64::from(slots) - except.len,
            (Some(only), None) => only.len,
            (Some(_), Some(_)) => self.words(slots).map(|w| u64::from(w.count_ones())).sum(),
        }
    }

    /// The selected slots, in order.
    pub fn slots(self, slots: u32) -> Vec<u32> {
        let mut selected = Vec::with_capacity(self.count(slots) as usize);
        for (mut word, first) in self.words(slots).zip((0u32..).step_by(64)) {
            while word != 0 {
                selected.push(first + word.trailing_zeros());
                word &= word - 1;
            }
        }
        selected
    }

    fn words(self, slots: u32) -> impl Iterator<Item = u64> {
        let count = (slots as usize).div_ceil(64);
        (0..count).map(move |at| {
            let beyond = if at + 1 == count && !slots.is_multiple_of(64) {
                u64::MAX << (slots % 64)
            } else {
                0
            };
            let only = self.only.map_or(u64::MAX, |set| set.words[at]);
            let except = self.except.map_or(0, |set| set.words[at]);
            only & !except & !beyond
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(slots: u32, members: impl IntoIterator<Item = u32>) -> SlotSet {
        let mut set = SlotSet::none(slots);
        members.into_iter().for_each(|slot| set.insert(slot));
        set
    }

    proptest! {
        #[test]
        fn a_selection_is_the_difference_of_its_sets(
            slots in 1u32..300,
            only in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..200)),
            except in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..200)),
        ) {
            let sets = [only, except].map(|set_of| set_of.map(|of| set(slots, of.into_iter().map(|x| x % slots))));
            let selection = Selection { only: sets[0].as_ref(), except: sets[1].as_ref() };
            let expected: Vec<u32> = (0..slots)
                .filter(|&slot| sets[0].as_ref().is_none_or(|set| set.contains(slot)))
                .filter(|&slot| sets[1].as_ref().is_none_or(|set| !set.contains(slot)))
                .collect();
            prop_assert_eq!(selection.count(slots), expected.len() as u64);
            prop_assert_eq!(selection.slots(slots), expected);
        }
    }
}
