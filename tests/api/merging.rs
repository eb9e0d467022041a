//! Merging: what is found, listed and kept is the same before, during and after it; segments stay few and the disk small.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use vecdb::{Collection, CollectionOptions, Compacted, Database, Document, Error, Merging, Vector};

use crate::copy;
use crate::random::Random;

const DIMENSION: usize = 16;

fn vector(seed: u64) -> Vector {
    let mut random = Random(seed);
    let component = |_| random.below(2_001) as f32 - 1_000.0;
    Vector::new((0..DIMENSION).map(component).collect::<Vec<_>>()).expect("finite")
}

fn document(id: u64, version: u64) -> (Document, Vector) {
    let text = format!("version {version} of {id}, and what it has to say");
    let document = Document::new(id.to_string(), text).field("version", version as i64);
    (document, vector(version * 10_000 + id))
}

fn open(path: &Path, merging: Merging) -> (Database, Collection) {
    let db = Database::options()
        .merging(merging)
        .open(path)
        .unwrap_or_else(|e| panic!("{e}"));
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    (db, points)
}

fn compact(db: &Database) -> Compacted {
    db.compact(|_| ControlFlow::Continue(())).expect("merges")
}

/// What should be there: each id's version.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, u64>);

impl Model {
    /// A random call, or a flush.
    fn step(&mut self, db: &Database, points: &Collection, random: &mut Random, version: &mut u64) {
        let first = random.below(60);
        let ids: Vec<u64> = (first..first + 1 + random.below(8)).collect();
        match random.below(8) {
            0..4 => {
                *version += 1;
                let documents = ids.iter().map(|&id| document(id, *version));
                points.add_vectors(documents).expect("adds");
                self.0.extend(ids.iter().map(|&id| (id, *version)));
            }
            4..6 => {
                let there = ids.iter().filter(|&id| self.0.contains_key(id)).count();
                let deleted = points.delete(ids.iter().map(u64::to_string));
                assert_eq!(deleted.expect("deletes"), there as u64);
                self.0.retain(|id, _| !ids.contains(id));
            }
            _ => db.flush().expect("seals"),
        }
    }

    fn check(&self, points: &Collection, told: &str) {
        let expected: Vec<Document> = self.0.iter().map(|(&id, &v)| document(id, v).0).collect();
        let mut listed: Vec<Document> = points.documents().map(|d| d.expect("reads")).collect();
        listed.sort_by_key(|d| d.id.parse::<u64>().expect("our id"));
        assert_eq!(listed, expected, "{told}");
        assert_eq!(points.len(), self.0.len() as u64, "{told}");
        for (&id, &version) in &self.0 {
            let (document, vector) = document(id, version);
            assert_eq!(points.get(&document.id).expect("reads"), Some(document));
            let hits = points.query_vector(vector).limit(1).run().expect("a query");
            assert_eq!(hits[0].id, id.to_string(), "{told}");
        }
    }
}

fn check_files(path: &Path, told: &str) {
    let report = Database::check(path).expect("checks");
    assert!(report.problems.is_empty(), "{told}: {:?}", report.problems);
    assert!(report.remarks.is_empty(), "{told}: {:?}", report.remarks);
}

#[test]
fn whatever_is_written_during_a_merge_is_there_after_it_also_after_a_crash() {
    let mut during = 0;
    for seed in 0..6 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.vecdb");
        let (mut db, mut points) = open(&path, Merging::on_request());
        let (mut random, mut model, mut version) = (Random(seed), Model::default(), 0);
        for round in 0..5 {
            let told = format!("seed {seed}, round {round}");
            for _ in 0..25 {
                model.step(&db, &points, &mut random, &mut version);
            }
            db.flush().expect("seals");
            // The first call comes when the sources are chosen and the new segment is not yet written.
            let mut asked = 0;
            db.compact(|_| {
                asked += 1;
                if asked == 1 {
                    for _ in 0..random.below(12) {
                        model.step(&db, &points, &mut random, &mut version);
                        during += 1;
                    }
                    model.check(&points, &told);
                }
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|e| panic!("{told}: {e}"));
            model.check(&points, &told);
            // What a kill would leave here: sealed state, and write-ahead rows over it.
            let crashed = folder.path().join(format!("crashed-{round}.vecdb"));
            copy(&path, &crashed);
            let (after, there) = open(&crashed, Merging::on_request());
            model.check(&there, &format!("{told}, after a crash"));
            drop((after, there));
            check_files(&crashed, &told);
            if random.below(2) == 0 {
                drop(points);
                db.close().expect("closes");
                check_files(&path, &told);
                (db, points) = open(&path, Merging::on_request());
                model.check(&points, &told);
            }
        }
    }
    assert!(during > 60, "{during} calls came during merges");
}

#[test]
fn a_source_that_dies_during_its_merge_stays_dead() {
    for die in [0..2_u64, 0..4] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m.vecdb");
        let (db, points) = open(&path, Merging::on_request());
        for id in 0..4 {
            points.add_vectors([document(id, 0)]).expect("adds");
            db.flush().expect("seals");
        }
        let mut asked = false;
        db.compact(|_| {
            if !std::mem::replace(&mut asked, true) {
                let deleted = points.delete(die.clone().map(|id| id.to_string()));
                assert_eq!(deleted.expect("deletes"), die.end);
                db.flush().expect("seals");
                assert_eq!(points.info().segments, 4 - die.end);
            }
            ControlFlow::Continue(())
        })
        .expect("merges");
        let info = points.info();
        assert_eq!((info.documents, info.dead_passages), (4 - die.end, 0));
        assert_eq!(info.segments, u64::from(die.end < 4));
        drop(points);
        db.close().expect("closes");
        check_files(&path, "at the end");
    }
}

#[test]
fn a_merge_that_is_cancelled_leaves_everything_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::on_request());
    let mut model = Model::default();
    for id in 0..40 {
        points.add_vectors([document(id, 1)]).expect("adds");
        model.0.insert(id, 1);
        db.flush().expect("seals");
    }
    let files = || path.join("segments").read_dir().expect("a folder").count();
    let (segments, before) = (points.info().segments, files());
    assert_eq!(segments, 40, "nobody merged them");
    let cancelled = db.compact(|_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    assert_eq!((points.info().segments, files()), (segments, before));
    model.check(&points, "cancelled");
    let made = compact(&db);
    assert_eq!((made.merges, made.segments, made.passages), (1, 40, 40));
    assert_eq!((points.info().segments, files()), (1, 1));
    model.check(&points, "merged");
}

#[test]
fn a_reader_keeps_its_snapshot_while_its_files_are_merged_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::on_request());
    let mut model = Model::default();
    for id in 0..8 {
        points.add_vectors([document(id, 1)]).expect("adds");
        model.0.insert(id, 1);
        db.flush().expect("seals");
    }
    let reader = Database::options().read_only().open(&path).expect("opens");
    let seen = reader.existing_collection("points").expect("there");
    let listing = points.documents();
    points.delete(["3"]).expect("deletes");
    db.flush().expect("seals");
    assert!(compact(&db).merges > 0);
    model.check(&seen, "the reader's snapshot");
    let listed: Vec<Document> = listing.map(|d| d.expect("reads")).collect();
    assert_eq!(listed.len(), 8);
    assert!(matches!(
        reader.compact(|_| ControlFlow::Continue(())),
        Err(Error::ReadOnly { .. })
    ));
    model.0.remove(&3);
    let reader = Database::options().read_only().open(&path).expect("opens");
    model.check(
        &reader.existing_collection("points").expect("there"),
        "a new one",
    );
}

/// Waits for the background to have nothing left to do.
fn settle(db: &Database, points: &Collection) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while points.info().due_segments > 0 {
        assert!(Instant::now() < give_up, "{:?}", db.background_error());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn one_by_one_flushed_inserts_leave_few_segments() {
    const INSERTS: u64 = 1_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::background());
    let mut most = 0;
    for id in 0..INSERTS {
        points.add_vectors([document(id, 1)]).expect("adds");
        db.flush().expect("seals");
        most = most.max(points.info().segments);
    }
    settle(&db, &points);
    assert_eq!(db.background_error(), None);
    // 3 a tier, and tiers up to so many rows.
    let bound = 3 * (u64::from(INSERTS.ilog(4)) + 1);
    assert!(points.info().segments <= bound, "{:?}", points.info());
    // The background may be a few flushes behind.
    assert!(most <= 4 * bound, "{most} segments");
    drop(points);
    db.close().expect("closes");
    check_files(&path, "after the inserts");
}

#[test]
fn processes_that_insert_one_document_each_leave_few_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    for id in 0..70 {
        let (db, points) = open(&path, Merging::background());
        points.add_vectors([document(id, 1)]).expect("adds");
        assert!(points.info().segments <= 3 * 4, "{:?}", points.info());
        drop(points);
        db.close().expect("closes");
    }
    check_files(&path, "after the inserts");
}

fn bytes_of_segments(path: &Path) -> u64 {
    let files = path.join("segments").read_dir().expect("a folder");
    files
        .flatten()
        .map(|file| file.metadata().expect("there").len())
        .sum()
}

#[test]
fn after_twenty_churns_answers_are_those_of_a_fresh_build_and_the_disk_is_as_small() {
    const DOCUMENTS: u64 = 1_500;
    let folder = tempfile::tempdir().expect("a folder");
    let (churned, fresh) = (folder.path().join("c.vecdb"), folder.path().join("f.vecdb"));
    let (db, points) = open(&churned, Merging::background());
    let mut random = Random(5);
    for version in 0..=20 {
        let mut ids: Vec<u64> = (0..DOCUMENTS).collect();
        for last in (1..ids.len()).rev() {
            ids.swap(last, random.below(last as u64 + 1) as usize);
        }
        for (nth, some) in ids.chunks(90).enumerate() {
            let documents = some.iter().map(|&id| document(id, version));
            points.add_vectors(documents).expect("adds");
            if nth % 3 == 2 {
                db.flush().expect("seals");
            }
        }
    }
    db.flush().expect("seals");
    settle(&db, &points);
    assert_eq!(db.background_error(), None);
    let (new_db, new_points) = open(&fresh, Merging::background());
    new_points
        .add_vectors((0..DOCUMENTS).map(|id| document(id, 20)))
        .expect("adds");
    new_db.flush().expect("seals");
    let (now, ideal) = (bytes_of_segments(&churned), bytes_of_segments(&fresh));
    assert!(now * 2 <= ideal * 3, "{now} bytes against {ideal}");
    for seed in 0..200 {
        let answer = |points: &Collection| -> Vec<(String, u32)> {
            let query = points.query_vector(vector(seed)).limit(20);
            let query = if seed % 3 == 0 {
                query.filter("version = 20")
            } else {
                query
            };
            let hits = query.run().expect("a query").into_iter();
            hits.map(|hit| (hit.id, hit.score.to_bits())).collect()
        };
        assert_eq!(answer(&points), answer(&new_points), "query {seed}");
    }
}

#[test]
fn a_damaged_segment_is_told_of_and_the_others_are_merged_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::on_request());
    for id in 0..9 {
        points.add_vectors([document(id, 1)]).expect("adds");
        db.flush().expect("seals");
    }
    drop(points);
    db.close().expect("closes");
    let damaged = path.join("segments").read_dir().expect("a folder").next();
    let damaged = damaged.expect("nine").expect("reads").path();
    let whole = std::fs::read(&damaged).expect("reads");
    // A byte of the vectors themselves: it is not verified when the segment opens, but when they are read. A merge makes all
    // that is derived from them anew, so damage there would not hinder it.
    let is_late = |&at: &usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&damaged, bytes).expect("writes");
        let reader = Database::options().read_only().open(&path);
        reader.is_ok_and(|reader| {
            let points = reader.existing_collection("points").expect("there");
            let query = || points.query_vector(vector(1));
            // Codes are read for every row, and its vector only where they let it through.
            query().min_score(0.999).run().is_ok() && query().run().is_err()
        })
    };
    assert!((0..whole.len()).any(|at| is_late(&at)), "no such byte");
    let name = damaged.file_stem().expect("a name").to_string_lossy();
    let both = folder.path().join("background.vecdb");
    copy(&path, &both);

    let (db, points) = open(&path, Merging::on_request());
    for _ in 0..2 {
        let told = db.compact(|_| ControlFlow::Continue(()));
        assert!(
            matches!(&told, Err(Error::Damaged { path, .. }) if *path == damaged),
            "{told:?}"
        );
        let info = points.info();
        assert_eq!((info.segments, info.due_segments), (2, 0), "{info:?}");
    }

    let (db, points) = open(&both, Merging::background());
    for id in 9..20 {
        points.add_vectors([document(id, 1)]).expect("adds");
        db.flush().expect("seals");
    }
    settle(&db, &points);
    let give_up = Instant::now() + Duration::from_secs(30);
    while points.info().segments > 1 + 3 * 3 {
        assert!(Instant::now() < give_up, "{:?}", points.info());
        std::thread::sleep(Duration::from_millis(2));
    }
    let told = db.background_error().expect("told of from then on");
    assert!(told.contains(&*name), "{told}");
}

#[test]
fn readers_and_writers_see_no_merge() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::background());
    const IDS: u64 = 200;
    points
        .add_vectors((0..IDS).map(|id| document(id, 0)))
        .expect("adds");
    let end = Instant::now() + Duration::from_secs(3);
    let versions = std::thread::scope(|threads| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (db, points) = (&db, &points);
                threads.spawn(move || {
                    let (mut random, mut model) = (Random(writer), BTreeMap::new());
                    let mut version = 0;
                    while Instant::now() < end {
                        version += 1;
                        // Each writer has ids of its own.
                        let id = random.below(IDS / 2) * 2 + writer;
                        points.add_vectors([document(id, version)]).expect("adds");
                        model.insert(id, version);
                        if random.below(4) == 0 {
                            db.flush().expect("seals");
                        }
                    }
                    model
                })
            })
            .collect();
        for reader in 0..2 {
            let points = &points;
            threads.spawn(move || {
                let mut random = Random(100 + reader);
                while Instant::now() < end {
                    let id = random.below(IDS);
                    let found = points.get(&id.to_string()).expect("reads");
                    assert!(found.is_some(), "document {id} is always there");
                    let hits = points.query_vector(vector(random.next())).limit(400).run();
                    let hits = hits.expect("a query");
                    let mut ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
                    ids.sort_unstable();
                    ids.dedup();
                    assert_eq!((hits.len(), ids.len()), (IDS as usize, IDS as usize));
                    assert_eq!(points.len(), IDS);
                }
            });
        }
        let done = |writer: std::thread::ScopedJoinHandle<'_, BTreeMap<u64, u64>>| {
            writer.join().expect("no writer failed")
        };
        writers.into_iter().flat_map(done).collect::<Vec<_>>()
    });
    assert_eq!(db.background_error(), None);
    let mut model = Model((0..IDS).map(|id| (id, 0)).collect());
    model.0.extend(versions);
    model.check(&points, "at the end");
    drop(points);
    db.close().expect("closes");
    check_files(&path, "at the end");
}

#[test]
fn what_was_written_is_sealed_after_a_pause_for_other_processes_to_see() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let db = Database::options()
        .seal_after_idle(Duration::from_millis(50))
        .open(&path)
        .expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    for id in 0..3 {
        points.add_vectors([document(id, 1)]).expect("adds");
        let give_up = Instant::now() + Duration::from_secs(20);
        loop {
            let reader = Database::options().read_only().open(&path).expect("opens");
            let seen = reader.existing_collection("points").expect("there").len();
            // The file shows it a moment before this process does.
            if seen == id + 1 && points.info().unsealed_passages == 0 {
                break;
            }
            assert!(Instant::now() < give_up, "{:?}", db.background_error());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn where_nothing_is_to_happen_by_itself_nothing_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let db = Database::options()
        .seal_after_idle(Duration::MAX)
        .merging(Merging::on_request())
        .open(&path)
        .expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    for id in 0..9 {
        points.add_vectors([document(id, 1)]).expect("adds");
        db.flush().expect("seals");
    }
    points.add_vectors([document(9, 1)]).expect("adds");
    std::thread::sleep(Duration::from_millis(100));
    let info = points.info();
    assert_eq!((info.segments, info.unsealed_passages), (9, 1));
    assert_eq!(info.due_segments, 9);
    drop(points);
    db.close().expect("closes");
    let (_db, points) = open(&path, Merging::on_request());
    assert_eq!(points.info().segments, 10);
}

#[test]
fn a_merge_takes_no_more_segments_than_its_memory_allows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    // 64 bytes of code and 128 of tables a row: about 50 rows.
    let (db, points) = open(&path, Merging::on_request().memory_bytes(50 * 192));
    for first in 0..8 {
        let documents = (0..20).map(|nth| document(first * 20 + nth, 1));
        points.add_vectors(documents).expect("adds");
        db.flush().expect("seals");
    }
    let made = compact(&db);
    assert_eq!((made.merges, made.segments), (3, 6), "two by two");
    assert_eq!(points.info().segments, 5);
}

#[test]
fn a_database_that_is_dropped_in_the_middle_of_a_merge_leaves_nothing_half_done() {
    const ROWS: u64 = 5_100;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.vecdb");
    let (db, points) = open(&path, Merging::background());
    for first in (0..4).map(|nth| nth * ROWS) {
        // More than fits into write-ahead rows: a segment each, and the fourth makes a merge with a graph due.
        let documents = (first..first + ROWS).map(|id| document(id, 1));
        points.add_vectors(documents).expect("adds");
    }
    drop((db, points));
    check_files(&path, "dropped");
    let (db, points) = open(&path, Merging::on_request());
    let info = points.info();
    assert_eq!((info.documents, info.dead_passages), (4 * ROWS, 0));
    assert!(
        (1..=4).contains(&info.segments),
        "given up or done: {info:?}"
    );
    drop((db, points));
}
