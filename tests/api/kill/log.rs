//! What a child means to do and what was acknowledged; and so, what must be there.
//!
//! A line each, written by one call before and after the call to the database: `try points 3..7 12` (documents 3 to 6 of
//! `points` become version 12), `try points 3..7 -` (they are deleted), `did put`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// Version by id.
pub type Versions = BTreeMap<u64, u64>;

/// What a call does to the documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub collection: String,
    pub ids: Range<u64>,
    /// `None` deletes them.
    pub version: Option<u64>,
}

impl Change {
    pub fn apply(&self, stored: &mut BTreeMap<String, Versions>) {
        let documents = stored.entry(self.collection.clone()).or_default();
        for id in self.ids.clone() {
            match self.version {
                Some(version) => documents.insert(id, version),
                None => documents.remove(&id),
            };
        }
    }

    fn parse(told: &str) -> Option<Self> {
        let mut words = told.split(' ');
        let (collection, ids, version) = (words.next()?, words.next()?, words.next()?);
        let (first, end) = ids.split_once("..")?;
        Some(Self {
            collection: collection.into(),
            ids: first.parse().ok()?..end.parse().ok()?,
            version: version.parse().ok(),
        })
    }
}

/// The child's side.
pub struct Log(File);

impl Log {
    pub fn append(path: &Path) -> Self {
        let file = File::options().append(true).create(true).open(path);
        Self(file.expect("a log"))
    }

    pub fn tries(&mut self, change: &Change) {
        let Change {
            collection,
            ids,
            version,
        } = change;
        let version = version.map_or("-".into(), |version| version.to_string());
        let Range { start, end } = ids;
        self.line(&format!("try {collection} {start}..{end} {version}\n"));
    }

    pub fn did(&mut self, call: &str) {
        self.line(&format!("did {call}\n"));
    }

    /// One write: a kill leaves whole lines.
    fn line(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).expect("logs");
    }
}

/// The parent's side: all that was logged.
#[derive(Default)]
pub struct Told {
    /// What was acknowledged.
    pub sure: BTreeMap<String, Versions>,
    /// The call that was not.
    pub open: Option<Change>,
    /// Acknowledged calls, by name.
    pub calls: BTreeMap<String, u64>,
}

impl Told {
    pub fn read(path: &Path) -> Self {
        let mut told = Self::default();
        let Ok(lines) = fs::read_to_string(path) else {
            return told;
        };
        for line in lines.lines() {
            match line.split_once(' ') {
                Some(("try", change)) => {
                    told.open = Some(Change::parse(change).expect("a whole line"));
                }
                Some(("did", call)) => {
                    *told.calls.entry(call.into()).or_default() += 1;
                    if let Some(change) = told.open.take() {
                        change.apply(&mut told.sure);
                    }
                }
                _ => panic!("{line:?}"),
            }
        }
        told
    }
}
