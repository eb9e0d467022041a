//! Changing a collection: write-ahead first, then in memory, and from time to time into a segment.
//!
//! All writes of a process pass through one lock, [`Inner::writer`]. A change is durable before readers see it: the
//! write-ahead entry (or the commit) comes first, then the new [`Snapshot`] is published.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard};

use super::inner::{Inner, State, Writer};
use super::part::{Body, Part, Snapshot};
use crate::document::EmbeddedDocument;
use crate::error::{Error, Result};
use crate::segment::{self, BuildOptions, Segment, tombstones};
use crate::store::{Commit, EncoderRecord, Manifest, Place, SegmentRecord, Store, WalEntry};

/// Acknowledged rows are sealed into a segment when there are so many.
pub(super) const SEAL_ROWS: u64 = 10_000;
/// Deletions are told in tombstone files when there are so many.
const SEAL_DELETIONS: usize = 10_000;
/// A call with more rows or bytes than this writes its segment at once and no write-ahead rows: the text would pass
/// through the catalog only to leave it again.
const WAL_ROWS: usize = 1_000;
const WAL_BYTES: usize = 4 << 20;

/// How many documents of a call were new, and how many replaced one.
#[derive(Clone, Copy, Default)]
pub(super) struct Stored {
    pub added: u64,
    pub updated: u64,
}

impl Inner {
    pub(super) fn lock_writer(&self) -> Result<MutexGuard<'_, Option<Writer>>> {
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

    /// Fixes the collection's dimension and encoder with its first vectors; refuses other ones afterwards.
    pub(super) fn bind(
        &self,
        state: &State,
        encoder: Option<&EncoderRecord>,
        dimension: usize,
    ) -> Result<()> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        let snapshot = state.snapshot();
        if snapshot.record.dimension.is_some() {
            return super::fits(&snapshot.record, encoder, dimension);
        }
        let mut next = Snapshot::clone(&snapshot);
        next.record.dimension = Some(dimension);
        next.record.encoder = encoder.cloned();
        let mut manifest = writer.store.manifest().clone();
        for record in manifest.collections.iter_mut().filter(|r| r.id == state.id) {
            record.clone_from(&next.record);
        }
        writer.store.commit(Commit {
            manifest,
            placed: Vec::new(),
            removed: Vec::new(),
            trim_wal: false,
        })?;
        state.publish(next);
        Ok(())
    }

    /// Adds or replaces documents, all or none; durable when it returns.
    pub(super) fn store(&self, state: &State, documents: Vec<EmbeddedDocument>) -> Result<Stored> {
        if documents.is_empty() {
            return Ok(Stored::default());
        }
        let rows: usize = documents.iter().map(|d| d.passages.len()).sum();
        let bytes: usize = documents.iter().map(|d| d.text.len()).sum();
        if rows > WAL_ROWS || bytes > WAL_BYTES {
            return self.store_sealed(state, documents);
        }
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        let entry = WalEntry::Add {
            collection: state.id,
            documents,
        };
        writer.store.append(&entry)?;
        let WalEntry::Add { documents, .. } = entry else {
            unreachable!("it was made two lines above")
        };
        let mut next = Snapshot::clone(&state.snapshot());
        let stored = add(
            &mut next,
            &writer.store,
            documents.into_iter().map(Arc::new).collect(),
        )?;
        let full = next.unsealed_rows() >= SEAL_ROWS;
        state.publish(next);
        if full {
            self.seal(writer, None)?;
        }
        Ok(stored)
    }

    /// As `store`, straight into a segment.
    pub(super) fn store_sealed(
        &self,
        state: &State,
        documents: Vec<EmbeddedDocument>,
    ) -> Result<Stored> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        let mut next = Snapshot::clone(&state.snapshot());
        let stored = add(
            &mut next,
            &writer.store,
            documents.into_iter().map(Arc::new).collect(),
        )?;
        self.seal(writer, Some((state, next)))?;
        Ok(stored)
    }

    /// Deletes documents; durable when it returns. Returns how many there were.
    pub(super) fn delete(&self, state: &State, ids: Vec<String>) -> Result<u64> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        let mut next = Snapshot::clone(&state.snapshot());
        let gone = remove(&mut next, writer, &ids)?;
        if gone.is_empty() {
            return Ok(0);
        }
        let count = gone.len() as u64;
        writer.store.append(&WalEntry::Delete {
            collection: state.id,
            ids: gone.clone(),
        })?;
        writer.deleted.entry(state.id).or_default().extend(gone);
        state.publish(next);
        if writer.deleted.values().map(HashSet::len).sum::<usize>() >= SEAL_DELETIONS {
            self.seal(writer, None)?;
        }
        Ok(count)
    }

    /// Applies acknowledged calls that a crash left unsealed.
    pub(super) fn replay(&self, writer: &mut Writer, entries: Vec<WalEntry>) -> Result<()> {
        let damaged = |what: &str| Error::catalog(&self.path.join("meta"), what);
        for entry in entries {
            let (WalEntry::Add { collection, .. } | WalEntry::Delete { collection, .. }) = &entry;
            let state = self.state_by_id(*collection);
            let state = state
                .ok_or_else(|| damaged("a write-ahead row names a collection that is not there"))?;
            let mut next = Snapshot::clone(&state.snapshot());
            match entry {
                WalEntry::Add { documents, .. } => {
                    let spec = next.spec().ok_or_else(|| {
                        damaged("write-ahead rows precede their collection's dimension")
                    })?;
                    let fits = |d: &EmbeddedDocument| {
                        d.passages
                            .iter()
                            .all(|p| p.vector.dimension() == spec.dimension)
                    };
                    if !documents.iter().all(fits) {
                        return Err(damaged(
                            "a write-ahead row's vector has another dimension than its collection",
                        ));
                    }
                    add(
                        &mut next,
                        &writer.store,
                        documents.into_iter().map(Arc::new).collect(),
                    )?;
                }
                WalEntry::Delete { ids, collection } => {
                    remove(&mut next, writer, &ids)?;
                    writer.deleted.entry(collection).or_default().extend(ids);
                }
            }
            state.publish(next);
        }
        Ok(())
    }

    /// Puts everything in memory into segments and tombstone files, in one commit. `changed` is a collection's state that
    /// is not published yet: its documents become durable and visible by this commit.
    pub(super) fn seal(
        &self,
        writer: &mut Writer,
        changed: Option<(&State, Snapshot)>,
    ) -> Result<()> {
        let mut manifest = writer.store.manifest().clone();
        let mut placed = Vec::new();
        let mut published = Vec::new();
        let states = self.states();
        for state in &states {
            let mut snapshot = match &changed {
                Some((other, snapshot)) if other.id == state.id => snapshot.clone(),
                _ => Snapshot::clone(&state.snapshot()),
            };
            if seal_collection(&mut writer.store, &mut manifest, &mut snapshot, &mut placed)? {
                published.push((state, snapshot));
            }
        }
        if published.is_empty() && writer.deleted.is_empty() {
            return Ok(());
        }
        let removed = writer
            .deleted
            .iter()
            .flat_map(|(&c, ids)| ids.iter().map(move |id| (c, id.clone())))
            .collect();
        writer.store.commit(Commit {
            manifest,
            placed,
            removed,
            trim_wal: true,
        })?;
        writer.deleted = HashMap::new();
        for (state, snapshot) in published {
            state.publish(snapshot);
        }
        Ok(())
    }
}

/// Writes the files of one collection and puts them into its snapshot and into the manifest. Nothing is current before
/// the commit. `false` if there was nothing to write.
fn seal_collection(
    store: &mut Store,
    manifest: &mut Manifest,
    snapshot: &mut Snapshot,
    placed: &mut Vec<(u32, String, Place)>,
) -> Result<bool> {
    let sealed = snapshot.sealed_parts();
    let memory = snapshot.parts.split_off(sealed);
    let mut dirty = !memory.is_empty();
    for part in &mut snapshot.parts {
        dirty |= write_tombstones(store, part)?;
    }
    if !dirty {
        return Ok(false);
    }
    // A segment without a live document is no longer named: its space returns.
    snapshot.parts.retain(|part| part.live_documents() > 0);
    let documents: Vec<_> = memory.iter().flat_map(Part::live_memory).collect();
    if !documents.is_empty() {
        let spec = snapshot
            .spec()
            .expect("a collection with documents has a dimension");
        let options = BuildOptions::default();
        let (name, bytes) =
            store.write_segment(|out| segment::build(&spec, &documents, &options, out))?;
        let segment = Segment::open(&store.segment_path(&name))?;
        let ids = documents.iter().zip(0..);
        placed.extend(ids.map(|(document, at)| {
            (
                snapshot.record.id,
                document.id.clone(),
                Place {
                    segment: name.clone(),
                    document: at,
                },
            )
        }));
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
            .push(Part::sealed(segment, record, Default::default()));
    }
    let records = snapshot.parts.iter().filter_map(|part| match &part.body {
        Body::Sealed { record, .. } => Some(record.clone()),
        Body::Memory(_) => None,
    });
    snapshot.record.segments = records.collect();
    for record in manifest
        .collections
        .iter_mut()
        .filter(|r| r.id == snapshot.record.id)
    {
        record.clone_from(&snapshot.record);
    }
    Ok(true)
}

/// Writes the next generation of a part's tombstones, if it has new ones.
fn write_tombstones(store: &mut Store, part: &mut Part) -> Result<bool> {
    if !part.has_new_dead() {
        return Ok(false);
    }
    let Body::Sealed { record, segment } = &mut part.body else {
        return Ok(false);
    };
    let generation = record.tombstones + 1;
    store.write_tombstones(&record.name, generation, |out| {
        tombstones::write(&part.dead, segment.rows(), out)
    })?;
    record.tombstones = generation;
    record.dead_rows = u32::try_from(part.dead.len()).unwrap_or(u32::MAX);
    record.dead_documents = part.dead_documents;
    Ok(true)
}

/// Puts documents into a snapshot's memory; those of the same id are buried.
fn add(
    snapshot: &mut Snapshot,
    store: &Store,
    documents: Vec<Arc<EmbeddedDocument>>,
) -> Result<Stored> {
    let spec = snapshot.spec().expect("`bind` came first");
    let mut stored = Stored::default();
    for document in &documents {
        match locate(snapshot, store, &document.id)? {
            Some((part, old)) => {
                snapshot.parts[part].bury(old);
                stored.updated += 1;
            }
            None => stored.added += 1,
        }
    }
    snapshot.push(&spec, documents);
    Ok(stored)
}

/// Buries documents; returns the ids that were there.
fn remove(snapshot: &mut Snapshot, writer: &Writer, ids: &[String]) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for id in ids {
        if let Some((part, document)) = locate(snapshot, &writer.store, id)? {
            snapshot.parts[part].bury(document);
            gone.push(id.clone());
        }
    }
    Ok(gone)
}

/// Where a live document lies. Documents in memory are asked first, then the catalog's id map, which tells the sealed
/// ones in one look-up however many segments there are.
fn locate(snapshot: &Snapshot, store: &Store, id: &str) -> Result<Option<(usize, u32)>> {
    let sealed = snapshot.sealed_parts();
    for (at, part) in snapshot.parts.iter().enumerate().skip(sealed) {
        if let Some(document) = part.find(id) {
            return Ok(Some((at, document)));
        }
    }
    let Some(place) = store.place(snapshot.record.id, id)? else {
        return Ok(None);
    };
    let named = |part: &Part| matches!(&part.body, Body::Sealed { record, .. } if record.name == place.segment);
    let at = snapshot.parts[..sealed].iter().position(named);
    let at = at.filter(|&at| place.document < snapshot.parts[at].documents());
    let at = at.ok_or_else(|| {
        store.inconsistent(format!("it places document {id:?} where no segment has it"))
    })?;
    Ok((!snapshot.parts[at].is_dead(place.document)).then_some((at, place.document)))
}
