//! What a step is, and the steps there are.

use std::path::Path;

/// Why a step failed, in the step's own words.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// Takes a database from one format to the next.
///
/// A step is frozen on the day it is released: it holds copies of the layouts it reads and writes, and uses no live type of
/// vecdb. The runner opens and closes generations; a step only reads and writes files.
pub trait Step: Sync {
    /// The format that it reads.
    fn from(&self) -> u32;

    /// The format that it writes, higher than [`Step::from`].
    fn to(&self) -> u32;

    /// Reads the generation in `old` and fills `new`, an empty folder.
    ///
    /// Nothing in `old` may be changed. It may be the database's own folder, which also holds `FORMAT`, `LOCK` and `new`: a
    /// step takes the files of its format by their names and lists no folder it has no name for. Files that stay the same
    /// can be hard-linked. What is written need not be synced; the runner does that.
    ///
    /// # Errors
    /// Whatever keeps the step from finishing, damage in `old` above all. `new` is removed then.
    fn migrate(&self, old: &Path, new: &Path) -> Result<(), StepError>;
}

/// All steps, oldest first. Format 1 is the first, so there is none yet.
pub(crate) const STEPS: &[&dyn Step] = &[];
