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

    /// Where everything lies but the stamp and the lock.
    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn manifest(&self) -> PathBuf {
        self.data.join("MANIFEST")
    }

    /// sled's folder.
    pub fn meta(&self) -> PathBuf {
        self.data.join("meta")
    }

    /// A catalog that is being made anew.
    pub fn unfinished_meta(&self) -> PathBuf {
        self.data.join("meta.new")
    }

    /// A catalog made anew, whole, that is to take the place of the other.
    pub fn next_meta(&self) -> PathBuf {
        self.data.join("meta.next")
    }

    /// The catalog in whose place another was put.
    pub fn old_meta(&self) -> PathBuf {
        self.data.join("meta.old")
    }

    /// A copy of the catalog, for those who look and must change nothing.
    pub fn meta_copy(&self) -> PathBuf {
        self.data.join("meta.copy")
    }

    /// Where a repair puts what is damaged. Nothing of ours is read from there but by the next repair, and nothing removed.
    pub fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    pub fn segments(&self) -> PathBuf {
        self.data.join("segments")
    }

    pub fn segment(&self, name: &str) -> PathBuf {
        self.segments().join(format!("{name}.seg"))
    }

    /// Encoders that are kept with the data. They are of no format of ours, and so of no generation.
    pub fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// The rows of a segment that are deleted, as of `generation`.
    pub fn tombstones(&self, name: &str, generation: u64) -> PathBuf {
        self.segments().join(format!("{name}.{generation}.del"))
    }
}
