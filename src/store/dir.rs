//! Every change that we make to files, behind one trait, so that tests can make each of them fail and cut the power after it.
//!
//! Three things go past it: what sled does in its own folder, of which only the fsync afterwards is ours; what nothing rests
//! on, the mark in that folder and copies of it to look at; and migrations, which have their own package and their own tests of
//! this kind.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

/// A file being written. Nothing is durable before [`WriteFile::sync`].
pub(crate) trait WriteFile: Write {
    /// Flushes buffers and fsyncs.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system as the store uses it.
pub(crate) trait Dir: Send + Sync {
    /// Creates or empties a file.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Puts `from` in the place of `to`, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name beside the one that it has.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes renames, creations and removals inside `folder` durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and those around it, where they are absent.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a file durable that was written past this trait.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Replaces what an open file says, in place. Not durable before [`Dir::sync_file`].
    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()>;
}

/// The real one.
pub(crate) struct SystemDir;

struct SystemFile(BufWriter<File>);

impl Write for SystemFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for SystemFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_ref().sync_all()
    }
}

impl Dir for SystemDir {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        Ok(Box::new(SystemFile(BufWriter::with_capacity(
            1 << 18,
            File::create(path)?,
        ))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Windows cannot open a folder as a file; NTFS journals renames by itself.
        if cfg!(unix) {
            File::open(folder)?.sync_all()
        } else {
            Ok(())
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()> {
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())
    }
}

/// The directory that a database is opened with: the system's, but in tests.
#[derive(Clone)]
pub(crate) struct Disk(pub Arc<dyn Dir>);

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(SystemDir))
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

/// Writes a whole file under a temporary name, fsyncs it, renames it to `path`, fsyncs the folder.
/// After an error `path` is as it was, or whole and new.
pub(super) fn write_atomically(
    dir: &dyn Dir,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let temporary = path.with_added_extension("tmp");
    let mut file = dir
        .create(&temporary)
        .map_err(Error::io("create", &temporary))?;
    let written =
        fill(&mut file).and_then(|()| file.sync().map_err(Error::io("write", &temporary)));
    drop(file);
    if let Err(error) = written {
        // The error matters more than the left-over, which the next open sweeps.
        let _ = dir.remove(&temporary);
        return Err(error);
    }
    dir.rename(&temporary, path)
        .map_err(Error::io("rename", &temporary))?;
    let folder = path.parent().expect("every file of ours lies in a folder");
    dir.sync_folder(folder).map_err(Error::io("sync", folder))
}
