use std::cell::Cell;
use std::io;

use super::*;
use crate::step::StepError;

/// Writes each line of `segments/a` with a mark behind it, and MANIFEST with the number of its format: so what a
/// generation holds tells which steps it came through, and whether it is whole.
struct Marking {
    from: u32,
    /// How many files to write before failing; `None` never fails.
    fails_after: Option<usize>,
}

impl Step for Marking {
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
        fs::create_dir(new.join("segments"))?;
        for (at, (name, content)) in files.into_iter().enumerate() {
            if self.fails_after == Some(at) {
                return Err("the step was made to fail".into());
            }
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
        ("mine.txt", ""),
    ] {
        fs::write(path.join(name), content).expect("written");
    }
    Stamp {
        format: 1,
        generation: 1,
    }
    .write(path)
    .expect("stamped");
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

const FIRST: Marking = Marking {
    from: 1,
    fails_after: None,
};
const SECOND: Marking = Marking {
    from: 2,
    fails_after: None,
};
const STEPS: &[&dyn Step] = &[&FIRST, &SECOND];

#[test]
fn a_database_goes_through_every_step_and_the_old_generations_go() {
    let folder = database();
    let runner = Runner {
        steps: STEPS,
        current: 3,
        pause: &|_| Ok(()),
    };
    let plan = runner.plan(folder.path()).expect("planned");
    assert_eq!(plan.steps, [(1, 2), (2, 3)]);
    assert_eq!(plan.leftovers, [] as [PathBuf; 0]);

    let mut told = Vec::new();
    let stamp = runner
        .migrate(folder.path(), |from, to| told.push((from, to)))
        .expect("migrated");
    assert_eq!(
        stamp,
        Stamp {
            format: 3,
            generation: 3
        }
    );
    assert_eq!(told, [(1, 2), (2, 3)]);
    assert_eq!(whole(folder.path()), 3);
    assert_eq!(
        names(folder.path()),
        ["FORMAT", "LOCK", "g3", "mine.txt"],
        "the user's own file stays"
    );

    let again = runner
        .migrate(folder.path(), |_, _| panic!("nothing to do"))
        .expect("migrated");
    assert_eq!(again, stamp);
}

#[test]
fn a_run_that_breaks_off_anywhere_leaves_a_whole_database_and_the_next_completes() {
    let mut moments = Vec::new();
    for breaks_at in 0.. {
        let folder = database();
        let (count, last) = (Cell::new(0), Cell::new(None));
        let pause = |moment| {
            last.set(Some(moment));
            count.set(count.get() + 1);
            match count.get() > breaks_at {
                true => Err(Error::Io {
                    action: "go on in",
                    path: "test".into(),
                    source: io::Error::other("crash"),
                }),
                false => Ok(()),
            }
        };
        let broken = Runner {
            steps: STEPS,
            current: 3,
            pause: &pause,
        };
        if broken.migrate(folder.path(), |_, _| ()).is_ok() {
            break;
        }
        let format = whole(folder.path());
        moments.push((last.get().expect("paused"), format));

        let runner = Runner {
            steps: STEPS,
            current: 3,
            pause: &|_| Ok(()),
        };
        let stamp = runner
            .migrate(folder.path(), |_, _| ())
            .expect("the next run completes");
        assert_eq!(
            stamp,
            Stamp {
                format: 3,
                generation: 3
            },
            "broken off at {moments:?}"
        );
        assert_eq!(whole(folder.path()), 3);
        assert_eq!(
            names(folder.path()),
            ["FORMAT", "LOCK", "g3", "mine.txt"],
            "broken off at {moments:?}"
        );
    }
    use Moment::*;
    let first = [Started, FolderMade, StepTaken, Synced, StampWritten].map(|moment| (moment, 1));
    let second = [
        Committed,
        LeftoverRemoved,
        LeftoverRemoved,
        LeftoverRemoved,
        FolderMade,
        StepTaken,
        Synced,
        StampWritten,
    ];
    let third = [Committed, LeftoverRemoved].map(|moment| (moment, 3));
    let all: Vec<_> = first
        .into_iter()
        .chain(second.map(|moment| (moment, 2)))
        .chain(third)
        .collect();
    assert_eq!(moments, all, "every moment was tried");
}

#[test]
fn a_step_that_fails_leaves_the_old_generation_and_nothing_else() {
    for fails_after in [0, 1] {
        let folder = database();
        let failing = Marking {
            from: 2,
            fails_after: Some(fails_after),
        };
        let steps: [&dyn Step; 2] = [&FIRST, &failing];
        let error = Runner {
            steps: &steps,
            current: 3,
            pause: &|_| Ok(()),
        }
        .migrate(folder.path(), |_, _| ());
        let message = error.expect_err("the second step fails").to_string();
        assert!(
            message.contains("from format 2 to 3") && message.contains("made to fail"),
            "{message}"
        );
        assert_eq!(whole(folder.path()), 2, "the first step stays done");
        assert_eq!(names(folder.path()), ["FORMAT", "LOCK", "g2", "mine.txt"]);
    }
}

#[test]
fn the_leftovers_of_a_crash_are_in_the_plan() {
    let folder = database();
    fs::create_dir_all(folder.path().join("g2/segments")).expect("made");
    let runner = Runner {
        steps: STEPS,
        current: 3,
        pause: &|_| Ok(()),
    };
    assert_eq!(
        runner.plan(folder.path()).expect("planned").leftovers,
        [folder.path().join("g2")]
    );
    assert!(folder.path().join("g2").exists(), "a plan changes nothing");
}

#[test]
fn newer_unreachable_and_foreign_folders_are_refused_unchanged() {
    let folder = database();
    let runner = |steps, current| Runner {
        steps,
        current,
        pause: &|_| Ok(()),
    };
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
