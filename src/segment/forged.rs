//! For fuzz targets and tests: segment files with any bytes in their sections and right checksums, and everything that a
//! segment answers.
//!
//! Without right checksums a changed file is refused before any decoder sees it, so that trying them needs a forger.

use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::format::{
    ALIGNMENT, BLOCK_BYTES, END_MAGIC, HEADER_BYTES, Header, Kind, TRAILER_BYTES, u64_at,
};
use super::map::Map;
use super::sections::Sections;
use super::{BuildOptions, Effort, Merge, Nearest, RowHit, Segment, SegmentSpec, Selection, build};
use crate::document::EmbeddedDocument;
use crate::error::Result;
use crate::filter::Filter;

/// A segment's sections, to be changed and put together again.
pub(crate) struct Parts {
    sections: Vec<(Kind, Vec<u8>)>,
}

impl Parts {
    /// Of a file that is whole.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::error::Error::Damaged): what bears wrong checksums is not given right ones.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let name = Path::new("forged.seg");
        let sections = Sections::open(Map::copy(bytes, name)?, name)?;
        let section = |kind| {
            sections.verify(kind)?;
            Ok((kind, sections.bytes(kind).to_vec()))
        };
        Ok(Self {
            sections: Kind::of_version(sections.header().version)
                .map(section)
                .collect::<Result<_>>()?,
        })
    }

    /// The bytes of a section that the file's version has.
    #[cfg(test)]
    pub(super) fn section(&mut self, kind: Kind) -> &mut Vec<u8> {
        let mut sections = self.sections.iter_mut();
        let found = sections.find(|(of, _)| *of == kind);
        &mut found.expect("the version has it").1
    }

    /// Gives one of the sections that are ours to decode, or of those that tantivy decodes, by `choice`, to `change`.
    pub fn change(&mut self, of_text: bool, choice: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let meant = |(kind, _): &&mut (Kind, Vec<u8>)| kind.is_text() == of_text;
        let count = self.sections.iter_mut().filter(meant).count();
        let chosen = self.sections.iter_mut().filter(meant).nth(choice % count);
        change(&mut chosen.expect("one of those counted").1);
    }

    /// The file, with a table and checksums that fit.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut bytes, mut table, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, section) in &self.sections {
            let start = bytes.len();
            match kind {
                Kind::Header => bytes.extend(sealed_header(section)),
                _ => bytes.extend(section),
            }
            let section = &bytes[start..];
            table.extend((*kind as u64).to_le_bytes());
            table.extend((start as u64).to_le_bytes());
            table.extend((section.len() as u64).to_le_bytes());
            for block in section.chunks(BLOCK_BYTES) {
                sums.extend(xxh3_64(block).to_le_bytes());
            }
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        }
        let footer = bytes.len();
        bytes.extend((self.sections.len() as u64).to_le_bytes());
        bytes.extend(table);
        bytes.extend(sums);
        bytes.extend((footer as u64).to_le_bytes());
        bytes.extend([0; 16]);
        bytes.extend(END_MAGIC);
        seal_frame(&mut bytes);
        bytes
    }
}

/// A header of the right length that starts as headers do and has the right checksum.
fn sealed_header(section: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = Header {
        version: 0,
        metric: 0,
        dimension: 0,
        rows: 0,
        documents: 0,
    }
    .to_bytes();
    let kept = section.len().min(HEADER_BYTES - 8);
    if let Some(fields) = section.get(8..kept) {
        header[8..kept].copy_from_slice(fields);
    }
    let sum = xxh3_64(&header[..HEADER_BYTES - 8]);
    header[HEADER_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// Makes the checksums of header and footer and the file's length right, so that what lies behind these checks is reached.
/// Bytes that are no frame at all stay as they are.
pub(crate) fn seal_frame(bytes: &mut [u8]) {
    let length = bytes.len();
    if length < HEADER_BYTES + TRAILER_BYTES {
        return;
    }
    let sum = xxh3_64(&bytes[..HEADER_BYTES - 8]);
    bytes[HEADER_BYTES - 8..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    let trailer = length - TRAILER_BYTES;
    bytes[trailer + 8..trailer + 16].copy_from_slice(&(length as u64).to_le_bytes());
    let footer = u64_at(bytes, trailer).and_then(|start| usize::try_from(start).ok());
    if let Some(covered) = footer.and_then(|start| bytes.get(start..trailer + 16)) {
        let sum = xxh3_64(covered);
        bytes[trailer + 16..trailer + 24].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Asks for everything that a segment answers. Errors are fine, panics are not, and neither are answers that cannot be.
pub(crate) fn use_all(segment: &Segment) {
    let _ = segment.verify();
    for document in 0..segment.documents() {
        let _ = segment.text(document);
        let _ = segment.attributes(document);
        segment.content_hash(document);
        assert_eq!(segment.find(segment.document_id(document)), Some(document));
        for row in segment.rows_of(document) {
            assert_eq!(segment.document_of(row), document);
        }
    }
    for row in 0..segment.rows() {
        let _ = segment.passage_text(row);
        let _ = segment.vector(row);
        if let Ok(Some(input)) = segment.input(row) {
            let _ = segment.made_from(input);
        }
        segment.prefetch_row(row);
        segment.prefetch_id(row);
    }
    for field in ["lang", "year", "tags"] {
        let _ = segment.matching(&Filter::equal(field, "en").or(Filter::less(field, 2_005)));
        let _ = segment.matching(&Filter::exists(field).negate());
    }
    let every_other = (0..segment.rows()).step_by(2).collect::<RoaringBitmap>();
    let Ok(every_other) = segment.slots_of(&every_other) else {
        return;
    };
    let vector = vec![0.25; segment.spec().dimension];
    let selections = [
        Selection::ALL,
        Selection {
            only: Some(&every_other),
            except: None,
        },
        Selection::except(&every_other),
    ];
    for selection in selections {
        for (effort, k) in [
            (Effort::Recall(0.95), 3),
            (Effort::Recall(0.999), 40),
            (Effort::Exact, 3),
        ] {
            let nearest = Nearest {
                vector: &vector,
                k,
                effort,
                least_score: f32::NEG_INFINITY,
            };
            if let Ok(hits) = segment.search(&nearest, selection) {
                assert!(hits.len() <= k, "{} hits of {k}", hits.len());
                check_hits(segment, &hits);
            }
        }
        if let Ok(hits) = segment.within(&vector, 0.1, selection) {
            check_hits(segment, &hits);
        }
    }
}

/// No row twice, none that is not there.
fn check_hits(segment: &Segment, hits: &[RowHit]) {
    let rows: RoaringBitmap = hits.iter().map(|hit| hit.row).collect();
    assert_eq!(rows.len(), hits.len() as u64, "a row was found twice");
    assert!(rows.max().is_none_or(|row| row < segment.rows()));
}

/// Merges the segment, less every third document, into one with a graph. What comes of it must be whole.
pub(crate) fn merge_all(segment: Segment) {
    let spec = segment.spec().clone();
    let dead = (0..segment.documents())
        .step_by(3)
        .flat_map(|document| segment.rows_of(document))
        .collect::<RoaringBitmap>();
    let Ok(merge) = Merge::new(vec![(Arc::new(segment), Arc::new(dead))]) else {
        return;
    };
    let (mut bytes, options) = (Vec::new(), graph_from(1));
    if merge.write(&spec, &options, &|| false, &mut bytes).is_ok() && merge.rows() > 0 {
        open_whole(bytes);
    }
}

/// Builds a segment of documents that came from a decoder. What comes of it must be whole.
pub(crate) fn build_all(documents: &[Arc<EmbeddedDocument>]) {
    let vectors = documents.iter().flat_map(|document| &document.passages);
    let Some(dimension) = vectors.map(|passage| passage.vector.dimension()).next() else {
        return;
    };
    let spec = SegmentSpec {
        fingerprint: String::new(),
        dimension,
        metric: Default::default(),
    };
    let mut bytes = Vec::new();
    let documents: Vec<&EmbeddedDocument> = documents.iter().map(|document| &**document).collect();
    if build(&spec, &documents, &graph_from(usize::MAX), &mut bytes).is_ok() {
        open_whole(bytes);
    }
}

fn graph_from(rows: usize) -> BuildOptions {
    BuildOptions {
        graph_from_rows: rows,
        seed: 1,
        ..BuildOptions::default()
    }
}

fn open_whole(bytes: Vec<u8>) {
    let segment = Segment::from_bytes(bytes, Path::new("made.seg")).expect("it was just written");
    segment.verify().expect("it was just written");
    use_all(&segment);
}
