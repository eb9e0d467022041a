use std::path::PathBuf;

use super::*;

/// A committed segment of a format. It must open and answer for ever, or a migration must exist.
pub(super) fn golden_file(version: u32) -> PathBuf {
    let name = format!("tests/golden/segment-{version}.seg");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// From format 3 on there are int4 codes, which narrow vectors do not get, nor such that walks have a harder time with them.
fn golden_dimension(version: u32) -> usize {
    match version {
        1 | 2 => 8,
        3 => 72,
        _ => 96,
    }
}

fn golden_documents(version: u32) -> Vec<EmbeddedDocument> {
    let mut random = Random(2_026);
    let mut documents = mixed_documents(&mut random);
    documents.extend(
        (0..40).map(|nth| document(format!("row {nth}"), "a row of the graph", random.unit(8))),
    );
    documents.push(document(
        "copy",
        "as row 0",
        documents[12].passages[0].vector.clone(),
    ));
    let documents = match golden_dimension(version) / 8 {
        1 => documents,
        times => widened(documents, times),
    };
    let documents = if version < 4 {
        documents
    } else {
        blurred(documents, &mut random)
    };
    if version < 5 {
        documents
    } else {
        with_inputs(documents, true)
    }
}

/// The vectors with noise as long as they are: what is repeated has errors that are, too, and those of int4 codes would be too
/// much. The last document stays a copy of the one that it was.
fn blurred(mut documents: Vec<EmbeddedDocument>, random: &mut Random) -> Vec<EmbeddedDocument> {
    for document in &mut documents {
        for EmbeddedPassage { vector, .. } in &mut document.passages {
            *vector = random.near(vector.as_slice(), 1.0);
        }
    }
    let original = documents[12].passages[0].vector.clone();
    let copy = documents.last_mut().expect("there are some");
    copy.passages[0].vector = original;
    documents
}

/// The recipe. Run it only for a new format, under a new name:
/// `cargo test --lib write_the_golden_segment -- --ignored`
#[test]
#[ignore = "writes the committed file"]
fn write_the_golden_segment() {
    let version = format::VERSION;
    let bytes = bytes_of(golden_dimension(version), &golden_documents(version), 1);
    assert!(bytes.len() <= 64 * 1024);
    let path = golden_file(version);
    std::fs::write(path, bytes).expect("the file can be written");
}

#[test]
fn a_segment_of_every_format_still_opens_and_answers() {
    for version in 1..=format::VERSION {
        still_answers(version);
    }
}

fn still_answers(version: u32) {
    let segment = Segment::open(&golden_file(version)).expect("committed with the code");
    assert_eq!(segment.sections.header().version, version);
    segment.verify().expect("as it was written");
    assert_eq!(segment.spec(), &spec(golden_dimension(version)));
    assert!(segment.has_graph());
    assert_eq!(segment.int4.is_some(), version >= 3);
    let documents = golden_documents(version);
    roundtrip::check_all(&segment, &documents);

    let english = segment
        .matching_rows(&Filter::equal("lang", "en").and(Filter::less("year", 2_007)))
        .expect("whole");
    let named: Vec<&str> = english
        .iter()
        .map(|row| segment.document_id(segment.document_of(row)))
        .collect();
    assert_eq!(
        named,
        [
            "id-00-ü", "id-00-ü", "id-08-ü", "id-08-ü", "id-08-ü", "id-08-ü"
        ]
    );

    let query = documents[12].passages[0].vector.as_slice();
    let hits = segment
        .best(query, 2, Pick::All)
        .expect("the dimension fits");
    let ids: Vec<&str> = hits
        .iter()
        .map(|hit| segment.document_id(segment.document_of(hit.row)))
        .collect();
    assert_eq!(ids, ["row 0", "copy"]);
    assert!(hits.iter().all(|hit| (hit.score - 1.0).abs() < 1e-6));
}
