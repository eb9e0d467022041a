//! What is deleted leaves the disk: its space by itself, and on request every byte of it.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use vecdb::{Collection, CollectionOptions, Database, Document, Merging, SnapshotOptions, Vector};

use crate::random::Random;

const DIMENSION: usize = 12;

fn go_on(_: &vecdb::Compacted) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn open(path: &Path) -> (Database, Collection) {
    let db = Database::options()
        .merging(Merging::on_request())
        .open(path)
        .expect("opens");
    let points = db.create_collection("points", CollectionOptions::vectors(DIMENSION));
    (db, points.expect("a collection"))
}

/// A text that no other document has, and that lz4 cannot shorten much.
fn text(id: u64) -> String {
    let mut random = Random(id + 1);
    let word = |_| format!("{:x}", random.next());
    (0..4).map(word).collect::<Vec<_>>().join(" ")
}

fn vector(id: u64) -> Vec<f32> {
    let vector = Random(id + 1_000_000).vector(DIMENSION);
    let unit = Vector::new(vector).and_then(Vector::to_unit);
    unit.expect("not zero").as_slice().to_vec()
}

fn add(points: &Collection, ids: std::ops::Range<u64>) {
    let document = |id| {
        let document = Document::new(format!("document {id:08}"), text(id))
            .title(format!("title {}", text(id + 50_000)))
            .field("secret", format!("field {}", text(id + 60_000)));
        (document, Vector::new(vector(id)).expect("finite"))
    };
    points.add_vectors(ids.map(document)).expect("adds");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// The files that hold the beginning of the document's text, or its vector.
fn holding(folder: &Path, id: u64) -> Vec<PathBuf> {
    let text = text(id).into_bytes();
    let vector: Vec<u8> = vector(id).iter().flat_map(|x| x.to_le_bytes()).collect();
    let holds = |path: &PathBuf| {
        let bytes = fs::read(path).expect("readable");
        contains(&bytes, &text[..12]) || contains(&bytes, &vector)
    };
    files(folder).into_iter().filter(holds).collect()
}

#[test]
fn after_a_purge_no_file_holds_a_byte_of_what_was_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.vecdb");
    let (db, points) = open(&path);
    // In segments, in write-ahead rows, replaced, and deleted before it was ever sealed.
    add(&points, 0..100);
    db.flush().expect("seals");
    add(&points, 100..120);
    points
        .delete(["document 00000007", "document 00000110"])
        .expect("deletes");
    let replaced = Document::new("document 00000042", "now another text");
    let new_vector = Vector::new(vector(4242)).expect("finite");
    points
        .add_vectors([(replaced, new_vector)])
        .expect("replaces");
    for id in [7, 42, 110] {
        assert!(!holding(&path, id).is_empty(), "{id} is there before");
    }
    let purged = db.purge(go_on).expect("purges");
    assert!(purged.is_proved(), "{purged:?}");
    assert_eq!((purged.documents, purged.passages), (3, 3), "{purged:?}");
    assert!(purged.windows >= 3 * 12, "{purged:?}");
    // Both stretches of the id that lives on, and the first of the others, which begin as ids that live.
    assert_eq!(purged.shared_windows, 4, "{purged:?}");
    assert_eq!(purged.stored_documents, 118);
    assert_eq!(purged.compacted.dead_passages, 2, "one was never sealed");
    for id in [7, 42, 110] {
        assert_eq!(holding(&path, id), [] as [PathBuf; 0], "{id}");
    }
    // And the same after the close, and for what lives.
    drop(points);
    db.close().expect("closes");
    for id in [7, 42, 110] {
        assert_eq!(holding(&path, id), [] as [PathBuf; 0], "{id}");
    }
    assert!(
        !holding(&path, 8).is_empty(),
        "the search finds what is there"
    );
    let (db, points) = open(&path);
    assert_eq!(points.len(), 118);
    for id in (0..120).filter(|id| ![7, 42, 110].contains(id)) {
        let hits = points
            .query_vector(Vector::new(vector(id)).expect("finite"))
            .limit(1)
            .run();
        assert_eq!(hits.expect("a query")[0].passage, text(id));
    }
    let report = Database::check(&path).expect("checks");
    assert_eq!(report.problems, [] as [String; 0]);
    // Nothing to do: nothing is found to be wrong either.
    let again = db.purge(go_on).expect("purges");
    assert!(
        again.is_proved() && again.documents == 0 && again.compacted.merges == 0,
        "{again:?}"
    );
}

#[test]
fn what_a_live_document_has_too_is_no_proof_against_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (db, points) = open(&folder.path().join("p.vecdb"));
    add(&points, 0..20);
    let copy = Document::new("a copy", text(3));
    points
        .add_vectors([(copy, Vector::new(vector(3)).expect("finite"))])
        .expect("adds");
    points.delete(["document 00000003"]).expect("deletes");
    let purged = db.purge(go_on).expect("purges");
    assert!(purged.is_proved(), "{purged:?}");
    assert!(purged.shared_windows >= 5, "text and vector: {purged:?}");
    assert!(purged.windows > 0, "title, field and id: {purged:?}");
    assert_eq!(
        points.get("a copy").expect("readable").expect("there").text,
        text(3)
    );
}

#[test]
fn a_file_that_still_holds_it_is_named_and_the_purge_is_not_proved() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.vecdb");
    let (db, points) = open(&path);
    add(&points, 0..20);
    points.delete(["document 00000005"]).expect("deletes");
    let left = path.join("meta.01ARZ3NDEKTSV4RRFFQ69G5FAV.aside");
    fs::create_dir(&left).expect("made");
    // Behind the end of a chunk of the search.
    let mut bytes = vec![b'-'; (1 << 20) + 20];
    bytes.extend(text(5).into_bytes());
    fs::write(left.join("db"), &bytes).expect("written");
    fs::write(path.join("todo.txt"), "nothing secret").expect("written");
    let purged = db.purge(go_on).expect("purges");
    assert!(!purged.is_proved());
    let named = |name: &str, words: &str| {
        let is_named = |p: &String| p.contains(name) && p.contains(words);
        purged.problems.iter().filter(|p| is_named(p)).count()
    };
    assert_eq!(purged.problems.len(), 2, "{purged:?}");
    assert_eq!(
        named("aside", &format!("erased bytes at {}", (1 << 20) + 20)),
        1,
        "{purged:?}"
    );
    assert_eq!(named("todo.txt", "not in use"), 1, "{purged:?}");
}

#[cfg(unix)]
#[test]
fn a_purge_does_not_claim_that_a_snapshot_is_erased() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.vecdb");
    let (db, points) = open(&path);
    add(&points, 0..20);
    let copy = folder.path().join("copy.vecdb");
    db.snapshot(&copy, SnapshotOptions::default())
        .expect("copies");
    points.delete(["document 00000005"]).expect("deletes");
    let purged = db.purge(go_on).expect("purges");
    assert!(purged.is_proved(), "{purged:?}");
    let told = purged
        .remarks
        .iter()
        .any(|remark| remark.contains("another name"));
    assert!(told, "{purged:?}");
    assert_eq!(holding(&path, 5), [] as [PathBuf; 0]);
    assert!(!holding(&copy, 5).is_empty());
    let (_, points) = open(&copy);
    assert_eq!(points.len(), 20);
}

#[test]
fn a_purge_beside_writers_loses_nothing_and_can_be_cancelled() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.vecdb");
    let (db, points) = open(&path);
    add(&points, 0..500);
    points
        .delete((0..500).step_by(2).map(|id| format!("document {id:08}")))
        .expect("deletes");
    let cancelled = db.purge(|_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(vecdb::Error::Cancelled)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in (1000..1100).step_by(10) {
                add(&points, id..id + 10);
                points
                    .delete([format!("document {id:08}")])
                    .expect("deletes");
                db.flush().expect("seals");
            }
        });
        for _ in 0..5 {
            let purged = db.purge(go_on).expect("purges");
            assert!(purged.is_proved(), "{purged:?}");
        }
    });
    assert!(db.purge(go_on).expect("purges").is_proved());
    assert_eq!(points.len(), 250 + 90);
    for id in (0..500).step_by(2).chain((1000..1100).step_by(10)) {
        assert_eq!(holding(&path, id), [] as [PathBuf; 0], "{id}");
    }
    drop(points);
    db.close().expect("closes");
    let report = Database::check(&path).expect("checks");
    assert_eq!(report.problems, [] as [String; 0]);
}
