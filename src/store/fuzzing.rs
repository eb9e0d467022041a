//! For fuzz targets and tests: the decoders of the store, given bytes with right checksums.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::catalog::{Counters, WalEntry};
use super::codec;
use super::manifest::{CollectionRecord, Manifest, SegmentRecord};
use super::{holder, lock};
use crate::document::EmbeddedDocument;
#[cfg(test)]
use crate::vector::Metric;

/// The whole file as it comes, and a second line with a first one that fits. What parses comes back when it is written.
pub(crate) fn manifest(bytes: &[u8], path: &Path) {
    let _ = Manifest::parse(bytes, path);
    let Ok(body) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(manifest) = Manifest::parse(&Manifest::sealed(body), path) {
        let again = Manifest::parse(&manifest.to_bytes(), path);
        assert_eq!(again.expect("it was just written"), manifest);
    }
}

/// Whom LOCK names. Whether it says that the last writer closed does not matter here.
pub(crate) fn holder(root: &Path) -> String {
    lock::was_closed(&super::Layout::new(root, root));
    holder::read(&root.join(lock::NAME))
}

/// Decodes a value of one of four kinds. Gives the documents of a write-ahead entry.
pub(crate) fn value(kind: u8, body: &[u8]) -> Vec<Arc<EmbeddedDocument>> {
    let bytes = codec::sealed(body);
    match kind % 4 {
        0 => survives::<Counters>(&bytes),
        1 => survives::<CollectionRecord>(&bytes),
        2 => survives::<SegmentRecord>(&bytes),
        _ => {
            survives::<WalEntry>(&bytes);
            if let Ok(entry) = codec::decode::<WalEntry>(&bytes) {
                let _ = (entry.rows(), entry.bytes());
                if let WalEntry::Add { documents, .. } = entry {
                    return documents;
                }
            }
        }
    }
    Vec::new()
}

/// What decodes comes back when it is written.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>(bytes) {
        let again = codec::encode(&value).expect("it was just decoded");
        assert_eq!(codec::decode::<T>(&again).as_ref(), Ok(&value));
    }
}

/// MANIFEST's second line, and values of each kind, as [`value`] takes them: kind and body.
#[cfg(test)]
pub(crate) fn samples(documents: Vec<Arc<EmbeddedDocument>>) -> (String, Vec<Vec<u8>>) {
    let segment = SegmentRecord {
        name: "01J00000000000000000000000".into(),
        rows: 3,
        documents: 2,
        bytes: 4096,
        tombstones: 1,
        dead_rows: 1,
        dead_documents: 1,
    };
    let encoder = super::EncoderRecord {
        name: "m".into(),
        fingerprint: "f".into(),
    };
    let collection = CollectionRecord {
        id: 0,
        name: "notes".into(),
        metric: Metric::L2,
        dimension: Some(4),
        encoder: Some(encoder),
        segments: vec![segment.clone()],
    };
    let manifest = Manifest {
        seq: 7,
        next_collection: 1,
        collections: vec![collection.clone()],
    };
    let added = WalEntry::Add {
        collection: 0,
        documents,
    };
    let deleted = WalEntry::Delete {
        collection: 0,
        ids: vec!["a".into(), "b".into()],
    };
    let body = |kind: u8, value: Result<Vec<u8>, String>| {
        let value = value.expect("encodes");
        [&[kind], &value[codec::HEAD..]].concat()
    };
    let values = vec![
        body(0, codec::encode(&Counters::default())),
        body(1, codec::encode(&collection)),
        body(2, codec::encode(&segment)),
        body(3, codec::encode(&added)),
        body(3, codec::encode(&deleted)),
    ];
    let line = serde_json::to_string(&manifest).expect("only string keys");
    (line + "\n", values)
}
