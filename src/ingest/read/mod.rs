//! One file → records.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what a file is, and the reader for it |
//! | `archive.rs` | archives and packed files → the files in them |
//! | `arrow.rs` | rows of Parquet and Arrow files |
//! | `npy.rs` | vectors beside records |
//! | `encoding.rs` | bytes in another encoding → UTF-8 |
//! | `lines.rs` | bytes → lines of bounded length, checked to be UTF-8 |
//! | `text.rs` | a whole file as one document |
//! | `markdown.rs` | the same with a title and an outline |
//! | `json.rs` | an array of objects, or one |
//! | `jsonl.rs` | one JSON object a line |
//! | `csv.rs` | rows of a table |
//! | `columns.rs` | what a table's header says, and by it a row → a document |

#[cfg(feature = "archives")]
mod archive;
#[cfg(feature = "parquet")]
mod arrow;
mod columns;
mod csv;
pub(super) mod encoding;
mod json;
mod jsonl;
mod lines;
mod markdown;
pub(super) mod npy;
mod text;

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::encoding::Decoded;
use super::Options;
use super::contained::Contained;
use super::extract::{self, Extracted};
use super::format::{BEGINNING, Format};
use super::walk::{Content, SourceFile, place};
use crate::document::Document;
use crate::error::{Error, Result};

/// A document, and the line where it begins; `None` for a whole file.
pub(super) struct Record {
    pub line: Option<u32>,
    pub document: Document,
    /// Where it comes with one.
    pub vector: Option<Vec<f32>>,
}

impl Record {
    fn new(line: Option<u32>, document: Document) -> Self {
        Self {
            line,
            document,
            vector: None,
        }
    }
}

/// What comes of a file, piece by piece.
pub(super) enum Item {
    Record(Record),
    /// What is wrong with a record, with a file in an archive, or with the file.
    Failed(Error),
    /// Worth knowing.
    Remark(String),
    /// A file in an archive that nobody reads; its extension.
    PassedOver(String),
}

/// Why reading ends before the end.
pub(super) enum Stop {
    /// Nobody wants more.
    Cancelled,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where pieces go.
pub(super) type Sink<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

/// Reads files one after another.
pub(super) struct Reader<'a> {
    pub options: Arc<Options>,
    pub contained: &'a mut Contained,
    /// Counts on while files are read.
    pub bytes_read: Arc<AtomicU64>,
    pub sink: Sink<'a>,
}

/// Bytes that can be read again, as an archive's directory wants.
trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

enum Bytes {
    Again(Box<dyn ReadSeek>),
    Once(Box<dyn Read + Send>),
}

impl Bytes {
    /// The bytes from their beginning, and a copy of the first of them.
    fn peek(self) -> io::Result<(Vec<u8>, Self)> {
        let mut beginning = Vec::new();
        match self {
            Self::Again(mut bytes) => {
                let mut first = bytes.by_ref().take(BEGINNING as u64);
                first.read_to_end(&mut beginning)?;
                bytes.rewind()?;
                Ok((beginning, Self::Again(bytes)))
            }
            Self::Once(mut bytes) => {
                let mut first = bytes.by_ref().take(BEGINNING as u64);
                first.read_to_end(&mut beginning)?;
                let whole = Cursor::new(beginning.clone()).chain(bytes);
                Ok((beginning, Self::Once(Box::new(whole))))
            }
        }
    }

    /// As bytes that can be read again: what cannot is copied to a temporary file.
    #[cfg(any(feature = "archives", feature = "parquet"))]
    fn again(self) -> io::Result<Box<dyn ReadSeek>> {
        match self {
            Self::Again(bytes) => Ok(bytes),
            Self::Once(mut bytes) => Ok(Box::new(spooled(&mut bytes)?.0)),
        }
    }

    fn stream(self) -> Box<dyn Read + Send> {
        match self {
            Self::Again(bytes) => Box::new(bytes),
            Self::Once(bytes) => bytes,
        }
    }
}

/// A file in an archive is kept in memory up to this size, and else in a temporary file.
#[cfg(any(feature = "archives", feature = "parquet"))]
const IN_MEMORY: usize = 16 << 20;

#[cfg(any(feature = "archives", feature = "parquet"))]
fn spooled(bytes: &mut dyn Read) -> io::Result<(tempfile::SpooledTempFile, u64)> {
    let mut spooled = tempfile::SpooledTempFile::new(IN_MEMORY);
    let copied = io::copy(bytes, &mut spooled)?;
    spooled.rewind()?;
    Ok((spooled, copied))
}

impl Reader<'_> {
    /// Reads a file to its end and tells what it was, as far as that is known.
    pub fn file(&mut self, file: &SourceFile) -> Result<Option<Format>, Stop> {
        let origin = Origin {
            shown: file.shown.clone(),
            id: file.id.clone(),
            path: match &file.content {
                Content::File(path) => path.clone(),
                Content::Spool(_) => PathBuf::from(&file.shown),
            },
            options: Arc::clone(&self.options),
        };
        let read = Arc::clone(&self.bytes_read);
        let (size, bytes): (u64, Box<dyn ReadSeek>) = match &file.content {
            Content::File(path) => {
                let reader = File::open(path).map_err(Error::io("open", path))?;
                let metadata = reader.metadata().map_err(Error::io("read", path))?;
                (metadata.len(), Box::new(Counted { reader, read }))
            }
            Content::Spool(spool) => {
                let reader = spool.reader();
                (spool.bytes, Box::new(Counted { reader, read }))
            }
        };
        let packed = Packed {
            // Text is seldom packed to less than a hundredth of its size.
            allowed: size.saturating_mul(200).max(self.options.unpacked_bytes),
            unpacked: Arc::default(),
            depth: 0,
        };
        self.bytes(origin, file.format, Bytes::Again(bytes), &packed)
    }

    /// Reads what is in a file, or in a file of an archive.
    fn bytes(
        &mut self,
        origin: Origin,
        declared: Option<Format>,
        bytes: Bytes,
        packed: &Packed,
    ) -> Result<Option<Format>, Stop> {
        let failed = Error::io("read", &origin.path);
        let (beginning, bytes) = bytes.peek().map_err(failed)?;
        let format = match declared {
            Some(format) => format,
            None if beginning.is_empty() => return Err(origin.bad(None, "it is empty").into()),
            None => Format::detect(&beginning, Path::new(&origin.id))
                .map_err(|what| origin.bad(None, what))?,
        };
        match format {
            Format::Zip | Format::Tar | Format::Gzip | Format::Zstandard => {
                return self.unpack(origin, format, bytes, packed);
            }
            Format::Parquet | Format::Arrow => self.columns(&origin, format, bytes)?,
            Format::Text
            | Format::Markdown
            | Format::Code
            | Format::JsonLines
            | Format::Json
            | Format::Csv
            | Format::Tsv => self.text(origin, format, bytes.stream())?,
            _ => self.document(origin, format, bytes.stream(), packed)?,
        }
        Ok(Some(format))
    }

    #[cfg(not(feature = "archives"))]
    fn unpack(
        &mut self,
        origin: Origin,
        format: Format,
        _bytes: Bytes,
        _packed: &Packed,
    ) -> Result<Option<Format>, Stop> {
        let what =
            format!("this build of vecdb unpacks no {format}; build with feature `archives`");
        Err(origin.bad(None, what).into())
    }

    #[cfg(feature = "parquet")]
    fn columns(&mut self, origin: &Origin, format: Format, bytes: Bytes) -> Result<(), Stop> {
        let bytes = bytes.again().map_err(Error::io("read", &origin.path))?;
        match format {
            Format::Parquet => arrow::parquet(bytes, origin, self.sink),
            _ => arrow::arrow(bytes, origin, self.sink),
        }
    }

    #[cfg(not(feature = "parquet"))]
    fn columns(&mut self, origin: &Origin, format: Format, _bytes: Bytes) -> Result<(), Stop> {
        let what = format!("this build of vecdb reads no {format}; build with feature `parquet`");
        Err(origin.bad(None, what).into())
    }

    /// Characters, in whatever encoding.
    fn text(
        &mut self,
        origin: Origin,
        format: Format,
        bytes: Box<dyn Read + Send>,
    ) -> Result<(), Stop> {
        let decoded = encoding::decoded(bytes, format).map_err(Error::io("read", &origin.path))?;
        let Decoded { reader, guessed } = decoded;
        if let Some(encoding) = guessed {
            let remark = format!("{} is not UTF-8; it is read as {encoding}", origin.shown);
            self.give(Item::Remark(remark))?;
        }
        let reader = BufReader::with_capacity(1 << 16, reader);
        match format {
            Format::JsonLines => self.records(jsonl::Records::new(reader, origin)),
            Format::Csv => self.records(csv::Records::new(reader, origin, None)),
            Format::Tsv => self.records(csv::Records::new(reader, origin, Some(b'\t'))),
            Format::Json => json::read(reader, &origin, &mut |record| self.record(record)),
            Format::Markdown => self.record(markdown::read(reader, &origin)),
            Format::Code => self.record(text::code(reader, &origin)),
            _ => self.record(text::read(reader, &origin)),
        }
    }

    /// A document that takes a reader of its own.
    fn document(
        &mut self,
        origin: Origin,
        format: Format,
        bytes: Box<dyn Read + Send>,
        packed: &Packed,
    ) -> Result<(), Stop> {
        let bytes = whole(bytes, &origin)?;
        let attached = extract::attachments(format, &bytes);
        let extracted = self.contained.extract(format, bytes);
        let record = extracted
            .map(|extracted| document(extracted, format, &origin))
            .map_err(|what| origin.bad(None, what));
        self.record(record)?;
        for (name, content) in attached {
            let bytes = Bytes::Again(Box::new(Cursor::new(content)));
            self.entry(&origin, &name, bytes, &packed.deeper())?;
        }
        Ok(())
    }

    /// A file in another one. What is wrong with it does not end the reading of the others.
    fn entry(
        &mut self,
        outer: &Origin,
        name: &str,
        bytes: Bytes,
        packed: &Packed,
    ) -> Result<(), Stop> {
        let origin = outer.inner(name);
        if packed.depth > MOST_NESTED {
            let error = origin.bad(None, "it lies too deep in archives within archives");
            return self.give(Item::Failed(error));
        }
        let (beginning, bytes) = bytes.peek().map_err(Error::io("read", &origin.path))?;
        let path = Path::new(name);
        if !super::walk::is_wanted(path, &beginning) {
            return self.give(Item::PassedOver(super::walk::extension(path)));
        }
        match self.bytes(origin, None, bytes, packed) {
            Err(Stop::Failed(error)) => self.give(Item::Failed(error)),
            other => other.map(|_| ()),
        }
    }

    /// After [`Error::Input`] the next record follows, if there is one; after any other error nothing does.
    fn records(&mut self, records: impl Iterator<Item = Result<Record>>) -> Result<(), Stop> {
        for record in records {
            self.record(record)?;
        }
        Ok(())
    }

    fn record(&mut self, record: Result<Record>) -> Result<(), Stop> {
        match record {
            Ok(record) => self.give(Item::Record(record)),
            Err(error @ Error::Input { .. }) => self.give(Item::Failed(error)),
            Err(error) => Err(Stop::Failed(error)),
        }
    }

    fn give(&mut self, item: Item) -> Result<(), Stop> {
        match (self.sink)(item) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Cancelled),
        }
    }
}

/// How deep archives may lie in one another.
const MOST_NESTED: usize = 4;

/// How far a packed file is unpacked, with all that is packed in it: an archive that holds very much more than its own size is
/// made to do harm.
struct Packed {
    allowed: u64,
    unpacked: Arc<AtomicU64>,
    depth: usize,
}

impl Packed {
    fn deeper(&self) -> Self {
        Self {
            allowed: self.allowed,
            unpacked: Arc::clone(&self.unpacked),
            depth: self.depth + 1,
        }
    }
}

/// The record of what a document says.
fn document(extracted: Extracted, format: Format, origin: &Origin) -> Record {
    let Extracted {
        text,
        title,
        mut fields,
        mut outline,
    } = extracted;
    outline.without_context = origin.options.without_headings;
    fields.insert("format".into(), format.name().into());
    let mut document = Document::new(origin.id.clone(), text)
        .outline(outline)
        .source(origin.shown.clone());
    document.title = title;
    document.fields = fields;
    Record::new(None, document)
}

/// All bytes of a document, if they are not too many.
fn whole(bytes: impl Read, origin: &Origin) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    let most = origin.options.max_bytes;
    let mut limited = bytes.take(most as u64 + 1);
    limited
        .read_to_end(&mut all)
        .map_err(Error::io("read", &origin.path))?;
    if all.len() > most {
        let what = format!("it is larger than {most} bytes, the most one document may have");
        return Err(origin.bad(None, what));
    }
    Ok(all)
}

/// Where records come from.
#[derive(Clone)]
struct Origin {
    shown: String,
    id: String,
    path: PathBuf,
    options: Arc<Options>,
}

impl Origin {
    /// What is wrong in a line, or in the file as a whole.
    fn bad(&self, line: impl Into<Option<u32>>, what: impl Into<String>) -> Error {
        Error::Input {
            place: place(&self.shown, line.into()),
            what: what.into(),
        }
    }

    /// The record that begins at a line, or is the whole file, of the document read there or of what is wrong with it.
    fn record(
        &self,
        line: impl Into<Option<u32>>,
        document: std::result::Result<Document, String>,
    ) -> Result<Record> {
        let line = line.into();
        let document = document.map_err(|what| self.bad(line, what))?;
        Ok(Record::new(line, document.source(place(&self.shown, line))))
    }

    /// The id of a record that has none itself.
    fn record_id(&self, line: u32) -> String {
        format!("{}#{line}", self.id)
    }

    /// Of a file in this one.
    fn inner(&self, name: &str) -> Self {
        Self {
            shown: format!("{}/{name}", self.shown),
            id: format!("{}/{name}", self.id),
            path: self.path.join(name),
            options: Arc::clone(&self.options),
        }
    }
}

struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place for records read from memory.
    pub(super) fn origin(name: &str) -> Origin {
        Origin {
            shown: name.into(),
            id: name.into(),
            path: name.into(),
            options: Arc::default(),
        }
    }
}
