//! Live documents → records.

use std::io::Write;
use std::ops::ControlFlow;

use super::ExportFormat;
#[cfg(feature = "parquet")]
use super::columns;
use super::jsonl;
use super::record::{Header, Record};
use crate::database::Collection;
use crate::error::{Error, Result};

type Callback<'a> = Box<dyn FnMut(&Exported) -> ControlFlow<()> + 'a>;

/// Settings of [`Collection::export`].
#[derive(Default)]
pub struct ExportOptions<'a> {
    format: ExportFormat,
    vectors: bool,
    progress: Option<Callback<'a>>,
}

impl<'a> ExportOptions<'a> {
    /// The file's format; JSON lines if not said.
    #[must_use]
    pub fn format(mut self, format: ExportFormat) -> Self {
        self.format = format;
        self
    }

    /// With passages and their vectors, so that an import encodes nothing.
    #[must_use]
    pub fn vectors(mut self, vectors: bool) -> Self {
        self.vectors = vectors;
        self
    }

    /// Called after each document. `ControlFlow::Break` ends the call with [`Error::Cancelled`].
    #[must_use]
    pub fn progress(mut self, callback: impl FnMut(&Exported) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Some(Box::new(callback));
        self
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Documents.
    pub documents: u64,
    /// Passages with their vectors; 0 without vectors.
    pub passages: u64,
}

enum Writer<W: Write + Send> {
    JsonLines(jsonl::Writer<W>),
    #[cfg(feature = "parquet")]
    Parquet(Box<columns::Writer<W>>),
}

impl Collection {
    /// Writes all live documents, as they are now, to a file that other programs read and [`Database::import`] takes.
    ///
    /// ```
    /// # use vecdb::{BatchOptions, CollectionOptions, Database, Document, ExportOptions, Vector};
    /// # let folder = tempfile::tempdir()?;
    /// # let db = Database::open(folder.path().join("t.vecdb"))?;
    /// # let points = db.create_collection("points", CollectionOptions::vectors(2))?;
    /// # points.add_vectors([(Document::new("a", "to the right"), Vector::new(vec![1.0, 0.0])?)])?;
    /// let file = folder.path().join("points.jsonl");
    /// let out = std::fs::File::create(&file).expect("a file");
    /// points.export(std::io::BufWriter::new(out), ExportOptions::default().vectors(true))?;
    ///
    /// let other = Database::open(folder.path().join("other.vecdb"))?;
    /// other.import(&file, None, BatchOptions::default())?;
    /// assert_eq!(other.existing_collection("points")?.get("a")?, points.get("a")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Io`] if `out` fails, [`Error::Damaged`] if a document is not as it was written, [`Error::Cancelled`].
    ///
    /// [`Database::import`]: crate::Database::import
    pub fn export(&self, out: impl Write + Send, options: ExportOptions<'_>) -> Result<Exported> {
        let ExportOptions {
            format,
            vectors,
            mut progress,
        } = options;
        let snapshot = self.state.snapshot();
        let mut writer = Writer::new(out, format, &Header::of(&snapshot, vectors))?;
        let mut exported = Exported::default();
        for part in &snapshot.parts {
            for document in (0..part.documents()).filter(|&document| !part.is_dead(document)) {
                let record = if vectors {
                    Record::with_passages(part.embedded(document)?)
                } else {
                    Record::of(part.document(document)?)
                };
                exported.documents += 1;
                exported.passages += record.passages.len() as u64;
                writer.write(record)?;
                let go_on = progress.as_mut().map(|callback| callback(&exported));
                if go_on.is_some_and(|flow| flow.is_break()) {
                    return Err(Error::Cancelled);
                }
            }
        }
        writer.finish()?;
        Ok(exported)
    }
}

impl<W: Write + Send> Writer<W> {
    fn new(out: W, format: ExportFormat, header: &Header) -> Result<Self> {
        match format {
            ExportFormat::JsonLines => jsonl::Writer::new(out, header).map(Self::JsonLines),
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => {
                let writer = columns::Writer::new(out, header)?;
                Ok(Self::Parquet(Box::new(writer)))
            }
        }
    }

    fn write(&mut self, record: Record) -> Result<()> {
        match self {
            Self::JsonLines(writer) => writer.write(&record),
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.write(record),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::JsonLines(writer) => writer.finish(),
            #[cfg(feature = "parquet")]
            Self::Parquet(writer) => writer.finish(),
        }
    }
}
