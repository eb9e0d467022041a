//! What is done, and synced, before each call is acknowledged.

use super::history::{EVERYDAY, LARGE, World};
use crate::store::faults::FaultyDir;

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
    "create segments/*.del.tmp",
    "write segments/*.del.tmp",
    "sync segments/*.del.tmp",
    "rename segments/*.del",
    "sync segments",
];
const LOCK: &[&str] = &["open LOCK", "overwrite LOCK", "sync LOCK"];
const STAMP: &[&str] = &[
    "create FORMAT.tmp",
    "write FORMAT.tmp",
    "sync FORMAT.tmp",
    "rename FORMAT",
    "sync f.vecdb",
];
const OPEN_CATALOG: &[&str] = &["sync meta", "sync meta/db"];
const NEW_CATALOG: &[&str] = &["sync meta/conf", "sync f.vecdb", "sync around"];

/// Everything that is done before a call is acknowledged, in order: an fsync after each write, and nothing is named before
/// it is durable.
#[test]
fn each_call_is_durable_before_it_is_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let around = folder.path().join("around");
    std::fs::create_dir(&around).expect("made");
    let dir = FaultyDir::default();
    let mut world = World::new(&around.join("f.vecdb"), &dir);
    let did =
        |what: &str, parts: &[&[&str]]| assert_eq!(dir.take_trace(), parts.concat(), "{what}");
    world.db().expect("opens");
    did(
        "a new database",
        &[
            &["create f.vecdb", "sync around"],
            LOCK,
            STAMP,
            &["create segments"],
            OPEN_CATALOG,
            NEW_CATALOG,
            MANIFEST,
        ],
    );
    world.create("points").expect("made");
    did("a new collection", &[CATALOG, MANIFEST]);
    world.add("points", 0..3, 1).expect("adds");
    did("documents", &[CATALOG]);
    world.flush().expect("seals");
    did("a seal", &[SEGMENT, CATALOG, MANIFEST]);
    world.delete("points", 0..1).expect("deletes");
    did("a deletion", &[CATALOG]);
    world.add("points", 3..4, 1).expect("adds");
    did("another document", &[CATALOG]);
    world.flush().expect("seals");
    did("a seal of both", &[TOMBSTONES, SEGMENT, CATALOG, MANIFEST]);
    world.flush().expect("nothing to do");
    did("nothing", &[]);
    for id in 4..6 {
        world
            .add("points", id..id + 1, 1)
            .and_then(|()| world.flush())
            .expect("seals");
    }
    dir.take_trace();
    world.compact().expect("merges");
    let mut trace = dir.take_trace();
    // What waits in nameless files is copied into the segment before it is synced.
    trace.retain(|line| !line.ends_with("segments/nameless"));
    let removed = [
        ["remove segments/*.seg"; 4].as_slice(),
        &["remove segments/*.del"],
    ]
    .concat();
    let mut last = trace.split_off(trace.len() - removed.len());
    assert_eq!(trace, [SEGMENT, CATALOG, MANIFEST].concat(), "a merge");
    last.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(last, removed, "the sources go when nobody names them");
    world.close().expect("closes");
    did("the end", &[&["overwrite LOCK"]]);
    world.db().expect("opens");
    let opening = &[LOCK, &["create segments"], CATALOG, OPEN_CATALOG];
    did("opening what was closed", opening);
    world.add("points", 9..10, 1).expect("adds");
    did("a document", &[CATALOG]);
    world.kill();
    world.db().expect("opens");
    let mut recovery = dir.take_trace();
    // Nor does it matter how many snapshots of its log sled has.
    recovery.retain(|line| !line.contains("meta/snap."));
    let settled = ["ACKNOWLEDGED", "conf", "db"].map(|name| format!("meta/{name}"));
    let settled = settled.map(|file| [format!("rewrite {file}"), format!("sync {file}")]);
    let settled: Vec<&str> = settled.as_flattened().iter().map(String::as_str).collect();
    let name = &["sync f.vecdb"][..];
    let parts = [LOCK, &["create segments"], &settled, OPEN_CATALOG, name];
    assert_eq!(recovery, parts.concat(), "recovery");
}

/// Whatever the calls, and however they are written: when one is acknowledged no byte and no name is left that a power cut
/// could take.
#[test]
fn nothing_is_unsynced_when_a_call_is_acknowledged() {
    for steps in [EVERYDAY, LARGE] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let dir = FaultyDir::default();
        let mut world = World::new(&path, &dir);
        let mut synced = 0;
        for (at, step) in steps.iter().enumerate() {
            world.step(step, at).expect("nothing fails");
            assert_eq!(dir.unsynced(&path), [""; 0], "after step {at}");
            let trace = dir.take_trace();
            synced += trace.iter().filter(|l| l.starts_with("sync")).count();
        }
        println!("{} calls, {synced} fsyncs", steps.len());
        world.close().expect("closes");
        // It only spares the next reader a recovery.
        assert_eq!(dir.unsynced(&path), ["bytes LOCK"]);
    }
}
