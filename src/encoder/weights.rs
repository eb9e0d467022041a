//! The weights file: `model.safetensors`, mapped.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata as Header};
use xxhash_rust::xxh3::xxh3_128;

use super::hash_cache;
use super::model::unusable;
use crate::error::{Error, Result};
use crate::home;

/// The file's name in a model folder.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";

/// A mapped weights file with its header parsed and checked against the file's length.
pub(super) struct Weights {
    /// The model folder, for errors.
    folder: PathBuf,
    /// The file itself, links resolved.
    path: PathBuf,
    parent: String,
    file_name: String,
    /// As it was before the first byte was read.
    state: Metadata,
    map: Mmap,
    /// Where the tensors' bytes begin.
    data_start: usize,
    header: Header,
}

/// Bytes of a tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: usize,
    pub length: usize,
}

impl Weights {
    /// Maps the weights of a model folder.
    pub fn open(folder: &Path) -> Result<Self> {
        let link = folder.join(WEIGHTS_FILE);
        // The runtime refuses external data that leaves its folder, so links (as model hubs make them) are resolved.
        let path = link.canonicalize().map_err(Error::io("open", &link))?;
        let file_name = path
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned);
        let file_name = file_name
            .ok_or_else(|| unusable(folder, "the name of its weights file is not Unicode"))?;
        let parent = path.parent().and_then(Path::to_str).map(str::to_owned);
        let parent = parent.ok_or_else(|| {
            let what = format!(
                "the path of its weights file, {}, is not Unicode, as ONNX Runtime needs it; move the folder",
                path.display()
            );
            unusable(folder, what)
        })?;
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let state = file
            .metadata()
            .map_err(Error::io("read the state of", &path))?;
        // SAFETY: the map is read-only and stays with `self`. A process that rewrites the file in place would change
        // what is read, as it would for any reader; nothing here relies on two reads giving the same bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
        let (header_bytes, header) = SafeTensors::read_metadata(&map).map_err(|e| {
            unusable(
                folder,
                format!("{WEIGHTS_FILE} is not a safetensors file, or is cut short: {e}"),
            )
        })?;
        Ok(Self {
            folder: folder.into(),
            path,
            parent,
            file_name,
            state,
            map,
            data_start: header_bytes + 8,
            header,
        })
    }

    /// The folder that holds the file, links resolved.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The file's name in [`parent`](Self::parent).
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    pub fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Where the tensor lies in the file, after checking that it is f32 of this shape.
    pub fn place(&self, name: &str, shape: &[usize]) -> Result<Place> {
        let Some(info) = self.header.info(name) else {
            return Err(unusable(
                &self.folder,
                format!("{WEIGHTS_FILE} lacks the weight {name:?}"),
            ));
        };
        if info.dtype != Dtype::F32 {
            let what = format!(
                "the weight {name:?} is {:?}; only F32 weights are supported (convert the model)",
                info.dtype
            );
            return Err(unusable(&self.folder, what));
        }
        if info.shape != shape {
            let what = format!(
                "the weight {name:?} has shape {:?} where config.json asks for {shape:?}",
                info.shape
            );
            return Err(unusable(&self.folder, what));
        }
        // `read_metadata` checked that the ranges lie in the file and fit shape and type.
        let (start, end) = info.data_offsets;
        Ok(Place {
            offset: self.data_start + start,
            length: end - start,
        })
    }

    /// The numbers at a place that [`place`](Self::place) gave.
    pub fn values(&self, place: Place) -> Vec<f32> {
        let bytes = &self.map[place.offset..place.offset + place.length];
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
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

    /// A safetensors file without tensors.
    fn empty_weights(folder: &Path) -> PathBuf {
        let path = folder.join(WEIGHTS_FILE);
        let header = b"{}      ";
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header].concat();
        std::fs::write(&path, bytes).expect("written");
        path
    }

    #[test]
    fn a_file_that_was_replaced_or_written_to_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = empty_weights(folder.path());
        let aside = folder.path().join("aside");

        let weights = Weights::open(folder.path()).expect("opens");
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

        let weights = Weights::open(folder.path()).expect("opens");
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
        empty_weights(&odd);
        let error = Weights::open(&odd).err().expect("refused");
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        assert!(error.to_string().contains("is not Unicode"), "{error}");
    }
}
