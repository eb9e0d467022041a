//! Copies of a database that are databases.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use vecdb::{Collection, CollectionOptions, Database, Document, Error, SnapshotOptions, Vector};

fn points(db: &Database) -> Collection {
    db.create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection")
}

/// A call with as many documents as it says: they are there all or none.
fn add(points: &Collection, call: u64) {
    let document = |nth| {
        let document = Document::new(format!("{call}-{nth}"), format!("call {call}"));
        (
            document,
            Vector::new(vec![1.0, call as f32]).expect("finite"),
        )
    };
    points.add_vectors((0..3).map(document)).expect("adds");
}

/// How many calls it holds; they must be the first ones, each whole.
fn calls(path: &Path) -> u64 {
    let report = Database::check(path).expect("checks");
    assert_eq!(report.problems, [] as [String; 0]);
    let db = Database::open(path).expect("opens");
    let points = points(&db);
    let calls = points.len() / 3;
    assert_eq!(points.len(), calls * 3, "a call is there whole or not");
    for call in 0..calls {
        for nth in 0..3 {
            let document = points.get(&format!("{call}-{nth}")).expect("readable");
            assert_eq!(document.expect("there").text, format!("call {call}"));
        }
    }
    // It takes writes, and the database that it is a copy of does not see them.
    add(&points, calls);
    db.close().expect("closes");
    calls
}

#[test]
fn a_snapshot_holds_what_was_acknowledged_and_lives_on_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("a.vecdb")).expect("opens");
    let points = points(&db);
    for call in 0..4 {
        add(&points, call);
    }
    for (name, options) in [
        ("linked", SnapshotOptions::default()),
        ("copied", SnapshotOptions::default().copy()),
    ] {
        let copy = folder.path().join(name);
        let made = db.snapshot(&copy, options).expect("copies");
        assert!(made.is_complete);
        assert_eq!((made.collections, made.documents), (1, 12));
        let is_linked = name == "linked";
        assert_eq!(
            (made.linked_files > 0, made.copied_files > 0),
            (is_linked, !is_linked)
        );
        let reading = Database::options().read_only().open(&copy).expect("opens");
        assert_eq!(self::points_of(&reading), 12);
        assert_eq!(calls(&copy), 4);
        assert_eq!(points.len(), 12, "the copy's writes are its own");
    }
    let refused = db.snapshot(folder.path().join("linked"), SnapshotOptions::default());
    let refused = refused.expect_err("it is not empty").to_string();
    assert!(refused.contains("not empty"), "{refused}");
    let inside = db.snapshot(
        folder.path().join("a.vecdb/copy"),
        SnapshotOptions::default(),
    );
    let inside = inside.expect_err("inside").to_string();
    assert!(inside.contains("in the database itself"), "{inside}");
    assert!(!folder.path().join("a.vecdb/copy").exists());
    drop(points);
    db.close().expect("closes");
    assert_eq!(calls(&folder.path().join("a.vecdb")), 4);
}

fn points_of(db: &Database) -> u64 {
    db.existing_collection("points").expect("there").len()
}

#[test]
fn snapshots_made_while_others_write_and_merge_are_states_that_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.vecdb");
    let db = Database::open(&path).expect("opens");
    let points = points(&db);
    add(&points, 0);
    db.flush().expect("seals");
    let done = AtomicBool::new(false);
    let (mut own, mut others) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for call in 1..60 {
                add(&points, call);
                // Segments come and go by merges.
                db.flush().expect("seals");
            }
            done.store(true, Ordering::SeqCst);
        });
        for nth in 0..10 {
            if done.load(Ordering::SeqCst) {
                break;
            }
            let copy = folder.path().join(format!("own {nth}"));
            let options = if nth % 2 == 0 {
                SnapshotOptions::default()
            } else {
                SnapshotOptions::default().copy()
            };
            assert!(db.snapshot(&copy, options).expect("copies").is_complete);
            own.push(copy);
            // As another process does: without lock and catalog.
            let reader = Database::options().read_only().open(&path).expect("opens");
            let copy = folder.path().join(format!("other {nth}"));
            let made = reader.snapshot(&copy, options).expect("copies");
            assert!(!made.is_complete, "somebody writes");
            others.push(copy);
        }
    });
    let mut last = 0;
    for copy in own {
        let found = calls(&copy);
        assert!(found >= last, "{found} after {last}");
        last = found;
    }
    let held: Vec<u64> = others.iter().map(|copy| calls(copy)).collect();
    assert!(held.is_sorted() && held.last() > Some(&0), "{held:?}");
}

#[test]
fn an_unfinished_snapshot_is_no_database_and_says_what_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("a.vecdb")).expect("opens");
    add(&points(&db), 0);
    let copy = folder.path().join("copy");
    db.snapshot(&copy, SnapshotOptions::default())
        .expect("copies");
    // What a kill before the last step leaves.
    fs::remove_file(copy.join("FORMAT")).expect("there");
    match Database::open(&copy) {
        Err(Error::NotADatabase { what, .. }) => assert!(what.contains("unfinished"), "{what}"),
        other => panic!("{other:?}"),
    }
    db.snapshot(&copy, SnapshotOptions::default())
        .expect_err("not empty");
}
