//! Tombstones: the rows of a segment that are deleted, `segments/<ulid>.<gen>.del`. Written beside the segment, never in it.
//!
//!   0         8         12            16             24                 24 + n    32 + n
//!   │VECDBDEL │ version │ segment rows│ bitmap bytes n│ roaring, portable │ xxh3-64 │
//!
//! Little-endian; the checksum covers everything before it.

use std::io::Write;
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{u32_at, u64_at};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"VECDBDEL";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;

/// Writes the deleted rows of a segment that has `segment_rows` rows.
///
/// # Errors
/// [`Error::Io`] if `out` fails.
pub(crate) fn write(rows: &RoaringBitmap, segment_rows: u32, out: &mut dyn Write) -> Result<()> {
    let failed = |source| Error::Io {
        action: "write",
        path: PathBuf::from("the tombstones"),
        source,
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + rows.serialized_size() + 8);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(segment_rows.to_le_bytes());
    bytes.extend((rows.serialized_size() as u64).to_le_bytes());
    rows.serialize_into(&mut bytes).map_err(failed)?;
    bytes.extend(xxh3_64(&bytes).to_le_bytes());
    out.write_all(&bytes).map_err(failed)
}

/// Reads the deleted rows of a segment that has `segment_rows` rows.
///
/// # Errors
/// [`Error::Io`]; [`Error::NewerFormat`]; [`Error::Damaged`] if the bytes are not as written, or belong to a segment with
/// another number of rows.
pub(crate) fn read(path: &Path, segment_rows: u32) -> Result<RoaringBitmap> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    parse(&bytes, path, segment_rows)
}

/// The same of the file's bytes; `path` stands for it in errors.
pub(crate) fn parse(bytes: &[u8], path: &Path, segment_rows: u32) -> Result<RoaringBitmap> {
    let damaged = |offset: usize, what: &str| Error::damaged(path, offset as u64, what);
    let Some((body, checksum)) = bytes
        .split_last_chunk::<8>()
        .filter(|(body, _)| body.len() >= HEADER_BYTES)
    else {
        return Err(damaged(bytes.len(), "the file is shorter than its header"));
    };
    if body[..8] != MAGIC {
        return Err(damaged(0, "it does not start as tombstones do"));
    }
    if u64::from_le_bytes(*checksum) != xxh3_64(body) {
        return Err(damaged(body.len(), "the checksum differs"));
    }
    match u32_at(body, 8) {
        Some(VERSION) => {}
        Some(found) if found > VERSION => {
            return Err(Error::NewerFormat {
                path: path.to_path_buf(),
                found,
                supported: VERSION,
            });
        }
        _ => {
            return Err(damaged(
                8,
                "the format version is none that was ever written",
            ));
        }
    }
    if u32_at(body, 12) != Some(segment_rows) {
        return Err(damaged(
            12,
            "the tombstones belong to a segment with another number of rows",
        ));
    }
    let bitmap = &body[HEADER_BYTES..];
    if u64_at(body, 16) != Some(bitmap.len() as u64) {
        return Err(damaged(16, "the bitmap has another length"));
    }
    let rows = RoaringBitmap::deserialize_from(bitmap)
        .map_err(|e| damaged(HEADER_BYTES, &e.to_string()))?;
    if rows.max().is_some_and(|row| row >= segment_rows) {
        return Err(damaged(
            HEADER_BYTES,
            "a row is marked that the segment does not have",
        ));
    }
    Ok(rows)
}
