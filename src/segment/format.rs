//! The file's frame: header, sections, footer, checksums. `FORMAT.md` describes the bytes.
//!
//! Everything read here is checked before it is believed; nothing here panics on bytes from disk.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::map::{Map, MapSlice};
use crate::error::{Error, Result};

/// The format that this code writes, and the only one that it reads.
pub(super) const VERSION: u32 = 1;
/// Sections start on multiples of this.
pub(super) const ALIGNMENT: usize = 64;
/// One checksum covers so many bytes of a section.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"VECDBSEG";
const END_MAGIC: [u8; 8] = *b"VECDBEND";
const HEADER_BYTES: usize = 64;
const TRAILER_BYTES: usize = 32;
const TABLE_ENTRY_BYTES: usize = 24;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// What a section holds. The codes are part of the format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub(super) enum Kind {
            $($(#[$doc])* $name = $code,)*
        }

        impl Kind {
            /// Every kind, in the order in which the sections stand in the file.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in errors.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}
kinds! {
    /// Format, metric, dimension, counts.
    Header = 0, "the header";
    /// The encoder's fingerprint, UTF-8.
    Fingerprint = 1, "the fingerprint";
    /// Error bounds, scale and centre μ of the codes.
    Quantiser = 2, "the quantiser";
    /// One entry a document.
    Documents = 3, "the document table";
    /// The documents' ids, one behind the other.
    Ids = 4, "the ids";
    /// Document ordinals, sorted by id.
    IdOrder = 5, "the order of the ids";
    /// Start and end of every row's passage.
    RowRanges = 6, "the passage ranges";
    /// Every row's document.
    RowDocuments = 7, "the documents of the rows";
    /// Where walks start.
    Seeds = 8, "the graph's seeds";
    /// Nodes that no walk reaches.
    Orphans = 9, "the graph's orphans";
    /// Rows that share another row's code.
    Twins = 10, "the twins";
    /// Fixed-width neighbour lists.
    Neighbours = 11, "the graph";
    /// int8 codes, rows padded to 64 bytes.
    Codes = 12, "the codes";
    /// f32 rows.
    Vectors = 13, "the vectors";
    /// tantivy's `meta.json`.
    TextMeta = 16, "the text index's description";
    /// tantivy's fast fields.
    TextFast = 17, "the fields";
    /// tantivy's document store.
    TextStore = 18, "the stored text";
    /// tantivy's term dictionary.
    TextTerms = 19, "the terms";
    /// tantivy's postings.
    TextPostings = 20, "the postings";
    /// tantivy's positions.
    TextPositions = 21, "the positions";
    /// tantivy's field norms.
    TextNorms = 22, "the field norms";
}

impl Kind {
    /// Verified by every open. The others are verified where they are read (text) or by `Segment::verify` (vectors).
    pub fn is_small(self) -> bool {
        (self as u32) <= Self::Neighbours as u32
    }
}

/// The counts that give every section's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub metric: u32,
    pub dimension: u32,
    pub rows: u32,
    pub documents: u32,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        for (at, value) in [
            VERSION,
            self.metric,
            self.dimension,
            self.rows,
            self.documents,
        ]
        .into_iter()
        .enumerate()
        {
            bytes[8 + 4 * at..12 + 4 * at].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..HEADER_BYTES - 8]);
        bytes[HEADER_BYTES - 8..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |offset, what: &str| Err(Error::damaged(path, offset, what));
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return damaged(0, "the file is shorter than a header");
        };
        if header[..8] != MAGIC {
            return damaged(0, "it does not start as a segment does");
        }
        if u64_at(header, HEADER_BYTES - 8) != Some(xxh3_64(&header[..HEADER_BYTES - 8])) {
            return damaged(8, "the header's checksum differs");
        }
        let field = |at: usize| u32_at(header, 8 + 4 * at).unwrap_or_default();
        let found = field(0);
        if found > VERSION {
            return Err(Error::NewerFormat {
                path: path.to_path_buf(),
                found,
                supported: VERSION,
            });
        }
        if found != VERSION {
            return damaged(8, "the format version is none that was ever written");
        }
        Ok(Self {
            metric: field(1),
            dimension: field(2),
            rows: field(3),
            documents: field(4),
        })
    }
}

/// Writes sections one behind the other, with checksums as it goes.
pub(super) struct SegmentWriter<'a> {
    out: &'a mut dyn Write,
    position: u64,
    hasher: Xxh3,
    in_block: usize,
    table: Vec<(Kind, Range<u64>)>,
    checksums: Vec<u64>,
}

impl<'a> SegmentWriter<'a> {
    /// Writes the header.
    pub fn new(out: &'a mut dyn Write, header: Header) -> io::Result<Self> {
        let hasher = Xxh3::new();
        let mut writer = Self {
            out,
            position: 0,
            hasher,
            in_block: 0,
            table: Vec::new(),
            checksums: Vec::new(),
        };
        writer.section(Kind::Header, |out| out.write_all(&header.to_bytes()))?;
        Ok(writer)
    }

    /// Writes one section. Sections come in the order of [`Kind::ALL`].
    pub fn section(
        &mut self,
        kind: Kind,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        debug_assert_eq!(
            Kind::ALL.get(self.table.len()),
            Some(&kind),
            "sections come in the format's order"
        );
        let start = self.position;
        body(self)?;
        if self.in_block > 0 {
            self.end_block();
        }
        self.table.push((kind, start..self.position));
        self.pad()
    }

    /// Writes the footer. Returns the file's length in bytes.
    pub fn finish(mut self) -> io::Result<u64> {
        let start = self.position;
        let mut footer = Vec::new();
        footer.extend((self.table.len() as u64).to_le_bytes());
        for (kind, range) in &self.table {
            footer.extend((*kind as u32).to_le_bytes());
            footer.extend(0u32.to_le_bytes());
            footer.extend(range.start.to_le_bytes());
            footer.extend((range.end - range.start).to_le_bytes());
        }
        footer.extend(self.checksums.iter().flat_map(|sum| sum.to_le_bytes()));
        let length = start + (footer.len() + TRAILER_BYTES) as u64;
        footer.extend(start.to_le_bytes());
        footer.extend(length.to_le_bytes());
        footer.extend(xxh3_64(&footer).to_le_bytes());
        footer.extend(END_MAGIC);
        self.out.write_all(&footer)?;
        self.position = length;
        Ok(length)
    }

    fn end_block(&mut self) {
        self.checksums.push(self.hasher.digest());
        self.hasher.reset();
        self.in_block = 0;
    }

    fn pad(&mut self) -> io::Result<()> {
        let rest = self.position.next_multiple_of(ALIGNMENT as u64) - self.position;
        self.out.write_all(&[0; ALIGNMENT][..rest as usize])?;
        self.position += rest;
        Ok(())
    }
}

impl Write for SegmentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.in_block);
        let bytes = &bytes[..taken];
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.position += taken as u64;
        self.in_block += taken;
        if self.in_block == BLOCK_BYTES {
            self.end_block();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Section {
    range: Range<usize>,
    /// Index of its first block in `Sections::checksums`.
    first_block: usize,
}

/// A file's sections: where they lie, and which of their blocks are known to be as they were written.
pub(super) struct Sections {
    path: PathBuf,
    map: Arc<Map>,
    header: Header,
    /// In the order of [`Kind::ALL`].
    table: Vec<Section>,
    checksums: Vec<u64>,
    /// One bit a block: verified since the file was opened.
    verified: Vec<AtomicU64>,
    /// The first damage met while another library was reading through us.
    damage: OnceLock<(u64, String)>,
}

impl Sections {
    /// Reads header and footer and verifies the small sections.
    pub fn open(map: Map, path: &Path) -> Result<Self> {
        let bytes = map.bytes();
        let header = Header::read(bytes, path)?;
        let footer_start = read_trailer(bytes, path)?;
        let (table, checksums) = read_table(
            &bytes[footer_start..bytes.len() - TRAILER_BYTES],
            footer_start,
            path,
        )?;
        check_padding(bytes, &table, footer_start, path)?;
        let verified = (0..checksums.len().div_ceil(64))
            .map(|_| AtomicU64::new(0))
            .collect();
        let (path, map, damage) = (path.to_path_buf(), Arc::new(map), OnceLock::new());
        let sections = Self {
            path,
            map,
            header,
            table,
            checksums,
            verified,
            damage,
        };
        for &kind in Kind::ALL.iter().filter(|kind| kind.is_small()) {
            sections.verify(kind)?;
        }
        Ok(sections)
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
        let at = Kind::ALL
            .iter()
            .position(|&k| k == kind)
            .expect("ALL lists every kind");
        self.table[at].range.clone()
    }

    /// The section's bytes, verified or not.
    pub fn bytes(&self, kind: Kind) -> &[u8] {
        &self.map.bytes()[self.range(kind)]
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

    /// A part of a section whose blocks are verified, the first time they are read.
    pub fn checked(&self, kind: Kind, part: Range<usize>) -> Result<MapSlice> {
        let section = self.range(kind);
        if part.start > part.end || part.end > section.len() {
            return Err(self.remember(self.damaged(kind, 0, "a reader was sent beyond its end")));
        }
        self.verify_blocks(
            kind,
            part.start / BLOCK_BYTES..part.end.div_ceil(BLOCK_BYTES),
            false,
        )
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
        let at = Kind::ALL
            .iter()
            .position(|&k| k == kind)
            .expect("ALL lists every kind");
        let section = &self.table[at];
        let bytes = &self.map.bytes()[section.range.clone()];
        for block in blocks {
            let index = section.first_block + block;
            let (word, bit) = (&self.verified[index / 64], 1u64 << (index % 64));
            if !again && word.load(Ordering::Relaxed) & bit != 0 {
                continue;
            }
            let start = block * BLOCK_BYTES;
            let end = bytes.len().min(start + BLOCK_BYTES);
            if xxh3_64(&bytes[start..end]) != self.checksums[index] {
                return Err(self.damaged(kind, start, "the checksum of a block differs"));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
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
fn read_table(footer: &[u8], footer_start: usize, path: &Path) -> Result<(Vec<Section>, Vec<u64>)> {
    let damaged = |at: usize, what: &str| Error::damaged(path, (footer_start + at) as u64, what);
    if u64_at(footer, 0) != Some(Kind::ALL.len() as u64) {
        return Err(damaged(
            0,
            "the section table has another number of sections than the format",
        ));
    }
    let mut table = Vec::with_capacity(Kind::ALL.len());
    let (mut expected_start, mut blocks) = (0, 0);
    for (nth, &kind) in Kind::ALL.iter().enumerate() {
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
        table.push(Section {
            range: start..end,
            first_block: blocks,
        });
        blocks += (end - start).div_ceil(BLOCK_BYTES);
        expected_start = end.next_multiple_of(ALIGNMENT);
    }
    if expected_start != footer_start {
        return Err(damaged(
            0,
            "the sections do not end where the footer starts",
        ));
    }
    let sums = &footer[8 + Kind::ALL.len() * TABLE_ENTRY_BYTES..];
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

/// The bytes between sections belong to no block, so they are compared with what they must be.
fn check_padding(bytes: &[u8], table: &[Section], footer_start: usize, path: &Path) -> Result<()> {
    let starts = table
        .iter()
        .skip(1)
        .map(|section| section.range.start)
        .chain([footer_start]);
    for (section, next) in table.iter().zip(starts) {
        let end = section.range.end;
        if let Some(at) = bytes[end..next].iter().position(|&byte| byte != 0) {
            return Err(Error::damaged(
                path,
                (end + at) as u64,
                "the padding behind a section is not zero",
            ));
        }
    }
    Ok(())
}

/// The little-endian `u32` at byte `at`, if there are so many bytes.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u32::from_le_bytes(*chunk))
}

/// The little-endian `u64` at byte `at`, if there are so many bytes.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| u64::from_le_bytes(*chunk))
}
