use std::fs;
use std::io;

use super::faults::{Fault, FaultyFiles, Unsynced};
use super::*;
use crate::step::StepError;

/// Writes each line of `segments/a` with a mark behind it, and MANIFEST with the number of its format: so what a
/// generation holds tells which steps it came through, and whether it is whole.
struct Marking<'a> {
    from: u32,
    /// Counts what it writes.
    before_each: &'a (dyn Fn() -> io::Result<()> + Sync),
}

impl Step for Marking<'_> {
    fn from(&self) -> u32 {
        self.from
    }

    fn to(&self) -> u32 {
        self.from + 1
    }

    fn migrate(&self, old: &Path, new: &Path) -> Result<(), StepError> {
        assert_eq!(
            fs::read_dir(new)?.count(),
            0,
            "the new generation begins empty"
        );
        let before = contents(old, self.from);
        let files = [
            ("segments/a", marked(&before, self.to())),
            ("MANIFEST", self.to().to_string()),
        ];
        (self.before_each)()?;
        fs::create_dir(new.join("segments"))?;
        for (name, content) in files {
            (self.before_each)()?;
            fs::write(new.join(name), content)?;
        }
        Ok(())
    }
}

fn marked(lines: &str, format: u32) -> String {
    lines
        .lines()
        .map(|line| format!("{line} →{format}\n"))
        .collect()
}

/// What a whole generation of this format holds; panics if it is not whole.
fn contents(folder: &Path, format: u32) -> String {
    let manifest = fs::read_to_string(folder.join("MANIFEST")).expect("a manifest");
    assert_eq!(manifest, format.to_string());
    fs::read_to_string(folder.join("segments/a")).expect("a segment")
}

fn expected(format: u32) -> String {
    (2..=format).fold("one\ntwo\n".to_owned(), |lines, format| {
        marked(&lines, format)
    })
}

fn database() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    for name in ["segments", "meta"] {
        fs::create_dir(path.join(name)).expect("made");
    }
    for (name, content) in [
        ("segments/a", "one\ntwo\n"),
        ("MANIFEST", "1"),
        ("meta/db", "kv"),
        ("LOCK", ""),
        // Not by `Stamp::write`, whose syncs take longer than all else.
        ("FORMAT", "vecdb 1 1\n"),
        ("mine.txt", ""),
    ] {
        fs::write(path.join(name), content).expect("written");
    }
    folder
}

/// The current generation is whole; returns its format.
fn whole(database: &Path) -> u32 {
    let stamp = Stamp::read(database).expect("readable").expect("stamped");
    assert_eq!(
        contents(&data_folder(database, stamp.generation), stamp.format),
        expected(stamp.format)
    );
    stamp.format
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("listed");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("listed")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

const FIRST: Marking = marking(1);
const SECOND: Marking = marking(2);
const STEPS: &[&dyn Step] = &[&FIRST, &SECOND];

const fn marking(from: u32) -> Marking<'static> {
    Marking {
        from,
        before_each: &|| Ok(()),
    }
}

const fn runner<'a>(steps: &'a [&'a dyn Step], current: u32) -> Runner<'a> {
    Runner {
        steps,
        current,
        files: &SystemFiles,
    }
}

/// Migrates to format 3 over these files, whose faults may come in the steps, too.
fn migrate_over(files: &FaultyFiles, database: &Path) -> Result<Stamp> {
    let before_each = || files.operation();
    let step = |from| Marking {
        from,
        before_each: &before_each,
    };
    let (first, second) = (step(1), step(2));
    Runner {
        steps: &[&first, &second],
        current: 3,
        files,
    }
    .migrate(database, |_, _| ())
}

/// The run after the last one: nothing fails, all is done, and nothing is left over.
fn complete(database: &Path, context: &str) {
    let stamp = migrate_over(&FaultyFiles::default(), database);
    let done = Stamp {
        format: 3,
        generation: 3,
    };
    assert_eq!(stamp.expect("the next run completes"), done, "{context}");
    assert_eq!(whole(database), 3, "{context}");
    assert_eq!(
        names(database),
        ["FORMAT", "LOCK", "g3", "mine.txt"],
        "{context}: the user's own file stays"
    );
}

#[test]
fn a_database_goes_through_every_step_and_the_old_generations_go() {
    let folder = database();
    let runner = runner(STEPS, 3);
    let plan = runner.plan(folder.path()).expect("planned");
    assert_eq!(plan.steps, [(1, 2), (2, 3)]);
    assert_eq!(plan.leftovers, [] as [PathBuf; 0]);
    assert_eq!(plan.folder(folder.path()), Some(folder.path().join("g3")));
    assert_eq!(plan.bytes_needed, 11, "MANIFEST, segments/a and meta/db");

    let mut told = Vec::new();
    let stamp = runner
        .migrate(folder.path(), |from, to| told.push((from, to)))
        .expect("migrated");
    assert_eq!(told, [(1, 2), (2, 3)]);
    complete(folder.path(), "a second run");
    let again = runner
        .migrate(folder.path(), |_, _| panic!("nothing to do"))
        .expect("migrated");
    assert_eq!(again, stamp);
    let plan = runner.plan(folder.path()).expect("planned");
    assert_eq!((plan.bytes_needed, plan.folder(folder.path())), (0, None));
}

#[test]
fn whichever_operation_fails_the_database_is_whole_and_the_next_run_completes() {
    let mut formats = Vec::new();
    for at in 0.. {
        let folder = database();
        let files = FaultyFiles::over(folder.path());
        files.plan(at, Fault::Once);
        let migrated = migrate_over(&files, folder.path());
        if !files.has_failed() {
            migrated.expect("nothing failed");
            break;
        }
        let error = migrated.expect_err("an operation failed").to_string();
        assert!(error.contains("no storage space"), "{error}");
        formats.push(whole(folder.path()));
        complete(folder.path(), &format!("operation {at} failed: {error}"));
    }
    assert!(formats.is_sorted(), "{formats:?}");
    for format in 1..=3 {
        let seen = formats.iter().filter(|&&seen| seen == format).count();
        assert!(seen >= 3, "format {format}: {formats:?}");
    }
}

#[test]
fn wherever_a_run_ends_or_the_power_is_cut_one_generation_is_whole_and_the_next_run_completes() {
    let mut tried = 0;
    for at in 0.. {
        let folder = database();
        let files = FaultyFiles::over(folder.path());
        files.plan(at, Fault::Lasting);
        let migrated = migrate_over(&files, folder.path());
        if !files.has_failed() {
            migrated.expect("nothing failed");
            break;
        }
        let format = whole(folder.path());
        let by_chance = (0..4).map(|nth| Unsynced::ByChance(4 * at as u64 + nth));
        for unsynced in by_chance.chain([Unsynced::Lost]) {
            let context = format!("ended before operation {at}, {unsynced:?}");
            println!("{context}");
            let left = tempfile::tempdir().expect("a folder");
            let left = left.path().join("db");
            files.cut_power(folder.path(), &left, unsynced);
            assert!(whole(&left) <= format, "{context}");
            complete(&left, &context);
            tried += 1;
        }
        complete(folder.path(), &format!("ended before operation {at}"));
    }
    assert!(tried > 150, "{tried} power cuts");
}

#[test]
fn a_power_cut_in_the_run_after_one_that_ended_early_leaves_a_generation_whole() {
    let mut tried = 0;
    for first in 0.. {
        let mut ended_early = false;
        // A third of the pairs; each operation of either run is in some.
        for second in (first % 3..).step_by(3) {
            let folder = database();
            let files = FaultyFiles::over(folder.path());
            files.plan(first, Fault::Lasting);
            let _ = migrate_over(&files, folder.path());
            ended_early = files.has_failed();
            files.plan(second, Fault::Lasting);
            let migrated = migrate_over(&files, folder.path());
            if !files.has_failed() {
                migrated.expect("nothing failed");
                break;
            }
            for nth in 0..3 {
                let seed = ((first as u64) << 16) + 4 * second as u64 + nth;
                let context = format!(
                    "ended before operation {first}, and power cut before {second}, seed {seed}"
                );
                let left = tempfile::tempdir().expect("a folder");
                let left = left.path().join("db");
                files.cut_power(folder.path(), &left, Unsynced::ByChance(seed));
                println!("{context}");
                whole(&left);
                complete(&left, &context);
                tried += 1;
            }
        }
        if !ended_early {
            break;
        }
    }
    assert!(tried > 600, "{tried} power cuts");
}

#[test]
fn a_step_that_fails_leaves_the_old_generation_and_nothing_else() {
    let folder = database();
    let failing = Marking {
        from: 2,
        before_each: &|| Err(io::Error::other("the step was made to fail")),
    };
    let steps: [&dyn Step; 2] = [&FIRST, &failing];
    let error = runner(&steps, 3).migrate(folder.path(), |_, _| ());
    let message = error.expect_err("the second step fails").to_string();
    assert!(
        message.contains("from format 2 to 3") && message.contains("made to fail"),
        "{message}"
    );
    assert_eq!(whole(folder.path()), 2, "the first step stays done");
    assert_eq!(names(folder.path()), ["FORMAT", "LOCK", "g2", "mine.txt"]);
}

#[test]
fn the_leftovers_of_a_crash_are_in_the_plan() {
    let folder = database();
    fs::create_dir_all(folder.path().join("g2/segments")).expect("made");
    assert_eq!(
        runner(STEPS, 3)
            .plan(folder.path())
            .expect("planned")
            .leftovers,
        [folder.path().join("g2")]
    );
    assert!(folder.path().join("g2").exists(), "a plan changes nothing");
}

#[test]
fn newer_unreachable_and_foreign_folders_are_refused_unchanged() {
    let folder = database();
    let stamp = |format| {
        Stamp {
            format,
            generation: 1,
        }
        .write(folder.path())
        .expect("stamped")
    };
    let refused = |runner: Runner<'_>| {
        runner
            .migrate(folder.path(), |_, _| ())
            .expect_err("refused")
    };

    stamp(4);
    assert!(matches!(
        refused(runner(STEPS, 3)),
        Error::Newer {
            found: 4,
            supported: 3,
            ..
        }
    ));
    stamp(1);
    assert!(matches!(
        refused(runner(&STEPS[1..], 3)),
        Error::NoStep { from: 1, .. }
    ));
    assert!(
        matches!(
            refused(runner(&STEPS[..1], 3)),
            Error::NoStep { from: 2, .. }
        ),
        "seen before the first step is taken"
    );
    assert_eq!(whole(folder.path()), 1);

    fs::write(folder.path().join("FORMAT"), "something else\n").expect("written");
    assert!(matches!(
        refused(runner(STEPS, 3)),
        Error::NotADatabase { .. }
    ));
    fs::remove_file(folder.path().join("FORMAT")).expect("removed");
    assert!(matches!(
        refused(runner(STEPS, 3)),
        Error::NotADatabase { .. }
    ));
    assert_eq!(
        names(folder.path()),
        ["LOCK", "MANIFEST", "meta", "mine.txt", "segments"]
    );
}

#[test]
fn the_released_steps_lead_from_format_1_to_the_current_one() {
    let mut format = 1;
    for step in crate::step::STEPS {
        assert_eq!(step.from(), format, "steps stand in order without a gap");
        assert!(step.to() > format);
        format = step.to();
    }
    assert_eq!(format, CURRENT_FORMAT);
}

#[test]
fn a_new_database_needs_no_step() {
    let folder = tempfile::tempdir().expect("a folder");
    Stamp::NEW.write(folder.path()).expect("stamped");
    assert_eq!(plan(folder.path()).expect("planned").steps, []);
    assert_eq!(
        migrate(folder.path(), |_, _| ()).expect("migrated"),
        Stamp::NEW
    );
}
