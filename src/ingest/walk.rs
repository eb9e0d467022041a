//! Paths → the files to read, in a fixed order.
//!
//! Folders are read in the order of their file names' bytes. Hidden entries are passed over, links are followed, and a
//! link that leads back to a folder above itself is passed over with a remark, and so is a vecdb database.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::spool::Spool;
use super::{Format, Input, Options};
use crate::error::{Error, Result};

/// One file to be read.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Its path for people: in errors and in [`Document::source`](crate::Document::source).
    pub shown: String,
    /// What its documents' ids begin with, see the module's table.
    pub id: String,
    pub format: Format,
    pub content: Content,
}

/// `notes.jsonl:12`, or the file alone.
pub(super) fn place(shown: &str, line: Option<u32>) -> String {
    match line {
        Some(line) => format!("{shown}:{line}"),
        None => shown.to_owned(),
    }
}

#[derive(Debug)]
pub(super) enum Content {
    File(PathBuf),
    Spool(Spool),
}

/// What all inputs together hold.
#[derive(Default)]
pub(super) struct Found {
    pub files: Vec<SourceFile>,
    /// What cannot be read, under `skip_bad`.
    pub bad: Vec<Error>,
    pub unknown_extensions: BTreeMap<String, u64>,
    pub remarks: Vec<String>,
}

pub(super) fn walk(inputs: Vec<Input>, options: &Options) -> Result<Found> {
    let mut found = Found::default();
    let mut names = Vec::new();
    for input in inputs {
        // What was named itself must be there, `skip_bad` or not: it may be a slip of the pen.
        match input {
            Input::Path(path) => {
                names.push(path.display().to_string());
                found.path(&path, options)?;
            }
            Input::Reader(name, reader) => {
                found.spool(name.clone(), name, reader, options)?;
            }
        }
    }
    if found.files.is_empty() && found.bad.is_empty() {
        return Err(Error::Input {
            place: names.join(", "),
            what: found.nothing(),
        });
    }
    Ok(found)
}

impl Found {
    fn path(&mut self, path: &Path, options: &Options) -> Result<()> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if metadata.is_dir() {
            return self.folder(path, options);
        }
        let shown = path.display().to_string();
        let id = path
            .file_name()
            .and_then(OsStr::to_str)
            .ok_or_else(|| name_not_utf8(path))?
            .to_owned();
        if !metadata.is_file() {
            // A pipe or device: readable once only, like standard input.
            let file = fs::File::open(path).map_err(Error::io("open", path))?;
            return self.spool(shown, id, Box::new(file), options);
        }
        let format = options.format.or_else(|| Format::of_path(path)).ok_or_else(|| {
            let what = format!("its format is not known by its name; {KNOWN} are read; say which one it is by `--format`");
            Error::Input { place: shown.clone(), what }
        })?;
        self.push(shown, id, format, path);
        Ok(())
    }

    /// What can be read as often as it is needed.
    fn push(&mut self, shown: String, id: String, format: Format, path: &Path) {
        let content = Content::File(path.to_path_buf());
        self.files.push(SourceFile {
            shown,
            id,
            format,
            content,
        });
    }

    /// What can be read only once.
    fn spool(
        &mut self,
        shown: String,
        id: String,
        reader: Box<dyn Read>,
        options: &Options,
    ) -> Result<()> {
        let (spool, guessed) = Spool::copy(&shown, reader)?;
        self.files.push(SourceFile {
            shown,
            id,
            format: options.format.unwrap_or(guessed),
            content: Content::Spool(spool),
        });
        Ok(())
    }

    fn folder(&mut self, root: &Path, options: &Options) -> Result<()> {
        let mut entries = WalkDir::new(root)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let result = self.unreadable(root, error);
                    self.leave_out(result, options)?;
                    continue;
                }
            };
            let is_folder = entry.file_type().is_dir();
            if entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".") {
                if is_folder {
                    entries.skip_current_dir();
                }
                continue;
            }
            if is_folder && is_database(entry.path()) {
                entries.skip_current_dir();
                self.remarks.push(format!(
                    "{} is a vecdb database and is not read",
                    entry.path().display()
                ));
                continue;
            }
            let result = if is_folder && is_beir(entry.path()) {
                entries.skip_current_dir();
                self.remarks.push(format!(
                    "{} is laid out as BEIR does: only its corpus.jsonl is read",
                    entry.path().display()
                ));
                self.file(root, &entry.path().join("corpus.jsonl"))
            } else if entry.file_type().is_file() {
                self.file(root, entry.path())
            } else {
                Ok(())
            };
            self.leave_out(result, options)?;
        }
        Ok(())
    }

    fn leave_out(&mut self, result: Result<()>, options: &Options) -> Result<()> {
        match result {
            Err(error) if options.skip_bad => self.bad.push(error),
            result => result?,
        }
        Ok(())
    }

    /// A file found in a folder.
    fn file(&mut self, root: &Path, path: &Path) -> Result<()> {
        let Some(format) = Format::of_path(path) else {
            let extension = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            *self.unknown_extensions.entry(extension).or_default() += 1;
            return Ok(());
        };
        let relative = path.strip_prefix(root).unwrap_or(path);
        let parts: Option<Vec<_>> = relative.iter().map(OsStr::to_str).collect();
        let id = parts.ok_or_else(|| name_not_utf8(path))?.join("/");
        let shown = path.display().to_string();
        self.push(shown, id, format, path);
        Ok(())
    }

    fn unreadable(&mut self, root: &Path, error: walkdir::Error) -> Result<()> {
        let path = error.path().unwrap_or(root).to_path_buf();
        if let Some(above) = error.loop_ancestor() {
            self.remarks.push(format!(
                "{} leads back to {} and is not followed",
                path.display(),
                above.display()
            ));
            return Ok(());
        }
        let source = error
            .into_io_error()
            .unwrap_or_else(|| std::io::Error::other("the folder cannot be walked"));
        if source.kind() == std::io::ErrorKind::NotFound && path.is_symlink() {
            self.remarks
                .push(format!("{} is a link that leads nowhere", path.display()));
            return Ok(());
        }
        Err(Error::Io {
            action: "read",
            path,
            source,
        })
    }

    fn nothing(&self) -> String {
        let seen = self.unknown_extensions.keys();
        let seen: Vec<_> = seen
            .filter(|extension| !extension.is_empty())
            .map(|extension| format!(".{extension}"))
            .collect();
        let seen = if seen.is_empty() {
            String::new()
        } else {
            format!("; it holds {}", seen.join(", "))
        };
        format!("there is nothing to read{seen}; {KNOWN} are read")
    }
}

const KNOWN: &str = ".txt, .md, .markdown, .jsonl, .ndjson and .csv";

fn name_not_utf8(path: &Path) -> Error {
    Error::Input {
        place: path.display().to_string(),
        what: "its name is not UTF-8, so it gives no id; rename it".into(),
    }
}

/// A database often lies in the very folder that is ingested into it; its models' word lists are no documents.
fn is_database(folder: &Path) -> bool {
    let mut beginning = [0; 6];
    let stamp = fs::File::open(folder.join("FORMAT"));
    stamp
        .and_then(|mut stamp| stamp.read_exact(&mut beginning))
        .is_ok()
        && &beginning == b"vecdb "
}

fn is_beir(folder: &Path) -> bool {
    ["corpus.jsonl", "queries.jsonl"]
        .iter()
        .all(|name| folder.join(name).is_file())
}
