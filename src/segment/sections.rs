//! The file's bytes → sections whose checksums were compared.
//!
//! Everything read here is checked before it is believed; nothing here panics on bytes from disk.
//!
//! Threads share it without locks, since the bytes never change:
//!
//! - A bit in `verified` says that a block of the file has its checksum. That stays true, and no other memory is handed over
//!   by it, so it is set and read relaxed: a thread that does not see it yet verifies the block once more, to the same end.
//!   One whose bit is not set was never found right, and a damaged one never gets its bit, so every thread meets the damage.
//! - `pinned` and `damage` are set once, whole, and hand over what they hold. A thread that took its slice before a section
//!   was copied reads on in the map, which lives as long: both hold the same bytes, and the copy is made of verified ones.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{
    ALIGNMENT, BLOCK_BYTES, END_MAGIC, HEADER_BYTES, Header, Kind, TABLE_ENTRY_BYTES,
    TRAILER_BYTES, u32_at, u64_at,
};
use super::map::{Map, MapSlice};
use crate::error::{Error, Result};

/// A thread verifies so many blocks at once,
const BLOCKS_AT_ONCE: usize = 16;
/// and there are threads from so many on: waking them takes as long as verifying a few.
const BLOCKS_FOR_THREADS: usize = 64;

struct Section {
    range: Range<usize>,
    /// Index of its first block in `Sections::checksums`.
    first_block: usize,
}

impl Section {
    /// Where a block lies in the section.
    fn block(&self, block: usize) -> Range<usize> {
        let start = block * BLOCK_BYTES;
        start..self.range.len().min(start + BLOCK_BYTES)
    }
}

/// A file's sections: where they lie, and which of their blocks are known to be as they were written.
pub(super) struct Sections {
    path: PathBuf,
    map: Arc<Map>,
    header: Header,
    /// In the order of [`Kind::ALL`].
    table: Vec<Section>,
    footer_start: usize,
    checksums: Vec<u64>,
    /// Copies of sections in memory, read instead of the map.
    pinned: OnceLock<Vec<(Kind, Map)>>,
    /// One bit a block: verified since the file was opened.
    verified: Vec<AtomicU64>,
    /// The first damage met while another library was reading through us.
    damage: OnceLock<(u64, String)>,
}

impl Sections {
    /// Reads header and footer and verifies the small sections.
    pub fn open(map: Map, path: &Path) -> Result<Self> {
        let sections = Self::frame(map, path)?;
        sections.check_padding()?;
        for &kind in Kind::ALL.iter().filter(|kind| kind.is_small()) {
            sections.verify(kind)?;
        }
        Ok(sections)
    }

    /// Reads header and footer: where things lie, and their checksums.
    pub fn frame(map: Map, path: &Path) -> Result<Self> {
        let bytes = map.bytes();
        let header = Header::read(bytes, path)?;
        let footer_start = read_trailer(bytes, path)?;
        let (table, checksums) = read_table(
            &bytes[footer_start..bytes.len() - TRAILER_BYTES],
            footer_start,
            header.version,
            path,
        )?;
        let verified = (0..checksums.len().div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        let (path, map, damage) = (path.to_path_buf(), Arc::new(map), OnceLock::new());
        Ok(Self {
            path,
            map,
            header,
            table,
            footer_start,
            checksums,
            pinned: OnceLock::new(),
            verified,
            damage,
        })
    }

    /// The bytes between sections belong to no block, so they are compared with what they must be.
    fn check_padding(&self) -> Result<()> {
        let sections: Vec<_> = Kind::of_version(self.header.version)
            .map(|kind| &self.table[kind.place()].range)
            .collect();
        let starts = sections.iter().skip(1).map(|range| range.start);
        for (section, next) in sections.iter().zip(starts.chain([self.footer_start])) {
            let end = section.end;
            let padding = &self.map.bytes()[end..next];
            if let Some(at) = padding.iter().position(|&byte| byte != 0) {
                let what = "the padding behind a section is not zero";
                return Err(Error::damaged(&self.path, (end + at) as u64, what));
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn header(&self) -> Header {
        self.header
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// Where the section lies in the file.
    pub fn range(&self, kind: Kind) -> Range<usize> {
        self.table[kind.place()].range.clone()
    }

    /// The section's bytes, verified or not.
    pub fn bytes(&self, kind: Kind) -> &[u8] {
        let range = self.range(kind);
        let pinned = self.pinned.get().into_iter().flatten();
        match pinned.into_iter().find(|(pinned, _)| *pinned == kind) {
            Some((_, copy)) => &copy.bytes()[..range.len()],
            None => &self.map.bytes()[range],
        }
    }

    /// Verifies sections and copies them into memory, from where they are read from now on.
    pub fn pin(&self, kinds: &[Kind]) -> Result<()> {
        let copy = |&kind: &Kind| {
            self.verify_once(kind)?;
            Ok((
                kind,
                Map::pin(&self.map.bytes()[self.range(kind)], &self.path)?,
            ))
        };
        let copies = kinds.iter().map(copy).collect::<Result<_>>()?;
        // Another thread may have come first, to the same end.
        let _ = self.pinned.set(copies);
        Ok(())
    }

    /// An error at a byte of a section.
    pub fn damaged(&self, kind: Kind, at: usize, what: &str) -> Error {
        let offset = (self.range(kind).start + at) as u64;
        Error::damaged(&self.path, offset, format!("{}: {what}", kind.label()))
    }

    /// `Err` unless the section has exactly so many bytes.
    pub fn expect_length(&self, kind: Kind, expected: Option<usize>) -> Result<()> {
        if expected == Some(self.range(kind).len()) {
            Ok(())
        } else {
            Err(self.damaged(kind, 0, "its length does not fit the header"))
        }
    }

    /// Compares every block's checksum.
    pub fn verify(&self, kind: Kind) -> Result<()> {
        let length = self.range(kind).len();
        self.verify_blocks(kind, 0..length.div_ceil(BLOCK_BYTES), true)
    }

    /// Compares the checksum of every block that was not yet compared; on all threads of the current rayon pool where
    /// there are many.
    pub fn verify_once(&self, kind: Kind) -> Result<()> {
        let blocks = self.range(kind).len().div_ceil(BLOCK_BYTES);
        if blocks < BLOCKS_FOR_THREADS {
            return self.verify_blocks(kind, 0..blocks, false);
        }
        let pieces = (0..blocks).into_par_iter().step_by(BLOCKS_AT_ONCE);
        pieces.try_for_each(|first| {
            let end = blocks.min(first + BLOCKS_AT_ONCE);
            self.verify_blocks(kind, first..end, false)
        })
    }

    /// A part of a section, which must lie inside it. Its blocks are verified the first time they are read.
    pub fn verified(&self, kind: Kind, part: Range<usize>) -> Result<&[u8]> {
        self.verify_blocks(
            kind,
            part.start / BLOCK_BYTES..part.end.div_ceil(BLOCK_BYTES),
            false,
        )?;
        Ok(&self.bytes(kind)[part])
    }

    /// Reads a part of a section, which must lie inside it, without making it resident: a mapped page that is read once
    /// brings sixteen with it, and a block that is verified all of its own. Blocks are verified the first time, as ever.
    pub fn read(&self, kind: Kind, part: Range<usize>, bytes: &mut Vec<u8>) -> Result<()> {
        let section = &self.table[kind.place()];
        let read = |part: Range<usize>, bytes: &mut Vec<u8>| {
            bytes.resize(part.len(), 0);
            let read = self.map.read_at(section.range.start + part.start, bytes);
            read.map_err(Error::io("read", &self.path))
        };
        for block in part.start / BLOCK_BYTES..part.end.div_ceil(BLOCK_BYTES) {
            if !self.is_verified(kind, block) {
                read(section.block(block), bytes)?;
                self.verify_block(kind, block, bytes)?;
            }
        }
        read(part, bytes)
    }

    /// The same for a reader that is not ours: it keeps the map, may ask for anything, and forgets why it failed.
    pub fn checked(&self, kind: Kind, part: Range<usize>) -> Result<MapSlice> {
        let section = self.range(kind);
        if part.start > part.end || part.end > section.len() {
            return Err(self.remember(self.damaged(kind, 0, "a reader was sent beyond its end")));
        }
        self.verified(kind, part.clone())
            .map_err(|e| self.remember(e))?;
        Ok(MapSlice::new(
            Arc::clone(&self.map),
            section.start + part.start..section.start + part.end,
        ))
    }

    /// The first damage that [`checked`](Self::checked) met, or else an error at the start of `kind`.
    pub fn first_damage(&self, kind: Kind, what: &str) -> Error {
        match self.damage.get() {
            Some((offset, what)) => Error::damaged(&self.path, *offset, what.as_str()),
            None => self.damaged(kind, 0, what),
        }
    }

    fn remember(&self, error: Error) -> Error {
        if let Error::Damaged { offset, what, .. } = &error {
            self.damage.get_or_init(|| (*offset, what.clone()));
        }
        error
    }

    fn verify_blocks(&self, kind: Kind, blocks: Range<usize>, again: bool) -> Result<()> {
        let section = &self.table[kind.place()];
        let bytes = &self.map.bytes()[section.range.clone()];
        for block in blocks {
            if again || !self.is_verified(kind, block) {
                self.verify_block(kind, block, &bytes[section.block(block)])?;
            }
        }
        Ok(())
    }

    #[inline]
    fn is_verified(&self, kind: Kind, block: usize) -> bool {
        let index = self.table[kind.place()].first_block + block;
        self.verified[index / 64].load(Ordering::Relaxed) & (1 << (index % 64)) != 0
    }

    /// Compares the checksum of a block, wherever its bytes were read from.
    fn verify_block(&self, kind: Kind, block: usize, bytes: &[u8]) -> Result<()> {
        let index = self.table[kind.place()].first_block + block;
        if xxh3_64(bytes) != self.checksums[index] {
            let at = block * BLOCK_BYTES;
            return Err(self.damaged(kind, at, "the checksum of a block differs"));
        }
        self.verified[index / 64].fetch_or(1 << (index % 64), Ordering::Relaxed);
        Ok(())
    }
}

/// Checks the file's last bytes and the footer's checksum. Returns where the footer starts.
fn read_trailer(bytes: &[u8], path: &Path) -> Result<usize> {
    let damaged = |offset: usize, what: &str| Err(Error::damaged(path, offset as u64, what));
    let Some((body, trailer)) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
        return damaged(bytes.len(), "the file is shorter than a footer");
    };
    let end = body.len();
    if trailer[24..] != END_MAGIC {
        return damaged(
            end + 24,
            "it does not end as a segment does: it was cut short, or never finished",
        );
    }
    let start = u64_at(trailer, 0).and_then(|start| usize::try_from(start).ok());
    let Some(start) =
        start.filter(|&start| start <= end && start >= HEADER_BYTES && start % ALIGNMENT == 0)
    else {
        return damaged(end, "the footer lies outside the file");
    };
    if u64_at(trailer, 8) != Some(bytes.len() as u64) {
        return damaged(
            end + 8,
            "the file has another length than when it was written",
        );
    }
    if u64_at(trailer, 16) != Some(xxh3_64(&bytes[start..end + 16])) {
        return damaged(start, "the footer's checksum differs");
    }
    Ok(start)
}

/// Section table and checksums, from the footer without its trailer.
fn read_table(
    footer: &[u8],
    footer_start: usize,
    version: u32,
    path: &Path,
) -> Result<(Vec<Section>, Vec<u64>)> {
    let kinds: Vec<Kind> = Kind::of_version(version).collect();
    let damaged = |at: usize, what: &str| Error::damaged(path, (footer_start + at) as u64, what);
    if u64_at(footer, 0) != Some(kinds.len() as u64) {
        return Err(damaged(
            0,
            "the section table has another number of sections than the format",
        ));
    }
    // A section that the version does not have is empty.
    let mut table: Vec<Section> = Kind::ALL
        .iter()
        .map(|_| Section {
            range: 0..0,
            first_block: 0,
        })
        .collect();
    let (mut expected_start, mut blocks) = (0, 0);
    for (nth, &kind) in kinds.iter().enumerate() {
        let at = 8 + nth * TABLE_ENTRY_BYTES;
        let start = u64_at(footer, at + 8).and_then(|start| usize::try_from(start).ok());
        let length = u64_at(footer, at + 16).and_then(|length| usize::try_from(length).ok());
        let end = start
            .zip(length)
            .and_then(|(start, length)| start.checked_add(length));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(damaged(at, "the section table is cut short"));
        };
        if u32_at(footer, at) != Some(kind as u32) || u32_at(footer, at + 4) != Some(0) {
            return Err(damaged(at, "the section table names an unknown section"));
        }
        if start != expected_start || end > footer_start {
            return Err(damaged(at + 8, "a section lies where it cannot lie"));
        }
        table[kind.place()] = Section {
            range: start..end,
            first_block: blocks,
        };
        blocks += (end - start).div_ceil(BLOCK_BYTES);
        expected_start = end.next_multiple_of(ALIGNMENT);
    }
    if expected_start != footer_start {
        return Err(damaged(
            0,
            "the sections do not end where the footer starts",
        ));
    }
    let sums = &footer[8 + kinds.len() * TABLE_ENTRY_BYTES..];
    if sums.len() != blocks * 8 {
        return Err(damaged(
            0,
            "the footer has another number of checksums than the sections have blocks",
        ));
    }
    let checksums = sums
        .as_chunks::<8>()
        .0
        .iter()
        .map(|sum| u64::from_le_bytes(*sum))
        .collect();
    Ok((table, checksums))
}
