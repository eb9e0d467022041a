//! Neighbour lists that many threads read and write at once, without unsafe code.
//!
//! Each node has `width` slots in one flat array. Writers of a list hold its lock; readers hold none and load the slots one
//! by one, relaxed. So a reader may see a list half rewritten: a link twice, a link that has just gone, an empty slot in
//! the middle, a new node whose own list it does not see yet. Each of these is harmless to a walk:
//!
//! - A slot holds [`NONE`] or a node's row and nothing else ever, and rows' codes do not change during a build; so whatever
//!   is read can be scored, and its score is right.
//! - A walk marks what it visits, so a link that stands twice is followed once, and it skips empty slots.
//! - A link missed is one candidate fewer, as if the other thread's insertion had come a moment later.
//!
//! What is kept for good, a list rewritten under its lock, is only ever computed from what was read under that same lock:
//! the lock orders it behind all earlier writers, so no link is lost or invented. No thread holds two locks.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::NONE;

/// One lock serves every so-manyth node.
const LOCKS: usize = 4096;

pub(super) struct Links {
    /// Shape `[rows, width]`; used slots stand in front.
    slots: Vec<AtomicU32>,
    width: usize,
    locks: Vec<Mutex<()>>,
}

impl Links {
    /// Empty lists.
    pub fn new(rows: u32, width: usize) -> Self {
        let slots = rows as usize * width;
        Self {
            slots: (0..slots).map(|_| AtomicU32::new(NONE)).collect(),
            width,
            locks: (0..LOCKS).map(|_| Mutex::new(())).collect(),
        }
    }

    /// What the list holds now, more or less: see the module's text.
    pub fn read(&self, node: u32) -> impl Iterator<Item = u32> {
        self.list(node)
            .iter()
            .map(|slot| slot.load(Relaxed))
            .filter(|&row| row != NONE)
    }

    /// The list, for changing it.
    pub fn lock(&self, node: u32) -> Locked<'_> {
        let lock = self.locks[node as usize % LOCKS].lock();
        Locked {
            // A list is a valid list between any two stores, so a panic elsewhere leaves nothing broken.
            _guard: lock.unwrap_or_else(PoisonError::into_inner),
            slots: self.list(node),
        }
    }

    fn list(&self, node: u32) -> &[AtomicU32] {
        &self.slots[node as usize * self.width..][..self.width]
    }
}

/// A list that no other thread writes.
pub(super) struct Locked<'a> {
    _guard: MutexGuard<'a, ()>,
    slots: &'a [AtomicU32],
}

impl Locked<'_> {
    /// The linked rows.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        self.slots
            .iter()
            .map(|slot| slot.load(Relaxed))
            .take_while(|&row| row != NONE)
    }

    /// Adds a link, unless it is there. `false` if there is no room.
    pub fn add(&self, row: u32) -> bool {
        for slot in self.slots {
            let used = slot.load(Relaxed);
            if used == NONE {
                slot.store(row, Relaxed);
            }
            if used == NONE || used == row {
                return true;
            }
        }
        false
    }

    /// Puts these links, at most as many as there are slots, in place of all.
    pub fn replace(&self, rows: impl IntoIterator<Item = u32>) {
        let rows = rows.into_iter().chain(std::iter::repeat(NONE));
        for (slot, row) in self.slots.iter().zip(rows) {
            slot.store(row, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_added_at_once_are_all_there_and_readers_see_nothing_else() {
        let links = Links::new(2, 12);
        std::thread::scope(|scope| {
            for first in [0, 3, 6] {
                let links = &links;
                scope.spawn(move || {
                    for row in first..first + 3 {
                        assert!(links.lock(1).add(row));
                        assert!(links.read(1).all(|row| row < 9));
                    }
                });
            }
            scope.spawn(|| {
                // Rewriting under the lock loses nothing that came before.
                for _ in 0..3 {
                    let list = links.lock(1);
                    let mut rows: Vec<u32> = list.rows().collect();
                    rows.reverse();
                    list.replace(rows);
                }
            });
        });
        let mut rows: Vec<u32> = links.read(1).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..9).collect::<Vec<_>>());
        assert_eq!(links.read(0).count(), 0);
    }

    #[test]
    fn a_full_list_takes_only_what_it_has() {
        let links = Links::new(1, 2);
        let list = links.lock(0);
        assert!(list.add(5) && list.add(6) && list.add(5));
        assert!(!list.add(7));
        list.replace([7]);
        assert_eq!(list.rows().collect::<Vec<_>>(), [7]);
    }
}
