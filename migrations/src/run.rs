//! Which steps a database needs, and taking them.
//!
//! Each step is its own migration with its own commit, so a chain that breaks off goes on where it broke off:
//!
//! 1. remove what is left over from other generations than the current one
//! 2. make the empty folder of the next generation
//! 3. run the step
//! 4. fsync everything in it, and the database's folder
//! 5. write the new stamp beside the old one, fsync it
//! 6. rename it over the old one, fsync the folder: **the commit point**
//! 7. remove what is left over, now the old generation, and go on to the next step
//!
//! A crash before 6 leaves the old generation current and untouched; a crash after it leaves the new one, complete and
//! durable. In both cases the rest is a leftover, which 1 and 7 of the next run remove. What a run finds may be there in
//! memory only, if the one before it ended between the rename and the fsync: so the stamp is fsynced again before anything
//! is removed. `run/tests.rs` ends runs before every operation on files, cuts the power there, and does it again to the run
//! that follows.

use std::path::{Path, PathBuf};

use crate::files::{Files, SystemFiles};
use crate::layout::{bytes, data_folder, leftovers, remove, sync_all};
use crate::stamp::Stamp;
use crate::step::{STEPS, Step};
use crate::{CURRENT_FORMAT, Error, Result};

/// What migrating a database would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Where the database stands.
    pub stamp: Stamp,
    /// The steps to be taken: from which format, to which. Empty if it is current.
    pub steps: Vec<(u32, u32)>,
    /// About so much free space is needed while a step runs: both generations lie on disk then, and files that stay the same
    /// only once. 0 without steps.
    pub bytes_needed: u64,
    /// Files and folders left over from an interrupted run, which the next run removes.
    pub leftovers: Vec<PathBuf>,
}

impl Plan {
    /// Where the database will lie when all steps are taken; `None` without steps.
    pub fn folder(&self, database: &Path) -> Option<PathBuf> {
        let steps = Some(self.steps.len() as u64).filter(|&steps| steps > 0)?;
        let generation = self.stamp.generation.checked_add(steps)?;
        Some(data_folder(database, generation))
    }
}

/// Looks at a database and changes nothing.
///
/// # Errors
/// [`Error::NotADatabase`] and [`Error::Damaged`] by its stamp, [`Error::Newer`], [`Error::NoStep`], [`Error::Io`].
pub fn plan(database: &Path) -> Result<Plan> {
    Runner::RELEASED.plan(database)
}

/// Takes a database to [`CURRENT_FORMAT`], step by step. `progress` is told each step before it is taken: from which format,
/// to which. The caller holds the database's lock.
///
/// # Errors
/// Those of [`plan`], and [`Error::Step`]. The database is then at the last format that was reached, whole, and running
/// again goes on from there.
pub fn migrate(database: &Path, progress: impl FnMut(u32, u32)) -> Result<Stamp> {
    Runner::RELEASED.migrate(database, progress)
}

struct Runner<'a> {
    steps: &'a [&'a dyn Step],
    current: u32,
    files: &'a dyn Files,
}

impl Runner<'static> {
    const RELEASED: Self = Self {
        steps: STEPS,
        current: CURRENT_FORMAT,
        files: &SystemFiles,
    };
}

impl Runner<'_> {
    fn plan(&self, database: &Path) -> Result<Plan> {
        let what = "it has no file FORMAT";
        let stamp = Stamp::read(database)?.ok_or_else(|| Error::NotADatabase {
            path: database.to_path_buf(),
            what,
        })?;
        let (mut format, mut steps) = (stamp.format, Vec::new());
        while format < self.current {
            let step = self.step(database, format)?;
            steps.push((step.from(), step.to()));
            format = step.to();
        }
        if format > self.current {
            return Err(Error::Newer {
                path: database.to_path_buf(),
                found: format,
                supported: self.current,
            });
        }
        let current = data_folder(database, stamp.generation);
        Ok(Plan {
            stamp,
            bytes_needed: if steps.is_empty() {
                0
            } else {
                bytes(&current)?
            },
            steps,
            leftovers: leftovers(database, stamp.generation)?,
        })
    }

    fn step(&self, database: &Path, from: u32) -> Result<&dyn Step> {
        let step = self
            .steps
            .iter()
            .find(|step| step.from() == from && step.to() > from);
        step.copied().ok_or_else(|| Error::NoStep {
            path: database.to_path_buf(),
            from,
        })
    }

    fn migrate(&self, database: &Path, mut progress: impl FnMut(u32, u32)) -> Result<Stamp> {
        let plan = self.plan(database)?;
        let mut stamp = plan.stamp;
        self.remove_leftovers(database, stamp)?;
        for (from, to) in plan.steps {
            progress(from, to);
            stamp = self.take(self.step(database, from)?, database, stamp)?;
            self.remove_leftovers(database, stamp)?;
        }
        Ok(stamp)
    }

    fn take(&self, step: &dyn Step, database: &Path, old: Stamp) -> Result<Stamp> {
        let what = "its generation cannot grow";
        let generation = old
            .generation
            .checked_add(1)
            .ok_or_else(|| Error::Damaged {
                path: database.to_path_buf(),
                what,
            })?;
        let (old_folder, new_folder) = (
            data_folder(database, old.generation),
            data_folder(database, generation),
        );
        let files = self.files;
        files
            .create_folder(&new_folder)
            .map_err(Error::io("make", &new_folder))?;
        let (from, to) = (step.from(), step.to());
        if let Err(source) = step.migrate(&old_folder, &new_folder) {
            // The step's own error tells more than one about the clearing up, which the next run does anyway.
            let _ = remove(files, &new_folder);
            return Err(Error::Step { from, to, source });
        }
        sync_all(files, &new_folder)?;
        files.sync(database).map_err(Error::io("sync", database))?;
        let new = Stamp {
            format: to,
            generation,
        };
        new.replace(files, database)?;
        Ok(new)
    }

    fn remove_leftovers(&self, database: &Path, stamp: Stamp) -> Result<()> {
        let leftovers = leftovers(database, stamp.generation)?;
        if leftovers.is_empty() {
            return Ok(());
        }
        let sync = |path: &Path| self.files.sync(path).map_err(Error::io("sync", path));
        sync(&Stamp::path(database))?;
        sync(database)?;
        leftovers
            .iter()
            .try_for_each(|path| remove(self.files, path))?;
        sync(database)
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
