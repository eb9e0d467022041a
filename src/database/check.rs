//! Is everything on disk as it was written?

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;

use crate::error::{Error, Result};
use crate::segment::{Segment, tombstones};
use crate::store::{self, CollectionRecord, Layout, Opened, SegmentRecord, Store};

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

/// A segment that was read whole, with its deleted rows.
struct Read {
    collection: u32,
    name: String,
    segment: Segment,
    dead: RoaringBitmap,
}

pub(super) fn check(path: &Path) -> Result<Report> {
    let layout = store::check_stamp(path)?.ok_or_else(|| Error::NotFound {
        path: path.to_path_buf(),
    })?;
    let mut report = Report::default();
    let manifest = match store::read_only(&layout) {
        Ok(manifest) => manifest,
        Err(error) => {
            report.problems.push(error.to_string());
            return Ok(report);
        }
    };
    let mut segments = Vec::new();
    for collection in &manifest.collections {
        for record in &collection.segments {
            match report.segment(&layout, collection, record) {
                Ok(segment) => segments.push(segment),
                Err(error) => report.problems.push(error.to_string()),
            }
        }
    }
    report.strangers(&layout, &segments);
    if report.problems.is_empty() {
        report.catalog(path, &segments);
    }
    Ok(report)
}

impl Report {
    fn segment(
        &mut self,
        layout: &Layout,
        collection: &CollectionRecord,
        record: &SegmentRecord,
    ) -> Result<Read> {
        let path = layout.segment(&record.name);
        let segment = Segment::open(&path)?;
        self.files += 1;
        self.bytes += segment.bytes();
        segment.verify()?;
        let wrong = |what: &str| Err(Error::damaged(&path, 0, what));
        let fingerprint = collection.encoder.as_ref().map_or("", |e| &e.fingerprint);
        if segment.spec().fingerprint != fingerprint
            || Some(segment.spec().dimension) != collection.dimension
        {
            return wrong("its encoder or dimension is not its collection's");
        }
        if (segment.rows(), segment.documents(), segment.bytes())
            != (record.rows, record.documents, record.bytes)
        {
            return wrong("it has not the size that MANIFEST says");
        }
        let dead = match record.tombstones {
            0 => RoaringBitmap::new(),
            generation => {
                self.files += 1;
                tombstones::read(&layout.tombstones(&record.name, generation), record.rows)?
            }
        };
        if dead.len() != u64::from(record.dead_rows) {
            return wrong("it has not as many deleted rows as MANIFEST says");
        }
        Ok(Read {
            collection: collection.id,
            name: record.name.clone(),
            segment,
            dead,
        })
    }

    /// Files in `segments/` that nobody names: a crash left them, and the next writer removes them.
    fn strangers(&mut self, layout: &Layout, segments: &[Read]) {
        let known: HashSet<PathBuf> = segments.iter().map(|s| layout.segment(&s.name)).collect();
        let Ok(entries) = fs::read_dir(layout.segments()) else {
            return;
        };
        for path in entries.flatten().map(|e| e.path()) {
            let is_ours = known.contains(&path) || path.extension().is_some_and(|e| e == "del");
            if !is_ours && self.problems.is_empty() {
                self.remarks.push(format!(
                    "{} belongs to no collection; the next writer removes it",
                    path.display()
                ));
            }
        }
    }

    /// The catalog against the segments; it needs the lock.
    fn catalog(&mut self, path: &Path, segments: &[Read]) {
        let opened = match Opened::open(path) {
            Ok(opened) => opened,
            Err(Error::Locked { holder, .. }) => {
                self.remarks.push(format!(
                    "the catalog was not checked: another process writes ({holder})"
                ));
                return;
            }
            Err(error) => {
                self.problems.push(error.to_string());
                return;
            }
        };
        if !opened.unsealed.is_empty() {
            let calls = opened.unsealed.len();
            self.remarks.push(format!(
                "{calls} acknowledged calls are not yet sealed; the next writer seals them"
            ));
        }
        let collections: Vec<u32> = opened
            .store
            .manifest()
            .collections
            .iter()
            .map(|c| c.id)
            .collect();
        for collection in collections {
            if let Err(error) = self.places(&opened.store, collection, segments) {
                self.problems.push(error.to_string());
            }
        }
    }

    /// Each id of the map lies where it says, and each live document of the segments has its id in the map.
    fn places(&mut self, store: &Store, collection: u32, segments: &[Read]) -> Result<()> {
        let mut live: u64 = 0;
        for read in segments.iter().filter(|s| s.collection == collection) {
            let rows = |document| read.segment.rows_of(document).start;
            live += (0..read.segment.documents())
                .filter(|&d| !read.dead.contains(rows(d)))
                .count() as u64;
        }
        let mut placed: u64 = 0;
        for entry in store.places(collection) {
            let (id, place) = entry?;
            let found = segments
                .iter()
                .find(|s| s.name == place.segment)
                .is_some_and(|read| {
                    read.segment.find(&id) == Some(place.document)
                        && !read
                            .dead
                            .contains(read.segment.rows_of(place.document).start)
                });
            if found {
                placed += 1;
            } else {
                self.problems.push(
                    store
                        .inconsistent(format!("it places document {id:?} where it is not"))
                        .to_string(),
                );
            }
        }
        if placed != live {
            let what =
                format!("it places {placed} documents, and the segments hold {live} live ones");
            self.problems.push(store.inconsistent(what).to_string());
        }
        Ok(())
    }
}
