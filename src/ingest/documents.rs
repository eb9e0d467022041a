//! The second pass: the documents, one at a time.

use crate::document::Document;
use crate::error::Result;

/// The documents of a plan. Bad records that the plan skipped are skipped again.
///
/// An item is an error where a file can no longer be read or is not what the plan saw; nothing follows an error.
pub struct Documents {}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
