//! The main verbs and their errors, without an encoder.

use std::ops::ControlFlow;

use vecdb::{
    BatchOptions, Collection, CollectionOptions, Database, Document, Error, Filter, Value, Vector,
};

fn point(x: f32, y: f32) -> Vector {
    Vector::new(vec![x, y]).expect("finite")
}

/// Four documents east, north, west, south.
fn compass() -> (tempfile::TempDir, Database, Collection) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("c.vecdb")).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection");
    let document = |id: &str, n: i64| Document::new(id, format!("to the {id}")).field("n", n);
    let added = points
        .add_vectors([
            (
                document("east", 1).field("tags", vec!["axis", "x"]),
                point(1.0, 0.0),
            ),
            (document("north", 2).field("warm", false), point(0.0, 2.0)),
            (
                document("west", 3).field("tags", vec!["axis"]),
                point(-3.0, 0.0),
            ),
            (
                document("south", 4).field("warm", true).field("n", 4.5),
                point(0.0, -4.0),
            ),
        ])
        .expect("adds");
    assert_eq!(
        (added.added, added.updated, added.unchanged, added.passages),
        (4, 0, 0, 4)
    );
    (folder, db, points)
}

fn ids(query: vecdb::Query) -> Vec<String> {
    query
        .run()
        .expect("a query")
        .into_iter()
        .map(|hit| hit.id)
        .collect()
}

#[test]
fn hits_come_best_first_with_cosines_whatever_the_vectors_lengths() {
    let (_folder, _db, points) = compass();
    let hits = points.query_vector(point(0.1, 5.0)).run().expect("a query");
    let told: Vec<(&str, f32)> = hits
        .iter()
        .map(|h| (h.id.as_str(), (h.score * 100.0).round()))
        .collect();
    assert_eq!(
        told,
        [
            ("north", 100.0),
            ("east", 2.0),
            ("west", -2.0),
            ("south", -100.0)
        ]
    );
    assert_eq!(
        (hits[0].passage.as_str(), hits[0].range.clone()),
        ("to the north", 0..12)
    );
}

#[test]
fn offset_limit_and_minimum_score_cut_the_ranking() {
    let (_folder, _db, points) = compass();
    let query = || points.query_vector(point(0.1, 5.0));
    assert_eq!(ids(query().limit(2)), ["north", "east"]);
    assert_eq!(ids(query().offset(1).limit(2)), ["east", "west"]);
    assert_eq!(ids(query().min_score(0.0)), ["north", "east"]);
    assert_eq!(ids(query().offset(9)), [""; 0]);
    assert_eq!(ids(query().limit(0)), [""; 0]);
    assert_eq!(ids(query().limit(usize::MAX).offset(3)), ["south"]);
    assert!(query().min_score(f32::NAN).run().is_err());
}

#[test]
fn filters_choose_by_fields() {
    let (_folder, _db, points) = compass();
    let ask = |filter: &str| {
        let mut found = ids(points.query_vector(point(1.0, 1.0)).filter(filter));
        found.sort();
        found.join(" ")
    };
    assert_eq!(ask("n = 1"), "east");
    assert_eq!(ask("n != 1"), "north south west");
    assert_eq!(ask("n > 2 and n <= 4.5"), "south west");
    assert_eq!(ask("n < 2 or n >= 4.5"), "east south");
    assert_eq!(ask("tags = 'axis'"), "east west");
    assert_eq!(ask("tags in ('x', 'y')"), "east");
    assert_eq!(ask("exists warm"), "north south");
    assert_eq!(ask("not exists warm and not n = 3"), "east");
    assert_eq!(ask("warm = true"), "south");
    assert_eq!(ask("nothing = 1"), "");
    let built = points
        .query_vector(point(1.0, 1.0))
        .filter(Filter::equal("warm", false));
    assert_eq!(ids(built), ["north"]);
    let error = points
        .query_vector(point(1.0, 1.0))
        .filter("n = = 1")
        .run()
        .expect_err("does not parse");
    assert!(matches!(error, Error::Filter { .. }), "{error}");
}

#[test]
fn adding_the_same_id_replaces_and_adding_the_same_document_does_nothing() {
    let (_folder, db, points) = compass();
    let east = Document::new("east", "where the sun rises")
        .title("East")
        .source("atlas")
        .field("n", Value::Null);
    let added = points
        .add_vectors([(east.clone(), point(2.0, 2.0))])
        .expect("adds");
    assert_eq!((added.added, added.updated), (0, 1));
    assert_eq!(points.len(), 4);
    assert_eq!(points.get("east").expect("reads"), Some(east.clone()));
    assert_eq!(ids(points.query_vector(point(1.0, 1.0)).limit(1)), ["east"]);
    let again = points
        .add_vectors([(east.clone(), point(2.0, 2.0))])
        .expect("adds");
    assert_eq!((again.added, again.updated, again.unchanged), (0, 0, 1));
    db.flush().expect("seals");
    let again = points.add_vectors([(east, point(2.0, 2.0))]).expect("adds");
    assert_eq!(again.unchanged, 1, "also after a seal");
}

#[test]
fn deleted_documents_are_gone_before_and_after_sealing() {
    let (folder, db, points) = compass();
    assert_eq!(
        points.delete(["east", "nobody", "east"]).expect("deletes"),
        1
    );
    assert_eq!(points.get("east").expect("reads"), None);
    db.flush().expect("seals");
    assert_eq!(points.delete(["north"]).expect("deletes"), 1);
    assert_eq!(ids(points.query_vector(point(1.0, 1.0))).len(), 2);
    drop(points);
    db.close().expect("closes");
    let db = Database::open(folder.path().join("c.vecdb")).expect("opens");
    let points = db.existing_collection("points").expect("there");
    let left = (points.len(), points.info().dead_passages);
    assert_eq!(left, (2, 0), "the close merged what was half dead");
    assert_eq!(points.delete(["west", "south"]).expect("deletes"), 2);
    db.flush().expect("seals");
    assert_eq!(
        (points.info().segments, points.info().bytes),
        (0, 0),
        "a segment without a live document is let go"
    );
    assert_eq!(ids(points.query_vector(point(1.0, 1.0))), [""; 0]);
}

#[test]
fn what_cannot_be_stored_is_refused_and_changes_nothing() {
    let (_folder, db, points) = compass();
    let good = || (Document::new("new", "text"), point(1.0, 0.0));
    let refused =
        |documents: Vec<(Document, Vector)>| points.add_vectors(documents).expect_err("refused");
    let wide = Vector::new(vec![1.0, 2.0, 3.0]).expect("finite");
    assert!(matches!(
        refused(vec![good(), (Document::new("wide", "text"), wide.clone())]),
        Error::Dimension {
            expected: 2,
            given: 3
        }
    ));
    assert!(matches!(
        refused(vec![good(), good()]),
        Error::DuplicateId { .. }
    ));
    assert!(matches!(
        refused(vec![good(), (Document::new("", "text"), point(1.0, 0.0))]),
        Error::Document { .. }
    ));
    assert!(matches!(
        refused(vec![
            good(),
            (Document::new("zero", "text"), point(0.0, 0.0))
        ]),
        Error::Vector { .. }
    ));
    let infinite = Document::new("inf", "text").field("x", f64::INFINITY);
    assert!(matches!(
        refused(vec![good(), (infinite, point(1.0, 0.0))]),
        Error::Document { .. }
    ));
    let long = Document::new("i".repeat(513), "text");
    assert!(matches!(
        refused(vec![good(), (long, point(1.0, 0.0))]),
        Error::Document { .. }
    ));
    assert!(matches!(
        points.query_vector(wide).run(),
        Err(Error::Dimension { .. })
    ));
    assert!(matches!(
        points.query("a text").run(),
        Err(Error::Collection { .. })
    ));
    assert!(matches!(
        points.add([Document::new("t", " \n ")]),
        Err(Error::Document { .. })
    ));
    assert!(matches!(
        db.create_collection("points", CollectionOptions::vectors(3)),
        Err(Error::Collection { .. })
    ));
    assert!(matches!(
        db.create_collection("", CollectionOptions::vectors(3)),
        Err(Error::Collection { .. })
    ));
    assert_eq!(points.len(), 4, "nothing of it was stored");
    for bad in [vec![], vec![f32::NAN], vec![1.0, f32::INFINITY]] {
        assert!(matches!(Vector::new(bad), Err(Error::Vector { .. })));
    }
}

#[test]
fn foreign_newer_and_missing_folders_are_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("missing");
    assert!(matches!(
        Database::options().must_exist().open(&missing),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        Database::options().read_only().open(&missing),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        Database::check(&missing),
        Err(Error::NotFound { .. })
    ));
    assert!(!missing.exists());

    let foreign = folder.path().join("foreign");
    std::fs::create_dir(&foreign).expect("creates");
    std::fs::write(foreign.join("FORMAT"), "some other program's\n").expect("writes");
    assert!(matches!(
        Database::open(&foreign),
        Err(Error::NotADatabase { .. })
    ));

    let newer = folder.path().join("newer.vecdb");
    drop(Database::open(&newer).expect("opens"));
    std::fs::write(newer.join("FORMAT"), "vecdb 99 1\n").expect("writes");
    let error = Database::open(&newer).expect_err("newer");
    assert!(
        matches!(
            error,
            Error::NewerFormat {
                found: 99,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("creates");
    drop(Database::open(&empty).expect("an empty folder becomes a database"));
}

#[test]
fn a_large_call_goes_straight_into_a_segment_and_can_be_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("c.vecdb")).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection");
    let angle = |i: u32| f64::from(i).mul_add(0.001, 0.1);
    let documents = (0..3_000).map(|i| {
        (
            Document::new(format!("p{i}"), format!("point {i}")).field("i", i),
            point(angle(i).cos() as f32, angle(i).sin() as f32),
        )
    });
    points.add_vectors(documents).expect("adds");
    let info = points.info();
    assert_eq!(
        (info.documents, info.unsealed_passages, info.segments),
        (3_000, 0, 1)
    );
    let hits = points
        .query_vector(point(angle(1_234).cos() as f32, angle(1_234).sin() as f32))
        .limit(3)
        .run()
        .expect("a query");
    assert_eq!(hits[0].id, "p1234");
    let hits = points
        .query_vector(point(1.0, 0.0))
        .filter("i >= 2990")
        .limit(20)
        .run()
        .expect("a query");
    assert_eq!(hits.len(), 10, "as many as match, though they rank last");
}

#[test]
fn an_empty_stream_is_no_error_and_a_failing_one_keeps_what_came_before() {
    let (_folder, _db, points) = compass();
    let none = points
        .ingest(std::iter::empty(), BatchOptions::default())
        .expect("nothing to do");
    assert_eq!((none.added, none.passages, none.tokens), (0, 0, 0));
    let broken = [Err(Error::Query {
        what: "the stream broke".into(),
    })];
    let calls = std::cell::Cell::new(0);
    let options = BatchOptions::default().progress(|_| {
        calls.set(calls.get() + 1);
        ControlFlow::Continue(())
    });
    assert!(matches!(
        points.ingest(broken, options),
        Err(Error::Query { .. })
    ));
    assert_eq!(points.len(), 4);
}

#[test]
fn replacing_the_same_documents_for_ever_is_sealed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("c.vecdb")).expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection");
    for turn in 0..11 {
        let documents = (0..1_000).map(|i| {
            (
                Document::new(i.to_string(), format!("turn {turn}")),
                point(i as f32, 1.0),
            )
        });
        points.add_vectors(documents).expect("adds");
    }
    let info = points.info();
    assert_eq!((info.documents, info.segments), (1_000, 1), "{info:?}");
    assert_eq!(
        points
            .delete((0..1_000).map(|i| i.to_string()))
            .expect("deletes"),
        1_000
    );
    assert_eq!(
        points
            .add_vectors([(Document::new("7", "again"), point(1.0, 1.0))])
            .expect("adds")
            .added,
        1
    );
    db.flush().expect("seals");
    assert_eq!(points.info().documents, 1);
    assert_eq!(
        points.get("7").expect("reads").map(|d| d.text),
        Some("again".to_owned())
    );
}

#[test]
fn a_dimension_that_no_vector_can_have_is_refused() {
    let (_folder, db, _points) = compass();
    for dimension in [0, 70_000] {
        assert!(matches!(
            db.create_collection("odd", CollectionOptions::vectors(dimension)),
            Err(Error::Collection { .. })
        ));
    }
    assert_eq!(db.collections().len(), 1);
}
