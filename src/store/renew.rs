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
use super::dir::{Dir, Disk};
use super::layout::Layout;
use super::mark::MarkFile;
use super::rebuild::build_catalog;
use crate::error::{Error, Result};

impl Store {
    /// Makes the catalog anew. Afterwards no file of it holds what is not current: neither write-ahead rows that were sealed
    /// nor documents that were deleted.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Catalog`]. After a failure in 2 or later the store takes no more writes.
    pub fn renew_catalog(&mut self) -> Result<()> {
        self.usable()?;
        let entries = self.kv.guarded(|| catalog::scan_wal(&self.kv))?;
        let entries = entries.into_iter().map(|(_, entry)| entry);
        let entries: Vec<_> = entries.collect::<Result<_>>()?;
        let (layout, dir) = (self.layout.clone(), self.dir.clone());
        let (new, next) = (layout.unfinished_meta(), layout.next_meta());
        build_catalog(&layout, &Disk(self.dir.clone()), &self.manifest, &entries)?;
        // From here on nothing may be acknowledged by the old store: the next open would lose it.
        let exchanged = self.kv.exchange(|| {
            rename(&*dir, &new, &next)?;
            finish(&layout, &*dir)
        });
        self.failed |= exchanged.is_err();
        exchanged?;
        (self.first_wal, self.next_wal) = (0, entries.len() as u64);
        self.mark = MarkFile::open(&layout.meta());
        self.put_mark();
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::PathBuf;

    use super::super::faults::{Fault, FaultyDir};
    use super::super::recover::Opened;
    use super::super::tests::{create_collection, entry, seal};
    use super::*;

    const SECRET: &str = "nobody is to read this";

    /// A row that was sealed, and one that was not.
    fn database(root: &Path, disk: &Disk) -> Opened {
        let mut opened = Opened::open(root, disk).expect("opens");
        create_collection(&mut opened.store).expect("commits");
        let sealed = entry("a", SECRET);
        opened.store.append(&sealed).expect("appends");
        seal(&mut opened.store).expect("commits");
        let unsealed = entry("b", "acknowledged");
        opened.store.append(&unsealed).expect("appends");
        opened
    }

    fn holds_secret(folder: &Path) -> bool {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        entries.map(|entry| entry.path()).any(|path: PathBuf| {
            if path.is_dir() {
                return holds_secret(&path);
            }
            let bytes = std::fs::read(&path).expect("readable");
            let mut stretches = bytes.windows(SECRET.len());
            stretches.any(|stretch| stretch == SECRET.as_bytes())
        })
    }

    fn is_as_before(root: &Path, what: &str) {
        let mut opened = Opened::open(root, &Disk::default());
        let opened = opened
            .as_mut()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(opened.store.manifest().seq, 2, "{what}");
        assert_eq!(opened.unsealed, [entry("b", "acknowledged")], "{what}");
        // And it goes on from there.
        let next = entry("c", "next");
        opened
            .store
            .append(&next)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(opened.store.renew_catalog().is_ok(), "{what}");
        assert!(!holds_secret(root), "{what}");
        let layout = opened.store.layout();
        for left in [
            layout.unfinished_meta(),
            layout.next_meta(),
            layout.old_meta(),
        ] {
            assert!(!left.exists(), "{what}: {}", left.display());
        }
    }

    #[test]
    fn a_catalog_made_anew_says_the_same_and_holds_nothing_that_was_sealed() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("db");
        let mut opened = database(&root, &Disk::default());
        assert!(holds_secret(&root), "sled keeps what is trimmed");
        opened.store.renew_catalog().expect("renews");
        assert!(!holds_secret(&root));
        // It takes writes, and an entry's number is nobody else's.
        for nth in 0..3 {
            let more = entry(&format!("c{nth}"), "more");
            opened.store.append(&more).expect("appends");
            opened.store.renew_catalog().expect("renews");
        }
        drop(opened);
        let opened = Opened::open(&root, &Disk::default()).expect("opens");
        assert_eq!(opened.unsealed.len(), 4);
        drop(opened);
        let root = folder.path().join("another");
        drop(database(&root, &Disk::default()));
        is_as_before(&root, "without a fault");
    }

    #[test]
    fn whatever_interrupts_a_renewal_everything_acknowledged_is_there() {
        let seed = 3;
        println!("seed {seed}");
        let mut interrupted = 0;
        for cut in [false, true] {
            for at in 0.. {
                let what = format!("cut: {cut}, operation {at}, seed {seed}");
                let folder = tempfile::tempdir().expect("a folder");
                let root = folder.path().join("db");
                let image = folder.path().join("image");
                let dir = FaultyDir::default();
                let mut opened = database(&root, &dir.disk());
                let fault = if cut {
                    let (of, image) = (root.clone(), image.clone());
                    Fault::PowerCut {
                        of,
                        images: vec![image],
                        seed: seed * 1_000 + at as u64,
                    }
                } else {
                    Fault::Once(ErrorKind::StorageFull)
                };
                dir.plan(at, fault);
                let renewed = opened.store.renew_catalog();
                let is_through = dir.operations() <= at;
                if renewed.is_err() {
                    interrupted += 1;
                    // Refused, or durable: never written to a store that the next open throws away.
                    let late = entry("late", "acknowledged");
                    if opened.store.append(&late).is_ok() {
                        drop(opened);
                        let opened = Opened::open(&root, &Disk::default()).expect("opens");
                        assert_eq!(opened.unsealed.len(), 2, "{what}");
                        continue;
                    }
                }
                drop(opened);
                let left = if cut && renewed.is_err() {
                    &image
                } else {
                    &root
                };
                is_as_before(left, &what);
                if is_through {
                    break;
                }
            }
        }
        assert!(interrupted > 20, "{interrupted}");
    }
}
