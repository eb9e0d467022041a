//! One writer a database: an OS lock on `LOCK`, freed by the system however the process ends.
//!
//! The file's text names the holder, for the error of the next one ([`holder`]). A writer that closed in good order, with
//! nothing left unsealed, leaves [`CLOSED`] there: then a reader needs neither lock nor sled to see everything acknowledged.
//! After any other the next writer does not believe that the disk holds what it reads: an fsync may have failed.
//!
//! The lock belongs to the file, not to its name, and not to one process. What follows from it:
//!
//! - Whatever path leads to a folder (a link, a relative path, another mount), it is the same file, so there is one writer.
//! - Who moves the folder away, or removes it, or LOCK alone, and makes another in its place, has two files: then the first
//!   writer could go on under names that are now another's. So a writer asks before each write whether the file that it
//!   has locked still bears the name ([`Lock::check`]), and otherwise writes nothing any more.
//! - A process that forks gives its child a copy of the lock, which the database then keeps it from using and from letting
//!   go of. While such a child lives on after its parent was killed, the lock lives too.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::{Dir, write_atomically};
use super::holder::{self, CLOSED};
use super::layout::Layout;
use crate::error::{Error, Result};

pub(super) const NAME: &str = "LOCK";
/// More than the text ever has.
const MAX_BYTES: u64 = 1 << 16;

/// The folders that this process has locked.
static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The lock, held until dropped.
pub(super) struct Lock {
    file: File,
    root: PathBuf,
    dir: Arc<dyn Dir>,
    /// The last writer closed in good order.
    pub was_closed: bool,
}

impl Lock {
    /// Takes the lock and writes who holds it.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder's pid, start time and command.
    pub fn acquire(root: &Path, dir: &Arc<dyn Dir>) -> Result<Self> {
        let path = root.join(NAME);
        let (mut file, root) = loop {
            let file = dir.open(&path).map_err(Error::io("open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(locked(root, &path)),
                Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
            }
            // From now on without links: one that is led elsewhere must not lead this writer there.
            let root = fs::canonicalize(root).map_err(Error::io("open", root))?;
            // Somebody may have put another file in its place before it was locked.
            if bears_name(&file, &root.join(NAME)) {
                break (file, root);
            }
        };
        let path = root.join(NAME);
        let mut last = String::new();
        // Whatever else stands there says nothing.
        let is_text = (&file).take(MAX_BYTES).read_to_string(&mut last).is_ok();
        // Durable before the first acknowledgement: after a power cut `CLOSED` must not stand beside unsealed rows.
        dir.overwrite(&mut file, &holder::this_process())
            .and_then(|()| dir.sync_file(&path))
            .map_err(Error::io("write", &path))?;
        let lock = Self {
            file,
            root,
            dir: Arc::clone(dir),
            was_closed: is_text && last == CLOSED,
        };
        held().insert(lock.root.clone());
        Ok(lock)
    }

    /// The locked folder, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Is the folder still the one that was locked?
    ///
    /// # Errors
    /// [`Error::Replaced`] if it is not.
    pub fn check(&self) -> Result<()> {
        if bears_name(&self.file, &self.root.join(NAME)) {
            return Ok(());
        }
        let path = self.root.clone();
        Err(Error::Replaced { path })
    }

    /// For one who changed nothing.
    pub fn leave_as_found(&mut self) {
        if self.was_closed {
            self.mark_closed();
        }
    }

    /// Says that nothing is left unsealed. A failure only costs the next reader a recovery.
    pub fn mark_closed(&mut self) {
        let _ = self.dir.overwrite(&mut self.file, CLOSED);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        held().remove(&self.root);
        // Closing the file is not enough: a child that another thread is just starting holds a copy of it until it
        // becomes its own program, and the lock lives as long as any copy.
        let _ = self.file.unlock();
    }
}

/// Makes the LOCK of a database that nobody has opened yet and that has nothing unsealed.
pub(super) fn write_closed(layout: &Layout, dir: &dyn Dir) -> Result<()> {
    let path = layout.root().join(NAME);
    write_atomically(dir, &path, |out| {
        out.write_all(CLOSED.as_bytes())
            .map_err(Error::io("write", &path))
    })
}

fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Is this open file the one that the path names? Where the system does not tell, an open file cannot lose its name.
#[cfg(unix)]
fn bears_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let place = |file: fs::Metadata| (file.dev(), file.ino());
    let named = fs::metadata(path).map(place);
    named.is_ok_and(|named| file.metadata().map(place).is_ok_and(|ours| ours == named))
}

#[cfg(not(unix))]
fn bears_name(_file: &File, path: &Path) -> bool {
    path.exists()
}

fn locked(root: &Path, path: &Path) -> Error {
    let holder = holder::read(path);
    // The pid alone does not tell: in two containers both may be 1.
    let is_held = || fs::canonicalize(root).is_ok_and(|root| held().contains(&root));
    Error::Locked {
        path: root.to_path_buf(),
        here: holder::pid(&holder) == Some(std::process::id()) && is_held(),
        holder,
    }
}

/// Did the last writer close in good order? Then MANIFEST and segments hold everything acknowledged.
pub(super) fn was_closed(layout: &Layout) -> bool {
    fs::read_to_string(layout.root().join(NAME)).is_ok_and(|text| text == CLOSED)
}

#[cfg(test)]
mod tests {
    use super::super::dir::Disk;
    use super::*;

    #[test]
    fn the_second_writer_learns_the_first_ones_pid() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path(), folder.path());
        let dir = Disk::default().0;
        let mut first = Lock::acquire(layout.root(), &dir).expect("free");
        let refused = Lock::acquire(layout.root(), &dir)
            .err()
            .expect("held")
            .to_string();
        assert!(
            refused.contains(&format!(
                "in this process already (pid {}",
                std::process::id()
            )),
            "{refused}"
        );
        assert!(!was_closed(&layout));
        first.mark_closed();
        assert!(was_closed(&layout));
        drop(first);
        drop(Lock::acquire(layout.root(), &dir).expect("free again"));
        assert!(
            !was_closed(&layout),
            "a writer that vanished is not one that closed"
        );
    }

    #[test]
    fn a_pid_like_ours_in_another_container_is_not_this_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        // What a process of the same number would have: the lock, by another open file, and its name in the text.
        let other = File::create(&path).expect("made");
        other.try_lock().expect("free");
        fs::write(&path, holder::this_process()).expect("writes");
        let refused = Lock::acquire(folder.path(), &Disk::default().0);
        assert!(matches!(refused, Err(Error::Locked { here: false, .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_whose_file_was_replaced_holds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Disk::default().0;
        let first = Lock::acquire(folder.path(), &dir).expect("free");
        first.check().expect("it is there");
        fs::remove_file(folder.path().join(NAME)).expect("there");
        assert!(matches!(first.check(), Err(Error::Replaced { .. })));
        let second = Lock::acquire(folder.path(), &dir).expect("another file");
        assert!(matches!(first.check(), Err(Error::Replaced { .. })));
        second.check().expect("the one that is there");
    }
}
