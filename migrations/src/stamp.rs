//! The file `FORMAT`: which format, which generation.
//!
//! One line of ASCII, `vecdb <format> <generation>` and a line feed; both are decimal numbers from 1 on without leading
//! zeros. This shape never changes, so that every version of vecdb, also the oldest, can tell what it has before it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::files::Files;
#[cfg(test)]
use crate::files::SystemFiles;
use crate::layout::{STAMP, STAMP_TEMPORARY};
use crate::{CURRENT_FORMAT, Error, Result};

/// The longest stamp: `vecdb`, a `u32`, a `u64`, two spaces and the line feed.
const MAX_BYTES: u64 = 5 + 1 + 10 + 1 + 20 + 1;

/// What `FORMAT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The format of the files, from 1.
    pub format: u32,
    /// Which generation is current, from 1. It grows by one with each migration.
    pub generation: u64,
}

/// Why bytes are no stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another program's file.
    Foreign,
    /// Ours, but not as we write it.
    Damaged(&'static str),
}

impl Stamp {
    /// The stamp of a new database.
    pub const NEW: Self = Self {
        format: CURRENT_FORMAT,
        generation: 1,
    };

    /// Where a database's stamp lies.
    pub fn path(database: &Path) -> PathBuf {
        database.join(STAMP)
    }

    /// Reads a database's stamp; `None` if the folder has none.
    ///
    /// # Errors
    /// [`Error::NotADatabase`] for another program's file of that name, [`Error::Damaged`] for a stamp that is not as it was
    /// written, and [`Error::Io`].
    pub fn read(database: &Path) -> Result<Option<Self>> {
        let path = database.join(STAMP);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        // One byte more than any stamp has shows that there is more.
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::io("read", &path))?;
        match Self::parse(&bytes) {
            Ok(stamp) => Ok(Some(stamp)),
            Err(Fault::Foreign) => {
                let what = "its file FORMAT was written by another program";
                Err(Error::NotADatabase {
                    path: database.to_path_buf(),
                    what,
                })
            }
            Err(Fault::Damaged(what)) => Err(Error::Damaged { path, what }),
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let rest = bytes.strip_prefix(b"vecdb ").ok_or(Fault::Foreign)?;
        let rest = rest
            .strip_suffix(b"\n")
            .ok_or(Fault::Damaged("it does not end with its first line"))?;
        let text = std::str::from_utf8(rest).map_err(|_| Fault::Damaged("it is not ASCII"))?;
        let (format, generation) = text
            .split_once(' ')
            .ok_or(Fault::Damaged("it has no generation"))?;
        let format = number(format).and_then(|number| u32::try_from(number).ok());
        let format = format.ok_or(Fault::Damaged(
            "its format is not a number from 1 to 4294967295",
        ))?;
        let generation = number(generation);
        let generation =
            generation.ok_or(Fault::Damaged("its generation is not a number from 1 on"))?;
        Ok(Self { format, generation })
    }

    #[cfg(test)]
    pub(crate) fn write(self, database: &Path) -> Result<()> {
        self.replace(&SystemFiles, database)
    }

    /// Puts the stamp in the place of the one before. The rename is the commit point; durable when it returns.
    pub(crate) fn replace(self, files: &dyn Files, database: &Path) -> Result<()> {
        let (path, temporary) = (database.join(STAMP), database.join(STAMP_TEMPORARY));
        files
            .write(&temporary, self.to_string().as_bytes())
            .map_err(Error::io("write", &temporary))?;
        files
            .sync(&temporary)
            .map_err(Error::io("sync", &temporary))?;
        files
            .rename(&temporary, &path)
            .map_err(Error::io("replace", &path))?;
        files.sync(database).map_err(Error::io("sync", database))
    }
}

/// All bytes of the file.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, generation } = self;
        writeln!(f, "vecdb {format} {generation}")
    }
}

/// A decimal number from 1 on, written the one way there is.
fn number(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_stamp_survives_being_written_and_read() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(Stamp::read(folder.path()).expect("readable"), None);
        for stamp in [
            Stamp::NEW,
            Stamp {
                format: u32::MAX,
                generation: u64::MAX,
            },
        ] {
            stamp.write(folder.path()).expect("written");
            assert_eq!(Stamp::read(folder.path()).expect("readable"), Some(stamp));
        }
        let names: Vec<_> = fs::read_dir(folder.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name())
            .collect();
        assert_eq!(names, ["FORMAT"], "no temporary file stays");
    }

    #[test]
    fn the_first_stamp_is_these_bytes_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        Stamp {
            format: 1,
            generation: 1,
        }
        .write(folder.path())
        .expect("written");
        assert_eq!(
            fs::read(folder.path().join("FORMAT")).expect("readable"),
            b"vecdb 1 1\n"
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        for (bytes, is_foreign) in [
            (&b""[..], true),
            (b"vecdb", true),
            (b"sqlite 1 1\n", true),
            (b"\xff\xfe\0", true),
            (b"vecdb ", false),
            (b"vecdb 1 1", false),
            (b"vecdb 1\n", false),
            (b"vecdb 1 1\n\n", false),
            (b"vecdb 1 1\r\n", false),
            (b"vecdb 0 1\n", false),
            (b"vecdb 1 0\n", false),
            (b"vecdb 01 1\n", false),
            (b"vecdb +1 1\n", false),
            (b"vecdb -1 1\n", false),
            (b"vecdb 1  1\n", false),
            (b"vecdb 1 1 \n", false),
            (b"vecdb 4294967296 1\n", false),
            (b"vecdb 1 18446744073709551616\n", false),
            (b"vecdb 1 \xff\n", false),
        ] {
            let fault = Stamp::parse(bytes).expect_err(&String::from_utf8_lossy(bytes));
            assert_eq!(fault == Fault::Foreign, is_foreign, "{bytes:?}: {fault:?}");
        }
    }

    #[test]
    fn every_cut_and_every_changed_bit_is_a_fault_or_another_stamp_and_never_a_panic() {
        let stamp = b"vecdb 12 3456\n";
        for end in 0..stamp.len() {
            Stamp::parse(&stamp[..end]).expect_err("cut off");
        }
        for at in 0..stamp.len() * 8 {
            let mut bytes = *stamp;
            bytes[at / 8] ^= 1 << (at % 8);
            assert_ne!(Stamp::parse(&bytes), Stamp::parse(stamp));
        }
    }

    #[test]
    fn a_long_file_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(
            folder.path().join(STAMP),
            format!("vecdb 1 1{}\n", "1".repeat(1 << 20)),
        )
        .expect("written");
        let error = Stamp::read(folder.path())
            .expect_err("too long")
            .to_string();
        assert!(
            error.contains("does not end with its first line"),
            "{error}"
        );
    }
}
