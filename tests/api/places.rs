//! One database by many names; databases that are moved, replaced or removed while they are open; places where one may not
//! write.

use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vecdb::{
    Collection, CollectionOptions, Database, Document, Error, Result, SnapshotOptions, Vector,
};

fn collection(db: &Database) -> Collection {
    let options = CollectionOptions::vectors(2);
    db.create_collection("points", options)
        .expect("a collection")
}

fn add(points: &Collection, id: &str) -> Result<()> {
    let vector = Vector::new(vec![1.0, 0.5])?;
    points
        .add_vectors([(Document::new(id, ""), vector)])
        .map(drop)
}

/// A closed database with these documents.
fn make(path: &Path, ids: &[&str]) {
    let db = Database::open(path).expect("opens");
    let points = collection(&db);
    ids.iter().for_each(|id| add(&points, id).expect("adds"));
    drop(points);
    db.close().expect("closes");
}

fn ids(db: &Database) -> Vec<String> {
    let points = db.existing_collection("points").expect("there");
    let query = points.query_vector(Vector::new(vec![1.0, 0.5]).expect("finite"));
    let found = query.run().expect("a query").into_iter().map(|hit| hit.id);
    let mut found: Vec<String> = found.collect();
    found.sort();
    let mut listed: Vec<String> = points.documents().map(|d| d.expect("reads").id).collect();
    listed.sort();
    assert_eq!(found, listed);
    found
}

fn sealed(path: &Path) -> Vec<String> {
    ids(&Database::open_read_only(path).expect("reads"))
}

#[test]
fn whatever_path_leads_to_a_database_it_has_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.vecdb");
    make(&path, &["a"]);
    let (link, around) = (
        folder.path().join("link.vecdb"),
        folder.path().join("around"),
    );
    symlink("t.vecdb", &link).expect("linked");
    symlink(".", &around).expect("linked");
    let names = [
        path.clone(),
        link.clone(),
        around.join("link.vecdb"),
        folder.path().join("around/./t.vecdb/."),
    ];
    for (first, second) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
        let db = Database::open(first).unwrap_or_else(|e| panic!("{first:?}: {e}"));
        let refused = Database::open(second).expect_err("held");
        assert!(
            matches!(refused, Error::Locked { here: true, .. }),
            "{refused}"
        );
        let told = refused.to_string();
        let named = format!(
            "open for writing in this process already (pid {}",
            std::process::id()
        );
        assert!(told.contains(&named), "{told}");
        let reader = Database::options()
            .for_reading()
            .open(second)
            .expect("reads");
        add(&collection(&db), "b").expect("adds");
        db.flush().expect("seals");
        assert!(reader.refresh().expect("reads"));
        assert_eq!(ids(&reader), ["a", "b"]);
        collection(&db).delete(["b"]).expect("deletes");
    }
    assert_eq!(sealed(&path), ["a"]);
}

#[test]
fn a_link_that_is_led_elsewhere_takes_readers_along_and_no_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let [old, new, link] = ["old", "new", "link"].map(|name| folder.path().join(name));
    make(&old, &["old"]);
    make(&new, &["new"]);
    symlink(&old, &link).expect("linked");
    let writer = Database::open(&link).expect("opens");
    let reader = Database::open_read_only(&link).expect("opens");
    let seen = reader.existing_collection("points").expect("there");
    fs::remove_file(&link).expect("unlinked");
    symlink(&new, &link).expect("linked");
    add(&collection(&writer), "older").expect("adds");
    writer.close().expect("closes");
    assert_eq!(sealed(&old), ["old", "older"]);
    assert_eq!(sealed(&new), ["new"]);
    assert_eq!(ids(&reader), ["old"], "a snapshot stays as it was");
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["new"]);
    assert_eq!(
        seen.get("new").expect("reads").map(|d| d.id).as_deref(),
        Some("new")
    );
}

#[test]
fn an_idle_writer_whose_folder_was_replaced_takes_nothing_from_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, moved, copy] =
        ["t.vecdb", "moved.vecdb", "copy"].map(|name| folder.path().join(name));
    let first = Database::open(&path).expect("opens");
    add(&collection(&first), "acknowledged").expect("adds");
    first.flush().expect("seals");
    fs::rename(&path, &moved).expect("moves");
    make(&path, &["other"]);
    let purged = first.purge(|_| ControlFlow::Continue(()));
    assert!(matches!(purged, Err(Error::Replaced { .. })), "{purged:?}");
    let copied = first.snapshot(&copy, SnapshotOptions::default());
    assert!(matches!(copied, Err(Error::Replaced { .. })), "{copied:?}");
    drop(first);
    assert_eq!(sealed(&path), ["other"]);
    assert_eq!(sealed(&moved), ["acknowledged"]);
}

#[test]
fn a_copy_that_went_on_by_itself_is_seen_as_what_it_is_when_it_takes_the_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, copy, away] = ["t.vecdb", "copy", "away"].map(|name| folder.path().join(name));
    make(&path, &["a", "b", "c"]);
    let one = Database::open(&path).expect("opens");
    one.snapshot(&copy, SnapshotOptions::default())
        .expect("copies");
    let other = Database::open(&copy).expect("opens");
    // The same number of commits, and of deleted rows, in the same segment.
    for (db, id) in [(one, "a"), (other, "b")] {
        collection(&db).delete([id]).expect("deletes");
        db.close().expect("closes");
    }
    let reader = Database::open_read_only(&path).expect("opens");
    assert_eq!(ids(&reader), ["b", "c"]);
    fs::rename(&path, &away).expect("moves");
    fs::rename(&copy, &path).expect("moves");
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["a", "c"]);
}

#[test]
fn a_writer_whose_folder_was_replaced_writes_nothing_into_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, moved] = ["t.vecdb", "moved.vecdb"].map(|name| folder.path().join(name));
    let first = Database::open(&path).expect("opens");
    let points = collection(&first);
    add(&points, "acknowledged").expect("adds");
    fs::rename(&path, &moved).expect("moves");
    let is_told = |result: Result<()>| {
        let error = result.expect_err("the folder is not there");
        assert!(matches!(error, Error::Replaced { .. }), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("t.vecdb was moved, removed or replaced"),
            "{told}"
        );
    };
    is_told(add(&points, "x"));
    make(&path, &["other"]);
    let other = Database::open(&path).expect("another database, nobody has its lock");
    is_told(add(&points, "x"));
    is_told(points.delete(["acknowledged"]).map(drop));
    is_told(first.flush());
    is_told(
        first
            .create_collection("more", CollectionOptions::vectors(2))
            .map(drop),
    );
    assert_eq!(points.len(), 1, "what it has can be read");
    drop((points, first));
    add(&collection(&other), "another").expect("adds");
    other.close().expect("closes");
    assert_eq!(sealed(&path), ["another", "other"]);
    let report = Database::check(&path).expect("checks");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(
        ids(&Database::open(&moved).expect("opens")),
        ["acknowledged"]
    );
}

#[test]
fn a_reader_whose_database_is_removed_or_replaced_keeps_what_it_sees() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("t.vecdb");
    make(&path, &["a", "b"]);
    let reader = Database::open_read_only(&path).expect("opens");
    let seen = reader.existing_collection("points").expect("there");
    fs::remove_dir_all(&path).expect("removes");
    let gone = reader.refresh().expect_err("it is not there");
    assert!(matches!(gone, Error::NotFound { .. }), "{gone}");
    assert_eq!(ids(&reader), ["a", "b"]);

    // A copy of the same is the same; one with as many commits is not.
    make(&path, &["c", "d"]);
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["c", "d"]);
    let copy = folder.path().join("copy.vecdb");
    crate::copy(&path, &copy);
    fs::remove_dir_all(&path).expect("removes");
    fs::rename(&copy, &path).expect("moves");
    assert!(!reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["c", "d"]);

    // One without the collection: nothing is left of it.
    fs::remove_dir_all(&path).expect("removes");
    Database::open(&path)
        .expect("opens")
        .close()
        .expect("closes");
    assert!(reader.refresh().expect("reads"));
    assert!(seen.is_empty());
    assert!(matches!(
        reader.existing_collection("points"),
        Err(Error::NoCollection { .. })
    ));

    // What is no database is an error, and nothing of it is touched.
    fs::remove_dir_all(&path).expect("removes");
    fs::create_dir(&path).expect("made");
    fs::write(path.join("letter.txt"), "Dear reader").expect("writes");
    assert!(matches!(reader.refresh(), Err(Error::NotADatabase { .. })));
    assert_eq!(fs::read_dir(&path).expect("a folder").count(), 1);
}

/// Runs [`child`] in a process of its own, by `command` if that is given.
fn in_a_process(
    role: &str,
    folder: &Path,
    command: Option<&[&str]>,
) -> std::io::Result<std::process::Output> {
    let exe = std::env::current_exe().expect("this binary");
    let mut process = match command {
        Some([program, arguments @ ..]) => {
            let mut process = Command::new(program);
            process.args(arguments).arg(exe);
            process
        }
        _ => Command::new(exe),
    };
    process
        .args([
            "--exact",
            "places::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env("VECDB_PLACE", role)
        .env("VECDB_PLACE_FOLDER", folder);
    if role == "as nobody" {
        process.uid(NOBODY).gid(NOBODY);
    }
    process.output()
}

const NOBODY: u32 = 65_534;

#[test]
fn child() {
    let (Ok(role), Ok(folder)) = (
        std::env::var("VECDB_PLACE"),
        std::env::var("VECDB_PLACE_FOLDER"),
    ) else {
        return;
    };
    let folder = Path::new(&folder);
    match &role[..] {
        "elsewhere" => elsewhere(folder),
        "as nobody" => unwritable(folder),
        "mounts" => mounts(folder),
        role => panic!("{role}"),
    }
    println!("{role} is done");
}

#[track_caller]
fn succeeded(output: &std::process::Output) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("is done"), "{said}");
}

#[test]
fn a_process_that_goes_to_another_folder_goes_on_with_its_database() {
    let folder = tempfile::tempdir().expect("a folder");
    succeeded(&in_a_process("elsewhere", folder.path(), None).expect("starts"));
}

fn elsewhere(folder: &Path) {
    let other = folder.join("other");
    fs::create_dir(&other).expect("made");
    make(&other.join("t.vecdb"), &["other"]);
    std::env::set_current_dir(folder).expect("goes");
    let writer = Database::open("t.vecdb").expect("opens");
    let points = collection(&writer);
    add(&points, "a").expect("adds");
    writer.flush().expect("seals");
    let reader = Database::open_read_only("t.vecdb").expect("opens");
    std::env::set_current_dir(&other).expect("goes");
    add(&points, "b").expect("adds");
    drop(points);
    writer.close().expect("closes");
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["a", "b"]);
    assert_eq!(sealed(Path::new("t.vecdb")), ["other"]);
    assert_eq!(sealed(&folder.join("t.vecdb")), ["a", "b"]);
}

/// All files and folders of a database with this one's rights.
fn everything(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder").flatten();
        found.extend(entries.flat_map(|entry| everything(&entry.path())));
    }
    found
}

#[test]
fn where_one_may_only_read_reading_works_and_writing_names_what_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    make(&folder.path().join("t.vecdb"), &["a", "b"]);
    // Nothing is refused to root.
    let probe = folder.path().join("t.vecdb/probe");
    fs::create_dir(&probe).expect("made");
    fs::set_permissions(&probe, Permissions::from_mode(0o555)).expect("set");
    let is_root = fs::write(probe.join("x"), "").is_ok();
    fs::remove_dir_all(&probe).expect("removes");
    if !is_root {
        return unwritable(folder.path());
    }
    for path in everything(folder.path()) {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    match in_a_process("as nobody", folder.path(), None) {
        Ok(output) => succeeded(&output),
        Err(e) => println!("skipped: the tests run as root, and nobody else may run them: {e}"),
    }
}

/// In a folder with a closed database of two documents.
fn unwritable(folder: &Path) {
    let path = folder.join("t.vecdb");
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, Permissions::from_mode(mode))
            .unwrap_or_else(|e| panic!("{path:?}: {e}"));
    };
    let all = everything(&path);
    let close = |is_closed: &dyn Fn(&Path) -> bool| {
        for path in all.iter().rev().filter(|path| is_closed(path)) {
            allow(path, if path.is_dir() { 0o555 } else { 0o444 });
        }
    };
    let open = || {
        for path in &all {
            allow(path, if path.is_dir() { 0o755 } else { 0o644 });
        }
    };
    let reads = |what: &str| {
        let reader = Database::options().for_reading().open(&path);
        let reader = reader.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(ids(&reader), ["a", "b"], "{what}");
        assert!(!reader.refresh().expect("reads"), "{what}");
        assert_eq!(sealed(&path), ["a", "b"], "{what}");
        let report = Database::check(&path).expect("checks");
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
    };
    let refuses = |what: &str, named: &str| {
        let error = Database::open(&path).expect_err(what);
        assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
        let told = error.to_string();
        assert!(
            told.contains(named) && told.contains("Permission denied"),
            "{what}: {told}"
        );
    };

    close(&|_| true);
    reads("nothing may be written");
    refuses("nothing may be written", "t.vecdb/LOCK");
    let new = Database::open(path.join("new.vecdb")).expect_err("no folder can be made");
    assert!(
        new.to_string().contains("new.vecdb: Permission denied"),
        "{new}"
    );
    open();
    close(&|path| path.ends_with("LOCK"));
    reads("LOCK may not be written");
    refuses("LOCK may not be written", "t.vecdb/LOCK");
    open();
    close(&|path| {
        path.ends_with("meta") || path.ends_with("meta/db") || path.ends_with("meta/conf")
    });
    refuses("the catalog may not be written", "t.vecdb/meta");
    // That attempt has written LOCK, so this is now a database that was not closed.
    reads("the catalog may not be written");
    open();
    // Neither MANIFEST nor segments are written in place.
    close(&|path| {
        path.is_file() && !path.ends_with("LOCK") && !path.to_string_lossy().contains("meta")
    });
    reads("no file may be changed");
    let db = Database::open(&path).expect("new files can be made");
    let points = collection(&db);
    add(&points, "c").expect("adds");
    db.flush().expect("seals");
    points.delete(["c"]).expect("deletes");
    db.flush().expect("seals");
    open_again(&path, &db, &points, &allow);
    drop(points);
    db.close().expect("closes");
    assert_eq!(sealed(&path), ["a", "b", "d"]);
}

/// A folder that may not be written for a while costs nothing that was acknowledged.
fn open_again(path: &Path, db: &Database, points: &Collection, allow: &dyn Fn(&Path, u32)) {
    let segments = path.join("segments");
    allow(&segments, 0o555);
    add(points, "d").expect("write-ahead rows lie elsewhere");
    let error = db.flush().expect_err("no segment can be made").to_string();
    assert!(
        error.contains("segments/") && error.contains("Permission denied"),
        "{error}"
    );
    assert_eq!(points.len(), 3);
    allow(&segments, 0o755);
    db.flush().expect("seals");
}

#[test]
fn a_database_on_a_file_system_that_may_only_be_read_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    // Mounts in a name space of their own end with the process.
    let ran = in_a_process("mounts", folder.path(), Some(&["unshare", "--mount"]));
    match ran {
        Ok(output) if String::from_utf8_lossy(&output.stdout).contains("skipped: ") => {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output) if output.stdout.is_empty() => {
            println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => succeeded(&output),
        Err(e) => println!("skipped: no mounts of one's own: {e}"),
    }
}

fn mounts(folder: &Path) {
    let mount = |arguments: &[&str]| {
        let ran = Command::new("mount").args(arguments).arg(folder).output();
        ran.is_ok_and(|ran| ran.status.success())
    };
    if !mount(&["-t", "tmpfs", "none"]) {
        println!("skipped: this user may not mount");
        return;
    }
    let (closed, killed) = (folder.join("closed.vecdb"), folder.join("killed.vecdb"));
    make(&closed, &["a", "b"]);
    let db = Database::options()
        .seal_after_idle(Duration::MAX)
        .open(folder.join("open.vecdb"));
    let db = db.expect("opens");
    let points = collection(&db);
    add(&points, "sealed").expect("adds");
    db.flush().expect("seals");
    add(&points, "not sealed").expect("adds");
    crate::copy(&folder.join("open.vecdb"), &killed);
    drop(points);
    db.close().expect("closes");
    assert!(mount(&["-o", "remount,ro"]), "it was mounted here");

    let read = |path: &Path| ids(&Database::options().for_reading().open(path).expect("reads"));
    assert_eq!(read(&closed), ["a", "b"]);
    assert_eq!(read(&killed), ["sealed"], "nobody can recover it here");
    for path in [&closed, &killed] {
        let told = Database::open(path)
            .expect_err("nothing can be written")
            .to_string();
        assert!(told.contains("Read-only file system"), "{told}");
        let report = Database::check(path).expect("checks");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
    }
    let told = Database::open(folder.join("new.vecdb"))
        .expect_err("it cannot be made")
        .to_string();
    assert!(
        told.contains("cannot create") && told.contains("new.vecdb: Read-only"),
        "{told}"
    );
    let reader = Database::open_read_only(&killed).expect("opens");
    assert!(!reader.refresh().expect("reads"));

    assert!(mount(&["-o", "remount,rw"]), "it was mounted here");
    assert_eq!(read(&killed), ["not sealed", "sealed"]);
    assert!(reader.refresh().expect("reads"));
    assert_eq!(ids(&reader), ["not sealed", "sealed"]);
}
