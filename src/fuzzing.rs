//! What the targets in `fuzz/` call: each decoder of ours, given bytes that anybody may have written.
//!
//! Hidden, behind feature `fuzzing`, and no part of the public API. Errors are fine; a panic is a find, and so is a value that
//! does not survive being written and read again. Checksums are made right first where they would keep everything out.
//!
//! The files in `tests/fuzz/`, seeds and finds, go through the same functions in the normal test suite.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use crate::filter::Filter;
use crate::segment::forged::{self, Parts};
use crate::segment::{Residency, Segment, tombstones};
use crate::store;

const NAME: &str = "fuzzed";

/// A segment file whose header, footer and length are made to agree. What they cover is as it comes.
pub fn segment_frame(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    forged::seal_frame(&mut bytes);
    segment_sections(&bytes);
}

/// A segment file as it comes; [`change_section`] makes good ones.
pub fn segment_sections(bytes: &[u8]) {
    // The one or the other, always the same for the same file.
    let residency = match xxh3_64(bytes) % 4 {
        0 => Residency::Pinned,
        _ => Residency::Mapped,
    };
    if let Ok(segment) = Segment::from_bytes(bytes.to_vec(), Path::new(NAME)) {
        forged::use_all(&segment.reside(residency));
    }
}

/// The same, merged.
pub fn segment_merge(bytes: &[u8]) {
    if let Ok(segment) = Segment::from_bytes(bytes.to_vec(), Path::new(NAME)) {
        forged::merge_all(segment);
    }
}

/// The segment file with one section, of those that we decode or of those that tantivy does, given to `change`, and all
/// checksums made right. `None` for bytes that are no segment file.
pub fn change_section(
    bytes: &[u8],
    of_text: bool,
    choice: usize,
    change: impl FnOnce(&mut Vec<u8>),
) -> Option<Vec<u8>> {
    let mut parts = Parts::of(bytes).ok()?;
    parts.change(of_text, choice, change);
    Some(parts.to_bytes())
}

/// A tombstone file, with its checksum made right, of a segment of as many rows as it says.
pub fn tombstones(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some((body, sum)) = bytes.split_last_chunk_mut::<8>() {
        *sum = xxh3_64(body).to_le_bytes();
    }
    let rows = bytes.get(12..).and_then(|rest| rest.first_chunk());
    let rows = rows.map_or(0, |rows| u32::from_le_bytes(*rows));
    let parse = |bytes: &[u8]| tombstones::parse(bytes, Path::new(NAME), rows);
    if let Ok(dead) = parse(&bytes) {
        let mut again = Vec::new();
        tombstones::write(&dead, rows, &mut again).expect("memory takes it");
        assert_eq!(parse(&again).expect("it was just written"), dead);
    }
}

/// MANIFEST: the whole file as it comes, and a second line with a first one that fits.
pub fn manifest(bytes: &[u8]) {
    store::fuzzing::manifest(bytes, Path::new(NAME));
}

/// FORMAT, in a folder of its own.
pub fn stamp(bytes: &[u8]) {
    in_folder("FORMAT", bytes, |folder| {
        let _ = store::check_stamp(folder);
        if let Ok(Some(stamp)) = vecdb_migrations::Stamp::read(folder) {
            assert_eq!(stamp.to_string().as_bytes(), bytes);
        }
    });
}

/// LOCK, as the one who is refused reads it.
pub fn lock(bytes: &[u8]) {
    in_folder("LOCK", bytes, |folder| {
        let holder = store::fuzzing::holder(folder);
        assert!(!holder.is_empty(), "an error has something to show");
    });
}

/// A value in sled: the first byte chooses its kind, the rest is what its checksum covers. Write-ahead documents are built
/// into a segment.
pub fn values(bytes: &[u8]) {
    if let Some((&kind, body)) = bytes.split_first() {
        let documents = store::fuzzing::value(kind, body);
        forged::build_all(&documents);
    }
}

/// A filter as people type it.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    match Filter::parse(text) {
        Ok(filter) => {
            let shown = filter.to_string();
            assert_eq!(Filter::parse(&shown).expect(&shown), filter, "{shown}");
            filter.matches(&Default::default());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Judgements, queries and runs of an evaluation.
pub fn evaluation(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let _ = crate::eval::Qrels::parse(text, NAME);
    let _ = crate::eval::parse_queries(text, NAME);
    let _ = crate::eval::Run::parse_trec(text, NAME);
}

/// A file to ingest: the first byte chooses its format.
#[cfg(feature = "readers")]
pub fn ingest(bytes: &[u8]) {
    use crate::ingest::{Format, Sources};
    let Some((&choice, content)) = bytes.split_first() else {
        return;
    };
    let format = Format::ALL[usize::from(choice) % Format::ALL.len()];
    let content = std::io::Cursor::new(content.to_vec());
    let sources = Sources::new().reader(NAME, content).format(format);
    let sources = sources.on_failure(|_| std::ops::ControlFlow::Continue(()));
    let plan = sources.plan().expect("a reader is there");
    for document in plan.documents() {
        let document = document.expect("failures are heard");
        assert!(!document.id.is_empty() && !document.text.is_empty());
    }
}

/// Gives `look` a folder with one file. The folder is used again: making one takes longer than what is tried.
fn in_folder(file: &str, bytes: &[u8], look: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().expect("a temporary folder");
    }
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(file), bytes).expect("a small file");
        look(folder.path());
    });
}

#[cfg(test)]
mod tests;
