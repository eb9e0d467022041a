//! The database against a model: a `BTreeMap` and an exact scan.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use vecdb::{Collection, CollectionOptions, Database, Document, Filter, Vector};

const DIMENSION: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<(u8, i64, [i8; DIMENSION])>),
    Delete(Vec<u8>),
    Flush,
    Merge,
    Reopen,
    Query([i8; DIMENSION], usize, usize, Option<i64>),
    Get(u8),
}

fn direction() -> impl Strategy<Value = [i8; DIMENSION]> {
    // Few values, so that ties and exact duplicates are common.
    prop::array::uniform4(-2_i8..=2)
        .prop_filter("a vector needs a direction", |v| v.iter().any(|&x| x != 0))
}

fn step() -> impl Strategy<Value = Step> {
    let document = || (any::<u8>().prop_map(|id| id % 24), -3_i64..3, direction());
    prop_oneof![
        4 => prop::collection::vec(document(), 1..6).prop_map(Step::Add),
        2 => prop::collection::vec(any::<u8>().prop_map(|id| id % 24), 1..4).prop_map(Step::Delete),
        3 => Just(Step::Flush),
        1 => Just(Step::Merge),
        1 => Just(Step::Reopen),
        4 => (direction(), 0_usize..8, 0_usize..4, prop::option::of(-3_i64..3)).prop_map(|(v, k, o, f)| Step::Query(v, k, o, f)),
        2 => any::<u8>().prop_map(|id| Step::Get(id % 24)),
    ]
}

fn vector(components: [i8; DIMENSION]) -> Vector {
    Vector::new(components.map(f32::from).to_vec()).expect("finite")
}

fn document(id: u8, year: i64) -> Document {
    Document::new(format!("d{id}"), format!("text {year}")).field("year", year)
}

fn cosine(a: &[i8; DIMENSION], b: &[i8; DIMENSION]) -> f32 {
    let dot = |x: &[i8; DIMENSION], y: &[i8; DIMENSION]| {
        x.iter()
            .zip(y)
            .map(|(&x, &y)| f64::from(x) * f64::from(y))
            .sum::<f64>()
    };
    (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())) as f32
}

type Model = BTreeMap<u8, (i64, [i8; DIMENSION])>;

fn open(folder: &std::path::Path) -> (Database, Collection) {
    let db = Database::open(folder.join("m.vecdb")).unwrap_or_else(|e| panic!("{e}"));
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    (db, points)
}

fn check_query(
    points: &Collection,
    model: &Model,
    query: [i8; DIMENSION],
    limit: usize,
    offset: usize,
    least: Option<i64>,
) {
    let mut asked = points
        .query_vector(vector(query))
        .limit(limit)
        .offset(offset);
    if let Some(least) = least {
        asked = asked.filter(Filter::greater_or_equal("year", least));
    }
    let hits = asked.run().expect("a query");
    let eligible = model
        .iter()
        .filter(|(_, (year, _))| least.is_none_or(|least| *year >= least));
    let mut scores: Vec<f32> = eligible.map(|(_, (_, v))| cosine(v, &query)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    let expected: Vec<f32> = scores.into_iter().skip(offset).take(limit).collect();
    assert_eq!(hits.len(), expected.len(), "as many hits as match");
    for (hit, expected) in hits.iter().zip(&expected) {
        assert!(
            (hit.score - expected).abs() < 1e-5,
            "{hit:?} against {expected}"
        );
        let id: u8 = hit.id[1..].parse().expect("our id");
        let (year, components) = model.get(&id).expect("a deleted document is never a hit");
        assert!(
            (cosine(components, &query) - hit.score).abs() < 1e-5,
            "the score is the stored vector's"
        );
        assert_eq!(hit.passage, format!("text {year}"));
    }
    let mut ids: Vec<&str> = hits.iter().map(|h| h.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), hits.len(), "each document once");
}

fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut db, mut points) = open(folder.path());
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Add(batch) => {
                let documents = batch
                    .iter()
                    .map(|&(id, year, v)| (document(id, year), vector(v)));
                let mut ids: Vec<u8> = batch.iter().map(|(id, ..)| *id).collect();
                ids.sort_unstable();
                ids.dedup();
                let added = points.add_vectors(documents);
                if ids.len() < batch.len() {
                    assert!(
                        matches!(added, Err(vecdb::Error::DuplicateId { .. })),
                        "a duplicate is refused"
                    );
                } else {
                    let added = added.expect("adds");
                    assert_eq!(
                        added.added + added.updated + added.unchanged,
                        batch.len() as u64
                    );
                    let new = ids.iter().filter(|id| !model.contains_key(id)).count();
                    assert_eq!(added.added, new as u64);
                    model.extend(batch.into_iter().map(|(id, year, v)| (id, (year, v))));
                }
            }
            Step::Delete(ids) => {
                let mut there: Vec<u8> = ids
                    .iter()
                    .copied()
                    .filter(|id| model.contains_key(id))
                    .collect();
                there.sort_unstable();
                there.dedup();
                let deleted = points
                    .delete(ids.iter().map(|id| format!("d{id}")))
                    .expect("deletes");
                assert_eq!(deleted, there.len() as u64);
                model.retain(|id, _| !there.contains(id));
            }
            Step::Flush => db.flush().expect("seals"),
            Step::Merge => {
                db.compact(|_| ControlFlow::Continue(())).expect("merges");
                assert_eq!(points.info().due_segments, 0);
            }
            Step::Reopen => {
                drop(points);
                db.close().expect("closes");
                (db, points) = open(folder.path());
            }
            Step::Query(v, limit, offset, least) => {
                check_query(&points, &model, v, limit, offset, least)
            }
            Step::Get(id) => {
                let expected = model.get(&id).map(|&(year, _)| document(id, year));
                assert_eq!(points.get(&format!("d{id}")).expect("reads"), expected);
            }
        }
        assert_eq!(points.len(), model.len() as u64);
    }
    drop(points);
    db.close().expect("closes");
    let report = Database::check(folder.path().join("m.vecdb")).expect("checks");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let reader = Database::options()
        .read_only()
        .open(folder.path().join("m.vecdb"))
        .expect("opens");
    let points = reader.collection("points").expect("there");
    let mut listed: Vec<Document> = points.documents().map(|d| d.expect("reads")).collect();
    listed.sort_by_key(|d| d.id[1..].parse::<u8>().expect("our id"));
    let expected: Vec<Document> = model
        .iter()
        .map(|(&id, &(year, _))| document(id, year))
        .collect();
    assert_eq!(listed, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_database_answers_as_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}
