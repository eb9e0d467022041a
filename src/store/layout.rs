//! Where things lie in a database folder.

use std::path::{Path, PathBuf};

/// The paths of one database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    root: PathBuf,
    /// The folder of the current generation; the root itself for the first.
    data: PathBuf,
}

impl Layout {
    pub fn new(root: &Path, data: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            data: data.to_path_buf(),
        }
    }

    /// The folder that the user names.
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn manifest(&self) -> PathBuf {
        self.data.join("MANIFEST")
    }

    /// sled's folder.
    pub fn meta(&self) -> PathBuf {
        self.data.join("meta")
    }

    pub fn segments(&self) -> PathBuf {
        self.data.join("segments")
    }

    pub fn segment(&self, name: &str) -> PathBuf {
        self.segments().join(format!("{name}.seg"))
    }

    /// The rows of a segment that are deleted, as of `generation`.
    pub fn tombstones(&self, name: &str, generation: u64) -> PathBuf {
        self.segments().join(format!("{name}.{generation}.del"))
    }
}
