//! Opening: from whatever the last process left to a state that was committed.
//!
//! The writer: lock → stamp → catalog → MANIFEST (written again if a crash left it behind the catalog) → write-ahead entries
//! for the database to replay; files that nobody names are swept. What a reader does is in `current.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vecdb_migrations::{CURRENT_FORMAT, Stamp};

use super::catalog::{self, WalEntry};
use super::commit::{Store, Unsealed, files};
use super::current::Current;
use super::dir::{Dir, Disk, around, create_folder_durably, folder_of, write_atomically};
use super::examine;
use super::kv::{self, Kv};
use super::layout::Layout;
use super::lock::{self, Lock};
use super::manifest::Manifest;
use super::mark::{Mark, MarkFile};
use super::models;
use super::renew;
use super::repair::set_aside;
use crate::error::{Error, Result};

/// A database opened for writing.
pub(crate) struct Opened {
    pub store: Store,
    /// Acknowledged calls that are not yet in segments, in their order.
    pub unsealed: Vec<WalEntry>,
}

impl Opened {
    /// Opens the database in `root`, made if it is absent.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotADatabase`], [`Error::NewerFormat`], [`Error::NeedsMigration`], [`Error::Damaged`],
    /// [`Error::Catalog`], [`Error::Io`].
    pub fn open(root: &Path, disk: &Disk) -> Result<Self> {
        let dir = &disk.0;
        if check_stamp(root)?.is_none() {
            create_folder_durably(&**dir, root).map_err(Error::io("create", root))?;
        }
        let lock = Lock::acquire(root, dir)?;
        let root = lock.root();
        // Only now: another process may have made the database, or be about to.
        let layout = match check_stamp(root)? {
            Some(layout) => layout,
            None => stamp(root, &**dir)?,
        };
        Self::locked(lock, layout, disk)
    }

    /// The same under a lock that is already held.
    pub(super) fn locked(lock: Lock, layout: Layout, disk: &Disk) -> Result<Self> {
        let dir = &disk.0;
        let segments = layout.segments();
        dir.create_folder(&segments)
            .map_err(Error::io("create", &segments))?;
        let file = Manifest::read(&layout)?;
        let is_new = file.is_none() && !holds_segments(&layout)?;
        renew::finish(&layout, &**dir)?;
        if file.is_some() && !layout.meta().join("db").exists() {
            // sled would make an empty one.
            return Err(Error::catalog(&layout.meta(), "it is missing"));
        }
        let kv = open_catalog(&layout, dir, is_new, lock.was_closed)?;
        let manifest = kv.guarded(|| catalog::read_manifest(&kv))?;
        match file {
            Some(file) if file == manifest => {
                // A kill may have left its name in the system's memory alone. What it names no more is removed next, and
                // must not be gone from the disk before that name is there.
                if !lock.was_closed {
                    let folder = folder_of(&layout.manifest()).to_path_buf();
                    dir.sync_folder(&folder)
                        .map_err(Error::io("sync", &folder))?;
                }
            }
            Some(file) if file.seq < manifest.seq => manifest.write(&**dir, &layout)?,
            // MANIFEST bears a checksum of the whole of it.
            Some(file) => {
                let what = examine::differs(&manifest, &file);
                return Err(Error::catalog(&layout.meta(), what));
            }
            None if is_new && manifest.seq == 0 => manifest.write(&**dir, &layout)?,
            None => return Err(missing(&layout)),
        }
        let wal = kv.guarded(|| catalog::scan_wal(&kv))?;
        let any_mark = Mark::read(&layout.meta());
        let mark = any_mark.filter(|mark| mark.seq == manifest.seq);
        let lost = examine::lost(&wal, mark);
        if lost > 0 {
            let what = format!("{lost} acknowledged calls that are in no segment yet are lost");
            return Err(Error::catalog(&layout.meta(), what));
        }
        let (first_wal, next_wal) = numbers(&wal, any_mark, &kv)?;
        let entries: Vec<WalEntry> = wal
            .into_iter()
            .map(|(_, entry)| entry)
            .collect::<Result<_>>()?;
        let mut unsealed = Unsealed::default();
        entries.iter().for_each(|entry| unsealed.count(entry));
        let meta = layout.meta();
        let store = Store {
            layout,
            dir: Arc::clone(dir),
            kv,
            manifest,
            first_wal,
            next_wal,
            mark: MarkFile::open(&meta),
            unsealed,
            written: Vec::new(),
            names: ulid::Generator::new(),
            failed: false,
            lock,
        };
        Ok(Self {
            store,
            unsealed: entries,
        })
    }
}

impl Store {
    /// Removes the left-overs. One that cannot be removed does no harm.
    pub fn sweep(&self) {
        // Another database in the folder's place has files that this one does not name.
        if self.lock.check().is_err() {
            return;
        }
        for path in leftovers(&self.layout, &self.manifest) {
            let _ = self.dir.remove(&path);
        }
        let unfinished = [self.layout.meta_copy(), self.layout.unfinished_meta()];
        let unfinished = unfinished.into_iter().filter(|folder| folder.exists());
        for folder in unfinished.chain(models::leftovers(&self.layout, &self.manifest)) {
            let _ = self.dir.remove_folder(&folder);
        }
    }
}

/// What a crash left: temporary files, and segments and tombstones that no commit names. What is not ours is not among
/// them.
pub(crate) fn leftovers(layout: &Layout, manifest: &Manifest) -> Vec<PathBuf> {
    let named = files(layout, manifest);
    let Ok(entries) = fs::read_dir(layout.segments()) else {
        return Vec::new();
    };
    let is_ours = |path: &PathBuf| {
        path.extension()
            .is_some_and(|e| e == "seg" || e == "del" || e == "tmp")
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_ours(path) && !named.contains(path))
        .collect()
}

/// Opens sled. A database that has no MANIFEST yet has acknowledged nothing, so what a kill left of its first catalog is
/// made anew; and its files are made durable, since everything acknowledged later rests on them.
fn open_catalog(layout: &Layout, dir: &Arc<dyn Dir>, is_new: bool, was_closed: bool) -> Result<Kv> {
    let meta = layout.meta();
    kv::settle(&meta, &**dir, was_closed)?;
    let kv = match Kv::open(&meta, dir) {
        Err(Error::Catalog { .. }) if is_new => {
            // Aside, not away: should MANIFEST be missing for another reason, its rows are still there.
            set_aside(layout, &**dir, &meta)?;
            Kv::open(&meta, dir)?
        }
        opened => opened?,
    };
    if is_new {
        kv.sync_new()?;
        let root = layout.root();
        for folder in [root, around(root)] {
            dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
        }
    }
    Ok(kv)
}

/// The number of the oldest write-ahead entry, and the one that the next gets.
fn numbers(wal: &[(u64, Result<WalEntry>)], any_mark: Option<Mark>, kv: &Kv) -> Result<(u64, u64)> {
    match wal {
        // Never one that was given before.
        [] => Ok(any_mark.map_or((0, 0), |mark| (mark.next, mark.next))),
        [(first, _), ..] => {
            let last = wal[wal.len() - 1].0;
            let next = last.checked_add(1).ok_or_else(|| {
                Error::catalog(kv.folder(), "a write-ahead row has an impossible number")
            })?;
            Ok((*first, next))
        }
    }
}

pub(super) fn holds_segments(layout: &Layout) -> Result<bool> {
    let segments = layout.segments();
    let entries = match fs::read_dir(&segments) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(Error::io("list", &segments))?,
    };
    Ok(entries.flatten().any(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|e| e == "seg" || e == "del")
    }))
}

pub(super) fn missing(layout: &Layout) -> Error {
    Error::damaged(&layout.manifest(), 0, "it is missing")
}

/// The current manifest, without lock and without sled.
pub(crate) fn read_only(layout: &Layout) -> Result<Manifest> {
    let current = Current::of(layout.clone(), Manifest::bytes(layout)?)?;
    Ok(current.manifest)
}

/// Did the last writer leave nothing unsealed?
pub(crate) fn was_closed(layout: &Layout) -> bool {
    lock::was_closed(layout)
}

/// The layout of the database in `root`; `None` if there is nothing yet (no folder, or an empty one).
///
/// # Errors
/// [`Error::NotADatabase`], [`Error::NewerFormat`], [`Error::NeedsMigration`].
pub(crate) fn check_stamp(root: &Path) -> Result<Option<Layout>> {
    let foreign = |what: &str| Error::NotADatabase {
        path: root.to_path_buf(),
        what: what.into(),
    };
    match fs::metadata(root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", root)(e)),
        Ok(data) if !data.is_dir() => return Err(foreign("it is a file")),
        Ok(_) => {}
    }
    let stamp = Stamp::read(root).map_err(from_migrations)?;
    let Some(stamp) = stamp else {
        let mut entries = fs::read_dir(root).map_err(Error::io("list", root))?;
        // A crash while the database was made leaves only these; the stamp is written under the lock.
        let is_ours = |name: &str| name == "LOCK" || name.starts_with("FORMAT.");
        let empty =
            entries.all(|entry| entry.is_ok_and(|e| is_ours(&e.file_name().to_string_lossy())));
        return if empty {
            Ok(None)
        } else {
            let segments = Layout::new(root, root).segments();
            Err(foreign(if segments.is_dir() {
                "it has no FORMAT file: an unfinished snapshot, or what is left of a database"
            } else {
                "it has no FORMAT file"
            }))
        };
    };
    let path = root.to_path_buf();
    match stamp.format {
        found if found > CURRENT_FORMAT => Err(Error::NewerFormat {
            path,
            found,
            supported: CURRENT_FORMAT,
        }),
        found if found < CURRENT_FORMAT => Err(Error::NeedsMigration {
            path,
            found,
            current: CURRENT_FORMAT,
        }),
        _ => {
            let layout = layout_of(root, stamp.generation);
            let is_elsewhere = |(_, other): &(u64, Layout)| other.manifest().exists();
            if !layout.manifest().exists() && generations(root).iter().any(is_elsewhere) {
                let what = format!(
                    "it names generation {}, which is not there, and another one is",
                    stamp.generation
                );
                return Err(Error::damaged(&Stamp::path(root), 0, what));
            }
            Ok(Some(layout))
        }
    }
}

fn layout_of(root: &Path, generation: u64) -> Layout {
    Layout::new(root, &vecdb_migrations::data_folder(root, generation))
}

/// All generations that may lie in the folder.
pub(super) fn generations(root: &Path) -> Vec<(u64, Layout)> {
    let later = fs::read_dir(root).into_iter().flatten().flatten();
    let numbers = later.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix('g')?.parse().ok()
    });
    std::iter::once(1)
        .chain(numbers)
        .map(|generation| (generation, layout_of(root, generation)))
        .collect()
}

/// The stamp comes before everything but the lock: a folder with a stamp and nothing else is an empty database.
pub(super) fn stamp(root: &Path, dir: &dyn Dir) -> Result<Layout> {
    let path = Stamp::path(root);
    write_atomically(dir, &path, |out| {
        write!(out, "{}", Stamp::NEW).map_err(Error::io("write", &path))
    })?;
    Ok(layout_of(root, Stamp::NEW.generation))
}

/// What the migrations' package says, in this one's words.
pub(super) fn from_migrations(error: vecdb_migrations::Error) -> Error {
    use vecdb_migrations::Error as From;
    match error {
        From::Io {
            action,
            path,
            source,
        } => Error::Io {
            action,
            path,
            source,
        },
        From::NotADatabase { path, what } => Error::NotADatabase {
            path,
            what: what.into(),
        },
        From::Damaged { path, what } => Error::Damaged {
            path,
            offset: 0,
            what: what.into(),
        },
        From::Newer {
            path,
            found,
            supported,
        } => Error::NewerFormat {
            path,
            found,
            supported,
        },
        other => Error::Migration {
            what: other.to_string(),
        },
    }
}
