//! One writer a database: an OS lock on `LOCK`, freed by the system however the process ends.
//!
//! The file's text names the holder, for the error of the next one. A writer that closed in good order, with nothing left
//! unsealed, leaves [`CLOSED`] there: then a reader needs neither lock nor sled to see everything acknowledged.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::dir::Dir;
use super::layout::Layout;
use crate::error::{Error, Result};

pub(super) const NAME: &str = "LOCK";
const CLOSED: &str = "closed\n";

/// The lock, held until dropped.
pub(super) struct Lock {
    file: File,
    dir: Arc<dyn Dir>,
}

impl Lock {
    /// Takes the lock and writes who holds it.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder's pid, start time and command.
    pub fn acquire(root: &Path, dir: &Arc<dyn Dir>) -> Result<Self> {
        let path = root.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked {
                    path: root.to_path_buf(),
                    holder: holder(&path),
                });
            }
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &path)(e)),
        }
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let command: Vec<_> = std::env::args_os()
            .take(2)
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        let text = format!(
            "pid {}, since {started} (Unix time), command: {}\n",
            std::process::id(),
            command.join(" ")
        );
        // Durable before the first acknowledgement: after a power cut `CLOSED` must not stand beside unsealed rows.
        dir.overwrite(&mut file, &text)
            .and_then(|()| dir.sync_file(&path))
            .map_err(Error::io("write", &path))?;
        let dir = Arc::clone(dir);
        Ok(Self { file, dir })
    }

    /// Says that nothing is left unsealed. A failure only costs the next reader a recovery.
    pub fn mark_closed(&mut self) {
        let _ = self.dir.overwrite(&mut self.file, CLOSED);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is just starting holds a copy of it until it
        // becomes its own program, and the lock lives as long as any copy.
        let _ = self.file.unlock();
    }
}

/// Did the last writer close in good order? Then MANIFEST and segments hold everything acknowledged.
pub(super) fn was_closed(layout: &Layout) -> bool {
    std::fs::read_to_string(layout.root().join(NAME)).is_ok_and(|text| text == CLOSED)
}

/// Who holds the lock, as the file says.
pub(super) fn holder(path: &Path) -> String {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(1024).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() && text != CLOSED => text.trim().to_owned(),
        _ => "which one is not known".to_owned(),
    }
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
            refused.contains(&format!("pid {}", std::process::id())),
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
}
