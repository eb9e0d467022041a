//! A copy of the database that is one itself, made while writing goes on.

use std::ops::ControlFlow;
use std::path::Path;

use super::Database;
use super::inner::Inner;
use super::versions::is_hidden;
use crate::error::{Error, Result};
use crate::store::{self, Held, Layout, Manifest};

/// Settings of [`Database::snapshot`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SnapshotOptions {
    copy: bool,
}

impl SnapshotOptions {
    /// Copies every file, also where a hard link could be made, so that no disk block is shared.
    #[must_use]
    pub fn copy(mut self) -> Self {
        self.copy = true;
        self
    }
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshotted {
    /// Collections.
    pub collections: u64,
    /// Documents in them.
    pub documents: u64,
    /// Files that are hard links of the database's own.
    pub linked_files: u64,
    /// Bytes in them.
    pub linked_bytes: u64,
    /// Files that were copied.
    pub copied_files: u64,
    /// Bytes in them.
    pub copied_bytes: u64,
    /// Is everything in it that was acknowledged when it was begun? Not if another process writes: what that one did not seal
    /// yet is missing.
    pub is_complete: bool,
}

impl Database {
    /// Makes a copy in a folder that is absent or empty. It is a database of its own, as this one is now: what is
    /// acknowledged is sealed first. Files are linked where the disk allows it, which takes no time and no space; else they
    /// are copied, while writing goes on.
    ///
    /// On a handle that only reads, the copy is what MANIFEST says, another process's writes up to its last seal among it:
    /// see [`Snapshotted::is_complete`]. A copy that was interrupted has no file FORMAT and does not open.
    ///
    /// Linked files are the same bytes on the same disk: they keep what is deleted and purged later, but not what the disk
    /// loses. For a backup, copy the snapshot elsewhere, or ask for [`SnapshotOptions::copy`] onto another disk.
    ///
    /// ```
    /// # use vecdb::{CollectionOptions, Database, Document, SnapshotOptions, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    /// points.add_vectors([(Document::new("a", "kept"), Vector::new(vec![0.6, 0.8])?)])?;
    /// db.snapshot(folder.path().join("monday"), SnapshotOptions::default())?;
    /// points.delete(["a"])?;
    ///
    /// let monday = Database::open(folder.path().join("monday"))?;
    /// assert!(monday.existing_collection("points")?.get("a")?.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`], also where the folder holds something already; or what is acknowledged could not be sealed.
    pub fn snapshot(
        &self,
        folder: impl AsRef<Path>,
        options: SnapshotOptions,
    ) -> Result<Snapshotted> {
        self.snapshot_while(folder, options, || ControlFlow::Continue(()))
    }

    /// As [`Database::snapshot`]; `go_on` is asked before each file is copied, and `ControlFlow::Break` ends the call.
    ///
    /// # Errors
    /// As [`Database::snapshot`]; [`Error::Cancelled`].
    pub fn snapshot_while(
        &self,
        folder: impl AsRef<Path>,
        options: SnapshotOptions,
        go_on: impl Fn() -> ControlFlow<()>,
    ) -> Result<Snapshotted> {
        self.0
            .copy_to(folder.as_ref(), options, &|| go_on().is_break())
    }
}

impl Inner {
    fn copy_to(
        &self,
        folder: &Path,
        options: SnapshotOptions,
        stop: &dyn Fn() -> bool,
    ) -> Result<Snapshotted> {
        let disk = &self.settings.disk;
        let hold = |from: &Layout, to: &Layout, manifest: &Manifest| {
            Held::take(from, to, manifest, options.copy, disk)
        };
        let mut guard = self.lock_writer()?;
        let (manifest, held, is_complete) = if let Some(writer) = guard.as_mut() {
            writer.store.usable()?;
            let to = store::begin_snapshot(writer.store.layout(), folder, disk)?;
            self.seal(writer, None)?;
            let (from, manifest) = (writer.store.layout(), writer.store.manifest().clone());
            let held = hold(from, &to, &manifest)?;
            let held = held.ok_or_else(|| store::missing_file(from, &manifest))?;
            // What was held is of this database only if the folder still is.
            writer.store.usable()?;
            (manifest, held, true)
        } else {
            // Where the reader reads, wherever the process stands by now.
            let root = self.root_read().unwrap_or_else(|| self.path.clone());
            let from = store::check_stamp(&root)?.ok_or(Error::NotFound { path: root })?;
            let to = store::begin_snapshot(&from, folder, disk)?;
            let is_complete = store::was_closed(&from);
            let mut manifest = store::read_only(&from)?;
            loop {
                let held = hold(&from, &to, &manifest)?;
                let newer = store::read_only(&from)?;
                let is_current = newer.seq == manifest.seq;
                match held {
                    Some(held) if is_current || !held.lacks_model => {
                        break (manifest, held, is_complete);
                    }
                    None if is_current => return Err(store::missing_file(&from, &manifest)),
                    _ => manifest = newer,
                }
            }
        };
        drop(guard);
        let collections = manifest.collections.iter();
        let collections: Vec<_> = collections.filter(|c| !is_hidden(&c.name)).collect();
        let segments = collections.iter().flat_map(|c| &c.segments);
        let documents = segments
            .map(|s| u64::from(s.documents - s.dead_documents))
            .sum();
        let (linked_files, linked_bytes) = held.linked;
        let (copied_files, copied_bytes) = held.write(disk, stop)?;
        Ok(Snapshotted {
            collections: collections.len() as u64,
            documents,
            linked_files,
            linked_bytes,
            copied_files,
            copied_bytes,
            is_complete,
        })
    }
}
