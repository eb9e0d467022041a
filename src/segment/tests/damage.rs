use proptest::prelude::*;

use super::*;
use crate::segment::forged::Parts;

/// Every answer that a segment gives, as text; `None` for an error. Errors are fine, panics are not.
fn answers(segment: &Segment) -> Vec<Option<String>> {
    fn told<T: std::fmt::Debug>(answer: Result<T>) -> Option<String> {
        answer.ok().map(|answer| format!("{answer:?}"))
    }
    let mut all = Vec::new();
    for document in 0..segment.documents() {
        all.push(told(segment.text(document)));
        all.push(told(segment.attributes(document)));
        assert_eq!(segment.find(segment.document_id(document)), Some(document));
    }
    for row in 0..segment.rows() {
        all.push(told(segment.passage_text(row)));
        all.push(told(segment.vector(row)));
        let input = segment.input(row);
        let input =
            input.and_then(|input| input.map_or(Ok(None), |input| segment.made_from(input)));
        all.push(told(input));
    }
    for filter in ["lang", "year", "tags"] {
        let filter = Filter::equal(filter, "en").or(Filter::less(filter, 2_005));
        all.push(told(segment.matching_rows(&filter)));
    }
    let wanted: RoaringBitmap = (0..segment.rows()).step_by(2).collect();
    let query = vec![0.25; segment.spec().dimension];
    for selection in [Pick::All, Pick::Only(&wanted), Pick::Except(&wanted)] {
        all.push(told(segment.best(&query, 3, selection)));
    }
    all
}

/// A damaged segment answers as before, or not at all.
fn assert_never_other(segment: &Segment, good: &[Option<String>], what: &str) {
    for (now, good) in answers(segment).iter().zip(good) {
        assert!(now.is_none() || now == good, "{what}: {now:?} for {good:?}");
    }
}

pub(super) fn whole_file() -> Vec<u8> {
    static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    FILE.get_or_init(|| {
        bytes_of(
            72,
            &with_inputs(widened(mixed_documents(&mut Random(21)), 9), false),
            1,
        )
    })
    .clone()
}

#[test]
fn every_flipped_bit_is_told() {
    let bytes = whole_file();
    let good = answers(&open(bytes.clone()).expect("whole"));
    assert!(good.iter().all(Option::is_some));
    let sections = Sections::open(
        Map::copy(&bytes, Path::new("a.seg")).expect("not empty"),
        Path::new("a.seg"),
    )
    .expect("whole");
    let small = |at: usize| {
        let mut all = Kind::ALL.iter().filter(|kind| kind.is_small());
        let is_in = |kind: &&Kind| sections.range(**kind).contains(&at);
        all.any(|kind| is_in(&kind))
    };
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match open(flipped) {
            Err(error) => {
                let told = matches!(&error, Error::Damaged { offset, .. } if *offset <= bytes.len() as u64);
                assert!(told, "byte {at}: {error}");
            }
            Ok(segment) => {
                assert!(
                    !small(at) && at < sections.range(Kind::TextNorms).end,
                    "byte {at} lies in a small part, and open alone must tell"
                );
                assert!(segment.verify().is_err(), "byte {at}");
                if at % 5 == 0 {
                    assert_never_other(&segment, &good, &format!("byte {at}"));
                }
            }
        }
    }
}

#[test]
fn no_flipped_bit_of_any_section_changes_an_answer() {
    // All sections of this one hold something, but for the orphans.
    let whole = std::fs::read(golden::golden_file(5)).expect("committed with the code");
    let segment = open(whole.clone()).expect("whole");
    let good = answers(&segment);
    assert!(good.iter().all(Option::is_some));
    let mut random = Random(27);
    let mut empty = 0;
    for &kind in Kind::ALL {
        let range = segment.sections.range(kind);
        empty += usize::from(range.is_empty());
        for _ in 0..6.min(range.len()) {
            let at = range.start + (random.next() % range.len() as u64) as usize;
            let bit = random.next() % 8;
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let Ok(flipped) = open(flipped) else { continue };
            assert!(!flipped.damage().is_empty(), "{kind:?}");
            assert_never_other(&flipped, &good, &format!("{kind:?} byte {at} bit {bit}"));
        }
    }
    assert!(empty <= 1, "{empty} sections are empty");
}

#[test]
fn every_shortened_file_is_told() {
    let bytes = whole_file();
    for length in 0..bytes.len() {
        assert!(
            matches!(open(bytes[..length].to_vec()), Err(Error::Damaged { .. })),
            "{length} bytes"
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(open(longer), Err(Error::Damaged { .. })));
}

#[test]
fn damaged_text_is_an_error_with_its_place_and_never_wrong_text() {
    let documents: Vec<_> = (0..200)
        .map(|nth| {
            document(
                nth.to_string(),
                &"word ".repeat(nth + 1),
                Random(nth as u64).unit(4),
            )
        })
        .collect();
    let mut bytes = bytes_of(4, &documents, usize::MAX);
    let whole = open(bytes.clone()).expect("whole");
    let store = whole.sections.range(Kind::TextStore);
    bytes[store.start + 10] ^= 4;
    // tantivy reads the end of its store to open it, which may lie in the same block; then open tells.
    let error = match open(bytes) {
        Err(error) => error,
        Ok(segment) => segment.text(0).expect_err("its block is damaged"),
    };
    assert!(
        matches!(error, Error::Damaged { offset, .. } if offset == store.start as u64),
        "{error}"
    );
}

#[test]
fn a_newer_format_is_named_as_such() {
    let mut bytes = whole_file();
    bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&checksum.to_le_bytes());
    assert!(matches!(
        open(bytes),
        Err(Error::NewerFormat {
            found: 9,
            supported: format::VERSION,
            ..
        })
    ));
}

/// Opens the file after `change`, with right checksums.
pub(super) fn open_forged(bytes: &[u8], change: impl FnOnce(&mut Parts)) -> Result<Segment> {
    let mut parts = Parts::of(bytes)?;
    change(&mut parts);
    open(parts.to_bytes())
}

#[test]
fn a_passage_that_claims_to_be_huge_is_an_error_and_takes_no_memory() {
    let bytes = bytes_of(4, &[document("a", "some text", Random(3).unit(4))], 1_000);
    for claimed in [u64::MAX, 1 << 62, 1 << 45] {
        let segment = open_forged(&bytes, |parts| {
            for (kind, at) in [(Kind::Documents, 16), (Kind::RowRanges, 8)] {
                parts.section(kind)[at..at + 8].copy_from_slice(&claimed.to_le_bytes());
            }
        });
        let segment = segment.expect("the tables agree with each other");
        assert!(
            matches!(segment.passage_text(0), Err(Error::Damaged { .. })),
            "{claimed}"
        );
    }
}

#[test]
fn a_twin_that_stands_twice_is_told() {
    let vector = Random(4).unit(4);
    let documents: Vec<_> = ["a", "b", "c"]
        .map(|id| document(id, id, vector.clone()))
        .into();
    let bytes = bytes_of(4, &documents, 1);
    let result = open_forged(&bytes, |parts| {
        let twins = parts.section(Kind::Twins);
        assert_eq!(twins.len(), 16, "rows 1 and 2 are twins of row 0");
        twins.copy_within(..8, 8);
    });
    let searched = result.and_then(|segment| segment.best(&[1.0; 4], 1, Pick::All));
    let error = searched.expect_err("one twin stands twice");
    assert!(error.to_string().contains("the twins"), "{error}");
}

#[test]
fn a_vector_that_cannot_be_one_is_told_by_a_merge_and_not_copied() {
    let documents = ["a", "b"].map(|id| document(id, id, Random(6).unit(4)));
    let bytes = bytes_of(4, &documents, 1_000);
    for component in [f32::NAN, f32::NEG_INFINITY] {
        let forged = open_forged(&bytes, |parts| {
            parts.section(Kind::Vectors)[20..24].copy_from_slice(&component.to_le_bytes());
        });
        let segment = Arc::new(forged.expect("open reads no vectors"));
        let merge = Merge::new(vec![(segment, Arc::default())]).expect("two rows");
        let options = BuildOptions::for_merging();
        let written = merge.write(&spec(4), &options, &|| false, &mut Vec::new());
        let error = written
            .expect_err("no quantiser fits such rows")
            .to_string();
        assert!(error.contains("the vectors: "), "{error}");
    }
}

#[test]
fn text_that_tantivy_panics_on_is_told_as_damage() {
    let forged = open_forged(&whole_file(), |parts| {
        // A part that starts behind its end.
        parts.section(Kind::TextPositions)[2] = 0x20;
    });
    let error = forged.err().expect("tantivy opens all its files");
    assert!(matches!(error, Error::Damaged { .. }));
    assert!(error.to_string().contains("tantivy could not read it"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_damage_never_panics(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..20),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = whole_file();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(segment) = open(bytes) {
            let _ = segment.verify();
            answers(&segment);
        }
    }

    #[test]
    fn damage_with_right_checksums_outside_the_text_index_never_panics(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<usize>(), any::<u8>()), 1..4),
    ) {
        let forged = open_forged(&whole_file(), |parts| {
            for (at, choice, value) in edits {
                parts.change(false, choice, |bytes| {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = value;
                    }
                });
            }
        });
        if let Ok(segment) = forged {
            let _ = segment.verify();
            answers(&segment);
        }
    }
}
