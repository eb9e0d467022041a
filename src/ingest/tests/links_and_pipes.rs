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
    let plan = Sources::new()
        .path(folder.path())
        .skip_bad(true)
        .plan()
        .expect("planned");
    assert_eq!(
        (ids(&plan), plan.skipped_count),
        (vec!["a.txt".to_owned()], 1)
    );
}
