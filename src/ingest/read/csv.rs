//! Rows of a table, as RFC 4180 and the spreadsheets write them.
//!
//! `csv_core` cuts the rows. It is fed line by line, so that a row's first line and length are known, and so that a quote
//! that is never closed shows: left to itself the parser takes the rest of the file for one cell.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};

use super::columns::Columns;
use super::lines::Lines;
use super::{Origin, Record};
use crate::document::Document;
use crate::error::Result;
use crate::ingest::extract::{Rows as TableRows, Writer};
use crate::ingest::fields::{TEXT_NAMES, list};

/// A table's rows, each a record; or all of them as one, where no column is the text's.
pub(super) struct Records<R> {
    rows: Rows<R>,
    origin: Origin,
    header: Header,
}

/// What the first row says.
enum Header {
    Unread,
    Columns(Columns),
    /// There is nothing more to read.
    Done,
}

impl<R: BufRead> Records<R> {
    /// `delimiter` is what stands between cells; if it is not given, the first line tells.
    pub fn new(reader: R, origin: Origin, delimiter: Option<u8>) -> Self {
        Self {
            rows: Rows::new(reader, delimiter, origin.options.max_bytes),
            origin,
            header: Header::Unread,
        }
    }

    fn record(&mut self) -> Result<Option<Record>> {
        if matches!(self.header, Header::Unread) {
            // A bad header leaves nothing to read the rows by.
            self.header = Header::Done;
            let Some((line, names)) = self.rows.next(&self.origin)? else {
                return Ok(None);
            };
            let columns = Columns::new(&names, &self.origin);
            match columns.map_err(|what| self.origin.bad(line, what))? {
                Some(columns) => self.header = Header::Columns(columns),
                None => return self.whole(names).map(Some),
            }
        }
        let Header::Columns(columns) = &self.header else {
            return Ok(None);
        };
        let Some((line, cells)) = self.rows.next(&self.origin)? else {
            return Ok(None);
        };
        let document = columns.document(cells, || self.origin.record_id(line));
        self.origin.record(line, document).map(Some)
    }

    /// The table as one document, whose rows keep their header wherever it is cut.
    fn whole(&mut self, names: Vec<String>) -> Result<Record> {
        let mut table = TableRows {
            rows: vec![names],
            header: 1,
        };
        let mut bytes = 0;
        while let Some((line, cells)) = self.rows.next(&self.origin)? {
            bytes += cells.iter().map(String::len).sum::<usize>();
            let most = self.origin.options.max_bytes;
            if bytes > most {
                let what = format!(
                    "no column is named {}, and as one text the table is longer than {most} bytes; name the \
                     column by `--text-field`",
                    list(TEXT_NAMES)
                );
                return Err(self.origin.bad(line, what));
            }
            table.rows.push(cells);
        }
        let mut writer = Writer::default();
        writer.table(table);
        let (text, outline) = writer.finish();
        let document = Document::new(self.origin.id.clone(), text);
        let document = document.outline(outline).source(self.origin.shown.clone());
        Ok(Record::new(None, document))
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.record().transpose()
    }
}

/// How many cells the parser gets room for at once.
const CELLS_AT_ONCE: usize = 64;

/// Lines → rows of cells.
struct Rows<R> {
    lines: Lines<R>,
    /// Made when it is known what stands between cells.
    parser: Option<Reader>,
    /// The longest row, in bytes.
    limit: usize,
    /// No row follows, or none that can be told apart.
    is_done: bool,
}

impl<R: BufRead> Rows<R> {
    fn new(reader: R, delimiter: Option<u8>, limit: usize) -> Self {
        Self {
            lines: Lines::new(reader, limit),
            parser: delimiter.map(parser),
            limit,
            is_done: false,
        }
    }

    /// The next row that is not a blank line, and the line where it begins.
    fn next(&mut self, origin: &Origin) -> Result<Option<(u32, Vec<String>)>> {
        if self.is_done {
            return Ok(None);
        }
        let mut row = Row::default();
        let mut first = None;
        let mut bytes = 0;
        loop {
            // After a fault inside quotes nobody knows where the row ends.
            self.is_done = first.is_some();
            let Some(line) = self.lines.next_bytes(origin) else {
                let Some(begin) = first else { return Ok(None) };
                let what =
                    "a quote in this row is never closed, so the rest of the file cannot be read";
                return Err(origin.bad(begin, what));
            };
            let (number, line) = line?;
            if first.is_none() && matches!(line, b"" | b"\n" | b"\r\n") {
                continue;
            }
            let begin = *first.get_or_insert(number);
            bytes += line.len();
            if bytes > self.limit {
                let what = format!(
                    "the row is longer than {} bytes; a quote in it may never be closed",
                    self.limit
                );
                return Err(origin.bad(begin, what));
            }
            let parser = self.parser.get_or_insert_with(|| parser(delimiter(line)));
            if row.push_line(line, parser) {
                self.is_done = false;
                // Only now, so that a byte that is not UTF-8 spoils its own row and no quote is miscounted.
                let cells = row.cells().map_err(|error| {
                    let at = error.valid_up_to() + 1;
                    origin.bad(begin, format!("byte {at} of a cell is not UTF-8"))
                })?;
                return Ok(Some((begin, cells)));
            }
        }
    }
}

fn parser(delimiter: u8) -> Reader {
    // A lone CR is a character like any other.
    let terminator = Terminator::Any(b'\n');
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).terminator(terminator).build()
}

/// What stands between the names of a header: a comma, or what spreadsheets write where that is the decimal point's sign.
fn delimiter(line: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for &byte in line {
        quoted ^= byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += usize::from(!quoted && byte == *delimiter);
        }
    }
    let [first, rest @ ..] = counts;
    let most = rest.into_iter().fold(
        first,
        |most, next| {
            if next.1 > most.1 { next } else { most }
        },
    );
    most.0
}

/// The cells' bytes one after another, and where each cell ends.
#[derive(Default)]
struct Row {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Row {
    /// Adds a line with its end; true when the row is complete.
    fn push_line(&mut self, line: &[u8], parser: &mut Reader) -> bool {
        let is_complete =
            self.push(line, parser) || (!line.ends_with(b"\n") && self.push(b"\n", parser));
        // Outside quotes the CR of a CR LF is the last cell's last byte.
        if is_complete
            && line.ends_with(b"\r\n")
            && let Some(end) = self.ends.last_mut()
        {
            *end -= 1;
        }
        is_complete
    }

    fn push(&mut self, mut input: &[u8], parser: &mut Reader) -> bool {
        let (mut bytes, mut ends) = (self.bytes.len(), self.ends.len());
        // A cell is never longer than it is written.
        self.bytes.resize(bytes + input.len(), 0);
        let is_complete = loop {
            self.ends.resize(ends + CELLS_AT_ONCE, 0);
            let (result, read, written, ended) =
                parser.read_record(input, &mut self.bytes[bytes..], &mut self.ends[ends..]);
            input = &input[read..];
            bytes += written;
            ends += ended;
            match result {
                ReadRecordResult::Record | ReadRecordResult::End => break true,
                ReadRecordResult::InputEmpty => break false,
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {}
            }
        };
        self.bytes.truncate(bytes);
        self.ends.truncate(ends);
        is_complete
    }

    fn cells(&self) -> std::result::Result<Vec<String>, std::str::Utf8Error> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins
            .zip(&self.ends)
            .map(|(&begin, &end)| std::str::from_utf8(&self.bytes[begin..end]).map(str::to_owned))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::origin;
    use super::*;

    fn rows(text: &str, limit: usize) -> std::result::Result<Vec<(u32, Vec<String>)>, String> {
        let rows = Rows::new(text.as_bytes(), Some(b','), limit);
        let (mut rows, origin) = (rows, origin("f"));
        std::iter::from_fn(|| rows.next(&origin).transpose())
            .collect::<Result<_>>()
            .map_err(|error| error.to_string())
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
        let mut rows = Rows::new(&b"a\n\"x\xff\ny\"\nz\n"[..], Some(b','), 100);
        let mut next = || rows.next(&origin("f")).map_err(|error| error.to_string());
        assert_eq!(next(), Ok(Some((1, vec!["a".into()]))));
        assert_eq!(next(), Err("f:2: byte 2 of a cell is not UTF-8".into()));
        assert_eq!(next(), Ok(Some((4, vec!["z".into()]))));
    }

    #[test]
    fn a_row_may_have_more_cells_than_the_parser_gets_room_for() {
        for count in [CELLS_AT_ONCE, CELLS_AT_ONCE + 1, 5 * CELLS_AT_ONCE] {
            let cells: Vec<_> = (0..count).map(|n| n.to_string()).collect();
            let line = cells.join(",");
            let expected = Ok(vec![(1, cells.clone()), (2, cells)]);
            assert_eq!(rows(&format!("{line}\n{line}"), 10_000), expected);
        }
    }

    #[test]
    fn blank_lines_and_a_lone_cr_are_no_rows_of_their_own() {
        let cells = |cells: &[&str]| {
            cells
                .iter()
                .map(|&cell| cell.to_owned())
                .collect::<Vec<_>>()
        };
        let expected = vec![(3, cells(&["a\rb", "c\r"])), (6, cells(&["d", "\r"]))];
        assert_eq!(rows("\r\n\na\rb,\"c\r\"\n\r\n\nd,\r", 100), Ok(expected));
    }

    /// Text as the `csv` package writes it, and the line where each row begins.
    fn written(table: &[Vec<String>], builder: &mut csv::WriterBuilder) -> (String, Vec<u32>) {
        let mut writer = builder.flexible(true).from_writer(Vec::new());
        let mut begins = Vec::new();
        for row in table {
            writer.flush().expect("to memory");
            let before = writer
                .get_ref()
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            begins.push(u32::try_from(before + 1).expect("few lines"));
            writer.write_record(row).expect("to memory");
        }
        let text = writer.into_inner().expect("to memory");
        (String::from_utf8(text).expect("UTF-8"), begins)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_a_cut_in_a_cell_is_seen(
            table in prop::collection::vec(prop::collection::vec("[a,\"\u{fc}\r\n ]{0,6}", 1..4), 1..6),
            has_crlf: bool,
        ) {
            let terminator = if has_crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut builder = csv::WriterBuilder::new();
            let (text, begins) = written(&table, builder.terminator(terminator));
            let expected: Vec<_> = begins.into_iter().zip(table.clone()).collect();
            prop_assert_eq!(rows(&text, 1_000), Ok(expected));

            let (text, begins) = written(&table, builder.quote_style(csv::QuoteStyle::Always));
            let cut = text.rfind('"').expect("all is quoted");
            let last = begins.last().expect("a row");
            let message = rows(&text[..cut], 1_000).expect_err("never closed");
            prop_assert!(message.starts_with(&format!("f:{last}: a quote in this row")), "{}", message);
        }
    }
}
