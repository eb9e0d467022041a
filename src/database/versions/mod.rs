//! Versions of a collection: its documents by another encoder, and the way back.
//!
//! ```text
//! re-embed   collection ─ documents that `next` lacks ─→ encoder ─→ next
//! one commit next → collection → before                  (before is let go of)
//! roll back  collection ─ what changed since ─→ encoder ─→ before
//! one commit before → collection → before
//! ```
//!
//! A version is a collection of its own under a name that no user can write. So it is sealed, merged, checked, copied and
//! recovered like any other, and filling it goes on where a kill ended it. Until the commit every query is answered by the old
//! encoder from the old segments, afterwards by the new one from the new. Names and ids stay; what they hold is exchanged, which
//! for those who hold a [`Collection`] is a change like another.
//!
//! Not segment by segment in one collection, each with its own encoder, as was planned first: similarities of two encoders
//! are not on one scale, so that a ranking over both would favour the segments of the one whose cosines are larger, and a
//! minimum score would mean two things. It would also be no less work, and no less space where the way back is kept.
//!
//! A new encoder with the fingerprint of the old one, a query adapter, takes no re-embedding: `before` is then a version without
//! documents, and the commit exchanges the encoders alone.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what can be done, and the commit |
//! | `filling.rs` | a version brought up to date |
//! | `model.rs` | the model that it is by, kept with the data |
//! | `alone.rs` | one call at a time |

mod alone;
mod filling;
#[cfg(feature = "encoder")]
mod model;
#[cfg(all(test, feature = "tune"))]
mod tests;

#[cfg(feature = "encoder")]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::collection::{Added, Collection};
use super::ingest::BatchOptions;
use super::inner::{Inner, State, Writer, put_new};
use super::part::Snapshot;
use super::write::put_record;
use crate::error::{Error, Result};
use crate::store::{CollectionRecord, Commit, EncoderRecord};
use alone::Alone;
pub(super) use alone::Busy;
#[cfg(feature = "encoder")]
use model::kept_record;

/// Sees to it that the encoder is kept with the data, before a commit names it.
type Keep<'a> = &'a dyn Fn(&Writer) -> Result<()>;

/// Is the name one of those that the database gives?
pub(super) fn is_hidden(name: &str) -> bool {
    name.contains('\0')
}

/// A collection's name, or a version's, as it is shown.
pub(super) fn shown(name: &str) -> String {
    name.replace('\0', ", version ")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Version {
    /// It is being filled, to become the collection.
    Next,
    /// What the collection was before.
    Before,
}

impl Version {
    fn name_of(self, collection: &str) -> String {
        let which = match self {
            Self::Next => "next",
            Self::Before => "before",
        };
        format!("{collection}\0{which}")
    }
}

/// Another version of a collection: the same documents by another encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionInfo {
    /// Its encoder: name and fingerprint.
    pub encoder: (String, String),
    /// Documents in it.
    pub documents: u64,
    /// Bytes of its segments on disk.
    pub bytes: u64,
}

/// What [`Collection::roll_back`] or `reembed` did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reembedded {
    /// The encoder that made the vectors until then: name and fingerprint.
    pub from: (String, String),
    /// The encoder that makes them now. Equal to `from` if there was nothing to do.
    pub to: (String, String),
    /// Documents whose vectors were made by this call; an earlier one that was interrupted may have made others.
    pub added: Added,
    /// Documents that were no longer in the collection.
    pub deleted: u64,
}

impl Collection {
    /// Encodes every document by another model, and answers by that one from then on: after a tuning, or when a better model
    /// came out. The model's files are copied into the database's folder, so that it opens without being told; an explicit
    /// [`DatabaseOptions::model`](super::DatabaseOptions::model) goes before it.
    ///
    /// Queries are answered by the old vectors until the new ones are complete, and then by these, in one step. Documents may be
    /// added and deleted meanwhile; only a call that is encoding in the moment of the step is refused, with
    /// [`Error::EncoderMismatch`], and is to be made again. An interrupted call goes on where it was. The old vectors stay,
    /// with the space that they take, until [`forget_versions`](Self::forget_versions): [`roll_back`](Self::roll_back) returns
    /// to them. Those of a model before the old one are let go of.
    ///
    /// A model that differs in its query adapter alone takes no encoding.
    ///
    /// ```no_run
    /// use vecdb::{BatchOptions, Database};
    /// let notes = Database::open("notes.vecdb")?.existing_collection("notes")?;
    /// let done = notes.reembed("tuned-model", BatchOptions::default())?;
    /// println!("{} passages by {}", done.added.passages, done.to.0);
    /// notes.roll_back(BatchOptions::default())?;
    /// # Ok::<(), vecdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Collection`] if its vectors are the user's own, it holds none yet, or another call re-embeds it; [`Error::Model`]
    /// and [`Error::Runtime`] from the encoder; [`Error::Io`] also if the disk has too little room for both versions;
    /// [`Error::Cancelled`], [`Error::ReadOnly`], or the write failed. The collection is then as it was.
    #[cfg(feature = "encoder")]
    pub fn reembed(
        &self,
        model: impl AsRef<Path>,
        options: BatchOptions<'_>,
    ) -> Result<Reembedded> {
        let inner = &self.inner;
        let _alone = self.alone()?;
        let stored = self.stored_encoder()?;
        let encoder = inner.encoder.open_model(model.as_ref())?;
        let target = kept_record(&encoder)?;
        let keep = |writer: &Writer| {
            // Not the report of its tuning, which has texts in it that a purge would have to look for.
            let files = encoder.files_to_copy();
            writer
                .store
                .keep_model(&target.name, encoder.folder(), &files)
        };
        let version = {
            let mut guard = inner.lock_writer()?;
            let writer = inner.writer(&mut guard)?;
            if target == stored {
                // It may have got lost.
                keep(writer)?;
                return Ok(Reembedded::of(stored, target));
            }
            if target.fingerprint == stored.fingerprint {
                self.exchange(writer, None, &target, &keep)?;
                return Ok(Reembedded::of(stored, target));
            }
            let known = self.version_by(&target.fingerprint);
            self.check_room(writer, &encoder, &target, known.as_deref())?;
            match known {
                Some(version) => self.name_model(writer, version, &target, &keep)?,
                None => self.begin(writer, &target, encoder.dimension(), &keep)?,
            }
        };
        self.become_version(&version, &target, options, &keep)
    }

    /// The folder of the model that answers for this collection, if [`reembed`](Self::reembed) has put it into the database;
    /// `None` if it is the one that the options mean.
    ///
    /// # Errors
    /// [`Error::Model`] if it was put there and is gone.
    #[cfg(feature = "encoder")]
    pub fn kept_model(&self) -> Result<Option<PathBuf>> {
        let snapshot = self.state.snapshot();
        self.inner.encoder.kept(&snapshot.record)
    }

    /// Returns to the vectors, and the model, that [`reembed`](Self::reembed) replaced. Documents that were added or changed
    /// since are encoded by that model, and those that were deleted since are deleted there, so that none is lost; the others
    /// are what they were, bit by bit. What is left is kept in turn: asked again, it goes forward.
    ///
    /// # Errors
    /// [`Error::Collection`] if there is nothing to return to; else as [`reembed`](Self::reembed).
    pub fn roll_back(&self, options: BatchOptions<'_>) -> Result<Reembedded> {
        let _alone = self.alone()?;
        let version = self.version(Version::Before);
        let Some(version) = version else {
            return Err(self.refuse("there is no earlier version to return to"));
        };
        let target = version.snapshot().record.encoder.clone();
        let target = target.ok_or_else(|| self.refuse("its earlier version has no encoder"))?;
        self.become_version(&version, &target, options, &|_| Ok(()))
    }

    /// Lets go of other versions of the collection, also of one that an interrupted call left unfinished, and of the space that
    /// they take. Returns the bytes of their segments.
    ///
    /// # Errors
    /// [`Error::Collection`] while it is re-embedded; [`Error::ReadOnly`], or the write failed.
    pub fn forget_versions(&self) -> Result<u64> {
        let _alone = self.alone()?;
        let versions: Vec<Arc<State>> = self.versions().collect();
        let mut guard = self.inner.lock_writer()?;
        let writer = self.inner.writer(&mut guard)?;
        if versions.is_empty() {
            return Ok(0);
        }
        let segments = versions.iter().map(|version| version.snapshot());
        let bytes = segments.map(|snapshot| bytes(&snapshot.record)).sum();
        // Write-ahead rows may name them.
        self.inner.seal(writer, None)?;
        let mut manifest = writer.store.manifest().clone();
        let is_version = |id: u32| versions.iter().any(|version| version.id == id);
        manifest.collections.retain(|record| !is_version(record.id));
        writer.store.commit(Commit::of(manifest))?;
        versions
            .iter()
            .for_each(|version| self.inner.remove(version));
        self.inner.encoder.let_go();
        Ok(bytes)
    }

    fn alone(&self) -> Result<Alone<'_>> {
        self.inner.alone(Busy::Reembedding(self.name().to_owned()))
    }

    fn refuse(&self, what: &str) -> Error {
        Error::Collection {
            name: self.name().to_owned(),
            what: what.into(),
        }
    }

    fn version(&self, which: Version) -> Option<Arc<State>> {
        self.inner.state(&which.name_of(&self.state.name))
    }

    fn versions(&self) -> impl Iterator<Item = Arc<State>> {
        [Version::Next, Version::Before]
            .into_iter()
            .filter_map(|which| self.version(which))
    }

    fn stored_encoder(&self) -> Result<EncoderRecord> {
        let record = &self.state.snapshot().record;
        match (&record.encoder, record.dimension) {
            (Some(stored), _) => Ok(stored.clone()),
            (None, Some(_)) => Err(self.refuse("its vectors are the user's own")),
            (None, None) => Err(self.refuse("it holds nothing yet that could be encoded anew")),
        }
    }

    /// The version by an encoder of this fingerprint.
    #[cfg(feature = "encoder")]
    fn version_by(&self, fingerprint: &str) -> Option<Arc<State>> {
        self.versions().find(|version| {
            let stored = &version.snapshot().record.encoder;
            stored
                .as_ref()
                .is_some_and(|e| e.fingerprint == fingerprint)
        })
    }

    /// Lets a version be encoded by this model from now on, whose fingerprint is that of the one that it has.
    #[cfg(feature = "encoder")]
    fn name_model(
        &self,
        writer: &mut Writer,
        version: Arc<State>,
        target: &EncoderRecord,
        keep: Keep<'_>,
    ) -> Result<Arc<State>> {
        keep(writer)?;
        let mut named = Snapshot::clone(&version.snapshot());
        if named.record.encoder.as_ref() != Some(target) {
            named.record.encoder = Some(target.clone());
            let mut manifest = writer.store.manifest().clone();
            put_record(&mut manifest, &named);
            writer.store.commit(Commit::of(manifest))?;
            version.publish(named);
            self.inner.encoder.let_go();
        }
        Ok(version)
    }

    /// A new version, in the place of an unfinished one by another encoder.
    #[cfg(feature = "encoder")]
    fn begin(
        &self,
        writer: &mut Writer,
        target: &EncoderRecord,
        dimension: usize,
        keep: Keep<'_>,
    ) -> Result<Arc<State>> {
        // Write-ahead rows may name what is let go of.
        self.inner.seal(writer, None)?;
        keep(writer)?;
        let mut manifest = writer.store.manifest().clone();
        let unfinished = self.version(Version::Next);
        let is_unfinished = |id: u32| unfinished.as_ref().is_some_and(|version| version.id == id);
        manifest
            .collections
            .retain(|record| !is_unfinished(record.id));
        let version = put_new(
            &mut manifest,
            Version::Next.name_of(&self.state.name),
            self.state.snapshot().record.metric,
            Some(dimension),
            Some(target.clone()),
        );
        writer.store.commit(Commit::of(manifest))?;
        if let Some(unfinished) = unfinished {
            self.inner.remove(&unfinished);
            self.inner.encoder.let_go();
        }
        self.inner.insert(&version);
        Ok(version)
    }

    /// Brings a version up to date, and puts it in the collection's place.
    fn become_version(
        &self,
        version: &Arc<State>,
        target: &EncoderRecord,
        options: BatchOptions<'_>,
        keep: Keep<'_>,
    ) -> Result<Reembedded> {
        let mut done = Reembedded::of(self.stored_encoder()?, target.clone());
        let is_same = done.from.1 == done.to.1;
        let memory = options.memory();
        let mut callback = options.into_callback();
        let version = Self::new(&self.inner, Arc::clone(version));
        let mut seen = None;
        if !is_same {
            // The second time it is what changed during the first, which took long.
            for _ in 0..2 {
                let now = self.state.snapshot();
                seen = Some(now.changes);
                self.fill(&version, &now, memory, &mut callback, &mut done)?;
                if self.state.snapshot().changes == now.changes {
                    break;
                }
            }
        }
        let mut guard = self.inner.lock_writer()?;
        let writer = self.inner.writer(&mut guard)?;
        if !is_same && seen != Some(self.state.snapshot().changes) {
            self.catch_up(writer, &version, &mut done)?;
        }
        self.exchange(writer, Some(&version.state), target, keep)?;
        Ok(done)
    }

    /// The commit: the collection gets what the version holds, or if none is given the encoder alone, and `before` what the
    /// collection held.
    fn exchange(
        &self,
        writer: &mut Writer,
        version: Option<&Arc<State>>,
        target: &EncoderRecord,
        keep: Keep<'_>,
    ) -> Result<()> {
        self.inner.seal(writer, None)?;
        keep(writer)?;
        let old = self.state.snapshot();
        let stored = old.record.encoder.as_ref();
        let is_same = stored.is_some_and(|e| e.fingerprint == target.fingerprint);
        let mut manifest = writer.store.manifest().clone();
        let before = self.version(Version::Before).unwrap_or_else(|| {
            let name = Version::Before.name_of(&self.state.name);
            put_new(&mut manifest, name, old.record.metric, None, None)
        });
        let mut now = match version {
            Some(version) if !is_same => holding(&version.snapshot(), &self.state),
            _ => Snapshot::clone(&old),
        };
        now.record.encoder = Some(target.clone());
        let mut then = holding(&old, &before);
        if is_same {
            then.empty();
        }
        let done_with = version.filter(|version| version.id != before.id);
        put_record(&mut manifest, &now);
        put_record(&mut manifest, &then);
        manifest
            .collections
            .retain(|record| done_with.is_none_or(|version| version.id != record.id));
        writer.store.commit(Commit::of(manifest))?;
        // Who else looks into versions, a purge, does not while we do.
        self.state.publish(now);
        before.publish(then);
        self.inner.insert(&before);
        if let Some(version) = done_with {
            self.inner.remove(version);
        }
        self.inner.encoder.let_go();
        Ok(())
    }
}

impl Reembedded {
    fn of(from: EncoderRecord, to: EncoderRecord) -> Self {
        let tell = |encoder: EncoderRecord| (encoder.name, encoder.fingerprint);
        Self {
            from: tell(from),
            to: tell(to),
            added: Added::default(),
            deleted: 0,
        }
    }

    fn count(&mut self, added: Added) {
        let sum = &mut self.added;
        sum.added += added.added;
        sum.updated += added.updated;
        sum.passages += added.passages;
        sum.reused += added.reused;
        sum.tokens += added.tokens;
        let (times, more) = (&mut sum.times, added.times);
        times.reading += more.reading;
        times.cutting += more.cutting;
        times.encoding += more.encoding;
        times.writing += more.writing;
    }
}

impl VersionInfo {
    /// Of a collection: what it is to become, and what it was before.
    pub(super) fn of(inner: &Inner, collection: &str) -> [Option<Self>; 2] {
        [Version::Next, Version::Before].map(|which| {
            let snapshot = inner.state(&which.name_of(collection))?.snapshot();
            let encoder = snapshot.record.encoder.as_ref()?;
            Some(Self {
                encoder: (encoder.name.clone(), encoder.fingerprint.clone()),
                documents: snapshot.live_documents(),
                bytes: bytes(&snapshot.record),
            })
        })
    }
}

fn bytes(record: &CollectionRecord) -> u64 {
    record.segments.iter().map(|segment| segment.bytes).sum()
}

/// What a state is when it holds what another held.
fn holding(what: &Snapshot, state: &State) -> Snapshot {
    let mut held = what.clone();
    held.record.id = state.id;
    held.record.name.clone_from(&state.name);
    held.changes = state.snapshot().changes + 1;
    held
}
