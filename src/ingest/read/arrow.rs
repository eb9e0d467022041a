//! Rows of Parquet and Arrow files, by `parquet` and `arrow-ipc`.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::cast::AsArray;
use arrow_array::temporal_conversions as times;
use arrow_array::types::{
    Date32Type, Date64Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::FileReader;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::{ChunkReader, Length};
use serde_json::{Map, Value as Json};

use super::{Item, Origin, ReadSeek, Record, Sink, Stop};
use crate::error::Error;
use crate::ingest::fields;

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 1_024;

pub(super) fn parquet(
    bytes: Box<dyn ReadSeek>,
    origin: &Origin,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    let bytes = Chunks::new(bytes).map_err(Error::io("read", &origin.path))?;
    let broken = |error: &dyn std::fmt::Display| {
        Stop::Failed(origin.bad(None, format!("this Parquet file is damaged: {error}")))
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| broken(&error))?;
    let reader = reader.with_batch_size(BATCH_ROWS).build();
    let reader = reader.map_err(|error| broken(&error))?;
    let schema = arrow_array::RecordBatchReader::schema(&reader);
    batches(&schema, reader, origin, sink)
}

pub(super) fn arrow(bytes: Box<dyn ReadSeek>, origin: &Origin, sink: Sink<'_>) -> Result<(), Stop> {
    let reader = FileReader::try_new(BufReader::new(bytes), None);
    let reader = reader.map_err(|error| {
        Stop::Failed(origin.bad(None, format!("this Arrow file is damaged: {error}")))
    })?;
    let schema = reader.schema();
    batches(&schema, reader, origin, sink)
}

fn batches(
    schema: &Schema,
    batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
    origin: &Origin,
    sink: Sink<'_>,
) -> Result<(), Stop> {
    let give = |sink: &mut Sink<'_>, item| match sink(item) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(()) => Err(Stop::Cancelled),
    };
    let mut sink = sink;
    let vector = vector_column(schema, origin)?;
    let mut kept = Vec::new();
    for (at, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        if Some(at) == vector {
            continue;
        }
        let what = if holds_vectors(field.data_type()) {
            format!("holds vectors, which `--vector-field {name}` would store")
        } else if !is_readable(field.data_type()) {
            format!("is of the type {}, which no field holds", field.data_type())
        } else {
            kept.push((at, name.clone()));
            continue;
        };
        let remark = format!("{}: column `{name}` {what}; it is left out", origin.shown);
        give(&mut sink, Item::Remark(remark))?;
    }
    let mut number = 0_u32;
    for batch in batches {
        let batch = batch.map_err(|error| {
            let what = format!("it cannot be read after this row: {error}");
            origin.bad(number, what)
        })?;
        for row in 0..batch.num_rows() {
            number = number.saturating_add(1);
            let cells = kept.iter().map(|(at, name)| {
                let cell = json(batch.column(*at), row);
                (name.clone(), cell.unwrap_or(Json::Null))
            });
            let object: Map<String, Json> = cells.collect();
            let document = fields::document(object, &origin.options, || origin.record_id(number));
            let record = origin
                .record(number, document)
                .and_then(|record| match vector {
                    None => Ok(record),
                    Some(at) => {
                        let vector = components(batch.column(at), row);
                        let vector =
                            vector.ok_or_else(|| origin.bad(number, "its vector is null"))?;
                        Ok(Record {
                            vector: Some(vector),
                            ..record
                        })
                    }
                });
            give(&mut sink, record.map_or_else(Item::Failed, Item::Record))?;
        }
    }
    Ok(())
}

/// Where the column is that was named for the vectors.
fn vector_column(schema: &Schema, origin: &Origin) -> Result<Option<usize>, Error> {
    let Some(name) = &origin.options.vector_field else {
        return Ok(None);
    };
    let Some((at, field)) = schema.column_with_name(name) else {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
        let what = format!(
            "there is no column `{name}`, which `--vector-field` names; the columns are {}",
            fields::list(names)
        );
        return Err(origin.bad(None, what));
    };
    if !holds_vectors(field.data_type()) {
        let what = format!(
            "column `{name}` is of the type {}, and vectors are lists of floats",
            field.data_type()
        );
        return Err(origin.bad(None, what));
    }
    Ok(Some(at))
}

fn item(kind: &DataType) -> Option<&Field> {
    match kind {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

fn holds_vectors(kind: &DataType) -> bool {
    item(kind).is_some_and(|item| matches!(item.data_type(), DataType::Float32 | DataType::Float64))
}

fn is_readable(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_readable(values),
        DataType::Struct(members) => members.iter().all(|member| is_readable(member.data_type())),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            item(kind).is_some_and(|item| is_readable(item.data_type()))
        }
        DataType::Float16 => false,
        _ => {
            kind.is_numeric()
                && !matches!(
                    kind,
                    DataType::Decimal32(..)
                        | DataType::Decimal64(..)
                        | DataType::Decimal128(..)
                        | DataType::Decimal256(..)
                )
                || matches!(
                    kind,
                    DataType::Null
                        | DataType::Boolean
                        | DataType::Utf8
                        | DataType::LargeUtf8
                        | DataType::Utf8View
                        | DataType::Binary
                        | DataType::LargeBinary
                        | DataType::BinaryView
                        | DataType::Date32
                        | DataType::Date64
                        | DataType::Timestamp(..)
                )
        }
    }
}

/// A vector's components.
fn components(column: &dyn Array, row: usize) -> Option<Vec<f32>> {
    let values = list(column, row)?;
    if values.null_count() > 0 {
        return None;
    }
    if let Some(values) = values.as_primitive_opt::<Float32Type>() {
        return Some(values.values().to_vec());
    }
    let values = values.as_primitive_opt::<Float64Type>()?;
    Some(values.values().iter().map(|&x| x as f32).collect())
}

fn list(column: &dyn Array, row: usize) -> Option<Arc<dyn Array>> {
    if column.is_null(row) {
        return None;
    }
    if let Some(lists) = column.as_fixed_size_list_opt() {
        return Some(lists.value(row));
    }
    if let Some(lists) = column.as_list_opt::<i32>() {
        return Some(lists.value(row));
    }
    Some(column.as_list_opt::<i64>()?.value(row))
}

/// A cell as JSON, `None` where it is null or of no type that JSON has.
fn json(column: &dyn Array, row: usize) -> Option<Json> {
    if column.is_null(row) {
        return None;
    }
    macro_rules! number {
        ($kind:ty) => {
            Json::from(column.as_primitive::<$kind>().value(row))
        };
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Json::from);
    Some(match column.data_type() {
        DataType::Boolean => Json::from(column.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Utf8 => Json::from(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Json::from(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Json::from(column.as_string_view().value(row)),
        DataType::Binary => text(column.as_binary::<i32>().value(row))?,
        DataType::LargeBinary => text(column.as_binary::<i64>().value(row))?,
        DataType::BinaryView => text(column.as_binary_view().value(row))?,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            Json::from(time(column, row)?)
        }
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let key = json(dictionary.keys(), row)?.as_u64()?;
            let at = usize::try_from(key).ok()?;
            (at < dictionary.values().len()).then(|| json(dictionary.values(), at))??
        }
        DataType::Struct(members) => {
            let values = column.as_struct();
            let cells = members
                .iter()
                .zip(values.columns())
                .map(|(member, column)| {
                    (
                        member.name().clone(),
                        json(column, row).unwrap_or(Json::Null),
                    )
                });
            Json::Object(cells.collect())
        }
        _ => {
            let values = list(column, row)?;
            let items = (0..values.len()).map(|at| json(&values, at).unwrap_or(Json::Null));
            Json::Array(items.collect())
        }
    })
}

/// As ISO 8601 has it, in UTC.
fn time(column: &dyn Array, row: usize) -> Option<String> {
    macro_rules! value {
        ($kind:ty) => {
            column.as_primitive::<$kind>().value(row)
        };
    }
    let time = match column.data_type() {
        DataType::Date32 => {
            let date = times::date32_to_datetime(value!(Date32Type))?;
            return Some(date.format("%Y-%m-%d").to_string());
        }
        DataType::Date64 => times::date64_to_datetime(value!(Date64Type)),
        DataType::Timestamp(TimeUnit::Second, _) => {
            times::timestamp_s_to_datetime(value!(TimestampSecondType))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            times::timestamp_ms_to_datetime(value!(TimestampMillisecondType))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            times::timestamp_us_to_datetime(value!(TimestampMicrosecondType))
        }
        _ => times::timestamp_ns_to_datetime(value!(TimestampNanosecondType)),
    };
    Some(time?.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string())
}

/// Bytes that `parquet` reads here and there.
#[derive(Clone)]
struct Chunks {
    bytes: Arc<Mutex<Box<dyn ReadSeek>>>,
    length: u64,
}

impl Chunks {
    fn new(mut bytes: Box<dyn ReadSeek>) -> io::Result<Self> {
        let length = bytes.seek(SeekFrom::End(0))?;
        Ok(Self {
            bytes: Arc::new(Mutex::new(bytes)),
            length,
        })
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.seek(SeekFrom::Start(at))?;
        bytes.read(buffer)
    }
}

struct Chunk {
    chunks: Chunks,
    at: u64,
}

impl Read for Chunk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.chunks.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Chunk>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let chunks = self.clone();
        Ok(BufReader::new(Chunk { chunks, at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        if start.saturating_add(length as u64) > self.length {
            let what = format!(
                "bytes {start} to {} lie behind its end",
                start + length as u64
            );
            return Err(parquet::errors::ParquetError::EOF(what));
        }
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}
