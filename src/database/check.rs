//! Is everything on disk as it was written?

use std::path::Path;

use super::cannot_write;
use super::inner::open_part;
use super::part::Part;
use crate::error::{Error, Result};
use crate::store::{self, CollectionRecord, Layout, Manifest, Opened, Store};

/// What [`Database::check`](super::Database::check) found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Files read.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What is wrong, a sentence each. None is good.
    pub problems: Vec<String>,
    /// What is worth knowing but harms nothing: left-over files, rows not yet sealed, parts that were not checked.
    pub remarks: Vec<String>,
}

/// A collection's segments, read whole.
struct Read {
    collection: u32,
    parts: Vec<(String, Part)>,
}

pub(super) fn check(path: &Path) -> Result<Report> {
    let layout = store::check_stamp(path)?.ok_or_else(|| Error::NotFound {
        path: path.to_path_buf(),
    })?;
    let mut report = Report::default();
    // With the lock if it is free: then nothing changes meanwhile, and the catalog can be compared.
    match Opened::open(path) {
        Ok(Opened {
            mut store,
            unsealed,
        }) => {
            let read = report.segments(&layout, store.manifest());
            for path in store.leftovers() {
                let path = path.display();
                report.remarks.push(format!(
                    "{path} belongs to no collection; the next writer removes it"
                ));
            }
            for read in &read {
                if let Err(error) = report.places(&store, read) {
                    report.problems.push(error.to_string());
                }
            }
            if !unsealed.is_empty() {
                let calls = unsealed.len();
                report.remarks.push(format!(
                    "{calls} acknowledged calls are not yet sealed; the next writer seals them"
                ));
            }
            store.mark_closed();
        }
        Err(error) if cannot_write(&error) => {
            report
                .remarks
                .push(format!("the catalog was not checked: {error}"));
            report.beside_a_writer(&layout);
        }
        Err(error) => {
            report.problems.push(error.to_string());
            if let Ok(manifest) = store::read_only(&layout) {
                report.segments(&layout, &manifest);
            }
        }
    }
    // The same damage may have been met twice.
    report.problems.sort();
    report.problems.dedup();
    Ok(report)
}

impl Report {
    /// Reads what MANIFEST names, again if it changed meanwhile.
    fn beside_a_writer(&mut self, layout: &Layout) {
        loop {
            let mut tried = Self::default();
            let seq = |manifest: &Result<Manifest>| manifest.as_ref().ok().map(|m| m.seq);
            let manifest = store::read_only(layout);
            match &manifest {
                Ok(manifest) => drop(tried.segments(layout, manifest)),
                Err(error) => tried.problems.push(error.to_string()),
            }
            if tried.problems.is_empty() || seq(&store::read_only(layout)) == seq(&manifest) {
                self.files += tried.files;
                self.bytes += tried.bytes;
                self.problems.append(&mut tried.problems);
                return;
            }
        }
    }

    /// Opens every segment with its tombstones and verifies every block.
    fn segments(&mut self, layout: &Layout, manifest: &Manifest) -> Vec<Read> {
        let read_collection = |collection: &CollectionRecord| {
            let mut parts = Vec::new();
            for record in &collection.segments {
                let opened = open_part(layout, collection, record);
                match opened.and_then(|part| part.segment()?.verify().map(|()| part)) {
                    Ok(part) => {
                        self.files += 1 + u64::from(record.tombstones > 0);
                        self.bytes += record.bytes;
                        parts.push((record.name.clone(), part));
                    }
                    Err(error) => self.problems.push(error.to_string()),
                }
            }
            Read {
                collection: collection.id,
                parts,
            }
        };
        manifest.collections.iter().map(read_collection).collect()
    }

    /// Each id of the map lies where it says, and each live document of the segments has its id in the map.
    fn places(&mut self, store: &Store, read: &Read) -> Result<()> {
        let mut placed: u64 = 0;
        for entry in store.places(read.collection) {
            let (id, place) = entry?;
            let part = read.parts.iter().find(|(name, _)| *name == place.segment);
            if part.is_some_and(|(_, part)| part.find(&id) == Some(place.document)) {
                placed += 1;
            } else if self.problems.is_empty() {
                let what = format!("it places document {id:?} where it is not");
                self.problems.push(store.inconsistent(what).to_string());
            }
        }
        let live: u64 = read
            .parts
            .iter()
            .map(|(_, part)| u64::from(part.live_documents()))
            .sum();
        if placed != live && self.problems.is_empty() {
            let what =
                format!("it places {placed} documents, and the segments hold {live} live ones");
            self.problems.push(store.inconsistent(what).to_string());
        }
        Ok(())
    }
}
