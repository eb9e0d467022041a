//! Files into a collection, and out of it what is gone.
//!
//!   Documents → ingest.rs → stored
//!       └ what was seen → documents that were not → renamed, pruned, or left as they are

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::collection::{Added, Collection};
use super::ingest::BatchOptions;
use crate::document::Document;
use crate::error::Result;
use crate::ingest::{Documents, Standing, Standings};

/// Settings of [`Collection::sync`].
#[derive(Default)]
pub struct SyncOptions<'a> {
    batch: BatchOptions<'a>,
    prune: bool,
}

impl<'a> SyncOptions<'a> {
    /// How the documents are added.
    #[must_use]
    pub fn batch(mut self, batch: BatchOptions<'a>) -> Self {
        self.batch = batch;
        self
    }

    /// Deletes documents whose file is gone from the folders that were read, or whose record is gone from its file. Without it
    /// they stay: a file that is not there may be on a disk that is not mounted.
    #[must_use]
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }
}

/// What syncing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// What adding did.
    pub added: Added,
    /// Documents that were deleted because their file is gone and another file has their text now.
    pub renamed: u64,
    /// Documents that were deleted because their file or record is gone.
    pub pruned: u64,
}

impl From<Added> for Synced {
    fn from(added: Added) -> Self {
        Self {
            added,
            ..Self::default()
        }
    }
}

impl Collection {
    /// Adds the documents of files as [`ingest`](Self::ingest) does, and then looks after documents that came from these
    /// folders before and were not seen now. One whose file is gone, and whose text another file of the same kind has now, is
    /// deleted: the file was renamed. Others are deleted if [`SyncOptions::prune`] says so. A file in which something failed keeps all its
    /// documents, and so does one that was not read because of a pattern.
    ///
    /// Files are known by [`Document::source`](crate::Document::source), so a folder must be named as it was before.
    ///
    /// ```no_run
    /// use vecdb::{Database, SyncOptions, ingest::Sources};
    /// let db = Database::open("notes.vecdb")?;
    /// let mut documents = Sources::new().path("notes/").plan()?.documents();
    /// let synced = db.collection("notes")?.sync(&mut documents, SyncOptions::default().prune(true))?;
    /// println!("{} added, {} renamed, {} pruned", synced.added.added, synced.renamed, synced.pruned);
    /// # Ok::<(), vecdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ingest`](Self::ingest); then nothing is deleted.
    pub fn sync(&self, documents: &mut Documents, options: SyncOptions<'_>) -> Result<Synced> {
        let mut seen = Seen::default();
        let taken = documents.by_ref().inspect(|document| {
            if let Ok(document) = document {
                seen.ids.insert(xxh3_128(document.id.as_bytes()));
                seen.texts.insert(content(document));
            }
        });
        let mut synced = Synced {
            added: self.ingest(taken, options.batch)?,
            ..Synced::default()
        };
        let standings = Standings::of(documents);
        let mut gone = Vec::new();
        let snapshot = self.state.snapshot();
        for part in &snapshot.parts {
            for document in (0..part.documents()).filter(|&document| !part.is_dead(document)) {
                if seen.ids.contains(&xxh3_128(part.id(document).as_bytes())) {
                    continue;
                }
                let document = part.document(document)?;
                let standing = document
                    .source
                    .as_deref()
                    .map(|source| standings.standing(source));
                let has_moved = || seen.texts.contains(&content(&document));
                match standing {
                    Some(Standing::Gone) if has_moved() => synced.renamed += 1,
                    Some(Standing::Gone | Standing::Read) if options.prune => synced.pruned += 1,
                    _ => continue,
                }
                gone.push(document.id);
            }
        }
        if !gone.is_empty() {
            self.delete(gone)?;
        }
        Ok(synced)
    }
}

/// What a document keeps when its file is renamed: its text and the ending of the file's name. Another file's text may be the
/// same by chance, but then most often as a part of something else.
fn content(document: &Document) -> u128 {
    let source = document.source.as_deref().unwrap_or_default();
    let file = source.trim_end_matches(|c: char| c.is_ascii_digit() || c == ':');
    let ending = Path::new(file).extension().unwrap_or_default();
    let mut hash = Xxh3Default::new();
    hash.update(ending.as_encoded_bytes());
    hash.update(&[0]);
    hash.update(document.text.as_bytes());
    hash.digest128()
}

/// Hashes, which are 16 bytes each however long what they stand for is.
#[derive(Default)]
struct Seen {
    ids: HashSet<u128>,
    texts: HashSet<u128>,
}
