//! A version brought up to date: what it lacks is encoded, and what it has too much is deleted.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Reembedded, Version};
use crate::database::apart::apart;
use crate::database::collection::{Added, Collection, Documents};
use crate::database::embed::{Help, Prepared};
use crate::database::ingest::{BatchOptions, Callback, Progress};
use crate::database::inner::{Inner, Writer};
use crate::database::part::Snapshot;
use crate::document::Document;
use crate::error::Result;
use crate::store::WalEntry;

/// Documents that are encoded together while nobody may write.
const LAST_BATCH: usize = 256;

impl Collection {
    /// Adds the documents that the version lacks, and deletes those that are gone.
    pub(super) fn fill(
        &self,
        version: &Self,
        now: &Arc<Snapshot>,
        memory: u64,
        callback: &mut Option<Callback<'_>>,
        done: &mut Reembedded,
    ) -> Result<()> {
        let there = version.state.snapshot();
        let tell = |progress: &Progress| match callback {
            Some(callback) => callback(progress),
            None => ControlFlow::Continue(()),
        };
        let options = BatchOptions::default().max_memory(memory).progress(tell);
        let added = version.ingest(lacking(now, &there), options)?;
        done.count(added);
        done.deleted += version.delete(gone(now, &there))?;
        Ok(())
    }

    /// The same under the writer's lock, for what was written in the last moment.
    pub(super) fn catch_up(
        &self,
        writer: &mut Writer,
        version: &Self,
        done: &mut Reembedded,
    ) -> Result<()> {
        let (now, there) = (self.state.snapshot(), version.state.snapshot());
        let mut documents = lacking(&now, &there).peekable();
        while documents.peek().is_some() {
            let batch: Vec<Document> =
                documents.by_ref().take(LAST_BATCH).collect::<Result<_>>()?;
            let encoding = version.encoder()?;
            let mut added = Added::default();
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let embedded = apart(threads, &self.inner.path, || {
                let help = Help {
                    made: &|_| None,
                    tell: &mut |_| Ok(()),
                    memory: u64::MAX,
                };
                version.embed_new(&encoding, batch, help, &mut added)
            })?;
            let entry = WalEntry::Add {
                collection: version.state.id,
                documents: embedded.into_iter().map(Arc::new).collect(),
            };
            let stored =
                self.inner
                    .store_entry_sealed(writer, &version.state, encoding.maker(), entry)?;
            added.count(stored);
            done.count(added);
        }
        let gone = gone(&now, &there);
        done.deleted += self.inner.delete_by(writer, &version.state, gone)?;
        Ok(())
    }
}

impl Inner {
    /// Deletes from versions what their collections do not hold any more, or hold with another content. Returns the collections
    /// that have versions, each with the changes that it had had by then; under the writer's lock those are left out that had
    /// no more than `clean` says.
    pub(in crate::database) fn clean_versions(
        &self,
        mut writer: Option<&mut Writer>,
        clean: &BTreeMap<u32, u64>,
    ) -> Result<BTreeMap<u32, u64>> {
        let mut seen = BTreeMap::new();
        for state in self.states() {
            let now = state.snapshot();
            if clean.get(&state.id) == Some(&now.changes) {
                continue;
            }
            for version in [Version::Next, Version::Before] {
                let Some(version) = self.state(&version.name_of(&state.name)) else {
                    continue;
                };
                seen.insert(state.id, now.changes);
                let there = version.snapshot();
                if there.live_documents() == 0 {
                    continue;
                }
                let mut stale = gone(&now, &there);
                for document in lacking(&now, &there) {
                    let id = document?.id;
                    if there.find(&id).is_some() {
                        stale.push(id);
                    }
                }
                match &mut writer {
                    _ if stale.is_empty() => 0,
                    Some(writer) => self.delete_by(writer, &version, stale)?,
                    None => self.delete(&version, stale)?,
                };
            }
        }
        Ok(seen)
    }
}

/// The documents that the version does not hold, or not with this content.
fn lacking<'a>(
    now: &Arc<Snapshot>,
    version: &'a Snapshot,
) -> impl Iterator<Item = Result<Document>> + 'a {
    let encoder = version.record.encoder.as_ref();
    let fingerprint = encoder.map_or_else(String::new, |e| e.fingerprint.clone());
    Documents::of(now).filter(move |document| match document {
        Ok(document) => !version.holds(&Prepared::new(document.clone(), fingerprint.as_bytes())),
        Err(_) => true,
    })
}

/// Ids of documents of the version that are not in the collection any more.
fn gone(now: &Snapshot, version: &Snapshot) -> Vec<String> {
    let mut gone = Vec::new();
    for part in &version.parts {
        let live = (0..part.documents()).filter(|&document| !part.is_dead(document));
        let ids = live.map(|document| part.id(document));
        gone.extend(ids.filter(|id| now.find(id).is_none()).map(str::to_owned));
    }
    gone
}
