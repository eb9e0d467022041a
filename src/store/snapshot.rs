//! A copy of a database while it is written to.
//!
//! ```text
//! 1  FOLDER/segments/       what MANIFEST names, by hard links, or copied and fsynced; folder synced
//!    FOLDER/models/         encoders that it names, likewise
//! 2  FOLDER/MANIFEST        written, fsynced, renamed
//! 3  FOLDER/meta/           the catalog of this MANIFEST, without write-ahead rows; fsynced, renamed
//! 4  FOLDER/LOCK            closed: everything acknowledged is in the segments
//! 5  FOLDER/FORMAT          written, fsynced, renamed; folder and the one around synced
//! ```
//!
//! Without FORMAT a folder is no database: what a crash leaves before 5 is refused by every open, and told from a foreign
//! folder by its `segments/`. Files of segments and tombstones are never written to again, so that a hard link of one is a
//! copy of it, for as long as the disk keeps it.
//!
//! All files are held before the first is copied: linked, or open. So a writer goes on meanwhile, in this process or another,
//! and may remove them. Where one is gone before it was held, there is a newer MANIFEST, and that one is taken.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::commit::files;
use super::dir::{Dir, Disk, around, create_folder_durably, write_atomically};
use super::layout::Layout;
use super::manifest::Manifest;
use super::rebuild::write_catalog;
use super::{lock, models, recover};
use crate::error::{Error, Result};

/// What a snapshot will hold. Dropped before [`Held::write`], it leaves links behind in a folder without a stamp.
pub(crate) struct Held {
    to: Layout,
    manifest: Manifest,
    /// The files that cannot be linked, and where they go.
    to_copy: Vec<(File, PathBuf)>,
    /// An encoder that the manifest names is not there: perhaps it is no longer current.
    pub lacks_model: bool,
    /// The folders that files are in.
    folders: HashSet<PathBuf>,
    /// Files that are linked, and their bytes.
    pub linked: (u64, u64),
}

/// Makes the folder of a snapshot, and refuses one that holds anything.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn begin(from: &Layout, to: &Path, disk: &Disk) -> Result<Layout> {
    let refuse = |kind: ErrorKind, what: &str| {
        let source = io::Error::new(kind, what);
        Err(Error::io("make a snapshot in", to)(source))
    };
    match fs::read_dir(to) {
        Ok(entries) => {
            if entries.count() > 0 {
                let what = "the folder is not empty; name another";
                return refuse(ErrorKind::AlreadyExists, what);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_folder_durably(&*disk.0, to).map_err(Error::io("create", to))?;
        }
        Err(error) => return Err(Error::io("make a snapshot in", to)(error)),
    }
    let real = |path: &Path| fs::canonicalize(path).map_err(Error::io("find", path));
    if real(to)?.starts_with(real(from.root())?) {
        // One that was made just now, or was empty.
        let _ = fs::remove_dir(to);
        return refuse(
            ErrorKind::InvalidInput,
            "it lies in the database itself; name another folder",
        );
    }
    let layout = Layout::new(to, to);
    let segments = layout.segments();
    disk.0
        .create_folder(&segments)
        .map_err(Error::io("create", &segments))?;
    Ok(layout)
}

/// The error for a file that a current manifest names and that is not there.
pub(crate) fn missing_file(layout: &Layout, manifest: &Manifest) -> Error {
    let gone = files(layout, manifest)
        .into_iter()
        .find(|path| !path.exists());
    Error::damaged(
        &gone.unwrap_or_else(|| layout.segments()),
        0,
        "it is missing",
    )
}

impl Held {
    /// Holds the files that a manifest names. `None` if one of them is gone: then the manifest is no longer current.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take(
        from: &Layout,
        to: &Layout,
        manifest: &Manifest,
        copy: bool,
        disk: &Disk,
    ) -> Result<Option<Self>> {
        let mut held = Self {
            to: to.clone(),
            manifest: manifest.clone(),
            to_copy: Vec::new(),
            lacks_model: false,
            folders: HashSet::from([to.segments()]),
            linked: (0, 0),
        };
        let mut wanted = Vec::new();
        let mut names = HashSet::new();
        for path in files(from, manifest) {
            let name = path.file_name().expect("a segment has a name").to_owned();
            wanted.push((path, to.segments().join(&name)));
            names.insert(name);
        }
        for folder in models::named(from, manifest) {
            held.hold_model(&folder, from, &mut wanted, &*disk.0)?;
        }
        for (path, target) in wanted {
            // By a try before this one: what has this name never changes.
            let is_linked = !copy && (target.exists() || disk.0.link(&path, &target).is_ok());
            if is_linked {
                let bytes = fs::metadata(&target)
                    .map_err(Error::io("read", &target))?
                    .len();
                held.linked.0 += 1;
                held.linked.1 += bytes;
                continue;
            }
            match File::open(&path) {
                Ok(file) => held.to_copy.push((file, target)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", &path)(error)),
            }
        }
        let segments = to.segments();
        for entry in fs::read_dir(&segments)
            .map_err(Error::io("list", &segments))?
            .flatten()
        {
            if !names.contains(&entry.file_name()) {
                let path = entry.path();
                disk.0.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(Some(held))
    }

    /// Adds the files of a kept encoder to what is wanted; none if it is not there.
    fn hold_model(
        &mut self,
        folder: &Path,
        from: &Layout,
        wanted: &mut Vec<(PathBuf, PathBuf)>,
        dir: &dyn Dir,
    ) -> Result<()> {
        let Some(files) = models::files(folder)? else {
            self.lacks_model = true;
            return Ok(());
        };
        let inside = folder.strip_prefix(from.models()).unwrap_or(folder);
        let copy = self.to.models().join(inside);
        for file in files {
            let target = copy.join(&file);
            let parent = around(&target).to_owned();
            dir.create_folder(&parent)
                .map_err(Error::io("create", &parent))?;
            let made = parent.ancestors();
            let made = made.take_while(|folder| *folder != self.to.root());
            self.folders.extend(made.map(Path::to_owned));
            wanted.push((folder.join(file), target));
        }
        Ok(())
    }

    /// Steps 1 to 5; durable when it returns. Returns how many files were copied, and their bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Catalog`]; [`Error::Cancelled`] if `stop` said so.
    pub fn write(self, disk: &Disk, stop: &dyn Fn() -> bool) -> Result<(u64, u64)> {
        let dir = &*disk.0;
        let mut copied = (0, 0);
        for (mut file, target) in self.to_copy {
            if stop() {
                return Err(Error::Cancelled);
            }
            write_atomically(dir, &target, |mut out| {
                let bytes = io::copy(&mut file, &mut out).map_err(Error::io("copy", &target))?;
                copied = (copied.0 + 1, copied.1 + bytes);
                Ok(())
            })?;
        }
        for folder in &self.folders {
            dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
        }
        self.manifest.write(dir, &self.to)?;
        write_catalog(&self.to, disk, &self.manifest, &[])?;
        lock::write_closed(&self.to, dir)?;
        recover::stamp(self.to.root(), dir)?;
        let around = around(self.to.root());
        dir.sync_folder(around).map_err(Error::io("sync", around))?;
        Ok(copied)
    }
}

#[cfg(test)]
mod tests {
    use super::super::faults::{Fault, FaultyDir};
    use super::super::recover::{Opened, check_stamp};
    use super::super::tests::{create_collection, entry, seal};
    use super::*;

    /// A database with two segments and an unsealed row, and what its snapshot has to hold.
    fn database(root: &Path, disk: &Disk) -> Opened {
        let mut opened = Opened::open(root, disk).expect("opens");
        create_collection(&mut opened.store).expect("commits");
        seal(&mut opened.store).expect("commits");
        seal(&mut opened.store).expect("commits");
        let unsealed = entry("a", "acknowledged");
        opened.store.append(&unsealed).expect("appends");
        opened
    }

    fn copy(opened: &Opened, to: &Path, by_copy: bool, disk: &Disk) -> Result<()> {
        let (from, manifest) = (opened.store.layout(), opened.store.manifest());
        let to = begin(from, to, disk)?;
        let held = Held::take(from, &to, manifest, by_copy, disk)?;
        held.expect("all files are there")
            .write(disk, &|| false)
            .map(|_| ())
    }

    /// The snapshot is whole, or no database; the database is as it was.
    fn is_whole_or_none(to: &Path, opened: Opened, what: &str) -> bool {
        let manifest = opened.store.manifest().clone();
        let root = opened.store.layout().root().to_path_buf();
        drop(opened);
        let whole = match check_stamp(to) {
            Ok(None) | Err(Error::NotADatabase { .. }) => false,
            Ok(Some(layout)) => {
                assert_eq!(files(&layout, &manifest).len(), 2);
                for file in files(&layout, &manifest) {
                    assert_eq!(fs::read(&file).expect(what), b"segment", "{what}");
                }
                let copy = Opened::open(to, &Disk::default());
                let copy = copy.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(copy.store.manifest(), &manifest, "{what}");
                assert!(copy.unsealed.is_empty(), "{what}");
                true
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let again = Opened::open(&root, &Disk::default());
        let again = again.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(again.store.manifest(), &manifest, "{what}");
        assert_eq!(again.unsealed.len(), 1, "{what}");
        whole
    }

    #[test]
    fn whatever_interrupts_a_snapshot_it_is_whole_or_no_database() {
        let seed = 7;
        println!("seed {seed}");
        let mut outcomes = [0, 0];
        for (by_copy, cut) in [(false, false), (true, false), (false, true), (true, true)] {
            for at in 0.. {
                let what = format!("copied: {by_copy}, cut: {cut}, operation {at}, seed {seed}");
                let folder = tempfile::tempdir().expect("a folder");
                let (root, to) = (folder.path().join("db"), folder.path().join("copy"));
                let image = folder.path().join("image");
                let dir = FaultyDir::default();
                let opened = database(&root, &dir.disk());
                let fault = if cut {
                    let (of, image) = (to.clone(), image.clone());
                    Fault::PowerCut {
                        of,
                        images: vec![image],
                        seed: seed * 1_000 + at as u64,
                    }
                } else {
                    Fault::Lasting(ErrorKind::StorageFull)
                };
                dir.plan(at, fault);
                let copied = copy(&opened, &to, by_copy, &dir.disk());
                let left = if cut && copied.is_err() { &image } else { &to };
                let is_through = dir.operations() <= at;
                let whole = is_whole_or_none(left, opened, &what);
                assert!(whole || copied.is_err(), "{what}");
                outcomes[usize::from(whole)] += 1;
                if is_through {
                    break;
                }
            }
        }
        assert!(outcomes[0] > 40 && outcomes[1] >= 4, "{outcomes:?}");
    }
}
