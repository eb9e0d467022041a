use super::*;

pub(super) fn check_all(segment: &Segment, documents: &[EmbeddedDocument]) {
    assert_eq!(segment.documents() as usize, documents.len());
    let mut row = 0;
    for (ordinal, document) in (0..).zip(documents) {
        assert_eq!(segment.find(&document.id), Some(ordinal));
        assert_eq!(segment.document_id(ordinal), document.id);
        assert_eq!(segment.content_hash(ordinal), document.content_hash);
        assert_eq!(segment.text(ordinal).expect("whole"), document.text);
        assert_eq!(
            segment.attributes(ordinal).expect("whole"),
            document.attributes
        );
        assert_eq!(
            segment.rows_of(ordinal),
            row..row + document.passages.len() as u32
        );
        for passage in &document.passages {
            assert_eq!(segment.document_of(row), ordinal);
            assert_eq!(segment.range(row), passage.range);
            assert_eq!(
                segment.vector(row).expect("whole"),
                passage.vector.as_slice()
            );
            assert_eq!(
                segment.passage_text(row).expect("whole"),
                document.text[passage.range.clone()]
            );
            assert_eq!(segment.input(row).expect("whole"), passage.input);
            if let Some(input) = passage.input {
                let made = segment.made_from(input).expect("whole").expect("there");
                assert_eq!(made, passage.vector.as_slice());
            }
            row += 1;
        }
    }
    assert_eq!(segment.rows(), row);
    assert_eq!(segment.find("nobody"), None);
    assert_eq!(segment.find(""), None);
    for unknown in [1, u128::MAX] {
        let unknown = InputHash::new(unknown).expect("not 0");
        assert_eq!(segment.made_from(unknown).expect("whole"), None);
    }
    segment.verify().expect("nothing is damaged");
}

#[test]
fn every_document_comes_out_as_it_went_in() {
    let documents = mixed_documents(&mut Random(3));
    for graph_from_rows in [1, usize::MAX] {
        let segment = segment(8, &documents, graph_from_rows);
        assert_eq!(segment.has_graph(), graph_from_rows == 1);
        assert_eq!(segment.spec(), &spec(8));
        check_all(&segment, &documents);
    }
    let documents = with_inputs(documents, true);
    check_all(&segment(8, &documents, usize::MAX), &documents);
}

#[test]
fn a_segment_opens_from_a_file_and_is_shared_by_threads() {
    let documents = mixed_documents(&mut Random(4));
    let bytes = bytes_of(8, &documents, 1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.seg");
    std::fs::write(&path, &bytes).expect("room for a small file");
    let segment = Segment::open(&path).expect("it was just built");
    assert_eq!(segment.bytes(), bytes.len() as u64);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| check_all(&segment, &documents));
        }
    });
}

#[test]
fn row_numbers_are_the_text_indexs_numbers() {
    // More text than one compressed block holds, so that rows lie in several.
    let mut random = Random(5);
    let texts: Vec<String> = (0..3_000)
        .map(|nth| format!("document {nth} {}", random.next()))
        .collect();
    let documents: Vec<_> = texts
        .iter()
        .map(|text| document(text.clone(), text, random.unit(4)))
        .collect();
    let segment = segment(4, &documents, usize::MAX);
    for row in 0..segment.rows() {
        assert_eq!(
            segment.passage_text(row).expect("whole"),
            texts[row as usize]
        );
    }
}

#[test]
fn a_segment_without_documents_opens_and_finds_nothing() {
    let segment = segment(3, &[], 1);
    check_all(&segment, &[]);
    assert_eq!(
        segment
            .best(&[1.0, 0.0, 0.0], 5, Pick::All)
            .expect("the dimension fits"),
        []
    );
    assert!(
        segment
            .matching_rows(&Filter::exists("x").negate())
            .expect("whole")
            .is_empty()
    );
}

#[test]
fn equal_input_gives_equal_bytes() {
    let documents = mixed_documents(&mut Random(6));
    assert_eq!(
        bytes_of(8, &documents, usize::MAX),
        bytes_of(8, &documents, usize::MAX)
    );
}

#[test]
fn documents_that_cannot_be_stored_are_refused() {
    let vector = || Random(1).unit(4);
    let refused = |documents: &[EmbeddedDocument]| {
        let mut bytes = Vec::new();
        let error = build(
            &spec(4),
            documents,
            &BuildOptions {
                graph_from_rows: 1,
                seed: 1,
                ..BuildOptions::default()
            },
            &mut bytes,
        )
        .expect_err("refused");
        assert!(
            bytes.is_empty(),
            "nothing is written before all is known to be right"
        );
        error
    };
    let twice = [
        document("a", "x", vector()),
        document("b", "x", vector()),
        document("a", "y", vector()),
    ];
    assert!(matches!(refused(&twice), Error::DuplicateId { id } if id == "a"));
    let long = document("a", "x", Random(1).unit(5));
    assert!(matches!(
        refused(&[long]),
        Error::Dimension {
            expected: 4,
            given: 5
        }
    ));
    let mut none = document("a", "x", vector());
    none.passages.clear();
    assert!(matches!(refused(&[none]), Error::Document { .. }));
    for range in [0..3, 0..1, 1..2, 5..9] {
        let mut cut = document("a", "üb", vector());
        cut.passages[0].range = range.clone();
        let whole = range == (0..3);
        assert!(
            whole || matches!(refused(&[cut]), Error::Document { .. }),
            "{range:?}"
        );
    }
}

#[test]
fn tombstones_come_back_and_damage_to_them_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.1.del");
    let rows: RoaringBitmap = (0..5_000).filter(|row| row % 7 != 0).collect();
    let mut bytes = Vec::new();
    tombstones::write(&rows, 5_000, &mut bytes).expect("a Vec takes every write");
    let read = |bytes: &[u8], segment_rows| {
        std::fs::write(&path, bytes).expect("room for a small file");
        tombstones::read(&path, segment_rows)
    };
    assert_eq!(read(&bytes, 5_000).expect("whole"), rows);
    assert!(matches!(
        read(&bytes, 5_001),
        Err(Error::Damaged { offset: 12, .. })
    ));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(read(&flipped, 5_000).is_err(), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length], 5_000).is_err(), "{length} bytes");
    }
}
