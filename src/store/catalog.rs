//! What the catalog (sled) holds, key by key.
//!
//! | key | value |
//! |---|---|
//! | `q` | [`Counters`]: sequence number, next collection id |
//! | `c` collection | [`CollectionRecord`] without its segments |
//! | `g` collection, segment name | [`SegmentRecord`] |
//! | `w` entry number, part | a part of a write-ahead entry, at most [`MAX_VALUE_BYTES`] |
//!
//! Numbers in keys are big-endian, so that keys sort by them. Everything but `w` can be rebuilt from MANIFEST and segments.
//! Where a document lies is not kept here: the segments know their ids, there are few segments, and a merge would have to
//! write every id anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codec;
use super::kv::{Batch, Kv, MAX_VALUE_BYTES};
use super::manifest::{CollectionRecord, Manifest, SegmentRecord};
use crate::document::EmbeddedDocument;
use crate::error::{Error, Result};

const COUNTERS: &[u8] = b"q";

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counters {
    seq: u64,
    next_collection: u32,
}

/// One acknowledged call that is not yet in a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum WalEntry {
    Add {
        collection: u32,
        documents: Vec<Arc<EmbeddedDocument>>,
    },
    Delete {
        collection: u32,
        ids: Vec<String>,
    },
}

fn key(kind: u8, number: u32, rest: &[u8]) -> Vec<u8> {
    [&[kind], &number.to_be_bytes()[..], rest].concat()
}

fn put<T: Serialize>(kv: &Kv, batch: &mut Batch, key: Vec<u8>, value: &T) -> Result<()> {
    batch.put(
        key,
        codec::encode(value).map_err(|what| Error::catalog(kv.folder(), what))?,
    );
    Ok(())
}

fn decode<T: DeserializeOwned>(kv: &Kv, bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|what| Error::catalog(kv.folder(), what))
}

/// The manifest as the catalog has it: at least as new as the file.
pub(super) fn read_manifest(kv: &Kv) -> Result<Manifest> {
    let counters: Counters = match kv.get(COUNTERS)? {
        Some(bytes) => decode(kv, &bytes)?,
        None => Counters::default(),
    };
    let mut collections = Vec::new();
    for pair in kv.scan(b"c") {
        let mut record: CollectionRecord = decode(kv, &pair?.1)?;
        for pair in kv.scan(&key(b'g', record.id, b"")) {
            record.segments.push(decode::<SegmentRecord>(kv, &pair?.1)?);
        }
        collections.push(record);
    }
    Ok(Manifest {
        seq: counters.seq,
        next_collection: counters.next_collection,
        collections,
    })
}

/// Puts what differs between two manifests into the batch.
pub(super) fn put_manifest(
    kv: &Kv,
    batch: &mut Batch,
    old: &Manifest,
    new: &Manifest,
) -> Result<()> {
    put(
        kv,
        batch,
        COUNTERS.to_vec(),
        &Counters {
            seq: new.seq,
            next_collection: new.next_collection,
        },
    )?;
    for gone in &old.collections {
        if new.collections.iter().all(|c| c.id != gone.id) {
            batch.remove(key(b'c', gone.id, b""));
            for segment in &gone.segments {
                batch.remove(key(b'g', gone.id, segment.name.as_bytes()));
            }
        }
    }
    for record in &new.collections {
        let before = old.collections.iter().find(|c| c.id == record.id);
        let bare = CollectionRecord {
            segments: Vec::new(),
            ..record.clone()
        };
        put(kv, batch, key(b'c', record.id, b""), &bare)?;
        let known: HashMap<&str, &SegmentRecord> = before
            .iter()
            .flat_map(|c| &c.segments)
            .map(|s| (s.name.as_str(), s))
            .collect();
        let kept: HashSet<&str> = record.segments.iter().map(|s| s.name.as_str()).collect();
        for gone in known.keys().filter(|name| !kept.contains(*name)) {
            batch.remove(key(b'g', record.id, gone.as_bytes()));
        }
        for segment in record
            .segments
            .iter()
            .filter(|s| known.get(s.name.as_str()) != Some(s))
        {
            put(
                kv,
                batch,
                key(b'g', record.id, segment.name.as_bytes()),
                segment,
            )?;
        }
    }
    Ok(())
}

fn wal_key(number: u64, part: u32) -> Vec<u8> {
    [&b"w"[..], &number.to_be_bytes(), &part.to_be_bytes()].concat()
}

impl WalEntry {
    /// Rows added, or ids deleted.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Add { documents, .. } => documents.iter().map(|d| d.passages.len() as u64).sum(),
            Self::Delete { ids, .. } => ids.len() as u64,
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Add { documents, .. } => documents.iter().map(|d| d.bytes() as u64).sum(),
            Self::Delete { ids, .. } => ids.iter().map(|id| id.len() as u64 + 8).sum(),
        }
    }
}

/// Puts a write-ahead entry into the batch, in parts. All parts of an entry are in one batch, so it is there whole or not.
pub(super) fn put_wal(kv: &Kv, batch: &mut Batch, number: u64, entry: &WalEntry) -> Result<()> {
    let bytes = codec::encode(entry).map_err(|what| Error::catalog(kv.folder(), what))?;
    for (part, chunk) in bytes.chunks(MAX_VALUE_BYTES).enumerate() {
        batch.put(
            wal_key(
                number,
                u32::try_from(part).expect("an entry is below 1 GiB"),
            ),
            chunk.to_vec(),
        );
    }
    Ok(())
}

/// Each write-ahead entry with its number, in the order of their calls; an error in the place of one that does not decode.
pub(super) fn scan_wal(kv: &Kv) -> Result<Vec<(u64, Result<WalEntry>)>> {
    let mut entries = Vec::new();
    let mut open: Option<(u64, Vec<u8>)> = None;
    for pair in kv.scan(b"w") {
        let (key, value) = pair?;
        let Some(number) = key
            .get(1..9)
            .and_then(|n| n.try_into().ok())
            .map(u64::from_be_bytes)
        else {
            return Err(Error::catalog(
                kv.folder(),
                "a write-ahead row's key is too short",
            ));
        };
        match &mut open {
            Some((current, bytes)) if *current == number => bytes.extend_from_slice(&value),
            _ => {
                let before = open.replace((number, value));
                entries.extend(before.map(|(number, bytes)| (number, decode(kv, &bytes))));
            }
        }
    }
    entries.extend(open.map(|(number, bytes)| (number, decode(kv, &bytes))));
    Ok(entries)
}

/// Removes every write-ahead row.
pub(super) fn trim_wal(kv: &Kv, batch: &mut Batch) -> Result<()> {
    for pair in kv.scan(b"w") {
        batch.remove(pair?.0);
    }
    Ok(())
}
