//! kill -9 of an ingestion, at any moment.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::command::Place;

const FILES: u64 = 16;
const DOCUMENTS: usize = 40;

fn lines(file: u64) -> String {
    let line = |number| {
        let text =
            format!("File {file} tells of ship number {number} and its cargo of salt and rope.");
        format!("{{\"id\": \"{file}-{number}\", \"text\": \"{text}\"}}\n")
    };
    (0..DOCUMENTS).map(line).collect()
}

/// Documents stored, by file.
fn stored(place: &Place) -> BTreeMap<u64, usize> {
    let mut count = BTreeMap::new();
    if place.db().join("FORMAT").exists() {
        for object in place.run("list --json --limit 100000").objects() {
            let id = object["id"].as_str().expect("an id").to_owned();
            let file = id
                .split_once('-')
                .expect("our id")
                .0
                .parse()
                .expect("our id");
            *count.entry(file).or_default() += 1;
        }
    }
    count
}

#[test]
fn a_killed_ingestion_loses_nothing_acknowledged_and_the_next_one_completes_it() {
    let seed: u64 = std::env::var("VECDB_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(7);
    println!("VECDB_SEED={seed}");
    let place = Place::empty();
    let mut acknowledged = Vec::new();
    let mut longest = Duration::ZERO;
    for file in 0..FILES {
        place.write(&format!("{file}.jsonl"), lines(file));
        let started = Instant::now();
        let mut child = place
            .command()
            .args(["ingest", &format!("{file}.jsonl"), "-q"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        // The first ones run to their end and show how long that takes; the others are killed somewhere on the way.
        if file >= 2 {
            let part = (seed + file).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54;
            std::thread::sleep(longest.mul_f64(part as f64 / 1024.0 * 1.1));
            // It may have ended by itself.
            let _ = child.kill();
        }
        let status = child.wait().expect("waits");
        if status.success() {
            acknowledged.push(file);
            longest = longest.max(started.elapsed());
        }
        let there = stored(&place);
        for (file, &count) in &there {
            assert_eq!(count, DOCUMENTS, "file {file} is there in part");
        }
        for file in &acknowledged {
            assert!(
                there.contains_key(file),
                "file {file} was acknowledged and is gone"
            );
        }
    }
    println!(
        "{} of {FILES} ended before they were killed",
        acknowledged.len()
    );
    assert!(acknowledged.len() < FILES as usize, "none was killed");
    for file in 0..FILES {
        place.run(&format!("ingest {file}.jsonl -q")).exits(0);
    }
    let there = stored(&place);
    assert_eq!(there.len() as u64, FILES);
    assert!(there.values().all(|&count| count == DOCUMENTS));
    place.run("check").exits(0);
}
