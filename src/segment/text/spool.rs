//! Where tantivy writes: a folder in memory whose files can lie in nameless files on disk instead.
//!
//! The sections of a segment stand in a fixed order and tantivy writes its files side by side, so they are kept until
//! their turn comes.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, DirectoryLock, FileHandle, Lock, OwnedBytes, RamDirectory, TerminatingWrite,
    WatchCallback, WatchHandle, WritePtr,
};

use crate::scratch::{Scratch, ScratchFile};

/// What was written to one file.
pub(super) enum Spooled {
    Memory(Vec<u8>),
    Disk(SpoolFile),
}

impl Spooled {
    /// Copies all of it.
    pub fn copy_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => out.write_all(bytes),
            Self::Disk(file) => {
                let mut file = file.lock();
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut *file, out).map(drop)
            }
        }
    }
}

/// A folder for one writer. What is written at once, tantivy's `meta.json`, always lies in memory.
#[derive(Clone, Debug)]
pub(super) struct SpoolDirectory {
    memory: RamDirectory,
    /// Makes files on disk, and those that it made.
    disk: Option<(Scratch, Files)>,
}

type Files = Arc<Mutex<HashMap<PathBuf, SpoolFile>>>;

impl SpoolDirectory {
    pub fn new(scratch: Option<&Scratch>) -> Self {
        Self {
            memory: RamDirectory::create(),
            disk: scratch.map(|scratch| (scratch.clone(), Files::default())),
        }
    }

    /// The file's bytes; none if it was not written.
    pub fn take(&self, path: &Path) -> Result<Spooled, OpenReadError> {
        if let Some(file) = self.on_disk(path) {
            return Ok(Spooled::Disk(file));
        }
        if !self.memory.exists(path)? {
            return Ok(Spooled::Memory(Vec::new()));
        }
        let bytes = self.memory.open_read(path)?.read_bytes();
        let bytes = bytes.map_err(|e| OpenReadError::wrap_io_error(e, path.to_path_buf()))?;
        Ok(Spooled::Memory(bytes.to_vec()))
    }

    fn on_disk(&self, path: &Path) -> Option<SpoolFile> {
        let (_, files) = self.disk.as_ref()?;
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        files.get(path).cloned()
    }
}

impl Directory for SpoolDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let Some(file) = self.on_disk(path) else {
            return self.memory.get_file_handle(path);
        };
        let mut bytes = Vec::new();
        let mut file = file.lock();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut bytes))
            .map_err(|e| OpenReadError::wrap_io_error(e, path.to_path_buf()))?;
        Ok(Arc::new(OwnedBytes::new(bytes)))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        if let Some((_, files)) = &self.disk
            && let Some(_file) = files
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(path)
        {
            return Ok(());
        }
        self.memory.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.on_disk(path).is_some() || self.memory.exists(path)?)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        let Some((scratch, files)) = &self.disk else {
            return self.memory.open_write(path);
        };
        let file = scratch
            .file()
            .map_err(|e| OpenWriteError::wrap_io_error(e, path.to_path_buf()))?;
        let file = SpoolFile(Arc::new(Mutex::new(file)));
        files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.to_path_buf(), file.clone());
        Ok(BufWriter::new(Box::new(file)))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.memory.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.memory.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.memory.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.memory.watch(callback)
    }
}

/// A nameless file, which tantivy writes and we read afterwards.
#[derive(Clone)]
pub(super) struct SpoolFile(Arc<Mutex<Box<dyn ScratchFile>>>);

impl SpoolFile {
    fn lock(&self) -> MutexGuard<'_, Box<dyn ScratchFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SpoolFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpoolFile")
    }
}

impl Write for SpoolFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for SpoolFile {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        Ok(())
    }
}
