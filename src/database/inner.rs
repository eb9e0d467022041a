//! What the handles share: the folder, the writer's hold on it, and each collection's current snapshot.
//!
//! Locks, from the outermost to the innermost: who holds one may take those below it, never one above it, and never the
//! same one again.
//!
//! | lock | guards | held while |
//! |---|---|---|
//! | `merge.rs`, `Asking` | the caller's callback of a compaction | the callback runs, which may call the database, but for another `compact` |
//! | [`Inner::current`] | what a reader read last | it reads what is newer |
//! | [`Inner::writer`] | the store, and the order of all changes | a change is written, fsynced and published; a seal builds its segment |
//! | [`Inner::collections`] | which collections there are | it is looked up, or one is put in |
//! | [`State::snapshot`] | a collection's current state | the `Arc` in it is cloned or replaced |
//! | `part.rs`, `Memory::built` | the segment of unsealed rows | it is built, on this thread alone |
//! | `merge.rs`, `InHand` | which segments are being merged | they are looked up or noted |
//! | `background.rs`, `threads`, then `told` | the threads, and what they are to do | they are looked up or noted; one is started |
//! | [`Inner::versions`] | which call changes versions | it is looked up or noted; a second such call is refused |
//! | `embed.rs`, the encoder's slot | the encoder | it is opened |
//!
//! Those inside a segment and inside the encoder are innermost: nothing of the database is called under them. Nobody waits
//! for a thread while holding a lock, but for those of `apart.rs`, which take none. A query takes `State::snapshot` for a
//! moment and then only those of segments, so it waits for no writer.
//!
//! Without locks: `Background::stop` and `Asking::stop` are flags that are once set and never taken back, and tell nothing
//! but themselves; what a thread did before it heard one is handed over by joining it. `Part::dead_slots` is a `OnceLock` of
//! what the part's dead rows say, which never change under it: whoever deletes makes a new one.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use roaring::RoaringBitmap;

use super::DatabaseOptions;
use super::background::Background;
use super::embed::EncoderSlot;
use super::merge::{InHand, Merging};
use super::part::{Part, Snapshot};
use super::versions::Busy;
use crate::error::{Error, Result};
use crate::segment::{Residency, Segment, tombstones};
use crate::store::{
    CollectionRecord, Commit, Current, Disk, EncoderRecord, Layout, Manifest, Opened,
    SegmentRecord, Store,
};
use crate::vector::{MAX_DIMENSION, Metric};

/// The longest collection name, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// One open database.
///
/// The read-write locks guard values that are replaced whole, so one whose holder panicked is used on. The writer's lock
/// is not: see [`Inner::lock_writer`].
pub(super) struct Inner {
    pub path: PathBuf,
    pub read_only: bool,
    pub settings: Settings,
    pub encoder: EncoderSlot,
    /// Who opened it: in a child by fork the locks may be held by threads that are not there.
    process: u32,
    /// What a reader read last; `None` for a writer.
    pub current: Option<Mutex<Current>>,
    /// `None` when read-only. Taken for every write, and for nothing else.
    pub writer: Mutex<Option<Writer>>,
    /// What the one call does that makes or changes versions, or purges.
    pub versions: Mutex<Option<Busy>>,
    pub in_hand: InHand,
    pub background: Background,
    pub collections: RwLock<BTreeMap<String, Arc<State>>>,
}

/// What is done without being asked for.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub merging: Merging,
    /// What is unsealed is sealed after so long without a write.
    pub idle: Duration,
    pub residency: Residency,
    pub disk: Disk,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            merging: Merging::default(),
            idle: Duration::from_secs(2),
            residency: Residency::default(),
            disk: Disk::default(),
        }
    }
}

/// What only a writer has.
pub(super) struct Writer {
    pub store: Store,
    /// Automatic seals that failed since one succeeded.
    pub postponed: u64,
}

/// A collection of an open database.
pub(super) struct State {
    pub id: u32,
    pub name: String,
    snapshot: RwLock<Arc<Snapshot>>,
}

impl State {
    pub fn new(snapshot: Snapshot) -> Self {
        let (id, name) = (snapshot.record.id, snapshot.record.name.clone());
        Self {
            id,
            name,
            snapshot: RwLock::new(Arc::new(snapshot)),
        }
    }

    /// The current state; it stays as it is while the collection changes.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn publish(&self, snapshot: Snapshot) {
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }

    /// Shows those who still hold it that nothing is left of it.
    pub fn publish_empty(&self) {
        let mut empty = Snapshot::clone(&self.snapshot());
        empty.empty();
        self.publish(empty);
    }
}

impl Inner {
    /// Opens for writing; made if absent.
    pub fn open(path: &Path, options: &DatabaseOptions) -> Result<Handle> {
        let Opened { store, unsealed } = Opened::open(path, &options.settings.disk)?;
        let residency = options.settings.residency;
        let collections = load(store.layout(), store.manifest(), residency)?;
        // Not earlier: where a file is missing or damaged, nothing is removed.
        store.sweep();
        let models = store.layout().models();
        let mut writer = Writer {
            store,
            postponed: 0,
        };
        let inner = Self::new(path, options, None, collections, models);
        inner.replay(&mut writer, unsealed)?;
        let is_unsealed = writer.store.unsealed().rows > 0;
        *inner.lock_writer()? = Some(writer);
        let handle = Handle::new(inner);
        if is_unsealed {
            handle.background.wrote(handle.settings.idle);
        }
        Ok(handle)
    }

    /// Opens what is sealed, without lock or sled.
    pub fn open_read_only(path: &Path, options: &DatabaseOptions) -> Result<Handle> {
        // Where it lies is asked again at each refresh, when the process may stand elsewhere.
        let root = std::path::absolute(path).map_err(Error::io("open", path))?;
        let residency = options.settings.residency;
        let mut current = Current::read(&root)?;
        let collections = loop {
            let loaded = load(&current.layout, &current.manifest, residency);
            let Err(error) = loaded else { break loaded? };
            // A writer may have removed what was current: then something else is.
            current = current.newer()?.ok_or(error)?;
        };
        let models = current.layout.models();
        let inner = Self::new(path, options, Some(current), collections, models);
        Ok(Handle::new(inner))
    }

    /// `current`: what a reader reads.
    fn new(
        path: &Path,
        options: &DatabaseOptions,
        current: Option<Current>,
        states: Vec<State>,
        models: PathBuf,
    ) -> Self {
        let collections = states
            .into_iter()
            .map(|s| (s.name.clone(), Arc::new(s)))
            .collect();
        Self {
            path: path.to_path_buf(),
            read_only: current.is_some(),
            process: std::process::id(),
            current: current.map(Mutex::new),
            settings: options.settings.clone(),
            encoder: EncoderSlot::new(options, models),
            versions: Mutex::new(None),
            writer: Mutex::new(None),
            in_hand: InHand::default(),
            background: Background::default(),
            collections: RwLock::new(collections),
        }
    }

    pub fn state(&self, name: &str) -> Option<Arc<State>> {
        self.collections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    pub fn state_by_id(&self, id: u32) -> Option<Arc<State>> {
        self.states().into_iter().find(|s| s.id == id)
    }

    /// Shows no longer what the last commit let go of. A merge of its segments that is in hand finds them gone.
    pub fn remove(&self, state: &State) {
        state.publish_empty();
        self.collections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&state.name);
    }

    /// All collections, by name; the database's own among them.
    pub fn states(&self) -> Vec<Arc<State>> {
        self.collections
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The collection; made durably if absent.
    pub fn create(
        &self,
        name: &str,
        metric: Metric,
        dimension: Option<usize>,
    ) -> Result<Arc<State>> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            let what = format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters");
            return Err(Error::Collection {
                name: name.to_owned(),
                what,
            });
        }
        if dimension.is_some_and(|d| !(1..=MAX_DIMENSION).contains(&d)) {
            let what = format!("vectors have 1 to {MAX_DIMENSION} components");
            return Err(Error::Collection {
                name: name.to_owned(),
                what,
            });
        }
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        if let Some(state) = self.state(name) {
            return Ok(state);
        }
        let mut manifest = writer.store.manifest().clone();
        let state = put_new(&mut manifest, name.to_owned(), metric, dimension, None);
        writer.store.commit(Commit::of(manifest))?;
        self.insert(&state);
        Ok(state)
    }

    /// Shows a collection that is durable.
    pub fn insert(&self, state: &Arc<State>) {
        self.collections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(state.name.clone(), Arc::clone(state));
    }

    /// Is this the process that opened the database?
    ///
    /// # Errors
    /// [`Error::Locked`] in a child that inherited it by fork.
    pub fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        Err(Error::Locked {
            path: self.path.clone(),
            here: false,
            holder: format!("pid {}, from which this one was forked", self.process),
        })
    }

    /// Seals everything acknowledged.
    pub fn flush(&self) -> Result<()> {
        let mut guard = self.lock_writer()?;
        match guard.as_mut() {
            Some(writer) => self.seal(writer, None),
            None => Ok(()),
        }
    }
}

/// What all handles of the user share; the last one to go closes the database.
///
/// Apart from [`Inner`], which the background threads hold too: these must be stopped when the user's last handle goes,
/// not keep the database open.
pub(super) struct Handle(Arc<Inner>);

impl Handle {
    fn new(inner: Inner) -> Self {
        Self(Arc::new_cyclic(|this| Inner {
            background: Background::of(this),
            ..inner
        }))
    }
}

impl Deref for Handle {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.check_process().is_err() {
            // The parent's, as are the lock, the catalog's unwritten pages and the threads: nothing here is to end them.
            std::mem::forget(Arc::clone(&self.0));
            return;
        }
        self.background.stop();
        // Nothing acknowledged is lost if this fails: the write-ahead rows stay, and the next open replays them.
        if self.flush().is_ok() {
            self.compact_small();
            if let Ok(mut guard) = self.lock_writer()
                && let Some(writer) = guard.as_mut()
            {
                writer.store.mark_closed();
            }
        }
        // Gone before the next open, whoever else still looks at the rest.
        if let Ok(mut guard) = self.lock_writer() {
            drop(guard.take());
        }
    }
}

/// Puts a new collection, with nothing in it, into a manifest.
pub(super) fn put_new(
    manifest: &mut Manifest,
    name: String,
    metric: Metric,
    dimension: Option<usize>,
    encoder: Option<EncoderRecord>,
) -> Arc<State> {
    let record = CollectionRecord {
        id: manifest.next_collection,
        name,
        metric,
        dimension,
        encoder,
        segments: Vec::new(),
    };
    manifest.next_collection += 1;
    manifest.collections.push(record.clone());
    Arc::new(State::new(Snapshot::new(record, Vec::new())))
}

fn load(layout: &Layout, manifest: &Manifest, residency: Residency) -> Result<Vec<State>> {
    let open = |record: &CollectionRecord| {
        let segments = record.segments.iter();
        let parts = segments.map(|segment| open_part(layout, record, segment, residency));
        let parts = parts.collect::<Result<_>>()?;
        Ok(State::new(Snapshot::new(record.clone(), parts)))
    };
    manifest.collections.iter().map(open).collect()
}

/// Opens a segment with its tombstones, and compares both with what MANIFEST says of them.
pub(super) fn open_part(
    layout: &Layout,
    collection: &CollectionRecord,
    record: &SegmentRecord,
    residency: Residency,
) -> Result<Part> {
    let path = layout.segment(&record.name);
    let segment = Segment::open(&path).map_err(|error| missing(error, &path))?;
    part_of(
        layout,
        collection,
        record,
        Arc::new(segment.reside(residency)),
    )
}

/// The same with a segment that is open.
pub(super) fn part_of(
    layout: &Layout,
    collection: &CollectionRecord,
    record: &SegmentRecord,
    segment: Arc<Segment>,
) -> Result<Part> {
    let path = layout.segment(&record.name);
    compare(&path, &segment, collection, record)?;
    let dead = match record.tombstones {
        0 => RoaringBitmap::new(),
        generation => {
            let path = layout.tombstones(&record.name, generation);
            tombstones::read(&path, record.rows).map_err(|error| missing(error, &path))?
        }
    };
    if dead.len() != u64::from(record.dead_rows)
        || count_dead(&segment, &dead) != record.dead_documents
    {
        let what = "it has not as many deleted rows as MANIFEST says";
        return Err(Error::damaged(&path, 0, what));
    }
    Ok(Part::sealed(segment, record.clone(), dead))
}

/// Opens a segment, and compares it with what MANIFEST says of it.
pub(super) fn open_segment(
    layout: &Layout,
    collection: &CollectionRecord,
    record: &SegmentRecord,
) -> Result<Segment> {
    open_segment_at(&layout.segment(&record.name), collection, record)
}

/// The same, wherever it lies.
pub(super) fn open_segment_at(
    path: &Path,
    collection: &CollectionRecord,
    record: &SegmentRecord,
) -> Result<Segment> {
    let segment = Segment::open(path).map_err(|error| missing(error, path))?;
    compare(path, &segment, collection, record)?;
    Ok(segment)
}

fn compare(
    path: &Path,
    segment: &Segment,
    collection: &CollectionRecord,
    record: &SegmentRecord,
) -> Result<()> {
    let wrong = |what: &str| Err(Error::damaged(path, 0, what));
    if Some(segment.spec()) != Snapshot::spec_of(collection).as_ref() {
        return wrong("its encoder, dimension or metric is not its collection's");
    }
    if (segment.rows(), segment.documents(), segment.bytes())
        != (record.rows, record.documents, record.bytes)
    {
        return wrong("it has not the size that MANIFEST says");
    }
    Ok(())
}

/// A file that MANIFEST names and that is not there is damage.
fn missing(error: Error, path: &Path) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::NotFound => {
            Error::damaged(path, 0, "it is missing")
        }
        other => other,
    }
}

/// How many documents these dead rows are.
pub(super) fn count_dead(segment: &Segment, dead: &RoaringBitmap) -> u32 {
    if dead.is_empty() {
        return 0;
    }
    let is_dead = |&document: &u32| dead.contains(segment.rows_of(document).start);
    (0..segment.documents()).filter(is_dead).count() as u32
}
