//! Every way to ask, against the metrics' definitions in f64: exact, range, examples, batches, ids alone.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vecdb::{Collection, CollectionOptions, Database, Document, Error, Metric, Query, Vector};

use crate::random::Random;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];
const DIMENSION: usize = 6;

impl Random {
    /// In ±10, coarse enough that ties are common.
    fn values(&mut self) -> Vec<f32> {
        let values: Vec<f32> = (0..DIMENSION)
            .map(|_| self.below(21) as f32 - 10.0)
            .collect();
        if values.iter().all(|&x| x == 0.0) {
            return self.values();
        }
        values
    }
}

fn vector(values: &[f32]) -> Vector {
    Vector::new(values.to_vec()).expect("finite")
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn score(metric: Metric, q: &[f64], x: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    match metric {
        Metric::Cosine => dot(q, x) / (dot(q, q) * dot(x, x)).sqrt(),
        Metric::Dot => dot(q, x),
        _ => {
            let between: Vec<f64> = q.iter().zip(x).map(|(q, x)| q - x).collect();
            -dot(&between, &between).sqrt()
        }
    }
}

/// A collection of many parts with deleted and replaced documents, and what it holds.
struct World {
    metric: Metric,
    points: Collection,
    held: BTreeMap<String, (i64, Vec<f64>)>,
    _db: Database,
    _folder: tempfile::TempDir,
}

impl World {
    fn new(metric: Metric, random: &mut Random, calls: &[u64]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Which of two equal scores comes first changes when parts are sealed or merged: not between two questions.
        let still = Database::options()
            .merging(vecdb::Merging::on_request())
            .seal_after_idle(std::time::Duration::MAX);
        let db = still.open(folder.path().join("a.vecdb")).expect("opens");
        let options = CollectionOptions::vectors(DIMENSION).metric(metric);
        let points = db.create_collection("points", options).expect("made");
        let mut held = BTreeMap::new();
        let ids = calls.iter().sum::<u64>();
        for (call, &count) in calls.iter().enumerate() {
            let mut added = BTreeMap::new();
            for _ in 0..count {
                let values = random.values();
                let id = format!("d{}", random.below(ids));
                added.insert(id, (random.below(4) as i64, values));
            }
            let documents = added.iter().map(|(id, (year, values))| {
                let document = Document::new(id.as_str(), "").field("year", *year);
                (document, vector(values))
            });
            points.add_vectors(documents).expect("adds");
            let added = added.into_iter();
            held.extend(added.map(|(id, (year, values))| (id, (year, wide(&values)))));
            let gone: Vec<String> = held
                .keys()
                .filter(|_| random.below(6) == 0)
                .cloned()
                .collect();
            points.delete(&gone).expect("deletes");
            held.retain(|id, _| !gone.contains(id));
            // The last call stays in memory.
            if call + 1 < calls.len() {
                db.flush().expect("seals");
            }
        }
        Self {
            metric,
            points,
            held,
            _db: db,
            _folder: folder,
        }
    }

    /// What is held, but for `without`, best first.
    fn ranked(&self, query: &[f64], year: Option<i64>, without: &[&str]) -> Vec<(&str, f64)> {
        let kept = self.held.iter().filter(|(id, (of, _))| {
            year.is_none_or(|year| *of == year) && !without.contains(&id.as_str())
        });
        let mut ranked: Vec<(&str, f64)> = kept
            .map(|(id, (_, values))| (id.as_str(), score(self.metric, query, values)))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }

    /// `found` is the head of `expected`, in any order of those that tie.
    fn same(
        &self,
        found: &[vecdb::Scored],
        expected: &[(&str, f64)],
        query: &[f64],
    ) -> Result<(), TestCaseError> {
        prop_assert_eq!(found.len(), expected.len(), "{}", self.metric);
        let mut seen = std::collections::HashSet::new();
        for (hit, (_, best)) in found.iter().zip(expected) {
            let own = score(self.metric, query, &self.held[&hit.id].1);
            for told in [own, *best] {
                let off = 1e-4 * (1.0 + told.abs());
                prop_assert!(
                    (f64::from(hit.score) - told).abs() < off,
                    "{}: {} for {told}",
                    self.metric,
                    hit.score
                );
            }
            prop_assert!(seen.insert(&hit.id), "{} stands twice", hit.id);
        }
        Ok(())
    }
}

fn calls() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1_u64..60, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_metric_ranks_as_its_definition_says(
        seed in any::<u64>(), calls in calls(), k in 1_usize..20, offset in 0_usize..5, which in 0_usize..3,
    ) {
        let mut random = Random(seed);
        let world = World::new(METRICS[which], &mut random, &calls);
        for year in [None, Some(1)] {
            let values = random.values();
            let query = wide(&values);
            let asked = || {
                let query = world.points.query_vector(vector(&values)).limit(k).offset(offset);
                match year {
                    None => query,
                    Some(year) => query.filter(format!("year = {year}").as_str()),
                }
            };
            let ranked = world.ranked(&query, year, &[]);
            let expected: Vec<_> = ranked.iter().copied().skip(offset).take(k).collect();
            let exact = asked().exact().scores().expect("a query");
            world.same(&exact, &expected, &query)?;
            // So few rows are scanned, so nothing is approximate, and the aim makes no difference.
            prop_assert_eq!(&asked().target_recall(0.5).scores().expect("a query"), &exact);
            let hits = asked().run().expect("a query");
            let told: Vec<_> = hits.iter().map(|hit| (&hit.id, hit.score, &hit.range)).collect();
            let scored: Vec<_> = exact.iter().map(|hit| (&hit.id, hit.score, &hit.range)).collect();
            prop_assert_eq!(told, scored);
        }
    }

    #[test]
    fn range_search_is_the_ranking_down_to_its_score(
        seed in any::<u64>(), calls in calls(), which in 0_usize..3,
    ) {
        let mut random = Random(seed);
        let world = World::new(METRICS[which], &mut random, &calls);
        let values = random.values();
        let asked = || world.points.query_vector(vector(&values));
        let all = asked().limit(usize::MAX).exact().scores().expect("a query");
        prop_assert_eq!(all.len(), world.held.len());
        for least in all.iter().map(|hit| hit.score).chain([f32::NEG_INFINITY, f32::INFINITY, 0.0]) {
            let expected: Vec<_> = all.iter().filter(|hit| hit.score >= least).cloned().collect();
            prop_assert_eq!(&asked().within(least).scores().expect("a query"), &expected);
            let page: Vec<_> = expected.iter().skip(2).take(3).cloned().collect();
            prop_assert_eq!(asked().within(least).offset(2).limit(3).scores().expect("a query"), page);
            let few = asked().within(least).filter("year < 2").scores().expect("a query");
            let expected: Vec<_> = expected.into_iter().filter(|hit| world.held[&hit.id].0 < 2).collect();
            prop_assert_eq!(few, expected);
            // The cut on the best k is the same cut.
            let best: Vec<_> = all.iter().take(4).filter(|hit| hit.score >= least).cloned().collect();
            prop_assert_eq!(asked().limit(4).min_score(least).scores().expect("a query"), best);
        }
    }

    #[test]
    fn a_batch_answers_as_its_queries_do_alone(seed in any::<u64>(), calls in calls(), which in 0_usize..3) {
        let mut random = Random(seed);
        let world = World::new(METRICS[which], &mut random, &calls);
        let other = World::new(Metric::L2, &mut random, &[7]);
        let asked: Vec<Vec<f32>> = (0..20).map(|_| random.values()).collect();
        let queries = || {
            asked.iter().enumerate().map(|(nth, values)| {
                let of = if nth % 5 == 4 { &other } else { &world };
                let query = of.points.query_vector(vector(values)).limit(nth);
                match nth % 3 {
                    0 => query,
                    1 => query.filter("year = 1"),
                    _ => query.within(-4.0),
                }
            })
        };
        let alone: Vec<_> = queries().map(|query| query.run().expect("a query")).collect();
        prop_assert_eq!(Query::run_all(queries()).expect("queries"), alone);
        let alone: Vec<_> = queries().map(|query| query.scores().expect("a query")).collect();
        prop_assert_eq!(Query::scores_all(queries()).expect("queries"), alone);
    }

    #[test]
    fn examples_ask_with_the_vector_that_the_formula_gives(
        seed in any::<u64>(), calls in prop::collection::vec(12_u64..60, 1..4), which in 0_usize..3, own in any::<bool>(),
    ) {
        let mut random = Random(seed);
        let world = World::new(METRICS[which], &mut random, &calls);
        let ids: Vec<&str> = world.held.keys().map(String::as_str).collect();
        prop_assume!(ids.len() > 5);
        let (like, unlike) = (&ids[..2], &ids[3..4]);
        // As they are stored.
        let stored = |values: &[f64]| -> Vec<f64> {
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            let by = if world.metric == Metric::Cosine { norm } else { 1.0 };
            values.iter().map(|x| x / by).collect()
        };
        let mean = |vectors: &[Vec<f64>]| -> Vec<f64> {
            (0..DIMENSION).map(|at| vectors.iter().map(|v| v[at]).sum::<f64>() / vectors.len() as f64).collect()
        };
        let values = random.values();
        let mut liked = vec![mean(&[stored(&world.held[ids[0]].1), stored(&world.held[ids[1]].1)])];
        let query = if own {
            liked.push(stored(&wide(&values)));
            world.points.query_vector(vector(&values)).more_like(like)
        } else {
            // Named twice, it counts once.
            world.points.more_like([ids[0], ids[1], ids[0]])
        };
        let (liked, unliked) = (mean(&liked), stored(&world.held[ids[3]].1));
        let formula: Vec<f64> = liked.iter().zip(&unliked).map(|(l, n)| 2.0 * l - n).collect();
        // What is left of a sum that cancels has no direction worth comparing.
        prop_assume!(formula.iter().any(|x| x.abs() > 1e-2));
        let found = query.less_like(unlike).limit(1_000).scores().expect("a query");
        let expected = world.ranked(&formula, None, &[ids[0], ids[1], ids[3]]);
        world.same(&found, &expected, &formula)?;
        let formula = liked;
        prop_assume!(formula.iter().any(|x| x.abs() > 1e-2));
        if !own {
            let found = world.points.more_like(like).filter("year = 2").scores().expect("a query");
            let expected = world.ranked(&formula, Some(2), like);
            world.same(&found, &expected[..expected.len().min(10)], &formula)?;
        }
    }
}

#[test]
fn what_is_exact_is_exact_on_a_graph_too() {
    for metric in METRICS {
        let mut random = Random(3);
        // The first call becomes a segment with a graph.
        let world = World::new(metric, &mut random, &[16_000, 1_500, 300]);
        assert!(world.points.info().segments >= 2);
        for _ in 0..10 {
            let values = random.values();
            let query = wide(&values);
            let asked = || world.points.query_vector(vector(&values));
            for year in [None, Some(3)] {
                let ranked = world.ranked(&query, year, &[]);
                let filter = if year.is_some() {
                    "year = 3"
                } else {
                    "exists year"
                };
                let found = asked().filter(filter).exact().limit(20).scores();
                world
                    .same(&found.expect("a query"), &ranked[..20], &query)
                    .unwrap_or_else(|e| panic!("{e}"));
                // Between two documents, so that rounding does not decide.
                let least = (ranked[99].1 + ranked[100].1) / 2.0;
                let apart = ranked[99].1 - ranked[100].1 > 1e-3;
                let within = asked().filter(filter).within(least as f32).scores();
                let within = within.expect("a query");
                if apart {
                    world
                        .same(&within, &ranked[..100], &query)
                        .unwrap_or_else(|e| panic!("{e}"));
                }
            }
            let near = asked().limit(10).scores().expect("a query");
            let tenth = world.ranked(&query, None, &[])[9].1;
            let found = near
                .iter()
                .filter(|hit| f64::from(hit.score) >= tenth - 1e-3);
            assert!(found.count() >= 7, "{metric}: {near:?}, tenth {tenth}");
        }
    }
}

#[test]
fn what_cannot_be_asked_is_told() {
    let world = World::new(Metric::L2, &mut Random(5), &[40]);
    let points = &world.points;
    let id = world.held.keys().next().expect("a document").as_str();
    let one = || points.query_vector(vector(&[1.0; DIMENSION]));
    let refused = |query: Query, words: &str| {
        let error = query.run().expect_err("refused");
        assert!(matches!(error, Error::Query { .. }), "{error}");
        assert!(
            error.to_string().contains(words),
            "{error}, without {words:?}"
        );
    };
    for recall in [0.0, -1.0, 1.5, f32::NAN] {
        refused(one().target_recall(recall), "recall");
    }
    refused(one().within(f32::NAN), "not a number");
    refused(
        points.more_like([id, "nobody", "no\"one"]),
        r#""nobody", "no\"one""#,
    );
    refused(points.more_like([id]).less_like([id]), id);
    refused(points.more_like(Vec::<String>::new()), "to be like");
    refused(
        points.more_like(Vec::<String>::new()).less_like([id]),
        "to be like",
    );
    // One that is deleted is no example.
    points.delete([id]).expect("deletes");
    refused(points.more_like([id]), id);

    let long = || vector(&[f32::MAX; DIMENSION]);
    let error = points.query_vector(long()).run().expect_err("too long");
    assert!(matches!(error, Error::Vector { .. }), "{error}");
    let error = points
        .add_vectors([(Document::new("long", ""), long())])
        .expect_err("too long");
    assert!(matches!(error, Error::Vector { .. }), "{error}");
    let error =
        Query::run_all([one(), one().within(f32::NAN), one().filter("= 1")]).expect_err("refused");
    assert!(matches!(error, Error::Query { .. }), "the first: {error}");
    assert_eq!(Query::run_all([]).expect("no query"), [[]; 0]);
}

#[test]
fn a_collection_keeps_its_metric_and_zero_is_a_vector_where_lengths_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    for metric in [Metric::Dot, Metric::L2] {
        let db = Database::open(&path).expect("opens");
        let options = CollectionOptions::vectors(2).metric(metric);
        let name = metric.to_string();
        let points = db.create_collection(&name, options.clone()).expect("made");
        let documents = [
            ("zero", [0.0, 0.0]),
            ("near", [0.3, 0.4]),
            ("far", [6.0, 8.0]),
        ];
        let documents = documents.map(|(id, values)| (Document::new(id, ""), vector(&values)));
        points.add_vectors(documents).expect("adds");
        drop(points);
        db.close().expect("closes");

        let db = Database::open(&path).expect("opens");
        let points = db.create_collection(&name, options).expect("the same");
        assert_eq!(points.info().metric, metric);
        let found = |values: [f32; 2]| -> Vec<(String, f32)> {
            let hits = points.query_vector(vector(&values)).scores();
            let hits = hits.expect("a query").into_iter();
            hits.map(|hit| (hit.id, hit.score)).collect()
        };
        let expected = match metric {
            Metric::Dot => [("far", 10.0), ("near", 0.5), ("zero", 0.0)],
            _ => [("near", -0.5), ("zero", -1.0), ("far", -9.0)],
        };
        assert_eq!(
            found([0.6, 0.8]),
            expected.map(|(id, score)| (id.into(), score))
        );
        assert_eq!(found([0.0, 0.0]).len(), 3);
        let error = db
            .create_collection(&name, CollectionOptions::vectors(2))
            .expect_err("another metric");
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn a_score_of_a_range_under_l2_is_a_distance() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("l.vecdb")).expect("opens");
    let options = CollectionOptions::vectors(1).metric(Metric::L2);
    let line = db.create_collection("line", options).expect("made");
    let documents = (0..20).map(|x| (Document::new(x.to_string(), ""), vector(&[x as f32])));
    line.add_vectors(documents).expect("adds");
    let hits = line.query_vector(vector(&[7.25])).within(-1.75).run();
    let ids: Vec<String> = hits
        .expect("a query")
        .into_iter()
        .map(|hit| hit.id)
        .collect();
    assert_eq!(ids, ["7", "8", "6", "9"]);
}
