//! The order of a commit.
//!
//! ```text
//! 1  segments/<ulid>.seg.tmp   written, fsynced      ┐ write_segment,
//! 2  → segments/<ulid>.seg     renamed, folder synced ┘ write_tombstones (.del likewise)
//! 3  catalog (sled)            one batch: seq + 1, records, ids, write-ahead rows trimmed; flushed, fsynced
//! 4  → MANIFEST                temporary file fsynced, renamed, folder synced
//! 5  files that MANIFEST no longer names are removed
//! ```
//!
//! Invariant: `MANIFEST.seq ≤ catalog.seq`, and every file that either names is whole and durable.
//!
//! A crash, case by case; "old" and "new" are the states before and after the commit, both holding everything acknowledged:
//!
//! - during 1 or 2: nobody names the file. Old state; the next open removes it.
//! - between 2 and 3: the same; the write-ahead rows are still there, so nothing acknowledged is lost.
//! - during 3: sled's batch is atomic: old or new. New needs the files of 1 and 2, which are durable by then.
//! - after 3, before its fsync: a kill leaves the batch in the system's memory, from where the next open reads it. That open
//!   fsyncs the catalog before it acts on what it read.
//! - between 3 and 4: catalog.seq = MANIFEST.seq + 1. Readers see the old state, whose files all still exist, since 5 comes
//!   last. The next writer writes MANIFEST again from the catalog: new state.
//! - during 4: the rename is atomic: as before it, or as after it.
//! - during 5: some files are left that nobody names; the next open removes them.
//!
//! A write-ahead append is step 3 alone: one batch, fsynced, then acknowledged.
//!
//! When a write fails (a full disk, a failing device) in step 1 or 2, nothing has changed and the caller may try again. In
//! step 3 or 4 it is not known how much reached the disk, and a second fsync after a failed one proves nothing: the store
//! then refuses further writes until it is opened again, which finds the old or the new state by the cases above.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::catalog::{self, Place, WalEntry};
use super::dir::{Dir, write_atomically};
use super::kv::{Batch, Kv};
use super::layout::Layout;
use super::lock::Lock;
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// What one commit changes.
pub(crate) struct Commit {
    /// The new state. Its `seq` is set by [`Store::commit`].
    pub manifest: Manifest,
    /// Documents that now lie in a segment: collection, id, place.
    pub placed: Vec<(u32, String, Place)>,
    /// Documents that are gone: collection, id.
    pub removed: Vec<(u32, String)>,
    /// Everything acknowledged is now in segments and tombstones.
    pub trim_wal: bool,
}

impl Commit {
    /// A new manifest and nothing else: settings of collections, not their documents.
    pub fn of(manifest: Manifest) -> Self {
        Self {
            manifest,
            placed: Vec::new(),
            removed: Vec::new(),
            trim_wal: false,
        }
    }
}

/// How much is acknowledged and not yet in segments and tombstones.
#[derive(Clone, Copy, Default)]
pub(crate) struct Unsealed {
    /// Rows added and ids deleted.
    pub rows: u64,
    pub bytes: u64,
}

impl Unsealed {
    pub(super) fn count(&mut self, entry: &WalEntry) {
        self.rows += entry.rows();
        self.bytes += entry.bytes();
    }
}

/// The one writer's hold on a database folder.
pub(crate) struct Store {
    pub(super) layout: Layout,
    pub(super) dir: Arc<dyn Dir>,
    pub(super) kv: Kv,
    pub(super) manifest: Manifest,
    pub(super) next_wal: u64,
    /// What the write-ahead rows hold.
    pub(super) unsealed: Unsealed,
    /// Files of steps 1 and 2 that no commit names yet.
    pub(super) written: Vec<PathBuf>,
    pub(super) names: ulid::Generator,
    /// A write failed half-way: see the module's last paragraph.
    pub(super) failed: bool,
    /// Last, so that sled lets go of its files before the next writer may come.
    pub(super) lock: Lock,
}

impl Store {
    /// The current state.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file of a segment that was written under this name.
    pub fn segment_path(&self, name: &str) -> PathBuf {
        self.layout.segment(name)
    }

    /// The error for a catalog that contradicts the segments.
    pub fn inconsistent(&self, what: impl Into<String>) -> Error {
        Error::catalog(self.kv.folder(), what)
    }

    /// What the write-ahead rows hold.
    pub fn unsealed(&self) -> Unsealed {
        self.unsealed
    }

    /// Appends an entry; durable when it returns.
    pub fn append(&mut self, entry: &WalEntry) -> Result<()> {
        self.usable()?;
        let mut batch = Batch::default();
        catalog::put_wal(&self.kv, &mut batch, self.next_wal, entry)?;
        self.apply(batch)?;
        self.next_wal += 1;
        self.unsealed.count(entry);
        Ok(())
    }

    /// Steps 1 and 2: writes a segment under a fresh name. Returns the name and the file's size in bytes.
    pub fn write_segment(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<(String, u64)> {
        self.usable()?;
        // A millisecond with no name left lends one from the next.
        let name = self
            .names
            .generate()
            .unwrap_or_else(|full| full.commit_overflow_increment())
            .to_string();
        let path = self.layout.segment(&name);
        write_atomically(&*self.dir, &path, fill)?;
        self.written.push(path.clone());
        let bytes = std::fs::metadata(&path)
            .map_err(Error::io("read", &path))?
            .len();
        Ok((name, bytes))
    }

    /// Steps 1 and 2 for the deleted rows of a segment.
    pub fn write_tombstones(
        &mut self,
        segment: &str,
        generation: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        self.usable()?;
        let path = self.layout.tombstones(segment, generation);
        write_atomically(&*self.dir, &path, fill)?;
        self.written.push(path);
        Ok(())
    }

    /// Removes the files of steps 1 and 2 when there will be no commit: on a full disk every retry would add its own.
    pub fn discard_written(&mut self) {
        for path in self.written.drain(..) {
            if !self.failed {
                // One that stays is swept by the next open.
                let _ = self.dir.remove(&path);
            }
        }
    }

    /// Steps 3 to 5; durable when it returns.
    pub fn commit(&mut self, mut commit: Commit) -> Result<()> {
        self.usable()?;
        commit.manifest.seq = self.manifest.seq + 1;
        for collection in &mut commit.manifest.collections {
            // The catalog keeps segments by name: MANIFEST does too, so that the two can be compared.
            collection.segments.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut batch = Batch::default();
        catalog::put_manifest(&self.kv, &mut batch, &self.manifest, &commit.manifest)?;
        for (collection, id) in &commit.removed {
            catalog::remove_place(&mut batch, *collection, id);
        }
        for (collection, id, place) in &commit.placed {
            catalog::put_place(&self.kv, &mut batch, *collection, id, place)?;
        }
        if commit.trim_wal {
            catalog::trim_wal(&self.kv, &mut batch)?;
        }
        self.apply(batch)?;
        self.written.clear();
        if commit.trim_wal {
            self.unsealed = Unsealed::default();
        }
        if let Err(error) = commit.manifest.write(&*self.dir, &self.layout) {
            self.failed = true;
            return Err(error);
        }
        let old = std::mem::replace(&mut self.manifest, commit.manifest);
        let kept = files(&self.layout, &self.manifest);
        for gone in files(&self.layout, &old).difference(&kept) {
            // A file that stays is swept by the next open.
            let _ = self.dir.remove(gone);
        }
        Ok(())
    }

    /// Where a sealed document lies.
    pub fn place(&self, collection: u32, id: &str) -> Result<Option<Place>> {
        catalog::place(&self.kv, collection, id)
    }

    /// All sealed documents of a collection, by id.
    pub fn places(&self, collection: u32) -> impl Iterator<Item = Result<(String, Place)>> {
        catalog::places(&self.kv, collection)
    }

    /// Says in LOCK that nothing is left unsealed, if that is so. To be called last.
    pub fn mark_closed(&mut self) {
        if !self.failed && self.unsealed.rows == 0 {
            self.lock.mark_closed();
        }
    }

    fn apply(&mut self, batch: Batch) -> Result<()> {
        let applied = self.kv.apply(batch);
        self.failed |= applied.is_err();
        applied
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::catalog(
                self.kv.folder(),
                "an earlier write failed, so what is on disk is not certain; close the database and open it again",
            ));
        }
        Ok(())
    }
}

/// Every file in `segments/` that a manifest names.
pub(super) fn files(layout: &Layout, manifest: &Manifest) -> HashSet<PathBuf> {
    let segments = manifest.collections.iter().flat_map(|c| &c.segments);
    segments
        .flat_map(|s| {
            let dead = (s.tombstones > 0).then(|| layout.tombstones(&s.name, s.tombstones));
            [Some(layout.segment(&s.name)), dead].into_iter().flatten()
        })
        .collect()
}
