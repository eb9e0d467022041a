//! `vecdb migrate`, on the golden database of format 1.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::command::{Ran, binary_alone};

fn golden(folder: &Path) -> PathBuf {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/database-1.zip");
    let mut archive = zip::ZipArchive::new(File::open(packed).expect("committed with the code"))
        .expect("an archive");
    archive
        .extract(folder.join("notes.vecdb"))
        .expect("unpacks");
    folder.join("notes.vecdb")
}

fn migrate(database: &Path, more: &[&str]) -> Ran {
    let mut command = binary_alone();
    command.arg("migrate").args(more).arg("--db").arg(database);
    command.output().expect("the binary starts").into()
}

#[test]
fn a_current_database_is_told_to_be_current_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = golden(folder.path());
    let lock = fs::read(database.join("LOCK")).expect("a file");
    for more in [&["--dry-run"][..], &[]] {
        let ran = migrate(&database, more).exits(0);
        assert!(
            ran.out
                .ends_with("has format 1, which is current: nothing to migrate\n"),
            "{}",
            ran.out
        );
        assert_eq!(ran.err, "");
    }
    let object = migrate(&database, &["--json"]).exits(0).object();
    assert_eq!((&object["from"], &object["to"]), (&1.into(), &1.into()));
    assert_eq!(object["steps"], serde_json::json!([]));
    assert_eq!(
        (&object["into"], &object["bytes_needed"]),
        (&serde_json::Value::Null, &0.into())
    );
    assert!(
        object["bytes_free"].as_u64().is_some_and(|bytes| bytes > 0),
        "{object}"
    );
    assert_eq!(
        fs::read(database.join("LOCK")).expect("a file"),
        lock,
        "nobody took the lock"
    );
}

#[test]
fn what_an_interrupted_migration_left_is_shown_and_then_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = golden(folder.path());
    let left = database.join("g2");
    fs::create_dir(&left).expect("a folder");
    fs::write(left.join("MANIFEST"), "half").expect("a file");
    let words = format!(
        "{}, left over from an interrupted migration\n",
        left.display()
    );
    let ran = migrate(&database, &["--dry-run"]).exits(0);
    assert!(
        ran.out.starts_with(&format!("would remove {words}")),
        "{}",
        ran.out
    );
    assert!(left.exists());
    let ran = migrate(&database, &[]).exits(0);
    assert!(
        ran.out.starts_with(&format!("removed {words}")),
        "{}",
        ran.out
    );
    assert!(!left.exists());
}

#[test]
fn a_newer_a_damaged_a_foreign_and_a_missing_database_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = golden(folder.path());
    for (stamp, words) in [
        (
            "vecdb 2 1\n",
            "has format 2, and this vecdb reads up to 1; install a newer vecdb",
        ),
        ("vecdb 1\n", "is damaged"),
        ("sqlite\n", "is not a vecdb database"),
    ] {
        fs::write(database.join("FORMAT"), stamp).expect("a file");
        for more in [&["--dry-run"][..], &["--json"], &[]] {
            migrate(&database, more).fails_saying(&[words]);
        }
        assert_eq!(
            fs::read_to_string(database.join("FORMAT")).expect("a file"),
            stamp
        );
    }
    let missing = folder.path().join("missing.vecdb");
    migrate(&missing, &[]).fails_saying(&["there is no database at", "missing.vecdb"]);
    assert!(!missing.exists());
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).expect("a folder");
    migrate(&empty, &[]).fails_saying(&["is not a vecdb database"]);
    assert_eq!(fs::read_dir(&empty).expect("a folder").count(), 0);
}
