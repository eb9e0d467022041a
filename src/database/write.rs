//! Changing a collection: write-ahead first, then in memory, and from time to time into a segment.
//!
//! All writes of a process pass through one lock, [`Inner::writer`]. A change is durable before readers see it: the
//! write-ahead entry (or the commit) comes first, then the new [`Snapshot`] is published.

use std::sync::{Arc, MutexGuard};

use super::apart::apart;
use super::background::Work;
use super::inner::{Inner, State, Writer};
use super::merge::SMALL_ROWS;
use super::part::{Body, Content, Part, Snapshot};
use crate::document::{EmbeddedDocument, EmbeddedPassage};
use crate::error::{Error, Result};
use crate::segment::{self, BuildOptions, Residency, Segment, tombstones};
use crate::store::{Commit, EncoderRecord, Manifest, SegmentRecord, Store, WalEntry};

/// What is acknowledged is sealed into segments and tombstones when it is so many rows (deleted ids count too), or bytes.
pub(super) const SEAL_ROWS: u64 = 10_000;
const SEAL_BYTES: u64 = 64 << 20;
/// A call with more rows or bytes than this writes its segment at once and no write-ahead rows: the text would pass
/// through the catalog only to leave it again.
const WAL_ROWS: u64 = 1_000;
const WAL_BYTES: u64 = 4 << 20;
/// After so many failed seals a write needs one that succeeds: what is unsealed lies in memory.
const MAX_POSTPONED: u64 = 4;

/// Whose vectors are being stored: an encoder's, or (`None`) the user's own; and how many components they have.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub encoder: Option<&'a EncoderRecord>,
    pub dimension: usize,
}

/// How many documents of a call were new, and how many replaced one.
#[derive(Clone, Copy, Default)]
pub(super) struct Stored {
    pub added: u64,
    pub updated: u64,
}

impl Inner {
    pub(super) fn lock_writer(&self) -> Result<MutexGuard<'_, Option<Writer>>> {
        self.check_process()?;
        // A writer that panicked between disk and memory may have left them apart: refuse, as after a failed write.
        self.writer.lock().map_err(|_| {
            Error::catalog(
                &self.path,
                "an earlier write panicked; close the database and open it again",
            )
        })
    }

    /// The writer, or why there is none.
    pub(super) fn writer<'a>(&self, guard: &'a mut Option<Writer>) -> Result<&'a mut Writer> {
        guard.as_mut().ok_or_else(|| Error::ReadOnly {
            path: self.path.clone(),
        })
    }

    /// Adds or replaces documents, all or none; durable when it returns. `None`, and nothing done, if not all of `known` are
    /// there, equal in everything.
    pub(super) fn store(
        &self,
        state: &State,
        maker: Maker<'_>,
        known: &[impl Content],
        documents: Vec<Arc<EmbeddedDocument>>,
    ) -> Result<Option<Stored>> {
        if documents.is_empty() {
            // They were there a moment ago, and that is the moment of the call.
            return Ok(Some(Stored::default()));
        }
        let entry = WalEntry::Add {
            collection: state.id,
            documents,
        };
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        let snapshot = state.snapshot();
        if !known.iter().all(|document| snapshot.holds(document)) {
            return Ok(None);
        }
        if entry.rows() > WAL_ROWS || entry.bytes() > WAL_BYTES {
            return self
                .store_entry_sealed(writer, state, maker, entry)
                .map(Some);
        }
        self.make_room(writer)?;
        self.bind(writer, state, maker)?;
        let mut next = Snapshot::clone(&state.snapshot());
        // All that can fail comes before the row is durable: what is replayed later must not fail then.
        let stored = apply(&mut next, &entry).stored;
        writer.store.append(&entry)?;
        state.publish(next);
        self.background.wrote(self.settings.idle);
        self.seal_if_full(writer);
        Ok(Some(stored))
    }

    /// As `store`, straight into a segment.
    pub(super) fn store_sealed(
        &self,
        state: &State,
        maker: Maker<'_>,
        documents: Vec<EmbeddedDocument>,
    ) -> Result<Stored> {
        let documents = documents.into_iter().map(Arc::new).collect();
        let entry = WalEntry::Add {
            collection: state.id,
            documents,
        };
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        self.store_entry_sealed(writer, state, maker, entry)
    }

    /// The same under the writer's lock.
    pub(super) fn store_entry_sealed(
        &self,
        writer: &mut Writer,
        state: &State,
        maker: Maker<'_>,
        entry: WalEntry,
    ) -> Result<Stored> {
        let mut next = Snapshot::clone(&state.snapshot());
        maker.bind(&mut next)?;
        let stored = apply(&mut next, &entry).stored;
        drop(entry);
        self.seal(writer, Some((state, next)))?;
        Ok(stored)
    }

    /// Deletes documents; durable when it returns. Returns how many there were.
    pub(super) fn delete(&self, state: &State, ids: Vec<String>) -> Result<u64> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        self.delete_by(writer, state, ids)
    }

    /// The same under the writer's lock.
    pub(super) fn delete_by(
        &self,
        writer: &mut Writer,
        state: &State,
        ids: Vec<String>,
    ) -> Result<u64> {
        self.make_room(writer)?;
        let mut next = Snapshot::clone(&state.snapshot());
        let entry = WalEntry::Delete {
            collection: state.id,
            ids,
        };
        let ids = apply(&mut next, &entry).gone;
        let count = ids.len() as u64;
        if count == 0 {
            return Ok(0);
        }
        if count > WAL_ROWS {
            self.seal(writer, Some((state, next)))?;
            return Ok(count);
        }
        let entry = WalEntry::Delete {
            collection: state.id,
            ids,
        };
        writer.store.append(&entry)?;
        state.publish(next);
        self.background.wrote(self.settings.idle);
        self.seal_if_full(writer);
        Ok(count)
    }

    /// Fixes the collection's dimension and encoder with its first vectors, durably; refuses other ones afterwards.
    fn bind(&self, writer: &mut Writer, state: &State, maker: Maker<'_>) -> Result<()> {
        let mut next = Snapshot::clone(&state.snapshot());
        if !maker.bind(&mut next)? {
            return Ok(());
        }
        let mut manifest = writer.store.manifest().clone();
        put_record(&mut manifest, &next);
        writer.store.commit(Commit::of(manifest))?;
        state.publish(next);
        Ok(())
    }

    /// Seals when enough is unsealed. The call that brought it about is acknowledged already, so a failure is not its
    /// error: the rows stay in the write-ahead rows, and the seal is tried again when as many more have come, at `flush`,
    /// and at close.
    fn seal_if_full(&self, writer: &mut Writer) {
        let unsealed = writer.store.unsealed();
        let postponed = writer.postponed + 1;
        if unsealed.rows >= SEAL_ROWS * postponed || unsealed.bytes >= SEAL_BYTES * postponed {
            match self.seal(writer, None) {
                Ok(()) => writer.postponed = 0,
                Err(_) => writer.postponed += 1,
            }
        }
    }

    fn make_room(&self, writer: &mut Writer) -> Result<()> {
        if writer.postponed >= MAX_POSTPONED {
            self.seal(writer, None)?;
            writer.postponed = 0;
        }
        Ok(())
    }

    /// Applies acknowledged calls that a crash left unsealed.
    pub(super) fn replay(&self, writer: &mut Writer, entries: Vec<WalEntry>) -> Result<()> {
        for entry in entries {
            let (WalEntry::Add { collection, .. } | WalEntry::Delete { collection, .. }) = &entry;
            let state = self.state_by_id(*collection);
            let state = state.ok_or_else(|| {
                writer
                    .store
                    .inconsistent("a write-ahead row names a collection that is not there")
            })?;
            let mut next = Snapshot::clone(&state.snapshot());
            if let WalEntry::Add { documents, .. } = &entry {
                let dimension = next.record.dimension;
                let fits = |p: &EmbeddedPassage| Some(p.vector.dimension()) == dimension;
                if !documents.iter().flat_map(|d| &d.passages).all(fits) {
                    return Err(writer.store.inconsistent(
                        "a write-ahead row's vector has another dimension than its collection",
                    ));
                }
            }
            apply(&mut next, &entry);
            state.publish(next);
        }
        self.seal_if_full(writer);
        Ok(())
    }

    /// Puts everything in memory into segments and tombstone files, in one commit. `changed` is a collection's state that
    /// is not published yet: it becomes durable and visible by this commit.
    pub(super) fn seal(
        &self,
        writer: &mut Writer,
        changed: Option<(&State, Snapshot)>,
    ) -> Result<()> {
        let sealed = self.try_seal(writer, changed);
        if sealed.is_err() {
            writer.store.discard_written();
        }
        sealed
    }

    fn try_seal(&self, writer: &mut Writer, changed: Option<(&State, Snapshot)>) -> Result<()> {
        let mut manifest = writer.store.manifest().clone();
        let mut published = Vec::new();
        let states = self.states();
        for state in &states {
            let mut snapshot = match &changed {
                Some((other, snapshot)) if other.id == state.id => snapshot.clone(),
                _ => Snapshot::clone(&state.snapshot()),
            };
            let residency = self.settings.residency;
            if seal_collection(&mut writer.store, &mut manifest, &mut snapshot, residency)? {
                published.push((state, snapshot));
            }
        }
        if published.is_empty() && writer.store.unsealed().rows == 0 {
            return Ok(());
        }
        writer.store.commit(Commit {
            manifest,
            trim_wal: true,
        })?;
        for (state, snapshot) in published {
            state.publish(snapshot);
        }
        self.background.sealed();
        if self.settings.merging.background {
            for (most_rows, work) in [(SMALL_ROWS, Work::SmallMerge), (u64::MAX, Work::Merge)] {
                if self.is_merge_due(most_rows) {
                    self.background.is_due(work);
                }
            }
        }
        Ok(())
    }
}

impl Maker<'_> {
    /// Puts encoder and dimension into a collection that has none yet; `true` if it had none.
    fn bind(self, snapshot: &mut Snapshot) -> Result<bool> {
        let record = &mut snapshot.record;
        super::fits(record, self.encoder, self.dimension)?;
        let is_new = record.dimension.is_none();
        record.dimension = Some(self.dimension);
        // Under another name it is the same: which of them answers queries is not for a write to change.
        if record.encoder.is_none() {
            record.encoder = self.encoder.cloned();
        }
        Ok(is_new)
    }
}

pub(super) fn put_record(manifest: &mut Manifest, snapshot: &Snapshot) {
    for record in manifest
        .collections
        .iter_mut()
        .filter(|r| r.id == snapshot.record.id)
    {
        record.clone_from(&snapshot.record);
    }
}

/// Writes the files of one collection and puts them into its snapshot and into the manifest. Nothing is current before
/// the commit. `false` if there was nothing to write.
fn seal_collection(
    store: &mut Store,
    manifest: &mut Manifest,
    snapshot: &mut Snapshot,
    residency: Residency,
) -> Result<bool> {
    let sealed = snapshot.sealed_parts();
    let memory = snapshot.parts.split_off(sealed);
    // A segment without a live document is no longer named: its space returns.
    snapshot.parts.retain(|part| part.live_documents() > 0);
    let mut dirty = !memory.is_empty() || snapshot.parts.len() < sealed;
    for part in &mut snapshot.parts {
        dirty |= write_tombstones(store, part)?;
    }
    if !dirty {
        return Ok(false);
    }
    let documents: Vec<_> = memory.iter().flat_map(Part::live_memory).collect();
    if !documents.is_empty() {
        let spec = snapshot
            .spec()
            .expect("a collection with documents has a dimension");
        let options = BuildOptions::default();
        let rows: usize = documents.iter().map(|d| d.passages.len()).sum();
        let folder = store.layout().segments();
        let mut write =
            || store.write_segment(|out| segment::build(&spec, &documents, &options, out));
        let (name, bytes) = if rows < options.graph_from_rows {
            write()?
        } else {
            // On many threads, and under the writer's lock.
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            apart(threads, &folder, write)?
        };
        let segment = Segment::open(&store.segment_path(&name))?.reside(residency);
        let record = SegmentRecord {
            rows: segment.rows(),
            documents: segment.documents(),
            name,
            bytes,
            tombstones: 0,
            dead_rows: 0,
            dead_documents: 0,
        };
        snapshot
            .parts
            .push(Part::sealed(Arc::new(segment), record, Default::default()));
    }
    snapshot.record.segments = snapshot.records();
    put_record(manifest, snapshot);
    Ok(true)
}

/// Writes the next generation of a part's tombstones, if it has new ones.
fn write_tombstones(store: &mut Store, part: &mut Part) -> Result<bool> {
    if !part.has_new_dead() {
        return Ok(false);
    }
    let Body::Sealed {
        record,
        segment,
        buried,
    } = &mut part.body
    else {
        return Ok(false);
    };
    let generation = record.next_tombstones();
    store.write_tombstones(&record.name, generation, |out| {
        tombstones::write(&part.dead, segment.rows(), out)
    })?;
    record.tombstones = generation;
    record.dead_rows = u32::try_from(part.dead.len()).unwrap_or(u32::MAX);
    record.dead_documents = part.dead_documents;
    *buried = Arc::clone(&part.dead);
    Ok(true)
}

/// What a call did.
#[derive(Default)]
struct Applied {
    stored: Stored,
    /// Ids that were there and are not any more.
    gone: Vec<String>,
}

/// Applies a call to a snapshot's memory: old versions are buried, new ones added.
fn apply(snapshot: &mut Snapshot, entry: &WalEntry) -> Applied {
    let mut applied = Applied::default();
    snapshot.changes += 1;
    match entry {
        WalEntry::Add { documents, .. } => {
            for document in documents {
                match snapshot.find(&document.id) {
                    Some((part, old)) => {
                        snapshot.parts[part].bury(old);
                        applied.stored.updated += 1;
                    }
                    None => applied.stored.added += 1,
                }
            }
            let spec = snapshot
                .spec()
                .expect("a collection is bound before documents come");
            snapshot.push(&spec, documents.clone());
        }
        WalEntry::Delete { ids, .. } => {
            for id in ids {
                if let Some((part, document)) = snapshot.find(id) {
                    snapshot.parts[part].bury(document);
                    applied.gone.push(id.clone());
                }
            }
        }
    }
    applied
}
