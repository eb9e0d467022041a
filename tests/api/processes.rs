//! One process writes, four read: whatever a reader sees is a state that was committed, never half of one and never an
//! older one than before; and who writes is named, and leaves nothing locked when it is killed.
//!
//! The processes are this test binary, running [`child`] alone. A seed says what the writer does, call by call, so each reader
//! knows all states that there can be. Every document tells its version, the number of the call that wrote it, and each call
//! that adds writes document 0 too: that one tells which state is seen.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vecdb::{
    Collection, CollectionOptions, Database, Document, Documents, Error, Residency, Vector,
};

use crate::random::Random;

const DIMENSION: usize = 8;
const IDS: u64 = 80;
const READERS: u64 = 4;

/// Version by id.
type Model = BTreeMap<u64, u64>;

fn vector(id: u64, version: u64) -> [f32; DIMENSION] {
    let mut random = Random(version * 1_000 + id);
    std::array::from_fn(|_| random.below(2_001) as f32 - 1_000.5)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

enum Call {
    Add(Vec<u64>),
    Delete(Vec<u64>),
}

/// The writer's calls, and the state after those that were taken.
#[derive(Clone)]
struct History {
    random: Random,
    calls: u64,
    state: Model,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            calls: 0,
            state: Model::new(),
        }
    }

    fn next(&mut self) -> Call {
        self.calls += 1;
        let some = |random: &mut Random, most: u64| -> Vec<u64> {
            let first = 1 + random.below(IDS - 1);
            let ids = (0..=random.below(most)).map(|nth| 1 + (first + nth) % (IDS - 1));
            ids.collect()
        };
        if self.calls > 1 && self.random.below(4) == 0 {
            let ids = some(&mut self.random, 8);
            self.state.retain(|id, _| !ids.contains(id));
            return Call::Delete(ids);
        }
        // Now and then all at once.
        let all = self.random.below(16) == 0;
        let mut ids = some(&mut self.random, 12);
        if all {
            ids = (1..IDS).collect();
        }
        ids.push(0);
        self.state.extend(ids.iter().map(|&id| (id, self.calls)));
        Call::Add(ids)
    }

    fn is_delete_next(&self) -> bool {
        matches!(self.clone().next(), Call::Delete(_))
    }

    /// The last call after which it is still this state: to delete what is not there changes nothing.
    fn until(&self) -> u64 {
        let mut later = self.clone();
        loop {
            let until = later.calls;
            if !later.is_delete_next() {
                return until;
            }
            later.next();
            if later.state != self.state {
                return until;
            }
        }
    }

    /// Goes on to the first state that is `seen`.
    fn find(&mut self, seen: &Model, what: &str) {
        let clock = seen.get(&0).copied().unwrap_or(0);
        while self.calls < clock {
            self.next();
        }
        while self.state != *seen && self.is_delete_next() {
            self.next();
        }
        assert_eq!(self.state, *seen, "{what}: no state after call {clock}");
    }
}

/// A number that one process writes and others read.
struct Mark(File);

impl Mark {
    fn new(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path);
        Self(file.expect("a file"))
    }

    fn set(&mut self, number: u64) {
        self.0.rewind().expect("seeks");
        self.0.write_all(&number.to_le_bytes()).expect("writes");
    }

    fn get(folder: &Path, name: &str) -> u64 {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }
}

fn database(folder: &Path) -> PathBuf {
    folder.join("p.vecdb")
}

/// What a child does; nothing when it is run as an ordinary test.
#[test]
fn child() {
    let Ok(folder) = std::env::var("VECDB_PROCESS_FOLDER") else {
        return;
    };
    let number = |name: &str| -> u64 {
        let told = std::env::var(name).expect("the parent sets it");
        told.parse().expect("a number")
    };
    let (folder, seed) = (Path::new(&folder), number("VECDB_PROCESS_SEED"));
    match number("VECDB_PROCESS_READER") {
        0 => write(folder, seed),
        reader => read(folder, seed, reader),
    }
}

/// A child that does not outlive a test that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, seed: u64, reader: u64) -> Running {
    let child = Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "processes::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("VECDB_PROCESS_FOLDER", folder)
        .env("VECDB_PROCESS_SEED", seed.to_string())
        .env("VECDB_PROCESS_READER", reader.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    Running(child.expect("starts"))
}

/// Writes until it is killed.
fn write(folder: &Path, seed: u64) {
    let db = Database::options()
        .seal_after_idle(Duration::from_millis(10))
        .open(database(folder))
        .expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    let mut tried = Mark::new(folder, "tried");
    let mut acknowledged = Mark::new(folder, "acknowledged");
    let mut sealed = Mark::new(folder, "sealed");
    let mut seals = Mark::new(folder, "seals");
    let mut history = History::new(seed);
    let mut random = Random(!seed);
    let mut flushes = 0;
    loop {
        let call = history.next();
        let version = history.calls;
        tried.set(version);
        match call {
            Call::Add(ids) => {
                let document = |id: u64| {
                    let text = format!("version {version} of {id}");
                    let document = Document::new(id.to_string(), text);
                    let vector = Vector::new(vector(id, version).to_vec()).expect("finite");
                    (document.field("version", version as i64), vector)
                };
                points
                    .add_vectors(ids.into_iter().map(document))
                    .expect("adds");
            }
            Call::Delete(ids) => {
                points
                    .delete(ids.iter().map(u64::to_string))
                    .expect("deletes");
            }
        }
        acknowledged.set(version);
        match random.below(12) {
            0..4 => {
                db.flush().expect("seals");
                sealed.set(version);
                flushes += 1;
                seals.set(flushes);
            }
            // The pause after which it is sealed without being asked for.
            4 => std::thread::sleep(Duration::from_millis(random.below(20))),
            5 if version.is_multiple_of(16) => {
                let options = CollectionOptions::vectors(2);
                let name = format!("made at {version}");
                db.create_collection(&name, options).expect("a collection");
            }
            _ => {}
        }
    }
}

/// All documents, read one by one.
fn listed(documents: impl Iterator<Item = vecdb::Result<Document>>, what: &str) -> Model {
    let listed = documents.map(|document| {
        let document = document.unwrap_or_else(|e| panic!("{what}: {e}"));
        let (version, of) = document
            .text
            .strip_prefix("version ")
            .and_then(|text| text.split_once(" of "))
            .unwrap_or_else(|| panic!("{what}: {:?}", document.text));
        assert_eq!(of, document.id, "{what}");
        let version = version.parse().expect("a number");
        assert_eq!(
            document.fields["version"],
            vecdb::Value::from(version as i64)
        );
        (of.parse().expect("a number"), version)
    });
    let listed: Vec<(u64, u64)> = listed.collect();
    let model: Model = listed.iter().copied().collect();
    assert_eq!(model.len(), listed.len(), "{what}: a document stands twice");
    model
}

/// Asks in several ways and compares every answer with the state.
fn check(points: &Collection, state: &Model, random: &mut Random, what: &str) {
    assert_eq!(points.len(), state.len() as u64, "{what}");
    for _ in 0..3 {
        let id = random.below(IDS);
        let found = points
            .get(&id.to_string())
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let text = state
            .get(&id)
            .map(|version| format!("version {version} of {id}"));
        assert_eq!(found.map(|document| document.text), text, "{what}: {id}");
    }
    let newest = state.values().max().copied().unwrap_or(0);
    let asked = vector(random.below(IDS), newest.saturating_sub(random.below(20)));
    let since = newest.saturating_sub(random.below(30));
    let limit = 1 + random.place(20);
    let query = points.query_vector(Vector::new(asked.to_vec()).expect("finite"));
    let query = query
        .limit(limit)
        .filter(&format!("version >= {since}")[..]);
    let hits = query.run().unwrap_or_else(|e| panic!("{what}: {e}"));
    let matching = state.iter().filter(|&(_, &version)| version >= since);
    let score = |(&id, &version): (&u64, &u64)| cosine(&asked, &vector(id, version));
    let mut scores: Vec<f64> = matching.map(score).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.truncate(limit);
    assert_eq!(hits.len(), scores.len(), "{what}");
    for (hit, score) in hits.iter().zip(scores) {
        assert!(
            (f64::from(hit.score) - score).abs() < 1e-5,
            "{what}: {hit:?}, {score}"
        );
        let id: u64 = hit.id.parse().expect("a number");
        let passage = format!("version {} of {id}", state[&id]);
        assert_eq!(hit.passage, passage, "{what}");
        let own = cosine(&asked, &vector(id, state[&id]));
        assert!(
            (f64::from(hit.score) - own).abs() < 1e-5,
            "{what}: {hit:?}, {own}"
        );
    }
}

/// A listing that goes on while the files that it reads are merged away.
struct Held {
    documents: Documents,
    seen: Vec<vecdb::Result<Document>>,
    state: Model,
}

/// Looks until it is told to stop. Readers 1 and 2 refresh, the others open anew each time.
fn read(folder: &Path, seed: u64, reader: u64) {
    let path = database(folder);
    let open = || match reader {
        1 | 3 => Database::open_read_only(&path),
        2 => Database::options()
            .read_only()
            .residency(Residency::Pinned)
            .open(&path),
        _ => Database::options().for_reading().open(&path),
    };
    let what = |nth: u64| format!("reader {reader}, look {nth}");
    let mut db = open().expect("opens");
    let mut points = db.existing_collection("points").expect("there");
    let mut history = History::new(seed);
    let mut random = Random(seed + reader);
    let (mut looks, mut changes, mut collections) = (0, 0, 0);
    let mut held: Option<Held> = None;
    while !folder.join("stop").exists() {
        looks += 1;
        let what = what(looks);
        let sealed = Mark::get(folder, "sealed");
        let changed = if reader <= 2 {
            db.refresh().unwrap_or_else(|e| panic!("{what}: {e}"))
        } else {
            db = open().unwrap_or_else(|e| panic!("{what}: {e}"));
            points = db.existing_collection("points").expect("there");
            true
        };
        let before = history.calls;
        history.find(&listed(points.documents(), &what), &what);
        let calls = history.calls;
        let until = history.until();
        assert!(until >= sealed, "{what}: {until}, and {sealed} was sealed");
        assert!(calls <= Mark::get(folder, "tried"), "{what}");
        let is_first = looks == 1;
        assert!(
            changed || is_first || calls == before,
            "{what}: it changed by itself"
        );
        changes += u64::from(calls > before);
        check(&points, &history.state, &mut random, &what);
        let known = db.collections().len();
        assert!(known >= collections, "{what}: a collection is gone");
        collections = known;
        let listing = held.get_or_insert_with(|| Held {
            documents: points.documents(),
            seen: Vec::new(),
            state: history.state.clone(),
        });
        listing.seen.extend(listing.documents.by_ref().take(4));
        if listing.seen.len() >= listing.state.len() {
            let Held { seen, state, .. } = held.take().expect("it was just there");
            assert_eq!(
                listed(seen.into_iter(), &what),
                state,
                "{what}: a listing that was held"
            );
        }
    }
    let mut told = Mark::new(folder, &format!("changes {reader}"));
    told.set(changes);
    let mut told = Mark::new(folder, &format!("looks {reader}"));
    told.set(looks);
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < give_up, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number of seconds from the environment, or else this one.
fn seconds(otherwise: u64) -> Duration {
    let told = std::env::var("VECDB_SECONDS").ok();
    Duration::from_secs(told.and_then(|told| told.parse().ok()).unwrap_or(otherwise))
}

#[test]
fn four_readers_see_only_committed_states_while_one_process_writes() {
    let seed = std::env::var("VECDB_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("VECDB_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let (folder, path) = (folder.path(), database(folder.path()));
    let mut writer = start(folder, seed, 0);
    wait_for("the writer writes", || Mark::get(folder, "sealed") > 0);
    let readers: Vec<(u64, Running)> = (1..=READERS)
        .map(|reader| (reader, start(folder, seed, reader)))
        .collect();
    std::thread::sleep(seconds(5));
    wait_for("the writer gets to work", || {
        Mark::get(folder, "seals") >= 8
    });
    File::create(folder.join("stop")).expect("made");
    for (reader, mut running) in readers {
        let child = &mut running.0;
        let mut said = String::new();
        let pipe = child.stderr.as_mut().expect("a pipe");
        pipe.read_to_string(&mut said).expect("UTF-8");
        assert!(
            child.wait().expect("waits").success(),
            "reader {reader}: {said}"
        );
    }
    let told = |name: &str| -> Vec<u64> {
        let readers = 1..=READERS;
        readers
            .map(|reader| Mark::get(folder, &format!("{name} {reader}")))
            .collect()
    };
    let (looks, changes) = (told("looks"), told("changes"));
    let seals = Mark::get(folder, "seals");

    let refused = Database::open(&path).expect_err("held").to_string();
    let named = [
        &format!("pid {}", writer.0.id()),
        "processes::child",
        "another process",
        "since 20",
    ];
    assert!(named.iter().all(|word| refused.contains(word)), "{refused}");
    assert!(
        writer.0.try_wait().expect("asks").is_none(),
        "it still writes"
    );
    drop(writer);
    let db = Database::open(&path).expect("nobody holds the lock");
    let points = db.existing_collection("points").expect("there");
    let acknowledged = Mark::get(folder, "acknowledged");
    let mut history = History::new(seed);
    while history.calls < acknowledged {
        history.next();
    }
    let now = listed(points.documents(), "after the kill");
    if now != history.state && Mark::get(folder, "tried") > acknowledged {
        history.next();
    }
    assert_eq!(now, history.state, "after the kill");
    check(&points, &now, &mut Random(seed), "after the kill");
    let segments = points.info().segments;
    println!(
        "{acknowledged} calls, {seals} seals and more by themselves, {segments} segments; looks {looks:?}, states {changes:?}"
    );
    drop(points);
    db.close().expect("closes");
    let report = Database::check(&path).expect("checks");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert!(
        changes.iter().all(|&changes| changes >= 3),
        "readers saw something: {changes:?}"
    );
    assert!(segments < seals, "segments were merged under them");
}

#[test]
fn a_refresh_opens_what_is_new_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = database(folder.path());
    let db = Database::options()
        .merging(vecdb::Merging::on_request())
        .open(&path)
        .expect("opens");
    let points = db
        .create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection");
    let add = |id: &str| {
        let vector = Vector::new(vec![1.0, 0.5]).expect("finite");
        points
            .add_vectors([(Document::new(id, id), vector)])
            .expect("adds");
    };
    add("a");
    add("b");
    db.flush().expect("seals");
    let reader = Database::open_read_only(&path).expect("opens");
    let seen = reader.existing_collection("points").expect("there");
    assert!(!reader.refresh().expect("reads"), "nothing was written");
    assert!(!db.refresh().expect("a writer"), "it sees what it does");
    let ids = |collection: &Collection| -> Vec<String> {
        let documents = collection.documents().map(|d| d.expect("reads").id);
        documents.collect()
    };

    // The file of what is open already is not asked for again.
    let segments = path.join("segments");
    let first = segments
        .read_dir()
        .expect("a folder")
        .next()
        .expect("one")
        .expect("reads")
        .path();
    let aside = folder.path().join("aside");
    std::fs::rename(&first, &aside).expect("moves");
    add("c");
    points.delete(["b"]).expect("deletes");
    db.flush().expect("seals");
    assert_eq!(ids(&seen), ["a", "b"]);
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&seen), ["a", "c"]);
    assert!(!reader.refresh().expect("reads"));
    assert!(Database::open_read_only(&path).is_err(), "the file is away");

    // Neither what cannot be opened nor anything that came with it is shown.
    add("d");
    db.create_collection("more", CollectionOptions::vectors(2))
        .expect("a collection");
    db.flush().expect("seals");
    let known: Vec<PathBuf> = segments
        .read_dir()
        .expect("a folder")
        .map(|e| e.expect("reads").path())
        .collect();
    let newest = known
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .max()
        .expect("one");
    let away = folder.path().join("away");
    std::fs::rename(newest, &away).expect("moves");
    assert!(matches!(reader.refresh(), Err(Error::Damaged { .. })));
    assert_eq!(ids(&seen), ["a", "c"]);
    assert_eq!(reader.collections().len(), 1);
    std::fs::rename(&away, newest).expect("moves");
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&seen), ["a", "c", "d"]);
    assert!(
        reader
            .existing_collection("more")
            .expect("there")
            .is_empty()
    );
}
