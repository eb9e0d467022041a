//! Sections → the file's bytes, front to back, with checksums as they pass.

use std::io::{self, Write};
use std::ops::Range;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::format::{ALIGNMENT, BLOCK_BYTES, END_MAGIC, Header, Kind, TRAILER_BYTES};

/// Writes sections one behind the other, with checksums as it goes.
pub(super) struct SegmentWriter<'a> {
    out: &'a mut dyn Write,
    position: u64,
    hasher: Xxh3,
    in_block: usize,
    table: Vec<(Kind, Range<u64>)>,
    checksums: Vec<u64>,
}

impl<'a> SegmentWriter<'a> {
    /// Writes the header.
    pub fn new(out: &'a mut dyn Write, header: Header) -> io::Result<Self> {
        let hasher = Xxh3::new();
        let mut writer = Self {
            out,
            position: 0,
            hasher,
            in_block: 0,
            table: Vec::new(),
            checksums: Vec::new(),
        };
        writer.section(Kind::Header, |out| out.write_all(&header.to_bytes()))?;
        Ok(writer)
    }

    /// Writes one section. Sections come in the order of [`Kind::ALL`].
    pub fn section(
        &mut self,
        kind: Kind,
        body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        debug_assert_eq!(
            Kind::ALL.get(self.table.len()),
            Some(&kind),
            "sections come in the format's order"
        );
        let start = self.position;
        body(self)?;
        if self.in_block > 0 {
            self.end_block();
        }
        self.table.push((kind, start..self.position));
        self.pad()
    }

    /// Writes the footer. Returns the file's length in bytes.
    pub fn finish(mut self) -> io::Result<u64> {
        let start = self.position;
        let mut footer = Vec::new();
        footer.extend((self.table.len() as u64).to_le_bytes());
        for (kind, range) in &self.table {
            footer.extend((*kind as u32).to_le_bytes());
            footer.extend(0u32.to_le_bytes());
            footer.extend(range.start.to_le_bytes());
            footer.extend((range.end - range.start).to_le_bytes());
        }
        footer.extend(self.checksums.iter().flat_map(|sum| sum.to_le_bytes()));
        let length = start + (footer.len() + TRAILER_BYTES) as u64;
        footer.extend(start.to_le_bytes());
        footer.extend(length.to_le_bytes());
        footer.extend(xxh3_64(&footer).to_le_bytes());
        footer.extend(END_MAGIC);
        self.out.write_all(&footer)?;
        self.position = length;
        Ok(length)
    }

    fn end_block(&mut self) {
        self.checksums.push(self.hasher.digest());
        self.hasher.reset();
        self.in_block = 0;
    }

    fn pad(&mut self) -> io::Result<()> {
        let rest = self.position.next_multiple_of(ALIGNMENT as u64) - self.position;
        self.out.write_all(&[0; ALIGNMENT][..rest as usize])?;
        self.position += rest;
        Ok(())
    }
}

impl Write for SegmentWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK_BYTES - self.in_block);
        let bytes = &bytes[..taken];
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.position += taken as u64;
        self.in_block += taken;
        if self.in_block == BLOCK_BYTES {
            self.end_block();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
