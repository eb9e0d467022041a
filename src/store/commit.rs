//! The order of a commit.
//!
//! ```text
//! 1  segments/<ulid>.seg.tmp   written, fsynced      ┐ write_segment, NewSegment::write,
//! 2  → segments/<ulid>.seg     renamed, folder synced ┘ write_tombstones (.del likewise)
//! 3  catalog (sled)            one batch: seq + 1, records, write-ahead rows trimmed; flushed, fsynced
//! 4  → MANIFEST                temporary file fsynced, renamed, folder synced
//! 5  files that MANIFEST no longer names are removed
//! ```
//!
//! `database/faults/order.rs` holds these operations as a trace. Invariant: `MANIFEST.seq ≤ catalog.seq`, and every file that
//! either names is whole and durable.
//!
//! A write-ahead append is step 3 alone: one batch, fsynced, then acknowledged. A collection that is made is steps 3 and 4.
//!
//! # A kill or a power cut, case by case
//!
//! A kill leaves what was written in the system's memory, from where the next process reads it; a power cut takes of it
//! what was not synced, all, nothing or a part, each file and each name for itself. "Old" and "new" are the states before and
//! after the commit, both holding everything acknowledged.
//!
//! - During 1 or 2: nobody names the file. Old state; the next open removes it.
//! - Between 2 and 3: the same; the write-ahead rows are still there, so nothing acknowledged is lost.
//! - During 3: sled's batch is atomic: old or new. New needs the files of 1 and 2, which are durable by then.
//! - After 3, before its fsync: a kill leaves the batch in the system's memory. The next open fsyncs the log before sled
//!   reads it (`kv::settle`), so that nothing that is concluded from it, sled's own snapshots included, outlives it.
//! - Between 3 and 4: catalog.seq = MANIFEST.seq + 1. Readers see the old state, whose files all still exist, since 5 comes
//!   last. The next writer writes MANIFEST again from the catalog: new state.
//! - During 4: the rename is atomic: as before it, or as after it. A kill before the folder is synced leaves a name that a
//!   power cut may still take back; the next open syncs the folder before it sweeps what that name's MANIFEST does not name.
//! - During 5: some files are left that nobody names, or come back after a power cut; the next open removes them.
//!
//! While the next process opens, it does one of these things again, or makes MANIFEST follow the catalog (4), or sweeps (5):
//! a second crash there is one of the cases above. It replays the write-ahead rows in memory; where these are many it seals
//! them, a commit like another. What sled writes while it opens has one weaker moment, of which `kv.rs` tells.
//!
//! A new database: LOCK, FORMAT, the folders and an empty catalog, each durable, and then the first MANIFEST. As long as
//! there is none, nothing was acknowledged, and the next open makes anew what is missing or broken.
//!
//! Closing is a commit like another; `closed` is written into LOCK after it. Opening writes over that, and syncs it, before
//! anything else, so that `closed` never stands beside write-ahead rows, which only sled could show to a reader.
//!
//! After a write-ahead append and after each commit, `mark.rs` notes which entries must be there from now on; that note is never
//! ahead of what is durable, and where it is behind it proves less.
//!
//! A merge takes steps 1 and 2 beside other commits: its file has a fresh name, which no manifest names before its own step
//! 3, and the sweep that removes what nobody names runs only when a database opens. Its step 3 changes where sealed rows lie
//! and nothing else: the new segment's tombstones tell what was sealed as deleted by then, the write-ahead rows stay, and
//! replaying them over the new segments gives what replaying them over the old ones gave. So the cases above hold for it.
//!
//! An encoder that is kept with the data (`models.rs`) is steps 1 and 2 for a folder instead of a file: the collections' records
//! name it. Collections may change what they hold for one another's in a commit, and may be let go of: records and segments of
//! all of them are in one batch of step 3, and a call that lets go of one has sealed what was in write-ahead rows.
//!
//! The catalog is made anew (`renew.rs`) between commits, without the past that sled's log keeps.
//!
//! # A write that fails
//!
//! (A full disk, a failing device.) In step 1 or 2 nothing has changed: what was written is removed, or swept by the next
//! open, and the caller may try again, which writes other files. In step 5 a file is left, to be swept. In step 3 or 4 it is
//! not known how much reached the disk: the store then refuses further writes until it is opened again, which finds the old
//! or the new state by the cases above.
//!
//! After an fsync that failed the system may take for written what it could not write: it is read as new, a second fsync
//! says that all is well, and a power cut brings back the old. For a file of 1, 2 or 4 that is no matter, since it is never
//! used again. sled's log is: so whoever opens after a writer that did not close in good order, which none does whose write
//! failed, writes the catalog's files over with what they hold, and syncs them, before it believes them. A folder's names
//! are not written over: where syncing MANIFEST's folder fails, what is acknowledged later rests on the catalog, which
//! MANIFEST then follows.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::catalog::{self, WalEntry};
use super::dir::{Dir, folder_of, write_atomically};
use super::kv::{Batch, Kv};
use super::layout::Layout;
use super::lock::Lock;
use super::manifest::Manifest;
use super::mark::{Mark, MarkFile};
use super::models;
use crate::error::{Error, Result};
use crate::scratch::Scratch;

/// What one commit changes.
pub(crate) struct Commit {
    /// The new state. Its `seq` is set by [`Store::commit`].
    pub manifest: Manifest,
    /// Everything acknowledged is now in segments and tombstones.
    pub trim_wal: bool,
}

impl Commit {
    /// A new manifest and nothing else: settings of collections, or where rows lie.
    pub fn of(manifest: Manifest) -> Self {
        Self {
            manifest,
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
    /// Numbers of the oldest write-ahead entry, and
    pub(super) first_wal: u64,
    /// of the next.
    pub(super) next_wal: u64,
    /// Says that these are acknowledged.
    pub(super) mark: MarkFile,
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

    /// Every file in `segments/` that is current.
    pub fn segment_files(&self) -> HashSet<PathBuf> {
        files(&self.layout, &self.manifest)
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
        self.put_mark();
        Ok(())
    }

    pub(super) fn put_mark(&mut self) {
        let mark = Mark {
            seq: self.manifest.seq,
            first: self.first_wal,
            next: self.next_wal,
        };
        self.mark.put(mark);
    }

    /// A segment under a fresh name, to be written while the store goes on with other work.
    pub fn new_segment(&mut self) -> Result<NewSegment> {
        self.usable()?;
        // A millisecond with no name left lends one from the next.
        let name = self
            .names
            .generate()
            .unwrap_or_else(|full| full.commit_overflow_increment())
            .to_string();
        Ok(NewSegment {
            path: self.layout.segment(&name),
            name,
            dir: Arc::clone(&self.dir),
            is_ours: true,
        })
    }

    /// Steps 1 and 2: writes a segment under a fresh name. Returns the name and the file's size in bytes.
    pub fn write_segment(
        &mut self,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<(String, u64)> {
        let new = self.new_segment()?;
        let bytes = new.write(fill)?;
        let name = new.name.clone();
        self.written.push(new.path.clone());
        new.hand_over();
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
        // Another database in the folder's place may have named a file as this one did.
        let is_ours = !self.failed && self.lock.check().is_ok();
        for path in self.written.drain(..) {
            if is_ours {
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
        if commit.trim_wal {
            catalog::trim_wal(&self.kv, &mut batch)?;
        }
        self.apply(batch)?;
        self.written.clear();
        if commit.trim_wal {
            self.unsealed = Unsealed::default();
            self.first_wal = self.next_wal;
        }
        if let Err(error) = commit.manifest.write(&*self.dir, &self.layout) {
            self.failed = true;
            return Err(error);
        }
        let old = std::mem::replace(&mut self.manifest, commit.manifest);
        // One that a kill leaves out is of an older sequence number, and proves nothing.
        self.put_mark();
        let kept = files(&self.layout, &self.manifest);
        for gone in files(&self.layout, &old).difference(&kept) {
            // A file that stays is swept by the next open.
            let _ = self.dir.remove(gone);
        }
        let kept = models::named(&self.layout, &self.manifest);
        for gone in models::named(&self.layout, &old).difference(&kept) {
            models::remove(&*self.dir, gone);
        }
        Ok(())
    }

    /// Says in LOCK that nothing is left unsealed, if that is so. To be called last.
    pub fn mark_closed(&mut self) {
        // What sled syncs as it closes must have reached the disk, too.
        if !self.failed && self.unsealed.rows == 0 && self.kv.close() {
            self.lock.mark_closed();
        }
    }

    fn apply(&mut self, batch: Batch) -> Result<()> {
        let applied = self.kv.apply(batch);
        self.failed |= applied.is_err();
        applied
    }

    /// May anything be written?
    ///
    /// # Errors
    /// [`Error::Catalog`] after a write that failed; [`Error::Replaced`].
    pub fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::catalog(
                self.kv.folder(),
                "an earlier write failed, so what is on disk is not certain; close the database and open it again",
            ));
        }
        self.lock.check()
    }
}

/// A segment's file that no manifest names yet. It is removed when this is dropped, unless it was handed over.
pub(crate) struct NewSegment {
    name: String,
    path: PathBuf,
    dir: Arc<dyn Dir>,
    is_ours: bool,
}

impl NewSegment {
    /// Steps 1 and 2. Returns the file's size in bytes.
    pub fn write(&self, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<u64> {
        write_atomically(&*self.dir, &self.path, fill)?;
        let file = std::fs::metadata(&self.path).map_err(Error::io("read", &self.path))?;
        Ok(file.len())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Nameless files in the same folder, for what waits while the segment is written.
    pub fn scratch(&self) -> Scratch {
        let dir = Arc::clone(&self.dir);
        let folder = folder_of(&self.path).to_path_buf();
        Scratch::new(move || dir.scratch(&folder))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// A commit is about to name it: from now on the file is the store's.
    pub fn hand_over(mut self) {
        self.is_ours = false;
    }
}

impl Drop for NewSegment {
    fn drop(&mut self) {
        if self.is_ours {
            // One that stays, or was never written, is no matter: the next open sweeps.
            let _ = self.dir.remove(&self.path);
        }
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
