//! Is everything on disk as it was written?

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::cannot_write;
use super::inner::open_part;
use super::part::Part;
use crate::error::{Error, Result};
use crate::segment::Residency;
use crate::store::{self, Disk, Layout, Manifest, Opened};

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

pub(super) fn check(path: &Path) -> Result<Report> {
    let layout = store::check_stamp(path)?.ok_or_else(|| Error::NotFound {
        path: path.to_path_buf(),
    })?;
    let mut report = Report::default();
    // With the lock if it is free: then nothing changes meanwhile, and the catalog can be compared.
    match Opened::open(path, &Disk::default()) {
        Ok(Opened {
            mut store,
            unsealed,
        }) => {
            report.segments(&layout, store.manifest());
            for path in store.leftovers() {
                let path = path.display();
                report.remarks.push(format!(
                    "{path} belongs to no collection; the next writer removes it"
                ));
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
                Ok(manifest) => tried.segments(layout, manifest),
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

    /// Opens every segment with its tombstones, verifies every block, and sees that no id lives twice.
    fn segments(&mut self, layout: &Layout, manifest: &Manifest) {
        for collection in &manifest.collections {
            // Hashes: 16 bytes each, however long the ids are.
            let mut live = HashSet::new();
            for record in &collection.segments {
                let opened = open_part(layout, collection, record, Residency::Mapped);
                match opened.and_then(|part| part.segment()?.verify().map(|()| part)) {
                    Ok(part) => {
                        self.files += 1 + u64::from(record.tombstones > 0);
                        self.bytes += record.bytes;
                        self.twice(&part, &mut live, &layout.segment(&record.name));
                    }
                    Err(error) => self.problems.push(error.to_string()),
                }
            }
        }
    }

    /// Tells the first live document whose id is in `live` already, and adds the others to it.
    fn twice(&mut self, part: &Part, live: &mut HashSet<u128>, path: &Path) {
        let Ok(segment) = part.segment() else {
            return;
        };
        let mut ids = (0..part.documents())
            .filter(|&document| !part.is_dead(document))
            .map(|document| segment.document_id(document));
        if let Some(id) = ids.find(|id| !live.insert(xxh3_128(id.as_bytes()))) {
            let what = format!("document {id:?} lives in another segment too");
            self.problems
                .push(Error::damaged(path, 0, what).to_string());
        }
    }
}
