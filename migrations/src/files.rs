//! Every change that the runner makes to files, behind one trait, so that tests can make each of them fail, end the process
//! before it, and cut the power. What a step writes in its own folder goes past it, and is synced through it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

pub(crate) trait Files {
    /// Makes an empty folder.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a file, or empties it, and writes it. Not durable before [`Files::sync`].
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Makes a file's content durable, or a folder's names.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Puts `from` in the place of `to`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, or an empty folder.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The real ones.
pub(crate) struct SystemFiles;

impl Files for SystemFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        fs::write(path, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        // Elsewhere a folder can't be opened as a file, and renames are durable with the file.
        if cfg!(unix) || path.is_file() {
            File::open(path)?.sync_all()?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::symlink_metadata(path)?.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        }
    }
}
