//! The catalog without what was ever removed from it.
//!
//! sled appends: a write-ahead row stays in its log for as long as sled finds no other use for the place. So what is current
//! is written into a fresh store, which then takes the old one's place:
//!
//! ```text
//! 1  meta.new/                filled, fsynced
//! 2  → meta.next/             renamed, folder synced: by this name it is whole
//! 3  meta/ → meta.old/        renamed, folder synced
//! 4  meta.next/ → meta/       renamed, folder synced
//! 5  meta.old/                removed, folder synced
//! ```
//!
//! Both stores say the same: nothing is acknowledged from 1 to 5, since the writer is the one who does this. A crash, case by
//! case, as [`finish`] finds it when the database is opened next:
//!
//! - during 1: `meta/` is there. `meta.new/` goes.
//! - during 2: the same, or as after it.
//! - after 2, and while 3 is not yet certain: `meta.next/` is there, whole. It goes on from 3; where `meta/` is gone already,
//!   from 4.
//! - while 4 is not yet certain: as before, or `meta/` is the new one, or neither name got through, which a file system that
//!   forgets both ends of a rename may do: then `meta.old/` takes its place again, as if nothing had happened.
//! - during 5: `meta/` is the new one. What is left of `meta.old/` goes.

use std::path::Path;

use super::catalog;
use super::commit::Store;
use super::dir::Dir;
use super::layout::Layout;
use super::rebuild::fill;
use crate::error::{Error, Result};

impl Store {
    /// Makes the catalog anew. Afterwards no file of it holds what is not current: neither write-ahead rows that were sealed
    /// nor documents that were deleted.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Catalog`]. After a failure in 3 or later the store takes no more writes.
    pub fn renew_catalog(&mut self) -> Result<()> {
        self.usable()?;
        let (entries, _) = self.kv.guarded(|| catalog::read_wal(&self.kv))?;
        let (layout, dir) = (self.layout.clone(), self.dir.clone());
        let (new, next) = (layout.unfinished_meta(), layout.next_meta());
        fill(&new, &dir, &self.manifest, &entries)?;
        self.next_wal = entries.len() as u64;
        // From here on nothing may be acknowledged by the old store: the next open would lose it.
        let exchanged = self.kv.exchange(|| {
            rename(&*dir, &new, &next)?;
            finish(&layout, &*dir)
        });
        self.failed |= exchanged.is_err();
        exchanged
    }
}

/// Brings to its end what a crash interrupted.
pub(super) fn finish(layout: &Layout, dir: &dyn Dir) -> Result<()> {
    let (meta, next, old) = (layout.meta(), layout.next_meta(), layout.old_meta());
    if next.exists() {
        if meta.exists() {
            remove(dir, &old)?;
            rename(dir, &meta, &old)?;
        }
        rename(dir, &next, &meta)?;
    } else if !meta.exists() && old.exists() {
        return rename(dir, &old, &meta);
    }
    if meta.exists() {
        remove(dir, &old)?;
        remove(dir, &layout.unfinished_meta())?;
    }
    Ok(())
}

fn rename(dir: &dyn Dir, from: &Path, to: &Path) -> Result<()> {
    dir.rename(from, to).map_err(Error::io("rename", from))?;
    sync_around(dir, to)
}

/// Removes a folder if it is there.
fn remove(dir: &dyn Dir, folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    dir.remove_folder(folder)
        .map_err(Error::io("remove", folder))?;
    sync_around(dir, folder)
}

fn sync_around(dir: &dyn Dir, path: &Path) -> Result<()> {
    let around = path.parent().expect("a catalog lies in a folder");
    dir.sync_folder(around).map_err(Error::io("sync", around))
}
