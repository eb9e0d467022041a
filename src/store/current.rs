//! What is current, as a reader sees it: stamp → MANIFEST, without lock and without sled.
//!
//! A reader never waits for a writer and is never waited for, since nothing that it reads is changed in place:
//!
//! - MANIFEST is replaced by rename. Who has opened the old one reads the old one, whole.
//! - Segments and tombstones are written under names that were never used before, and removed when MANIFEST no longer names
//!   them. Between reading MANIFEST and opening what it names they may go: then there is a newer MANIFEST, which is read
//!   instead. Each such turn is a commit of the writer, and one that finds no newer one tells the error.
//! - A segment that is open is mapped. The system keeps the bytes of a removed file while somebody has it open or mapped, so
//!   a snapshot stays readable however many merges come after it; Windows refuses to remove a mapped file, and then
//!   the next writer removes it. A network file system may keep neither promise: databases belong on local disks.
//! - A migration makes another folder and then replaces the stamp. Who read the old stamp finds the old folder, or reads the
//!   stamp again.

use std::path::{Path, PathBuf};

use super::layout::Layout;
use super::manifest::Manifest;
use super::recover::{check_stamp, holds_segments, missing};
use crate::error::{Error, Result};

/// What stamp and MANIFEST said at one moment.
pub(crate) struct Current {
    pub layout: Layout,
    pub manifest: Manifest,
    /// MANIFEST as it was read; empty where there was none.
    bytes: Vec<u8>,
}

impl Current {
    /// What is current in `root` now.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADatabase`], [`Error::NewerFormat`], [`Error::NeedsMigration`], [`Error::Damaged`],
    /// [`Error::Io`].
    pub fn read(root: &Path) -> Result<Self> {
        let (layout, bytes) = read(root)?;
        Self::of(layout, bytes)
    }

    /// What these bytes of MANIFEST say; `None`: there is none.
    pub(super) fn of(layout: Layout, bytes: Option<Vec<u8>>) -> Result<Self> {
        let manifest = match &bytes {
            Some(bytes) => Manifest::parse(bytes, &layout.manifest())?,
            None if holds_segments(&layout)? => return Err(missing(&layout)),
            // Its first writer was killed before it wrote MANIFEST: an empty database.
            None => Manifest::default(),
        };
        let bytes = bytes.unwrap_or_default();
        Ok(Self {
            layout,
            manifest,
            bytes,
        })
    }

    /// What is current now, if it is something else. Reads two small files if it is not.
    ///
    /// # Errors
    /// As [`Current::read`]; and [`Error::Damaged`] if there is no MANIFEST any more.
    pub fn newer(&self) -> Result<Option<Self>> {
        let (layout, bytes) = read(self.layout.root())?;
        match bytes {
            // Each commit has another number, and the number is in the bytes.
            Some(bytes) if layout == self.layout && bytes == self.bytes => Ok(None),
            // A database that had one always has one. Without this, one that is just being removed would be an empty one.
            None if !self.bytes.is_empty() => Err(missing(&layout)),
            None => Ok(None),
            bytes @ Some(_) => Self::of(layout, bytes).map(Some),
        }
    }
}

/// The layout, and what its MANIFEST says.
fn read(root: &Path) -> Result<(Layout, Option<Vec<u8>>)> {
    let layout = || {
        let path = || PathBuf::from(root);
        check_stamp(root)?.ok_or_else(|| Error::NotFound { path: path() })
    };
    let mut now = layout()?;
    loop {
        let bytes = Manifest::bytes(&now)?;
        if bytes.is_some() {
            return Ok((now, bytes));
        }
        // Not there: perhaps because a migration has gone on to another folder.
        let then = std::mem::replace(&mut now, layout()?);
        if now == then {
            return Ok((now, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dir::Disk;
    use super::super::recover::Opened;
    use super::super::{Commit, Layout};
    use super::*;

    fn commit(opened: &mut Opened) {
        let manifest = opened.store.manifest().clone();
        opened.store.commit(Commit::of(manifest)).expect("commits");
    }

    #[test]
    fn each_commit_is_seen_once_and_a_database_that_is_gone_is_never_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("c.vecdb");
        assert!(matches!(Current::read(&root), Err(Error::NotFound { .. })));
        let mut opened = Opened::open(&root, &Disk::default()).expect("opens");
        let mut current = Current::read(&root).expect("reads");
        assert!(current.newer().expect("reads").is_none());
        for _ in 0..3 {
            commit(&mut opened);
            let newer = current.newer().expect("reads").expect("there is one");
            assert_eq!(newer.manifest, *opened.store.manifest());
            assert!(newer.newer().expect("reads").is_none());
            current = newer;
        }
        std::fs::remove_file(Layout::new(&root, &root).manifest()).expect("there");
        assert!(matches!(current.newer(), Err(Error::Damaged { .. })));
        drop(opened);
        std::fs::remove_dir_all(&root).expect("there");
        assert!(matches!(current.newer(), Err(Error::NotFound { .. })));
    }
}
