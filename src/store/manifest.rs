//! MANIFEST: what is current, for those who read without sled.
//!
//! Two lines: `vecdb-manifest 1 <xxh3-64 of the second line, 16 hex digits>` and one line of JSON. It is replaced by
//! rename, never written in place. Segments are named, never given a path.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::dir::{Dir, write_atomically};
use super::layout::Layout;
use crate::error::{Error, Result};
use crate::vector::Metric;

const HEAD: &str = "vecdb-manifest 1 ";

/// The state after one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Raised by one with every commit.
    pub seq: u64,
    /// The id that the next collection gets; ids are never used again.
    pub next_collection: u32,
    pub collections: Vec<CollectionRecord>,
}

/// A collection and its segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectionRecord {
    pub id: u32,
    /// What a user may not write, a control character, is in names that are the database's own: `database/versions/`.
    pub name: String,
    pub metric: Metric,
    /// `None` until the first text shows which encoder makes the vectors.
    pub dimension: Option<usize>,
    /// `None` for user-supplied vectors, and before the first text.
    pub encoder: Option<EncoderRecord>,
    /// Oldest first.
    pub segments: Vec<SegmentRecord>,
}

/// The encoder that made a collection's vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncoderRecord {
    /// The name of its folder. Where [`Layout::models`] has one of that name and of the form of `models.rs`, it is that one.
    pub name: String,
    pub fingerprint: String,
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRecord {
    /// A ULID; the file is `segments/<name>.seg`.
    pub name: String,
    pub rows: u32,
    pub documents: u32,
    /// Size of the file.
    pub bytes: u64,
    /// 0: no row is deleted. Else `segments/<name>.<tombstones>.del` tells which.
    pub tombstones: u64,
    pub dead_rows: u32,
    pub dead_documents: u32,
}

impl SegmentRecord {
    /// The generation of the next tombstones: the time, in microseconds. A count would be given twice, by two copies of a
    /// database that go on apart, or after a repair that went back, and a reader that has one such file open would take the
    /// other for it.
    pub fn next_tombstones(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_micros() as u64);
        now.max(self.tombstones.saturating_add(1))
    }
}

impl Manifest {
    /// The manifest, or `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything but what [`Manifest::write`] wrote.
    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let bytes = Self::bytes(layout)?;
        bytes
            .map(|bytes| Self::parse(&bytes, &layout.manifest()))
            .transpose()
    }

    /// What the file says, not parsed.
    pub(super) fn bytes(layout: &Layout) -> Result<Option<Vec<u8>>> {
        let path = layout.manifest();
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Error::damaged(path, e.valid_up_to() as u64, "it is not UTF-8"))?;
        let Some((head, body)) = text.split_once('\n') else {
            return Err(Error::damaged(
                path,
                bytes.len() as u64,
                "it ends within its first line",
            ));
        };
        let Some(sum) = head.strip_prefix(HEAD) else {
            return Err(Error::damaged(
                path,
                0,
                "its first line is not a manifest's of version 1",
            ));
        };
        if sum != format!("{:016x}", xxh3_64(body.as_bytes())) {
            return Err(Error::damaged(
                path,
                HEAD.len() as u64,
                "its checksum does not match",
            ));
        }
        let manifest: Self = serde_json::from_str(body).map_err(|e| {
            Error::damaged(
                path,
                head.len() as u64 + 1,
                format!("it does not parse ({e})"),
            )
        })?;
        // Names become paths: only what we make ourselves may pass.
        for segment in manifest.collections.iter().flat_map(|c| &c.segments) {
            if segment.name.len() != 26 || !segment.name.bytes().all(|b| b.is_ascii_alphanumeric())
            {
                return Err(Error::damaged(
                    path,
                    head.len() as u64 + 1,
                    "a segment's name is not a ULID",
                ));
            }
        }
        Ok(manifest)
    }

    /// Replaces MANIFEST; durable when it returns.
    pub(super) fn write(&self, dir: &dyn Dir, layout: &Layout) -> Result<()> {
        let path = layout.manifest();
        write_atomically(dir, &path, |out| {
            out.write_all(&self.to_bytes())
                .map_err(Error::io("write", &path))
        })
    }

    /// The file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let body = serde_json::to_string(self).expect("a manifest has only string keys");
        Self::sealed(&(body + "\n"))
    }

    /// The second line behind the first.
    pub(super) fn sealed(body: &str) -> Vec<u8> {
        let sum = xxh3_64(body.as_bytes());
        format!("{HEAD}{sum:016x}\n{body}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dir::SystemDir;
    use super::*;

    fn sample() -> Manifest {
        let segment = SegmentRecord {
            name: "01J00000000000000000000000".into(),
            rows: 3,
            documents: 2,
            bytes: 4096,
            tombstones: 1,
            dead_rows: 1,
            dead_documents: 1,
        };
        let encoder = EncoderRecord {
            name: "m".into(),
            fingerprint: "f".into(),
        };
        let collection = CollectionRecord {
            id: 0,
            name: "notes".into(),
            metric: Metric::Cosine,
            dimension: Some(4),
            encoder: Some(encoder),
            segments: vec![segment],
        };
        Manifest {
            seq: 7,
            next_collection: 1,
            collections: vec![collection],
        }
    }

    #[test]
    fn a_manifest_comes_back_and_any_changed_byte_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = Layout::new(folder.path(), folder.path());
        assert_eq!(Manifest::read(&layout).expect("readable"), None);
        sample().write(&SystemDir, &layout).expect("writes");
        assert_eq!(Manifest::read(&layout).expect("readable"), Some(sample()));
        let bytes = std::fs::read(layout.manifest()).expect("there");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(
                Manifest::parse(&changed, Path::new("MANIFEST")).is_err(),
                "byte {at}"
            );
            assert!(
                Manifest::parse(&bytes[..at], Path::new("MANIFEST")).is_err(),
                "cut at {at}"
            );
        }
    }
}
