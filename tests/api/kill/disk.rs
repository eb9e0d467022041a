//! Children whose disk fills up or fails, as the system tells it: to us, and to sled in the middle of its own work.

use std::path::Path;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::log::Told;
use super::{FAILED, child_command, look, number, run_in};
use crate::random::Random;

/// Runs a child that is to meet an error, and to end by it and nothing else.
fn fails(mut command: Command, folder: &Path, seed: u64, what: &str) -> (Told, String) {
    let mut child = run_in(&mut command, folder, seed)
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let ended = wait(&mut child).unwrap_or_else(|| panic!("{what}: the child hangs"));
    let error = std::io::read_to_string(child.stderr.take().expect("piped")).expect("text");
    assert_eq!(ended.code(), Some(FAILED), "{what}: {error}");
    let told = look(folder, what);
    let error = error.lines().last().unwrap_or_default().to_owned();
    println!("{what}: {:?}, then {error}", told.calls);
    (told, error)
}

fn wait(child: &mut Process) -> Option<ExitStatus> {
    let give_up = Instant::now() + Duration::from_secs(120);
    while Instant::now() < give_up {
        if let Some(ended) = child.try_wait().expect("asks") {
            return Some(ended);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    None
}

/// No file may grow beyond a limit: writes fail as they do on a full disk, in the middle too.
#[test]
fn a_disk_that_fills_up_under_sled_gives_errors_and_loses_nothing_acknowledged() {
    let seed = number("VECDB_SEED", 1);
    let mut random = Random(seed);
    for case in 0..12 {
        // Less than the part of its log that sled begins with.
        let kilobytes = 8 + random.below(480);
        let folder = tempfile::tempdir().expect("a folder");
        let shell = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kilobytes * 2);
        let command = child_command(&["sh", "-c", &shell, "sh"]);
        let what = format!("seed {seed}, case {case}, {kilobytes} KiB");
        let (_, error) = fails(command, folder.path(), seed * 1_000 + case, &what);
        // Whoever met it: nothing is wrong with the database.
        let is_clear = error.starts_with("cannot ") && error.contains("File too large");
        assert!(is_clear, "{what}: {error}");
    }
}

/// From some fsync on each fails, ours and sled's, also those of closing. What was acknowledged needed one each.
#[test]
fn an_fsync_that_fails_is_an_error_and_loses_nothing_acknowledged() {
    let tracer = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    if !tracer.is_ok_and(|ran| ran.status.success()) {
        println!("skipped: strace, which makes fsync fail, is not there or may not trace");
        return;
    }
    let seed = number("VECDB_SEED", 1);
    let mut random = Random(seed);
    for case in 0..12 {
        let first = 1 + random.below(60);
        let folder = tempfile::tempdir().expect("a folder");
        let inject = format!("inject=fsync:error=EIO:when={first}+");
        let trace = folder.path().join("trace");
        let trace = trace.to_str().expect("UTF-8");
        let strace = [
            "strace",
            "-f",
            "-o",
            trace,
            "-e",
            "trace=fsync",
            "-e",
            &inject,
        ];
        let what = format!("seed {seed}, case {case}, fsync {first}");
        let (told, _) = fails(
            child_command(&strace),
            folder.path(),
            seed * 1_000 + case,
            &what,
        );
        let changes = ["put", "delete", "put-many", "delete-many"];
        let changed: u64 = changes
            .iter()
            .filter_map(|name| told.calls.get(*name))
            .sum();
        assert!(changed < first, "{what}: {:?}", told.calls);
    }
}
