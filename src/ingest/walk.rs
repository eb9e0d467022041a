//! Paths → the files to read, in a fixed order.
//!
//! Folders are read in the order of their file names' bytes, by `ignore`, which ripgrep walks by. Hidden entries are passed
//! over, and what ignore files or the caller's globs leave out; links are followed, and a link that leads back to a folder
//! above itself is passed over with a remark, and so is a vecdb database.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, WalkBuilder};

use super::format::{BEGINNING, Seen, see};
use super::plan::Stamp;
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
    /// What it was said to be; else its bytes and its name tell.
    pub format: Option<Format>,
    /// By which it is known again.
    pub stamp: Stamp,
    /// It is as it was, and not read.
    pub is_unchanged: bool,
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
    /// Folders that were named, as they are shown.
    pub roots: Vec<String>,
    /// What cannot be read.
    pub bad: Vec<Error>,
    pub unknown_extensions: BTreeMap<String, u64>,
    /// Files that ignore files leave out.
    pub ignored: u64,
    pub remarks: Vec<String>,
}

pub(super) fn walk(inputs: Vec<Input>, options: &Options) -> Result<Found> {
    let mut found = Found::default();
    let mut names = Vec::new();
    for input in inputs {
        // What was named itself must be there: it may be a slip of the pen.
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
            self.roots.push(path.display().to_string());
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
        self.files.push(SourceFile {
            shown,
            id,
            format: options.format,
            stamp: (metadata.len(), metadata.modified().ok()),
            is_unchanged: false,
            content: Content::File(path.to_path_buf()),
        });
        Ok(())
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
            format: options.format.or(guessed),
            stamp: (spool.bytes, None),
            is_unchanged: false,
            content: Content::Spool(spool),
        });
        Ok(())
    }

    fn folder(&mut self, root: &Path, options: &Options) -> Result<()> {
        // What is not walked into, and what is read instead of it.
        let apart = Apart::default();
        let mut taken = 0;
        for entry in entries(root, options, !options.no_ignore, &apart)? {
            let result = match entry {
                Ok(entry) if is_file(&entry) => {
                    taken += 1;
                    self.file(root, entry.path())
                }
                Ok(_) => Ok(()),
                Err(error) => self.unreadable(root, error),
            };
            self.bad.extend(result.err());
        }
        let (remarks, files) = std::mem::take(&mut *lock(&apart));
        self.remarks.extend(remarks);
        for path in files {
            let result = self.file(root, &path);
            self.bad.extend(result.err());
        }
        if !options.no_ignore {
            let all = entries(root, options, false, &Apart::default())?;
            let all = all.flatten().filter(is_file).count() as u64;
            self.ignored += all.saturating_sub(taken);
        }
        Ok(())
    }

    /// A file found in a folder.
    fn file(&mut self, root: &Path, path: &Path) -> Result<()> {
        let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
        if Format::of_path(path).is_none() {
            let mut beginning = Vec::new();
            let file = fs::File::open(path).map_err(Error::io("open", path))?;
            file.take(BEGINNING as u64)
                .read_to_end(&mut beginning)
                .map_err(Error::io("read", path))?;
            if !is_wanted(path, &beginning) {
                *self.unknown_extensions.entry(extension(path)).or_default() += 1;
                return Ok(());
            }
        }
        let relative = path.strip_prefix(root).unwrap_or(path);
        let parts: Option<Vec<_>> = relative.iter().map(OsStr::to_str).collect();
        let id = parts.ok_or_else(|| name_not_utf8(path))?.join("/");
        self.files.push(SourceFile {
            shown: path.display().to_string(),
            id,
            format: None,
            stamp: (metadata.len(), metadata.modified().ok()),
            is_unchanged: false,
            content: Content::File(path.to_path_buf()),
        });
        Ok(())
    }

    fn unreadable(&mut self, root: &Path, error: ignore::Error) -> Result<()> {
        let (path, error) = unwrapped(root.to_path_buf(), error);
        let source = match error {
            ignore::Error::Loop { ancestor, child } => {
                self.remarks.push(format!(
                    "{} leads back to {} and is not followed",
                    child.display(),
                    ancestor.display()
                ));
                return Ok(());
            }
            ignore::Error::Io(source) => source,
            error => std::io::Error::other(error.to_string()),
        };
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
        let seen = match self.ignored {
            0 => seen,
            ignored => {
                format!("{seen}; ignore files leave out {ignored} (`--no-ignore` reads them)")
            }
        };
        let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
        format!(
            "there is nothing to read{seen}; these formats are read: {}",
            names.join(", ")
        )
    }
}

/// Is a file read that nobody named? If its name says what it is, or its bytes say that it is a document, or if it is a text
/// without an ending, as README is. Archives go by many other names, and are the matter of programs then.
pub(super) fn is_wanted(path: &Path, beginning: &[u8]) -> bool {
    if Format::of_path(path).is_some() {
        return true;
    }
    match see(beginning) {
        Seen::Format(Format::Zip | Format::Tar | Format::Gzip | Format::Zstandard) => false,
        Seen::Format(_) => true,
        Seen::Text => path.extension().is_none() && !beginning.is_empty(),
        Seen::Foreign(_) | Seen::Binary => false,
    }
}

/// In lower case; nothing where there is none.
pub(super) fn extension(path: &Path) -> String {
    let extension = path.extension().unwrap_or_default();
    extension.to_string_lossy().to_lowercase()
}

/// What is in a folder, in order, with or without what ignore files leave out.
fn entries(
    root: &Path,
    options: &Options,
    ignoring: bool,
    apart: &Apart,
) -> Result<impl Iterator<Item = std::result::Result<DirEntry, ignore::Error>> + use<>> {
    let mut walk = WalkBuilder::new(root);
    if ignoring {
        walk.add_custom_ignore_filename(".vecdbignore");
    }
    walk.follow_links(true)
        .ignore(ignoring)
        .git_ignore(ignoring)
        .parents(ignoring)
        .git_global(false)
        .git_exclude(false)
        // A folder of notes is seldom a repository.
        .require_git(false)
        .overrides(overrides(root, options)?)
        .sort_by_file_name(OsStr::cmp)
        .filter_entry({
            let apart = Arc::clone(apart);
            move |entry| is_entered(entry, &apart)
        });
    // What is named itself is not asked by the walk.
    let walk = is_entered_folder(root, apart).then(|| walk.build());
    Ok(walk.into_iter().flatten())
}

fn is_file(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| kind.is_file())
}

/// Remarks, and files that are read instead of the folder that they are in.
type Apart = Arc<Mutex<(Vec<String>, Vec<PathBuf>)>>;

fn lock(apart: &Apart) -> std::sync::MutexGuard<'_, (Vec<String>, Vec<PathBuf>)> {
    apart.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Files are taken, and folders walked into, but for those that are read in another way or not at all.
fn is_entered(entry: &DirEntry, apart: &Apart) -> bool {
    // A glob that includes would include what is hidden, too.
    if entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".") {
        return false;
    }
    !entry.file_type().is_some_and(|kind| kind.is_dir()) || is_entered_folder(entry.path(), apart)
}

fn is_entered_folder(path: &Path, apart: &Apart) -> bool {
    if is_database(path) {
        let remark = format!("{} is a vecdb database and is not read", path.display());
        lock(apart).0.push(remark);
        return false;
    }
    if is_beir(path) {
        let remark = format!(
            "{} is laid out as BEIR does: only its corpus.jsonl is read",
            path.display()
        );
        let mut apart = lock(apart);
        apart.0.push(remark);
        apart.1.push(path.join("corpus.jsonl"));
        return false;
    }
    true
}

/// The caller's globs; where a glob includes, only what some glob includes is read.
fn overrides(root: &Path, options: &Options) -> Result<Override> {
    let wrong = |glob: &str, error: ignore::Error| Error::Input {
        place: glob.to_owned(),
        what: format!("this is no pattern for file names: {error}"),
    };
    let mut builder = OverrideBuilder::new(root);
    for glob in &options.include {
        builder.add(glob).map_err(|error| wrong(glob, error))?;
    }
    for glob in &options.exclude {
        let without = format!("!{glob}");
        builder.add(&without).map_err(|error| wrong(glob, error))?;
    }
    builder.build().map_err(|error| wrong("", error))
}

/// The path that an error is about, and what it says of it.
fn unwrapped(path: PathBuf, error: ignore::Error) -> (PathBuf, ignore::Error) {
    match error {
        ignore::Error::WithPath { path, err } => unwrapped(path, *err),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            unwrapped(path, *err)
        }
        error => (path, error),
    }
}

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
