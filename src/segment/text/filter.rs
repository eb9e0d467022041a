//! A filter → the rows whose document matches.

use roaring::RoaringBitmap;

use super::columns::{Column, Columns};
use super::{TextIndex, compare, guarded};
use crate::document::Value;
use crate::error::Result;
use crate::filter::{Comparison, Filter};
use crate::segment::documents::Tables;
use crate::segment::format::Kind;

impl TextIndex {
    /// All rows whose document matches.
    pub fn matching(&self, filter: &Filter, tables: Tables<'_>) -> Result<RoaringBitmap> {
        let rows = self.reader.max_doc();
        let mut all = RoaringBitmap::new();
        all.insert_range(0..rows);
        let columns = Columns {
            readers: self.reader.fast_fields(),
            rows,
        };
        let matcher = Matcher {
            text: self,
            columns,
            tables,
            all,
        };
        guarded(&self.sections, Kind::TextFast, || matcher.rows(filter))
    }
}

struct Matcher<'a> {
    text: &'a TextIndex,
    columns: Columns<'a>,
    tables: Tables<'a>,
    all: RoaringBitmap,
}

impl Matcher<'_> {
    fn rows(&self, filter: &Filter) -> Result<RoaringBitmap> {
        match filter {
            Filter::Compare(name, comparison, value) => self.compare(name, *comparison, value),
            Filter::In(name, values) => {
                values.iter().try_fold(RoaringBitmap::new(), |rows, value| {
                    Ok(rows | self.compare(name, Comparison::Equal, value)?)
                })
            }
            Filter::Exists(name) => {
                let kinds = [
                    Column::Bool,
                    Column::Integer,
                    Column::Float,
                    Column::String,
                    Column::Long,
                ];
                let present = |kind| {
                    self.columns
                        .present(name, kind)
                        .map_err(|e| self.damaged(&e))
                };
                kinds
                    .into_iter()
                    .try_fold(RoaringBitmap::new(), |rows, kind| Ok(rows | present(kind)?))
            }
            Filter::And(parts) => parts
                .iter()
                .try_fold(self.all.clone(), |rows, part| Ok(rows & self.rows(part)?)),
            Filter::Or(parts) => parts.iter().try_fold(RoaringBitmap::new(), |rows, part| {
                Ok(rows | self.rows(part)?)
            }),
            Filter::Not(part) => Ok(&self.all - self.rows(part)?),
        }
    }

    fn compare(&self, name: &str, comparison: Comparison, value: &Value) -> Result<RoaringBitmap> {
        let columns = &self.columns;
        let rows = match value {
            Value::Bool(value) if comparison == Comparison::Equal => columns.bools(name, *value),
            Value::Integer(_) | Value::Float(_) => {
                let integers =
                    compare::integers(comparison, value).map(|range| columns.integers(name, range));
                let floats =
                    compare::floats(comparison, value).map(|range| columns.floats(name, range));
                let none = || Ok(RoaringBitmap::new());
                integers
                    .unwrap_or_else(none)
                    .and_then(|rows| Ok(rows | floats.unwrap_or_else(none)?))
            }
            Value::String(value) => match columns.strings(name, comparison, value) {
                Ok(rows) => return Ok(rows | self.long_strings(name, comparison, value)?),
                failed => failed,
            },
            Value::Bool(_) | Value::List(_) | Value::Null => Ok(RoaringBitmap::new()),
        };
        rows.map_err(|e| self.damaged(&e))
    }

    /// Rows of documents whose strings are too long for a column, compared as they are stored.
    fn long_strings(
        &self,
        name: &str,
        comparison: Comparison,
        value: &str,
    ) -> Result<RoaringBitmap> {
        let marked = self
            .columns
            .present(name, Column::Long)
            .map_err(|e| self.damaged(&e))?;
        let mut rows = RoaringBitmap::new();
        for row in &marked {
            let first = self.tables.rows_of(self.tables.document_of(row)).start;
            if row != first {
                if rows.contains(first) {
                    rows.insert(row);
                }
                continue;
            }
            let matches = match self.text.attributes(row)?.fields.get(name) {
                Some(Value::String(field)) => compare::strings(field, comparison, value),
                Some(Value::List(list)) => list
                    .iter()
                    .any(|field| compare::strings(field, comparison, value)),
                _ => false,
            };
            if matches {
                rows.insert(row);
            }
        }
        Ok(rows)
    }

    fn damaged(&self, error: &tantivy::TantivyError) -> crate::error::Error {
        self.text
            .sections
            .first_damage(Kind::TextFast, &error.to_string())
    }
}
