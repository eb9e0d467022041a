//! What a damaged file still tells: the ids of its documents, as far as their blocks are as they were written.

use std::path::Path;

use super::documents::ENTRY_BYTES;
use super::format::{Kind, u32_at, u64_at};
use super::map::Map;
use super::sections::Sections;
use crate::error::Result;

/// A document that is known by name.
pub(crate) struct Named {
    pub first_row: u32,
    pub id: String,
}

/// The documents of a segment that need not open. None where its frame, which says where things lie, is damaged too.
///
/// # Errors
/// Nothing of the file can be told.
pub(crate) fn named_documents(path: &Path) -> Result<Vec<Named>> {
    let sections = Sections::frame(Map::open(path)?, path)?;
    let documents = sections.range(Kind::Documents).len() / ENTRY_BYTES;
    let named = (0..documents).filter_map(|document| {
        let start = document * ENTRY_BYTES;
        let entry = sections.verified(Kind::Documents, start..start + ENTRY_BYTES);
        let entry = entry.ok()?;
        let (first_row, bytes) = (u32_at(entry, 0)?, u32_at(entry, 4)? as usize);
        let start = usize::try_from(u64_at(entry, 8)?).ok()?;
        let end = start.checked_add(bytes)?;
        if end > sections.range(Kind::Ids).len() {
            return None;
        }
        let id = sections.verified(Kind::Ids, start..end).ok()?;
        let id = String::from_utf8(id.to_vec()).ok()?;
        Some(Named { first_row, id })
    });
    Ok(named.collect())
}
