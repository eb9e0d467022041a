//! The catalog made anew: from MANIFEST, which names the segments, and from write-ahead rows where somebody has them.
//!
//! ```text
//! 1  meta.new/    a store of sled's own, filled, flushed, fsynced; one that a kill left is removed first
//! 2  → meta/      renamed, folder synced
//! ```
//!
//! A kill before 2 leaves no `meta/`, so that who called knows that it is still to be made.

use std::io::ErrorKind;

use super::catalog::{self, WalEntry};
use super::dir::{Dir, Disk};
use super::kv::{Batch, Kv};
use super::layout::Layout;
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// Write-ahead rows of about so many bytes go into one batch.
const BATCH_BYTES: u64 = 1 << 20;

/// Makes the catalog of a data folder that has none: it says what `manifest` says, and holds these write-ahead rows.
/// Durable when it returns.
///
/// A folder with this MANIFEST, its segments and a stamp then opens as a database.
///
/// # Errors
/// [`Error::Io`], where there is a catalog already too; [`Error::Catalog`].
pub(crate) fn write_catalog(
    layout: &Layout,
    disk: &Disk,
    manifest: &Manifest,
    unsealed: &[WalEntry],
) -> Result<()> {
    let meta = layout.meta();
    if meta.exists() {
        return Err(Error::io("create", &meta)(ErrorKind::AlreadyExists.into()));
    }
    build_catalog(layout, disk, manifest, unsealed)?;
    install_catalog(layout, &*disk.0)
}

/// Step 1, whether there is a catalog or not.
pub(super) fn build_catalog(
    layout: &Layout,
    disk: &Disk,
    manifest: &Manifest,
    unsealed: &[WalEntry],
) -> Result<()> {
    let (dir, new) = (&disk.0, layout.unfinished_meta());
    if new.exists() {
        dir.remove_folder(&new).map_err(Error::io("remove", &new))?;
    }
    let kv = Kv::open(&new, dir)?;
    let mut batch = Batch::default();
    let mut bytes = 0;
    for (number, entry) in (0..).zip(unsealed) {
        catalog::put_wal(&kv, &mut batch, number, entry)?;
        bytes += entry.bytes();
        if bytes >= BATCH_BYTES {
            kv.apply(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    // Last, so that a catalog without it is not whole.
    catalog::put_manifest(&kv, &mut batch, &Manifest::default(), manifest)?;
    kv.apply(batch)?;
    kv.sync_new()?;
    // sled must have let go of its files before they move.
    drop(kv);
    for folder in [&*new, layout.data()] {
        dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
    }
    Ok(())
}

/// Step 2, where there is no catalog.
pub(super) fn install_catalog(layout: &Layout, dir: &dyn Dir) -> Result<()> {
    let (new, data) = (layout.unfinished_meta(), layout.data());
    dir.rename(&new, &layout.meta())
        .map_err(Error::io("rename", &new))?;
    dir.sync_folder(data).map_err(Error::io("sync", data))
}
