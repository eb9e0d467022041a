//! Parquet: a row a passage, or a document where there are no vectors.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use serde::de::DeserializeOwned;

use super::record::{Header, Passage, Record};
use crate::error::{Error, Result};
use crate::vector::Vector;

/// The footer's key for what the first line says in the other format.
const KEY: &str = "vecdb";
/// A row group is written when it has so many rows, or bytes of text and vectors.
const GROUP_ROWS: usize = 16_384;
const GROUP_BYTES: usize = 64 << 20;

const DOCUMENT_COLUMNS: &str = "
    optional binary text (STRING);
    optional binary title (STRING);
    optional binary source (STRING);
    optional binary fields (STRING);
    optional binary outline (STRING);";
const PASSAGE_COLUMNS: &str = "
    required int32 passage;
    required int64 start;
    required int64 end;
    required group vector (LIST) { repeated group list { required float element; } }";

pub(super) struct Writer<W: Write + Send> {
    file: SerializedFileWriter<W>,
    vectors: bool,
    group: Group,
}

/// The rows of a row group, column by column.
#[derive(Default)]
struct Group {
    bytes: usize,
    ids: Vec<ByteArray>,
    passages: Vec<i32>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    components: Vec<f32>,
    /// 0 where a vector begins, 1 for the rest of it.
    repeats: Vec<i16>,
    text: Texts,
    title: Texts,
    source: Texts,
    fields: Texts,
    outline: Texts,
}

/// A column of strings, some of them null.
#[derive(Default)]
struct Texts {
    values: Vec<ByteArray>,
    /// 1 where there is a value.
    present: Vec<i16>,
}

impl Texts {
    fn push(&mut self, text: Option<String>) {
        self.present.push(i16::from(text.is_some()));
        self.values
            .extend(text.map(|text| ByteArray::from(text.into_bytes())));
    }
}

impl<W: Write + Send> Writer<W> {
    pub fn new(out: W, header: &Header) -> Result<Self> {
        let passages = if header.vectors { PASSAGE_COLUMNS } else { "" };
        let schema =
            format!("message vecdb {{ required binary id (STRING);{passages}{DOCUMENT_COLUMNS} }}");
        let schema = parse_message_type(&schema).map_err(failed)?;
        // Components hardly repeat, and their order says nothing.
        let vector = || ColumnPath::from(["vector", "list", "element"].map(String::from).to_vec());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_column_compression(vector(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(vector(), false)
            .set_column_statistics_enabled(vector(), EnabledStatistics::None)
            .set_key_value_metadata(Some(vec![KeyValue::new(KEY.to_owned(), header.to_json())]))
            .build();
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties));
        Ok(Self {
            file: file.map_err(failed)?,
            vectors: header.vectors,
            group: Group::default(),
        })
    }

    pub fn write(&mut self, record: Record) -> Result<()> {
        self.group.push(record);
        if self.group.ids.len() >= GROUP_ROWS || self.group.bytes >= GROUP_BYTES {
            self.write_group()?;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<()> {
        if !self.group.ids.is_empty() {
            self.write_group()?;
        }
        let mut out = self.file.into_inner().map_err(failed)?;
        out.flush()
            .map_err(Error::io("write", Path::new("the export")))
    }

    fn write_group(&mut self) -> Result<()> {
        let group = std::mem::take(&mut self.group);
        let written = self.file.next_row_group().and_then(|mut out| {
            column::<ByteArrayType, W>(&mut out, &group.ids, None, None)?;
            if self.vectors {
                column::<Int32Type, W>(&mut out, &group.passages, None, None)?;
                column::<Int64Type, W>(&mut out, &group.starts, None, None)?;
                column::<Int64Type, W>(&mut out, &group.ends, None, None)?;
                let present = vec![1; group.components.len()];
                column::<FloatType, W>(
                    &mut out,
                    &group.components,
                    Some(&present),
                    Some(&group.repeats),
                )?;
            }
            for texts in [
                &group.text,
                &group.title,
                &group.source,
                &group.fields,
                &group.outline,
            ] {
                column::<ByteArrayType, W>(&mut out, &texts.values, Some(&texts.present), None)?;
            }
            out.close().map(|_| ())
        });
        written.map_err(failed)
    }
}

/// Writes the next column of the schema.
fn column<T: DataType, W: Write + Send>(
    out: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    definition: Option<&[i16]>,
    repetition: Option<&[i16]>,
) -> parquet::errors::Result<()> {
    let mut column = out.next_column()?.expect("the schema has this column");
    column
        .typed::<T>()
        .write_batch(values, definition, repetition)?;
    column.close()
}

impl Group {
    fn push(&mut self, record: Record) {
        let Record {
            id,
            text,
            title,
            source,
            fields,
            outline,
            passages,
        } = record;
        let fields = (!fields.is_empty()).then(|| {
            serde_json::to_string(&fields).expect("fields have string keys and finite numbers")
        });
        let outline = (!outline.is_empty())
            .then(|| serde_json::to_string(&outline).expect("an outline is numbers and strings"));
        self.bytes += text.len() + fields.as_ref().map_or(0, String::len);
        let mut first = Some((text, title, source, fields, outline));
        let id = ByteArray::from(id.into_bytes());
        for nth in 0..passages.len().max(1) {
            self.ids.push(id.clone());
            let (text, title, source, fields, outline) = match first.take() {
                Some((text, title, source, fields, outline)) => {
                    (Some(text), title, source, fields, outline)
                }
                None => Default::default(),
            };
            self.text.push(text);
            self.title.push(title);
            self.source.push(source);
            self.fields.push(fields);
            self.outline.push(outline);
            if let Some(Passage { start, end, vector }) = passages.get(nth) {
                self.passages.push(i32::try_from(nth).unwrap_or(i32::MAX));
                self.starts.push(*start as i64);
                self.ends.push(*end as i64);
                self.repeats.push(0);
                self.repeats
                    .resize(self.repeats.len() + vector.dimension() - 1, 1);
                self.components.extend(vector.as_slice());
                self.bytes += 4 * vector.dimension();
            }
        }
    }
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::io("write", Path::new("the export"))(std::io::Error::other(error))
}

/// The documents of a file.
pub(super) struct Reader<'a> {
    name: &'a Path,
    rows: RowIter<'static>,
    /// Rows read.
    row: u64,
    /// The first row of the next document.
    ahead: Option<Cells>,
}

/// A row.
#[derive(Default)]
struct Cells {
    id: Option<String>,
    passage: Option<i32>,
    range: (Option<i64>, Option<i64>),
    vector: Option<Vec<f32>>,
    text: Option<String>,
    title: Option<String>,
    source: Option<String>,
    fields: Option<String>,
    outline: Option<String>,
}

impl<'a> Reader<'a> {
    /// `name` is what errors call the file.
    pub fn open(file: File, name: &'a Path) -> Result<(Header, Self)> {
        let wrong = |what: String| Error::Input {
            place: name.display().to_string(),
            what,
        };
        let opened = guarded(|| SerializedFileReader::new(file).map_err(|error| error.to_string()));
        let file =
            opened.map_err(|what| wrong(format!("this Parquet file cannot be read: {what}")))?;
        let pairs = file.metadata().file_metadata().key_value_metadata();
        let json = pairs
            .into_iter()
            .flatten()
            .find(|pair| pair.key == KEY)
            .and_then(|pair| pair.value.clone());
        let header = Header::parse(&json.unwrap_or_default()).map_err(wrong)?;
        let mut reader = Self {
            name,
            rows: file.into_iter(),
            row: 0,
            ahead: None,
        };
        reader.ahead = reader.cells()?;
        Ok((header, reader))
    }

    /// The next document; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>> {
        let Some(first) = self.ahead.take() else {
            return Ok(None);
        };
        let Some((id, text)) = first.id.clone().zip(first.text.clone()) else {
            return Err(self.wrong("a document's first row has no id or no text"));
        };
        let fields = self.parsed(first.fields.as_deref(), "fields")?;
        let outline = self.parsed(first.outline.as_deref(), "outline")?;
        let mut record = Record {
            id,
            text,
            title: first.title.clone(),
            source: first.source.clone(),
            fields,
            outline,
            passages: Vec::new(),
        };
        let mut row = first;
        loop {
            if let Some(passage) = self.passage(row, record.passages.len())? {
                record.passages.push(passage);
            }
            match self.cells()? {
                Some(next) if next.id.as_ref() == Some(&record.id) && next.text.is_none() => {
                    row = next
                }
                next => {
                    self.ahead = next;
                    return Ok(Some(record));
                }
            }
        }
    }

    /// What a column holds as JSON.
    fn parsed<T: Default + DeserializeOwned>(&self, json: Option<&str>, name: &str) -> Result<T> {
        let parsed = json.map_or(Ok(T::default()), serde_json::from_str);
        parsed.map_err(|error| self.wrong(format!("its {name} do not parse: {error}")))
    }

    /// The row's passage; `None` in a file without vectors.
    fn passage(&self, row: Cells, nth: usize) -> Result<Option<Passage>> {
        let (start, end) = row.range;
        let Some(vector) = row.vector else {
            return Ok(None);
        };
        if row.passage.and_then(|number| usize::try_from(number).ok()) != Some(nth) {
            return Err(self.wrong("a document's passages do not stand in order"));
        }
        let bytes = |at: Option<i64>| at.and_then(|at| usize::try_from(at).ok());
        let Some((start, end)) = bytes(start).zip(bytes(end)) else {
            return Err(self.wrong("a passage has no start or no end"));
        };
        let vector = Vector::new(vector).map_err(|error| self.wrong(error.to_string()))?;
        Ok(Some(Passage { start, end, vector }))
    }

    fn cells(&mut self) -> Result<Option<Cells>> {
        let rows = &mut self.rows;
        let row = guarded(|| rows.next().transpose().map_err(|error| error.to_string()));
        let row = row.and_then(|row| row.map(Cells::of).transpose());
        self.row += 1;
        row.map_err(|what| self.wrong(what))
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Input {
            place: self.place(),
            what: what.into(),
        }
    }

    /// The row read last.
    pub fn place(&self) -> String {
        format!("{}, row {}", self.name.display(), self.row)
    }
}

impl Cells {
    fn of(row: Row) -> Result<Self, String> {
        let mut cells = Self::default();
        for (name, field) in row.into_columns() {
            match (name.as_str(), field) {
                (_, Field::Null) => {}
                ("id", Field::Str(text)) => cells.id = Some(text),
                ("text", Field::Str(text)) => cells.text = Some(text),
                ("title", Field::Str(text)) => cells.title = Some(text),
                ("source", Field::Str(text)) => cells.source = Some(text),
                ("fields", Field::Str(text)) => cells.fields = Some(text),
                ("outline", Field::Str(text)) => cells.outline = Some(text),
                ("passage", Field::Int(number)) => cells.passage = Some(number),
                ("start", Field::Long(number)) => cells.range.0 = Some(number),
                ("end", Field::Long(number)) => cells.range.1 = Some(number),
                ("vector", Field::ListInternal(list)) => {
                    let component = |field: &Field| match field {
                        Field::Float(x) => Ok(*x),
                        _ => Err("a vector's component is no 32-bit float".to_owned()),
                    };
                    let components = list.elements().iter().map(component);
                    cells.vector = Some(components.collect::<Result<_, _>>()?);
                }
                (name, _) => {
                    return Err(format!(
                        "column `{name}` is unknown, or of another type than an export's"
                    ));
                }
            }
        }
        Ok(cells)
    }
}

/// The parser panics on some damaged files instead of returning an error. What it was reading is thrown away then.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its bytes make no sense".into()))
}
