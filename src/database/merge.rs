//! Merging: few segments, and little space for what is deleted.
//!
//!   pick (writer's lock) → build the new segment beside all other work → commit (writer's lock)
//!
//! A merge changes where sealed rows lie and nothing else. It copies what is live in the *sealed* state: what was deleted
//! since, in write-ahead rows only, is copied too and stays deleted by them. While the new segment is built, documents are
//! added, replaced and deleted as ever; what was deleted among those copied is carried over at the commit, the sealed
//! deletions into the new segment's tombstone file and the others into memory, where they wait for the next seal.
//!
//! One merge that builds a graph is in hand at a time. Beside it, merges too small for a graph go on: it may take minutes,
//! in which every flush adds a segment. The memory of a merge is bounded by [`Merging::memory_bytes`]: where more would be
//! needed, fewer or smaller segments are merged, or none. A segment that turns out to be damaged stays where it is, and the
//! others are merged without it.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;

use super::apart::apart;
use super::inner::{Inner, State};
use super::merge_policy::{Size, due, holding_dead};
use super::part::{Body, Part, Snapshot};
use super::write::put_record;
use crate::error::{Error, Result};
use crate::segment::{self, BuildOptions, Merge, Segment, SegmentSpec, Stop, tombstones};
use crate::store::{Commit, NewSegment, SegmentRecord};

/// No merged segment has more rows: a rewrite for the sake of deleted rows should not take hours.
const MAX_ROWS: u64 = 4_000_000;
/// A merge of at most so many rows takes no graph.
pub(super) const SMALL_ROWS: u64 = segment::MERGED_GRAPH_FROM_ROWS as u64 - 1;
/// How often the caller of [`Database::compact`](super::Database::compact) is asked whether to go on.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// When segments are merged, and what that may take.
#[derive(Clone, Debug)]
pub struct Merging {
    pub(super) background: bool,
    pub(super) memory_bytes: u64,
    pub(super) threads: Option<usize>,
}

impl Default for Merging {
    fn default() -> Self {
        Self::background()
    }
}

impl Merging {
    /// On a thread of its own, as soon as a seal makes a merge due: the default.
    pub fn background() -> Self {
        Self {
            background: true,
            memory_bytes: 1 << 30,
            threads: None,
        }
    }

    /// Only in [`Database::compact`](super::Database::compact). The number of segments then grows without bound.
    pub fn on_request() -> Self {
        Self {
            background: false,
            ..Self::background()
        }
    }

    /// About how much memory a merge may take; 1 GiB if not said. What is read and written through the system's file cache
    /// is not counted. A merge that would take more is made with fewer or smaller segments; a segment too large for it even
    /// alone is left as it is.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// How many threads build a merged segment's graph; half of the machine's if not said.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    fn most_rows(&self, dimension: usize, options: &BuildOptions) -> u64 {
        segment::rows_within(self.memory_bytes, dimension, options).min(MAX_ROWS)
    }
}

/// What merging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Merges made.
    pub merges: u64,
    /// Segments that went into them.
    pub segments: u64,
    /// Passages written anew.
    pub passages: u64,
    /// Passages of deleted or replaced documents that are gone from the disk.
    pub dead_passages: u64,
}

impl Compacted {
    pub(super) fn add(&mut self, other: Self) {
        self.merges += other.merges;
        self.segments += other.segments;
        self.passages += other.passages;
        self.dead_passages += other.dead_passages;
    }
}

/// Merges in hand.
#[derive(Default)]
pub(super) struct InHand(Mutex<Sources>);

#[derive(Default)]
struct Sources {
    /// Segments that are being merged.
    names: HashSet<String>,
    /// Is a graph being built?
    large: bool,
    /// Segments that were found damaged, and what was told of them: left out from then on, or each merge with them would
    /// fail again, and those that are due after it would wait for ever.
    damaged: BTreeMap<String, Damage>,
}

/// What [`Error::Damaged`] tells.
struct Damage {
    path: PathBuf,
    offset: u64,
    what: String,
}

impl InHand {
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sources().names.is_empty()
    }

    /// Leaves the source out of later merges that the error says is damaged; `false` if it says that of none.
    fn leave_out(&self, names: &[String], error: &Error) -> bool {
        let Error::Damaged { path, offset, what } = error else {
            return false;
        };
        let is_meant = |name: &&String| path.file_stem().is_some_and(|stem| *stem == ***name);
        let Some(name) = names.iter().find(is_meant) else {
            return false;
        };
        let damage = Damage {
            path: path.clone(),
            offset: *offset,
            what: what.clone(),
        };
        self.sources().damaged.insert(name.clone(), damage);
        true
    }

    /// Of the first segment that is left out for its damage.
    pub fn damage(&self) -> Option<Error> {
        let sources = self.sources();
        let damage = sources.damaged.values().next()?;
        Some(Error::damaged(&damage.path, damage.offset, &damage.what))
    }
}

/// The hold of one merge on its sources.
struct Hold<'a> {
    in_hand: &'a InHand,
    names: Vec<String>,
    large: bool,
}

impl<'a> Hold<'a> {
    fn take(in_hand: &'a InHand, names: Vec<String>, large: bool) -> Self {
        let mut sources = in_hand.sources();
        sources.names.extend(names.iter().cloned());
        sources.large |= large;
        Self {
            in_hand,
            names,
            large,
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut sources = self.in_hand.sources();
        self.names.iter().for_each(|name| {
            sources.names.remove(name);
        });
        sources.large &= !self.large;
    }
}

/// A merge that was begun.
struct Begun<'a> {
    hold: Hold<'a>,
    state: Arc<State>,
    spec: SegmentSpec,
    sources: Vec<Source>,
    file: NewSegment,
}

struct Source {
    name: String,
    segment: Arc<Segment>,
    buried: Arc<RoaringBitmap>,
}

/// The sealed parts that are neither being merged nor damaged.
#[derive(Default)]
struct Free {
    /// Where they are among all parts, and how large.
    places: Vec<usize>,
    sizes: Vec<Size>,
    /// How many rows one merge of them may have.
    limit: u64,
    /// A graph is being built already.
    beside_a_large_one: bool,
}

/// The new segment, whole and durable under its name.
struct Written {
    segment: Segment,
    bytes: u64,
}

impl Inner {
    /// Makes all due merges, in this thread.
    pub(super) fn compact(
        &self,
        progress: &mut (dyn FnMut(&Compacted) -> ControlFlow<()> + Send),
    ) -> Result<Compacted> {
        if self.read_only {
            return Err(Error::ReadOnly {
                path: self.path.clone(),
            });
        }
        let mut total = Compacted::default();
        let asking = Asking::new(progress);
        loop {
            let stop = || asking.ask(&total, false);
            match self.merge_next(u64::MAX, &stop)? {
                Some(made) => total.add(made),
                None if self.in_hand.is_empty() => {
                    return self.in_hand.damage().map_or(Ok(total), Err);
                }
                // In the background, and what comes of it may be due again.
                None => std::thread::sleep(Duration::from_millis(5)),
            }
            if asking.ask(&total, true) {
                return Err(Error::Cancelled);
            }
        }
    }

    /// Makes the due merges that take no graph, a matter of milliseconds each: a process that lives too short for a merge in
    /// the background must not leave ever more segments behind.
    pub(super) fn compact_small(&self) {
        if self.settings.merging.background {
            // What fails here is due again in the next process.
            while let Ok(Some(_)) = self.merge_next(SMALL_ROWS, &|| false) {}
        }
    }

    /// Makes the next due merge of at most `most_rows` rows; `None` if nothing is due. A source that is damaged is left out,
    /// and the others are merged: [`InHand::damage`] tells of it.
    pub(super) fn merge_next(&self, most_rows: u64, stop: Stop<'_>) -> Result<Option<Compacted>> {
        self.merge_chosen(&|snapshot| self.due_of(snapshot, most_rows), stop)
    }

    /// Merges the sealed parts of the first collection where `choose` gives any. They are those that a merge may have now.
    pub(super) fn merge_chosen(
        &self,
        choose: &dyn Fn(&Snapshot) -> Vec<usize>,
        stop: Stop<'_>,
    ) -> Result<Option<Compacted>> {
        while let Some(begun) = self.pick(choose)? {
            let names = begun.hold.names.clone();
            match self.merge(begun, stop) {
                Err(error) if self.in_hand.leave_out(&names, &error) => {}
                made => return made.map(Some),
            }
        }
        Ok(None)
    }

    fn merge(&self, begun: Begun<'_>, stop: Stop<'_>) -> Result<Compacted> {
        let live = |source: &Source| (Arc::clone(&source.segment), Arc::clone(&source.buried));
        let merge = Merge::new(begun.sources.iter().map(live).collect())?;
        let written = match merge.rows() {
            0 => None,
            _ => Some(self.write_merged(&begun, &merge, stop)?),
        };
        let rows: u64 = begun
            .sources
            .iter()
            .map(|source| u64::from(source.segment.rows()))
            .sum();
        let made = Compacted {
            merges: 1,
            segments: begun.sources.len() as u64,
            passages: u64::from(merge.rows()),
            dead_passages: rows - u64::from(merge.rows()),
        };
        self.commit_merged(begun, &merge, written)?;
        Ok(made)
    }

    /// Is a merge of at most `most_rows` rows due in any collection?
    pub(super) fn is_merge_due(&self, most_rows: u64) -> bool {
        let due = |state: &Arc<State>| !self.due_of(&state.snapshot(), most_rows).is_empty();
        self.states().iter().any(due)
    }

    /// The places of the sealed parts that are to be merged next, apart from those that are being merged and the damaged.
    pub(super) fn due_of(&self, snapshot: &Snapshot, most_rows: u64) -> Vec<usize> {
        let free = self.free(snapshot);
        let due = due(&free.sizes, free.limit.min(most_rows));
        due.into_iter().map(|at| free.places[at]).collect()
    }

    /// The places of sealed parts that hold deleted rows, apart from those that are being merged and the damaged. As many
    /// as fit into one merge; a part that is too large for any is chosen alone.
    pub(super) fn holding_dead(&self, snapshot: &Snapshot) -> Vec<usize> {
        let free = self.free(snapshot);
        let mut chosen = holding_dead(&free.sizes, free.limit);
        if chosen.is_empty() && !free.beside_a_large_one {
            chosen = holding_dead(&free.sizes, u64::MAX);
            chosen.truncate(1);
        }
        chosen.into_iter().map(|at| free.places[at]).collect()
    }

    /// What a merge may take now.
    fn free(&self, snapshot: &Snapshot) -> Free {
        let Some(dimension) = snapshot.record.dimension else {
            return Free::default();
        };
        let limit = self
            .settings
            .merging
            .most_rows(dimension, &BuildOptions::for_merging());
        let in_hand = self.in_hand.sources();
        let limit = if in_hand.large {
            limit.min(SMALL_ROWS)
        } else {
            limit
        };
        let size = |(at, part): (usize, &Part)| match &part.body {
            Body::Sealed {
                segment, record, ..
            } if !in_hand.names.contains(&record.name)
                && !in_hand.damaged.contains_key(&record.name) =>
            {
                let (rows, dead) = (u64::from(record.rows), u64::from(record.dead_rows));
                let is_scanned = !segment.has_graph();
                let size = Size {
                    rows,
                    dead,
                    is_scanned,
                };
                Some((at, size))
            }
            _ => None,
        };
        let (places, sizes) = snapshot.parts.iter().enumerate().filter_map(size).unzip();
        Free {
            places,
            sizes,
            limit,
            beside_a_large_one: in_hand.large,
        }
    }

    /// How many sealed parts are being merged, or are to be merged next.
    pub(super) fn count_due(&self, snapshot: &Snapshot) -> usize {
        let in_hand = {
            let sources = self.in_hand.sources();
            let is_in_hand = |part: &&Part| part.name().is_some_and(|n| sources.names.contains(n));
            snapshot.parts.iter().filter(is_in_hand).count()
        };
        in_hand + self.due_of(snapshot, u64::MAX).len()
    }

    fn pick(&self, choose: &dyn Fn(&Snapshot) -> Vec<usize>) -> Result<Option<Begun<'_>>> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        for state in self.states() {
            let snapshot = state.snapshot();
            let due = choose(&snapshot);
            let Some(spec) = snapshot.spec().filter(|_| !due.is_empty()) else {
                continue;
            };
            let source = |&at: &usize| match &snapshot.parts[at].body {
                Body::Sealed {
                    segment,
                    record,
                    buried,
                } => Some(Source {
                    name: record.name.clone(),
                    segment: Arc::clone(segment),
                    buried: Arc::clone(buried),
                }),
                Body::Memory(_) => None,
            };
            let sources: Vec<Source> = due.iter().filter_map(source).collect();
            let names = sources.iter().map(|source| source.name.clone());
            let live = sources
                .iter()
                .map(|source| u64::from(source.segment.rows()) - source.buried.len());
            return Ok(Some(Begun {
                hold: Hold::take(
                    &self.in_hand,
                    names.collect(),
                    live.sum::<u64>() > SMALL_ROWS,
                ),
                sources,
                file: writer.store.new_segment()?,
                spec,
                state,
            }));
        }
        Ok(None)
    }

    fn write_merged(&self, begun: &Begun<'_>, merge: &Merge, stop: Stop<'_>) -> Result<Written> {
        let options = BuildOptions {
            scratch: Some(begun.file.scratch()),
            ..BuildOptions::for_merging()
        };
        let machine = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.settings.merging.threads.unwrap_or(machine / 2).max(1);
        let write = || {
            begun
                .file
                .write(|out| merge.write(&begun.spec, &options, stop, out))
        };
        let takes_graph = merge.rows() as usize >= options.graph_from_rows;
        let threads = if takes_graph { threads } else { 1 };
        // Whoever compacts waits for all merges in hand, this one too.
        let bytes = apart(threads, begun.file.path(), write)?;
        let segment = Segment::open(begun.file.path())?.reside(self.settings.residency);
        Ok(Written { segment, bytes })
    }

    /// Puts the new segment in the place of its sources.
    fn commit_merged(
        &self,
        begun: Begun<'_>,
        merge: &Merge,
        written: Option<Written>,
    ) -> Result<()> {
        let mut guard = self.lock_writer()?;
        let writer = self.writer(&mut guard)?;
        // Held until the end: nobody else is to pick the same sources.
        let Begun {
            hold: _hold,
            state,
            sources,
            file,
            ..
        } = begun;
        let mut next = Snapshot::clone(&state.snapshot());
        let died = Died::since(&sources, merge, &next);
        let is_source = |part: &Part| sources.iter().any(|s| part.name() == Some(&s.name));
        next.parts.retain(|part| !is_source(part));
        if let Some(written) = written
            && died.sealed.len() < u64::from(written.segment.rows())
        {
            let mut record = SegmentRecord {
                name: file.name().to_owned(),
                rows: written.segment.rows(),
                documents: written.segment.documents(),
                bytes: written.bytes,
                tombstones: 0,
                dead_rows: 0,
                dead_documents: 0,
            };
            if !died.sealed.is_empty() {
                record.tombstones = 1;
                record.dead_rows = died.sealed.len() as u32;
                record.dead_documents = merge.count_documents(&died.sealed);
                let wrote = writer.store.write_tombstones(&record.name, 1, |out| {
                    tombstones::write(&died.sealed, record.rows, out)
                });
                if wrote.is_err() {
                    writer.store.discard_written();
                    return wrote;
                }
            }
            file.hand_over();
            // By name, as MANIFEST has them: what was sealed meanwhile is younger.
            let younger = |part: &Part| part.name().is_none_or(|name| *name > *record.name);
            let place = next.parts.iter().position(younger);
            let mut part = Part::sealed(Arc::new(written.segment), record, died.sealed);
            part.dead_documents = merge.count_documents(&died.all);
            part.set_dead(died.all);
            let place = place.unwrap_or(next.parts.len());
            next.parts.insert(place, part);
        }
        next.record.segments = next.records();
        let mut manifest = writer.store.manifest().clone();
        put_record(&mut manifest, &next);
        writer.store.commit(Commit::of(manifest))?;
        state.publish(next);
        Ok(())
    }
}

/// What died among the copied rows while they were copied, as rows of the new segment.
#[derive(Default)]
struct Died {
    /// As the sources' tombstone files tell now.
    sealed: RoaringBitmap,
    /// These, and those that are only deleted in memory and in write-ahead rows.
    all: RoaringBitmap,
}

impl Died {
    fn since(sources: &[Source], merge: &Merge, now: &Snapshot) -> Self {
        let mut died = Self::default();
        for (at, source) in sources.iter().enumerate() {
            let part = now.parts.iter().find(|p| p.name() == Some(&source.name));
            let Some((part, Body::Sealed { buried, .. })) = part.map(|part| (part, &part.body))
            else {
                // Every document of it died, and the seal that told so let go of it.
                died.sealed.insert_range(merge.rows_from(at));
                died.all.insert_range(merge.rows_from(at));
                continue;
            };
            died.sealed
                .extend(merge.moved(at, &**buried - &*source.buried));
            died.all
                .extend(merge.moved(at, &*part.dead - &*source.buried));
        }
        died
    }
}

pub(super) type Callback<'a> = &'a mut (dyn FnMut(&Compacted) -> ControlFlow<()> + Send);

/// A callback that is called from many threads, not too often, and whose answer all of them hear.
pub(super) struct Asking<'a> {
    /// And when it was called.
    callback: Mutex<(Callback<'a>, Option<Instant>)>,
    stop: AtomicBool,
}

impl<'a> Asking<'a> {
    pub fn new(callback: Callback<'a>) -> Self {
        Self {
            callback: Mutex::new((callback, None)),
            stop: AtomicBool::new(false),
        }
    }

    /// Is the work to stop? Asks the callback, but unless it must be asked `now`, only if it was not asked lately.
    pub fn ask(&self, done: &Compacted, now: bool) -> bool {
        let callback = if now {
            Some(self.callback.lock().unwrap_or_else(PoisonError::into_inner))
        } else {
            self.callback.try_lock().ok()
        };
        if let Some(mut callback) = callback
            && (now || callback.1.is_none_or(|last| last.elapsed() >= ASK_EVERY))
        {
            callback.1 = Some(Instant::now());
            if (callback.0)(done).is_break() {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        self.stop.load(Ordering::Relaxed)
    }
}
