//! A whole file as one document.

use std::io::Read;

use super::lines::whole;
use super::{Origin, Record};
use crate::document::Document;
use crate::error::Result;

pub(super) fn read(reader: impl Read, origin: &Origin) -> Result<Record> {
    let text = whole(reader, origin, origin.options.max_bytes)?;
    let document = Document::new(origin.id.clone(), text).source(origin.shown.clone());
    Ok(Record::new(None, document))
}

/// A program's name says what it is about, and its text often does not.
pub(super) fn code(reader: impl Read, origin: &Origin) -> Result<Record> {
    let mut record = read(reader, origin)?;
    let name = origin.id.rsplit('/').next().unwrap_or(&origin.id);
    record.document.title = Some(name.to_owned());
    Ok(record)
}
