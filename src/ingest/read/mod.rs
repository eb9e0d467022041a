//! One file → records.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | formats by extension, and the reader for each |
//! | `encoding.rs` | bytes in another encoding → UTF-8 |
//! | `lines.rs` | bytes → lines of bounded length, checked to be UTF-8 |
//! | `text.rs` | a whole file as one document |
//! | `markdown.rs` | the same with a title |
//! | `jsonl.rs` | one JSON object a line |
//! | `csv.rs` | rows of a table |
//! | `columns.rs` | what a table's header says, and by it a row → a document |

mod columns;
mod csv;
mod encoding;
mod jsonl;
mod lines;
mod markdown;
mod text;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use self::encoding::Decoded;
use super::walk::{Content, SourceFile, place};
use super::{Format, Options};
use crate::document::Document;
use crate::error::{Error, Result};

/// A document, and the line where it begins; `None` for a whole file.
pub(super) struct Record {
    pub line: Option<u32>,
    pub document: Document,
}

/// The records of one file. After [`Error::Input`] the next record follows, if there is one; after any other error nothing
/// does.
pub(super) type Records = Box<dyn Iterator<Item = Result<Record>> + Send>;

/// By which a file is seen to have changed between the two passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub bytes: u64,
    modified: Option<SystemTime>,
}

/// A file that is open.
pub(super) struct Opened {
    pub stamp: Stamp,
    pub records: Records,
    /// The encoding that it was guessed to have.
    pub guessed: Option<&'static str>,
}

/// Opens a file. `bytes_read` counts on while the records are taken.
pub(super) fn open(
    file: &SourceFile,
    options: &Arc<Options>,
    bytes_read: &Arc<AtomicU64>,
) -> Result<Opened> {
    let origin = Origin {
        shown: file.shown.clone(),
        id: file.id.clone(),
        path: match &file.content {
            Content::File(path) => path.clone(),
            Content::Spool(_) => PathBuf::from(&file.shown),
        },
        options: Arc::clone(options),
    };
    let (stamp, reader): (_, Box<dyn Read + Send>) = match &file.content {
        Content::File(path) => {
            let reader = File::open(path).map_err(Error::io("open", path))?;
            let metadata = reader.metadata().map_err(Error::io("read", path))?;
            (
                Stamp {
                    bytes: metadata.len(),
                    modified: metadata.modified().ok(),
                },
                Box::new(reader),
            )
        }
        Content::Spool(spool) => (
            Stamp {
                bytes: spool.bytes,
                modified: None,
            },
            Box::new(spool.reader()),
        ),
    };
    let counted = Counted {
        reader,
        bytes: Arc::clone(bytes_read),
    };
    let Decoded { reader, guessed } = match encoding::decoded(counted, file.format) {
        Ok(decoded) => decoded,
        // Told as the first record, as any failure to read what is open.
        Err(error) => {
            let failed = Error::io("read", &origin.path)(error);
            return Ok(Opened {
                stamp,
                records: Box::new(std::iter::once(Err(failed))),
                guessed: None,
            });
        }
    };
    let reader = BufReader::with_capacity(1 << 16, reader);
    let records: Records = match file.format {
        Format::Text => Box::new(std::iter::once_with(move || text::read(reader, &origin))),
        Format::Markdown => Box::new(std::iter::once_with(move || {
            markdown::read(reader, &origin)
        })),
        Format::JsonLines => Box::new(jsonl::Records::new(reader, origin)),
        Format::Csv => Box::new(csv::Records::new(reader, origin)),
    };
    Ok(Opened {
        stamp,
        records,
        guessed,
    })
}

/// Where records come from.
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

    /// The record that begins at a line, of the document read there or of what is wrong with it.
    fn record(&self, line: u32, document: std::result::Result<Document, String>) -> Result<Record> {
        let document = document.map_err(|what| self.bad(line, what))?;
        let line = Some(line);
        Ok(Record {
            line,
            document: document.source(place(&self.shown, line)),
        })
    }

    /// The id of a record that has none itself.
    fn record_id(&self, line: u32) -> String {
        format!("{}#{line}", self.id)
    }
}

struct Counted {
    reader: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Format {
    /// The format that a file's extension, in any case, stands for.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        match path
            .extension()
            .and_then(OsStr::to_str)?
            .to_ascii_lowercase()
            .as_str()
        {
            "txt" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// `text`, `markdown`, `jsonl` or `csv`.
impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "text" | "txt" => Ok(Self::Text),
            "markdown" | "md" => Ok(Self::Markdown),
            "jsonl" | "ndjson" => Ok(Self::JsonLines),
            "csv" => Ok(Self::Csv),
            _ => {
                let what =
                    "there is no such format; there are text, markdown, jsonl and csv".into();
                Err(Error::Input {
                    place: name.into(),
                    what,
                })
            }
        }
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

    #[test]
    fn extensions_are_known_in_any_case() {
        assert_eq!(Format::of_path(Path::new("a/B.MD")), Some(Format::Markdown));
        assert_eq!(
            Format::of_path(Path::new("x.tar.ndjson")),
            Some(Format::JsonLines)
        );
        assert_eq!(Format::of_path(Path::new("md")), None);
        assert_eq!("jsonl".parse::<Format>().expect("known"), Format::JsonLines);
        assert!(
            "pdf"
                .parse::<Format>()
                .expect_err("unknown")
                .to_string()
                .contains("markdown")
        );
    }
}
