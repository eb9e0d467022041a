//! Runs the binary; folders and databases to run it on.

use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The sample collection.
pub const NOTES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/notes.jsonl");

/// What a run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Fails with both streams if the exit code is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "\nstdout:\n{}\nstderr:\n{}",
            self.out,
            self.err
        );
        self
    }

    /// An error: exit code 2, nothing on stdout, one message on stderr that holds all of `words`.
    #[track_caller]
    pub fn fails_saying(self, words: &[&str]) -> Self {
        let ran = self.exits(2);
        assert_eq!(ran.out, "", "an error leaves stdout empty");
        assert!(ran.err.starts_with("vecdb: "), "{}", ran.err);
        ran.says(words)
    }

    /// stderr holds all of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(
                self.err.contains(word),
                "{word:?} is not in stderr:\n{}",
                self.err
            );
        }
        self
    }

    /// stdout as JSON objects, one a line.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        self.out.lines().map(parse).collect()
    }

    /// stdout as one JSON object.
    #[track_caller]
    pub fn object(&self) -> Value {
        let objects = self.objects();
        assert_eq!(objects.len(), 1, "{}", self.out);
        objects.into_iter().next().expect("there is one")
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The binary, without the caller's settings; the runtime library and the model are in place.
pub fn binary() -> Command {
    encoder_is_there();
    binary_alone()
}

/// The binary, without the caller's settings, for what needs no encoder.
pub fn binary_alone() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vecdb"));
    for name in ["VECDB_DB", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Unpacks the tiny models into a folder.
pub fn unpack_models(folder: &Path) {
    let archive = include_bytes!("../golden/models.zip");
    let mut archive = zip::ZipArchive::new(Cursor::new(&archive[..])).expect("an archive");
    archive.extract(folder).expect("unpacked");
}

fn encoder_is_there() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| vecdb::setup::ensure().expect("set-up works on the test machine"));
}

/// Runs `vecdb` with the words of `line`, and then `paths`.
pub fn vecdb<'a>(line: &str, paths: impl IntoIterator<Item = &'a Path>) -> Ran {
    binary()
        .args(line.split_whitespace())
        .args(paths)
        .output()
        .expect("the binary starts")
        .into()
}

/// Runs `vecdb` with arguments that may hold spaces.
pub fn vecdb_args<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    binary()
        .args(arguments)
        .output()
        .expect("the binary starts")
        .into()
}

/// Runs a command with `input` on its stdin.
pub fn with_input(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Taken, so that it is closed at the end of the statement.
    let written = child.stdin.take().expect("stdin is piped").write_all(input);
    let ran = child.wait_with_output().expect("the binary ends").into();
    written.expect("the binary reads its stdin");
    ran
}

/// A folder of a test's own, with helpers to run on the database in it.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// Nothing in it.
    pub fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// With a database of the sample collection.
    pub fn with_notes() -> Self {
        let place = Self::empty();
        copy_folder(sample_database(), &place.db());
        place
    }

    /// The database's folder.
    pub fn db(&self) -> PathBuf {
        self.path("notes.vecdb")
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the test writes its file");
        path
    }

    /// `vecdb --db DB` and the words of `line`.
    pub fn run(&self, line: &str) -> Ran {
        self.run_args(line.split_whitespace())
    }

    /// `vecdb --db DB` and arguments that may hold spaces.
    pub fn run_args<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Ran {
        self.command()
            .args(arguments)
            .output()
            .expect("the binary starts")
            .into()
    }

    /// `vecdb --db DB`, run in the folder.
    pub fn command(&self) -> Command {
        let mut command = binary();
        command
            .current_dir(self.folder.path())
            .arg("--db")
            .arg(self.db());
        command
    }
}

/// A database of the sample collection, made once a run of the tests.
fn sample_database() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let folder = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        vecdb(
            "-q ingest",
            [
                Path::new(NOTES),
                Path::new("--db"),
                folder.path().join("notes.vecdb").as_path(),
            ],
        )
        .exits(0);
        folder
    });
    // `TempDir::path` borrows from the static.
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| folder.path().join("notes.vecdb"))
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the copy can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be listed") {
        let entry = entry.expect("the folder can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("the file can be copied");
        }
    }
}
