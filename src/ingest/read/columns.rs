//! What a table's header says, and by it a row's cells → a document.

use std::collections::HashSet;

use super::Origin;
use crate::document::{Document, Value};
use crate::ingest::fields::{ID_NAMES, TEXT_NAMES, TITLE_NAME, list, settle_title};

/// What each column is for.
pub(super) struct Columns {
    names: Vec<String>,
    id: Option<usize>,
    text: usize,
    title: Option<usize>,
}

impl Columns {
    /// `None` where no column is the text's.
    pub fn new(names: &[String], origin: &Origin) -> std::result::Result<Option<Self>, String> {
        let mut names: Vec<_> = names.iter().map(|name| name.trim().to_owned()).collect();
        for (name, number) in names.iter_mut().zip(1..) {
            if name.is_empty() {
                *name = format!("column_{number}");
            }
        }
        let mut seen = HashSet::new();
        if let Some(name) = names.iter().find(|&name| !seen.insert(name)) {
            return Err(format!("two columns are named `{name}`; rename one"));
        }
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let asked = |wanted: &Option<String>, option: &str| match wanted {
            None => Ok(None),
            Some(wanted) => match place(wanted) {
                None => Err(format!(
                    "there is no column `{wanted}`, which `{option}` names; the columns are {}",
                    list(&names)
                )),
                found => Ok(found),
            },
        };
        let options = &origin.options;
        let id = asked(&options.id_field, "--id-field")?
            .or_else(|| ID_NAMES.iter().find_map(|name| place(name)));
        let title = asked(&options.title_field, "--title-field")?.or_else(|| place(TITLE_NAME));
        let text = asked(&options.text_field, "--text-field")?;
        let Some(text) = text.or_else(|| TEXT_NAMES.iter().find_map(|name| place(name))) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: id.filter(|&id| id != text),
            title: title.filter(|&title| title != text),
            names,
            text,
        }))
    }

    pub fn document(
        &self,
        cells: Vec<String>,
        make_id: impl FnOnce() -> String,
    ) -> std::result::Result<Document, String> {
        if cells.len() != self.names.len() {
            let (found, expected) = (cells.len(), self.names.len());
            return Err(format!(
                "the row has {found} cells, and the header {expected}"
            ));
        }
        let mut document = Document::new("", "");
        for ((at, cell), name) in cells.into_iter().enumerate().zip(&self.names) {
            if at == self.text {
                document.text = cell;
            } else if Some(at) == self.id {
                document.id = cell.trim().to_owned();
            } else if Some(at) == self.title {
                document.title = Some(cell);
            } else if !cell.is_empty() {
                document.fields.insert(name.clone(), value(cell));
            }
        }
        settle_title(&mut document);
        if document.id.is_empty() {
            document.id = make_id();
        }
        Ok(document)
    }
}

/// A number only where it is written in its plain form, so that no zero of `007` and no sign of `+49…` is lost.
fn value(cell: String) -> Value {
    if cell.eq_ignore_ascii_case("true") {
        return Value::Bool(true);
    }
    if cell.eq_ignore_ascii_case("false") {
        return Value::Bool(false);
    }
    let digits = cell.strip_prefix('-').unwrap_or(&cell);
    let whole = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let is_plain = whole == 1 || (whole > 1 && !digits.starts_with('0'));
    let is_float = digits[whole..].starts_with(['.', 'e', 'E'])
        && digits.ends_with(|c: char| c.is_ascii_digit());
    if is_plain
        && whole == digits.len()
        && let Ok(integer) = cell.parse()
    {
        return Value::Integer(integer);
    }
    // Integers beyond 64 bits stay strings: in a table they are card or serial numbers, whose every digit counts.
    if is_plain
        && is_float
        && let Ok(float) = cell.parse::<f64>()
        && float.is_finite()
    {
        return Value::Float(float);
    }
    Value::String(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbers_only_in_plain_form() {
        let read = |cell: &str| value(cell.to_owned());
        for (cell, expected) in [
            ("12", Value::Integer(12)),
            ("-3", Value::Integer(-3)),
            ("0", Value::Integer(0)),
            ("0.5", Value::Float(0.5)),
            ("-1e3", Value::Float(-1000.0)),
            ("2.50", Value::Float(2.5)),
            ("TRUE", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ] {
            assert_eq!(read(cell), expected, "{cell}");
        }
        for cell in [
            "007",
            "+1",
            "-",
            "1.",
            ".5",
            "1e",
            "1e999",
            "nan",
            "inf",
            "1_000",
            "1,5",
            " 1",
            "12345678901234567890",
            "1.2.3",
            "yes",
            "-01",
        ] {
            assert_eq!(read(cell), Value::from(cell), "{cell}");
        }
    }
}
