//! What only some file systems have.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn links_are_followed_and_loops_are_not() {
    let folder = folder(&[
        ("a/x.txt", "x"),
        ("elsewhere.md", "y"),
        ("a/sub/s.txt", "s"),
    ]);
    symlink(folder.path().join("a"), folder.path().join("a/sub/loop")).expect("linked");
    symlink(
        folder.path().join("elsewhere.md"),
        folder.path().join("a/y.md"),
    )
    .expect("linked");
    symlink("nowhere.txt", folder.path().join("a/z.txt")).expect("linked");
    let plan = Sources::new()
        .path(folder.path().join("a"))
        .plan()
        .expect("planned");
    assert_eq!(ids(&plan), ["sub/s.txt", "x.txt", "y.md"]);
    assert!(
        plan.remarks
            .iter()
            .any(|remark| remark.contains("leads back to")),
        "{:?}",
        plan.remarks
    );
    assert!(
        plan.remarks
            .iter()
            .any(|remark| remark.contains("leads nowhere")),
        "{:?}",
        plan.remarks
    );
}

#[test]
fn a_pipe_named_as_a_file_is_read_once_and_kept() {
    let folder = folder::<&str>(&[]);
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, "{\"text\": \"from a pipe\"}\n").expect("written")
    });
    let plan = Sources::new().path(&pipe).plan().expect("planned");
    writer.join().expect("ended");
    assert_eq!(ids(&plan), ["pipe#1"]);
}

#[test]
fn a_name_that_is_not_utf8_is_bad_input() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&[("a.txt", "a")]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.txt");
    if fs::write(folder.path().join(name), "x").is_err() {
        return; // Some file systems know UTF-8 names only.
    }
    assert!(
        fails(Sources::new().path(folder.path()), folder.path()).contains("its name is not UTF-8")
    );
    let outcome = read_folder(&folder);
    assert_eq!((outcome.ids(), outcome.failures.len()), (vec!["a.txt"], 1));
}

#[test]
fn what_cannot_be_opened_is_an_error_or_left_out_and_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(&[("a.txt", "a"), ("locked.txt", "x"), ("z.txt", "z")]);
    // A link to itself is neither there nor gone.
    symlink("knot.txt", folder.path().join("knot.txt")).expect("linked");
    let locked = folder.path().join("locked.txt");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).expect("locked");
    let is_root = fs::File::open(&locked).is_ok();

    let outcome = read_folder(&folder);
    let (read, failed) = match is_root {
        true => (vec!["a.txt", "locked.txt", "z.txt"], vec!["knot.txt"]),
        false => (vec!["a.txt", "z.txt"], vec!["knot.txt", "locked.txt"]),
    };
    assert_eq!(outcome.ids(), read);
    let places: Vec<_> = outcome.failed().iter().map(|(place, _)| *place).collect();
    assert_eq!(places, failed);
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_fails_while_it_is_read_is_told() {
    let folder = folder(&[("a.txt", "a"), ("c.txt", "c")]);
    // Memory at address 0 can be opened and not read.
    symlink("/proc/self/mem", folder.path().join("b.csv")).expect("linked");
    let outcome = read_folder(&folder);
    assert_eq!(outcome.ids(), ["a.txt", "c.txt"]);
    assert!(
        outcome.failed()[0].1.starts_with("it cannot be read"),
        "{:?}",
        outcome.failures
    );
}
