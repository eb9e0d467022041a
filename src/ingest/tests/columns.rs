//! Parquet, Arrow and NumPy files, made for each test.
#![cfg(feature = "parquet")]

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, FixedSizeListArray, Int64Array, ListArray, RecordBatch,
    StringArray,
};

use super::*;
use crate::document::Value;

fn batch(with_vectors: bool) -> RecordBatch {
    let vectors = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]];
    let vectors = vectors.map(|vector| Some(vector.map(Some)));
    let vectors = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
    let lists = [vec![Some(1), None], vec![], vec![Some(2)]].map(Some);
    let lists = ListArray::from_iter_primitive::<arrow_array::types::Int32Type, _, _>(lists);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![7, 8, 9]))),
        (
            "text",
            Arc::new(StringArray::from(vec![Some("seven"), None, Some("nine")])),
        ),
        (
            "is_odd",
            Arc::new(BooleanArray::from(vec![true, false, true])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(0), None, Some(20_000)])),
        ),
        ("numbers", Arc::new(lists)),
    ];
    if with_vectors {
        columns.push(("emb", Arc::new(vectors)));
    }
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

fn parquet_file(batch: &RecordBatch) -> Vec<u8> {
    let mut file = Vec::new();
    let writer = parquet::arrow::ArrowWriter::try_new(&mut file, batch.schema(), None);
    let mut writer = writer.expect("a schema");
    writer.write(batch).expect("written");
    writer.close().expect("closed");
    file
}

fn arrow_file(batch: &RecordBatch) -> Vec<u8> {
    let writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema());
    let mut writer = writer.expect("a schema");
    writer.write(batch).expect("written");
    writer.into_inner().expect("closed")
}

/// As NumPy writes it, version 1.
fn npy_file(kind: &str, rows: usize, dimension: usize, numbers: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}");
    let header = format!("{header:117}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(numbers);
    file
}

fn vectors(sources: Sources) -> Result<Vec<(Document, Vec<f32>)>> {
    let taken = sources.plan()?.vectors();
    taken
        .map(|taken| taken.map(|(document, vector)| (document, vector.as_slice().to_vec())))
        .collect()
}

#[test]
fn rows_become_documents_with_fields() {
    for file in [parquet_file(&batch(true)), arrow_file(&batch(true))] {
        // By its bytes: the name says nothing.
        let folder = folder(&[("table.bin", file)]);
        let outcome = read_folder(&folder);
        assert_eq!(outcome.ids(), ["7", "9"]);
        let nine = &outcome.documents[1];
        assert_eq!(nine.text, "nine");
        assert_eq!(nine.fields["is_odd"], Value::Bool(true));
        assert_eq!(nine.fields["day"], "2024-10-04".into());
        assert_eq!(nine.fields["numbers"], vec!["2"].into());
        assert!(
            nine.source
                .as_ref()
                .is_some_and(|source| source.ends_with("table.bin:3"))
        );
        assert_eq!(outcome.failed()[0].0, "table.bin:2");
        let [remark] = outcome.reading.remarks.as_slice() else {
            panic!("{:?}", outcome.reading.remarks)
        };
        assert!(remark.contains("--vector-field emb"), "{remark}");
    }
}

#[test]
fn vectors_come_from_a_column() {
    for file in [parquet_file(&batch(true)), arrow_file(&batch(true))] {
        let folder = folder(&[("t.parquet", file)]);
        let of = |name: &str| vectors(Sources::new().path(folder.path()).vector_field(name));
        let taken = of("emb").expect("read");
        assert_eq!(taken.len(), 3);
        // Its text is null, and its vector stands for it.
        assert_eq!(
            (taken[1].0.text.as_str(), &taken[1].1[..]),
            ("", &[0.0, 1.0][..])
        );
        let missing = of("no").expect_err("no column").to_string();
        assert!(
            missing.contains("the columns are `id`, `text`"),
            "{missing}"
        );
        let wrong = of("text").expect_err("no vectors").to_string();
        assert!(wrong.contains("vectors are lists of floats"), "{wrong}");
    }
}

#[test]
fn vectors_come_from_beside_the_records() {
    let floats: Vec<u8> = [1.0_f32, 0.0, 9.0, 9.0, 0.6, 0.8]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let doubles: Vec<u8> = [1.0_f64, 0.0, 9.0, 9.0, 0.6, 0.8]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let lines = "{\"id\": 1, \"text\": \"a\"}\n{broken\n\n{\"id\": 3}\n";
    for (kind, numbers) in [("<f4", &floats), ("<f8", &doubles)] {
        let folder = folder(&[
            ("v.npy", npy_file(kind, 3, 2, numbers)),
            ("docs.jsonl", lines.into()),
        ]);
        let sources = |on_failure: bool| {
            let sources = Sources::new()
                .path(folder.path().join("docs.jsonl"))
                .vectors(folder.path().join("v.npy"));
            match on_failure {
                true => sources.on_failure(|_| ControlFlow::Continue(())),
                false => sources,
            }
        };
        let taken = vectors(sources(true)).expect("read");
        let found: Vec<_> = taken
            .iter()
            .map(|(document, v)| (document.id.as_str(), &v[..]))
            .collect();
        assert_eq!(found, [("1", &[1.0, 0.0][..]), ("3", &[0.6, 0.8])]);
        assert!(vectors(sources(false)).is_err());
    }
    let folder = folder(&[
        ("more.npy", npy_file("<f4", 3, 2, &floats)),
        ("less.npy", npy_file("<f4", 1, 2, &floats)),
        ("cut.npy", npy_file("<f4", 3, 2, &floats[..10])),
        ("ints.npy", npy_file("<i4", 3, 2, &floats)),
        ("none.npy", b"words".to_vec()),
        (
            "docs.jsonl",
            "{\"text\": \"a\"}\n{\"text\": \"b\"}\n".into(),
        ),
    ]);
    for (name, words) in [
        ("more.npy", "1 vectors more than there are records"),
        ("less.npy", "it comes with no vector"),
        ("cut.npy", "cannot read"),
        ("ints.npy", "must be f4 or f8"),
        ("none.npy", "no NumPy file"),
    ] {
        let sources = Sources::new().path(folder.path().join("docs.jsonl"));
        let error = vectors(sources.vectors(folder.path().join(name))).expect_err(name);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn damaged_columns_are_told() {
    let whole = parquet_file(&batch(false));
    let mut flipped = whole.clone();
    flipped[20] ^= 0xff;
    let folder = folder(&[
        ("cut.parquet", &whole[..whole.len() - 9]),
        ("flipped.parquet", &flipped),
        ("none.parquet", b"PAR1"),
        ("none.arrow", b"ARROW1\0\0"),
    ]);
    let outcome = read_folder(&folder);
    let mut names: Vec<_> = outcome
        .failed()
        .iter()
        .map(|(name, _)| name.split(':').next())
        .collect();
    names.dedup();
    assert_eq!(names.len(), 4, "{:?}", outcome.failures);
}
