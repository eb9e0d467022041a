//! What is damaged is put aside, and what can be read of it is kept.
//!
//!   FORMAT, MANIFEST, catalog → store → agreed
//!   damaged segment → `aside/` → its readable documents → a new segment ┐
//!   lost tombstones → those that can be told again                      ┴→ one commit
//!
//! A damaged segment is moved first and read where it lies then, so that nothing sweeps it; the commit comes last. After a
//! kill in between, MANIFEST names what is not in `segments/`: no open takes that for sound, and the next repair finds it in
//! `aside/` and goes on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_128;

use super::check::{self, Report};
use super::inner::{self, open_segment_at};
use super::part::Snapshot;
use super::versions;
use super::{CheckOptions, Database};
use crate::error::Result;
use crate::segment::{self, BuildOptions, Merge, Segment, tombstones};
use crate::store::{
    CollectionRecord, Commit, Disk, Layout, NewSegment, Opened, SegmentRecord, Store, WalEntry,
};

/// What [`Database::repair`] did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// What was made anew or put aside, a sentence each. None: nothing was damaged.
    pub done: Vec<String>,
    /// What is gone and no document by name, a sentence each.
    pub lost: Vec<String>,
    /// Documents that are not as they were.
    pub affected: Vec<Affected>,
    /// What a check finds now.
    pub report: Report,
}

/// Documents of one segment that a repair could not keep as they were.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Affected {
    /// Name of the collection, and of which version of it if not of the current one: `notes, version before`.
    pub collection: String,
    /// The segment's file.
    pub segment: PathBuf,
    /// What happened to the documents.
    pub effect: Effect,
    /// Their ids, where these could be read.
    pub ids: Vec<String>,
    /// So many more, whose ids could not.
    pub unnamed: u64,
}

/// What happened to documents in a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// They are gone from the collection.
    Lost,
    /// The record of deletions is gone: some of these had been deleted, and are there again.
    Undeleted,
}

impl Database {
    /// Repairs what [`check`](Self::check) finds, under the writer's lock. Whatever is damaged is put into the folder
    /// `aside` of the database, and nothing is deleted; MANIFEST and catalog are made anew from each other, segments from
    /// what can be read of them. What is lost by it is told: it should be added again.
    ///
    /// ```
    /// # use vecdb::Database;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("notes.vecdb");
    /// # Database::open(&path)?.collection("notes")?;
    /// std::fs::write(path.join("MANIFEST"), "no longer what it was")?;
    /// assert!(Database::open(&path).is_err());
    /// let repaired = Database::repair(&path)?;
    /// assert!(repaired.affected.is_empty() && repaired.report.problems.is_empty());
    /// assert_eq!(Database::open(&path)?.collections().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Locked`](crate::Error::Locked); [`Error::Damaged`](crate::Error::Damaged) where neither MANIFEST nor catalog tell what is current; [`Error::NotFound`](crate::Error::NotFound),
    /// [`Error::NotADatabase`](crate::Error::NotADatabase), [`Error::NewerFormat`](crate::Error::NewerFormat), [`Error::NeedsMigration`](crate::Error::NeedsMigration); [`Error::Io`](crate::Error::Io). A repair that failed or was
    /// killed can be made again.
    pub fn repair(path: impl AsRef<Path>) -> Result<Repaired> {
        CheckOptions::default().repair(path)
    }
}

pub(super) fn repair(path: &Path, deep: bool, disk: &Disk) -> Result<Repaired> {
    let (
        Opened {
            mut store,
            unsealed,
        },
        mended,
    ) = Opened::mend(path, disk)?;
    let mut repaired = Repaired {
        done: mended.done,
        lost: mended.lost,
        ..Repaired::default()
    };
    let written = segments(&mut store, &unsealed, deep, &mut repaired);
    if written.is_err() {
        store.discard_written();
    }
    written?;
    store.mark_closed();
    drop(store);
    repaired.report = check::check(path, deep)?;
    Ok(repaired)
}

fn segments(
    store: &mut Store,
    unsealed: &[WalEntry],
    deep: bool,
    repaired: &mut Repaired,
) -> Result<()> {
    let mut manifest = store.manifest().clone();
    let mut new = Vec::new();
    for collection in &mut manifest.collections {
        let mut repair = Repair {
            touched: touched(unsealed, collection.id),
            live: HashSet::new(),
            collection: CollectionRecord {
                segments: Vec::new(),
                ..collection.clone()
            },
            deep,
            repaired,
        };
        let layout = store.layout().clone();
        let mut found: Vec<Found> = collection
            .segments
            .drain(..)
            .map(|record| repair.look(&layout, record))
            .collect();
        // Those whose deletions are known first, since they tell which of the others' documents live; the youngest first.
        found.sort_by(|a, b| {
            let order = |found: &Found| {
                (
                    found.dead.is_none(),
                    std::cmp::Reverse(found.record.name.clone()),
                )
            };
            order(a).cmp(&order(b))
        });
        for found in found {
            let kept = repair.keep(store, &layout, found, &mut new)?;
            collection.segments.extend(kept);
        }
        collection.segments.sort_by(|a, b| a.name.cmp(&b.name));
    }
    if manifest.collections != store.manifest().collections {
        new.into_iter().for_each(NewSegment::hand_over);
        store.commit(Commit::of(manifest))?;
    }
    Ok(())
}

/// Hashes of the ids that acknowledged calls name which are in no segment yet: whatever segments hold of them is replaced.
fn touched(unsealed: &[WalEntry], collection: u32) -> HashSet<u128> {
    let of = |entry: &WalEntry| -> Vec<u128> {
        match entry {
            WalEntry::Add {
                collection: c,
                documents,
            } if *c == collection => documents.iter().map(|d| hash(&d.id)).collect(),
            WalEntry::Delete { collection: c, ids } if *c == collection => {
                ids.iter().map(|id| hash(id)).collect()
            }
            _ => Vec::new(),
        }
    };
    unsealed.iter().flat_map(of).collect()
}

fn hash(id: &str) -> u128 {
    xxh3_128(id.as_bytes())
}

/// A segment as it was found.
struct Found {
    record: SegmentRecord,
    /// Where it lies; `None`: nowhere.
    path: Option<PathBuf>,
    /// `None`: it does not open.
    segment: Option<Segment>,
    /// Nothing is wrong with it.
    is_whole: bool,
    /// `None`: what its tombstones told is lost.
    dead: Option<RoaringBitmap>,
}

/// The repair of one collection.
struct Repair<'a> {
    /// Without its segments.
    collection: CollectionRecord,
    touched: HashSet<u128>,
    /// Hashes of the ids that live in the segments dealt with.
    live: HashSet<u128>,
    deep: bool,
    repaired: &'a mut Repaired,
}

impl Repair<'_> {
    fn look(&self, layout: &Layout, record: SegmentRecord) -> Found {
        let place = layout.segment(&record.name);
        let aside = |path: &Path| path.file_name().map(|name| layout.aside().join(name));
        let path = [Some(place.clone()), aside(&place)]
            .into_iter()
            .flatten()
            .find(|path| path.exists());
        let segment = path
            .as_ref()
            .and_then(|path| open_segment_at(path, &self.collection, &record).ok());
        let is_whole = path.as_ref() == Some(&place)
            && segment.as_ref().is_some_and(|segment| {
                let agrees = || check::disagreements(segment, &self.collection).is_empty();
                segment.verify().is_ok() && (!self.deep || agrees())
            });
        let dead = match record.tombstones {
            0 => Some(RoaringBitmap::new()),
            generation => {
                let place = layout.tombstones(&record.name, generation);
                [Some(place.clone()), aside(&place)]
                    .into_iter()
                    .flatten()
                    .find_map(|path| tombstones::read(&path, record.rows).ok())
            }
        };
        let dead = dead.filter(|dead| dead.len() == u64::from(record.dead_rows));
        Found {
            record,
            path,
            segment,
            is_whole,
            dead,
        }
    }

    /// Keeps of a segment what can be kept; its record, if anything can.
    fn keep(
        &mut self,
        store: &mut Store,
        layout: &Layout,
        found: Found,
        new: &mut Vec<NewSegment>,
    ) -> Result<Option<SegmentRecord>> {
        let Found {
            record,
            path,
            segment,
            is_whole,
            dead: known,
        } = found;
        let Some(segment) = segment else {
            self.lose(store, layout, &record, path, known)?;
            return Ok(None);
        };
        let segment = Arc::new(segment);
        let dead = self.bury(layout, &record, &segment, known.as_ref());
        let dead_documents = inner::count_dead(&segment, &dead);
        if is_whole && known.as_ref() == Some(&dead) && dead_documents == record.dead_documents {
            self.note_live(&segment, &dead);
            return Ok(Some(record));
        }
        if is_whole {
            self.note_live(&segment, &dead);
            let mut record = record;
            put_tombstones_aside(store, layout, &record)?;
            let generation = record.next_tombstones();
            let rows = segment.rows();
            store.write_tombstones(&record.name, generation, |out| {
                tombstones::write(&dead, rows, out)
            })?;
            record.tombstones = generation;
            record.dead_rows = u32::try_from(dead.len()).unwrap_or(u32::MAX);
            record.dead_documents = dead_documents;
            let name = layout.segment(&record.name);
            self.repaired.done.push(format!(
                "the tombstones of {} were written anew",
                name.display()
            ));
            return Ok(Some(record));
        }
        self.rewrite(store, layout, &record, &segment, dead, new)
    }

    /// The rows that are dead: those that are known to be, or else of documents that live in another segment. No id lives
    /// twice, so these were replaced.
    fn bury(
        &mut self,
        layout: &Layout,
        record: &SegmentRecord,
        segment: &Segment,
        known: Option<&RoaringBitmap>,
    ) -> RoaringBitmap {
        let mut dead = known.cloned().unwrap_or_default();
        for document in 0..segment.documents() {
            let rows = segment.rows_of(document);
            if !dead.contains(rows.start)
                && self.live.contains(&hash(segment.document_id(document)))
            {
                dead.insert_range(rows);
            }
        }
        let told = inner::count_dead(segment, &dead);
        if known.is_none() && told < record.dead_documents {
            let alive = (0..segment.documents())
                .filter(|&document| !dead.contains(segment.rows_of(document).start))
                .map(|document| segment.document_id(document));
            let ids = self.untouched(alive);
            self.affected(layout, record, Effect::Undeleted, ids, 0);
        }
        dead
    }

    /// Writes what can be read of a damaged segment into a new one.
    fn rewrite(
        &mut self,
        store: &mut Store,
        layout: &Layout,
        record: &SegmentRecord,
        segment: &Arc<Segment>,
        mut dead: RoaringBitmap,
        new: &mut Vec<NewSegment>,
    ) -> Result<Option<SegmentRecord>> {
        let mut lost = Vec::new();
        for document in 0..segment.documents() {
            let rows = segment.rows_of(document);
            if !dead.contains(rows.start)
                && check::is_whole(segment, document, &self.collection, self.deep).is_err()
            {
                lost.push(segment.document_id(document));
                dead.insert_range(rows);
            }
        }
        let ids = self.untouched(lost.into_iter());
        self.affected(layout, record, Effect::Lost, ids, 0);
        self.put_aside(store, layout, record)?;
        self.note_live(segment, &dead);
        let spec = Snapshot::spec_of(&self.collection);
        let merge = Merge::new(vec![(Arc::clone(segment), Arc::new(dead))])?.salvaging();
        let Some(spec) = spec.filter(|_| merge.rows() > 0) else {
            return Ok(None);
        };
        let file = store.new_segment()?;
        let options = BuildOptions {
            scratch: Some(file.scratch()),
            ..BuildOptions::for_merging()
        };
        let bytes = file.write(|out| merge.write(&spec, &options, &|| false, out))?;
        let written = Segment::open(file.path())?;
        let record = SegmentRecord {
            name: file.name().to_owned(),
            rows: written.rows(),
            documents: written.documents(),
            bytes,
            tombstones: 0,
            dead_rows: 0,
            dead_documents: 0,
        };
        self.repaired.done.push(format!(
            "{} of its documents were written into {}",
            record.documents,
            file.path().display()
        ));
        new.push(file);
        Ok(Some(record))
    }

    /// Tells which documents are lost with a segment that does not open, and puts it aside.
    fn lose(
        &mut self,
        store: &Store,
        layout: &Layout,
        record: &SegmentRecord,
        path: Option<PathBuf>,
        dead: Option<RoaringBitmap>,
    ) -> Result<()> {
        let named = path.and_then(|path| segment::named_documents(&path).ok());
        let named = named.unwrap_or_default();
        let dead = dead.unwrap_or_default();
        let of_dead = named
            .iter()
            .filter(|document| dead.contains(document.first_row));
        let dead_named = of_dead.count() as u64;
        let unnamed = u64::from(record.documents)
            .saturating_sub(named.len() as u64)
            .saturating_sub(u64::from(record.dead_documents).saturating_sub(dead_named));
        let alive = named
            .iter()
            .filter(|document| !dead.contains(document.first_row))
            .map(|document| &*document.id)
            .filter(|id| !self.live.contains(&hash(id)));
        let ids = self.untouched(alive);
        self.affected(layout, record, Effect::Lost, ids, unnamed);
        self.put_aside(store, layout, record)
    }

    /// Without those that acknowledged calls replace or delete anyway.
    fn untouched<'a>(&self, ids: impl Iterator<Item = &'a str>) -> Vec<String> {
        ids.filter(|id| !self.touched.contains(&hash(id)))
            .map(str::to_owned)
            .collect()
    }

    fn note_live(&mut self, segment: &Segment, dead: &RoaringBitmap) {
        let alive = (0..segment.documents())
            .filter(|&document| !dead.contains(segment.rows_of(document).start));
        self.live
            .extend(alive.map(|document| hash(segment.document_id(document))));
    }

    fn affected(
        &mut self,
        layout: &Layout,
        record: &SegmentRecord,
        effect: Effect,
        ids: Vec<String>,
        unnamed: u64,
    ) {
        if !ids.is_empty() || unnamed > 0 {
            self.repaired.affected.push(Affected {
                collection: versions::shown(&self.collection.name),
                segment: layout.segment(&record.name),
                effect,
                ids,
                unnamed,
            });
        }
    }

    fn put_aside(&mut self, store: &Store, layout: &Layout, record: &SegmentRecord) -> Result<()> {
        let path = layout.segment(&record.name);
        let done = if path.exists() {
            let aside = store.set_aside(&path)?;
            format!(
                "{} was damaged, and is now {}",
                path.display(),
                aside.display()
            )
        } else {
            format!("{} was missing, and is no longer named", path.display())
        };
        self.repaired.done.push(done);
        put_tombstones_aside(store, layout, record)
    }
}

fn put_tombstones_aside(store: &Store, layout: &Layout, record: &SegmentRecord) -> Result<()> {
    let path = layout.tombstones(&record.name, record.tombstones);
    if record.tombstones > 0 && path.exists() {
        store.set_aside(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
