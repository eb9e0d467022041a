//! One call at a time changes versions.

use std::sync::{Mutex, PoisonError};

use crate::database::inner::Inner;
use crate::error::{Error, Result};

/// What a call does that changes versions.
#[derive(Clone, Debug)]
pub(in crate::database) enum Busy {
    /// A version of this collection is made, gone back to or let go of.
    Reembedding(String),
    Purging,
}

/// The one call that changes versions.
pub(in crate::database) struct Alone<'a>(&'a Mutex<Option<Busy>>);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Inner {
    /// Keeps other calls from changing versions.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Collection`] while another one does so.
    pub(in crate::database) fn alone(&self, busy: Busy) -> Result<Alone<'_>> {
        if self.read_only {
            return Err(Error::ReadOnly {
                path: self.path.clone(),
            });
        }
        let mut slot = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let refuse = |name: &str, what: &str| {
            Err(Error::Collection {
                name: name.to_owned(),
                what: what.into(),
            })
        };
        match (&*slot, &busy) {
            (None, _) => {
                *slot = Some(busy);
                Ok(Alone(&self.versions))
            }
            (Some(Busy::Reembedding(name)), _) => refuse(
                name,
                "it is being re-embedded already; wait until that is done",
            ),
            (Some(Busy::Purging), Busy::Reembedding(name)) => refuse(
                name,
                "the database is being purged; wait until that is done",
            ),
            (Some(Busy::Purging), Busy::Purging) => {
                refuse("", "the database is being purged already")
            }
        }
    }
}
