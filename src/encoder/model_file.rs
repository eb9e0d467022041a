//! A file of a model folder, mapped: the same bytes as long as an encoder lives.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use xxhash_rust::xxh3::xxh3_128;

use super::hash_cache;
use super::model::unusable;
use crate::error::{Error, Result};
use crate::home;

/// A mapped file, and how it was found.
pub(super) struct ModelFile {
    /// The model folder, and the file's path in it: for errors.
    folder: PathBuf,
    name: String,
    /// The file itself, links resolved.
    path: PathBuf,
    parent: String,
    file_name: String,
    /// As it was before the first byte was read.
    state: Metadata,
    map: Mmap,
}

impl ModelFile {
    /// Maps a file of a model folder.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let link = folder.join(name);
        // The runtime refuses external data that leaves its folder, so links (as model hubs make them) are resolved.
        let path = link.canonicalize().map_err(Error::io("open", &link))?;
        let text = |part: Option<&Path>| {
            let text = part.and_then(Path::to_str).map(str::to_owned);
            text.ok_or_else(|| {
                let what = format!(
                    "the path of {name}, {}, is not Unicode, as ONNX Runtime needs it; move the folder",
                    path.display()
                );
                unusable(folder, what)
            })
        };
        let file_name = text(path.file_name().map(Path::new))?;
        let parent = text(path.parent())?;
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let state = file
            .metadata()
            .map_err(Error::io("read the state of", &path))?;
        // SAFETY: the map is read-only and stays with `self`. A process that rewrites the file in place would change
        // what is read, as it would for any reader; nothing here relies on two reads giving the same bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
        Ok(Self {
            folder: folder.into(),
            name: name.into(),
            path,
            parent,
            file_name,
            state,
            map,
        })
    }

    /// The model folder cannot be used, because of this file.
    pub fn unusable(&self, what: impl std::fmt::Display) -> Error {
        unusable(&self.folder, format!("{}: {what}", self.name))
    }

    /// Its path in the model folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that holds the file, links resolved.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The file's name in [`parent`](Self::parent).
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Checks that the path still leads to the file that is mapped here, and that nobody wrote to it.
    ///
    /// Each session opens the file anew by its path; it must not get other weights than the fingerprint stands for.
    pub fn check_unchanged(&self) -> Result<()> {
        match std::fs::metadata(&self.path) {
            Ok(now) if same_state(&self.state, &now) => Ok(()),
            _ => Err(unusable(
                &self.folder,
                "the weights changed while the process runs; open it again",
            )),
        }
    }

    /// A hash of every byte of the file, remembered in the data folder.
    pub fn hash(&self) -> u128 {
        let cache = home::home().map(|home| home.join("cache").join("hashes"));
        hash_cache::remembered(cache.as_deref(), &self.path, &self.state, || {
            xxh3_128(&self.map)
        })
    }
}

/// The same file, of the same length, and not written to between the two looks at it.
fn same_state(a: &Metadata, b: &Metadata) -> bool {
    let written = matches!((a.modified(), b.modified()), (Ok(a), Ok(b)) if a == b);
    written && a.len() == b.len() && identity(a) == identity(b)
}

/// Device and inode, where there are such.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) {}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "weights";

    #[test]
    fn a_file_that_was_replaced_or_written_to_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        std::fs::write(&path, "bytes").expect("written");
        let aside = folder.path().join("aside");

        let weights = ModelFile::open(folder.path(), NAME).expect("opens");
        weights.check_unchanged().expect("nothing happened");
        std::fs::rename(&path, &aside).expect("moved");
        let words = weights.check_unchanged().expect_err("gone").to_string();
        assert!(words.contains("the weights changed"), "{words}");
        std::fs::copy(&aside, &path).expect("copied");
        let modified = weights.state.modified().expect("a time");
        let file = File::options().write(true).open(&path).expect("opened");
        file.set_modified(modified).expect("set");
        // Elsewhere the copy, of the same length and time, cannot be told from the first.
        assert_eq!(weights.check_unchanged().is_err(), cfg!(unix));

        let weights = ModelFile::open(folder.path(), NAME).expect("opens");
        weights.check_unchanged().expect("nothing happened");
        file.set_modified(modified + std::time::Duration::from_secs(1))
            .expect("set");
        weights.check_unchanged().expect_err("written to");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_that_is_not_unicode_is_an_error_that_says_so() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().expect("a folder");
        let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"m\xff"));
        std::fs::create_dir(&odd).expect("made");
        std::fs::write(odd.join(NAME), "bytes").expect("written");
        let error = ModelFile::open(&odd, NAME).err().expect("refused");
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        assert!(error.to_string().contains("is not Unicode"), "{error}");
    }
}
