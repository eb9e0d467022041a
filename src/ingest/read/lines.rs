//! Bytes → lines of bounded length, checked to be UTF-8.

use std::io::{BufRead, Read};

use super::Origin;
use crate::error::{Error, Result};

/// The lines of a file, numbered from 1, with their line ends as they are.
pub(super) struct Lines<R> {
    reader: R,
    /// The longest line, in bytes.
    limit: usize,
    number: u32,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            limit,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next line and its number. After [`Error::Input`] the line after the bad one follows.
    pub fn next(&mut self, origin: &Origin) -> Option<Result<(u32, &str)>> {
        match self.fill(origin) {
            Ok(false) => None,
            Ok(true) => Some(self.checked(origin)),
            Err(error) => Some(Err(error)),
        }
    }

    /// The next line as [`Lines::next`] gives it, not checked to be UTF-8.
    pub fn next_bytes(&mut self, origin: &Origin) -> Option<Result<(u32, &[u8])>> {
        match self.fill(origin) {
            Ok(false) => None,
            Ok(true) => Some(Ok((self.number, &self.line))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads a line into `self.line`; false at the end of the file.
    fn fill(&mut self, origin: &Origin) -> Result<bool> {
        self.line.clear();
        let longest = self.limit as u64 + 1;
        let mut limited = self.reader.by_ref().take(longest);
        let read = limited
            .read_until(b'\n', &mut self.line)
            .map_err(Error::io("read", &origin.path))?;
        if read == 0 {
            return Ok(false);
        }
        self.number = self.number.checked_add(1).ok_or_else(|| Error::Io {
            action: "read on in",
            path: origin.path.clone(),
            source: std::io::Error::other("it has more than 4,294,967,295 lines; split it"),
        })?;
        if self.line.len() > self.limit {
            if self.line.last() != Some(&b'\n') {
                self.skip_line().map_err(Error::io("read", &origin.path))?;
            }
            self.line = Vec::new();
            return Err(origin.bad(
                self.number,
                format!("the line is longer than {} bytes", self.limit),
            ));
        }
        Ok(true)
    }

    fn checked(&self, origin: &Origin) -> Result<(u32, &str)> {
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok((self.number, line)),
            Err(error) => {
                let at = error.valid_up_to() + 1;
                Err(origin.bad(self.number, format!("byte {at} of the line is not UTF-8")))
            }
        }
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(buffer.len(), |at| at + 1);
            self.reader.consume(taken);
            if end.is_some() || taken == 0 {
                return Ok(());
            }
        }
    }
}

/// A whole file of bounded length.
pub(super) fn whole(mut reader: impl Read, origin: &Origin, limit: usize) -> Result<String> {
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io("read", &origin.path))?;
    if bytes.len() > limit {
        let what = format!("the file is longer than {limit} bytes, the most one document may have");
        return Err(origin.bad(None, what));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        origin.bad(
            None,
            format!("byte {} (on line {line}) is not UTF-8", at + 1),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::origin;
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> Vec<std::result::Result<(u32, String), String>> {
        let (mut lines, origin) = (Lines::new(bytes, limit), origin("f"));
        let mut all = Vec::new();
        while let Some(line) = lines.next(&origin) {
            all.push(
                line.map(|(number, line)| (number, line.to_owned()))
                    .map_err(|error| error.to_string()),
            );
        }
        all
    }

    #[test]
    fn lines_keep_their_ends_and_lose_the_mark() {
        assert_eq!(
            read("a\r\nb\n\nc".as_bytes(), 100),
            [
                Ok((1, "a\r\n".into())),
                Ok((2, "b\n".into())),
                Ok((3, "\n".into())),
                Ok((4, "c".into()))
            ]
        );
    }

    #[test]
    fn a_line_over_the_limit_is_an_error_and_the_next_one_is_read() {
        let too_long = |line| Err(format!("f:{line}: the line is longer than 4 bytes"));
        assert_eq!(
            read(b"abc\nabcd\nx\nabcdefghijk\ny\nabcdefgh", 4),
            [
                Ok((1, "abc\n".into())),
                too_long(2),
                Ok((3, "x\n".into())),
                too_long(4),
                Ok((5, "y\n".into())),
                too_long(6)
            ]
        );
    }

    #[test]
    fn a_line_that_is_not_utf8_is_an_error_and_the_next_one_is_read() {
        assert_eq!(
            read(b"ab\xff\nx\n", 100),
            [
                Err("f:1: byte 3 of the line is not UTF-8".into()),
                Ok((2, "x\n".into()))
            ]
        );
    }

    #[test]
    fn a_whole_file_over_the_limit_or_not_utf8_is_an_error() {
        let read = |bytes: &[u8]| whole(bytes, &origin("f"), 8).map_err(|error| error.to_string());
        assert_eq!(read("a\r\n".as_bytes()), Ok("a\r\n".into()));
        assert!(
            read(b"123456789")
                .expect_err("too long")
                .contains("longer than 8 bytes")
        );
        assert!(
            read(b"a\nb\xff")
                .expect_err("not UTF-8")
                .contains("f: byte 4 (on line 2) is not UTF-8")
        );
    }
}
