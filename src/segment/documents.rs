//! The tables of documents and rows: who owns which row, and which bytes of the text a row's passage is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::iter::Copied;
use std::ops::Range;
use std::slice::Iter;

use super::format::{Header, Kind, u32_at, u64_at};
use super::kernel::prefetch_line;
use super::map::as_u32;
use super::sections::Sections;
use super::source::{Source, Stop};
use crate::document::MAX_ID_BYTES;
use crate::error::{Error, Result};

/// Bytes of a document's entry.
pub(super) const ENTRY_BYTES: usize = 40;
const RANGE_BYTES: usize = 16;
/// So many ids are sorted at once.
const RUN: usize = 16_384;

/// The documents by id.
///
/// # Errors
/// [`Error::DuplicateId`]; [`Error::Cancelled`] if `stop` said so.
pub(super) fn id_order(source: &dyn Source, stop: Stop<'_>) -> Result<Vec<u32>> {
    let order = sorted_by_id(source, RUN, stop)?;
    let mut pairs = order.windows(2);
    match pairs.find(|pair| source.id(pair[0]) == source.id(pair[1])) {
        Some(pair) => Err(Error::DuplicateId {
            id: source.id(pair[0]).to_owned(),
        }),
        None => Ok(order),
    }
}

/// In runs that are then merged, since a sort cannot be stopped and one of millions of ids takes seconds.
fn sorted_by_id(source: &dyn Source, run: usize, stop: Stop<'_>) -> Result<Vec<u32>> {
    let go_on = || {
        if stop() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    };
    let mut sorted: Vec<u32> = (0..source.documents()).collect();
    for run in sorted.chunks_mut(run) {
        go_on()?;
        run.sort_unstable_by(|&a, &b| source.id(a).cmp(source.id(b)));
    }
    if sorted.len() <= run {
        return Ok(sorted);
    }
    let mut runs: Vec<_> = sorted.chunks(run).map(|run| run.iter().copied()).collect();
    let first = |(nth, left): (usize, &mut Copied<Iter<'_, u32>>)| {
        let document = left.next()?;
        Some(Reverse((source.id(document), document, nth)))
    };
    let mut heads: BinaryHeap<_> = runs.iter_mut().enumerate().filter_map(first).collect();
    let mut order = Vec::with_capacity(sorted.len());
    while let Some(Reverse((_, document, nth))) = heads.pop() {
        if order.len().is_multiple_of(run) {
            go_on()?;
        }
        order.push(document);
        heads.extend(first((nth, &mut runs[nth])));
    }
    Ok(order)
}

/// Writes [`Kind::Documents`].
pub(super) fn write_entries(source: &dyn Source, out: &mut dyn Write) -> io::Result<()> {
    let mut id_start = 0u64;
    for document in 0..source.documents() {
        let id_bytes = source.id(document).len();
        out.write_all(&source.rows_of(document).start.to_le_bytes())?;
        out.write_all(&(id_bytes as u32).to_le_bytes())?;
        out.write_all(&id_start.to_le_bytes())?;
        out.write_all(&(source.text_bytes(document) as u64).to_le_bytes())?;
        out.write_all(&source.content_hash(document).to_le_bytes())?;
        id_start += id_bytes as u64;
    }
    Ok(())
}

/// Writes [`Kind::Ids`].
pub(super) fn write_ids(source: &dyn Source, out: &mut dyn Write) -> io::Result<()> {
    (0..source.documents()).try_for_each(|document| out.write_all(source.id(document).as_bytes()))
}

/// Writes [`Kind::RowRanges`].
pub(super) fn write_ranges(source: &dyn Source, out: &mut dyn Write) -> io::Result<()> {
    (0..source.rows()).try_for_each(|row| {
        let range = source.range(row);
        out.write_all(&(range.start as u64).to_le_bytes())?;
        out.write_all(&(range.end as u64).to_le_bytes())
    })
}

/// Writes [`Kind::RowDocuments`].
pub(super) fn write_row_documents(source: &dyn Source, out: &mut dyn Write) -> io::Result<()> {
    (0..source.documents()).try_for_each(|document| {
        source
            .rows_of(document)
            .try_for_each(|_| out.write_all(&document.to_le_bytes()))
    })
}

/// The tables of an open segment.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    entries: &'a [u8],
    ids: &'a [u8],
    id_order: &'a [u32],
    ranges: &'a [u8],
    row_documents: &'a [u32],
}

impl<'a> Tables<'a> {
    /// The tables, not yet validated.
    pub fn new(sections: &'a Sections) -> Self {
        Self {
            entries: sections.bytes(Kind::Documents),
            ids: sections.bytes(Kind::Ids),
            id_order: as_u32(sections.bytes(Kind::IdOrder)),
            ranges: sections.bytes(Kind::RowRanges),
            row_documents: as_u32(sections.bytes(Kind::RowDocuments)),
        }
    }

    /// Checks every entry, so that the methods below hold their promises.
    pub fn validate(&self, sections: &Sections) -> Result<()> {
        let Header {
            rows, documents, ..
        } = sections.header();
        sections.expect_length(
            Kind::Documents,
            (documents as usize).checked_mul(ENTRY_BYTES),
        )?;
        sections.expect_length(Kind::IdOrder, (documents as usize).checked_mul(4))?;
        sections.expect_length(Kind::RowRanges, (rows as usize).checked_mul(RANGE_BYTES))?;
        sections.expect_length(Kind::RowDocuments, (rows as usize).checked_mul(4))?;
        let entry_damaged =
            |at: u32, what| sections.damaged(Kind::Documents, at as usize * ENTRY_BYTES, what);
        let (mut next_row, mut next_id) = (0u32, 0u64);
        for document in 0..documents {
            let Entry {
                first_row,
                id_bytes,
                id_start,
                text_bytes,
            } = self.entry(document);
            if first_row != next_row || id_start != next_id || id_bytes as usize > MAX_ID_BYTES {
                return Err(entry_damaged(
                    document,
                    "an entry does not follow the one before it",
                ));
            }
            next_id += u64::from(id_bytes);
            let id = usize::try_from(id_start)
                .ok()
                .zip(usize::try_from(next_id).ok());
            if id
                .and_then(|(start, end)| self.ids.get(start..end))
                .and_then(|id| str::from_utf8(id).ok())
                .is_none()
            {
                return Err(entry_damaged(document, "an id is not UTF-8 inside the ids"));
            }
            let mut start_before = 0;
            while next_row < rows && self.row_documents[next_row as usize] == document {
                let (start, end) = self.raw_range(next_row);
                let first = next_row == first_row;
                if start > end || end > text_bytes || start < start_before || (first && start != 0)
                {
                    let at = next_row as usize * RANGE_BYTES;
                    return Err(sections.damaged(
                        Kind::RowRanges,
                        at,
                        "a passage lies outside its document's text or out of order",
                    ));
                }
                start_before = start;
                next_row += 1;
            }
            if next_row == first_row || usize::try_from(text_bytes).is_err() {
                return Err(entry_damaged(document, "a document has no row"));
            }
        }
        if next_row != rows || next_id != self.ids.len() as u64 {
            return Err(sections.damaged(
                Kind::RowDocuments,
                next_row as usize * 4,
                "rows or ids belong to no document",
            ));
        }
        if self.id_order.iter().any(|&document| document >= documents) {
            return Err(sections.damaged(
                Kind::IdOrder,
                0,
                "it names a document that is not there",
            ));
        }
        // Strictly increasing ids are all different, so the order names each document once.
        if let Some(at) = self
            .id_order
            .windows(2)
            .position(|pair| self.id(pair[0]) >= self.id(pair[1]))
        {
            return Err(sections.damaged(Kind::IdOrder, at * 4, "the ids do not stand in order"));
        }
        Ok(())
    }

    /// The ordinal of the document with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        let at = self
            .id_order
            .binary_search_by(|&document| self.id(document).cmp(id))
            .ok()?;
        Some(self.id_order[at])
    }

    pub fn id(&self, document: u32) -> &'a str {
        let Entry {
            id_start, id_bytes, ..
        } = self.entry(document);
        let start = id_start as usize;
        str::from_utf8(&self.ids[start..start + id_bytes as usize])
            .expect("`validate` read every id")
    }

    pub fn content_hash(&self, document: u32) -> u128 {
        let bytes = &self.entries[document as usize * ENTRY_BYTES..][24..40];
        bytes
            .first_chunk()
            .map(|chunk| u128::from_le_bytes(*chunk))
            .expect("an entry has 40 bytes")
    }

    pub fn rows_of(&self, document: u32) -> Range<u32> {
        let next = document as usize + 1;
        let end = if next * ENTRY_BYTES < self.entries.len() {
            self.entry(next as u32).first_row
        } else {
            self.row_documents.len() as u32
        };
        self.entry(document).first_row..end
    }

    /// Asks for the row's document and range from memory.
    pub fn prefetch_row(&self, row: u32) {
        let document = self.document_of(row) as usize;
        prefetch_line(&self.entries[document * ENTRY_BYTES..]);
        prefetch_line(&self.ranges[row as usize * RANGE_BYTES..]);
    }

    /// Asks for the id of the row's document from memory.
    pub fn prefetch_id(&self, row: u32) {
        let start = self.entry(self.document_of(row)).id_start as usize;
        prefetch_line(self.ids.get(start..).unwrap_or_default());
    }

    pub fn document_of(&self, row: u32) -> u32 {
        // As many documents as rows: each has one, its own number.
        if self.entries.len() == ENTRY_BYTES * self.row_documents.len() {
            row
        } else {
            self.row_documents[row as usize]
        }
    }

    /// Bytes of the document's text.
    pub fn range(&self, row: u32) -> Range<usize> {
        let (start, end) = self.raw_range(row);
        start as usize..end as usize
    }

    /// Bytes of the document's text.
    pub fn text_bytes(&self, document: u32) -> usize {
        self.entry(document).text_bytes as usize
    }

    /// The bytes of the text that are stored with this row: from its passage's start to the next passage's.
    pub fn piece(&self, row: u32) -> Range<usize> {
        let document = self.document_of(row);
        let next = row + 1;
        let end = if next < self.rows_of(document).end {
            self.range(next).start
        } else {
            self.text_bytes(document)
        };
        self.range(row).start..end
    }

    fn entry(&self, document: u32) -> Entry {
        let bytes = &self.entries[document as usize * ENTRY_BYTES..][..ENTRY_BYTES];
        let (u32s, u64s) = (
            |at| u32_at(bytes, at).unwrap_or_default(),
            |at| u64_at(bytes, at).unwrap_or_default(),
        );
        Entry {
            first_row: u32s(0),
            id_bytes: u32s(4),
            id_start: u64s(8),
            text_bytes: u64s(16),
        }
    }

    fn raw_range(&self, row: u32) -> (u64, u64) {
        let bytes = &self.ranges[row as usize * RANGE_BYTES..][..RANGE_BYTES];
        (
            u64_at(bytes, 0).unwrap_or_default(),
            u64_at(bytes, 8).unwrap_or_default(),
        )
    }
}

struct Entry {
    first_row: u32,
    id_bytes: u32,
    id_start: u64,
    text_bytes: u64,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::source::InMemory;
    use super::super::tests::{Random, document, spec};
    use super::*;

    #[test]
    fn ids_sorted_in_runs_are_in_order_and_the_sort_can_be_stopped_at_any_run() {
        let mut random = Random(9);
        let mut id = || format!("{}", random.next() % 1_000_000);
        let documents: Vec<_> = (0..100)
            .map(|_| document(id(), "", Random(1).unit(4)))
            .collect();
        let documents: Vec<_> = documents.iter().collect();
        let source = InMemory::new(&spec(4), &documents).expect("few rows");
        let asked = AtomicUsize::new(0);
        let sorted = |run, stop_at| {
            asked.store(0, Ordering::Relaxed);
            let stop = || asked.fetch_add(1, Ordering::Relaxed) >= stop_at;
            sorted_by_id(&source, run, &stop)
        };
        let mut expected: Vec<u32> = (0..100).collect();
        expected.sort_by_key(|&at| source.id(at));
        for run in [1, 7, 50, 99, 100, 101] {
            assert_eq!(sorted(run, usize::MAX).expect("nobody stops it"), expected);
            let times = asked.load(Ordering::Relaxed);
            assert!(times >= 100 / run, "{times} for runs of {run}");
            for stop_at in 0..times {
                assert!(matches!(sorted(run, stop_at), Err(Error::Cancelled)));
            }
        }
    }
}
