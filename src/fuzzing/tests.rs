//! Seeds and finds of every target go through it: what once made a decoder panic does so never again.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::*;
use crate::document::{Attributes, EmbeddedDocument, EmbeddedPassage, Fields, Value};
use crate::random::Random;
use crate::segment::{BuildOptions, SegmentSpec, build};
use crate::vector::{Metric, Vector};

type Target = (&'static str, fn(&[u8]));

const TARGETS: &[Target] = &[
    ("segment_frame", segment_frame),
    ("segment_sections", segment_sections),
    ("segment_merge", segment_merge),
    ("segment_text", segment_sections),
    ("tombstones", tombstones),
    ("manifest", manifest),
    ("stamp", stamp),
    ("lock", lock),
    ("values", values),
    ("filter", filter),
    ("evaluation", evaluation),
    #[cfg(feature = "readers")]
    ("ingest", ingest),
];

/// Where a target's files are. What was a find of one that reads segments is tried by all of them.
fn folder(target: &str) -> PathBuf {
    let name = match target.starts_with("segment_") {
        true => "segment",
        false => target,
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fuzz").join(name)
}

#[test]
fn every_seed_and_every_find_of_the_fuzz_targets_is_answered_without_a_panic() {
    for &(target, run) in TARGETS {
        let files = fs::read_dir(folder(target)).expect(target);
        let mut tried = 0;
        for path in files.flatten().map(|file| file.path()) {
            // Shown if it panics.
            println!("{}", path.display());
            run(&fs::read(&path).expect("a file"));
            tried += 1;
        }
        assert!(tried > 0, "{target} has no seeds");
    }
}

#[test]
fn every_target_is_one_of_the_fuzz_package() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).expect("the package is there");
    let names: Vec<&str> = manifest
        .split("[[bin]]\nname = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    for (target, _) in TARGETS {
        assert!(names.contains(target), "{target}");
    }
    let readers = usize::from(cfg!(not(feature = "readers")));
    assert_eq!(names.len(), TARGETS.len() + readers);
}

#[test]
fn seeds_of_segments_are_whole_and_a_changed_section_bears_right_checksums() {
    for (name, seed) in segments() {
        let opened = |bytes| Segment::from_bytes(bytes, Path::new(NAME));
        let whole = opened(seed.clone()).expect(name);
        whole.verify().expect(name);
        let same = change_section(&seed, false, 5, |_| ()).expect(name);
        assert_eq!(same, seed, "{name}: put together again as it was");
        // The ids: another first letter.
        let changed = change_section(&seed, false, 4, |ids| ids[0] = b'A').expect(name);
        let changed = opened(changed).expect("an id may begin so");
        assert_eq!(changed.document_id(0), "A-0");
        changed.verify().expect(name);
    }
}

/// The recipe of the committed seeds: `cargo test --lib write_the_fuzz_seeds -- --ignored`
#[test]
#[ignore = "writes the committed files"]
fn write_the_fuzz_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(folder(target)).expect("a folder");
        fs::write(folder(target).join(format!("seed-{name}")), bytes).expect("a file");
    };
    for (name, segment) in segments() {
        write("segment_sections", name, &segment);
    }
    let sets = [
        ("few", RoaringBitmap::from_iter([1, 3])),
        ("run", RoaringBitmap::from_iter(100..3_000)),
        ("many", (0..20_000).step_by(2).collect()),
    ];
    for (name, mut rows) in sets {
        if name == "run" {
            rows.optimize();
        }
        let mut bytes = Vec::new();
        crate::segment::tombstones::write(&rows, 20_000, &mut bytes).expect("memory takes it");
        write("tombstones", name, &bytes);
    }
    let documents = documents(2, 3).into_iter().map(Arc::new).collect();
    let (manifest, values) = store::fuzzing::samples(documents);
    write("manifest", "line", manifest.as_bytes());
    for (nth, value) in values.iter().enumerate() {
        write("values", &nth.to_string(), value);
    }
    write("stamp", "first", b"vecdb 1 1\n");
    write("stamp", "later", b"vecdb 12 3456\n");
    write("lock", "closed", b"closed\n");
    let held = "pid 12, since 1790000000 (Unix time), command: vecdb ingest\n";
    write("lock", "held", held.as_bytes());
    let filters = [
        "lang = 'en' and (year >= 2020 or not exists year) and tag in ('a', \"b\\n\\u{e9}\")",
        "not (a.b:c-d != -1.5e3 && `odd name` <= 7) || x not in (true, false, 18446744073709551616)",
        "true and false or exists(ünï)",
    ];
    for (nth, filter) in filters.iter().enumerate() {
        write("filter", &nth.to_string(), filter.as_bytes());
    }
    let evaluations = [
        ("beir", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n"),
        ("trec", "q1 0 d1 2\nq2\t0\td 1\n"),
        (
            "queries",
            "{\"_id\": \"a\", \"text\": \"first\"}\n{\"id\": 7, \"text\": \"b\"}\n",
        ),
        ("run", "q1 Q0 d1 1 0.5 vecdb\nq1 Q0 d2 2 -1e3 vecdb\n"),
    ];
    for (name, text) in evaluations {
        write("evaluation", name, text.as_bytes());
    }
    let files = [
        (
            "jsonl",
            "\0{\"_id\": \"a\", \"text\": \"t\", \"n\": {\"m\": [1, \"x\", null]}, \"f\": 1.5}\n\n{\"id\": 3, \"title\": \"only\"}\n",
        ),
        (
            "csv",
            "\u{1}id,text,n\r\na,\"one, \"\"two\"\"\nlines\",007\r\n,b,-1.5\r\n",
        ),
        (
            "markdown",
            "\u{2}---\ntitle: \"T\"\n---\n# Heading\n\ntext\n",
        ),
        ("text", "\u{3}\u{feff}some text\r\n"),
    ];
    for (name, text) in files {
        write("ingest", name, text.as_bytes());
    }
}

/// Small segments: scanned, and walked by int8 and by int4 codes, with twins.
fn segments() -> Vec<(&'static str, Vec<u8>)> {
    let graph = |name, dimension, metric| (name, segment(dimension, metric, 1));
    vec![
        ("flat", segment(3, Metric::Cosine, usize::MAX)),
        graph("graph", 5, Metric::L2),
        graph("int4", 72, Metric::Cosine),
    ]
}

fn segment(dimension: usize, metric: Metric, graph_from_rows: usize) -> Vec<u8> {
    let spec = SegmentSpec {
        fingerprint: "e".into(),
        dimension,
        metric,
    };
    let options = BuildOptions {
        graph_from_rows,
        seed: 1,
        ..BuildOptions::default()
    };
    let mut bytes = Vec::new();
    build(&spec, &documents(7, dimension), &options, &mut bytes).expect("the documents are whole");
    bytes
}

/// Each third document has two passages; the last two have the vectors of the first.
fn documents(count: usize, dimension: usize) -> Vec<EmbeddedDocument> {
    let vector = |seed| {
        let mut random = Random(seed);
        let component = |()| (random.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let components: Vec<f32> = vec![(); dimension].into_iter().map(component).collect();
        Vector::new(components)
            .and_then(Vector::to_unit)
            .expect("not all are zero")
    };
    let document = |nth: usize| {
        let text = "Größe ".repeat(1 + nth % 3);
        let seed = if nth + 2 >= count { 0 } else { nth as u64 };
        let mut passages = vec![EmbeddedPassage::new(0..text.len(), vector(seed))];
        if nth.is_multiple_of(3) {
            passages.push(EmbeddedPassage::new(2..4, vector(100 + seed)));
        }
        let lang = Value::from(["en", "de"][nth % 2]);
        let fields = Fields::from([
            ("lang".into(), lang),
            ("year".into(), Value::from(2_000 + nth as i64)),
        ]);
        let title = Some("T".into());
        EmbeddedDocument {
            id: format!("d-{nth}"),
            text,
            attributes: Attributes {
                outline: Default::default(),
                title,
                source: None,
                fields,
            },
            content_hash: nth as u128,
            passages,
        }
    };
    (0..count).map(document).collect()
}
