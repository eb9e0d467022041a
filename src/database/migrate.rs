//! An older database, made one that this version reads.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::store;

/// What a migration is to do, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The format that the database has.
    pub from: u32,
    /// The format that this version reads and writes.
    pub to: u32,
    /// From which format to which, step by step. Empty if the database is current.
    pub steps: Vec<(u32, u32)>,
    /// The folder that the new files are written into. `None` without steps.
    pub into: Option<PathBuf>,
    /// About so much free space is needed: the old files go when the new ones are whole.
    pub bytes_needed: u64,
    /// Files and folders left over from an interrupted migration, which go.
    pub leftovers: Vec<PathBuf>,
}

impl Migration {
    fn new(database: &Path, plan: store::Plan) -> Self {
        Self {
            from: plan.stamp.format,
            to: store::FORMAT,
            into: plan.folder(database),
            steps: plan.steps,
            bytes_needed: plan.bytes_needed,
            leftovers: plan.leftovers,
        }
    }
}

pub(super) fn plan(path: &Path) -> Result<Migration> {
    Ok(Migration::new(path, store::migration(path)?))
}

pub(super) fn migrate(path: &Path, progress: &mut dyn FnMut(u32, u32)) -> Result<Migration> {
    Ok(Migration::new(path, store::migrate(path, progress)?))
}
