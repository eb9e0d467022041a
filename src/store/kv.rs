//! sled, made to keep what it acknowledges.
//!
//! What reading its source and tracing it showed, and what is done here about it:
//! - `flush()` on Linux only starts write-back (`sync_file_range`): [`Kv::apply`] fsyncs `meta/db` itself after it.
//! - Opening writes a snapshot, fsynced, of a log whose end may lie in the system's memory alone after a kill: [`settle`]
//!   fsyncs the log before, and writes it anew where an fsync may have failed.
//! - That snapshot's name is not fsynced before parts of the log are overwritten that are free by it. Without the snapshot
//!   such a log may not be readable, so [`Kv::open`] fsyncs the folder as soon as it can: a power cut in the milliseconds
//!   before, on a file system that would keep the later bytes and not the earlier name, can cost the write-ahead rows. What is
//!   sealed does not hang on it.
//! - Closing panics when an fsync fails: see [`Kv`]'s `Drop`.
//! - Values over a few KiB spill to `blobs/`, which is never fsynced: [`MAX_VALUE_BYTES`] keeps values below that.
//! - A batch is atomic in one tree, also across a crash, so everything lives in the default tree under prefixed keys.
//! - A node over about 128 KiB spills too, and an inner node holds up to 257 keys: ids are short
//!   ([`MAX_ID_BYTES`](crate::document::MAX_ID_BYTES)).
//! - It fsyncs neither a new store's `conf` nor any folder: see [`Kv::sync_new`] and [`Kv::open`].
//! - A kill while it writes a snapshot of its log leaves `snap.*.generating`, which the next open takes for a whole one and
//!   fails on: seen once in about 1,000 kills. [`Kv::open`] removes it first.
//! - The default cache is 1 GB; 32 MiB is plenty for ids.

use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dir::Dir;
use crate::error::{Error, Result};

/// Longer values must be split by the caller.
pub(super) const MAX_VALUE_BYTES: usize = 4_000;
const CACHE_BYTES: u64 = 32 << 20;
/// Only the holder of LOCK comes here, so sled's own lock can only be held by the copy of a file that a child process has
/// until it becomes its own program: a matter of milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Changes that become durable together.
#[derive(Default)]
pub(super) struct Batch(sled::Batch);

impl Batch {
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        debug_assert!(
            value.len() <= MAX_VALUE_BYTES,
            "{} bytes would spill to a blob",
            value.len()
        );
        self.0.insert(key, value);
    }

    pub fn remove(&mut self, key: Vec<u8>) {
        self.0.remove(key);
    }
}

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes on disk.
pub(super) struct Kv {
    /// `None` while it is dropped, and after an exchange of its folder that failed.
    db: Option<sled::Db>,
    folder: PathBuf,
    dir: Arc<dyn Dir>,
}

impl Kv {
    /// Opens or creates the store in `folder`.
    ///
    /// # Errors
    /// [`Error::Catalog`] if sled refuses, or panics on bytes it does not understand.
    pub fn open(folder: &Path, dir: &Arc<dyn Dir>) -> Result<Self> {
        remove_unfinished_snapshots(folder, &**dir)?;
        let give_up = Instant::now() + LOCK_PATIENCE;
        let opened = loop {
            let open = || {
                sled::Config::new()
                    .path(folder)
                    .cache_capacity(CACHE_BYTES)
                    .flush_every_ms(None)
                    .open()
            };
            match guarded(folder, || Ok(open()))? {
                Err(error) if is_locked(&error) && Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                opened => break opened,
            }
        };
        let db = opened.map_err(|e| told(folder, e))?;
        let kv = Self {
            db: Some(db),
            folder: folder.to_path_buf(),
            dir: Arc::clone(dir),
        };
        // Opening writes, too: first a snapshot in the place of the one before, and then over parts of the log that it says
        // are free.
        dir.sync_folder(folder).map_err(Error::io("sync", folder))?;
        kv.sync("db")?;
        Ok(kv)
    }

    /// Makes a new store's settings durable, which sled leaves to chance.
    pub fn sync_new(&self) -> Result<()> {
        self.sync("conf")
    }

    /// Runs `read` over this store. Damaged pages that make sled panic are an error.
    pub fn guarded<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        guarded(&self.folder, read)
    }

    /// Lets go of the folder. sled fsyncs when it closes, and panics when that fails: `false` then. All that was acknowledged
    /// was synced before.
    pub fn close(&mut self) -> bool {
        let db = self.db.take();
        catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok()
    }

    /// Lets go of the folder while `exchange` puts another in its place, and goes on with what is there then.
    pub fn exchange(&mut self, exchange: impl FnOnce() -> Result<()>) -> Result<()> {
        self.close();
        exchange()?;
        settle(&self.folder, &*self.dir, true)?;
        *self = Self::open(&self.folder.clone(), &Arc::clone(&self.dir))?;
        Ok(())
    }

    fn db(&self) -> Result<&sled::Db> {
        let closed = || {
            Error::catalog(
                &self.folder,
                "it could not be exchanged; open the database again",
            )
        };
        self.db.as_ref().ok_or_else(closed)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.db()?.get(key).map_err(|e| self.failed(e))?;
        Ok(value.map(|v| v.to_vec()))
    }

    /// All pairs whose key starts with `prefix`, by key.
    pub fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<Pair>> + use<'_> {
        let (db, closed) = match self.db() {
            Ok(db) => (Some(db), None),
            Err(error) => (None, Some(Err(error))),
        };
        let pairs = db.map(|db| db.scan_prefix(prefix));
        let pairs = pairs.into_iter().flatten().map(|pair| {
            let (key, value) = pair.map_err(|e| self.failed(e))?;
            Ok((key.to_vec(), value.to_vec()))
        });
        pairs.chain(closed)
    }

    /// Applies the whole batch; durable when it returns.
    pub fn apply(&self, batch: Batch) -> Result<()> {
        let db = self.db()?;
        db.apply_batch(batch.0).map_err(|e| self.failed(e))?;
        db.flush().map_err(|e| self.failed(e))?;
        self.sync("db")
    }

    fn sync(&self, name: &str) -> Result<()> {
        let file = self.folder.join(name);
        self.dir.sync_file(&file).map_err(Error::io("sync", &file))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn failed(&self, error: sled::Error) -> Error {
        told(&self.folder, error)
    }
}

impl Drop for Kv {
    fn drop(&mut self) {
        self.close();
    }
}

/// To be called before the store in `folder` is opened. What the last process wrote and did not live to sync is read back
/// from the system's memory: before anything is concluded from it, it must be as durable as it looks. Where that process did
/// not close in good order, an fsync of it may have failed. After that another one proves nothing, since the system may take
/// for written what it could not write: so all is written over with what it is first.
pub(super) fn settle(folder: &Path, dir: &dyn Dir, was_closed: bool) -> Result<()> {
    for path in files(folder)? {
        if !was_closed {
            dir.rewrite(&path).map_err(Error::io("rewrite", &path))?;
        }
        if !was_closed || path.ends_with("db") {
            dir.sync_file(&path).map_err(Error::io("sync", &path))?;
        }
    }
    Ok(())
}

/// Removes the snapshots of the log that a kill left half-written. sled would read them in the place of whole ones and
/// refuse to open. It renames a snapshot when it is whole and lets nothing depend on it before, so without them it stands
/// where it stood when it began to write them.
fn remove_unfinished_snapshots(folder: &Path, dir: &dyn Dir) -> Result<()> {
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            dir.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// The files in the store's folder; none if it is absent.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// sled panics on some damaged files instead of returning an error. Nothing of ours is shared with the closure, and what
/// was read is thrown away with the store.
fn guarded<T>(folder: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::catalog(folder, "sled could not read its files")))
}

/// sled's error as ours. That a disk is full, or that something may not be written, is no fault of the catalog.
fn told(folder: &Path, error: sled::Error) -> Error {
    use ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error {
        // It was waited for. A writer's child by fork keeps the copy of a file that the writer has closed.
        error if is_locked(&error) => Error::Locked {
            path: folder.parent().unwrap_or(folder).to_path_buf(),
            here: false,
            holder: "one forked from the last writer, with a copy of what that had open".into(),
        },
        sled::Error::Io(source)
            if matches!(
                source.kind(),
                StorageFull | QuotaExceeded | FileTooLarge | PermissionDenied | ReadOnlyFilesystem
            ) =>
        {
            Error::io("write", &folder.join("db"))(source)
        }
        error => Error::catalog(folder, error.to_string()),
    }
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}
