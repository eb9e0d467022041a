//! sled, made to keep what it acknowledges.
//!
//! What reading its source and tracing it showed, and what is done here about it:
//! - `flush()` on Linux only starts write-back (`sync_file_range`): [`Kv::apply`] fsyncs `meta/db` itself after it.
//! - Values over a few KiB spill to `blobs/`, which is never fsynced: [`MAX_VALUE_BYTES`] keeps values below that.
//! - A batch is atomic in one tree, also across a crash, so everything lives in the default tree under prefixed keys.
//! - A node over about 128 KiB spills too, and an inner node holds up to 257 keys: ids are short
//!   ([`MAX_ID_BYTES`](crate::document::MAX_ID_BYTES)).
//! - It fsyncs neither a new store's `conf` nor any folder: see [`Kv::sync_new`].
//! - A kill while it writes a snapshot of its log leaves `snap.*.generating`, which the next open takes for a whole one and
//!   fails on: seen once in about 1,000 kills. [`Kv::open`] removes it first.
//! - The default cache is 1 GB; 32 MiB is plenty for ids.

use std::fs;
use std::io::{self, ErrorKind};
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

/// An ordered map of bytes on disk.
pub(super) struct Kv {
    db: sled::Db,
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
        let db = opened.map_err(|e| told(folder, &e))?;
        let kv = Self {
            db,
            folder: folder.to_path_buf(),
            dir: Arc::clone(dir),
        };
        // What the last process wrote and did not live to sync is read back from memory: before anything is concluded
        // from it, it must be as durable as it looks.
        kv.sync("db")?;
        Ok(kv)
    }

    /// Makes a new store's files durable, which sled leaves to chance. The folder itself is the caller's.
    pub fn sync_new(&self) -> Result<()> {
        self.sync("conf")?;
        self.sync("db")
    }

    /// Runs `read` over this store. Damaged pages that make sled panic are an error.
    pub fn guarded<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        guarded(&self.folder, read)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.db.get(key).map_err(|e| self.failed(&e))?;
        Ok(value.map(|v| v.to_vec()))
    }

    /// All pairs whose key starts with `prefix`, by key.
    pub fn scan(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + use<'_> {
        self.db.scan_prefix(prefix).map(|pair| {
            let (key, value) = pair.map_err(|e| self.failed(&e))?;
            Ok((key.to_vec(), value.to_vec()))
        })
    }

    /// Applies the whole batch; durable when it returns.
    pub fn apply(&self, batch: Batch) -> Result<()> {
        self.db.apply_batch(batch.0).map_err(|e| self.failed(&e))?;
        self.db.flush().map_err(|e| self.failed(&e))?;
        self.sync("db")
    }

    fn sync(&self, name: &str) -> Result<()> {
        let file = self.folder.join(name);
        self.dir.sync_file(&file).map_err(Error::io("sync", &file))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn failed(&self, error: &sled::Error) -> Error {
        told(&self.folder, error)
    }
}

fn told(folder: &Path, error: &sled::Error) -> Error {
    match error {
        // It was waited for. A writer's child by fork keeps the copy of a file that the writer has closed.
        error if is_locked(error) => Error::Locked {
            path: folder.parent().unwrap_or(folder).to_path_buf(),
            here: false,
            holder: "one forked from the last writer, with a copy of what that had open".into(),
        },
        // What the system says: who may not write here, or has no space left, is told so, and may read all the same.
        sled::Error::Io(source) => match source.raw_os_error() {
            Some(code) => Error::io("use", folder)(io::Error::from_raw_os_error(code)),
            None => Error::catalog(folder, error.to_string()),
        },
        error => Error::catalog(folder, error.to_string()),
    }
}

/// Removes the snapshots of the log that a kill left half-written. sled would read them in the place of whole ones and
/// refuse to open. It renames a snapshot when it is whole and lets nothing depend on it before, so without them it stands
/// where it stood when it began to write them.
fn remove_unfinished_snapshots(folder: &Path, dir: &dyn Dir) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            dir.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// sled panics on some damaged files instead of returning an error. Nothing of ours is shared with the closure, and what
/// was read is thrown away with the store.
fn guarded<T>(folder: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::catalog(folder, "sled could not read its files")))
}

fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(e) if e.to_string().contains("could not acquire lock"))
}
