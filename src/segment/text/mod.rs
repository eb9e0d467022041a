//! The stored text, the attributes and the fields of a segment: a tantivy index whose files are sections of the segment.
//! The one folder that names `tantivy`.
//!
//!   pieces, attributes → write.rs → tantivy files → sections → directory.rs → `TextIndex` → text, attributes, rows
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | reading pieces and attributes |
//! | `write.rs` | building the files |
//! | `spool.rs` | where the files lie while they are built |
//! | `directory.rs` | the files, read out of the segment's own map, block by block verified |
//! | `columns.rs` | which columns a field has, and the rows of a column inside a range |
//! | `filter.rs` | a filter → the rows that match |
//! | `compare.rs` | comparisons as inclusive ranges, exact between integers and floats |
//!
//! Row number = tantivy DocId. A row stores the bytes of its document's text from its passage's start to the next
//! passage's start, so the rows of a document are its text; the document's first row stores its attributes too.
//! tantivy trusts its files, so no byte reaches it before its block's checksum was compared. Should it panic all the same, on
//! files that were forged, checksums included, that is told as damage.

mod columns;
mod compare;
mod directory;
mod filter;
mod spool;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tantivy::schema::{Field, Value as _};
use tantivy::store::StoreReader;
use tantivy::{Index, SegmentReader, TantivyDocument};

use super::format::Kind;
use super::sections::Sections;
use crate::document::Attributes;
use crate::error::Result;
use directory::SectionDirectory;
pub(super) use write::write;

/// A row's piece of text, bytes.
const PIECE: &str = "piece";
/// A document's attributes, JSON, on its first row.
const ATTRIBUTES: &str = "attributes";
/// A document's fields, on each of its rows.
const FIELDS: &str = "fields";
/// Decompressed blocks of 16 KiB that a segment keeps.
const CACHED_BLOCKS: usize = 64;

/// The text index of an open segment.
pub(super) struct TextIndex {
    sections: Arc<Sections>,
    reader: SegmentReader,
    store: StoreReader,
    piece: Field,
    attributes: Field,
}

impl TextIndex {
    /// Opens the index inside the segment.
    pub fn open(sections: Arc<Sections>) -> Result<Self> {
        let index = guarded(&sections, Kind::TextMeta, || {
            Self::open_index(&sections)
                .map_err(|e| sections.first_damage(Kind::TextMeta, &e.to_string()))
        })?;
        if index.reader.max_doc() == sections.header().rows {
            Ok(index)
        } else {
            let what = "it has another number of rows than the header";
            Err(sections.damaged(Kind::TextMeta, 0, what))
        }
    }

    fn open_index(sections: &Arc<Sections>) -> tantivy::Result<Self> {
        let index = Index::open(SectionDirectory::new(Arc::clone(sections)))?;
        let segments = index.searchable_segments()?;
        let [segment] = segments.as_slice() else {
            return Err(tantivy::TantivyError::SchemaError(
                "it does not name one segment".into(),
            ));
        };
        let reader = SegmentReader::open(segment)?;
        let store = reader.get_store_reader(CACHED_BLOCKS)?;
        let (piece, attributes) = (
            index.schema().get_field(PIECE)?,
            index.schema().get_field(ATTRIBUTES)?,
        );
        index.schema().get_field(FIELDS)?;
        Ok(Self {
            sections: Arc::clone(sections),
            reader,
            store,
            piece,
            attributes,
        })
    }

    /// The piece of text stored with a row.
    pub fn piece(&self, row: u32) -> Result<String> {
        let bytes = self
            .stored(row, self.piece)?
            .ok_or_else(|| self.wrong("a row has no text"))?;
        String::from_utf8(bytes).map_err(|_| self.wrong("a row's text is not UTF-8"))
    }

    /// The attributes of the document whose first row this is.
    pub fn attributes(&self, first_row: u32) -> Result<Attributes> {
        let bytes = self
            .stored(first_row, self.attributes)?
            .ok_or_else(|| self.wrong("a document has no attributes"))?;
        serde_json::from_slice(&bytes)
            .map_err(|_| self.wrong("a document's attributes do not parse"))
    }

    fn stored(&self, row: u32, field: Field) -> Result<Option<Vec<u8>>> {
        let document: TantivyDocument = guarded(&self.sections, Kind::TextStore, || {
            self.store
                .get(row)
                .map_err(|e| self.sections.first_damage(Kind::TextStore, &e.to_string()))
        })?;
        Ok(document
            .get_first(field)
            .and_then(|value| value.as_bytes())
            .map(<[u8]>::to_vec))
    }

    fn wrong(&self, what: &str) -> crate::error::Error {
        self.sections.first_damage(Kind::TextStore, what)
    }
}

/// Runs `read` over tantivy's files, and tells a panic in it as damage of `kind`. What it shares with others are caches behind
/// locks that tell the next one of the panic.
fn guarded<T>(sections: &Sections, kind: Kind, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(sections.first_damage(kind, "tantivy could not read it")))
}
