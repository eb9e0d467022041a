//! A database of an older format → the current one.

use std::path::Path;

use vecdb_migrations::CURRENT_FORMAT;
pub(crate) use vecdb_migrations::Plan;

use super::dir::Disk;
use super::lock::Lock;
use super::recover::from_migrations;
use crate::error::{Error, Result};

/// The format that this build reads and writes.
pub(crate) const FORMAT: u32 = CURRENT_FORMAT;

/// What migrating would do. Takes no lock and changes nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotADatabase`], [`Error::NewerFormat`], [`Error::Damaged`], [`Error::Migration`],
/// [`Error::Io`].
pub(crate) fn migration(root: &Path) -> Result<Plan> {
    if !root.exists() {
        return Err(Error::NotFound {
            path: root.to_path_buf(),
        });
    }
    vecdb_migrations::plan(root).map_err(from_migrations)
}

/// Takes the steps, under the writer's lock. `progress` is told each before it is taken. Returns what was done.
///
/// # Errors
/// Those of [`migration`]; [`Error::Locked`].
pub(crate) fn migrate(root: &Path, progress: &mut dyn FnMut(u32, u32)) -> Result<Plan> {
    let seen = migration(root)?;
    if seen.steps.is_empty() && seen.leftovers.is_empty() {
        return Ok(seen);
    }
    let _lock = Lock::acquire(root, &Disk::default().0)?;
    // Only now: another process may have done it, or a part of it.
    let plan = migration(root)?;
    vecdb_migrations::migrate(root, progress).map_err(from_migrations)?;
    Ok(plan)
}
