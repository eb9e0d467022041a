//! What the checksums cannot tell: bytes that were written wrong; and what is left of a file that does not open.

use super::damage::{open_forged, whole_file};
use super::golden::golden_file;
use super::*;

fn told(segment: &Segment) -> Vec<String> {
    segment.verify().expect("the checksums are right");
    let found = segment.disagreements();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn segments_of_every_format_and_shape_agree_with_themselves() {
    for version in 1..=format::VERSION {
        let segment = Segment::open(&golden_file(version)).expect("committed with the code");
        assert_eq!(told(&segment), [""; 0], "format {version}");
    }
    let documents = widened(mixed_documents(&mut Random(21)), 9);
    for graph_from_rows in [1, usize::MAX] {
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let spec = SegmentSpec { metric, ..spec(72) };
            let options = BuildOptions {
                graph_from_rows,
                ..BuildOptions::default()
            };
            let mut bytes = Vec::new();
            build(&spec, &documents, &options, &mut bytes).expect("the documents are whole");
            assert_eq!(told(&open(bytes).expect("whole")), [""; 0], "{metric}");
        }
    }
}

#[test]
fn codes_that_are_not_their_vectors_are_told() {
    let whole = std::fs::read(golden_file(3)).expect("committed with the code");
    let forged = |kind, at: usize, change: u8| {
        let forged = open_forged(&whole, |parts| parts.section(kind)[at] ^= change);
        told(&forged.expect("the frame is whole"))
    };
    for (kind, change) in [
        (Kind::Codes, 2),
        (Kind::Codes, 0x82),
        (Kind::Int4Codes, 0x80),
        (Kind::Int4Codes, 0x08),
    ] {
        // Components 67 of row 0; or 3 and 67 of the row in slot 1.
        let told = forged(kind, 64 + 3, change);
        assert_eq!(told.len(), 1, "{kind:?}: {told:?}");
        assert!(told[0].contains(kind.label()), "{told:?}");
    }
    // Component 127 of a row of 72, which is zero.
    let told = forged(Kind::Int4Codes, 63, 0x10);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_node_that_no_walk_comes_to_is_told() {
    let whole = open(whole_file()).expect("whole");
    let (graph, _) = whole.graph().expect("whole").expect("it has one");
    assert!(graph.all_twins().is_empty());
    let lost = 0_u32;
    let forged = open_forged(&whole_file(), |parts| {
        // Every link to it leads to another one instead; and it is no seed.
        let other = lost + 1;
        for kind in [Kind::Neighbours, Kind::Seeds] {
            for slot in parts.section(kind).chunks_exact_mut(4) {
                if slot == lost.to_le_bytes() {
                    slot.copy_from_slice(&other.to_le_bytes());
                }
            }
        }
    });
    let told = told(&forged.expect("the frame is whole"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("no walk comes to"), "{told:?}");
}

/// The ids that are left after a change of the file's bytes.
fn named(change: impl FnOnce(&mut [u8], &dyn Fn(Kind) -> Range<usize>)) -> Option<Vec<String>> {
    let whole = open(whole_file()).expect("whole");
    let mut bytes = whole_file();
    change(&mut bytes, &|kind| whole.sections.range(kind));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.seg");
    std::fs::write(&path, bytes).expect("writes");
    let named = named_documents(&path).ok()?;
    for document in &named {
        let at = whole.find(&document.id).expect("it is one of its ids");
        assert_eq!(whole.rows_of(at).start, document.first_row);
    }
    Some(named.into_iter().map(|document| document.id).collect())
}

#[test]
fn ids_are_read_from_a_file_that_does_not_open_if_their_blocks_are_whole() {
    let whole = open(whole_file()).expect("whole");
    let all: Vec<String> = (0..whole.documents())
        .map(|document| whole.document_id(document).to_owned())
        .collect();
    for kind in Kind::ALL.iter().copied().filter(|kind| kind.is_small()) {
        let left = named(|bytes, range| bytes[range(kind).start] ^= 1);
        match kind {
            Kind::Header => assert_eq!(left, None, "nothing says what the file is"),
            Kind::Documents | Kind::Ids => assert_eq!(left, Some(Vec::new()), "{kind:?}"),
            _ => assert_eq!(left.as_ref(), Some(&all), "{kind:?}"),
        }
    }
    assert_eq!(named(|bytes, _| bytes[bytes.len() - 40] ^= 1), None);
}

#[test]
fn of_many_ids_those_in_whole_blocks_are_read() {
    let documents: Vec<_> = (0..4_000)
        .map(|nth| document(format!("a document {nth:>40}"), "", Random(nth).unit(2)))
        .collect();
    let mut bytes = bytes_of(2, &documents, usize::MAX);
    let whole = open(bytes.clone()).expect("whole");
    let [entries, ids] = [Kind::Documents, Kind::Ids].map(|kind| whole.sections.range(kind));
    assert!(entries.len() > 2 * format::BLOCK_BYTES && ids.len() > 3 * format::BLOCK_BYTES);
    bytes[entries.start] ^= 1;
    bytes[ids.end - 1] ^= 1;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.seg");
    std::fs::write(&path, bytes).expect("writes");
    assert!(Segment::open(&path).is_err());
    let named = named_documents(&path).expect("the frame is whole");
    assert!((1_000..3_000).contains(&named.len()), "{}", named.len());
    for document in named {
        assert_eq!(whole.find(&document.id), Some(document.first_row));
    }
}
