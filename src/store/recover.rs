//! Opening: from whatever the last process left to a state that was committed.
//!
//! The writer: lock → stamp → catalog → MANIFEST (written again if a crash left it behind the catalog) → write-ahead entries
//! for the database to replay; files that nobody names are swept. A reader: stamp → MANIFEST, and nothing else; it
//! takes no lock and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vecdb_migrations::{CURRENT_FORMAT, Stamp};

use super::catalog::{self, WalEntry};
use super::commit::{Store, Unsealed, files};
use super::dir::{Dir, Disk, write_atomically};
use super::kv::Kv;
use super::layout::Layout;
use super::lock::{self, Lock};
use super::manifest::Manifest;
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
            dir.create_folder(root).map_err(Error::io("create", root))?;
        }
        let lock = Lock::acquire(root, dir)?;
        // Only now: another process may have made the database, or be about to.
        let layout = match check_stamp(root)? {
            Some(layout) => layout,
            None => stamp(root, &**dir)?,
        };
        let segments = layout.segments();
        dir.create_folder(&segments)
            .map_err(Error::io("create", &segments))?;
        let file = Manifest::read(&layout)?;
        let is_new = file.is_none() && !holds_segments(&layout)?;
        let kv = open_catalog(&layout, dir, is_new)?;
        let manifest = kv.guarded(|| catalog::read_manifest(&kv))?;
        match file {
            Some(file) if file == manifest => {}
            Some(file) if file.seq < manifest.seq => manifest.write(&**dir, &layout)?,
            Some(file) => {
                let what = format!(
                    "it is not what the catalog has (sequence numbers {} and {})",
                    file.seq, manifest.seq
                );
                return Err(Error::damaged(&layout.manifest(), 0, what));
            }
            None if is_new && manifest.seq == 0 => manifest.write(&**dir, &layout)?,
            None => return Err(missing(&layout)),
        }
        let (entries, next_wal) = kv.guarded(|| catalog::read_wal(&kv))?;
        let mut unsealed = Unsealed::default();
        entries.iter().for_each(|entry| unsealed.count(entry));
        let store = Store {
            layout,
            dir: Arc::clone(dir),
            kv,
            manifest,
            next_wal,
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
    /// What a crash left: temporary files, and segments and tombstones that no commit names. What is not ours is not among
    /// them.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let named = files(&self.layout, &self.manifest);
        let Ok(entries) = fs::read_dir(self.layout.segments()) else {
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

    /// Removes the left-overs. One that cannot be removed does no harm.
    pub fn sweep(&self) {
        for path in self.leftovers() {
            let _ = self.dir.remove(&path);
        }
    }
}

/// Opens sled. A database that has no MANIFEST yet has acknowledged nothing, so what a kill left of its first catalog is
/// made anew; and its files are made durable, since everything acknowledged later rests on them.
fn open_catalog(layout: &Layout, dir: &Arc<dyn Dir>, is_new: bool) -> Result<Kv> {
    let meta = layout.meta();
    let kv = match Kv::open(&meta, dir) {
        Err(Error::Catalog { .. }) if is_new => {
            // Aside, not away: should MANIFEST be missing for another reason, its rows are still there.
            let aside = layout
                .root()
                .join(format!("meta.{}.aside", ulid::Ulid::generate()));
            dir.rename(&meta, &aside)
                .map_err(Error::io("rename", &meta))?;
            Kv::open(&meta, dir)?
        }
        opened => opened?,
    };
    if is_new {
        kv.sync_new()?;
        let root = layout.root();
        let around = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        for folder in [&meta, root, around] {
            dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
        }
    }
    Ok(kv)
}

fn holds_segments(layout: &Layout) -> Result<bool> {
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

fn missing(layout: &Layout) -> Error {
    Error::damaged(&layout.manifest(), 0, "it is missing")
}

/// The current manifest, without lock and without sled.
pub(crate) fn read_only(layout: &Layout) -> Result<Manifest> {
    match Manifest::read(layout)? {
        Some(manifest) => Ok(manifest),
        None if holds_segments(layout)? => Err(missing(layout)),
        // Its first writer was killed before it wrote MANIFEST: an empty database.
        None => Ok(Manifest::default()),
    }
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
            Err(foreign("it has no FORMAT file"))
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
        _ => Ok(Some(Layout::new(
            root,
            &vecdb_migrations::data_folder(root, stamp.generation),
        ))),
    }
}

/// The stamp comes before everything but the lock: a folder with a stamp and nothing else is an empty database.
fn stamp(root: &Path, dir: &dyn Dir) -> Result<Layout> {
    let path = Stamp::path(root);
    write_atomically(dir, &path, |out| {
        write!(out, "{}", Stamp::NEW).map_err(Error::io("write", &path))
    })?;
    Ok(Layout::new(
        root,
        &vecdb_migrations::data_folder(root, Stamp::NEW.generation),
    ))
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
