//! What became of the files that stored documents came from.

use std::collections::{HashMap, HashSet};
use std::path::{MAIN_SEPARATOR, Path};

use super::Documents;

/// Of one file, as far as the sources that were read can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was read to its end, without a failure.
    Read,
    /// It was not there any more.
    Gone,
    /// It failed, or was not read, or lies elsewhere: nobody knows.
    Unknown,
}

/// The files of some sources, by their paths as they are shown.
pub(crate) struct Standings<'a> {
    /// Those that were found, and whether they were not read, or something failed in them.
    files: HashMap<&'a str, bool>,
    roots: &'a [String],
}

impl<'a> Standings<'a> {
    /// Once all documents are taken.
    pub fn of(documents: &'a Documents) -> Self {
        let failed: HashSet<usize> = documents.failed_files();
        let files = documents.found.files.iter().enumerate();
        Self {
            files: files
                .map(|(at, file)| {
                    let is_unknown = file.is_unchanged || failed.contains(&at);
                    (file.shown.as_str(), is_unknown)
                })
                .collect(),
            roots: &documents.found.roots,
        }
    }

    /// Of the file that [`Document::source`](crate::Document::source) names: `notes.jsonl:12`, `mail.zip/1.eml`.
    pub fn standing(&self, source: &str) -> Standing {
        let mut file = source;
        loop {
            if let Some(&is_unknown) = self.files.get(file) {
                return if is_unknown {
                    Standing::Unknown
                } else {
                    Standing::Read
                };
            }
            match file.rfind([':', '/', MAIN_SEPARATOR]) {
                Some(at) => file = &file[..at],
                None => break,
            }
        }
        let is_within = |root: &String| {
            let rest = source.strip_prefix(root.as_str());
            rest.is_some_and(|rest| {
                root.ends_with(['/', MAIN_SEPARATOR]) || rest.starts_with(['/', MAIN_SEPARATOR])
            })
        };
        if self.roots.iter().any(is_within) && is_gone(source) {
            Standing::Gone
        } else {
            Standing::Unknown
        }
    }
}

/// Is there surely no such file, whatever part of the source is its path? A folder that cannot be looked into hides its files.
fn is_gone(source: &str) -> bool {
    let mut file = source;
    loop {
        match Path::new(file).symlink_metadata() {
            Ok(metadata) => return metadata.is_dir(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // An archive's inner path leads through a file.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {}
            Err(_) => return false,
        }
        match file.rfind([':', '/', MAIN_SEPARATOR]) {
            Some(at) if at > 0 => file = &file[..at],
            _ => return true,
        }
    }
}
