//! An operation fails.

use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;

use super::history::{EVERYDAY, LARGE, Step, World, found, models, operations, stored};
use super::{seed, ways};
use crate::database::Database;
use crate::error::Error;
use crate::store::faults::{Fault, FaultyDir};

/// A full disk; a disk that is full for good; a device that fails.
const FAULTS: [Fault; 3] = [
    Fault::Once(ErrorKind::StorageFull),
    Fault::Lasting(ErrorKind::StorageFull),
    Fault::Lasting(ErrorKind::Other),
];

#[test]
fn whichever_operation_fails_what_was_acknowledged_is_there_and_the_call_can_be_made_again() {
    let seed = seed();
    for steps in [EVERYDAY, LARGE] {
        let operations = operations(steps);
        println!("{} operations", operations.len());
        operations.par_iter().enumerate().for_each(|(at, line)| {
            for way in ways(seed, at, FAULTS.len()) {
                let fault = FAULTS[way].clone();
                let what = format!("seed {seed}, operation {at}, {line}: {fault:?}");
                fails_once(steps, at, fault, &what);
            }
        });
    }
}

fn fails_once(steps: &[Step], at: usize, fault: Fault, what: &str) {
    let models = models(steps);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.vecdb");
    let dir = FaultyDir::default();
    dir.plan(at, fault.clone());
    let mut world = World::new(&path, &dir);
    let Err((step, _)) = world.run(steps, 0) else {
        // Closing was hit, or nothing that matters.
        let _ = world.close();
        drop(world);
        assert_eq!(found(&path, what), models[steps.len()], "{what}");
        return;
    };
    // Readers go on, and see the one or the other.
    if let Ok(db) = world.db() {
        let now = stored(db, what);
        assert!(models[step..step + 2].contains(&now), "{what}: {now:?}");
    }
    // The same call again, on the same handle where it takes it, or else after opening again.
    let again = match fault {
        Fault::Once(_) => world.run(steps, step),
        _ => Err((step, Error::Cancelled)),
    };
    match again {
        Ok(()) => {
            world.close().unwrap_or_else(|e| panic!("{what}: {e}"));
            holds_no_leftovers(&path, what);
        }
        Err((step, _)) => {
            drop(world);
            let now = found(&path, what);
            assert!(models[step..step + 2].contains(&now), "{what}: {now:?}");
            let mut world = World::new(&path, &FaultyDir::default());
            let ran = world.run(steps, step);
            ran.unwrap_or_else(|(step, e)| panic!("{what}, step {step}: {e}"));
        }
    }
    assert_eq!(found(&path, what), models[steps.len()], "{what}");
}

/// Where a call failed and was made again, nothing is left of the first. On a full disk every attempt would add its own.
fn holds_no_leftovers(path: &Path, what: &str) {
    for folder in [path.to_path_buf(), path.join("segments")] {
        for entry in folder.read_dir().expect("a folder").flatten() {
            let name = entry.file_name();
            let is_temporary = Path::new(&name).extension().is_some_and(|e| e == "tmp");
            assert!(!is_temporary, "{what}: {name:?} is left");
        }
    }
}

#[test]
fn a_full_disk_keeps_nobody_from_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f.vecdb");
    let dir = FaultyDir::default();
    let mut world = World::new(&path, &dir);
    // Up to a seal; what comes after it is only in write-ahead rows when the process is killed.
    world.run(&EVERYDAY[..4], 0).expect("nothing fails");
    world.kill();
    for at in 0..4 {
        dir.plan(at, Fault::Lasting(ErrorKind::StorageFull));
        let options = Database::options().for_reading().disk(dir.disk());
        let db = options.open(&path).expect("opens");
        assert!(db.is_read_only());
        assert_eq!(stored(&db, "a full disk"), models(EVERYDAY)[3]);
    }
    dir.mend();
    let options = Database::options().for_reading().disk(dir.disk());
    let db = options.open(&path).expect("opens");
    assert_eq!(stored(&db, "space again"), models(EVERYDAY)[4]);
}

#[test]
fn a_disk_that_takes_half_of_each_write_gets_the_whole_in_the_end() {
    for steps in [EVERYDAY, LARGE] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let dir = FaultyDir::default();
        dir.plan(0, Fault::ShortWrites);
        let mut world = World::new(&path, &dir);
        world.run(steps, 0).expect("nothing fails");
        world.close().expect("closes");
        let more = dir.operations() - operations(steps).len();
        assert!(more > steps.len(), "{more} more writes");
        let model = models(steps).pop();
        assert_eq!(Some(found(&path, "short writes")), model);
    }
}
