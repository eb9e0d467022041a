//! Whatever a disk does to a database, what was acknowledged is there afterwards, whole.
//!
//! One history of calls is run on a disk that fails at its n-th operation, or whose power is cut there, for every n. The
//! database is then what it was before the call that was hit, or what it is after it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use super::{CollectionOptions, Database, Merging};
use crate::document::Document;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::store::Disk;
use crate::store::faults::{Fault, FaultyDir};
use crate::vector::Vector;

const DIMENSION: usize = 8;

/// Version by id.
type Model = BTreeMap<u64, u64>;

/// A call, and what it does to the documents.
struct Step {
    run: fn(&Database, u64) -> Result<()>,
    change: fn(&mut Model, u64),
}

fn vector(id: u64, version: u64) -> Vector {
    let mut random = Random(id * 1_000 + version);
    let components = (0..DIMENSION).map(|_| random.below(2_001) as f32 - 1_000.5);
    Vector::new(components.collect::<Vec<_>>()).expect("finite")
}

fn add(db: &Database, ids: std::ops::Range<u64>, version: u64) -> Result<()> {
    let document = |id: u64| {
        let text = format!("version {version} of {id}");
        let document = Document::new(id.to_string(), text).field("version", version as i64);
        (document, vector(id, version))
    };
    let points = db.create_collection("points", CollectionOptions::vectors(DIMENSION))?;
    points.add_vectors(ids.map(document)).map(|_| ())
}

fn delete(db: &Database, ids: std::ops::Range<u64>) -> Result<()> {
    let points = db.create_collection("points", CollectionOptions::vectors(DIMENSION))?;
    points.delete(ids.map(|id| id.to_string())).map(|_| ())
}

fn purge(db: &Database) -> Result<()> {
    // Where a file could not be removed it is not proved, and says so.
    db.purge(|_| ControlFlow::Continue(())).map(|_| ())
}

/// `version` is the step's number.
const STEPS: &[Step] = &[
    Step {
        run: |db, version| add(db, 0..4, version),
        change: |model, version| model.extend((0..4).map(|id| (id, version))),
    },
    Step {
        run: |db, _| db.flush(),
        change: |_, _| {},
    },
    Step {
        run: |db, version| add(db, 2..7, version),
        change: |model, version| model.extend((2..7).map(|id| (id, version))),
    },
    Step {
        run: |db, _| delete(db, 1..3),
        change: |model, _| model.retain(|id, _| !(1..3).contains(id)),
    },
    Step {
        run: |db, _| db.flush(),
        change: |_, _| {},
    },
    Step {
        run: |db, version| add(db, 5..9, version).and_then(|()| db.flush()),
        change: |model, version| model.extend((5..9).map(|id| (id, version))),
    },
    Step {
        run: |db, version| add(db, 9..12, version).and_then(|()| db.flush()),
        change: |model, version| model.extend((9..12).map(|id| (id, version))),
    },
    Step {
        run: |db, _| delete(db, 11..12),
        change: |model, _| model.retain(|id, _| *id != 11),
    },
    Step {
        run: |db, _| db.compact(|_| ControlFlow::Continue(())).map(|_| ()),
        change: |_, _| {},
    },
    Step {
        run: |db, version| add(db, 8..9, version).and_then(|()| purge(db)),
        change: |model, version| model.extend([(8, version)]),
    },
    Step {
        run: |db, version| add(db, 0..1, version),
        change: |model, version| model.extend([(0, version)]),
    },
];

/// The documents before the first step, after it, and after each other.
fn history() -> Vec<Model> {
    let mut model = Model::new();
    let mut history = vec![model.clone()];
    for (step, version) in STEPS.iter().zip(1..) {
        (step.change)(&mut model, version);
        history.push(model.clone());
    }
    history
}

fn open(path: &Path, disk: Disk) -> Result<Database> {
    let options = Database::options().merging(Merging::on_request());
    options.seal_after_idle(Duration::MAX).disk(disk).open(path)
}

/// Runs the steps from `first` on. On a failure its number and the error.
fn run(db: &Database, first: usize) -> std::result::Result<(), (usize, Error)> {
    for (at, step) in STEPS.iter().enumerate().skip(first) {
        (step.run)(db, at as u64 + 1).map_err(|error| (at, error))?;
    }
    Ok(())
}

/// What is stored, by all ways that lead to it.
fn stored(db: &Database, what: &str) -> Model {
    let points = match db.existing_collection("points") {
        Err(Error::NoCollection { .. }) => return Model::new(),
        points => points.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    let mut found = Model::new();
    for id in 0..12 {
        let document = points.get(&id.to_string());
        let Some(document) = document.unwrap_or_else(|e| panic!("{what}: {e}")) else {
            continue;
        };
        let (version, of) = document
            .text
            .strip_prefix("version ")
            .and_then(|text| text.split_once(" of "))
            .unwrap_or_else(|| panic!("{what}: {:?}", document.text));
        assert_eq!(of, id.to_string(), "{what}");
        let version: u64 = version.parse().expect("a number");
        found.insert(id, version);
        let nearest = points.query_vector(vector(id, version)).limit(1);
        let hits = nearest.filter(&format!("version = {version}")[..]).run();
        let hits = hits.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(hits[0].id, of, "{what}");
        assert!(hits[0].score > 0.999_99, "{what}");
    }
    let info = points.info();
    assert_eq!(info.documents, found.len() as u64, "{what}");
    found
}

/// How many operations the whole history takes, from opening to closing.
fn operations() -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = FaultyDir::default();
    let db = open(&folder.path().join("f.vecdb"), dir.disk()).expect("opens");
    run(&db, 0).expect("nothing fails");
    assert_eq!(stored(&db, "without a fault"), history()[STEPS.len()]);
    db.close().expect("closes");
    dir.operations()
}

/// After a fault in step `at` (`None`: while opening or closing) the database holds what it held before it or after it.
/// Returns which.
fn is_old_or_new(path: &Path, at: Option<usize>, closing: bool, what: &str) -> bool {
    let history = history();
    let db = open(path, Disk::default()).unwrap_or_else(|e| panic!("{what}: {e}"));
    let now = stored(&db, what);
    db.close().unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = Database::check(path).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
    match at {
        Some(at) => {
            assert!(
                now == history[at] || now == history[at + 1],
                "{what}: {now:?}"
            );
            now == history[at + 1]
        }
        None if closing => {
            assert_eq!(now, history[STEPS.len()], "{what}");
            true
        }
        None => {
            assert_eq!(now, history[0], "{what}");
            true
        }
    }
}

/// Everything that is done before a call is acknowledged, in order: an fsync after each write, and nothing is named before it
/// is durable.
#[test]
fn each_call_is_durable_before_it_is_acknowledged() {
    const CATALOG: &[&str] = &["sync meta/db"];
    const MANIFEST: &[&str] = &[
        "create MANIFEST.tmp",
        "write MANIFEST.tmp",
        "sync MANIFEST.tmp",
        "rename MANIFEST",
        "sync f.vecdb",
    ];
    const SEGMENT: &[&str] = &[
        "create segments/*.seg.tmp",
        "write segments/*.seg.tmp",
        "sync segments/*.seg.tmp",
        "rename segments/*.seg",
        "sync segments",
    ];
    const TOMBSTONES: &[&str] = &[
        "create segments/*.1.del.tmp",
        "write segments/*.1.del.tmp",
        "sync segments/*.1.del.tmp",
        "rename segments/*.1.del",
        "sync segments",
    ];
    const NEW: &[&str] = &[
        "create f.vecdb",
        "overwrite LOCK",
        "sync LOCK",
        "create FORMAT.tmp",
        "write FORMAT.tmp",
        "sync FORMAT.tmp",
        "rename FORMAT",
        "sync f.vecdb",
        "create segments",
        "sync meta/db",
        "sync meta/conf",
        "sync meta/db",
        "sync meta",
        "sync f.vecdb",
        "sync around",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let around = folder.path().join("around");
    std::fs::create_dir(&around).expect("made");
    let dir = FaultyDir::default();
    let db = open(&around.join("f.vecdb"), dir.disk()).expect("opens");
    let did =
        |what: &str, parts: &[&[&str]]| assert_eq!(dir.take_trace(), parts.concat(), "{what}");
    did("a new database", &[NEW, MANIFEST]);
    let collection = CollectionOptions::vectors(DIMENSION);
    db.create_collection("points", collection).expect("made");
    did("a new collection", &[CATALOG, MANIFEST]);
    add(&db, 0..3, 1).expect("adds");
    did("documents", &[CATALOG]);
    db.flush().expect("seals");
    did("a seal", &[SEGMENT, CATALOG, MANIFEST]);
    delete(&db, 0..1).expect("deletes");
    did("a deletion", &[CATALOG]);
    add(&db, 3..4, 1).expect("adds");
    did("another document", &[CATALOG]);
    db.flush().expect("seals");
    did("a seal of both", &[TOMBSTONES, SEGMENT, CATALOG, MANIFEST]);
    db.flush().expect("nothing to do");
    did("nothing", &[]);
    for id in 4..6 {
        add(&db, id..id + 1, 1)
            .and_then(|()| db.flush())
            .expect("seals");
    }
    dir.take_trace();
    db.compact(|_| ControlFlow::Continue(())).expect("merges");
    let removed = [
        ["remove segments/*.seg"; 4].as_slice(),
        &["remove segments/*.1.del"],
    ]
    .concat();
    let mut trace = dir.take_trace();
    let kept = trace.split_off(trace.len() - removed.len());
    assert_eq!(trace, [SEGMENT, CATALOG, MANIFEST].concat(), "a merge");
    let mut last = kept;
    last.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(last, removed, "the sources go when nobody names them");
    db.close().expect("closes");
    did("the end", &[&["overwrite LOCK"]]);
}

#[test]
fn whichever_operation_fails_what_was_acknowledged_is_there_and_the_call_can_be_made_again() {
    let operations = operations();
    for at in 0..operations {
        // A full disk; a disk that is full for good; a device that fails.
        let faults = [
            Fault::Once(ErrorKind::StorageFull),
            Fault::Lasting(ErrorKind::StorageFull),
            Fault::Lasting(ErrorKind::Other),
        ];
        let fault = faults[at % 3].clone();
        let what = format!("operation {at} of {operations}, {fault:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let dir = FaultyDir::default();
        dir.plan(at, fault.clone());
        let Ok(db) = open(&path, dir.disk()) else {
            is_old_or_new(&path, None, false, &what);
            continue;
        };
        let Err((step, _)) = run(&db, 0) else {
            // Closing was hit, or nothing that matters.
            let _ = db.close();
            is_old_or_new(&path, None, true, &what);
            continue;
        };
        let now = stored(&db, &what);
        assert!(history()[step..step + 2].contains(&now), "{what}: {now:?}");
        // The same call again, on the same handle where it takes it, or else after opening again.
        let again = match fault {
            Fault::Once(_) => run(&db, step),
            _ => Err((step, Error::Cancelled)),
        };
        drop(db);
        if let Err((step, _)) = again {
            is_old_or_new(&path, Some(step), false, &what);
            let db = open(&path, Disk::default()).expect("opens");
            run(&db, step).unwrap_or_else(|(step, e)| panic!("{what}, step {step}: {e}"));
        }
        is_old_or_new(&path, None, true, &what);
    }
}

#[test]
fn whenever_the_power_is_cut_what_was_acknowledged_is_there() {
    let seed = std::env::var("VECDB_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("VECDB_SEED={seed}");
    let operations = operations();
    let (mut old, mut new) = (0, 0);
    for at in 0..operations {
        let what = format!("power cut before operation {at} of {operations}, seed {seed}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let left = folder.path().join("left.vecdb");
        let dir = FaultyDir::default();
        let cut = Fault::PowerCut {
            of: path.clone(),
            image: left.clone(),
            seed: seed * 1_000_000 + at as u64,
        };
        dir.plan(at, cut);
        let opened = open(&path, dir.disk());
        let is_open = opened.is_ok();
        let ran = opened.map(|db| run(&db, 0));
        let at = match ran {
            Ok(Err((step, _))) => Some(step),
            _ => None,
        };
        match is_old_or_new(&left, at, is_open, &what) {
            true => new += 1,
            false => old += 1,
        }
    }
    println!("{operations} power cuts: {old} times the old state, {new} times the new one");
    assert!(old > 0 && new > 0, "both were met");
}
