//! The calls, what is stored after each, and what a database really holds.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::database::{CollectionOptions, Database, Merging};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::store::faults::FaultyDir;
use crate::vector::Vector;

pub(super) const DIMENSION: usize = 8;
/// So many documents are written with long titles.
const LONG: u64 = 20;
/// Of so many documents of a collection it is seen that a query finds them.
const ASKED: usize = 12;

/// Version by id, by collection.
pub(super) type Model = BTreeMap<String, BTreeMap<u64, u64>>;

/// A call, and what it does to the documents. Each may be made again after it was made.
pub(super) struct Step {
    run: fn(&mut World, u64) -> Result<()>,
    change: fn(&mut Model, u64),
}

/// A database on a disk that may fail.
pub(super) struct World {
    path: PathBuf,
    dir: FaultyDir,
    db: Option<Database>,
}

impl World {
    /// A world whose database is not yet open.
    pub fn new(path: &Path, dir: &FaultyDir) -> Self {
        Self {
            path: path.to_path_buf(),
            dir: dir.clone(),
            db: None,
        }
    }

    /// The database, opened if it is not.
    pub fn db(&mut self) -> Result<&Database> {
        let db = match self.db.take() {
            Some(db) => db,
            None => open(&self.path, &self.dir)?,
        };
        Ok(self.db.insert(db))
    }

    /// Closes, and opens again.
    fn reopen(&mut self) -> Result<()> {
        self.close()?;
        self.db().map(|_| ())
    }

    pub fn close(&mut self) -> Result<()> {
        self.db.take().map_or(Ok(()), Database::close)
    }

    /// As a kill: nothing is sealed, and no file says that it was closed.
    pub fn kill(&mut self) {
        self.dir.kill();
        self.db = None;
        self.dir.revive();
    }

    /// Runs the steps from `first` on. On a failure its number and the error.
    pub fn run(&mut self, steps: &[Step], first: usize) -> std::result::Result<(), (usize, Error)> {
        for (at, step) in steps.iter().enumerate().skip(first) {
            self.step(step, at).map_err(|error| (at, error))?;
        }
        Ok(())
    }

    /// Runs the step with this number.
    pub fn step(&mut self, step: &Step, at: usize) -> Result<()> {
        (step.run)(self, at as u64 + 1)
    }

    pub fn create(&mut self, name: &str) -> Result<()> {
        let options = CollectionOptions::vectors(DIMENSION);
        self.db()?.create_collection(name, options).map(|_| ())
    }

    pub fn add(&mut self, name: &str, ids: Range<u64>, version: u64) -> Result<()> {
        self.add_titled(name, ids, version, "a title")
    }

    /// Documents of more than half a segment of sled's log.
    pub fn add_long(&mut self, version: u64) -> Result<()> {
        self.add_titled("points", 0..LONG, version, &"long ".repeat(4_000))
    }

    fn add_titled(&mut self, name: &str, ids: Range<u64>, version: u64, title: &str) -> Result<()> {
        let document = |id: u64| {
            let text = format!("version {version} of {id}");
            let document = Document::new(id.to_string(), text).field("version", version as i64);
            (document.title(title), vector(id, version))
        };
        let collection = self.db()?.existing_collection(name)?;
        collection.add_vectors(ids.map(document)).map(|_| ())
    }

    pub fn delete(&mut self, name: &str, ids: Range<u64>) -> Result<()> {
        let collection = self.db()?.existing_collection(name)?;
        collection.delete(ids.map(|id| id.to_string())).map(|_| ())
    }

    pub fn flush(&mut self) -> Result<()> {
        self.db()?.flush()
    }

    pub fn compact(&mut self) -> Result<()> {
        let made = self.db()?.compact(|_| ControlFlow::Continue(()));
        made.map(|_| ())
    }

    /// Where a file could not be removed it is not proved, and says so.
    pub fn purge(&mut self) -> Result<()> {
        let made = self.db()?.purge(|_| ControlFlow::Continue(()));
        made.map(|_| ())
    }
}

/// Without anything that happens by itself: the same calls are the same operations.
pub(super) fn open(path: &Path, dir: &FaultyDir) -> Result<Database> {
    let options = Database::options().merging(Merging::on_request());
    let options = options.seal_after_idle(Duration::MAX).disk(dir.disk());
    options.open(path)
}

fn vector(id: u64, version: u64) -> Vector {
    let mut random = Random(id * 1_000 + version);
    let components = (0..DIMENSION).map(|_| random.below(2_001) as f32 - 1_000.5);
    Vector::new(components.collect::<Vec<_>>()).expect("finite")
}

fn created(model: &mut Model, name: &str) {
    model.entry(name.into()).or_default();
}

fn added(model: &mut Model, name: &str, ids: Range<u64>, version: u64) {
    let documents = model.get_mut(name).expect("it was made");
    documents.extend(ids.map(|id| (id, version)));
}

fn deleted(model: &mut Model, name: &str, ids: Range<u64>) {
    let documents = model.get_mut(name).expect("it was made");
    documents.retain(|id, _| !ids.contains(id));
}

macro_rules! step {
    ($run:expr) => {
        step!($run, |_, _| {})
    };
    ($run:expr, $change:expr) => {
        Step {
            run: $run,
            change: $change,
        }
    };
}

/// Everything that is done in small.
pub(super) const EVERYDAY: &[Step] = &[
    step!(|w, _| w.create("points"), |m, _| created(m, "points")),
    step!(|w, v| w.add("points", 0..4, v), |m, v| added(
        m,
        "points",
        0..4,
        v
    )),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add("points", 2..7, v), |m, v| added(
        m,
        "points",
        2..7,
        v
    )),
    step!(|w, _| w.delete("points", 1..3), |m, _| deleted(
        m,
        "points",
        1..3
    )),
    // What is unsealed, in and beside a segment, comes back.
    step!(|w, _| {
        w.kill();
        w.db().map(|_| ())
    }),
    step!(|w, _| w.create("others"), |m, _| created(m, "others")),
    step!(|w, v| w.add("others", 0..3, v), |m, v| added(
        m,
        "others",
        0..3,
        v
    )),
    // Both collections, and tombstones.
    step!(|w, _| w.flush()),
    step!(|w, v| w.add("points", 5..9, v), |m, v| added(
        m,
        "points",
        5..9,
        v
    )),
    // Nothing is left unsealed.
    step!(|w, _| w.reopen()),
    step!(|w, v| w.add("points", 9..12, v), |m, v| added(
        m,
        "points",
        9..12,
        v
    )),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add("points", 12..14, v), |m, v| added(
        m,
        "points",
        12..14,
        v
    )),
    step!(|w, _| w.flush()),
    step!(|w, _| w.delete("points", 11..12), |m, _| deleted(
        m,
        "points",
        11..12
    )),
    // With a deletion that is not sealed.
    step!(|w, _| w.compact()),
    step!(|w, v| w.add("points", 0..1, v), |m, v| added(
        m,
        "points",
        0..1,
        v
    )),
    step!(|w, _| {
        w.kill();
        w.db().map(|_| ())
    }),
    // Its segment is let go of.
    step!(|w, _| w.delete("others", 0..3), |m, _| deleted(
        m,
        "others",
        0..3
    )),
    step!(|w, _| w.flush()),
    // Unsealed rows, dead ones in a segment, and a catalog with a past.
    step!(|w, v| w.add("points", 8..9, v), |m, v| added(
        m,
        "points",
        8..9,
        v
    )),
    step!(|w, _| w.purge()),
];

/// So much text that sled's log lets go of parts of itself and writes over them.
pub(super) const BUSY: &[Step] = &[
    step!(|w, _| w.create("points"), |m, _| created(m, "points")),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, _| w.reopen()),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, v| w.add("points", 0..LONG, v), |m, v| added(
        m,
        "points",
        0..LONG,
        v
    )),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, _| {
        w.kill();
        w.db().map(|_| ())
    }),
    step!(|w, _| w.flush()),
    step!(|w, v| w.add_long(v), |m, v| added(m, "points", 0..LONG, v)),
    step!(|w, _| w.flush()),
];

/// Calls so large that they make their segment at once.
pub(super) const LARGE: &[Step] = &[
    step!(|w, _| w.create("points"), |m, _| created(m, "points")),
    step!(|w, v| w.add("points", 0..1_100, v), |m, v| added(
        m,
        "points",
        0..1_100,
        v
    )),
    step!(|w, v| w.add("points", 1_050..1_110, v), |m, v| added(
        m,
        "points",
        1_050..1_110,
        v
    )),
    step!(|w, _| w.delete("points", 0..1_001), |m, _| deleted(
        m,
        "points",
        0..1_001
    )),
    step!(|w, _| {
        w.kill();
        w.db().map(|_| ())
    }),
    step!(|w, _| w.compact()),
];

/// The documents before the first step, after it, and after each other.
pub(super) fn models(steps: &[Step]) -> Vec<Model> {
    let mut model = Model::new();
    let mut models = vec![model.clone()];
    for (step, version) in steps.iter().zip(1..) {
        (step.change)(&mut model, version);
        models.push(model.clone());
    }
    models
}

/// The operations that it takes, from opening to closing.
pub(super) fn operations(steps: &[Step]) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = FaultyDir::default();
    let mut world = World::new(&folder.path().join("f.vecdb"), &dir);
    world.run(steps, 0).expect("nothing fails");
    let model = models(steps).pop();
    assert_eq!(
        Some(stored(world.db().expect("open"), "no fault")),
        model,
        "without a fault"
    );
    world.close().expect("closes");
    dir.take_trace()
}

/// What is stored, by all ways that lead to it.
pub(super) fn stored(db: &Database, what: &str) -> Model {
    let mut model = Model::new();
    for info in db.collections() {
        let collection = db.existing_collection(&info.name);
        let collection = collection.unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut found = BTreeMap::new();
        for document in collection.documents() {
            let document = document.unwrap_or_else(|e| panic!("{what}: {e}"));
            let (version, of) = document
                .text
                .strip_prefix("version ")
                .and_then(|text| text.split_once(" of "))
                .unwrap_or_else(|| panic!("{what}: {:?}", document.text));
            assert_eq!(of, document.id, "{what}");
            let number = |text: &str| text.parse::<u64>().expect("our number");
            let before = found.insert(number(of), number(version));
            assert_eq!(before, None, "{what}: {of} twice");
        }
        assert_eq!(info.documents, found.len() as u64, "{what}");
        for (&id, &version) in found.iter().take(ASKED) {
            let document = collection.get(&id.to_string());
            let document = document.unwrap_or_else(|e| panic!("{what}: {e}"));
            let text = document.map(|document| document.text);
            assert_eq!(text, Some(format!("version {version} of {id}")), "{what}");
            let nearest = collection.query_vector(vector(id, version)).limit(1);
            let hits = nearest.filter(&format!("version = {version}")[..]).run();
            let hits = hits.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(hits[0].id, id.to_string(), "{what}");
            assert!(hits[0].score > 0.999_99, "{what}");
        }
        model.insert(info.name, found);
    }
    model
}

/// Opens what a fault left, on a disk that works, and sees that nothing is wrong with it.
pub(super) fn found(path: &Path, what: &str) -> Model {
    let db = open(path, &FaultyDir::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let now = stored(&db, what);
    db.close().unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = Database::check(path).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
    now
}
