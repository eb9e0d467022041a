use proptest::prelude::*;

use super::*;

/// What a scan of the f32 rows gives.
fn exact(
    segment: &Segment,
    query: &[f32],
    k: usize,
    selected: impl Fn(u32) -> bool,
) -> Vec<RowHit> {
    let score = |row| RowHit {
        row,
        score: Kernel::best().dot_f32(query, segment.vector(row).expect("whole")),
    };
    let mut hits: Vec<RowHit> = (0..segment.rows())
        .filter(|&row| selected(row))
        .map(score)
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    hits.truncate(k);
    hits
}

fn from_vectors(vectors: &[Vector]) -> Vec<EmbeddedDocument> {
    vectors
        .iter()
        .enumerate()
        .map(|(nth, vector)| document(nth.to_string(), "x", vector.clone()))
        .collect()
}

/// `clusters` heaps of rows, every seventh row a copy of an earlier one.
fn clustered(random: &mut Random, rows: usize, clusters: usize, dimension: usize) -> Vec<Vector> {
    let centres: Vec<Vector> = (0..clusters).map(|_| random.unit(dimension)).collect();
    let mut vectors: Vec<Vector> = Vec::new();
    for nth in 0..rows {
        let copied = (nth % 7 == 6)
            .then(|| random.below(nth))
            .map(|at| vectors[at].clone());
        vectors
            .push(copied.unwrap_or_else(|| random.near(centres[nth % clusters].as_slice(), 0.06)));
    }
    vectors
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_scan_gives_exactly_what_scoring_every_row_gives(
        seed in any::<u64>(), rows in 1usize..400, dimension in 1usize..80, k in 1usize..60, clusters in 1usize..6,
    ) {
        let mut random = Random(seed);
        let vectors = clustered(&mut random, rows, clusters, dimension);
        let segment = segment(dimension, &from_vectors(&vectors), usize::MAX);
        let wanted: RoaringBitmap = (0..rows as u32 + 5).filter(|row| row % 3 == 1).collect();
        for _ in 0..4 {
            let query = random.unit(dimension);
            let query = query.as_slice();
            let found = |selection| segment.best(query, k, selection).expect("the dimension fits");
            prop_assert_eq!(found(Pick::All), exact(&segment, query, k, |_| true));
            prop_assert_eq!(found(Pick::Only(&wanted)), exact(&segment, query, k, |row| wanted.contains(row)));
            prop_assert_eq!(found(Pick::Except(&wanted)), exact(&segment, query, k, |row| !wanted.contains(row)));
        }
    }
}

#[test]
fn the_graph_finds_nearly_all_that_a_scan_finds() {
    let mut random = Random(11);
    let vectors = clustered(&mut random, 3_000, 30, 48);
    let segment = segment(48, &from_vectors(&vectors), 1);
    assert!(segment.has_graph());
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..200 {
        let near = random.below(3_000);
        let query = random.near(vectors[near].as_slice(), 0.05);
        let hits = segment
            .best(query.as_slice(), 10, Pick::All)
            .expect("the dimension fits");
        let exact = exact(&segment, query.as_slice(), 10, |_| true);
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
        wanted += exact.len();
        // Copies tie: a hit counts if it is as near as the tenth.
        found += hits
            .iter()
            .filter(|hit| hit.score >= exact[9].score)
            .count();
    }
    assert!(found as f64 >= 0.97 * wanted as f64, "{found} of {wanted}");
}

#[test]
fn questions_beside_the_clumps_of_rows_find_what_was_aimed_at() {
    const DIMENSION: usize = 48;
    let mut random = Random(17);
    let topics: Vec<Vector> = (0..20).map(|_| random.unit(DIMENSION)).collect();
    let of_topic = |random: &mut Random| {
        let topic = random.below(topics.len());
        random.near(topics[topic].as_slice(), 0.3)
    };
    let mut vectors = Vec::new();
    for _ in 0..500 {
        let clump = of_topic(&mut random);
        vectors.extend((0..14).map(|_| random.near(clump.as_slice(), 0.03)));
    }
    let segment = segment(DIMENSION, &from_vectors(&vectors), 1);
    let (mut found, mut wanted) = (0, 0);
    for _ in 0..300 {
        let query = of_topic(&mut random);
        let hits = segment
            .best(query.as_slice(), 10, Pick::All)
            .expect("the dimension fits");
        let exact = exact(&segment, query.as_slice(), 10, |_| true);
        let is_wanted = |hit: &&RowHit| hit.score >= exact[9].score;
        found += hits.iter().filter(is_wanted).count();
        wanted += exact.len();
    }
    assert!(found as f64 >= 0.95 * wanted as f64, "{found} of {wanted}");
}

#[test]
fn every_row_is_found_by_its_own_vector_and_with_all_its_copies() {
    let mut random = Random(12);
    let vectors = clustered(&mut random, 3_000, 10, 32);
    let segment = segment(32, &from_vectors(&vectors), 1);
    for (row, vector) in (0..).zip(&vectors) {
        let copies = vectors.iter().filter(|other| *other == vector).count();
        let hits = segment
            .best(vector.as_slice(), copies.max(10), Pick::All)
            .expect("the dimension fits");
        assert!(
            hits.iter().any(|hit| hit.row == row),
            "row {row} of {copies} copies"
        );
    }
}

#[test]
fn a_heap_of_equal_rows_hides_no_other_row() {
    let mut random = Random(13);
    let same = random.unit(16);
    let mut vectors = vec![same.clone(); 1_500];
    vectors.extend((0..500).map(|_| random.unit(16)));
    let segment = segment(16, &from_vectors(&vectors), 1);
    let hits = segment
        .best(same.as_slice(), 100, Pick::All)
        .expect("the dimension fits");
    assert_eq!(
        hits.iter().map(|hit| hit.row).collect::<Vec<_>>(),
        (0..100).collect::<Vec<_>>()
    );
    for (row, vector) in (0..).zip(&vectors).skip(1_500) {
        let hits = segment
            .best(vector.as_slice(), 1, Pick::All)
            .expect("the dimension fits");
        assert_eq!(hits[0].row, row);
    }
}

#[test]
fn a_selection_gives_k_hits_wherever_k_rows_are_selected() {
    let mut random = Random(14);
    let vectors = clustered(&mut random, 3_000, 30, 24);
    let segment = segment(24, &from_vectors(&vectors), 1);
    let query = random.unit(24);
    let query = query.as_slice();
    // The selected rows rank last of all.
    let ranked = exact(&segment, query, 3_000, |_| true);
    for count in [0, 1, 5, 10, 200, 1_500, 2_700, 2_990, 2_999] {
        let last: RoaringBitmap = ranked.iter().rev().take(count).map(|hit| hit.row).collect();
        let first: RoaringBitmap = ranked
            .iter()
            .take(3_000 - count)
            .map(|hit| hit.row)
            .collect();
        for selection in [Pick::Only(&last), Pick::Except(&first)] {
            let hits = segment
                .best(query, 10, selection)
                .expect("the dimension fits");
            assert_eq!(hits.len(), count.min(10), "{count} selected");
            assert!(
                hits.iter().all(|hit| last.contains(hit.row)),
                "{count} selected"
            );
        }
    }
    assert_eq!(
        segment
            .best(query, 0, Pick::All)
            .expect("the dimension fits"),
        []
    );
    assert_eq!(
        segment
            .best(query, 9_999, Pick::All)
            .expect("the dimension fits")
            .len(),
        3_000
    );
}

#[test]
fn a_query_of_another_dimension_is_refused() {
    let segment = segment(4, &from_vectors(&[Random(1).unit(4)]), 1);
    let error = segment.best(&[1.0; 5], 1, Pick::All).expect_err("refused");
    assert!(matches!(
        error,
        Error::Dimension {
            expected: 4,
            given: 5
        }
    ));
}
