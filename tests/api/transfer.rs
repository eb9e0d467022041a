//! A collection as a file, and back.

use std::fs;
use std::path::{Path, PathBuf};

use vecdb::{
    BatchOptions, Collection, CollectionOptions, Database, Document, Error, ExportFormat,
    ExportOptions, Heading, Metric, Outline, Value, Vector,
};

use crate::random::Random;

const DIMENSION: usize = 7;

fn formats() -> Vec<ExportFormat> {
    vec![
        ExportFormat::JsonLines,
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet,
    ]
}

/// Documents of all kinds, some deleted and replaced, in segments and not yet sealed.
fn filled(path: &Path, metric: Metric) -> (Database, Collection) {
    let db = Database::open(path).expect("opens");
    let options = CollectionOptions::vectors(DIMENSION).metric(metric);
    let points = db
        .create_collection("odd \"points\"", options)
        .expect("a collection");
    let mut random = Random(11);
    let mut add = |ids: std::ops::Range<u64>| {
        let documents: Vec<_> = ids
            .map(|id| {
                let mut document = Document::new(
                    format!("d{id}"),
                    ["", "one\ntwo", "ü \u{1f980} \"q\"\u{0}"][id as usize % 3],
                );
                if id % 2 == 0 {
                    document = document.title(format!("title {id}")).source("a/b.txt");
                }
                if id % 3 == 1 {
                    document = document.outline(Outline {
                        headings: vec![Heading::new(0, 1, "one \"two\"")],
                        pages: vec![0, 4],
                        ..Outline::default()
                    });
                }
                if id % 5 > 0 {
                    document = document
                        .field("integer", i64::MAX - id as i64)
                        .field(
                            "float",
                            [1.0, -0.1, 1e300, f64::MIN_POSITIVE][id as usize % 4],
                        )
                        .field("bool", id % 4 == 0)
                        .field("null", Value::Null)
                        .field("list", vec!["a", "b, c", ""])
                        .field("a `strange` name\n", "text");
                }
                (
                    document,
                    Vector::new(random.vector(DIMENSION)).expect("finite"),
                )
            })
            .collect();
        points.add_vectors(documents).expect("adds");
    };
    add(0..50);
    db.flush().expect("seals");
    add(40..60);
    points.delete(["d3", "d45"]).expect("deletes");
    (db, points)
}

fn export(points: &Collection, to: &Path, format: ExportFormat, vectors: bool) -> u64 {
    let out = std::io::BufWriter::new(fs::File::create(to).expect("a file"));
    let options = ExportOptions::default().format(format).vectors(vectors);
    points.export(out, options).expect("exports").documents
}

fn all(points: &Collection) -> Vec<Document> {
    points
        .documents()
        .collect::<Result<_, _>>()
        .expect("readable")
}

/// Ids with exact scores, bit by bit.
fn scores(points: &Collection, seed: u64) -> Vec<(String, u32)> {
    let query = Vector::new(Random(seed).vector(DIMENSION)).expect("finite");
    let found = points
        .query_vector(query)
        .limit(1_000)
        .exact()
        .scores()
        .expect("a query");
    let mut found: Vec<_> = found
        .into_iter()
        .map(|hit| (hit.id, hit.score.to_bits()))
        .collect();
    found.sort();
    found
}

#[test]
fn what_is_exported_and_imported_is_an_equal_collection() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        for format in formats() {
            let folder = tempfile::tempdir().expect("a folder");
            let (_db, points) = filled(&folder.path().join("a.vecdb"), metric);
            let file = folder.path().join("export");
            assert_eq!(export(&points, &file, format, true), 58);
            let other = Database::open(folder.path().join("b.vecdb")).expect("opens");
            let imported = other
                .import(&file, None, BatchOptions::default())
                .expect("imports");
            assert_eq!((imported.added.added, imported.added.passages), (58, 58));
            assert!(imported.vectors);
            let copy = other
                .existing_collection(points.name())
                .expect("the file's name");
            assert_eq!(all(&copy), all(&points), "{metric}, {format:?}");
            let (now, before) = (copy.info(), points.info());
            assert_eq!(
                (now.metric, now.dimension, now.encoder),
                (metric, before.dimension, None)
            );
            for seed in 0..20 {
                assert_eq!(
                    scores(&copy, seed),
                    scores(&points, seed),
                    "{metric}, {format:?}"
                );
            }
            // Again, from a stream: nothing is new. And the file is the same in bytes.
            let stream = fs::File::open(&file).expect("there");
            let again = other
                .import_from(stream, None, BatchOptions::default())
                .expect("imports");
            assert_eq!(
                (
                    again.added.added,
                    again.added.updated,
                    again.added.unchanged
                ),
                (0, 0, 58)
            );
            let second = folder.path().join("second");
            export(&copy, &second, format, true);
            assert!(fs::read(&file).expect("there") == fs::read(&second).expect("there"));
            // Under another name, over other documents.
            let third = other
                .create_collection(
                    "third",
                    CollectionOptions::vectors(DIMENSION).metric(metric),
                )
                .expect("made");
            third
                .add_vectors([(
                    Document::new("d1", "old"),
                    Vector::new(vec![1.0; DIMENSION]).expect("finite"),
                )])
                .expect("adds");
            let over = other
                .import(&file, Some("third"), BatchOptions::default())
                .expect("imports");
            assert_eq!((over.added.added, over.added.updated), (57, 1));
            assert_eq!(scores(&third, 1), scores(&points, 1));
        }
    }
}

#[test]
fn vectors_of_another_kind_are_refused() {
    for format in formats() {
        let folder = tempfile::tempdir().expect("a folder");
        let (db, points) = filled(&folder.path().join("a.vecdb"), Metric::Cosine);
        let file = folder.path().join("export");
        export(&points, &file, format, true);
        db.create_collection("short", CollectionOptions::vectors(3))
            .expect("made");
        let refused = db.import(&file, Some("short"), BatchOptions::default());
        assert!(
            matches!(
                refused,
                Err(Error::Dimension {
                    expected: 3,
                    given: DIMENSION
                })
            ),
            "{refused:?}"
        );
        let l2 = CollectionOptions::vectors(DIMENSION).metric(Metric::L2);
        db.create_collection("far", l2).expect("made");
        let refused = db.import(&file, Some("far"), BatchOptions::default());
        assert!(
            matches!(refused, Err(Error::Collection { .. })),
            "{refused:?}"
        );
        assert!(db.existing_collection("far").expect("there").is_empty());
    }
}

#[test]
fn vectors_of_an_encoder_go_in_without_it_and_only_beside_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, fingerprint: &str, id: &str| -> PathBuf {
        let path = folder.path().join(name);
        let lines = format!(
            "{{\"vecdb_export\":1,\"collection\":\"notes\",\"metric\":\"cosine\",\"dimension\":2,\"encoder\":{{\"name\":\"mini\",\
             \"fingerprint\":\"{fingerprint}\"}},\"documents\":1,\"vectors\":true}}\n\
             {{\"id\":\"{id}\",\"text\":\"0123456789\",\"passages\":[{{\"start\":0,\"end\":6,\"vector\":[0.6,0.8]}},\
             {{\"start\":4,\"end\":10,\"vector\":[1,0]}}]}}\n"
        );
        fs::write(&path, lines).expect("written");
        path
    };
    let db = Database::open(folder.path().join("a.vecdb")).expect("opens");
    let first = file("first", "abc", "a");
    let imported = db
        .import(&first, None, BatchOptions::default())
        .expect("imports");
    assert_eq!(imported.added.passages, 2);
    let notes = db.existing_collection("notes").expect("there");
    assert_eq!(notes.info().encoder, Some(("mini".into(), "abc".into())));
    let refused = db.import(file("second", "xyz", "b"), None, BatchOptions::default());
    assert!(
        matches!(refused, Err(Error::EncoderMismatch { .. })),
        "{refused:?}"
    );
    db.import(file("third", "abc", "b"), None, BatchOptions::default())
        .expect("the same encoder");
    assert_eq!(notes.len(), 2);
    // Passages and their ranges come along, out of memory and out of segments.
    db.flush().expect("seals");
    let out = folder.path().join("out");
    assert_eq!(export(&notes, &out, ExportFormat::JsonLines, true), 2);
    let (out, first) = (
        fs::read_to_string(out).expect("there"),
        fs::read_to_string(first).expect("there"),
    );
    let line = |text: &str, nth| -> serde_json::Value {
        serde_json::from_str(text.lines().nth(nth).expect("a line")).expect("JSON")
    };
    let (exported, given) = (line(&out, 1), line(&first, 1));
    assert_eq!(
        exported["passages"][1]["start"],
        given["passages"][1]["start"]
    );
    assert_eq!(exported["passages"].as_array().map(Vec::len), Some(2));
    assert_eq!(line(&out, 0)["documents"], 2);
}

#[test]
fn a_file_that_is_cut_off_changed_or_foreign_is_refused_and_nothing_is_stored() {
    for format in formats() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_db, points) = filled(&folder.path().join("a.vecdb"), Metric::Cosine);
        let file = folder.path().join("export");
        export(&points, &file, format, true);
        let whole = fs::read(&file).expect("there");
        let other = Database::open(folder.path().join("b.vecdb")).expect("opens");
        let bad = folder.path().join("bad");
        let mut random = Random(3);
        for round in 0..60 {
            let mut bytes = whole.clone();
            let what = if round % 2 == 0 {
                bytes.truncate(random.place(bytes.len() - 1));
                format!("{format:?} cut to {}", bytes.len())
            } else {
                let at = random.place(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                format!("{format:?} changed at {at}")
            };
            fs::write(&bad, &bytes).expect("written");
            // A changed letter of a text is a text; all else is told, and never a panic.
            match other.import(&bad, Some("c"), BatchOptions::default()) {
                Err(Error::Input { place, .. }) => {
                    assert!(place.contains("bad"), "{what}: {place}")
                }
                Err(other) => panic!("{what}: {other}"),
                Ok(_) => assert!(round % 2 == 1, "{what}"),
            }
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("b.vecdb")).expect("opens");
    let header = "{\"vecdb_export\":1,\"collection\":\"c\",\"metric\":\"cosine\",\"dimension\":2,\"encoder\":null,\"documents\":1,\"vectors\":true}";
    let import = |text: String| {
        let imported = db.import_from(text.as_bytes(), None, BatchOptions::default());
        imported.expect_err("refused").to_string()
    };
    for (line, words) in [
        (
            "{\"id\":\"a\",\"text\":\"x\",\"passages\":[]}",
            "no passage",
        ),
        (
            "{\"id\":\"a\",\"text\":\"x\",\"passages\":[{\"start\":0,\"end\":9,\"vector\":[1,0]}]}",
            "characters",
        ),
        (
            "{\"id\":\"a\",\"text\":\"x\",\"passages\":[{\"start\":0,\"end\":1,\"vector\":[1,0,0]}]}",
            "3 components",
        ),
        (
            "{\"id\":\"a\",\"text\":\"x\",\"passages\":[{\"start\":0,\"end\":1,\"vector\":[0,0]}]}",
            "no direction",
        ),
        (
            "{\"id\":\"a\",\"text\":\"x\",\"passages\":[{\"start\":0,\"end\":1,\"vector\":[1e999,0]}]}",
            "not a document",
        ),
        (
            "{\"id\":\"\",\"text\":\"x\",\"passages\":[{\"start\":0,\"end\":1,\"vector\":[1,0]}]}",
            "id is empty",
        ),
        ("{\"text\":\"x\"}", "missing field `id`"),
        ("{\"id\":\"a\",\"text\":\"x\",\"more\":1}", "more"),
        ("[]", "not a document"),
        ("", "holds 0 documents"),
    ] {
        let error = import(format!("{header}\n{line}\n"));
        assert!(error.contains(words), "{line}: {error}");
        assert!(line.is_empty() || error.starts_with("stdin:2"), "{error}");
    }
    let newer = import(header.replace("\"vecdb_export\":1", "\"vecdb_export\":2"));
    assert!(newer.contains("another version"), "{newer}");
    for foreign in ["", "{\"id\":\"a\",\"text\":\"x\"}\n", "id,text\n", "PAR1"] {
        let error = import(foreign.into());
        assert!(error.contains("stdin"), "{error}");
    }
    assert!(db.collections().is_empty(), "nothing was made");
}
