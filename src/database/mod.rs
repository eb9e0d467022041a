//! The database: joins the stages into one thing to open, to add to and to ask.
//!
//!   Document → embed.rs → write.rs ┬→ write-ahead row ┐
//!                                  └→ segment         ┴→ Snapshot → search.rs → Hit
//!
//!   Query → batch.rs → vector → search.rs
//!
//! A reader works on a snapshot that no writer changes; a writer publishes a new one after its change is durable.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | `Database` and how it is opened |
//! | `inner.rs` | what all handles share; which locks there are, and their order |
//! | `part.rs` | a collection's state at one moment |
//! | `collection.rs` | `Collection`: the verbs |
//! | `embed.rs` | documents → vectors, by the encoder |
//! | `write.rs` | add, delete, seal |
//! | `merge.rs` | segments → fewer segments |
//! | `merge_policy.rs` | which ones, and when |
//! | `purge/` | no byte of what is deleted stays |
//! | `apart.rs` | parallel work that a lock is held for |
//! | `background.rs` | the threads that seal and merge without being asked |
//! | `inputs.rs` | windows → vectors, each made once |
//! | `ingest.rs` | a stream of documents in bounded memory |
//! | `ready.rs` | documents that come with their vectors |
//! | `sync.rs` | files into a collection, and out of it what is gone |
//! | `versions/` | a collection's documents by another encoder, and the way back |
//! | `refresh.rs` | what a reader sees, made new |
//! | `snapshot.rs` | a copy that is a database itself |
//! | `transfer/` | a collection as a file, and back |
//! | `query.rs` | `Query` and what it answers |
//! | `batch.rs` | queries → answers, one or many in parallel |
//! | `example.rs` | documents to be like, or not → a vector |
//! | `search.rs` | a vector → the best documents of all parts |
//! | `recall.rs` | what part of the exact answer is found? |
//! | `check.rs` | is everything on disk as it was written? |
//! | `repair.rs` | what is damaged put aside, and what can be read of it kept |
//! | `migrate.rs` | from an older format to the current one |
//! | `faults/` | tests: failing and forgetful disks |

mod apart;
mod background;
mod batch;
mod check;
mod collection;
mod embed;
mod example;
#[cfg(test)]
mod faults;
mod ingest;
mod inner;
#[cfg(feature = "encoder")]
mod inputs;
mod merge;
mod merge_policy;
mod migrate;
mod part;
mod purge;
mod query;
mod ready;
mod recall;
mod refresh;
mod repair;
mod search;
mod snapshot;
#[cfg(feature = "readers")]
mod sync;
mod transfer;
mod versions;
mod write;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
#[cfg(feature = "encoder")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use batch::QueryTimings;
pub use check::{CheckOptions, Report};
pub use collection::{Added, Collection, CollectionInfo, CollectionOptions, Documents, StageTimes};
pub use ingest::{BatchOptions, Progress, Stage};
pub use merge::{Compacted, Merging};
pub use migrate::Migration;
pub use purge::Purged;
pub use query::{Hit, IntoFilter, Query, Scored};
pub use recall::{Recall, RecallOptions};
pub use repair::{Affected, Effect, Repaired};
pub use snapshot::{SnapshotOptions, Snapshotted};
#[cfg(feature = "readers")]
pub use sync::{SyncOptions, Synced};
pub use transfer::{ExportFormat, ExportOptions, Exported, Imported};

pub use versions::{Reembedded, VersionInfo};

pub use crate::segment::Residency;

#[cfg(feature = "encoder")]
use crate::encoder::EncoderOptions;
use crate::error::{Error, Result};
use crate::store::{self, CollectionRecord, EncoderRecord};
use crate::vector::Metric;
use inner::{Handle, Inner, Settings};

/// How a database is opened; [`Database::options`] starts one.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("notes.vecdb");
/// let missing = vecdb::Database::options().must_exist().open(&path);
/// assert!(matches!(missing, Err(vecdb::Error::NotFound { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct DatabaseOptions {
    #[cfg(feature = "encoder")]
    encoder: EncoderOptions,
    must_exist: bool,
    access: Access,
    settings: Settings,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Access {
    #[default]
    Write,
    ReadOnly,
    Reading,
}

impl DatabaseOptions {
    /// The encoder's model folder, instead of one that [`Collection::reembed`] has put into the database, `VECDB_MODEL_DIR` and
    /// the data folder.
    #[cfg(feature = "encoder")]
    #[must_use]
    pub fn model(mut self, folder: impl Into<PathBuf>) -> Self {
        self.encoder.model = Some(folder.into());
        self
    }

    /// The ONNX Runtime library, instead of the places that are searched.
    #[cfg(feature = "encoder")]
    #[must_use]
    pub fn runtime(mut self, library: impl Into<PathBuf>) -> Self {
        self.encoder.runtime = Some(library.into());
        self
    }

    /// Everything about the encoder at once: model, library, threads, device.
    #[cfg(feature = "encoder")]
    #[must_use]
    pub fn encoder(mut self, options: EncoderOptions) -> Self {
        self.encoder = options;
        self
    }

    /// [`Error::NotFound`] instead of a new database where there is none.
    #[must_use]
    pub fn must_exist(mut self) -> Self {
        self.must_exist = true;
        self
    }

    /// When segments are merged, and what that may take; [`Merging::background`] if not said.
    #[must_use]
    pub fn merging(mut self, merging: Merging) -> Self {
        self.settings.merging = merging;
        self
    }

    /// What was acknowledged is sealed, and so shown to other processes, when so long nothing more was written; 2 seconds
    /// if not said. With [`Duration::MAX`] it waits for [`Database::flush`], the close, or 10,000 rows.
    #[must_use]
    pub fn seal_after_idle(mut self, idle: Duration) -> Self {
        self.settings.idle = idle;
        self
    }

    /// Where searches read codes and graphs from; [`Residency::Mapped`] if not said.
    #[must_use]
    pub fn residency(mut self, residency: Residency) -> Self {
        self.settings.residency = residency;
        self
    }

    /// Takes no lock and changes nothing: a snapshot of what is sealed, as [`Database::open_read_only`]. What another
    /// process acknowledged after its last seal is not in it.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// On another disk than the system's.
    #[cfg(test)]
    fn disk(mut self, disk: store::Disk) -> Self {
        self.settings.disk = disk;
        self
    }

    /// For asking only: a snapshot, as with [`read_only`](Self::read_only); but where a writer was killed, what it
    /// acknowledged is first recovered and sealed, so that everything acknowledged is seen. While a writer is alive, or
    /// where this process may not write, it is what was sealed.
    #[must_use]
    pub fn for_reading(mut self) -> Self {
        self.access = Access::Reading;
        self
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Locked`] (naming the process that writes), [`Error::NotADatabase`],
    /// [`Error::NewerFormat`], [`Error::NeedsMigration`], [`Error::Damaged`], [`Error::Catalog`], [`Error::Io`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Database> {
        let path = path.as_ref();
        let layout = store::check_stamp(path)?;
        let layout = match (layout, self.access) {
            (Some(layout), _) => layout,
            (None, Access::Write) if !self.must_exist => {
                return Ok(Database(Arc::new(Inner::open(path, &self)?)));
            }
            (None, _) => {
                return Err(Error::NotFound {
                    path: path.to_path_buf(),
                });
            }
        };
        let inner = match self.access {
            Access::Write => Inner::open(path, &self)?,
            Access::ReadOnly => Inner::open_read_only(path, &self)?,
            Access::Reading if store::was_closed(&layout) => Inner::open_read_only(path, &self)?,
            Access::Reading => {
                // Recovers, seals and lets go of the lock, so that nobody is kept from writing by one who only reads.
                match Inner::open(path, &self).and_then(|inner| inner.flush()) {
                    Err(error) if !cannot_write(&error) => return Err(error),
                    _ => Inner::open_read_only(path, &self)?,
                }
            }
        };
        Ok(Database(Arc::new(inner)))
    }
}

/// Does the error say that somebody else may write here, but not we, not now?
fn cannot_write(error: &Error) -> bool {
    match error {
        Error::Locked { .. } => true,
        Error::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        ),
        _ => false,
    }
}

/// A folder of collections.
///
/// Cloning is cheap, and all methods may be called from many threads. One process may write at a time; the lock goes
/// when the last clone (and the last [`Collection`]) is dropped, or when the process ends, however it ends.
///
/// After a fork the database is the parent's: in the child every write is [`Error::Locked`], and dropping changes nothing.
/// Queries may work there, or wait for a thread that only the parent has: a child that reads opens a database of its own,
/// with [`Database::open_read_only`].
///
/// ```
/// use vecdb::{CollectionOptions, Database, Document, Vector};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("points.vecdb");
/// let db = Database::open(&path)?;
/// let points = db.create_collection("points", CollectionOptions::vectors(2))?;
/// points.add_vectors([
///     (Document::new("east", "to the right"), Vector::new(vec![1.0, 0.0])?),
///     (Document::new("north", "straight up"), Vector::new(vec![0.0, 1.0])?),
/// ])?;
/// let hits = points.query_vector(Vector::new(vec![0.1, 0.9])?).limit(1).run()?;
/// assert_eq!(hits[0].id, "north");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Database(Arc<Handle>);

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.0.path)
            .field("read_only", &self.0.read_only)
            .finish()
    }
}

impl Database {
    /// Opens for reading and writing; made if absent.
    ///
    /// # Errors
    /// As [`DatabaseOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        DatabaseOptions::default().open(path)
    }

    /// Opens for reading alone, beside whoever writes: takes no lock, waits for nobody and changes nothing. It is a
    /// snapshot of what is sealed, until [`Database::refresh`].
    ///
    /// ```
    /// # use vecdb::{CollectionOptions, Database, Document, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("points.vecdb");
    /// # let writer = Database::open(&path)?;
    /// # let points = writer.create_collection("points", CollectionOptions::vectors(2))?;
    /// let reader = Database::open_read_only(&path)?; // in this process or another
    /// let seen = reader.collection("points")?;
    /// points.add_vectors([(Document::new("east", ""), Vector::new(vec![1.0, 0.0])?)])?;
    /// writer.flush()?;
    /// assert!(seen.is_empty());
    /// assert!(reader.refresh()?);
    /// assert_eq!(seen.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`DatabaseOptions::open`], but never [`Error::Locked`]; [`Error::NotFound`] where there is no database.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().read_only().open(path)
    }

    /// Shows this reader what was sealed since it was opened, or since the last call, in all its collections and those that
    /// were made since. Returns whether there was something. Where there was nothing it reads two small files; otherwise it
    /// opens new segments and keeps those it has. A query, a [`Documents`] and whatever else has begun goes on with what it
    /// began with. For a writer there is never anything: it sees its own changes at once.
    ///
    /// The path is followed anew: where a link was led elsewhere, or another database put in its place, that one is shown.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the database was removed, [`Error::NotADatabase`], [`Error::NewerFormat`],
    /// [`Error::NeedsMigration`], [`Error::Damaged`], [`Error::Io`]. The reader then sees what it saw before.
    pub fn refresh(&self) -> Result<bool> {
        self.0.refresh()
    }

    /// Options to open with.
    pub fn options() -> DatabaseOptions {
        DatabaseOptions::default()
    }

    /// Was it opened without the right to write?
    pub fn is_read_only(&self) -> bool {
        self.0.read_only
    }

    /// The collection of this name; made, with cosine and the default encoder, if absent.
    ///
    /// # Errors
    /// [`Error::Collection`] for a name that cannot be used; [`Error::NoCollection`] if it is absent and the database is
    /// read-only; or the commit failed.
    pub fn collection(&self, name: &str) -> Result<Collection> {
        match self.existing_collection(name) {
            Err(Error::NoCollection { .. }) if !self.0.read_only => {
                self.create_collection(name, CollectionOptions::default())
            }
            found => found,
        }
    }

    /// The collection of this name.
    ///
    /// # Errors
    /// [`Error::NoCollection`] with the names that there are.
    pub fn existing_collection(&self, name: &str) -> Result<Collection> {
        let state = self.0.state(name).filter(|_| !versions::is_hidden(name));
        let state = state.ok_or_else(|| Error::NoCollection {
            name: name.to_owned(),
            known: self.collections().into_iter().map(|c| c.name).collect(),
        })?;
        Ok(Collection::new(&self.0, state))
    }

    /// A new collection with these settings; an existing one if its settings are the same.
    ///
    /// # Errors
    /// [`Error::Collection`] if it exists with other settings or the name cannot be used; [`Error::ReadOnly`]; or the
    /// commit failed.
    pub fn create_collection(&self, name: &str, options: CollectionOptions) -> Result<Collection> {
        let state = self.0.create(name, options.metric, options.dimension)?;
        let record = state.snapshot().record.clone();
        let own_vectors = options.dimension.is_some();
        if record.metric != options.metric
            || (own_vectors && (record.dimension != options.dimension || record.encoder.is_some()))
        {
            let dimension = record
                .dimension
                .map_or_else(|| "no vectors yet".into(), |d| format!("vectors of {d}"));
            let what = format!(
                "it exists with other settings ({}, {dimension})",
                record.metric
            );
            return Err(Error::Collection {
                name: name.to_owned(),
                what,
            });
        }
        Ok(Collection::new(&self.0, state))
    }

    /// What there is, by name.
    pub fn collections(&self) -> Vec<CollectionInfo> {
        self.0
            .states()
            .iter()
            .filter(|state| !versions::is_hidden(&state.name))
            .map(|state| CollectionInfo::of(&self.0, state))
            .collect()
    }

    /// Seals everything acknowledged into segments, so that other processes see it. Without it that happens at 10,000
    /// rows, after two seconds without a write ([`DatabaseOptions::seal_after_idle`]), and on close.
    ///
    /// # Errors
    /// The commit failed; what was acknowledged is still in the write-ahead rows.
    pub fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    /// Seals everything acknowledged and lets go of this handle. Dropping does the same, but cannot report.
    ///
    /// # Errors
    /// As [`Database::flush`].
    pub fn close(self) -> Result<()> {
        self.0.flush()
    }

    /// Merges segments until none is due: four of about the same size become one; one with more than a fifth of its
    /// passages deleted is written anew, with the smaller ones; and one of 4,000 passages or more that was sealed without
    /// a graph gets it. That happens in the background too, and on close for what is small; here it is
    /// waited for. `progress` is told what was done so far, from time to time and after each merge, and may do anything but
    /// compact or purge; `ControlFlow::Break` ends the call, and the merge in hand with nothing changed by it.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use vecdb::{CollectionOptions, Database, Document, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    /// for id in ["a", "b", "c", "d"] {
    ///     points.add_vectors([(Document::new(id, ""), Vector::new(vec![1.0, 0.0])?)])?;
    ///     db.flush()?; // a segment each
    /// }
    /// db.compact(|_| ControlFlow::Continue(()))?;
    /// assert_eq!(points.info().segments, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::ReadOnly`]; or the new segment could not be written. [`Error::Damaged`] if a segment is
    /// not as it was written: the others are merged without it first. Merges made before stay made.
    pub fn compact(
        &self,
        mut progress: impl FnMut(&Compacted) -> ControlFlow<()> + Send,
    ) -> Result<Compacted> {
        self.0.compact(&mut progress)
    }

    /// Erases what was deleted or replaced: no file in the database's folder holds its text or its vectors afterwards. All
    /// segments with deleted passages are written anew, however few these are and however much memory that takes; the
    /// catalog is too, since its log keeps what passed through it. Then every byte of every file, and every stored document,
    /// is searched for stretches of what was erased: see [`Purged`]. `progress` is as in [`Database::compact`].
    ///
    /// It is about files. The disk may keep the bytes of a removed file where nobody looks; a reader in another process
    /// keeps the files of its snapshot until it lets go of it; and a snapshot or a backup elsewhere keeps what it has.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use vecdb::{CollectionOptions, Database, Document, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    /// # let vector = Vector::new(vec![0.6, 0.8])?;
    /// # points.add_vectors([(Document::new("a", "kept"), vector.clone())])?;
    /// points.add_vectors([(Document::new("b", "nobody is to read this"), vector)])?;
    /// points.delete(["b"])?;
    /// let purged = db.purge(|_| ControlFlow::Continue(()))?;
    /// assert!(purged.is_proved() && purged.documents == 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::ReadOnly`], or something could not be written; [`Error::Collection`] while one is
    /// re-embedded. [`Error::Damaged`] if a segment is not as it was written: what it holds is not erased. What was written anew before stays so.
    pub fn purge(
        &self,
        mut progress: impl FnMut(&Compacted) -> ControlFlow<()> + Send,
    ) -> Result<Purged> {
        self.0.purge(&mut progress)
    }

    /// What kept the last merge or seal in the background from being made, if it failed; it is tried again. Nothing
    /// acknowledged is lost by it. A segment that a merge found damaged is told of from then on: it is left as it is until
    /// the database is opened again, and the others are merged without it.
    pub fn background_error(&self) -> Option<String> {
        let damage = || self.0.in_hand.damage().map(|error| error.to_string());
        self.0.background.error().or_else(damage)
    }

    /// What [`Database::migrate`] would do. Changes nothing and takes no lock.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADatabase`]; [`Error::NewerFormat`] if a newer vecdb wrote it;
    /// [`Error::Migration`] if its format is older than any that this version can begin with; [`Error::Damaged`] if FORMAT
    /// is not as it was written; [`Error::Io`].
    pub fn migration(path: impl AsRef<Path>) -> Result<Migration> {
        migrate::plan(path.as_ref())
    }

    /// Takes a database to the format that this version reads and writes, and tells what was done. Opening never does it: an
    /// older database is [`Error::NeedsMigration`] then. `progress` is told each step before it is taken: from which format,
    /// to which.
    ///
    /// Each step writes new files beside the old ones, which count until all of the new are durable, and then go. A crash or
    /// an error leaves the one or the other, whole; doing it again goes on from there. There is no way back but a copy made
    /// before. Where nothing is to be done, nothing is changed.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("notes.vecdb");
    /// # vecdb::Database::open(&path)?.close()?;
    /// let done = vecdb::Database::migrate(&path, |from, to| println!("from format {from} to {to}"))?;
    /// assert!(done.steps.is_empty(), "it was made by this version");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Database::migration`]; [`Error::Locked`] while another process writes; [`Error::Migration`] if a step
    /// failed.
    pub fn migrate(
        path: impl AsRef<Path>,
        mut progress: impl FnMut(u32, u32),
    ) -> Result<Migration> {
        migrate::migrate(path.as_ref(), &mut progress)
    }
}

/// May vectors of this encoder (`None`: the user's own) and dimension go into the collection?
fn fits(
    record: &CollectionRecord,
    encoder: Option<&EncoderRecord>,
    dimension: usize,
) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::Collection {
            name: record.name.clone(),
            what,
        })
    };
    match (&record.encoder, encoder) {
        (Some(stored), Some(given)) => embed::same_encoder(&record.name, stored, given)?,
        (Some(stored), None) => {
            return refuse(format!(
                "its vectors come from encoder {}; put your own into another collection",
                stored.name
            ));
        }
        (None, Some(_)) if record.metric != Metric::Cosine => {
            return refuse(format!(
                "it is under {}, and texts go into a collection under cosine",
                record.metric
            ));
        }
        (None, Some(_)) if record.dimension.is_some() => {
            return refuse(
                "it holds user-supplied vectors; put texts into another collection".into(),
            );
        }
        (None, _) => {}
    }
    match record.dimension {
        Some(expected) if expected != dimension => Err(Error::Dimension {
            expected,
            given: dimension,
        }),
        _ => Ok(()),
    }
}
