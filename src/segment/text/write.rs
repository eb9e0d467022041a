//! Documents → the files of a tantivy index with one segment.

use std::path::{Path, PathBuf};

use tantivy::schema::{BytesOptions, JsonObjectOptions, OwnedValue, Schema};
use tantivy::store::Compressor;
use tantivy::{Directory, Index, IndexSettings, TantivyDocument};

use super::columns::{Column, LONGEST_INDEXED_STRING, column_key};
use super::directory::FILES;
use super::spool::{SpoolDirectory, Spooled};
use super::{ATTRIBUTES, FIELDS, PIECE};
use crate::document::{Fields, Value};
use crate::error::{Error, Result};
use crate::scratch::Scratch;
use crate::segment::build::told;
use crate::segment::format::Kind;
use crate::segment::source::{Source, Stop};
use crate::segment::writer::SegmentWriter;

/// tantivy asks for a budget for its hash tables; it takes more when it needs more.
const MEMORY_BYTES: usize = 15_000_000;
/// tantivy names its files by a random id; a fixed one makes equal input give equal bytes.
const FIXED_ID: &str = "00000000-0000-4000-8000-000000000000";

/// tantivy's files, by section, in the order of [`Kind::ALL`].
pub(in crate::segment) struct TextFiles(Vec<(Kind, Spooled)>);

impl TextFiles {
    /// Writes one section a file.
    pub fn write(&self, out: &mut SegmentWriter<'_>) -> std::io::Result<()> {
        self.0
            .iter()
            .try_for_each(|(kind, file)| out.section(*kind, |out| file.copy_to(out)))
    }
}

/// Builds the files. Row n of the segment is document n of the index. With `scratch`, what grows with the rows lies in its
/// files instead of in memory, but for the fields' columns.
pub(in crate::segment) fn write(
    source: &dyn Source,
    scratch: Option<&Scratch>,
    stop: Stop<'_>,
) -> Result<TextFiles> {
    write_files(source, scratch, stop).map_err(|error| match error {
        tantivy::TantivyError::IoError(source) => {
            let error = std::sync::Arc::try_unwrap(source).unwrap_or_else(std::io::Error::other);
            told("build the text index of", error)
        }
        error => told("build the text index of", std::io::Error::other(error)),
    })
}

fn write_files(
    source: &dyn Source,
    scratch: Option<&Scratch>,
    stop: Stop<'_>,
) -> tantivy::Result<TextFiles> {
    let mut schema = Schema::builder();
    let stored = BytesOptions::default().set_stored();
    let piece = schema.add_bytes_field(PIECE, stored.clone());
    let attributes = schema.add_bytes_field(ATTRIBUTES, stored);
    let fields = schema.add_json_field(FIELDS, JsonObjectOptions::default().set_fast("raw"));
    let settings = IndexSettings {
        docstore_compression: Compressor::Lz4,
        docstore_compress_dedicated_thread: false,
        ..IndexSettings::default()
    };
    let directory = SpoolDirectory::new(scratch);
    let builder = Index::builder().schema(schema.build()).settings(settings);
    let mut writer =
        builder.single_segment_index_writer::<TantivyDocument>(directory.clone(), MEMORY_BYTES)?;
    for document in 0..source.documents() {
        if stop() {
            return Err(std::io::Error::other(Error::Cancelled).into());
        }
        let described = source.attributes(document).map_err(std::io::Error::other)?;
        let columns = columns_of(&described.fields);
        let rows = source.rows_of(document);
        for nth in rows.clone() {
            let mut row = TantivyDocument::default();
            let text = source.piece(nth).map_err(std::io::Error::other)?;
            row.add_bytes(piece, text.as_bytes());
            if nth == rows.start {
                row.add_bytes(
                    attributes,
                    &serde_json::to_vec(&*described).map_err(std::io::Error::other)?,
                );
            }
            if !columns.is_empty() {
                row.add_object(fields, columns.iter().cloned().collect());
            }
            writer.add_document(row)?;
        }
    }
    bundle(&writer.finalize()?, &directory)
}

/// A document's fields as columns: one for each name and kind, so that kinds never mix and integers stay exact.
fn columns_of(fields: &Fields) -> Vec<(String, OwnedValue)> {
    let mut columns = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Bool(x) => columns.push((column_key(name, Column::Bool), OwnedValue::Bool(*x))),
            Value::Integer(x) => {
                columns.push((column_key(name, Column::Integer), OwnedValue::I64(*x)))
            }
            // + 0.0 turns −0 into 0, which column ranges would keep apart. Attributes cannot hold what is not finite either.
            Value::Float(x) if x.is_finite() => {
                columns.push((column_key(name, Column::Float), OwnedValue::F64(x + 0.0)))
            }
            Value::Float(_) => {}
            Value::String(x) => columns.extend(string_column(name, std::slice::from_ref(x))),
            Value::List(list) => columns.extend(string_column(name, list)),
        }
    }
    columns
}

fn string_column(name: &str, strings: &[String]) -> Option<(String, OwnedValue)> {
    if strings
        .iter()
        .any(|string| string.len() > LONGEST_INDEXED_STRING)
    {
        return Some((column_key(name, Column::Long), OwnedValue::Bool(true)));
    }
    let values: Vec<_> = strings.iter().cloned().map(OwnedValue::Str).collect();
    (!values.is_empty()).then(|| (column_key(name, Column::String), OwnedValue::Array(values)))
}

fn bundle(index: &Index, directory: &SpoolDirectory) -> tantivy::Result<TextFiles> {
    let metas = index.searchable_segment_metas()?;
    let [meta] = metas.as_slice() else {
        return Err(tantivy::TantivyError::InternalError(
            "the writer made more than one segment".into(),
        ));
    };
    let mut files = Vec::new();
    for &(extension, kind) in &FILES {
        let file = if kind == Kind::TextMeta {
            let mut json: serde_json::Value =
                serde_json::from_slice(&directory.atomic_read(Path::new("meta.json"))?)
                    .map_err(std::io::Error::other)?;
            json["segments"][0]["segment_id"] = FIXED_ID.into();
            Spooled::Memory(json.to_string().into_bytes())
        } else {
            let path = PathBuf::from(format!("{}.{extension}", meta.id().uuid_string()));
            directory.take(&path)?
        };
        files.push((kind, file));
    }
    Ok(TextFiles(files))
}
