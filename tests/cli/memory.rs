//! The memory that an ingestion takes, as the kernel counts it: a limit holds on input that becomes far more passages than
//! it has bytes to show.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::command::{Place, Ran, unpack_models};

const LIMIT_MIB: u64 = 64;

/// Ingests a file under the limit; what came of it, and the process's peak in MiB.
fn ingest(place: &Place, file: &str) -> (Ran, u64) {
    let mut child = place
        .command()
        .args(["--model", "bert", "ingest", file])
        .args(["--max-memory", &format!("{LIMIT_MIB}M")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let peak = watch(&mut child);
    let ran = child.wait_with_output().expect("the binary ends").into();
    (ran, peak)
}

/// The most that the process had in memory, in MiB; waits until it ends.
fn watch(child: &mut Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("the process is ours").is_none() {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        peak = peak.max(kib.map_or(0, |kib| kib.parse().expect("a number")));
        std::thread::sleep(Duration::from_millis(2));
    }
    peak / 1024
}

#[test]
fn the_limit_of_memory_holds_on_pathological_input() {
    let place = Place::empty();
    // That of 32 components and 64 positions makes a passage of 61 bytes.
    unpack_models(&place.path(""));
    // Punctuation without a space: each byte is a token.
    place.write("little.txt", "!");
    place.write("one.txt", "!".repeat(2_000_000));
    let many = (0..500).map(|i| {
        format!(
            "{{\"id\": \"{i}\", \"text\": \"{}\"}}\n",
            "!".repeat(4_000 + i)
        )
    });
    place.write("many.jsonl", many.collect::<String>());

    // What the process takes anyway: program, runtime, model.
    let (ran, base) = ingest(&place, "little.txt");
    ran.exits(0);
    assert!(base > 0, "the kernel tells the peak");

    let (ran, peak) = ingest(&place, "many.jsonl");
    ran.exits(0).says(&["of 500 documents"]);
    assert!(peak <= base + LIMIT_MIB, "{peak} MiB, {base} without input");

    let (ran, peak) = ingest(&place, "one.txt");
    ran.fails_saying(&["one.txt", "one document may take"]);
    assert!(peak <= base + LIMIT_MIB, "{peak} MiB, {base} without input");
}
