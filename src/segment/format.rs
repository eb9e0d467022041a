//! The file's frame: magic numbers, sections by kind, the header. `FORMAT.md` describes the bytes.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

/// The format that this code writes. It reads all from 1 on.
pub(super) const VERSION: u32 = 5;
/// Sections start on multiples of this.
pub(super) const ALIGNMENT: usize = 64;
/// One checksum covers so many bytes of a section.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"VECDBSEG";
pub(super) const END_MAGIC: [u8; 8] = *b"VECDBEND";
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const TRAILER_BYTES: usize = 32;
pub(super) const TABLE_ENTRY_BYTES: usize = 24;

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

            /// Its place in [`Kind::ALL`].
            #[inline]
            pub const fn place(self) -> usize {
                // The variants count themselves here, so that a search reads a table and no list of kinds.
                enum Place { $($name),* }
                match self { $(Self::$name => Place::$name as usize,)* }
            }

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
    /// The row in each slot.
    Order = 14, "the order of the rows";
    /// Recall by nodes kept.
    Calibration = 15, "the calibration";
    /// Scale and errors of the int4 codes.
    Int4Quantiser = 23, "the int4 quantiser";
    /// int4 codes, rows padded to 64 bytes.
    Int4Codes = 24, "the int4 codes";
    /// Hash of what the encoder was given, for each row.
    InputHashes = 25, "the input hashes";
    /// Rows that have such a hash, sorted by it.
    InputOrder = 26, "the order of the input hashes";
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
    /// Verified by every open. The others are verified where they are first read.
    pub fn is_small(self) -> bool {
        (self as u32) <= Self::RowDocuments as u32
            || matches!(self, Self::Calibration | Self::Int4Quantiser)
    }

    /// Is it a file of tantivy's?
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn is_text(self) -> bool {
        (Self::TextMeta as u32..=Self::TextNorms as u32).contains(&(self as u32))
    }

    /// The sections of a version's files, in their order.
    pub fn of_version(version: u32) -> impl Iterator<Item = Self> {
        let since = |kind: Self| match kind {
            Self::Order | Self::Calibration => 2,
            Self::Int4Quantiser | Self::Int4Codes => 3,
            Self::InputHashes | Self::InputOrder => 5,
            _ => 1,
        };
        let all = Self::ALL.iter().copied();
        all.filter(move |&kind| version >= since(kind))
    }
}

/// The counts that give every section's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u32,
    pub metric: u32,
    pub dimension: u32,
    pub rows: u32,
    pub documents: u32,
}

impl Header {
    /// The header as it stands in the file.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        for (at, value) in [
            self.version,
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

    /// Reads and verifies the header.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Self> {
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
        if found == 0 {
            return damaged(8, "the format version is none that was ever written");
        }
        Ok(Self {
            version: found,
            metric: field(1),
            dimension: field(2),
            rows: field(3),
            documents: field(4),
        })
    }
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
