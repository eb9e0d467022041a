//! Archives and packed files → the files in them.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;
use tempfile::SpooledTempFile;
use zip::ZipArchive;
use zip::result::ZipError;

use super::{Bytes, Origin, Packed, Reader, Stop, spooled};
use crate::error::Error;
use crate::ingest::Format;

impl Reader<'_> {
    pub(super) fn unpack(
        &mut self,
        origin: Origin,
        format: Format,
        bytes: Bytes,
        packed: &Packed,
    ) -> Result<Option<Format>, Stop> {
        match format {
            Format::Zip => {
                self.zip(&origin, bytes, packed)?;
                Ok(Some(format))
            }
            Format::Tar => {
                self.tar(&origin, bytes, packed)?;
                Ok(Some(format))
            }
            Format::Gzip => {
                let unpacked = MultiGzDecoder::new(bytes.stream());
                self.packed(origin, Box::new(unpacked), packed)
            }
            _ => {
                let unpacked = Frames::new(bytes.stream());
                self.packed(origin, Box::new(unpacked), packed)
            }
        }
    }

    /// What is packed alone keeps its name, and is what that says without the last ending.
    fn packed(
        &mut self,
        mut origin: Origin,
        unpacked: Box<dyn Read + Send>,
        packed: &Packed,
    ) -> Result<Option<Format>, Stop> {
        let packed = packed.deeper();
        if packed.depth > super::MOST_NESTED {
            return Err(origin.bad(None, "it is packed too often").into());
        }
        let id = origin.id.clone();
        origin.id = inner_name(&id);
        let limited = Limited::new(unpacked, &packed);
        let bytes = Bytes::Once(Box::new(limited));
        let (beginning, bytes) = bytes.peek().map_err(Error::io("unpack", &origin.path))?;
        let format = Format::detect(&beginning, origin.id.as_ref())
            .map_err(|what| origin.bad(None, what))?;
        // Its id has the whole name, as the file has.
        origin.id = id;
        self.bytes(origin, Some(format), bytes, &packed)
    }

    fn zip(&mut self, origin: &Origin, bytes: Bytes, packed: &Packed) -> Result<(), Stop> {
        let bytes = bytes.again().map_err(Error::io("unpack", &origin.path))?;
        let bad = |error: ZipError| match error {
            ZipError::Io(error) => Error::io("unpack", &origin.path)(error),
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                origin.bad(None, "it is protected by a password")
            }
            error => origin.bad(None, format!("the archive is damaged: {error}")),
        };
        let mut archive = ZipArchive::new(bytes).map_err(bad)?;
        for nth in 0..archive.len() {
            let name = archive.name_for_index(nth).and_then(|name| name.ok());
            let name = name.map_or_else(|| nth.to_string(), |name| name.replace('\\', "/"));
            let content = match archive.by_index(nth) {
                Ok(file) if file.is_dir() => continue,
                Ok(file) => spooled(&mut Limited::new(file, packed)).map(|(file, _)| file),
                Err(error) => {
                    let inner = origin.inner(&name);
                    let error = match error {
                        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => {
                            inner.bad(None, "it is protected by a password")
                        }
                        error => inner.bad(None, format!("it cannot be unpacked: {error}")),
                    };
                    self.give(super::Item::Failed(error))?;
                    continue;
                }
            };
            self.unpacked(origin, &name, content, packed)?;
        }
        Ok(())
    }

    fn tar(&mut self, origin: &Origin, bytes: Bytes, packed: &Packed) -> Result<(), Stop> {
        let failed = || Error::io("unpack", &origin.path);
        let mut archive = tar::Archive::new(bytes.stream());
        for file in archive.entries().map_err(failed())? {
            // After a damaged header nobody knows where the next one is.
            let file = file.map_err(failed())?;
            if !file.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&file.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let size = file.size();
            let content = match spooled(&mut Limited::new(file, packed)) {
                Ok((_, copied)) if copied < size => {
                    let error = origin
                        .inner(&name)
                        .bad(None, "the archive is cut off within it");
                    // Nothing comes after it.
                    return self.give(super::Item::Failed(error));
                }
                spooled => spooled.map(|(file, _)| file),
            };
            self.unpacked(origin, &name, content, packed)?;
        }
        Ok(())
    }

    fn unpacked(
        &mut self,
        origin: &Origin,
        name: &str,
        content: io::Result<SpooledTempFile>,
        packed: &Packed,
    ) -> Result<(), Stop> {
        let is_hidden = |part: &str| part.starts_with('.') || part == "__MACOSX";
        if name.split('/').any(is_hidden) {
            return Ok(());
        }
        match content {
            Ok(content) => {
                let bytes = Bytes::Again(Box::new(content));
                self.entry(origin, name, bytes, &packed.deeper())
            }
            // All that follows would be as large.
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<TooLarge>()) => {
                Err(Error::io("unpack", &origin.path)(error).into())
            }
            Err(error) => {
                let inner = origin.inner(name);
                let error = Error::io("unpack", &inner.path)(error);
                self.give(super::Item::Failed(error))
            }
        }
    }
}

/// `notes.txt` of `notes.txt.gz`, `notes.tar` of `notes.tgz`.
fn inner_name(name: &str) -> String {
    let Some((stem, ending)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    match ending.to_ascii_lowercase().as_str() {
        "tgz" | "tzst" => format!("{stem}.tar"),
        "gz" | "zst" => stem.to_owned(),
        _ => name.to_owned(),
    }
}

/// Counts what is unpacked, and ends when it is too much.
struct Limited<R> {
    reader: R,
    allowed: u64,
    unpacked: Arc<AtomicU64>,
}

impl<R> Limited<R> {
    fn new(reader: R, packed: &Packed) -> Self {
        Self {
            reader,
            allowed: packed.allowed,
            unpacked: Arc::clone(&packed.unpacked),
        }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let before = self.unpacked.fetch_add(read as u64, Ordering::Relaxed);
        if before + read as u64 > self.allowed {
            return Err(io::Error::other(TooLarge(self.allowed)));
        }
        Ok(read)
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "it unpacks to more than {0} bytes, over 200 times its own size: it is made to do harm (a zip bomb)"
)]
struct TooLarge(u64);

/// Zstandard's frames one after another: its decoder ends with the first.
struct Frames {
    state: Option<FrameState>,
}

enum FrameState {
    /// Between two frames.
    Between(Box<dyn Read + Send>),
    Within(Box<StreamingDecoder<Box<dyn Read + Send>, ruzstd::decoding::FrameDecoder>>),
}

impl Frames {
    fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            state: Some(FrameState::Between(reader)),
        }
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(FrameState::Between(mut reader)) => {
                    let mut first = [0];
                    if reader.read(&mut first)? == 0 {
                        return Ok(0);
                    }
                    let whole: Box<dyn Read + Send> =
                        Box::new(io::Cursor::new(first).chain(reader));
                    let decoder = StreamingDecoder::new(whole).map_err(io::Error::other)?;
                    self.state = Some(FrameState::Within(Box::new(decoder)));
                }
                Some(FrameState::Within(mut decoder)) => {
                    let read = decoder.read(buffer)?;
                    if read > 0 {
                        self.state = Some(FrameState::Within(decoder));
                        return Ok(read);
                    }
                    let (rest, _) = decoder.into_parts();
                    self.state = Some(FrameState::Between(rest));
                }
            }
        }
    }
}
