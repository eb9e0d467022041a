//! One database, many threads; one folder, two processes.

use std::sync::atomic::{AtomicBool, Ordering};

use vecdb::{CollectionOptions, Database, Document, Error, Vector};

fn point(i: u32) -> Vector {
    let angle = i as f32 * 0.01;
    Vector::new(vec![angle.cos(), angle.sin(), 0.5]).expect("finite")
}

#[test]
fn readers_always_see_a_whole_state_while_writers_add_delete_and_seal() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("t.vecdb")).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(3))
        .expect("a collection");
    // Pairs are added and deleted together, so a reader must never count an odd number.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut queries = 0;
                while !stop.load(Ordering::Relaxed) || queries == 0 {
                    let hits = points
                        .query_vector(point(queries))
                        .limit(1_000)
                        .run()
                        .expect("a query");
                    assert_eq!(hits.len() % 2, 0, "a call was seen in part");
                    queries += 1;
                }
            });
        }
        let writers: Vec<_> = (0..2_u32)
            .map(|writer| {
                let (points, db) = (points.clone(), db.clone());
                scope.spawn(move || {
                    for i in 0..60 {
                        let pair = [writer * 1_000 + i * 2, writer * 1_000 + i * 2 + 1];
                        let documents =
                            pair.map(|n| (Document::new(n.to_string(), "text"), point(n)));
                        points.add_vectors(documents).expect("adds");
                        if i % 3 == 0 {
                            points.delete(pair.map(|n| n.to_string())).expect("deletes");
                        }
                        if i % 20 == 19 {
                            db.flush().expect("seals");
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(points.len(), 2 * 2 * 40);
}

#[test]
fn a_call_that_finds_a_document_there_already_and_another_that_changes_it_follow_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("t.vecdb")).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(3))
        .expect("a collection");
    let document = |id: &str, text: &str| (Document::new(id, text), point(1));
    let texts = || {
        let text = |id| points.get(id).expect("reads").map(|document| document.text);
        [text("a"), text("b")]
    };
    let was = |text: &str| Some(text.to_owned());
    for (first, second) in [("old", "new"), ("newer", "newest")] {
        points.add_vectors([document("a", first)]).expect("adds");
        // The other call comes while this one takes its documents, of which one is there as it is.
        let both = [first, second].into_iter().zip(["a", "b"]).map(|(_, id)| {
            if id == "b" {
                points
                    .add_vectors([document("a", second), document("b", second)])
                    .expect("adds");
            }
            document(id, first)
        });
        let added = points.add_vectors(both).expect("adds");
        // Whoever saw the other call's documents sees them replaced by this one's, both.
        assert_eq!(texts(), [was(first), was(first)]);
        assert_eq!((added.updated, added.unchanged), (2, 0));
        let again = points.add_vectors([document("a", first), document("b", first)]);
        assert_eq!(again.expect("adds").unchanged, 2);
    }
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.vecdb");
    let db = Database::open(&path).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(3))
        .expect("a collection");
    points
        .add_vectors([(Document::new("a", "sealed"), point(1))])
        .expect("adds");
    db.flush().expect("seals");
    points
        .add_vectors([(Document::new("b", "not sealed"), point(2))])
        .expect("adds");

    let refused = Database::open(&path).expect_err("held").to_string();
    assert!(
        refused.contains(&format!("pid {}", std::process::id())),
        "{refused}"
    );

    let reader = Database::options()
        .for_reading()
        .open(&path)
        .expect("reads beside the writer");
    assert!(reader.is_read_only());
    let seen = reader.collection("points").expect("there");
    assert_eq!(seen.len(), 1, "what is sealed");
    assert!(matches!(seen.delete(["a"]), Err(Error::ReadOnly { .. })));
    assert!(matches!(
        reader.collection("other"),
        Err(Error::NoCollection { .. })
    ));

    drop(points);
    db.close().expect("closes");
    let reader = Database::options()
        .for_reading()
        .open(&path)
        .expect("reads");
    assert_eq!(
        reader.collection("points").expect("there").len(),
        2,
        "closing seals"
    );
}

#[test]
fn a_reader_after_a_crash_sees_everything_acknowledged_and_keeps_no_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, crashed) = (
        folder.path().join("t.vecdb"),
        folder.path().join("crashed.vecdb"),
    );
    let db = Database::open(&path).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(3))
        .expect("a collection");
    points
        .add_vectors([(Document::new("a", "acknowledged"), point(1))])
        .expect("adds");
    // What is on disk now is what a kill would leave, without anybody holding the lock.
    crate::copy(&path, &crashed);

    let reader = Database::options()
        .for_reading()
        .open(&crashed)
        .expect("reads");
    assert!(reader.is_read_only());
    assert_eq!(reader.collection("points").expect("there").len(), 1);
    let writer = Database::open(&crashed).expect("nobody holds the lock");
    writer
        .collection("points")
        .expect("there")
        .delete(["a"])
        .expect("deletes");
    assert_eq!(
        reader.collection("points").expect("there").len(),
        1,
        "a snapshot stays as it was"
    );
}
