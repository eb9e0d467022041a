//! MANIFEST and catalog, looked at without changing either: what they say, and what is wrong with them.
//!
//! sled writes while it opens, and where a log is damaged it takes the damage for the log's end and fills the rest with
//! zeros. So it is opened on a copy.

use std::fs;
use std::path::Path;

use super::catalog::{self, WalEntry};
use super::dir::Disk;
use super::kv::Kv;
use super::layout::Layout;
use super::lock::Lock;
use super::manifest::Manifest;
use super::mark::Mark;
use super::recover::{holds_segments, missing};
use crate::error::{Error, Result};

/// What MANIFEST and catalog tell.
#[derive(Default)]
pub(crate) struct Examined {
    /// The current state; `None` where nothing tells it.
    pub manifest: Option<Manifest>,
    /// Acknowledged calls that are in no segment yet and belong to that state.
    pub unsealed: Vec<WalEntry>,
    /// What is wrong with MANIFEST, and
    pub manifest_damage: Option<Error>,
    /// with the catalog.
    pub catalog_damage: Option<Error>,
    /// Acknowledged calls that were to be among [`unsealed`](Self::unsealed) and are lost, as far as it can be told.
    pub lost_calls: Option<u64>,
    /// MANIFEST is older than the catalog: a kill came between the two. The next writer writes it again.
    pub is_behind: bool,
}

/// A look at a database that nobody changes meanwhile.
pub(crate) struct Looked {
    examined: Examined,
    lock: Lock,
}

/// Takes the lock and looks.
///
/// # Errors
/// [`Error::Locked`], [`Error::Io`].
pub(crate) fn look(layout: &Layout, disk: &Disk) -> Result<Looked> {
    let mut looked = Looked {
        lock: Lock::acquire(layout.root(), &disk.0)?,
        examined: Examined::default(),
    };
    looked.examined = examine(layout, disk)?;
    Ok(looked)
}

impl Looked {
    pub fn examined(&self) -> &Examined {
        &self.examined
    }
}

impl Drop for Looked {
    fn drop(&mut self) {
        self.lock.leave_as_found();
    }
}

/// What a catalog holds.
struct Catalog {
    manifest: Manifest,
    wal: Vec<(u64, Result<WalEntry>)>,
    mark: Option<Mark>,
    /// Why it had to be read without sled's snapshots of its log.
    damage: Option<Error>,
}

/// Looks at MANIFEST and catalog. The caller holds the lock.
pub(super) fn examine(layout: &Layout, disk: &Disk) -> Result<Examined> {
    let (file, manifest_damage) = match Manifest::read(layout) {
        Ok(file) => (file, None),
        Err(damage @ Error::Damaged { .. }) => (None, Some(damage)),
        Err(other) => return Err(other),
    };
    // As with the writer's open: no MANIFEST and no segment, and nothing was acknowledged yet.
    let is_new = file.is_none() && manifest_damage.is_none() && !holds_segments(layout)?;
    let catalog = match read_catalog(layout, disk) {
        // A full disk, say, on which no copy can be made.
        Err(error) if !matches!(error, Error::Catalog { .. }) => return Err(error),
        catalog => catalog,
    };
    let mut examined = Examined::default();
    match (file, catalog) {
        (Some(file), Ok(catalog)) => examined.compare(layout, file, catalog),
        (Some(file), Err(damage)) => {
            examined.manifest = Some(file);
            examined.catalog_damage = Some(damage);
        }
        (None, Ok(catalog)) if catalog.manifest.seq > 0 => {
            examined.manifest_damage = manifest_damage.or_else(|| Some(missing(layout)));
            let manifest = catalog.manifest.clone();
            examined.take(layout, manifest, catalog);
        }
        (None, _) if is_new => examined.manifest = Some(Manifest::default()),
        (None, catalog) => {
            examined.manifest_damage = manifest_damage.or_else(|| Some(missing(layout)));
            let what = "it is empty, and nothing else tells what is current";
            let damage = catalog.err();
            examined.catalog_damage = damage.or_else(|| Some(Error::catalog(&layout.meta(), what)));
        }
    }
    Ok(examined)
}

impl Examined {
    fn compare(&mut self, layout: &Layout, file: Manifest, catalog: Catalog) {
        let found = &catalog.manifest;
        self.is_behind = file.seq < found.seq;
        if self.is_behind {
            let newer = found.clone();
            return self.take(layout, newer, catalog);
        }
        if *found == file {
            return self.take(layout, file, catalog);
        }
        let what = differs(found, &file);
        let damage = Error::catalog(&layout.meta(), what);
        self.take(layout, file, catalog);
        self.catalog_damage = Some(damage);
    }

    /// Takes over the calls that belong to this state, and tells of those that are not there.
    fn take(&mut self, layout: &Layout, manifest: Manifest, catalog: Catalog) {
        let Catalog {
            manifest: of_catalog,
            mut wal,
            mark,
            damage,
        } = catalog;
        self.catalog_damage = damage;
        if mark.is_some_and(|mark| mark.seq > manifest.seq) {
            let what = "it is older than what was acknowledged";
            self.catalog_damage = Some(Error::catalog(&layout.meta(), what));
        }
        let mark = mark.filter(|mark| mark.seq == manifest.seq);
        let is_older = of_catalog.seq < manifest.seq;
        if is_older {
            // Which of them are sealed by now only the mark can tell.
            let unsealed = mark.map_or(0..0, |mark| mark.unsealed());
            wal.retain(|(number, _)| unsealed.contains(number));
        }
        let lost = lost(&wal, mark);
        self.lost_calls = (mark.is_some() || !is_older).then_some(lost);
        if lost > 0 {
            let what = format!("{lost} acknowledged calls that are in no segment yet are lost");
            self.catalog_damage = Some(Error::catalog(&layout.meta(), what));
        }
        let whole = wal.into_iter().filter_map(|(_, entry)| entry.ok());
        self.unsealed = whole.collect();
        self.manifest = Some(manifest);
    }
}

/// What is wrong with a catalog that has not what MANIFEST has.
pub(super) fn differs(catalog: &Manifest, file: &Manifest) -> String {
    format!(
        "it is not what MANIFEST says (sequence numbers {} and {})",
        catalog.seq, file.seq
    )
}

/// How many entries do not decode, or are not there though the mark says that they were acknowledged.
pub(super) fn lost<T>(wal: &[(u64, Result<T>)], mark: Option<Mark>) -> u64 {
    let unreadable = wal.iter().filter(|(_, entry)| entry.is_err()).count() as u64;
    let unsealed = mark.map_or(0..0, |mark| mark.unsealed());
    let there = wal.iter().filter(|(number, _)| unsealed.contains(number));
    unreadable + (unsealed.end - unsealed.start).saturating_sub(there.count() as u64)
}

/// Reads a copy of the catalog; where that does not open, one without sled's snapshots of its log, which it can do without.
fn read_catalog(layout: &Layout, disk: &Disk) -> Result<Catalog> {
    // One that was made anew and did not get its place yet is whole, and says the same.
    let found = [
        layout.next_meta(),
        layout.meta(),
        layout.old_meta(),
        layout.unfinished_meta(),
    ];
    let Some(folder) = found.iter().find(|folder| folder.join("db").exists()) else {
        return Err(Error::catalog(&layout.meta(), "it is missing"));
    };
    let copy = layout.meta_copy();
    let mut first = None;
    for with_snapshots in [true, false] {
        let read =
            copy_catalog(folder, &copy, with_snapshots).and_then(|()| read_copy(&copy, disk));
        match read {
            Ok(catalog) => {
                let _ = disk.0.remove_folder(&copy);
                let damage = first.map(|error| of(folder, error));
                return Ok(Catalog { damage, ..catalog });
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    // What stays is swept by the next open.
    let _ = disk.0.remove_folder(&copy);
    Err(of(folder, first.expect("it was tried twice")))
}

/// The error of a copy as that of what was copied: the copy is nothing that the user knows of.
fn of(folder: &Path, error: Error) -> Error {
    match error {
        Error::Catalog { what, .. } => Error::catalog(folder, what),
        other => other,
    }
}

fn read_copy(copy: &Path, disk: &Disk) -> Result<Catalog> {
    let kv = Kv::open(copy, &disk.0)?;
    kv.guarded(|| {
        Ok(Catalog {
            manifest: catalog::read_manifest(&kv)?,
            wal: catalog::scan_wal(&kv)?,
            mark: Mark::read(copy),
            damage: None,
        })
    })
}

fn copy_catalog(from: &Path, to: &Path, with_snapshots: bool) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    copy_folder(from, to, &|name| {
        with_snapshots || !name.starts_with("snap.")
    })
}

fn copy_folder(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
    fs::create_dir(to).map_err(Error::io("create", to))?;
    for entry in fs::read_dir(from).map_err(Error::io("list", from))? {
        let entry = entry.map_err(Error::io("list", from))?;
        let (path, name) = (entry.path(), entry.file_name());
        let target = to.join(&name);
        if path.is_dir() {
            copy_folder(&path, &target, wanted)?;
        } else if wanted(&name.to_string_lossy()) {
            fs::copy(&path, &target).map_err(Error::io("copy", &path))?;
        }
    }
    Ok(())
}
