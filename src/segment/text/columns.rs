//! Columns: one for each field name and kind of value.

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;
use tantivy::columnar::{self, DynamicColumn, TermOrdHit};
use tantivy::fastfield::FastFieldReaders;

use super::FIELDS;
use crate::filter::Comparison::{self, Equal, Greater, GreaterOrEqual, Less, LessOrEqual};

/// tantivy cuts column values after 65,535 bytes. A field with a longer string than this is compared as it is stored.
pub(super) const LONGEST_INDEXED_STRING: usize = 32 * 1024;

/// The kinds of columns that a field name can have. The letters are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Bool,
    Integer,
    Float,
    String,
    /// Marks documents whose field holds a string too long for a column.
    Long,
}

/// The key of a column: a letter for its kind, then the field's name with everything but ASCII letters, digits and
/// non-ASCII bytes as `_` and two hex digits, because tantivy gives a meaning to dots, backslashes and control characters.
pub(super) fn column_key(name: &str, column: Column) -> String {
    let mut key = String::with_capacity(name.len() + 1);
    key.push(match column {
        Column::Bool => 'b',
        Column::Integer => 'i',
        Column::Float => 'f',
        Column::String => 's',
        Column::Long => 'l',
    });
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            key.push(c);
        } else {
            key.push_str(&format!("_{:02x}", c as u32));
        }
    }
    key
}

/// The fields of an open segment.
pub(super) struct Columns<'a> {
    pub readers: &'a FastFieldReaders,
    pub rows: u32,
}

impl Columns<'_> {
    /// Rows that have any value in the column.
    pub fn present(&self, name: &str, column: Column) -> tantivy::Result<RoaringBitmap> {
        Ok(match self.open(name, column)? {
            None => RoaringBitmap::new(),
            Some(DynamicColumn::Bool(values)) => self.inside(&values, false..=true),
            Some(DynamicColumn::I64(values)) => self.inside(&values, i64::MIN..=i64::MAX),
            Some(DynamicColumn::F64(values)) => self.inside(&values, f64::MIN..=f64::MAX),
            Some(DynamicColumn::Str(values)) => self.inside(values.ords(), 0..=u64::MAX),
            Some(_) => return Err(unexpected(name)),
        })
    }

    pub fn bools(&self, name: &str, value: bool) -> tantivy::Result<RoaringBitmap> {
        match self.open(name, Column::Bool)? {
            None => Ok(RoaringBitmap::new()),
            Some(DynamicColumn::Bool(values)) => Ok(self.inside(&values, value..=value)),
            Some(_) => Err(unexpected(name)),
        }
    }

    pub fn integers(
        &self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> tantivy::Result<RoaringBitmap> {
        match self.open(name, Column::Integer)? {
            None => Ok(RoaringBitmap::new()),
            Some(DynamicColumn::I64(values)) => Ok(self.inside(&values, range)),
            Some(_) => Err(unexpected(name)),
        }
    }

    pub fn floats(&self, name: &str, range: RangeInclusive<f64>) -> tantivy::Result<RoaringBitmap> {
        match self.open(name, Column::Float)? {
            None => Ok(RoaringBitmap::new()),
            Some(DynamicColumn::F64(values)) => Ok(self.inside(&values, range)),
            Some(_) => Err(unexpected(name)),
        }
    }

    pub fn strings(
        &self,
        name: &str,
        comparison: Comparison,
        value: &str,
    ) -> tantivy::Result<RoaringBitmap> {
        let values = match self.open(name, Column::String)? {
            None => return Ok(RoaringBitmap::new()),
            Some(DynamicColumn::Str(values)) => values,
            Some(_) => return Err(unexpected(name)),
        };
        // Ordinals stand in the order of the strings' bytes.
        let terms = values.num_terms() as u64;
        let (exact, at) = match values.dictionary().term_ord_or_next(value)? {
            TermOrdHit::Exact(at) => (true, at),
            TermOrdHit::Next(at) => (false, at.min(terms)),
        };
        let after = if exact { at + 1 } else { at };
        let ordinals = match comparison {
            Equal => at..after,
            Less => 0..at,
            LessOrEqual => 0..after,
            Greater => after..terms,
            GreaterOrEqual => at..terms,
        };
        Ok(if ordinals.is_empty() {
            RoaringBitmap::new()
        } else {
            self.inside(values.ords(), ordinals.start..=ordinals.end - 1)
        })
    }

    fn open(&self, name: &str, column: Column) -> tantivy::Result<Option<DynamicColumn>> {
        let key = format!("{FIELDS}.{}", column_key(name, column));
        let handles = self.readers.dynamic_column_handles(&key)?;
        handles
            .first()
            .map(|handle| handle.open().map_err(tantivy::TantivyError::from))
            .transpose()
    }

    fn inside<T>(&self, values: &columnar::Column<T>, range: RangeInclusive<T>) -> RoaringBitmap
    where
        T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
    {
        // Clamped, because tantivy takes a range that ends below its least value for one that holds this value.
        let low = if *range.start() < values.min_value() {
            values.min_value()
        } else {
            *range.start()
        };
        let high = if *range.end() > values.max_value() {
            values.max_value()
        } else {
            *range.end()
        };
        if low > high {
            return RoaringBitmap::new();
        }
        let mut rows = Vec::new();
        values.get_docids_for_value_range(low..=high, 0..self.rows, &mut rows);
        // Ascending; a row with several values can stand there several times.
        rows.dedup();
        RoaringBitmap::from_sorted_iter(rows.iter().copied())
            .unwrap_or_else(|_| rows.into_iter().collect())
    }
}

fn unexpected(name: &str) -> tantivy::TantivyError {
    tantivy::TantivyError::SchemaError(format!("field {name:?} has a column of an unexpected kind"))
}
