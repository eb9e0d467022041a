//! What a child does until it is killed.

use std::fs;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use vecdb::{Collection, CollectionOptions, Database, Document, Result, SnapshotOptions};

use super::log::{Change, Log};
use super::{DIMENSION, IDS, LONG, MANY, vector};
use crate::random::Random;

type Call = fn(&mut Child) -> Result<()>;

/// A call, and how often it is made among all. To try another verb, add a line: one that changes no document needs a
/// function that makes it, and one that does says what it is about to do by [`Child::change`].
const CALLS: &[(&str, u64, Call)] = &[
    ("put", 16, Child::put),
    ("delete", 6, Child::delete),
    ("put-long", 4, Child::put_long),
    ("put-many", 1, Child::put_many),
    ("delete-many", 1, Child::delete_many),
    ("seal", 12, Child::seal),
    ("compact", 6, Child::compact),
    ("purge", 2, Child::purge),
    ("snapshot", 2, Child::snapshot),
    ("reopen", 2, Child::reopen),
    ("repair", 1, Child::repair),
];

/// A process that writes.
pub struct Child {
    path: PathBuf,
    /// `None` only while it is reopened.
    db: Option<Database>,
    log: Log,
    random: Random,
    version: u64,
    /// Of the documents that are written.
    title: String,
    segments: u64,
}

impl Child {
    pub fn new(folder: &Path, seed: u64) -> Result<Self> {
        let mut child = Self {
            path: folder.join("k.vecdb"),
            db: None,
            log: Log::append(&folder.join("log")),
            random: Random(seed),
            // Grows from child to child, since seeds do.
            version: seed % 10_000 * 1_000_000,
            title: String::new(),
            segments: 0,
        };
        child.open()?;
        Ok(child)
    }

    /// Makes calls until one fails.
    pub fn run(&mut self) -> Result<()> {
        // What the parent left due.
        self.compact()?;
        let all = CALLS.iter().map(|(_, often, _)| often).sum();
        loop {
            let mut chosen = self.random.below(all);
            let call = CALLS.iter().find(|(_, often, _)| {
                let is_it = chosen < *often;
                chosen = chosen.saturating_sub(*often);
                is_it
            });
            let (name, _, call) = call.expect("below the sum");
            self.version += 1;
            call(self)?;
            self.log.did(name);
            let segments = self.points()?.info().segments;
            if segments < self.segments {
                self.log.did("merge");
            }
            self.segments = segments;
        }
    }

    fn db(&self) -> &Database {
        self.db.as_ref().expect("open")
    }

    fn points(&self) -> Result<Collection> {
        self.db().existing_collection("points")
    }

    fn open(&mut self) -> Result<()> {
        let db = Database::open(&self.path)?;
        for name in ["points", "others"] {
            db.create_collection(name, CollectionOptions::vectors(DIMENSION))?;
        }
        self.db = Some(db);
        Ok(())
    }

    /// Adds documents, and replaces those that are there.
    fn put(&mut self) -> Result<()> {
        let (name, ids) = self.few();
        self.change(name, ids, true)
    }

    fn delete(&mut self) -> Result<()> {
        let (name, ids) = self.few();
        self.change(name, ids, false)
    }

    /// So much that sled's log goes round: it writes over parts of itself that it needs no more.
    fn put_long(&mut self) -> Result<()> {
        self.title = "long ".repeat(4_000);
        let put = self.change("points", LONG, true);
        self.title.clear();
        put
    }

    /// So many that their segment is written at once.
    fn put_many(&mut self) -> Result<()> {
        self.change("others", MANY, true)
    }

    fn delete_many(&mut self) -> Result<()> {
        self.change("others", MANY, false)
    }

    fn seal(&mut self) -> Result<()> {
        self.db().flush()
    }

    fn compact(&mut self) -> Result<()> {
        let made = self.db().compact(|_| ControlFlow::Continue(()));
        made.map(|_| ())
    }

    fn purge(&mut self) -> Result<()> {
        let purged = self.db().purge(|_| ControlFlow::Continue(()))?;
        assert!(purged.is_proved(), "{:?}", purged.problems);
        Ok(())
    }

    /// A copy, opened, and removed again.
    fn snapshot(&mut self) -> Result<()> {
        let to = self.path.with_extension("copy");
        // A kill left one.
        let _ = fs::remove_dir_all(&to);
        self.db().snapshot(&to, SnapshotOptions::default())?;
        let copy = Database::open(&to)?;
        for info in self.db().collections() {
            let copied = copy.existing_collection(&info.name)?;
            assert_eq!(copied.len(), info.documents, "{}", info.name);
        }
        copy.close()?;
        let _ = fs::remove_dir_all(&to);
        Ok(())
    }

    fn reopen(&mut self) -> Result<()> {
        self.db.take().expect("open").close()?;
        self.open()
    }

    /// Of what is whole.
    fn repair(&mut self) -> Result<()> {
        self.db.take().expect("open").close()?;
        let repaired = Database::repair(&self.path)?;
        assert!(repaired.done.is_empty(), "{:?}", repaired.done);
        self.open()
    }

    fn few(&mut self) -> (&'static str, Range<u64>) {
        let name = ["points", "points", "others"][self.random.place(3)];
        let first = self.random.below(IDS);
        (name, first..IDS.min(first + 1 + self.random.below(5)))
    }

    /// Logs what it is about to do, and does it: the documents become a new version, or are deleted.
    fn change(&mut self, name: &str, ids: Range<u64>, puts: bool) -> Result<()> {
        let version = self.version;
        self.log.tries(&Change {
            collection: name.into(),
            ids: ids.clone(),
            version: puts.then_some(version),
        });
        let collection = self.db().existing_collection(name)?;
        if !puts {
            return collection.delete(ids.map(|id| id.to_string())).map(|_| ());
        }
        let document = |id: u64| {
            let text = format!("version {version} of {id}");
            let document = Document::new(id.to_string(), text).field("version", version as i64);
            (document.title(&*self.title), vector(id, version))
        };
        collection.add_vectors(ids.map(document)).map(|_| ())
    }
}
