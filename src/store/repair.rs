//! FORMAT, MANIFEST and catalog made to agree again, from those of them that are whole.
//!
//! Each of the steps leaves a state from which a repair that was killed is made again, and done when it is done:
//!
//! - FORMAT is written anew where exactly one generation has a MANIFEST.
//! - MANIFEST is written anew from the catalog. Files in `segments/` that it does not name are put aside, not swept: a damaged
//!   catalog may be one that forgot them.
//! - The catalog is written anew from MANIFEST and from the write-ahead rows that a copy of it gives: whole and durable as
//!   `meta.new/`, then the old one is put aside, then the new one takes its place. Between the last two there is no `meta/`,
//!   which every open refuses and the next repair completes.
//!
//! Nothing is removed: `aside/` is for the user to look at, and to delete.

use std::fs;
use std::path::{Path, PathBuf};

use vecdb_migrations::{CURRENT_FORMAT, Stamp};

use super::commit::{Store, files};
use super::dir::{Dir, Disk, write_atomically};
use super::examine::{Examined, examine};
use super::layout::Layout;
use super::lock::Lock;
use super::manifest::Manifest;
use super::rebuild::{build_catalog, install_catalog, write_catalog};
use super::recover::{self, Opened, check_stamp};
use super::renew;
use crate::error::{Error, Result};

/// What was done, and what is gone: a sentence each.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    pub done: Vec<String>,
    pub lost: Vec<String>,
}

impl Opened {
    /// Opens a database after making FORMAT, MANIFEST and catalog agree.
    ///
    /// # Errors
    /// As [`Opened::open`]; [`Error::NotFound`]; and the damage, where too little is whole to repair it.
    pub fn mend(root: &Path, disk: &Disk) -> Result<(Self, Mended)> {
        let dir = &*disk.0;
        let mut mended = Mended::default();
        let layout = match check_stamp(root) {
            Err(error @ (Error::Damaged { .. } | Error::NotADatabase { .. })) => {
                mend_stamp(root, disk, error, &mut mended)?
            }
            found => found?,
        };
        if layout.is_none() {
            return Err(Error::NotFound {
                path: root.to_path_buf(),
            });
        }
        let lock = Lock::acquire(root, &disk.0)?;
        // Only now is it certain which folder it is: a link may have been led elsewhere.
        let root = lock.root().to_path_buf();
        let layout = check_stamp(&root)?.ok_or(Error::NotFound { path: root })?;
        renew::finish(&layout, dir)?;
        let examined = examine(&layout, disk)?;
        let Some(manifest) = &examined.manifest else {
            let damage = examined.manifest_damage.or(examined.catalog_damage);
            return Err(damage.expect("without damage there is a manifest"));
        };
        mend_catalog(&layout, disk, &examined, manifest, &mut mended)?;
        if let Some(damage) = &examined.manifest_damage {
            let unnamed = put_unnamed_aside(&layout, dir, manifest)?;
            if layout.manifest().exists() {
                set_aside(&layout, dir, &layout.manifest())?;
            }
            manifest.write(dir, &layout)?;
            mended.done.push(format!(
                "MANIFEST was written anew from the catalog ({})",
                what(damage)
            ));
            if unnamed > 0 {
                mended.done.push(format!(
                    "{unnamed} files of segments that the catalog does not name were put into {}",
                    layout.aside().display()
                ));
            }
        }
        Ok((Self::locked(lock, layout, disk)?, mended))
    }
}

impl Store {
    /// Puts a file of ours where nothing is served from and nothing removed. Returns where it lies now.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf> {
        set_aside(&self.layout, &*self.dir, path)
    }
}

/// What is wrong, without what to do about it.
fn what(damage: &Error) -> &str {
    match damage {
        Error::Damaged { what, .. } | Error::Catalog { what, .. } => what,
        _ => "it could not be read",
    }
}

fn mend_stamp(
    root: &Path,
    disk: &Disk,
    error: Error,
    mended: &mut Mended,
) -> Result<Option<Layout>> {
    let whole: Vec<_> = recover::generations(root)
        .into_iter()
        .filter(|(_, layout)| matches!(Manifest::read(layout), Ok(Some(_))))
        .collect();
    let [(generation, layout)] = <[_; 1]>::try_from(whole).map_err(|_| error)?;
    // Only now is it certain that the folder is ours.
    let _lock = Lock::acquire(root, &disk.0)?;
    let path = Stamp::path(root);
    if path.exists() {
        set_aside(&layout, &*disk.0, &path)?;
    }
    let stamp = Stamp {
        format: CURRENT_FORMAT,
        generation,
    };
    write_atomically(&*disk.0, &path, |out| {
        write!(out, "{stamp}").map_err(Error::io("write", &path))
    })?;
    mended.done.push("FORMAT was written anew".into());
    Ok(Some(layout))
}

fn mend_catalog(
    layout: &Layout,
    disk: &Disk,
    examined: &Examined,
    manifest: &Manifest,
    mended: &mut Mended,
) -> Result<()> {
    let (dir, meta, new) = (&*disk.0, layout.meta(), layout.unfinished_meta());
    let Some(damage) = &examined.catalog_damage else {
        if !meta.exists() && new.exists() {
            install_catalog(layout, dir)?;
            mended
                .done
                .push("a repair that was cut short was completed".into());
        }
        return Ok(());
    };
    if meta.exists() {
        build_catalog(layout, disk, manifest, &examined.unsealed)?;
        set_aside(layout, dir, &meta)?;
        install_catalog(layout, dir)?;
    } else {
        if new.exists() {
            set_aside(layout, dir, &new)?;
        }
        write_catalog(layout, disk, manifest, &examined.unsealed)?;
    }
    mended.done.push(format!(
        "the catalog was made anew from MANIFEST ({})",
        what(damage)
    ));
    let kept = examined.unsealed.len();
    if kept > 0 {
        mended.done.push(format!(
            "{kept} acknowledged calls that are in no segment yet were kept"
        ));
    }
    mended.lost.push(match examined.lost_calls {
        Some(0) => return Ok(()),
        Some(lost) => {
            format!("{lost} acknowledged calls that were in no segment yet are lost")
        }
        None => "calls acknowledged after the last seal, if there were any, are lost: the catalog does not tell".into(),
    });
    Ok(())
}

/// Puts what `segments/` holds and the manifest does not name aside.
fn put_unnamed_aside(layout: &Layout, dir: &dyn Dir, manifest: &Manifest) -> Result<u64> {
    let named = files(layout, manifest);
    let segments = layout.segments();
    let mut moved = 0;
    for entry in fs::read_dir(&segments).map_err(Error::io("list", &segments))? {
        let path = entry.map_err(Error::io("list", &segments))?.path();
        let is_ours = path.extension().is_some_and(|e| e == "seg" || e == "del");
        if is_ours && !named.contains(&path) {
            set_aside(layout, dir, &path)?;
            moved += 1;
        }
    }
    Ok(moved)
}

/// Moves a file or folder into `aside/`, under its own name unless that is taken there.
pub(super) fn set_aside(layout: &Layout, dir: &dyn Dir, path: &Path) -> Result<PathBuf> {
    let aside = layout.aside();
    if !aside.exists() {
        dir.create_folder(&aside)
            .map_err(Error::io("create", &aside))?;
        let root = layout.root();
        dir.sync_folder(root).map_err(Error::io("sync", root))?;
    }
    let name = path.file_name().expect("every file of ours has a name");
    let mut target = aside.join(name);
    if target.exists() {
        target = target.with_added_extension(ulid::Ulid::generate().to_string());
    }
    dir.rename(path, &target)
        .map_err(Error::io("rename", path))?;
    let from = path.parent().expect("every file of ours lies in a folder");
    for folder in [&*aside, from] {
        dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
    }
    Ok(target)
}
