//! What a reader sees, made new.
//!
//! Segments never change, and their names are never used again: those that are open already are kept, with their maps, what
//! was verified of them and what was copied into memory. So a refresh opens what was sealed or merged since, and reads again
//! which rows are deleted where that changed. All is opened before anything of it is shown: when that fails, the reader sees
//! what it saw. Why a reader may do this beside a writer is told in `store/current.rs`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::inner::{Inner, State, open_part, part_of};
use super::part::{Body, Part, Snapshot};
use crate::error::Result;
use crate::store::{CollectionRecord, Current, SegmentRecord};

/// Parts that are open, by the names of their segments.
struct Open(HashMap<String, Part>);

impl Inner {
    /// Shows what was sealed since it was opened, or since the last call. `false` if that is nothing, as ever for a writer,
    /// who sees his own changes at once.
    pub(super) fn refresh(&self) -> Result<bool> {
        let Some(current) = &self.current else {
            return Ok(false);
        };
        // One that panicked has replaced it whole, or not at all.
        let mut current = current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut newer) = current.newer()? else {
            return Ok(false);
        };
        let open = Open::of(&self.states());
        let snapshots = loop {
            let opened = self.snapshots(&newer, &open);
            let Err(error) = opened else { break opened? };
            // A writer may have removed what was current: then something else is.
            newer = newer.newer()?.ok_or(error)?;
        };
        self.show(snapshots);
        *current = newer;
        Ok(true)
    }

    /// Where a reader reads, wherever the process stands by now.
    pub(super) fn root_read(&self) -> Option<PathBuf> {
        let current = self.current.as_ref()?;
        let current = current.lock().unwrap_or_else(PoisonError::into_inner);
        Some(current.layout.root().to_path_buf())
    }

    fn snapshots(&self, current: &Current, open: &Open) -> Result<Vec<Snapshot>> {
        let snapshot = |record: &CollectionRecord| {
            let parts = record.segments.iter().map(|segment| {
                let part = open.part(current, record, segment);
                part.unwrap_or_else(|| {
                    open_part(&current.layout, record, segment, self.settings.residency)
                })
            });
            let parts = parts.collect::<Result<_>>()?;
            Ok(Snapshot::new(record.clone(), parts))
        };
        current.manifest.collections.iter().map(snapshot).collect()
    }

    fn show(&self, snapshots: Vec<Snapshot>) {
        let mut collections = self
            .collections
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let names: HashSet<String> = snapshots.iter().map(|s| s.record.name.clone()).collect();
        // Another database may lie there now. Who still holds a collection of the old one sees that nothing is left of it.
        collections.retain(|name, state| {
            let stays = names.contains(name);
            if !stays {
                state.publish_empty();
            }
            stays
        });
        for snapshot in snapshots {
            match collections.get(&snapshot.record.name) {
                Some(state) => state.publish(snapshot),
                None => {
                    let state = Arc::new(State::new(snapshot));
                    collections.insert(state.name.clone(), state);
                }
            }
        }
    }
}

impl Open {
    fn of(states: &[Arc<State>]) -> Self {
        let parts = states
            .iter()
            .flat_map(|state| state.snapshot().parts.clone());
        Self(
            parts
                .filter_map(|part| Some((part.name()?.to_owned(), part)))
                .collect(),
        )
    }

    /// The part with this segment, if that is open; its tombstones are read again if there are others.
    fn part(
        &self,
        current: &Current,
        collection: &CollectionRecord,
        record: &SegmentRecord,
    ) -> Option<Result<Part>> {
        let part = self.0.get(&record.name)?;
        match &part.body {
            Body::Sealed { record: seen, .. } if seen == record => Some(Ok(part.clone())),
            Body::Sealed { segment, .. } => {
                let segment = Arc::clone(segment);
                Some(part_of(&current.layout, collection, record, segment))
            }
            Body::Memory(_) => None,
        }
    }
}
