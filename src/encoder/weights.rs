//! The weights file: `model.safetensors`, mapped.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};
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
    file_name: String,
    /// As it was before the first byte was read.
    state: std::fs::Metadata,
    map: Mmap,
    /// Where the tensors' bytes begin.
    data_start: usize,
    metadata: Metadata,
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
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let state = file
            .metadata()
            .map_err(Error::io("read the state of", &path))?;
        // SAFETY: the map is read-only and stays with `self`. A process that rewrites the file in place would change
        // what is read, as it would for any reader; nothing here relies on two reads giving the same bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
            unusable(
                folder,
                format!("{WEIGHTS_FILE} is not a safetensors file, or is cut short: {e}"),
            )
        })?;
        Ok(Self {
            folder: folder.into(),
            path,
            file_name,
            state,
            map,
            data_start: header + 8,
            metadata,
        })
    }

    /// The folder that holds the file, links resolved.
    pub fn parent(&self) -> &Path {
        self.path.parent().unwrap_or(&self.folder)
    }

    /// The file's name in [`parent`](Self::parent).
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    pub fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Where the tensor lies in the file, after checking that it is f32 of this shape.
    pub fn place(&self, name: &str, shape: &[usize]) -> Result<Place> {
        let Some(info) = self.metadata.info(name) else {
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

    /// A hash of every byte of the file, remembered in the data folder.
    pub fn hash(&self) -> u128 {
        let cache = home::home().map(|home| home.join("cache").join("hashes"));
        hash_cache::remembered(cache.as_deref(), &self.path, &self.state, || {
            xxh3_128(&self.map)
        })
    }
}
