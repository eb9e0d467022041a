//! kill -9: children write and log what was acknowledged; a parent kills them at random moments and looks what is there.
//!
//! A child is this test binary, running [`child`] alone. The log tells intentions and acknowledgements: what was
//! acknowledged must be there, what was only intended may be there, whole, and nothing else.
//!
//! `VECDB_KILLS=5000 cargo test --test api killed -- --nocapture` kills more often than the suite does; `VECDB_SEED` makes
//! other children. Moments are the machine's, so a seed alone repeats what children do and not what they are killed in.
//!
//! | file | subject |
//! |---|---|
//! | `child.rs` | what a child does: its calls, and how often each |
//! | `log.rs` | what it means to do, and what was acknowledged |
//! | `disk.rs` | children whose disk fills up or fails |

mod child;
#[cfg(target_os = "linux")]
mod disk;
mod log;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use vecdb::{Collection, Database, Merging, Vector};

use crate::random::Random;
use child::Child;
use log::{Told, Versions};

const DIMENSION: usize = 8;
/// Documents 0 to 59 are written a few at once.
const IDS: u64 = 60;
/// These with long titles.
const LONG: Range<u64> = 100..120;
/// And these all at once, too many for write-ahead rows.
const MANY: Range<u64> = 1_000..2_010;
const KILLS: u64 = 200;
/// Side by side, each in folders of its own.
const LOOPS: u64 = 4;
/// So many kills have the same folder.
const KILLS_A_FOLDER: u64 = 25;
/// At most so many lines of its log does a child write before it is killed.
const CALLS_A_CHILD: u64 = 25;
/// Of so many documents of a collection it is seen that a query finds them.
const ASKED: usize = 20;
/// What a child that met an error, and closed, ends with.
const FAILED: i32 = 7;

fn vector(id: u64, version: u64) -> Vector {
    let mut random = Random(version * 10_000 + id);
    Vector::new(random.vector(DIMENSION)).expect("finite")
}

fn number(name: &str, usual: u64) -> u64 {
    let said = std::env::var(name).ok();
    let number = said.map_or(usual, |said| said.parse().expect("a number"));
    println!("{name}={number}");
    number
}

/// Runs until it is killed, or a call fails. Does nothing when it is run as an ordinary test.
#[test]
fn child() {
    let Ok(folder) = std::env::var("VECDB_KILL_FOLDER") else {
        return;
    };
    let seed = std::env::var("VECDB_KILL_SEED").expect("the parent sets it");
    let child = Child::new(Path::new(&folder), seed.parse().expect("a number"));
    let error = child.and_then(|mut child| child.run()).err();
    eprintln!("{}", error.expect("it runs until a call fails"));
    std::process::exit(FAILED);
}

fn child_command(shell: &[&str]) -> Command {
    let binary = std::env::current_exe().expect("this binary");
    let mut words = shell.iter().map(OsString::from).collect::<Vec<_>>();
    words.push(binary.into_os_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.args(["--exact", "kill::child", "--nocapture", "--test-threads=1"]);
    command.stdout(Stdio::null());
    command
}

fn run_in<'a>(command: &'a mut Command, folder: &Path, seed: u64) -> &'a mut Command {
    command.env("VECDB_KILL_FOLDER", folder);
    command.env("VECDB_KILL_SEED", seed.to_string())
}

#[test]
fn nothing_acknowledged_is_lost_when_the_writer_is_killed() {
    let seed = number("VECDB_SEED", 20_260_101);
    let kills = number("VECDB_KILLS", KILLS);
    let started = Instant::now();
    let calls = Mutex::new(BTreeMap::<String, u64>::new());
    std::thread::scope(|scope| {
        for nth in 0..LOOPS {
            let calls = &calls;
            scope.spawn(move || {
                let kills = (kills + nth) / LOOPS;
                for (call, count) in kill_again_and_again(seed * 100 + nth, kills) {
                    *calls
                        .lock()
                        .expect("no loop panicked")
                        .entry(call)
                        .or_default() += count;
                }
            });
        }
    });
    let calls = calls.into_inner().expect("no loop panicked");
    println!(
        "{kills} kills in {:?}; acknowledged: {calls:?}",
        started.elapsed()
    );
    let count = |name: &str| calls.get(name).copied().unwrap_or_default();
    for name in ["put", "delete", "seal", "compact", "merge"] {
        assert!(
            count(name) * 20 > kills,
            "children got to {name}: {calls:?}"
        );
    }
}

/// Returns how often each call was acknowledged.
fn kill_again_and_again(seed: u64, kills: u64) -> BTreeMap<String, u64> {
    let mut random = Random(seed);
    let mut calls = BTreeMap::new();
    let mut kill = 0;
    while kill < kills {
        let folder = tempfile::tempdir().expect("a folder");
        let mut told = Told::default();
        for _ in 0..KILLS_A_FOLDER.min(kills - kill) {
            let mut command = child_command(&[]);
            let child_seed = seed * 10_000 + kill;
            let mut child = run_in(&mut command, folder.path(), child_seed)
                .spawn()
                .expect("starts");
            // While it starts, opens and recovers; or after some of its calls, or in the middle of the next.
            if random.below(3) > 0 {
                wait_for(&mut child, folder.path(), 1 + random.below(CALLS_A_CHILD));
            }
            std::thread::sleep(Duration::from_micros(random.below(40_000)));
            let ended = child.try_wait().expect("asks");
            assert_eq!(ended, None, "child {child_seed} ended by itself");
            child.kill().expect("kills");
            child.wait().expect("waits");
            told = look(folder.path(), &format!("child {child_seed}"));
            kill += 1;
        }
        for (call, count) in told.calls {
            *calls.entry(call).or_default() += count;
        }
    }
    calls
}

/// Waits until the child has logged so many lines more.
fn wait_for(child: &mut Process, folder: &Path, lines: u64) {
    let count = || {
        let log = std::fs::read(folder.join("log")).unwrap_or_default();
        log.iter().filter(|&&byte| byte == b'\n').count() as u64
    };
    let enough = count() + lines;
    while count() < enough && child.try_wait().expect("asks").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Opens the database as the next process would and compares it with the log.
fn look(folder: &Path, what: &str) -> Told {
    let log = folder.join("log");
    let mut told = Told::read(&log);
    let path = folder.join("k.vecdb");
    // Without merging: what is due is left for the next child.
    let options = Database::options().merging(Merging::on_request());
    let db = options
        .open(&path)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut stored: BTreeMap<String, Versions> = BTreeMap::new();
    for info in db.collections() {
        let collection = db.existing_collection(&info.name).expect("listed");
        let documents = documents(&collection, what);
        assert_eq!(info.documents, documents.len() as u64, "{what}");
        stored.insert(info.name, documents);
    }
    // The call that was under way is there whole or not at all.
    let without = |mut stored: BTreeMap<String, Versions>| {
        stored.retain(|_, documents| !documents.is_empty());
        stored
    };
    let stored = without(stored);
    let old = without(told.sure.clone());
    if let Some(change) = &told.open {
        let mut new = told.sure.clone();
        change.apply(&mut new);
        let new = without(new);
        assert!(
            stored == old || stored == new,
            "{what}: {change:?} is there in part, or something is lost:\n{stored:?}\n{old:?}"
        );
        if stored == new {
            // Later children take it as given.
            log::Log::append(&log).did("what was under way");
        } else {
            log::Log::append(&log).tries(&log::Change {
                ids: 0..0,
                ..change.clone()
            });
        }
        told = Told::read(&log);
    } else {
        assert_eq!(stored, old, "{what}");
    }
    db.close().unwrap_or_else(|e| panic!("{what}: {e}"));
    let report = Database::check(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
    told
}

/// All documents by another way than a query, and some of them by a query.
fn documents(collection: &Collection, what: &str) -> Versions {
    let mut found = Versions::new();
    for document in collection.documents() {
        let document = document.unwrap_or_else(|e| panic!("{what}: {e}"));
        let text = document.text.strip_prefix("version ");
        let (version, of) = text.and_then(|t| t.split_once(" of ")).expect("our text");
        assert_eq!(of, document.id, "{what}: a text lies under another id");
        let number = |text: &str| text.parse::<u64>().expect("our number");
        let before = found.insert(number(of), number(version));
        assert_eq!(before, None, "{what}: {of} twice");
    }
    let step = found.len().div_ceil(ASKED).max(1);
    for (&id, &version) in found.iter().step_by(step) {
        let got = collection.get(&id.to_string()).expect("reads");
        let text = got.map(|document| document.text);
        assert_eq!(text, Some(format!("version {version} of {id}")), "{what}");
        let nearest = collection.query_vector(vector(id, version)).limit(1);
        let hits = nearest.run().expect("a query");
        assert_eq!(hits[0].id, id.to_string(), "{what}");
        assert!(hits[0].score > 0.9999, "{what}: {}", hits[0].score);
    }
    found
}
