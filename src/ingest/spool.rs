//! Standard input → a temporary file that both passes can read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::Format;
use crate::error::{Error, Result};

/// What a reader gave, in a nameless temporary file that goes with the last handle.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    file: Arc<Mutex<File>>,
    pub bytes: u64,
}

impl Spool {
    /// Reads to the end. JSON Lines have no name here to tell them by, but their first character.
    pub fn copy(name: &str, mut reader: Box<dyn Read>) -> Result<(Self, Option<Format>)> {
        let temporary = std::env::temp_dir();
        let mut file =
            tempfile::tempfile().map_err(Error::io("make a temporary file in", &temporary))?;
        let mut buffer = vec![0; 1 << 16];
        let (mut bytes, mut first) = (0, None);
        loop {
            let read = match reader.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(Error::io("read", Path::new(name)))?,
            };
            if read == 0 {
                break;
            }
            let is_mark = |byte: &u8| [0xef, 0xbb, 0xbf].contains(byte);
            first = first.or_else(|| {
                buffer[..read]
                    .iter()
                    .copied()
                    .find(|byte| !byte.is_ascii_whitespace() && !is_mark(byte))
            });
            file.write_all(&buffer[..read])
                .map_err(Error::io("write a temporary file in", &temporary))?;
            bytes += read as u64;
        }
        let format = (first == Some(b'{')).then_some(Format::JsonLines);
        Ok((
            Self {
                file: Arc::new(Mutex::new(file)),
                bytes,
            },
            format,
        ))
    }

    /// Reads from the beginning, apart from all other handles.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader {
            spool: self.clone(),
            at: 0,
        }
    }
}

pub(super) struct SpoolReader {
    spool: Spool,
    at: u64,
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.spool.bytes.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The file's own position is nobody's: each reader sets it under the lock.
        let mut file = self
            .spool
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
