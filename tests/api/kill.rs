//! kill -9: a child writes and logs what was acknowledged, and merges; the parent kills it at a random moment and looks.
//!
//! The child is this test binary, running [`child`] alone. The log tells intentions and acknowledgements: what was
//! acknowledged must be there, what was only intended may be there, whole, and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use vecdb::{CollectionOptions, Database, Document, Merging, Vector};

use crate::random::Random;

const DIMENSION: usize = 8;
const IDS: u64 = 60;
const KILLS: u64 = 40;

fn vector(seed: u64) -> Vector {
    let component =
        |i: u64| ((seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (i * 8)) & 0xFF) as f32 - 127.5;
    Vector::new((0..DIMENSION as u64).map(component).collect::<Vec<_>>()).expect("finite")
}

/// Runs until it is killed. Does nothing when it is run as an ordinary test.
#[test]
fn child() {
    let Ok(folder) = std::env::var("VECDB_KILL_FOLDER") else {
        return;
    };
    let folder = Path::new(&folder);
    let seed = std::env::var("VECDB_KILL_SEED")
        .expect("the parent sets it")
        .parse()
        .expect("a number");
    let mut random = Random(seed);
    let mut log = File::options()
        .append(true)
        .create(true)
        .open(folder.join("log"))
        .expect("a log");
    let db = Database::open(folder.join("k.vecdb")).expect("opens after every kill");
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    let mut merges = File::options()
        .append(true)
        .create(true)
        .open(folder.join("merges"))
        .expect("a log");
    let mut segments = points.info().segments;
    // What the parent left due.
    db.compact(|_| ControlFlow::Continue(())).expect("merges");
    for turn in 0.. {
        let version = seed * 1_000_000 + turn;
        let ids: Vec<u64> = {
            let first = random.below(IDS);
            (0..=random.below(5)).map(|i| (first + i) % IDS).collect()
        };
        let deletes = random.below(4) == 0;
        let told: Vec<String> = ids
            .iter()
            .map(|id| {
                if deletes {
                    format!("{id}=-")
                } else {
                    format!("{id}={version}")
                }
            })
            .collect();
        // One write call a line: a kill leaves whole lines.
        log.write_all(format!("try {}\n", told.join(" ")).as_bytes())
            .expect("logs");
        if deletes {
            points
                .delete(ids.iter().map(u64::to_string))
                .expect("deletes");
        } else {
            let documents = ids.iter().map(|&id| {
                let text = format!("version {version} of {id}");
                (
                    Document::new(id.to_string(), text).field("version", version as i64),
                    vector(version * 100 + id),
                )
            });
            points.add_vectors(documents).expect("adds");
        }
        log.write_all(b"done\n").expect("logs");
        // Often enough that merges are under way at many a kill, in the background and here.
        if random.below(2) == 0 {
            db.flush().expect("seals");
        }
        if random.below(4) == 0 {
            db.compact(|_| ControlFlow::Continue(())).expect("merges");
        }
        let now = points.info().segments;
        if now < segments {
            merges.write_all(b".").expect("logs");
        }
        segments = now;
    }
}

type Versions = BTreeMap<u64, Option<u64>>;

/// What was acknowledged, and the last call that was not.
fn read_log(path: &Path) -> (Versions, Vec<(u64, Option<u64>)>, usize) {
    let (mut sure, mut open, mut acknowledged) = (Versions::new(), Vec::new(), 0);
    for line in fs::read_to_string(path).expect("a log").lines() {
        if line == "done" {
            acknowledged += 1;
            sure.extend(open.drain(..));
        } else {
            let told = line.strip_prefix("try ").expect("a whole line");
            open = told
                .split(' ')
                .map(|pair| pair.split_once('=').expect("a pair"))
                .map(|(id, version)| (id.parse().expect("an id"), version.parse().ok()))
                .collect();
        }
    }
    (sure, open, acknowledged)
}

#[test]
fn nothing_acknowledged_is_lost_when_the_writer_is_killed() {
    let seed = std::env::var("VECDB_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_260_101);
    println!("VECDB_SEED={seed}");
    let kills = std::env::var("VECDB_KILLS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(KILLS);
    let mut random = Random(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut acknowledged = 0;
    let merges = || fs::metadata(folder.path().join("merges")).map_or(0, |file| file.len());
    // Where the disk is slow or shared, a child gets little done before it is killed: then more of them are.
    for kill in 0..8 * kills {
        if kill >= kills && merges() * 8 > kills {
            break;
        }
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
            .env("VECDB_KILL_FOLDER", folder.path())
            .env("VECDB_KILL_SEED", (seed + kill).to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(20 + random.below(180)));
        assert!(
            child.try_wait().expect("asks").is_none(),
            "kill {kill}: the child ended by itself"
        );
        child.kill().expect("kills");
        child.wait().expect("waits");
        if !folder.path().join("log").exists() {
            continue;
        }
        acknowledged = look(folder.path(), kill);
    }
    let merges = merges();
    println!("{kills} kills, {acknowledged} acknowledged calls, {merges} merges seen");
    assert!(merges * 8 > kills, "the child merged: {merges}");
    assert!(
        acknowledged > kills as usize,
        "the child got to work: {acknowledged}"
    );
}

/// Opens the database as the next process would and compares it with the log.
fn look(folder: &Path, kill: u64) -> usize {
    let (mut sure, open, acknowledged) = read_log(&folder.join("log"));
    let path = folder.join("k.vecdb");
    // Without merging: what is due is left for the child.
    let db = Database::options()
        .merging(Merging::on_request())
        .open(&path)
        .unwrap_or_else(|e| panic!("kill {kill}: {e}"));
    let points = db
        .create_collection("points", CollectionOptions::vectors(DIMENSION))
        .expect("a collection");
    let version_of = |id: u64| -> Option<u64> {
        let text = points.get(&id.to_string()).expect("reads")?.text;
        let (version, of) = text
            .strip_prefix("version ")
            .expect("our text")
            .split_once(" of ")
            .expect("our text");
        assert_eq!(
            of,
            id.to_string(),
            "kill {kill}: a text lies under another id"
        );
        Some(version.parse().expect("a number"))
    };
    // The call that was under way is there whole or not at all.
    let under_way = open.iter().all(|&(id, version)| version_of(id) == version);
    let not_under_way = open
        .iter()
        .all(|&(id, _)| version_of(id) == sure.get(&id).copied().flatten());
    assert!(
        under_way || not_under_way,
        "kill {kill}: {open:?} is there in part"
    );
    if under_way {
        sure.extend(open);
        // Later rounds take it as given.
        let mut log = File::options()
            .append(true)
            .open(folder.join("log"))
            .expect("a log");
        log.write_all(b"done\n").expect("logs");
    }
    for id in 0..IDS {
        let expected = sure.get(&id).copied().flatten();
        assert_eq!(version_of(id), expected, "kill {kill}: document {id}");
        if let Some(version) = expected {
            let hits = points
                .query_vector(vector(version * 100 + id))
                .limit(3)
                .run()
                .expect("a query");
            assert!(
                hits.iter()
                    .any(|h| h.score > 0.9999 && h.id == id.to_string()),
                "kill {kill}: document {id} is not found"
            );
        }
    }
    drop(points);
    db.close().expect("closes");
    let report = Database::check(&path).expect("checks");
    assert!(
        report.problems.is_empty(),
        "kill {kill}: {:?}",
        report.problems
    );
    acknowledged
}
