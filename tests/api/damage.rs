//! Damaged bytes give errors: never a panic, never a wrong answer.

use std::fs;
use std::path::{Path, PathBuf};

use vecdb::{CollectionOptions, Database, Document, Error, Result, Vector};

const DOCUMENTS: u32 = 40;

fn point(i: u32) -> Vector {
    let angle = i as f32 * 0.13;
    Vector::new(vec![angle.cos(), angle.sin(), 0.25, 0.0]).expect("finite")
}

fn make(path: &Path) {
    let db = Database::open(path).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(4))
        .expect("a collection");
    let documents = (0..DOCUMENTS).map(|i| {
        let text = format!("text number {i} {}", "filling ".repeat(i as usize));
        (
            Document::new(format!("id{i}"), text)
                .title("title")
                .field("n", i)
                .field("kind", "even"),
            point(i),
        )
    });
    points.add_vectors(documents).expect("adds");
    db.flush().expect("seals");
    points.delete(["id3", "id7"]).expect("deletes");
    drop(points);
    db.close().expect("closes");
}

/// Everything a reader can ask, as text.
fn answers(path: &Path) -> Result<String> {
    let db = Database::options().read_only().open(path)?;
    let points = db.existing_collection("points")?;
    let mut told = format!("{:?}\n", points.info());
    for document in points.documents() {
        told += &format!("{:?}\n", document?);
    }
    for i in 0..8 {
        told += &format!(
            "{:?}\n",
            points
                .query_vector(point(i * 5))
                .filter("n >= 2 and kind = 'even'")
                .run()?
        );
    }
    Ok(told)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|e| e.path())
        .collect();
    found.sort();
    found
}

#[test]
fn a_changed_byte_in_any_file_is_found_by_check_and_never_gives_a_wrong_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("d.vecdb");
    make(&path);
    let good = answers(&path).expect("reads");
    let mut targets = files(&path.join("segments"));
    assert_eq!(
        targets.len(),
        2,
        "a segment and its tombstones: {targets:?}"
    );
    targets.push(path.join("MANIFEST"));
    let mut flips = 0;
    for target in targets {
        let bytes = fs::read(&target).expect("reads");
        // Every byte of small files; a walk through larger ones that meets every section.
        let stride = (bytes.len() / 700).max(1);
        for at in (0..bytes.len()).step_by(stride) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            fs::write(&target, &changed).expect("writes");
            let name = target.file_name().expect("a name").to_string_lossy();
            match answers(&path) {
                Ok(told) => assert_eq!(told, good, "{name} byte {at}: a wrong answer"),
                Err(Error::Damaged { .. }) => {}
                Err(other) => panic!("{name} byte {at}: {other}"),
            }
            let report = Database::check(&path).expect("checks");
            assert!(
                !report.problems.is_empty(),
                "{name} byte {at}: check does not see it"
            );
            flips += 1;
        }
        for length in [0, 1, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&target, &bytes[..length]).expect("writes");
            assert!(
                matches!(answers(&path), Err(Error::Damaged { .. })),
                "{} cut to {length}",
                target.display()
            );
        }
        fs::write(&target, &bytes).expect("writes");
    }
    assert_eq!(answers(&path).expect("whole again"), good);
    assert!(flips > 1_000, "only {flips} bytes were tried");
}

#[test]
fn a_missing_segment_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("d.vecdb");
    make(&path);
    let segment = files(&path.join("segments"))
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "seg"))
        .expect("one");
    fs::remove_file(&segment).expect("there");
    let error = answers(&path).expect_err("missing").to_string();
    assert!(
        error.contains(&*segment.file_name().expect("a name").to_string_lossy()),
        "{error}"
    );
    assert!(Database::open(&path).is_err());
    assert_eq!(Database::check(&path).expect("checks").problems.len(), 1);
}

#[test]
fn changed_bytes_in_the_catalog_lose_no_document_and_invent_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = folder.path().join("whole.vecdb");
    make(&whole);
    let good = answers(&whole).expect("reads");
    let length = fs::metadata(whole.join("meta/db")).expect("there").len() as usize;
    let mut opened = 0;
    for at in (0..length).step_by((length / 60).max(1)) {
        let path = folder.path().join(format!("{at}.vecdb"));
        crate::copy(&whole, &path);
        let target = path.join("meta/db");
        let mut bytes = fs::read(&target).expect("reads");
        bytes[at] ^= 0x10;
        fs::write(&target, &bytes).expect("writes");
        // sled may refuse, or never have used that byte, or fall back to an older state: MANIFEST then says that it did.
        if let Ok(db) = Database::open(&path) {
            drop(db);
            assert_eq!(answers(&path).expect("reads"), good, "byte {at}");
            opened += 1;
        }
        fs::remove_dir_all(&path).expect("removes");
    }
    println!("{opened} of 60 opened");
}
