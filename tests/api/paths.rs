//! Every way that a query can take, against a scan in plain Rust: no graph, a graph, filters, many segments, deletions,
//! rows not yet sealed, after merging and after reopening.
//!
//! Whatever the way, there are as many hits as rows match, each once, best first, with its true score (`world.rs` checks
//! that). Without a graph, and where the exact answer is asked for, the hits are those of the scan. With a graph nine of ten
//! are, and each row finds itself.

use proptest::prelude::*;
use vecdb::Metric;

use crate::random::Random;
use crate::world::{Asked, Row, World};

/// Enough for a graph.
const GRAPH_ROWS: usize = 10_500;
/// Low, so that building a graph takes little.
const DIMENSION: usize = 12;

/// What a small collection went through.
#[derive(Clone, Debug)]
struct Small {
    seed: u64,
    dimension: usize,
    metric: Metric,
    /// Rows of each call.
    calls: Vec<usize>,
    /// Seal after each call?
    seals: bool,
    /// Of a hundred rows, so many are deleted, and as many replaced.
    deleted: usize,
    replaced: usize,
    merged: bool,
    reopened: bool,
    k: usize,
    below: Option<i64>,
}

fn small() -> impl Strategy<Value = Small> {
    let metric = prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::L2)];
    let below = prop::option::of(prop_oneof![Just(500), Just(100), Just(10), Just(0)]);
    let calls = prop::collection::vec(1_usize..120, 1..5);
    (
        (any::<u64>(), 1_usize..70, metric, calls, any::<bool>()),
        (
            0_usize..60,
            0_usize..40,
            any::<bool>(),
            any::<bool>(),
            0_usize..40,
            below,
        ),
    )
        .prop_map(
            |(
                (seed, dimension, metric, calls, seals),
                (deleted, replaced, merged, reopened, k, below),
            )| {
                Small {
                    seed,
                    dimension,
                    metric,
                    calls,
                    seals,
                    deleted,
                    replaced,
                    merged,
                    reopened,
                    k,
                    below,
                }
            },
        )
}

impl Small {
    fn build(&self) -> (World, Random) {
        let mut random = Random(self.seed);
        let mut world = World::new(self.dimension, self.metric);
        for &rows in &self.calls {
            let mut vectors: Vec<_> = (0..rows).map(|_| random.vector(self.dimension)).collect();
            // Some are equal.
            for _ in 0..rows / 10 {
                vectors[random.place(rows)] = vectors[random.place(rows)].clone();
            }
            world.add(vectors, &mut random);
            if self.seals {
                world.db.flush().expect("seals");
            }
        }
        let numbers: Vec<u32> = world.rows.keys().copied().collect();
        let chosen = |percent: usize, random: &mut Random| -> Vec<u32> {
            let chosen = numbers.iter().filter(|_| random.place(100) < percent);
            chosen.copied().collect()
        };
        let deleted = chosen(self.deleted, &mut random);
        world.delete(&deleted);
        let replaced = chosen(self.replaced, &mut random);
        let row = |random: &mut Random| Row {
            vector: random.vector(self.dimension),
            bucket: random.place(1000) as i64,
        };
        let rows = replaced.iter().map(|&n| (n, row(&mut random))).collect();
        world.put(rows);
        if self.merged {
            // Nothing may be due.
            world.db.flush().expect("seals");
            let made = world.db.compact(|_| std::ops::ControlFlow::Continue(()));
            made.expect("merges");
        }
        if self.reopened {
            world = world.reopen();
        }
        (world, random)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn without_a_graph_the_hits_are_those_of_the_scan(small in small()) {
        let (world, mut random) = small.build();
        for exact in [false, true] {
            let query = random.vector(small.dimension);
            world.ask_exactly(&Asked { query: &query, k: small.k, below: small.below, exact });
        }
        // A stored row asks, too: its own score is the highest that there is.
        if let Some((_, row)) = world.rows.first_key_value() {
            world.ask_exactly(&Asked::usual(&row.vector, small.k));
        }
    }
}

/// One segment with a graph: clusters, exact duplicates, and some unsealed rows where `unsealed`.
fn with_graph(metric: Metric, random: &mut Random) -> World {
    let mut world = World::new(DIMENSION, metric);
    world.add(clustered(GRAPH_ROWS, random), random);
    let info = world.points.info();
    assert_eq!((info.segments, info.unsealed_passages), (1, 0));
    world
}

/// Around 40 centres; of each hundred rows two are copies of others, and forty rows in all are the same.
fn clustered(rows: usize, random: &mut Random) -> Vec<Vec<f32>> {
    let centres: Vec<_> = (0..40).map(|_| random.vector(DIMENSION)).collect();
    let mut vectors: Vec<Vec<f32>> = (0..rows)
        .map(|_| {
            let centre = &centres[random.place(40)];
            let beside = random.vector(DIMENSION);
            centre
                .iter()
                .zip(beside)
                .map(|(c, b)| c + b / 2.0)
                .collect()
        })
        .collect();
    for _ in 0..rows / 50 {
        vectors[random.place(rows)] = vectors[random.place(rows)].clone();
    }
    for _ in 0..40 {
        vectors[random.place(rows)] = vectors[0].clone();
    }
    vectors
}

/// The usual search finds nine of ten where queries are like the rows, which its effort is measured on, and most where they
/// lie apart; the exact one finds all; at any selectivity.
fn check(world: &World, random: &mut Random) {
    let stored: Vec<&Row> = world.rows.values().collect();
    // Nearer to one row than to another.
    let between = |random: &mut Random| -> Vec<f32> {
        let mut row = || &stored[random.place(stored.len())].vector;
        let pair = row().iter().zip(row());
        pair.map(|(a, b)| a + b / 4.0).collect()
    };
    let like: Vec<_> = (0..60).map(|_| between(random)).collect();
    let unlike: Vec<_> = (0..60).map(|_| random.vector(DIMENSION)).collect();
    for (queries, least) in [(like, 0.9), (unlike, 0.75)] {
        for below in [None, Some(900), Some(500), Some(100), Some(10), Some(1)] {
            let asked = |exact| {
                queries.iter().map(move |query| Asked {
                    query,
                    k: 10,
                    below,
                    exact,
                })
            };
            let recall = world.recall(asked(false));
            assert!(recall >= least, "below {below:?}: {recall}");
            asked(true).for_each(|asked| world.ask_exactly(&asked));
        }
        // No row matches; and many hits, and all of them.
        let none = Asked {
            below: Some(0),
            ..Asked::usual(&queries[0], 10)
        };
        world.ask_exactly(&none);
        for k in [100, 2_000, world.rows.len() + 1] {
            let recall = world.recall(queries[..2].iter().map(|query| Asked::usual(query, k)));
            assert!(recall >= least, "k {k}: {recall}");
        }
    }
}

#[test]
fn with_a_graph_nine_of_ten_hits_are_those_of_the_scan_through_deletions_and_reopening() {
    let mut random = Random(1);
    let mut world = with_graph(Metric::Cosine, &mut random);
    check(&world, &mut random);
    let fifth: Vec<u32> = world.rows.keys().copied().filter(|n| n % 5 == 3).collect();
    world.delete(&fifth);
    check(&world, &mut random);
    let mut world = world.reopen();
    check(&world, &mut random);
    // Unsealed rows beside the graph.
    world.add(clustered(300, &mut random), &mut random);
    assert!(world.points.info().unsealed_passages > 0);
    check(&world, &mut random);
}

#[test]
fn with_a_graph_hits_are_right_under_every_metric() {
    for metric in [Metric::Dot, Metric::L2] {
        let mut random = Random(2);
        let world = with_graph(metric, &mut random);
        check(&world, &mut random);
    }
}

#[test]
fn segments_with_and_without_graphs_and_unsealed_rows_answer_as_one() {
    let mut random = Random(3);
    let mut world = with_graph(Metric::Cosine, &mut random);
    for rows in [700, 10_100, 40, 1_500] {
        world.add(clustered(rows, &mut random), &mut random);
        world.db.flush().expect("seals");
    }
    world.add(clustered(200, &mut random), &mut random);
    assert!(world.points.info().segments >= 2);
    let third: Vec<u32> = world.rows.keys().copied().filter(|n| n % 3 == 0).collect();
    world.delete(&third);
    check(&world, &mut random);
    check(&world.reopen(), &mut random);
}

#[test]
fn merged_segments_answer_as_they_did_before() {
    let mut random = Random(5);
    let mut world = with_graph(Metric::Cosine, &mut random);
    let fourth: Vec<u32> = world.rows.keys().copied().filter(|n| n % 4 == 1).collect();
    world.delete(&fourth);
    for rows in [300, 250, 400, 350, 200, 300] {
        world.add(clustered(rows, &mut random), &mut random);
        world.db.flush().expect("seals");
    }
    let before = world.points.info();
    world.merge();
    let after = world.points.info();
    assert!(after.segments < before.segments, "{before:?} {after:?}");
    assert_eq!(after.dead_passages, 0);
    check(&world, &mut random);
    // What was merged is deleted from, added to and merged again.
    let half: Vec<u32> = world.rows.keys().copied().filter(|n| n % 2 == 0).collect();
    world.delete(&half);
    world.add(clustered(500, &mut random), &mut random);
    world.db.flush().expect("seals");
    world.merge();
    check(&world, &mut random);
    check(&world.reopen(), &mut random);
}

#[test]
fn every_row_finds_itself_on_a_graph_its_exact_duplicates_included() {
    let mut random = Random(4);
    let world = with_graph(Metric::Cosine, &mut random);
    let mut equal: std::collections::HashMap<Vec<u32>, usize> = Default::default();
    let bits = |row: &Row| row.vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for row in world.rows.values() {
        *equal.entry(bits(row)).or_default() += 1;
    }
    assert!(equal.values().any(|&n| n == 2) && equal.values().any(|&n| n > 30));
    let finds = |(&number, row): (&u32, &Row)| {
        let vector = vecdb::Vector::new(row.vector.clone()).expect("finite");
        let limit = equal[&bits(row)];
        let hits = world.points.query_vector(vector).limit(limit).scores();
        let id = format!("d{number}");
        hits.expect("a query").iter().any(|hit| hit.id == id)
    };
    let lost: Vec<u32> = world
        .rows
        .iter()
        .filter(|&row| !finds(row))
        .map(|(&number, _)| number)
        .collect();
    assert!(
        lost.is_empty(),
        "{} rows do not find themselves: {lost:?}",
        lost.len()
    );
}
