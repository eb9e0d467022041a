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
