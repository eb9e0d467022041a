//! One JSON object a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use super::record::{Header, Record};
use crate::error::{Error, Result};

/// The longest line, in bytes: a document of a million words with its vectors takes a tenth of it.
const MAX_LINE_BYTES: u64 = 1 << 30;

pub(super) struct Writer<W>(W);

impl<W: Write> Writer<W> {
    pub fn new(out: W, header: &Header) -> Result<Self> {
        let mut writer = Self(out);
        writer.line(&header.to_json())?;
        Ok(writer)
    }

    pub fn write(&mut self, record: &Record) -> Result<()> {
        let line = serde_json::to_string(record).expect("a record has only string keys");
        self.line(&line)
    }

    pub fn finish(mut self) -> Result<()> {
        self.0.flush().map_err(failed)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        self.0
            .write_all(line.as_bytes())
            .and_then(|()| self.0.write_all(b"\n"))
            .map_err(failed)
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::io("write", Path::new("the export"))(source)
}

/// The lines of a file.
pub(super) struct Reader<'a> {
    file: BufReader<File>,
    name: &'a Path,
    number: u64,
    line: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// From the beginning of the file; `name` is what errors call it.
    pub fn open(file: File, name: &'a Path) -> Result<(Header, Self)> {
        let mut reader = Self {
            file: BufReader::with_capacity(1 << 18, file),
            name,
            number: 0,
            line: Vec::new(),
        };
        reader.fill()?;
        let json = str::from_utf8(&reader.line).unwrap_or_default();
        let header = Header::parse(json).map_err(|what| reader.wrong(what))?;
        Ok((header, reader))
    }

    /// The next document; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Record>> {
        loop {
            if !self.fill()? {
                return Ok(None);
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        let record = serde_json::from_slice(&self.line);
        record.map(Some).map_err(|error| {
            let what = error.to_string();
            // serde_json counts lines within the one that it was given.
            let what = what.split(" at line ").next().unwrap_or_default();
            self.wrong(format!(
                "this is not a document: {what} (column {})",
                error.column()
            ))
        })
    }

    /// What is wrong with the line read last.
    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Input {
            place: self.place(),
            what: what.into(),
        }
    }

    /// The line read last.
    pub fn place(&self) -> String {
        format!("{}:{}", self.name.display(), self.number)
    }

    fn fill(&mut self) -> Result<bool> {
        self.line.clear();
        let mut limited = self.file.by_ref().take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(Error::io("read", self.name))?;
        self.number += 1;
        if read as u64 > MAX_LINE_BYTES {
            return Err(self.wrong(format!("the line is longer than {MAX_LINE_BYTES} bytes")));
        }
        Ok(read > 0)
    }
}
