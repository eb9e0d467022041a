//! What the encoder was given for each row, as hashes: who is given the same again needs not encode it.
//!
//! Damage here costs work and no answer: a hash that is found stands at the row whose vector is taken, in a block whose
//! checksum was compared.

use std::cmp::Ordering;

use super::format::{Kind, u32_at};
use super::sections::Sections;
use super::source::Source;
use crate::document::InputHash;
use crate::error::Result;

const HASH_BYTES: usize = 16;
const ROW_BYTES: usize = 4;

/// Each row's hash, 0 where none is known; empty if none of any row is.
pub(super) fn hashes(source: &dyn Source) -> Result<Vec<u128>> {
    let hash = |row| Ok(source.input(row)?.map_or(0, InputHash::get));
    let hashes = (0..source.rows())
        .map(hash)
        .collect::<Result<Vec<u128>>>()?;
    Ok(if hashes.iter().all(|&hash| hash == 0) {
        Vec::new()
    } else {
        hashes
    })
}

/// The rows that have a hash, by hash and then by row.
pub(super) fn order(hashes: &[u128]) -> Vec<u32> {
    let rows = (0..).zip(hashes).filter(|&(_, &hash)| hash != 0);
    let mut order: Vec<u32> = rows.map(|(row, _)| row).collect();
    order.sort_unstable_by_key(|&row| (hashes[row as usize], row));
    order
}

/// The hashes of an open segment.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a>(&'a Sections);

impl<'a> Inputs<'a> {
    /// Checks the lengths, so that the methods below stay inside.
    pub fn check_lengths(sections: &Sections) -> Result<()> {
        let rows = sections.header().rows as usize;
        let bytes = sections.range(Kind::InputHashes).len();
        if bytes != 0 {
            sections.expect_length(Kind::InputHashes, rows.checked_mul(HASH_BYTES))?;
        }
        let order = sections.range(Kind::InputOrder).len();
        let fits = order.is_multiple_of(ROW_BYTES) && order / ROW_BYTES <= bytes / HASH_BYTES;
        sections.expect_length(Kind::InputOrder, fits.then_some(order))
    }

    /// Of a segment that [`Inputs::check_lengths`] saw.
    pub fn new(sections: &'a Sections) -> Self {
        Self(sections)
    }

    /// The hash of a row's input, if it is known.
    pub fn hash(self, row: u32) -> Result<Option<InputHash>> {
        if self.0.range(Kind::InputHashes).is_empty() {
            return Ok(None);
        }
        let start = row as usize * HASH_BYTES;
        let bytes = self
            .0
            .verified(Kind::InputHashes, start..start + HASH_BYTES)?;
        let hash = bytes.first_chunk().map(|chunk| u128::from_le_bytes(*chunk));
        Ok(hash.and_then(InputHash::new))
    }

    /// A row with this input.
    pub fn find(self, wanted: InputHash) -> Result<Option<u32>> {
        let (mut low, mut high) = (0, self.0.range(Kind::InputOrder).len() / ROW_BYTES);
        while low < high {
            let middle = low.midpoint(high);
            let row = self.row(middle)?;
            match self.hash(row)?.cmp(&Some(wanted)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(row)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Are the rows that have a hash in order, all of them?
    pub fn check(self) -> Result<()> {
        let hashes = self
            .0
            .verified(Kind::InputHashes, 0..self.0.range(Kind::InputHashes).len())?;
        let hashes = hashes.as_chunks::<HASH_BYTES>().0;
        let hashes: Vec<u128> = hashes
            .iter()
            .map(|hash| u128::from_le_bytes(*hash))
            .collect();
        let found = (0..self.0.range(Kind::InputOrder).len() / ROW_BYTES).map(|at| self.row(at));
        if found.collect::<Result<Vec<u32>>>()? == order(&hashes) {
            return Ok(());
        }
        let what = "it is not the order of the rows by what the encoder was given";
        Err(self.0.damaged(Kind::InputOrder, 0, what))
    }

    fn row(self, at: usize) -> Result<u32> {
        let start = at * ROW_BYTES;
        let bytes = self
            .0
            .verified(Kind::InputOrder, start..start + ROW_BYTES)?;
        let row = u32_at(bytes, 0).filter(|&row| row < self.0.header().rows);
        row.ok_or_else(|| {
            let what = "it names a row that is not there";
            self.0.damaged(Kind::InputOrder, start, what)
        })
    }
}
