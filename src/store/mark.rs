//! What must be in the catalog at least: `meta/ACKNOWLEDGED`.
//!
//! sled takes a damaged byte of its log for the log's end, and opens without what stood behind it. This file tells that
//! acknowledged calls are gone by that. It is a lower bound and no part of a commit: it is written after the fsync that makes a
//! call durable, and not synced itself, so after a power cut it may be older, or gone, and then proves less.
//!
//! One line: `vecdb-acknowledged <sequence number> <first> <next> <xxh3-64 of what stands before it, 16 hex digits>`. With the
//! catalog at this sequence number the write-ahead entries from `first` to before `next` are there.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::ops::Range;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

const NAME: &str = "ACKNOWLEDGED";
const HEAD: &str = "vecdb-acknowledged ";

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub seq: u64,
    pub first: u64,
    pub next: u64,
}

impl Mark {
    /// Reads it from sled's folder. `None` where there is none, and for anything that was not written whole: it then proves
    /// nothing.
    pub fn read(meta: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(meta.join(NAME)).ok()?)
    }

    /// Numbers of entries that are acknowledged and in no segment yet.
    pub fn unsealed(&self) -> Range<u64> {
        self.first..self.next
    }

    fn parse(text: &str) -> Option<Self> {
        let (said, sum) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        if sum != format!("{:016x}", xxh3_64(said.as_bytes())) {
            return None;
        }
        let mut numbers = said.strip_prefix(HEAD)?.split(' ').map(str::parse);
        let mut number = || numbers.next()?.ok();
        let (seq, first, next) = (number()?, number()?, number()?);
        (first <= next).then_some(Self { seq, first, next })
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seq, first, next } = self;
        let said = format!("{HEAD}{seq} {first} {next}");
        writeln!(f, "{said} {:016x}", xxh3_64(said.as_bytes()))
    }
}

/// The file, open for the writer. Without it, as on a full disk, everything works and less is proved.
pub(super) struct MarkFile(Option<File>);

impl MarkFile {
    pub fn open(meta: &Path) -> Self {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        Self(options.open(meta.join(NAME)).ok())
    }

    /// Replaces what it says. Not durable, and a failure costs no more than the proof.
    pub fn put(&mut self, mark: Mark) {
        if let Some(file) = &mut self.0 {
            let text = mark.to_string();
            let written = file
                .rewind()
                .and_then(|()| file.write_all(text.as_bytes()))
                .and_then(|()| file.set_len(text.len() as u64));
            // Half of it proves nothing, and that is what is said of it.
            let _ = written;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_no_changed_or_missing_byte_makes_another_of_it() {
        let mark = Mark {
            seq: 12,
            first: 3,
            next: 1_007,
        };
        let text = mark.to_string();
        assert_eq!(Mark::parse(&text), Some(mark));
        for at in 0..text.len() {
            assert_eq!(Mark::parse(&text[..at]), None, "cut at {at}");
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).expect("still ASCII");
            assert_eq!(Mark::parse(&changed), None, "byte {at}");
        }
    }
}
