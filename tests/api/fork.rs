//! A process that forks with a database open: its child may neither write nor let go of the lock.
//!
//! What forks is this test binary, running [`child`] alone, so that no other test's threads are in the way.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vecdb::{CollectionOptions, Database, Document, Error, Vector};

/// Of the C library, which std links.
mod c {
    unsafe extern "C" {
        pub fn fork() -> i32;
        pub fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        pub fn kill(pid: i32, signal: i32) -> i32;
        pub fn _exit(status: i32) -> !;
    }
}

const SIGKILL: i32 = 9;
const WNOHANG: i32 = 1;
/// Longer than anybody needs to look.
const LONG: Duration = Duration::from_secs(30);

/// Runs `work` in a child by fork; its pid.
fn fork(work: impl FnOnce() -> Result<(), String>) -> i32 {
    // SAFETY: the child uses what this thread owns and the system's allocator, which glibc makes usable after a fork; it
    // takes no lock of another thread that the test knows of, and it ends by `_exit`, without running this process's ends.
    match unsafe { c::fork() } {
        0 => {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let told = result.unwrap_or_else(|_| Err("it panicked".into()));
            if let Err(told) = &told {
                eprintln!("in the child: {told}");
            }
            // SAFETY: it takes no pointer and does not return.
            unsafe { c::_exit(i32::from(told.is_err())) }
        }
        pid => pid,
    }
}

/// Waits for its end, for a while: `true` if it went well.
fn ended_well(pid: i32) -> bool {
    let give_up = Instant::now() + LONG;
    let mut status = -1;
    loop {
        // SAFETY: `status` lives until the call returns.
        match unsafe { c::waitpid(pid, &raw mut status, WNOHANG) } {
            0 if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(5)),
            0 => kill(pid),
            waited => return waited == pid && status == 0,
        }
    }
}

fn kill(pid: i32) {
    // SAFETY: it takes no pointer; the process is a child of this test.
    unsafe { c::kill(pid, SIGKILL) };
}

fn ids(db: &Database) -> Vec<String> {
    let points = db.existing_collection("points").expect("there");
    let mut ids: Vec<String> = points.documents().map(|d| d.expect("reads").id).collect();
    ids.sort();
    ids
}

fn add(db: &Database, id: &str) -> vecdb::Result<()> {
    let points = db.existing_collection("points")?;
    let vector = Vector::new(vec![1.0, 0.5])?;
    points
        .add_vectors([(Document::new(id, ""), vector)])
        .map(drop)
}

/// `Err` unless this is what a child by fork is told.
fn is_refused<T>(what: &str, result: vecdb::Result<T>) -> Result<(), String> {
    let parent = std::os::unix::process::parent_id();
    match result {
        Err(error @ Error::Locked { here: false, .. })
            if error.to_string().contains(&format!("pid {parent}")) =>
        {
            Ok(())
        }
        Err(error) => Err(format!("{what}: {error}")),
        Ok(_) => Err(format!("{what}: it was done")),
    }
}

#[test]
fn child() {
    let Ok(folder) = std::env::var("VECDB_FORK_FOLDER") else {
        return;
    };
    let path = Path::new(&folder).join("t.vecdb");
    let open = || Database::open(&path);
    let db = open().expect("opens");
    db.create_collection("points", CollectionOptions::vectors(2))
        .expect("a collection");
    add(&db, "a").expect("adds");
    db.flush().expect("seals");
    // Not sealed, and a thread waits to seal it: that is no matter of the child's.
    add(&db, "b").expect("adds");

    let inherited = fork(|| {
        is_refused("an addition", add(&db, "x"))?;
        let points = db
            .existing_collection("points")
            .map_err(|e| e.to_string())?;
        is_refused("a deletion", points.delete(["a"]))?;
        is_refused(
            "a collection",
            db.create_collection("more", CollectionOptions::vectors(2)),
        )?;
        is_refused("a seal", db.flush())?;
        is_refused(
            "a merge",
            db.compact(|_| std::ops::ControlFlow::Continue(())),
        )?;
        is_refused("a second writer", Database::open(&path))?;
        let reader = Database::open_read_only(&path).map_err(|e| e.to_string())?;
        if ids(&reader) != ["a"] {
            return Err(format!("what is sealed is {:?}", ids(&reader)));
        }
        // All that the child has of it goes.
        drop((points, reader, db.clone()));
        // SAFETY: `db` is not used any more: `_exit` comes next.
        drop(unsafe { std::ptr::read(&raw const db) });
        is_refused("a second writer after all", Database::open(&path))
    });
    assert!(
        ended_well(inherited),
        "the child was refused and has let go of nothing"
    );
    let refused = open().expect_err("the lock is where it was");
    assert!(
        matches!(refused, Error::Locked { here: true, .. }),
        "{refused}"
    );
    add(&db, "c").expect("the parent goes on");
    assert_eq!(ids(&db), ["a", "b", "c"]);

    // A child that lives on has a copy of what is open. The parent's lock ends with the parent's use all the same.
    let lives_on = fork(|| {
        std::thread::sleep(LONG);
        Ok(())
    });
    db.close().expect("closes");
    let told = open()
        .expect_err("the catalog's own lock is in the child")
        .to_string();
    assert!(told.contains("one forked from the last writer"), "{told}");
    assert_eq!(
        ids(&Database::open_read_only(&path).expect("reads")),
        ["a", "b", "c"]
    );
    kill(lives_on);
    assert!(!ended_well(lives_on), "it was killed");
    let db = open().expect("opens");
    assert_eq!(ids(&db), ["a", "b", "c"]);

    let orphan = fork(|| {
        std::thread::sleep(LONG);
        Ok(())
    });
    println!("\norphan {orphan}.");
    std::thread::park();
}

#[test]
fn a_child_by_fork_can_neither_write_nor_take_the_lock_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut parent = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "fork::child", "--nocapture", "--test-threads=1"])
        .env("VECDB_FORK_FOLDER", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut said = String::new();
    let mut pipe = parent.stdout.take().expect("a pipe");
    let orphan = loop {
        let mut some = [0; 256];
        let read = pipe.read(&mut some).expect("reads");
        said += &String::from_utf8_lossy(&some[..read]);
        let told = said
            .split_once("\norphan ")
            .and_then(|(_, rest)| rest.split_once('.'));
        if let Some((pid, _)) = told {
            break pid.parse().expect("a pid");
        }
        if read == 0 {
            let mut told = String::new();
            let mut pipe = parent.stderr.take().expect("a pipe");
            pipe.read_to_string(&mut told).expect("UTF-8");
            panic!("{said}\n{told}");
        }
    };
    parent.kill().expect("kills");
    parent.wait().expect("waits");
    let path = folder.path().join("t.vecdb");
    let told = Database::open(&path)
        .expect_err("its child holds the lock")
        .to_string();
    let words = [
        &format!("pid {}", parent.id())[..],
        "no longer runs here",
        "a process forked from it",
    ];
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    kill(orphan);
    let give_up = Instant::now() + Duration::from_secs(10);
    while Database::open(&path).is_err() {
        assert!(
            Instant::now() < give_up,
            "the lock went with the last who had it"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
