//! Encoders that are kept with the data: `models/<name>/`, where the name ends with a hash of what it stands for.
//!
//! ```text
//! 1  models/<name>.tmp/   files copied, each fsynced; folders synced
//! 2  → models/<name>/     renamed, `models/` synced
//! ```
//!
//! Then a commit may name it, as the encoder of a collection. Nothing in it changes afterwards. What is in `models/` under other
//! names is not ours.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::commit::Store;
use super::dir::{Dir, around, create_folder_durably};
use super::layout::Layout;
use super::manifest::Manifest;
use crate::error::{Error, Result};

/// Hexadecimal digits at the end of a name.
const HASH_DIGITS: usize = 8;
const UNFINISHED: &str = ".tmp";

/// Of the names of encoders, those of models that are to be kept here and are not: a copy of another database's documents may
/// name one legitimately.
pub(crate) fn missing(layout: &Layout, manifest: &Manifest) -> Vec<PathBuf> {
    let named = named(layout, manifest).into_iter();
    named.filter(|folder| !folder.is_dir()).collect()
}

/// The folder of this name in `models`, if the name is of our form: it comes from disk, and becomes a path.
pub(crate) fn folder(models: &Path, name: &str) -> Option<PathBuf> {
    let (_, hash) = name.rsplit_once('-')?;
    let is_hash = hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let mut parts = Path::new(name).components();
    let is_one = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    (is_hash && is_one && !name.contains(['/', '\\'])).then(|| models.join(name))
}

/// The folders that collections name, be they there or not.
pub(super) fn named(layout: &Layout, manifest: &Manifest) -> HashSet<PathBuf> {
    let names = manifest
        .collections
        .iter()
        .filter_map(|collection| Some(&collection.encoder.as_ref()?.name));
    let models = layout.models();
    names.filter_map(|name| folder(&models, name)).collect()
}

/// Folders that a crash left, or that no collection names any more.
pub(super) fn leftovers(layout: &Layout, manifest: &Manifest) -> Vec<PathBuf> {
    let (models, named) = (layout.models(), named(layout, manifest));
    let Ok(entries) = fs::read_dir(&models) else {
        return Vec::new();
    };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.map(|name| name.strip_suffix(UNFINISHED).unwrap_or(name));
        name.is_some_and(|name| folder(&models, name).is_some())
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_ours(path) && !named.contains(path))
        .collect()
}

/// Removes a folder that nobody names any more. What stays of it is not taken for a whole one.
pub(super) fn remove(dir: &dyn Dir, kept: &Path) {
    let unfinished = unfinished(kept);
    // One that stays is swept by the next open.
    if kept.exists() && dir.rename(kept, &unfinished).is_ok() {
        let _ = dir.remove_folder(&unfinished);
    }
}

fn unfinished(kept: &Path) -> PathBuf {
    let mut name = kept.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// The files in a kept folder, as paths in it. `None` if it is not there, or is being removed.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn files(kept: &Path) -> Result<Option<Vec<PathBuf>>> {
    match list(kept) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        listed => listed.map(Some),
    }
}

fn list(kept: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let path = kept.join(&folder);
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
            let entry = entry.map_err(Error::io("list", &path))?;
            let inside = folder.join(entry.file_name());
            match entry
                .file_type()
                .map_err(Error::io("read", &path))?
                .is_dir()
            {
                true => folders.push(inside),
                false => found.push(inside),
            }
        }
    }
    Ok(found)
}

impl Store {
    /// The folders of current models.
    pub fn model_folders(&self) -> Vec<PathBuf> {
        let named = named(&self.layout, &self.manifest);
        named.into_iter().filter(|folder| folder.is_dir()).collect()
    }

    /// Is one kept under this name?
    #[cfg_attr(not(feature = "encoder"), expect(dead_code, reason = "none is kept"))]
    pub fn keeps_model(&self, name: &str) -> bool {
        folder(&self.layout.models(), name).is_some_and(|folder| folder.is_dir())
    }

    /// Steps 1 and 2: keeps files of a folder under a name of our form; durable when it returns. What has the name already is
    /// the same.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is there under the name then.
    #[cfg_attr(not(feature = "encoder"), expect(dead_code, reason = "none is kept"))]
    pub fn keep_model(&self, name: &str, from: &Path, wanted: &[PathBuf]) -> Result<()> {
        self.usable()?;
        let (dir, models) = (&*self.dir, self.layout.models());
        let kept = folder(&models, name).expect("a name that ends with a hash");
        let sync = || dir.sync_folder(&models).map_err(Error::io("sync", &models));
        if kept.exists() {
            // By a call, perhaps, whose sync failed.
            return sync();
        }
        create_folder_durably(dir, &models).map_err(Error::io("create", &models))?;
        let unfinished = unfinished(&kept);
        let copied = copy(dir, from, wanted, &unfinished).and_then(|()| {
            dir.rename(&unfinished, &kept)
                .map_err(Error::io("rename", &unfinished))
        });
        if copied.is_err() {
            // The error matters more than the left-over, which the next open sweeps.
            let _ = dir.remove_folder(&unfinished);
        }
        copied?;
        sync()
    }
}

fn copy(dir: &dyn Dir, from: &Path, wanted: &[PathBuf], to: &Path) -> Result<()> {
    if to.exists() {
        dir.remove_folder(to).map_err(Error::io("remove", to))?;
    }
    let mut folders = HashSet::from([to.to_owned()]);
    dir.create_folder(to).map_err(Error::io("create", to))?;
    for name in wanted {
        let (source, target) = (from.join(name), to.join(name));
        let folder = around(&target);
        if folders.insert(folder.to_owned()) {
            dir.create_folder(folder)
                .map_err(Error::io("create", folder))?;
        }
        let mut read = File::open(&source).map_err(Error::io("open", &source))?;
        let mut file = dir.create(&target).map_err(Error::io("create", &target))?;
        io::copy(&mut read, &mut file).map_err(Error::io("copy", &source))?;
        file.sync().map_err(Error::io("write", &target))?;
    }
    folders
        .iter()
        .try_for_each(|folder| dir.sync_folder(folder).map_err(Error::io("sync", folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_hash_that_stays_in_its_folder_is_a_kept_model_s() {
        let models = Path::new("models");
        assert_eq!(
            folder(models, "notes-0badcafe"),
            Some(models.join("notes-0badcafe"))
        );
        for name in [
            "notes",
            "all-MiniLM-L6-v2",
            "../x-0badcafe",
            "a/b-0badcafe",
            "a\\b-0badcafe",
            "/x-0badcafe",
            "x-0badcafe/..",
            "x-0badcafg",
            "",
        ] {
            assert_eq!(folder(models, name), None, "{name}");
        }
    }
}
