//! Every change that we make to files, behind one trait, so that tests can make each of them fail and cut the power after it.
//!
//! Three things go past it: what sled does in its own folder, of which only the fsyncs around it are ours; what nothing rests
//! on, the mark in that folder and copies of it to look at; and migrations, which have their own package and their own tests of
//! this kind. Reading needs no trait.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::scratch::ScratchFile;

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
    /// Makes a file durable that was written past this trait, or opened by [`Dir::open`].
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Writes over a file what it holds already, so that the next fsync writes all of it: after one that failed the system
    /// may take what it could not write for written.
    fn rewrite(&self, path: &Path) -> io::Result<()>;
    /// Opens a file to be read and written in place; an empty one if it is absent.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Replaces what such a file says. Not durable before [`Dir::sync_file`].
    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()>;
    /// A nameless file in a folder. Nothing of it is ever to be durable.
    fn scratch(&self, folder: &Path) -> io::Result<Box<dyn ScratchFile>>;
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

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            file.seek(SeekFrom::Start(at))?;
            let read = match file.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes[..read])?;
            at += read as u64;
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path)
    }

    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()> {
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        // Cut last: a full disk has no block to give for one that was let go of.
        file.set_len(text.len() as u64)
    }

    fn scratch(&self, folder: &Path) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(tempfile::tempfile_in(folder)?))
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

/// Makes a folder and those around it, where they are absent, with names that a power cut does not take.
pub(super) fn create_folder_durably(dir: &dyn Dir, folder: &Path) -> io::Result<()> {
    let absent = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made: Vec<&Path> = folder.ancestors().take_while(absent).collect();
    dir.create_folder(folder)?;
    made.into_iter()
        .try_for_each(|made| dir.sync_folder(around(made)))
}

/// The folder in which a folder lies.
pub(super) fn around(folder: &Path) -> &Path {
    folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
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
    let renamed = written.and_then(|()| {
        dir.rename(&temporary, path)
            .map_err(Error::io("rename", &temporary))
    });
    if let Err(error) = renamed {
        // The error matters more than the left-over, which the next open sweeps.
        let _ = dir.remove(&temporary);
        return Err(error);
    }
    let folder = folder_of(path);
    dir.sync_folder(folder).map_err(Error::io("sync", folder))
}

/// The folder that a file of ours lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().expect("every file of ours lies in a folder")
}
