//! kill -9 of commands that write, at any moment: an ingestion of new documents or of new versions of old ones, a deletion, a
//! compaction. A command that ended with 0 was acknowledged. (`tests/api/kill` kills the library, and far more often.)

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::Place;

const ROUNDS: u64 = 28;
/// Documents go by files: all of a file have the same version.
const FILES: u64 = 5;
const DOCUMENTS: usize = 40;

/// Version by file.
type Versions = BTreeMap<u64, u64>;

fn lines(file: u64, version: u64) -> String {
    let line = |number| {
        let text =
            format!("Version {version} tells of ship number {number} and its cargo of salt.");
        let object = serde_json::json!({
            "id": format!("{file}-{number}"),
            "title": version.to_string(),
            "text": text,
            "file": file,
        });
        format!("{object}\n")
    };
    (0..DOCUMENTS).map(line).collect()
}

/// What is stored, which is files whole.
fn stored(place: &Place, what: &str) -> Versions {
    let mut count = BTreeMap::<(u64, u64), usize>::new();
    if place.db().join("FORMAT").exists() {
        for object in place.run("list --json --limit 100000").objects() {
            let (id, version) = (object["id"].as_str(), object["title"].as_str());
            let file = id.and_then(|id| id.split_once('-')).expect("our id").0;
            let version = version.expect("a title");
            let number = |text: &str| text.parse::<u64>().expect("our number");
            *count.entry((number(file), number(version))).or_default() += 1;
        }
    }
    for (file, count) in &count {
        assert_eq!(*count, DOCUMENTS, "{what}: {file:?} is there in part");
    }
    count.into_keys().collect()
}

type Change = Box<dyn Fn(&mut Versions)>;

/// A command, and what it is to do.
fn command(place: &Place, at: u64, round: u64) -> (Command, Change) {
    let file = at % FILES;
    let mut command = place.command();
    match at % 8 {
        0 | 1 => {
            command.args(["delete", "--filter", &format!("file = {file}"), "-q"]);
            let delete = move |files: &mut Versions| files.retain(|&other, _| other != file);
            (command, Box::new(delete))
        }
        2 => {
            command.args(["compact", "-q"]);
            (command, Box::new(|_| ()))
        }
        _ => {
            let name = format!("{file}.jsonl");
            place.write(&name, lines(file, round));
            command.args(["ingest", &name, "-q"]);
            let put = move |files: &mut Versions| files.extend([(file, round)]);
            (command, Box::new(put))
        }
    }
}

#[test]
fn a_killed_command_loses_nothing_acknowledged_and_is_done_whole_or_not_at_all() {
    let seed: u64 = std::env::var("VECDB_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(7);
    println!("VECDB_SEED={seed}");
    let place = Place::empty();
    let mut sure = Versions::new();
    let mut took = BTreeMap::<OsString, Duration>::new();
    let mut killed = 0;
    for round in 0..ROUNDS {
        let random = (seed + round).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (mut command, change) = match round {
            // The first ones run to their end and show how long that takes.
            0..3 => command(&place, [3, 8, 10][round as usize], round),
            _ => command(&place, random >> 32, round),
        };
        let what = format!("round {round}, {:?}", command.get_args());
        // Behind `--db` and the database.
        let verb = command.get_args().nth(2).expect("a verb").to_owned();
        let started = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        if round >= 3 {
            let part = (random >> 22) % 1024;
            std::thread::sleep(took[&verb].mul_f64(part as f64 / 1024.0));
            // It may have ended by itself.
            let _ = child.kill();
        }
        let status = child.wait().expect("waits");
        let mut done = sure.clone();
        change(&mut done);
        let now = stored(&place, &what);
        // 1 says that there was nothing to delete.
        if matches!(status.code(), Some(0 | 1)) {
            assert_eq!(now, done, "{what}");
            took.insert(verb, started.elapsed());
        } else {
            assert_eq!(status.code(), None, "{what}");
            assert!(
                now == done || now == sure,
                "{what}: {now:?}, not {sure:?} or {done:?}"
            );
            killed += 1;
        }
        sure = now;
    }
    println!("{killed} of {ROUNDS} commands were killed");
    assert!(killed > 0, "none was killed");
    for file in 0..FILES {
        place.write(&format!("{file}.jsonl"), lines(file, ROUNDS));
        place.run(&format!("ingest {file}.jsonl -q")).exits(0);
    }
    let all = stored(&place, "at the end");
    assert_eq!(all, (0..FILES).map(|file| (file, ROUNDS)).collect());
    place.run("check").exits(0);
}
