//! Rows of a table: RFC 4180, with commas.
//!
//! A reader of our own, because a quote that is never closed must be an error (a lenient reader takes the rest of the file
//! for one cell), and because a row's length is bounded. A test compares it with the `csv` package.

use std::io::BufRead;

use super::lines::Lines;
use super::{Origin, Record};
use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::ingest::MAX_RECORD_BYTES;
use crate::ingest::fields::{ID_NAMES, TEXT_NAMES, TITLE_NAME, list, settle_title};

pub(super) struct Records<R> {
    rows: Rows<R>,
    origin: Origin,
    columns: Option<Columns>,
    /// Nothing more can be read: the header was bad, or a quote was never closed.
    is_done: bool,
}

impl<R: BufRead> Records<R> {
    pub fn new(reader: R, origin: Origin) -> Self {
        let rows = Rows {
            lines: Lines::new(reader, MAX_RECORD_BYTES),
            limit: MAX_RECORD_BYTES,
        };
        Self {
            rows,
            origin,
            columns: None,
            is_done: false,
        }
    }

    fn record(&mut self) -> Result<Option<Record>> {
        if self.columns.is_none() {
            // A bad header leaves nothing to read the rows by.
            self.is_done = true;
            let Some((line, names)) = self.rows.next(&self.origin)? else {
                return Ok(None);
            };
            self.columns = Some(
                Columns::new(names, &self.origin).map_err(|what| self.origin.bad(line, what))?,
            );
            self.is_done = false;
        }
        let row = match self.rows.next(&self.origin) {
            Err(Fault::Rest(error)) => {
                self.is_done = true;
                return Err(error);
            }
            row => row?,
        };
        let (Some((line, cells)), Some(columns)) = (row, &self.columns) else {
            return Ok(None);
        };
        let mut document = columns
            .document(cells, || self.origin.record_id(line))
            .map_err(|what| self.origin.bad(line, what))?;
        document.source = Some(self.origin.source(line));
        Ok(Some(Record {
            line: Some(line),
            document,
        }))
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        self.record().transpose()
    }
}

/// What each column is for.
struct Columns {
    names: Vec<String>,
    id: Option<usize>,
    text: usize,
    title: Option<usize>,
}

impl Columns {
    fn new(names: Vec<String>, origin: &Origin) -> std::result::Result<Self, String> {
        let mut names: Vec<_> = names.iter().map(|name| name.trim().to_owned()).collect();
        for (name, number) in names.iter_mut().zip(1..) {
            if name.is_empty() {
                *name = format!("column_{number}");
            }
        }
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(format!("two columns are named `{}`; rename one", names[at]));
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
        let text = text.or_else(|| TEXT_NAMES.iter().find_map(|name| place(name))).ok_or_else(|| {
            let hint = match names.as_slice() {
                [only] if only.contains([';', '\t']) => "; the columns must be separated by commas",
                _ => "",
            };
            format!(
                "no column is named {}; name the text's by `--text-field`; the columns are {}{hint}",
                list(TEXT_NAMES),
                list(&names)
            )
        })?;
        Ok(Self {
            id: id.filter(|&id| id != text),
            title: title.filter(|&title| title != text),
            names,
            text,
        })
    }

    fn document(
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

/// Why there is no row.
enum Fault {
    /// The next row can be read.
    Row(Error),
    /// Nothing after it can be told apart.
    Rest(Error),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Row(error) | Fault::Rest(error) => error,
        }
    }
}

/// Lines → rows of cells.
struct Rows<R> {
    lines: Lines<R>,
    /// The longest row, in bytes.
    limit: usize,
}

impl<R: BufRead> Rows<R> {
    /// The next row that is not a blank line, and the line where it begins.
    fn next(&mut self, origin: &Origin) -> std::result::Result<Option<(u32, Vec<String>)>, Fault> {
        let mut row = Row::default();
        let mut first = None;
        let mut bytes = 0;
        loop {
            let Some(line) = self.lines.next_bytes(origin) else {
                let Some(begin) = first else { return Ok(None) };
                let what =
                    "a quote in this row is never closed, so the rest of the file cannot be read";
                return Err(Fault::Rest(origin.bad(begin, what)));
            };
            let (number, line) = line.map_err(|error| {
                if first.is_none() {
                    Fault::Row(error)
                } else {
                    Fault::Rest(error)
                }
            })?;
            if first.is_none() && matches!(line, b"\n" | b"\r\n") {
                continue;
            }
            bytes += line.len();
            let begin = *first.get_or_insert(number);
            if bytes > self.limit {
                let what = format!(
                    "the row is longer than {} bytes; a quote in it may never be closed",
                    self.limit
                );
                return Err(Fault::Rest(origin.bad(begin, what)));
            }
            if row.push_line(line) {
                // Only now, so that a byte that is not UTF-8 spoils its own row and no quote is miscounted.
                let cells: std::result::Result<Vec<_>, _> =
                    row.cells.into_iter().map(String::from_utf8).collect();
                return match cells {
                    Ok(cells) => Ok(Some((begin, cells))),
                    Err(error) => {
                        let at = error.utf8_error().valid_up_to() + 1;
                        Err(Fault::Row(
                            origin.bad(begin, format!("byte {at} of a cell is not UTF-8")),
                        ))
                    }
                };
            }
        }
    }
}

#[derive(Default)]
struct Row {
    cells: Vec<Vec<u8>>,
    cell: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    /// At the beginning of a cell: a quote opens it.
    #[default]
    Begin,
    Plain,
    Quoted,
    /// After a quote inside quotes: the end of them, or half of a doubled one.
    Quote,
}

impl Row {
    /// Adds a line with its end; true when the row is complete.
    fn push_line(&mut self, line: &[u8]) -> bool {
        let content = line
            .strip_suffix(b"\n")
            .map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
        for &byte in content {
            self.state = match (self.state, byte) {
                (State::Begin, b'"') => State::Quoted,
                (State::Quoted, b'"') => State::Quote,
                (State::Begin | State::Plain | State::Quote, b',') => {
                    self.cells.push(std::mem::take(&mut self.cell));
                    State::Begin
                }
                (state, byte) => {
                    self.cell.push(byte);
                    match state {
                        State::Quoted => State::Quoted,
                        State::Quote if byte == b'"' => State::Quoted,
                        _ => State::Plain,
                    }
                }
            };
        }
        if self.state == State::Quoted {
            self.cell.extend_from_slice(&line[content.len()..]);
            return false;
        }
        self.cells.push(std::mem::take(&mut self.cell));
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::origin;
    use super::*;

    fn rows(text: &str, limit: usize) -> std::result::Result<Vec<(u32, Vec<String>)>, String> {
        let mut rows = Rows {
            lines: Lines::new(text.as_bytes(), limit),
            limit,
        };
        let mut all = Vec::new();
        while let Some(row) = rows
            .next(&origin("f"))
            .map_err(|fault| Error::from(fault).to_string())?
        {
            all.push(row);
        }
        Ok(all)
    }

    #[test]
    fn quotes_hold_commas_quotes_and_line_ends() {
        let text = "a,b\r\n\"x, y\",\"say \"\"hi\"\"\"\r\n\n\"two\r\nlines\",\n,\"\"\nq\"q,\"a\"b";
        let row = |line, a: &str, b: &str| (line, vec![a.to_owned(), b.to_owned()]);
        assert_eq!(
            rows(text, 100).expect("reads"),
            [
                row(1, "a", "b"),
                row(2, "x, y", "say \"hi\""),
                row(4, "two\r\nlines", ""),
                row(6, "", ""),
                row(7, "q\"q", "ab")
            ]
        );
    }

    #[test]
    fn a_quote_never_closed_is_an_error_where_its_row_begins() {
        assert!(
            rows("a,b\n1,\"2\n3,4\n", 100)
                .expect_err("unclosed")
                .starts_with("f:2: a quote in this row")
        );
        assert!(
            rows("a\n\"1\n2\n3\n4\n5\n6", 8)
                .expect_err("too long")
                .starts_with("f:2: the row is longer than 8 bytes")
        );
    }

    #[test]
    fn a_byte_that_is_not_utf8_spoils_its_own_row_only() {
        let mut rows = Rows {
            lines: Lines::new(&b"a\n\"x\xff\ny\"\nz\n"[..], 100),
            limit: 100,
        };
        let mut next = || {
            rows.next(&origin("f"))
                .map_err(|fault| Error::from(fault).to_string())
        };
        assert_eq!(next(), Ok(Some((1, vec!["a".into()]))));
        assert_eq!(next(), Err("f:2: byte 2 of a cell is not UTF-8".into()));
        assert_eq!(next(), Ok(Some((4, vec!["z".into()]))));
    }

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

    proptest! {
        #[test]
        fn rows_are_those_of_the_csv_package(text in "([a,\"ü \n]|\r\n){0,40}") {
            let Ok(ours) = rows(&text, 1_000) else {
                // Only a quote never closed is an error here; the package takes the rest of the file for a cell.
                return Ok(());
            };
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let theirs: Vec<Vec<String>> =
                reader.records().map(|row| row.expect("UTF-8").iter().map(str::to_owned).collect()).collect();
            prop_assert_eq!(ours.into_iter().map(|(_, cells)| cells).collect::<Vec<_>>(), theirs);
        }
    }
}
