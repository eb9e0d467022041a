//! Recall measured on stored passages: what it says is what a scan in plain Rust says too.

use vecdb::{Database, Error, Metric, Recall, RecallOptions};

use crate::random::Random;
use crate::world::{Asked, World};

fn vectors(rows: usize, dimension: usize, random: &mut Random) -> Vec<Vec<f32>> {
    (0..rows).map(|_| random.vector(dimension)).collect()
}

fn measure(world: &World, options: RecallOptions) -> Option<Recall> {
    world.points.measure_recall(options).expect("measures")
}

#[test]
fn a_scan_finds_all_and_a_passage_does_not_count_itself() {
    let mut random = Random(1);
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let mut world = World::new(6, metric);
        world.add(vectors(150, 6, &mut random), &mut random);
        world.db.flush().expect("seals");
        world.add(vectors(30, 6, &mut random), &mut random);
        let told = measure(&world, RecallOptions::default()).expect("documents");
        assert_eq!((told.recall, told.high, told.queries), (1.0, 1.0, 180));
        assert!((0.97..1.0).contains(&told.low), "{told:?}");
        let some = measure(&world, RecallOptions::default().samples(20).k(1_000));
        assert_eq!(some.expect("documents").queries, 20);
    }
}

#[test]
fn there_is_nothing_to_find_without_a_second_document_or_without_a_match() {
    let mut random = Random(2);
    let mut world = World::new(3, Metric::Cosine);
    assert_eq!(measure(&world, RecallOptions::default()), None);
    world.add(vectors(1, 3, &mut random), &mut random);
    assert_eq!(measure(&world, RecallOptions::default()), None);
    world.add(vectors(1, 3, &mut random), &mut random);
    let two = measure(&world, RecallOptions::default()).expect("each finds the other");
    assert_eq!((two.recall, two.queries), (1.0, 2));
    let filtered = RecallOptions::default().filter("bucket < 0");
    assert_eq!(measure(&world, filtered), None);
    world.delete(&[0]);
    assert_eq!(measure(&world, RecallOptions::default()), None);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let world = World::new(3, Metric::Cosine);
    let bad = [
        RecallOptions::default().k(0),
        RecallOptions::default().samples(0),
        RecallOptions::default().target_recall(0.0),
        RecallOptions::default().target_recall(1.0),
        RecallOptions::default().target_recall(f32::NAN),
    ];
    for options in bad {
        let told = format!("{options:?}");
        let error = world.points.measure_recall(options).expect_err(&told);
        assert!(matches!(error, Error::Query { .. }), "{told}: {error}");
    }
    let error = world
        .points
        .measure_recall(RecallOptions::default().filter("bucket < "));
    assert!(matches!(error, Err(Error::Filter { .. })), "{error:?}");
}

#[test]
fn with_a_graph_it_is_what_the_scan_says_also_under_filters_and_from_a_reader() {
    let mut random = Random(3);
    let mut world = World::new(16, Metric::Cosine);
    world.add(vectors(10_200, 16, &mut random), &mut random);
    let dead: Vec<u32> = (0..10_200).filter(|_| random.place(20) == 0).collect();
    world.delete(&dead);
    world.db.flush().expect("seals");
    let mut measured = Vec::new();
    for below in [None, Some(500), Some(20)] {
        let mut options = RecallOptions::default().samples(300).k(10);
        if let Some(below) = below {
            options = options.filter(format!("bucket < {below}").as_str());
        }
        let told = measure(&world, options).expect("documents");
        assert_eq!(told.queries, 300);
        assert!(
            told.low <= told.recall && told.recall <= told.high,
            "{told:?}"
        );
        assert!(told.high - told.low < 0.1, "{told:?}");
        // Other rows of the same kind, asked from outside. Each finds itself, which one more hit makes up for little.
        let rows: Vec<&[f32]> = world
            .rows
            .values()
            .step_by(70)
            .map(|row| &*row.vector)
            .collect();
        let asked = rows.iter().map(|query| Asked {
            query,
            k: 11,
            below,
            exact: false,
        });
        let seen = world.recall(asked);
        assert!((seen - told.recall).abs() < 0.04, "{seen} against {told:?}");
        measured.push(told);
    }
    assert!(measured[0].recall >= 0.95, "{measured:?}");
    let reader = Database::options()
        .read_only()
        .open(world.folder.path().join("world.vecdb"))
        .expect("opens");
    let points = reader.existing_collection("points").expect("there");
    let same = points.measure_recall(RecallOptions::default().samples(300));
    assert_eq!(
        same.expect("measures"),
        Some(measured[0]),
        "the same seed, the same passages"
    );
    let other = points.measure_recall(RecallOptions::default().samples(300).seed(9));
    let other = other.expect("measures").expect("documents");
    assert!(other.high >= measured[0].low && other.low <= measured[0].high);
}
