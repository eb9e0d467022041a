//! The second pass: the documents, one at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::plan::Reading;
use super::read::{self, Record, Records};
use super::walk::SourceFile;
use crate::document::Document;
use crate::error::{Error, Result};

/// The documents of a plan. Bad records that the plan left out are left out again.
///
/// An item is an error where a file can no longer be read or has changed since the plan was made; nothing follows it.
pub struct Documents {
    reading: Arc<Reading>,
    /// The number of the next file.
    next_file: usize,
    /// The records of the file before that.
    records: Option<Records>,
    is_done: bool,
}

impl Documents {
    pub(super) fn new(reading: Arc<Reading>) -> Self {
        Self {
            reading,
            next_file: 0,
            records: None,
            is_done: false,
        }
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        loop {
            if let Some(records) = &mut self.records {
                match records.next() {
                    Some(Ok(record)) if !self.reading.is_left_out(self.next_file - 1, &record) => {
                        return Ok(Some(record.document));
                    }
                    Some(Err(Error::Input { .. })) if self.reading.options.skip_bad => {}
                    Some(Err(error)) => return Err(error),
                    Some(Ok(_)) => {}
                    None => self.records = None,
                }
                continue;
            }
            let Some((file, stamp)) = self.reading.files.get(self.next_file) else {
                return Ok(None);
            };
            self.next_file += 1;
            let Some(planned) = stamp else { continue };
            let opened = read::open(file, &self.reading.options, &Arc::new(AtomicU64::new(0)))?;
            if opened.stamp != *planned {
                return Err(changed(file));
            }
            self.records = Some(opened.records);
        }
    }
}

impl Reading {
    /// The plan saw the same record, so what is left out here was told there.
    fn is_left_out(&self, file: usize, record: &Record) -> bool {
        let place = (
            u32::try_from(file).unwrap_or(u32::MAX),
            record.line.unwrap_or(0),
        );
        self.repeated.contains(&place)
            || (self.options.skip_bad && record.document.validate().is_err())
    }
}

fn changed(file: &SourceFile) -> Error {
    Error::Input {
        place: file.shown.clone(),
        what: "it changed after it was checked; run again".into(),
    }
}

impl Iterator for Documents {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let item = self.advance().transpose();
        self.is_done = !matches!(item, Some(Ok(_)));
        item
    }
}
