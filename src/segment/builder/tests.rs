//! What a builder promises, tried on both: sound lists, every node reachable, near rows found; and of ours that it is
//! deterministic on one thread, stops when told, and goes on from an older graph.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use proptest::prelude::*;

use super::distance::{Distances, Near};
use super::walk::Walk;
use super::*;
use crate::segment::graph::Frozen;
use crate::segment::quantise::stride;
use crate::segment::tests::Random;

const BUILDERS: [Builder; 2] = [Builder::Parallel, Builder::HnswRs];

/// Codes of `rows` rows around `clusters` centres, `spread` wide in each component.
fn codes(
    random: &mut Random,
    rows: usize,
    dimension: usize,
    clusters: usize,
    spread: f32,
) -> Vec<i8> {
    let component = |random: &mut Random| random.component() * 60.0;
    let centres: Vec<Vec<f32>> = (0..clusters)
        .map(|_| (0..dimension).map(|_| component(random)).collect())
        .collect();
    let mut codes = vec![0; rows * stride(dimension)];
    for code in codes.chunks_exact_mut(stride(dimension)) {
        let centre = &centres[random.below(clusters)];
        for (code, centre) in code.iter_mut().zip(centre) {
            *code = (centre + spread * random.component()).clamp(-127.0, 127.0) as i8;
        }
    }
    codes
}

fn frozen(codes: Codes<'_>, builder: Builder, start: Option<Start<'_>>) -> Frozen {
    Frozen::new(codes, Metric::L2, builder.get(), start, 7, &|| false).expect("nothing stops it")
}

fn list(graph: &Frozen, row: u32) -> impl Iterator<Item = u32> {
    let list = &graph.neighbours[row as usize * WIDTH..][..WIDTH];
    list.iter().copied().take_while(|&row| row != NONE)
}

/// Rows that seeds, links and twins lead to.
fn reachable(graph: &Frozen, rows: u32) -> usize {
    let mut reached = vec![false; rows as usize];
    let mut queue = graph.seeds.clone();
    while let Some(node) = queue.pop() {
        if !std::mem::replace(&mut reached[node as usize], true) {
            queue.extend(list(graph, node));
        }
    }
    for &[node, twin] in &graph.twins {
        assert!(reached[node as usize], "a twin hangs on a lost node");
        reached[twin as usize] = true;
    }
    reached.into_iter().filter(|&reached| reached).count()
}

/// The part of the exact ten nearest that a walk with `ef` finds, over every eleventh row.
fn recall(codes: Codes<'_>, graph: &Frozen, ef: usize) -> f64 {
    let distances = Distances::new(codes, Metric::L2);
    let mut walk = Walk::new(codes.rows());
    let (mut found, mut wanted) = (0, 0);
    for target in (0..codes.rows()).step_by(11) {
        let others = (0..codes.rows()).filter(|&row| row != target);
        let mut exact: Vec<Near> = others
            .map(|row| Near::new(distances.between(target, row), row))
            .collect();
        exact.sort_unstable();
        let kth = exact[9].distance();
        let near = walk.nearest(|row| list(graph, row), &distances, target, &graph.seeds, ef);
        let hits = near.iter().filter(|near| near.distance() <= kth).count();
        found += hits.min(10);
        wanted += 10;
    }
    f64::from(found as u32) / f64::from(wanted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn lists_are_sound_and_every_row_is_reached(
        seed in any::<u64>(),
        rows in 0usize..400,
        dimension in 1usize..=70,
        clusters in 1usize..20,
        spread in prop_oneof![Just(0.0f32), Just(0.7), 1.0f32..40.0],
        hnsw_rs in any::<bool>(),
    ) {
        let bytes = codes(&mut Random(seed), rows, dimension, clusters, spread);
        let codes = Codes::new(&bytes, dimension);
        let graph = frozen(codes, BUILDERS[usize::from(hnsw_rs)], None);
        prop_assert_eq!(graph.neighbours.len(), rows * WIDTH);
        prop_assert!(graph.seeds.len() <= MAX_SEEDS);
        prop_assert_eq!(graph.seeds.is_empty(), rows == 0);
        for row in 0..rows as u32 {
            let mut linked: Vec<u32> = list(&graph, row).collect();
            let used = linked.len();
            let all = &graph.neighbours[row as usize * WIDTH..][..WIDTH];
            prop_assert!(all[used..].iter().all(|&row| row == NONE));
            prop_assert!(linked.iter().all(|&to| to != row && (to as usize) < rows));
            linked.sort_unstable();
            linked.dedup();
            prop_assert_eq!(linked.len(), used);
            let is_twin = graph.twins.iter().any(|pair| pair[1] == row);
            prop_assert!(!is_twin || used == 0);
        }
        prop_assert_eq!(reachable(&graph, rows as u32), rows);
    }
}

#[test]
fn ours_finds_as_much_as_hnsw_rs() {
    let random = &mut Random(3);
    for (clusters, spread) in [(1, 60.0), (40, 12.0)] {
        let bytes = codes(random, 3000, 24, clusters, spread);
        let codes = Codes::new(&bytes, 24);
        let [ours, theirs] =
            BUILDERS.map(|builder| recall(codes, &frozen(codes, builder, None), 40));
        assert!(
            ours > 0.95 && ours > theirs - 0.01,
            "{ours} against {theirs} in {clusters} clusters"
        );
    }
}

#[test]
fn on_one_thread_the_same_seed_gives_the_same_graph() {
    let bytes = codes(&mut Random(4), 1500, 20, 9, 20.0);
    let nodes: Vec<u32> = (0..1500).collect();
    let build = |seed| {
        let task = Task {
            codes: Codes::new(&bytes, 20),
            metric: Metric::L2,
            nodes: &nodes,
            start: None,
            seed,
            stop: &|| false,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let graph = pool.expect("a pool").install(|| Parallel.build(&task));
        graph.expect("nothing stops it")
    };
    let (first, again, other) = (build(1), build(1), build(2));
    assert_eq!(first.neighbours, again.neighbours);
    assert_eq!(first.seeds, again.seeds);
    assert_ne!(first.neighbours, other.neighbours);
}

#[test]
fn a_build_that_is_stopped_gives_nothing_and_soon() {
    let bytes = codes(&mut Random(5), 2000, 16, 5, 20.0);
    for builder in BUILDERS {
        for most in [0, 3] {
            let asked = AtomicUsize::new(0);
            let stop = || asked.fetch_add(1, Relaxed) >= most;
            let graph = Frozen::new(
                Codes::new(&bytes, 16),
                Metric::L2,
                builder.get(),
                None,
                0,
                &stop,
            );
            assert!(graph.is_none());
            // Each thread asks once more at most.
            let asked = asked.into_inner();
            assert!(asked <= most + rayon::current_num_threads(), "{asked}");
        }
    }
}

/// `kept` of the first 2,000 of 3,000 rows form a graph; they and the others are then one, in another order.
fn extended(random: &mut Random, kept: impl Fn(usize) -> bool) -> (f64, f64) {
    const OLD: usize = 2000;
    let dimension = 24;
    let stride = stride(dimension);
    let bytes = codes(random, 3000, dimension, 12, 30.0);
    let (old, new) = bytes.split_at(OLD * stride);
    let before = frozen(Codes::new(old, dimension), Builder::Parallel, None);
    // New rows come first, so every number changes.
    let mut together = new.to_vec();
    let mut now = vec![NONE; OLD];
    for row in (0..OLD).filter(|&row| kept(row)) {
        now[row] = (together.len() / stride) as u32;
        together.extend(&old[row * stride..][..stride]);
    }
    let codes = Codes::new(&together, dimension);
    let start = Start {
        neighbours: &before.neighbours,
        seeds: &before.seeds,
        now: &now,
    };
    let graph = frozen(codes, Builder::Parallel, Some(start));
    assert_eq!(reachable(&graph, codes.rows()), codes.rows() as usize);
    let fresh = frozen(codes, Builder::Parallel, None);
    (recall(codes, &graph, 40), recall(codes, &fresh, 40))
}

#[test]
fn a_graph_that_goes_on_from_another_finds_as_much_as_a_new_one() {
    let random = &mut Random(6);
    let all = extended(random, |_| true);
    let most = extended(random, |row| row % 5 != 0);
    let few = extended(random, |row| row % 10 == 0);
    let none = extended(random, |_| false);
    for (went_on, fresh) in [all, most, few, none] {
        assert!(went_on > fresh - 0.02, "{went_on} against {fresh}");
    }
}

#[test]
fn old_rows_that_are_twins_now_share_one_node() {
    let bytes = codes(&mut Random(8), 300, 16, 3, 30.0);
    let before = frozen(Codes::new(&bytes, 16), Builder::Parallel, None);
    // Coded anew, each row equals the one 100 behind it.
    let mut coarse = bytes.clone();
    let stride = stride(16);
    coarse.copy_within(100 * stride..200 * stride, 0);
    let now: Vec<u32> = (0..300).collect();
    let start = Start {
        neighbours: &before.neighbours,
        seeds: &before.seeds,
        now: &now,
    };
    let graph = frozen(Codes::new(&coarse, 16), Builder::Parallel, Some(start));
    assert!(graph.twins.len() >= 100);
    for node in 0..300 {
        let mut linked: Vec<u32> = list(&graph, node).collect();
        let used = linked.len();
        linked.sort_unstable();
        linked.dedup();
        assert_eq!(linked.len(), used, "a link stands twice");
    }
    assert!(
        graph
            .twins
            .iter()
            .all(|pair| list(&graph, pair[1]).next().is_none())
    );
    assert_eq!(reachable(&graph, 300), 300);
}
