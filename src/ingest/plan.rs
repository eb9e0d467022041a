//! The first pass: everything is read, checked and counted.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{Documents, Sources};
use crate::error::Result;

/// How far the first pass is.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Scanned {
    /// Documents found so far.
    pub documents: u64,
    /// Bytes of the files read to their end so far.
    pub bytes: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// A record or file that was left out because it is bad.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// File, and line where there is one: `notes.jsonl:12`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

/// What will be read. It was read once, so its numbers are exact as long as the files do not change.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// Files that give documents, readers counted.
    pub files: u64,
    /// Documents in them.
    pub documents: u64,
    /// Bytes of the documents' texts.
    pub text_bytes: u64,
    /// How many bad records and files are left out.
    pub skipped_count: u64,
    /// The first 1,000 of them.
    pub skipped: Vec<Skipped>,
    /// Files in folders that were passed over because no reader knows their extension: `"pdf"` → how many. Files without
    /// an extension count under `""`.
    pub unknown_extensions: BTreeMap<String, u64>,
    /// What else is worth knowing: a folder recognised as BEIR's, a link that leads nowhere.
    pub remarks: Vec<String>,
}

pub(super) fn plan(
    sources: Sources,
    progress: &mut dyn FnMut(&Scanned) -> ControlFlow<()>,
) -> Result<Plan> {
    let _ = (sources.inputs, sources.options, progress);
    todo!()
}

impl Plan {
    /// The second pass: the documents, in the same order each time it is called.
    pub fn documents(&self) -> Documents {
        todo!()
    }
}
