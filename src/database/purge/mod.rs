//! Erasing: afterwards no file of the database holds what was deleted or replaced, and the files are searched for it.
//!
//!   seal → what is dead → windows.rs ┐
//!   merge what holds dead rows       │
//!   the catalog anew                 ├→ proof.rs → `Purged`
//!   files and stored documents ──────┘
//!
//! Each step is a commit, or an exchange as safe as one; a crash between two leaves a database with less to erase. Writing
//! goes on beside it, but for the last step, which takes as long as a commit.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what is done, in which order |
//! | `proof.rs` | what was erased, and the search for it |
//! | `windows.rs` | many short stretches of bytes, looked for at once |

mod proof;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::inner::{Inner, State};
use super::merge::{Asking, Callback, Compacted};
use super::versions::Busy;
use crate::error::{Error, Result};
use crate::segment::Stop;
use crate::store::Store;
use proof::Erased;

/// What [`Database::purge`](super::Database::purge) did, and what the search for the erased found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Segments written anew.
    pub compacted: Compacted,
    /// Deleted and replaced documents that segments or memory held when it began.
    pub documents: u64,
    /// Their passages.
    pub passages: u64,
    /// Stretches of their texts and vectors, 8 to 32 bytes each, that were looked for.
    pub windows: u64,
    /// Stretches that were not looked for, since documents that live have them too.
    pub shared_windows: u64,
    /// Files searched, byte by byte: all that lie in the database's folder.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Stored documents that were read, decompressed and searched, with their vectors: all that segments hold.
    pub stored_documents: u64,
    /// Where erased bytes were found, and files that may hold some; a sentence each. None is the proof.
    pub problems: Vec<String>,
    /// What is worth knowing: other places that hold what was erased, and what was too short to look for.
    pub remarks: Vec<String>,
}

impl Purged {
    /// Was everything searched, and nothing found?
    pub fn is_proved(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Inner {
    pub(super) fn purge(&self, progress: Callback<'_>) -> Result<Purged> {
        let asking = Asking::new(progress);
        let mut purged = Purged::default();
        let _alone = self.alone(Busy::Purging)?;
        // What is erased from a collection is erased from its versions: most of it while writing goes on.
        let clean = self.clean_versions(None, &BTreeMap::new())?;
        let before = {
            let mut guard = self.lock_writer()?;
            let writer = self.writer(&mut guard)?;
            self.clean_versions(Some(&mut *writer), &clean)?;
            let before: Vec<_> = self.states().iter().map(|state| state.snapshot()).collect();
            // Before the seal, which removes segments where nothing lives any more.
            purged.remark_other_names(writer.store.layout(), &before);
            self.seal(writer, None)?;
            before
        };
        let nothing = Compacted::default();
        let erased = Erased::gather(&before, &mut purged, &|| asking.ask(&nothing, false))?;
        // The maps of segments that are to go.
        drop(before);
        loop {
            let done = purged.compacted;
            let stop = || asking.ask(&done, false);
            match self.merge_chosen(&|snapshot| self.holding_dead(snapshot), &stop)? {
                Some(made) => purged.compacted.add(made),
                None if self.at_rest(|store| self.forget_past(store), &stop)?? => break,
                None => {}
            }
            if asking.ask(&purged.compacted, true) {
                return Err(Error::Cancelled);
            }
        }
        if let Some(damage) = self.in_hand.damage() {
            return Err(damage);
        }
        let done = purged.compacted;
        erased.look_for(self, &mut purged, &|| asking.ask(&done, false))?;
        Ok(purged)
    }

    /// Makes the catalog anew and removes what nobody names. `false` if something was deleted and sealed meanwhile.
    fn forget_past(&self, store: &mut Store) -> Result<bool> {
        let holds_dead = |state: Arc<State>| !self.holding_dead(&state.snapshot()).is_empty();
        if self.states().into_iter().any(holds_dead) {
            return Ok(false);
        }
        store.usable()?;
        store.sweep();
        store.renew_catalog()?;
        Ok(true)
    }

    /// Waits until no merge is in hand, and then keeps everybody from writing.
    fn at_rest<T>(&self, then: impl FnOnce(&mut Store) -> T, stop: Stop<'_>) -> Result<T> {
        loop {
            let mut guard = self.lock_writer()?;
            let writer = self.writer(&mut guard)?;
            if self.in_hand.is_empty() {
                return Ok(then(&mut writer.store));
            }
            drop(guard);
            if stop() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
