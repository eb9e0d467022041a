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
//! durable. In both cases the rest is a leftover, which 1 and 7 of the next run remove.

use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::{data_folder, leftovers, remove, sync_all, sync_folder};
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
    /// Files and folders left over from an interrupted run, which the next run removes.
    pub leftovers: Vec<PathBuf>,
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

/// Where a run can break off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Started,
    FolderMade,
    StepTaken,
    Synced,
    StampWritten,
    Committed,
    LeftoverRemoved,
}

struct Runner<'a> {
    steps: &'a [&'a dyn Step],
    current: u32,
    /// Called at each moment; a test breaks off there.
    pause: &'a dyn Fn(Moment) -> Result<()>,
}

impl Runner<'static> {
    const RELEASED: Self = Self {
        steps: STEPS,
        current: CURRENT_FORMAT,
        pause: &|_| Ok(()),
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
        Ok(Plan {
            stamp,
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
        (self.pause)(Moment::Started)?;
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
        fs::create_dir(&new_folder).map_err(Error::io("make", &new_folder))?;
        (self.pause)(Moment::FolderMade)?;
        let (from, to) = (step.from(), step.to());
        if let Err(source) = step.migrate(&old_folder, &new_folder) {
            // The step's own error tells more than one about the clearing up, which the next run does anyway.
            let _ = remove(&new_folder);
            return Err(Error::Step { from, to, source });
        }
        (self.pause)(Moment::StepTaken)?;
        sync_all(&new_folder)?;
        sync_folder(database)?;
        (self.pause)(Moment::Synced)?;
        let new = Stamp {
            format: to,
            generation,
        };
        new.write_temporary(database)?;
        (self.pause)(Moment::StampWritten)?;
        Stamp::rename(database)?;
        (self.pause)(Moment::Committed)?;
        Ok(new)
    }

    fn remove_leftovers(&self, database: &Path, stamp: Stamp) -> Result<()> {
        for path in leftovers(database, stamp.generation)? {
            remove(&path)?;
            (self.pause)(Moment::LeftoverRemoved)?;
        }
        sync_folder(database)
    }
}

#[cfg(test)]
mod tests;
