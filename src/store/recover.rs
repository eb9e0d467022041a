//! Opening: from whatever the last process left to a state that was committed.
//!
//! The writer: stamp → lock → catalog → MANIFEST (written again if a crash left it behind the catalog) → files that nobody
//! names are removed → write-ahead entries for the database to replay. A reader: stamp → MANIFEST, and nothing else; it
//! takes no lock and changes nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use vecdb_migrations::{CURRENT_FORMAT, Stamp};

use super::catalog::{self, WalEntry};
use super::commit::{Store, files};
use super::dir::{Dir, SystemDir};
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
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_in(root, Arc::new(SystemDir))
    }

    pub(super) fn open_in(root: &Path, dir: Arc<dyn Dir>) -> Result<Self> {
        let layout = match check_stamp(root)? {
            Some(layout) => layout,
            None => create(root)?,
        };
        let lock = Lock::acquire(&layout)?;
        let segments = layout.segments();
        fs::create_dir_all(&segments).map_err(Error::io("create", &segments))?;
        let kv = Kv::open(&layout.meta())?;
        let manifest = catalog::read_manifest(&kv)?;
        match Manifest::read(&layout)? {
            Some(file) if file == manifest => {}
            Some(file) if file.seq < manifest.seq => manifest.write(&*dir, &layout)?,
            Some(file) => {
                let what = format!(
                    "it has sequence number {} where the catalog has {}",
                    file.seq, manifest.seq
                );
                return Err(Error::damaged(&layout.manifest(), 0, what));
            }
            // A new database, or a crash before its first commit's last step.
            None if manifest.seq <= 1 => manifest.write(&*dir, &layout)?,
            None => return Err(Error::damaged(&layout.manifest(), 0, "it is missing")),
        }
        sweep(&*dir, &layout, &manifest)?;
        let (unsealed, next_wal) = catalog::read_wal(&kv)?;
        let names = ulid::Generator::new();
        let store = Store {
            layout,
            dir,
            kv,
            manifest,
            next_wal,
            names,
            failed: false,
            lock,
        };
        Ok(Self { store, unsealed })
    }
}

/// The current manifest, without lock and without sled.
pub(crate) fn read_only(layout: &Layout) -> Result<Manifest> {
    // A database whose first writer was killed before it wrote MANIFEST is empty.
    Ok(Manifest::read(layout)?.unwrap_or_default())
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
    let stamp = Stamp::read(root).map_err(from_stamp)?;
    let Some(stamp) = stamp else {
        let mut entries = fs::read_dir(root).map_err(Error::io("list", root))?;
        // A crash while the stamp was first written leaves only its temporary file.
        let empty = entries.all(|entry| {
            entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("FORMAT."))
        });
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

/// The stamp comes first: a folder with a stamp and nothing else is an empty database.
fn create(root: &Path) -> Result<Layout> {
    fs::create_dir_all(root).map_err(Error::io("create", root))?;
    Stamp::NEW.write(root).map_err(from_stamp)?;
    Ok(Layout::new(
        root,
        &vecdb_migrations::data_folder(root, Stamp::NEW.generation),
    ))
}

fn from_stamp(error: vecdb_migrations::Error) -> Error {
    use vecdb_migrations::Error as Stamp;
    match error {
        Stamp::Io {
            action,
            path,
            source,
        } => Error::Io {
            action,
            path,
            source,
        },
        Stamp::NotADatabase { path, what } => Error::NotADatabase {
            path,
            what: what.into(),
        },
        Stamp::Damaged { path, what } => Error::Damaged {
            path,
            offset: 0,
            what: what.into(),
        },
        Stamp::Newer {
            path,
            found,
            supported,
        } => Error::NewerFormat {
            path,
            found,
            supported,
        },
        // Steps are not run here; the arm keeps their message should one ever come.
        other => Error::Setup {
            what: other.to_string(),
        },
    }
}

/// Removes what a crash left: temporary files, and segments and tombstones that no commit names.
fn sweep(dir: &dyn Dir, layout: &Layout, manifest: &Manifest) -> Result<()> {
    let segments = layout.segments();
    let named = files(layout, manifest);
    for entry in fs::read_dir(&segments).map_err(Error::io("list", &segments))? {
        let path = entry.map_err(Error::io("list", &segments))?.path();
        if !named.contains(&path) {
            dir.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
