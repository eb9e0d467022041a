//! tantivy's files as sections of a segment, read-only.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::HasLen;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};

use crate::segment::format::Kind;
use crate::segment::sections::Sections;

/// The section of each of tantivy's files, by the end of its name.
pub(super) const FILES: [(&str, Kind); 7] = [
    ("json", Kind::TextMeta),
    ("fast", Kind::TextFast),
    ("store", Kind::TextStore),
    ("term", Kind::TextTerms),
    ("idx", Kind::TextPostings),
    ("pos", Kind::TextPositions),
    ("fieldnorm", Kind::TextNorms),
];

const META: &str = "meta.json";

/// A folder whose files are sections. Locks do nothing: nothing here is ever written.
#[derive(Clone)]
pub(super) struct SectionDirectory {
    sections: Arc<Sections>,
}

impl SectionDirectory {
    pub fn new(sections: Arc<Sections>) -> Self {
        Self { sections }
    }

    /// The section of a file that exists. An empty section is a file that was not written.
    fn kind(&self, path: &Path) -> Result<Kind, OpenReadError> {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        let found = FILES
            .iter()
            .find(|(name, _)| *name == extension)
            .map(|&(_, kind)| kind);
        found
            .filter(|&kind| kind != Kind::TextMeta || path == Path::new(META))
            .filter(|&kind| !self.sections.range(kind).is_empty())
            .ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_path_buf()))
    }
}

impl std::fmt::Debug for SectionDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SectionDirectory({})", self.sections.path().display())
    }
}

impl Directory for SectionDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(SectionFile {
            sections: Arc::clone(&self.sections),
            kind: self.kind(path)?,
        }))
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.kind(path).is_ok())
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let kind = self.kind(path)?;
        let whole = 0..self.sections.range(kind).len();
        match self.sections.checked(kind, whole) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(e) => Err(OpenReadError::wrap_io_error(
                io::Error::other(e),
                path.to_path_buf(),
            )),
        }
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError {
            io_error: Arc::new(read_only()),
            filepath: path.to_path_buf(),
        })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(
            read_only(),
            path.to_path_buf(),
        ))
    }

    fn atomic_write(&self, _: &Path, _: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

fn read_only() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "a segment is never written again",
    )
}

/// One section as a file.
struct SectionFile {
    sections: Arc<Sections>,
    kind: Kind,
}

impl std::fmt::Debug for SectionFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SectionFile({:?})", PathBuf::from(self.kind.label()))
    }
}

impl HasLen for SectionFile {
    fn len(&self) -> usize {
        self.sections.range(self.kind).len()
    }
}

impl FileHandle for SectionFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.sections
            .checked(self.kind, range)
            .map(OwnedBytes::new)
            .map_err(io::Error::other)
    }
}
