//! The power is cut.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::history::{BUSY, EVERYDAY, LARGE, Step, World, found, models, operations, stored};
use super::{seed, ways};
use crate::random::Random;
use crate::store::faults::{Fault, FaultyDir};

/// All is as it was, or as it is, or cut; and as chance has it.
const WAYS: usize = 3;

/// What is made of one cut.
fn images(folder: &Path) -> [PathBuf; 2] {
    ["regular.vecdb", "chance.vecdb"].map(|name| folder.join(name))
}

#[test]
fn whenever_the_power_is_cut_what_was_acknowledged_is_there() {
    cut_at(EVERYDAY, |_| true);
}

#[test]
fn whenever_the_power_is_cut_large_calls_are_done_whole_or_not_at_all() {
    cut_at(LARGE, |_| true);
}

#[test]
fn whenever_the_power_is_cut_sleds_log_has_kept_what_it_wrote_over_itself() {
    cut_at(BUSY, |line| line.starts_with("sync meta"));
}

/// Cuts the power at each of these operations.
fn cut_at(steps: &[Step], chosen: fn(&str) -> bool) {
    let seed = seed();
    let models = models(steps);
    let operations = operations(steps);
    let (old, new) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cuts = operations.par_iter().enumerate();
    let cuts = cuts.filter(|(_, line)| chosen(line));
    cuts.for_each(|(at, line)| {
        for way in ways(seed, at, WAYS) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("f.vecdb");
            let images = images(folder.path());
            let dir = FaultyDir::default();
            let cut = Fault::PowerCut {
                of: path.clone(),
                images: images.to_vec(),
                seed: (seed * 100_000 + at as u64) * WAYS as u64 + way as u64,
            };
            dir.plan(at, cut);
            let mut world = World::new(&path, &dir);
            let ran = world.run(steps, 0);
            drop(world);
            for (nth, image) in images.iter().enumerate() {
                let what = format!("seed {seed}, cut at {at}, {line}: way {way}, {nth}");
                let now = found(image, &what);
                let Err((step, _)) = ran else {
                    assert_eq!(now, models[steps.len()], "{what}");
                    continue;
                };
                assert!(models[step..step + 2].contains(&now), "{what}: {now:?}");
                if models[step] != models[step + 1] {
                    let count = if now == models[step] { &old } else { &new };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    println!("{old:?} times the old state, {new:?} times the new one");
    assert!(
        old.into_inner() > 0 && new.into_inner() > 0,
        "both were met"
    );
}

/// What an fsync failed to write is read from the system's memory until the power is cut.
#[test]
fn what_is_acknowledged_after_an_fsync_failed_does_not_rest_on_what_it_did_not_write() {
    let seed = seed();
    let models = models(EVERYDAY);
    let operations = operations(EVERYDAY);
    let syncs = (0..operations.len()).filter(|&at| operations[at].starts_with("sync"));
    let failed = AtomicUsize::new(0);
    syncs.collect::<Vec<_>>().into_par_iter().for_each(|at| {
        let what = format!("seed {seed}, operation {at}, {}", operations[at]);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let dir = FaultyDir::default();
        dir.plan(at, Fault::Once(ErrorKind::Other));
        let mut world = World::new(&path, &dir);
        let Err((step, _)) = world.run(EVERYDAY, 0) else {
            return;
        };
        failed.fetch_add(1, Ordering::Relaxed);
        // As users do: they try again, in the same process or in the next one.
        dir.mend();
        if world.step(&EVERYDAY[step], step).is_err() {
            world.kill();
            let again = world.step(&EVERYDAY[step], step);
            again.unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        world.kill();
        let images = images(folder.path());
        dir.cut_power(&path, &images, seed * 1_000_000 + at as u64);
        for (nth, image) in images.iter().enumerate() {
            let what = format!("{what}, {nth}");
            assert_eq!(found(image, &what), models[step + 1], "{what}");
        }
    });
    assert!(failed.into_inner() > 20, "calls failed");
}

/// A kill or a failure, and in the next process a power cut: what that process saw, it has made durable.
#[test]
fn a_power_cut_after_a_kill_takes_back_nothing_that_was_seen() {
    const CASES: usize = 80;
    let seed = seed();
    let models = models(EVERYDAY);
    let operations = operations(EVERYDAY).len();
    let cuts = AtomicUsize::new(0);
    (0..CASES).into_par_iter().for_each(|case| {
        let mut random = Random(seed * 1_000_000 + case as u64);
        let (first, second) = (random.below(operations), random.below(30));
        let what = format!("seed {seed}, case {case}: operations {first} and then {second}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f.vecdb");
        let dir = FaultyDir::default();
        dir.plan(first, Fault::Lasting(ErrorKind::Other));
        let mut world = World::new(&path, &dir);
        let Err((hit, _)) = world.run(EVERYDAY, 0) else {
            return;
        };
        world.kill();
        let images = images(folder.path());
        let cut = Fault::PowerCut {
            of: path.clone(),
            images: images.to_vec(),
            seed: random.next() / 2,
        };
        dir.plan(second, cut);
        let opened = world.db().map(|db| stored(db, &what));
        let seen = opened.as_ref().ok().cloned();
        let ran = match opened {
            Ok(_) => world.run(EVERYDAY, hit),
            Err(error) => Err((hit, error)),
        };
        drop(world);
        let Err((step, _)) = ran else { return };
        cuts.fetch_add(1, Ordering::Relaxed);
        for (nth, image) in images.iter().enumerate() {
            let what = format!("{what}, {nth}");
            let now = found(image, &what);
            assert!(models[step..step + 2].contains(&now), "{what}: {now:?}");
            let was_new = step == hit && seen.as_ref() == Some(&models[hit + 1]);
            assert!(!was_new || now == models[hit + 1], "{what}: {now:?}");
        }
    });
    assert!(cuts.into_inner() > CASES / 2, "the power was cut");
}
