//! The three metrics, each against its definition in f64.

use proptest::prelude::*;

use super::*;

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

fn by_definition(metric: Metric, query: &[f32], row: &[f32]) -> f64 {
    let pairs = || {
        query
            .iter()
            .zip(row)
            .map(|(&q, &x)| (f64::from(q), f64::from(x)))
    };
    match metric {
        // Both have length 1.
        Metric::Cosine | Metric::Dot => pairs().map(|(q, x)| q * x).sum(),
        Metric::L2 => -pairs().map(|(q, x)| (q - x).powi(2)).sum::<f64>().sqrt(),
    }
}

/// Heaps of rows of varied lengths; every fifth row copies an earlier one.
fn vectors(random: &mut Random, metric: Metric, rows: usize, dimension: usize) -> Vec<Vector> {
    let centres: Vec<Vector> = (0..4).map(|_| random.unit(dimension)).collect();
    let mut vectors: Vec<Vector> = Vec::new();
    for nth in 0..rows {
        if nth % 5 == 4 {
            vectors.push(vectors[random.below(nth)].clone());
            continue;
        }
        // Under the inner product few long rows among many short ones are the hard case.
        let length = match metric {
            Metric::Dot => 0.2 + (random.below(100) as f32 / 60.0).powi(4),
            _ => 0.2 + random.below(100) as f32 / 20.0,
        };
        let near = random.near(centres[nth % 4].as_slice(), 0.3);
        let values: Vec<f32> = near.as_slice().iter().map(|x| x * length).collect();
        let vector = Vector::new(values).expect("finite");
        vectors.push(metric.prepare(vector).expect("not zero, not long"));
    }
    vectors
}

fn segment_of(metric: Metric, vectors: &[Vector], graph_from_rows: usize) -> Segment {
    let documents: Vec<_> = vectors
        .iter()
        .enumerate()
        .map(|(nth, vector)| document(nth.to_string(), "x", vector.clone()))
        .collect();
    let spec = SegmentSpec {
        metric,
        ..spec(vectors[0].dimension())
    };
    let options = BuildOptions {
        graph_from_rows,
        seed: 1,
        ..BuildOptions::default()
    };
    let mut bytes = Vec::new();
    build(&spec, &documents, &options, &mut bytes).expect("the documents are whole");
    let segment = open(bytes).expect("it was just built");
    assert_eq!(segment.spec().metric, metric);
    segment
}

/// The selected rows with their scores by definition, best first.
fn ranked(
    metric: Metric,
    vectors: &[Vector],
    query: &[f32],
    selected: impl Fn(u32) -> bool,
) -> Vec<(u32, f64)> {
    let mut ranked: Vec<(u32, f64)> = (0..)
        .zip(vectors)
        .filter(|&(row, _)| selected(row))
        .map(|(row, vector)| (row, by_definition(metric, query, vector.as_slice())))
        .collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked
}

/// What an f32 score may differ from its definition.
fn off(score: f64, longest: f64) -> f64 {
    1e-5 * (score.abs() + longest * longest + longest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_scan_finds_the_rows_that_the_definition_ranks_first(
        seed in any::<u64>(), rows in 1usize..300, dimension in 1usize..70, k in 1usize..40, which in 0usize..3,
    ) {
        let metric = METRICS[which];
        let mut random = Random(seed);
        let vectors = vectors(&mut random, metric, rows, dimension);
        let segment = segment_of(metric, &vectors, usize::MAX);
        let wanted: RoaringBitmap = (0..rows as u32 + 5).filter(|row| row % 3 == 1).collect();
        let query = self::vectors(&mut random, metric, 1, dimension).remove(0);
        for selection in [Pick::All, Pick::Only(&wanted), Pick::Except(&wanted)] {
            let expected = ranked(metric, &vectors, query.as_slice(), |row| match selection {
                Pick::All => true,
                Pick::Only(rows) => rows.contains(row),
                Pick::Except(rows) => !rows.contains(row),
            });
            let found = segment.best(query.as_slice(), k, selection).expect("the dimension fits");
            prop_assert_eq!(found.len(), k.min(expected.len()));
            for (hit, (_, score)) in found.iter().zip(&expected) {
                // Rows that tie by definition may stand the other way round in f32.
                let own = by_definition(metric, query.as_slice(), vectors[hit.row as usize].as_slice());
                let off = off(*score, 6.0);
                prop_assert!((f64::from(hit.score) - score).abs() <= off && (own - score).abs() <= off, "{metric}");
            }
        }
    }

    #[test]
    fn within_gives_every_row_that_reaches_the_score_and_no_other(
        seed in any::<u64>(), rows in 1usize..300, dimension in 1usize..70, which in 0usize..3,
    ) {
        let metric = METRICS[which];
        let mut random = Random(seed);
        let vectors = vectors(&mut random, metric, rows, dimension);
        let segment = segment_of(metric, &vectors, usize::MAX);
        let query = self::vectors(&mut random, metric, 1, dimension).remove(0);
        let all = segment.best(query.as_slice(), rows, Pick::All).expect("the dimension fits");
        prop_assert_eq!(all.len(), rows);
        let wanted: RoaringBitmap = (0..rows as u32).filter(|row| row % 3 == 1).collect();
        // A score that some row has exactly, one between two, and the ends.
        let some = all[random.below(rows)].score;
        for least in [some, some.next_up(), some.next_down(), f32::NEG_INFINITY, f32::INFINITY] {
            let expected: Vec<RowHit> = all.iter().copied().filter(|hit| hit.score >= least).collect();
            prop_assert_eq!(&segment.picked(Pick::All, |rows| segment.within(query.as_slice(), least, rows)).expect("fits"), &expected);
            let few: Vec<RowHit> = expected.iter().copied().filter(|hit| wanted.contains(hit.row)).collect();
            prop_assert_eq!(&segment.picked(Pick::Only(&wanted), |rows| segment.within(query.as_slice(), least, rows)).expect("fits"), &few);
            // The least score of a search cuts the same rows off.
            let nearest = Nearest { vector: query.as_slice(), k: 7, effort: Effort::Exact, least_score: least };
            let cut = &expected[..expected.len().min(7)];
            prop_assert_eq!(segment.search(&nearest, Selection::ALL).expect("fits"), cut);
        }
    }
}

#[test]
fn the_graph_finds_nearly_all_under_every_metric() {
    for metric in METRICS {
        let mut random = Random(21);
        let mut vectors = vectors(&mut random, metric, 3_100, 40);
        let queries = vectors.split_off(3_000);
        let segment = segment_of(metric, &vectors, 1);
        assert!(segment.has_graph());
        let (mut found, mut wanted) = (0, 0);
        for query in queries {
            let exact = ranked(metric, &vectors, query.as_slice(), |_| true);
            let hits = segment
                .best(query.as_slice(), 10, Pick::All)
                .expect("the dimension fits");
            let tenth = exact[9].1;
            wanted += 10;
            found += hits
                .iter()
                .filter(|hit| f64::from(hit.score) >= tenth - off(tenth, 1.0))
                .count();
        }
        assert!(
            // 0.95 is aimed at; a hundred queries can be a little harder than the rest.
            found as f64 >= 0.92 * f64::from(wanted),
            "{metric}: {found} of {wanted}"
        );
    }
}

#[test]
fn scores_of_the_longest_and_the_shortest_vectors_are_numbers() {
    let longest = (1u64 << 62) as f32;
    for metric in [Metric::Dot, Metric::L2] {
        for size in [longest, 1e-20, 1e-38, f32::MIN_POSITIVE * f32::EPSILON] {
            // One component has it all, so that the vector is not too long.
            let row = |at: usize, x: f32| {
                let mut values = vec![0.0; 40];
                values[at] = x;
                let vector = Vector::new(values).expect("finite");
                metric.prepare(vector).expect("short enough")
            };
            let vectors: Vec<Vector> = (0..40)
                .flat_map(|at| [row(at, size), row(at, -size), row(at, 0.0)])
                .collect();
            let segment = segment_of(metric, &vectors, usize::MAX);
            for query in &vectors[..6] {
                let hits = segment
                    .best(query.as_slice(), 120, Pick::All)
                    .expect("the dimension fits");
                assert_eq!(hits.len(), 120, "{metric} of {size:e}");
                for hit in &hits {
                    assert!(hit.score.is_finite(), "{metric} of {size:e}: {}", hit.score);
                }
                let score = |row: &Vector| by_definition(metric, query.as_slice(), row.as_slice());
                let best = vectors.iter().map(score).fold(f64::MIN, f64::max);
                let off = 1e-5 * best.abs() + 1e-18 * f64::from(size.min(1.0));
                assert!(
                    (f64::from(hits[0].score) - best).abs() <= off,
                    "{metric} of {size:e}: {} for {best}",
                    hits[0].score
                );
            }
        }
    }
}

#[test]
fn an_equal_row_has_distance_zero_and_a_metric_of_another_version_is_told() {
    let vector = Vector::new(vec![3.0, -4.0]).expect("finite");
    let segment = segment_of(Metric::L2, std::slice::from_ref(&vector), 1);
    let hits = segment
        .best(vector.as_slice(), 1, Pick::All)
        .expect("the dimension fits");
    assert_eq!(hits[0].score.to_bits(), 0.0f32.to_bits());
    assert_eq!(super::super::build::metric_of(0), None);
    assert_eq!(super::super::build::metric_of(4), None);
}
