//! Everything that a database can do, on many threads at once, against a model.
//!
//! Each writer has ids of its own, in groups of four that it always adds and deletes together, so it knows at every moment
//! what is there of its own, and a reader can tell half of a call. Every addition has a version that no other has, and a
//! group's versions only grow.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use vecdb::{
    Collection, CollectionOptions, Database, Document, Merging, Query, RecallOptions, Value, Vector,
};

use crate::random::Random;

const DIMENSION: usize = 6;
const WRITERS: u64 = 3;
const GROUPS: u64 = 12;
const MEMBERS: u64 = 4;

/// Version by group, of one writer.
type Model = BTreeMap<u64, u64>;

fn vector(group: u64, member: u64, version: u64) -> Vector {
    let mut random = Random((group * MEMBERS + member) << 32 | version);
    let components = (0..DIMENSION).map(|_| random.below(2_001) as f32 - 1_000.5);
    Vector::new(components.collect::<Vec<_>>()).expect("finite")
}

fn id(group: u64, member: u64) -> String {
    format!("{group}/{member}")
}

fn document(group: u64, member: u64, version: u64) -> (Document, Vector) {
    let text = format!("{version} of {}", id(group, member));
    let document = Document::new(id(group, member), text)
        .field("writer", (group / GROUPS) as i64)
        .field("group", group as i64)
        .field("version", version as i64);
    (document, vector(group, member, version))
}

/// Aborts the tests when a number of seconds passes in which no thread has finished anything.
struct Watchdog {
    done: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Watchdog {
    fn new(what: &'static str) -> Self {
        const PATIENCE: Duration = Duration::from_secs(60);
        let (done, ended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let dog = Self {
            done: Arc::clone(&done),
            ended: Arc::clone(&ended),
        };
        std::thread::spawn(move || {
            let (mut seen, mut since) = (0, Instant::now());
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
                let now = done.load(Ordering::Relaxed);
                if now != seen {
                    (seen, since) = (now, Instant::now());
                }
                if since.elapsed() > PATIENCE {
                    eprintln!("{what}: nothing was finished for {PATIENCE:?}: a deadlock");
                    std::process::abort();
                }
            }
        });
        dog
    }

    fn is_fed(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Documents of one state → version by group. Each group is whole, and of one version.
fn whole_groups(documents: impl Iterator<Item = (String, u64)>) -> Model {
    let mut members: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
    for (id, version) in documents {
        let (group, member) = id.split_once('/').expect("our id");
        let member = (member.parse().expect("a number"), version);
        members
            .entry(group.parse().expect("a number"))
            .or_default()
            .push(member);
    }
    let one = |(group, mut members): (u64, Vec<(u64, u64)>)| {
        members.sort_unstable();
        let version = members[0].1;
        let whole: Vec<(u64, u64)> = (0..MEMBERS).map(|member| (member, version)).collect();
        assert_eq!(members, whole, "group {group} is there in part");
        (group, version)
    };
    members.into_iter().map(one).collect()
}

fn version_of(document: &Document) -> u64 {
    let Value::Integer(version) = document.fields["version"] else {
        panic!("{document:?}");
    };
    let version = version as u64;
    assert_eq!(document.text, format!("{version} of {}", document.id));
    version
}

fn listed(points: &Collection) -> Model {
    let documents = points.documents().map(|document| document.expect("reads"));
    whole_groups(documents.map(|document| (document.id.clone(), version_of(&document))))
}

/// What of this writer's is found, by a query that has to find all of it.
fn found(points: &Collection, writer: u64, nth: u64) -> Model {
    let query = points
        .query_vector(vector(nth % GROUPS, 0, nth))
        .filter(&format!("writer = {writer}")[..])
        .limit((GROUPS * MEMBERS) as usize + 1);
    let hits = query.run().expect("a query").into_iter();
    whole_groups(hits.map(|hit| {
        let version = hit.passage.split(' ').next().expect("our text");
        (hit.id, version.parse().expect("a number"))
    }))
}

fn write(
    db: &Database,
    points: &Collection,
    writer: u64,
    random: &mut Random,
    model: &mut Model,
    version: u64,
) {
    let some = |random: &mut Random| -> Vec<u64> {
        let first = random.below(GROUPS);
        let groups = (0..=random.below(3)).map(|nth| writer * GROUPS + (first + nth) % GROUPS);
        groups.collect()
    };
    let members = |groups: &[u64]| -> Vec<(u64, u64)> {
        let pairs = groups
            .iter()
            .flat_map(|&group| (0..MEMBERS).map(move |member| (group, member)));
        pairs.collect()
    };
    match random.below(10) {
        0..5 => {
            let groups = some(random);
            let documents = members(&groups).into_iter();
            let added = points
                .add_vectors(documents.map(|(group, member)| document(group, member, version)))
                .expect("adds");
            let known = groups
                .iter()
                .filter(|group| model.contains_key(group))
                .count() as u64;
            assert_eq!(added.updated, known * MEMBERS);
            model.extend(groups.iter().map(|&group| (group, version)));
        }
        5..7 => {
            let groups = some(random);
            let ids = members(&groups)
                .into_iter()
                .map(|(group, member)| id(group, member));
            let gone = points.delete(ids).expect("deletes");
            let known = groups
                .iter()
                .filter(|group| model.remove(group).is_some())
                .count() as u64;
            assert_eq!(gone, known * MEMBERS);
        }
        7 => db.flush().expect("seals"),
        8 => {
            let groups = writer * GROUPS..(writer + 1) * GROUPS;
            for group in groups {
                let member = random.below(MEMBERS);
                let document = points.get(&id(group, member)).expect("reads");
                let version = document.as_ref().map(version_of);
                assert_eq!(version, model.get(&group).copied(), "group {group}");
            }
        }
        _ => assert_eq!(found(points, writer, version), *model, "writer {writer}"),
    }
}

/// Asks for all, in ways that take turns; groups are whole, and none goes back to an older version.
fn read(points: &Collection, turn: u64, newest: &mut HashMap<u64, u64>) {
    let seen = match turn % 4 {
        0 => listed(points),
        1 => {
            let all = (WRITERS * GROUPS * MEMBERS) as usize;
            let query = || points.query_vector(vector(turn % 7, 1, turn)).limit(all);
            let filtered = query().filter(&format!("group < {}", turn % 30)[..]);
            let answers = Query::run_all([query(), filtered]).expect("queries");
            let [all, some] = answers.try_into().expect("two");
            let told = |hits: Vec<vecdb::Hit>| {
                whole_groups(hits.into_iter().map(|hit| {
                    let Value::Integer(version) = hit.fields["version"] else {
                        panic!("{hit:?}");
                    };
                    (hit.id, version as u64)
                }))
            };
            let (all, mut some) = (told(all), told(some));
            // Both see the same state.
            let mut below = all.clone();
            below.retain(|&group, _| group < turn % 30);
            assert_eq!(some, below);
            some.extend(all);
            some
        }
        2 => found(points, turn % WRITERS, turn),
        _ => {
            let like = points
                .more_like([id(turn % (WRITERS * GROUPS), 0)])
                .limit(5)
                .scores();
            // It may have been deleted.
            if let Ok(hits) = like {
                assert!(hits.len() <= 5);
            }
            let near = points
                .query_vector(vector(1, 2, 3))
                .within(-1.0)
                .scores()
                .expect("a query");
            assert_eq!(near.len() as u64 % MEMBERS, 0, "a call was seen in part");
            let measured = points
                .measure_recall(RecallOptions::default())
                .expect("measures");
            // Without a graph every answer is exact.
            assert!(measured.is_none_or(|recall| recall.recall > 0.999));
            return;
        }
    };
    for (group, version) in seen {
        let newest = newest.entry(group).or_insert(0);
        assert!(
            version >= *newest,
            "group {group} went from {newest} back to {version}"
        );
        *newest = version;
    }
}

/// New collections, by two threads with the same names.
fn make(db: &Database, nth: u64) {
    let name = format!("made {}", nth % 20);
    let options = CollectionOptions::vectors(2);
    let made = db.create_collection(&name, options).expect("a collection");
    let vector = Vector::new(vec![1.0, nth as f32]).expect("finite");
    made.add_vectors([(Document::new(nth.to_string(), ""), vector)])
        .expect("adds");
    let found = db.existing_collection(&name).expect("it was made");
    assert!(found.get(&nth.to_string()).expect("reads").is_some());
    assert!(db.collections().iter().any(|info| info.name == name));
}

fn check(path: &Path, models: &Model, what: &str) {
    let db = Database::open(path).unwrap_or_else(|e| panic!("{what}: {e}"));
    let points = db.existing_collection("points").expect("there");
    assert_eq!(listed(&points), *models, "{what}");
    for writer in 0..WRITERS {
        let mut own = models.clone();
        own.retain(|group, _| group / GROUPS == writer);
        assert_eq!(found(&points, writer, 1), own, "{what}");
    }
    drop(points);
    db.close().expect("closes");
    let report = Database::check(path).expect("checks");
    assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
}

#[test]
fn everything_at_once_on_many_threads_agrees_with_the_model() {
    let seed = std::env::var("VECDB_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("VECDB_SEED={seed}");
    let told = std::env::var("VECDB_SECONDS")
        .ok()
        .and_then(|told| told.parse().ok());
    let until = Instant::now() + Duration::from_secs(told.unwrap_or(4));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.vecdb");
    let db = Database::options()
        .seal_after_idle(Duration::from_millis(3))
        .open(&path)
        .expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    let versions = AtomicU64::new(1);
    let models = Mutex::new(Model::new());
    let dog = Watchdog::new("the stress test");
    let turns = |work: &mut dyn FnMut(u64)| {
        let mut turn = 0;
        // On a machine with much else to do each thread gets to work too.
        while turn < 8 || Instant::now() < until {
            turn += 1;
            work(turn);
            dog.is_fed();
        }
        turn
    };
    let (writes, reads, merges) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (db, points) = (db.clone(), points.clone());
            let (versions, models, turns, writes) = (&versions, &models, &turns, &writes);
            scope.spawn(move || {
                let (mut random, mut model) = (Random(seed + writer), Model::new());
                let made = turns(&mut |_| {
                    let version = versions.fetch_add(1, Ordering::Relaxed);
                    write(&db, &points, writer, &mut random, &mut model, version);
                });
                writes.fetch_add(made, Ordering::Relaxed);
                models.lock().expect("nobody panicked").extend(model);
            });
        }
        for reader in 0..2 {
            let (points, turns, reads) = (&points, &turns, &reads);
            scope.spawn(move || {
                let mut newest = HashMap::new();
                let made = turns(&mut |turn| read(points, turn + reader, &mut newest));
                reads.fetch_add(made, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                turns(&mut |turn| {
                    make(&db, turn);
                    let made = db.compact(|_| ControlFlow::Continue(())).expect("merges");
                    merges.fetch_add(made.merges, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(3));
                })
            });
        }
        // Another `Database` on the same folder, as another process would see it.
        scope.spawn(|| {
            let reader = Database::open_read_only(&path).expect("opens");
            let seen = reader.existing_collection("points").expect("there");
            let mut newest = HashMap::new();
            turns(&mut |turn| {
                reader.refresh().expect("reads");
                read(&seen, turn, &mut newest);
            })
        });
    });
    drop(dog);
    assert_eq!(db.background_error(), None);
    let models = models.into_inner().expect("nobody panicked");
    assert_eq!(listed(&points), models, "at the end");
    drop(points);
    db.close().expect("closes");
    check(&path, &models, "opened again");
    let (writes, reads, merges) = (writes.into_inner(), reads.into_inner(), merges.into_inner());
    println!("{writes} writes and checks, {reads} reads, {merges} merges asked for");
}

#[test]
fn calls_on_the_workers_of_a_pool_wait_for_none_of_each_other() {
    // Enough for a graph, which is parallel work: of a seal under the writer's lock, of a merge while others wait for it.
    const CALLS: u64 = 15;
    const DOCUMENTS: u64 = 700;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Database::options().merging(Merging::on_request());
    let db = options
        .seal_after_idle(Duration::MAX)
        .open(folder.path().join("s.vecdb"));
    let db = db.expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    let add = |call: u64| {
        let documents = (0..DOCUMENTS).map(|nth| document(call * DOCUMENTS + nth, 0, 1));
        points.add_vectors(documents).expect("adds");
    };
    let delete = |call: u64| {
        let ids = (0..DOCUMENTS / 4).map(|nth| id(call * DOCUMENTS + nth, 0));
        assert_eq!(points.delete(ids).expect("deletes"), DOCUMENTS / 4);
    };
    let dog = Watchdog::new("calls on the workers of a pool");
    (0..CALLS - 1).for_each(add);
    assert_eq!(points.info().segments, 0);
    std::thread::scope(|scope| {
        // The call that fills it seals, here on a thread that is no worker, while all workers wait for the lock.
        scope.spawn(|| add(CALLS - 1));
        while points.len() < CALLS * DOCUMENTS {
            std::thread::sleep(Duration::from_millis(1));
        }
        (0..CALLS).into_par_iter().for_each(delete);
        dog.is_fed();
    });
    assert_eq!(points.info().segments, 1);
    db.flush().expect("seals");
    // Each waits for all merges in hand, also for those of the others.
    let merges: u64 = (0..CALLS)
        .into_par_iter()
        .map(|_| {
            db.compact(|_| ControlFlow::Continue(()))
                .expect("merges")
                .merges
        })
        .sum();
    drop(dog);
    assert_eq!(merges, 1, "for its deleted rows");
    let info = points.info();
    assert_eq!(info.documents, CALLS * (DOCUMENTS - DOCUMENTS / 4));
    assert_eq!((info.segments, info.dead_passages), (1, 0));
}
