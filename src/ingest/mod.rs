//! Files → documents.
//!
//!   paths, readers → walk.rs → files → read/ → records → documents.rs (checked, counted) → queue.rs → Document
//!                                        └─ documents with a format of their own → contained.rs → extract/ ┘
//!
//! A thread reads ahead of who takes the documents, by a bounded number of bytes. One file is read at a time, and one record
//! of it is in memory, or one whole document where its format is not a stream.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what to read and how: [`Sources`] |
//! | `format.rs` | what a file is, by its bytes and its name: [`Format`] |
//! | `walk.rs` | paths → the files to read, in a fixed order |
//! | `spool.rs` | standard input → a temporary file |
//! | `plan.rs` | the files that were found: [`Plan`]; what is told of each |
//! | `documents.rs` | files → documents: [`Documents`] |
//! | `standing.rs` | what became of the files that stored documents came from |
//! | `queue.rs` | from the thread that reads to the one that takes |
//! | `read/` | one file → records, by format |
//! | `fields.rs` | JSON object → id, text, title and fields |
//! | `contained.rs` | readers in a process or thread of their own, within limits |
//! | `extract/` | the bytes of a document → its text with its outline |
//!
//! # Formats
//!
//! The bytes tell what a file is, and where they do not, its name does; [`Format`] lists the endings.
//!
//! | format | documents | id, where no field gives one |
//! |---|---|---|
//! | text, code | the whole file | path |
//! | markdown | the whole file, byte for byte; title from front matter or the first heading | path |
//! | parquet, arrow | one row | path`#`row |
//! | html, epub, pdf, word, excel, powerpoint, opendocument, rtf, email | its text, with headings, pages and tables | path |
//! | jsonl | one JSON object a line; blank lines are passed over | path`#`line |
//! | json | the objects of an array, or the one object | path`#`number, path |
//! | csv, tsv | one row of a table whose first row names the columns, one of them the text's | path`#`line |
//! | csv, tsv without such a column | the whole table | path |
//! | zip, tar | the files in it | path`/`path in it |
//! | gzip, zstd | what is packed in it | as that |
//! | a message's attachments | as files of an archive | path`/`name |
//!
//! The path in an id is relative to the folder that was named, with `/` between its parts on every platform; for a file
//! that was named itself it is the file's name. The line is the record's first, counted from 1. These ids stay the same
//! from version to version, so reading the same folder again updates its documents and adds none twice.
//!
//! What a document says of itself becomes its title and the fields `author`, `subject`, `description`, `keywords`, `created`,
//! `modified`, `language`, `to`, `cc` and `pages`; `format` is the format's name.
//!
//! In records, the id is `_id` or else `id` (a string or an integer), the text is `text`, else `content`, else `body`, and
//! the title is `title`; [`Sources::id_field`] and its like name others, `a.b` reaching into nested objects. Where the text
//! is empty and there is a title, the title is the text. Every other key or column becomes a field:
//!
//! - JSON: nested objects are flattened with dots; arrays become lists of strings, what else is in them as JSON text; integers beyond 64 bits become floats; null stays null.
//! - CSV: a cell that is wholly a number in its plain form (`12`, `-0.5`, `1e3`; not `007` or `+1`) or `true`/`false` in
//!   any case is that value, any other is a string; an empty cell is an absent field.
//!
//! A byte order mark is dropped, and tells UTF-16. A text or table that is not UTF-8 is read in the legacy encoding that it
//! seems to have, and [`Reading::remarks`] says so; UTF-8 with a broken byte, and JSON in anything else, are errors. Lines
//! may end with CR LF. In a folder laid out as BEIR does (`corpus.jsonl` beside `queries.jsonl`) only `corpus.jsonl` is
//! read. Hidden files are passed over, and so is what a `.gitignore`, `.ignore` or `.vecdbignore` leaves out.
//!
//! # What is wrong with a file
//!
//! A record, a file in an archive or a whole file that cannot be stored is a [`Failure`]: [`Sources::on_failure`] hears of it
//! and says whether reading goes on. Documents in the formats that take a parser of their own are read within limits of time,
//! and in the command of memory too ([`Sources::reader_process`]); an archive that unpacks to very much more than its size is
//! refused.

mod contained;
mod documents;
mod extract;
mod fields;
mod format;
mod plan;
mod queue;
mod read;
mod spool;
mod standing;
mod walk;

use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use self::contained::Program;
use self::plan::Listener;
use crate::error::Result;

pub use contained::serve;
pub use documents::{Documents, Reading, Vectors, Watch};
pub use format::Format;
pub use plan::{Failure, FileRead, Plan, Stamps};
pub(crate) use standing::{Standing, Standings};

/// The longest record, line or document that is read, in bytes, where [`Sources::max_bytes`] does not say otherwise.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// What to read, and how.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use vecdb::ingest::Sources;
/// let sources = Sources::new().path("notes/").path("faq.jsonl").text_field("answer");
/// let plan = sources
///     .on_failure(|failure| {
///         eprintln!("{}: {}", failure.place, failure.what);
///         ControlFlow::Continue(())
///     })
///     .plan()?;
/// println!("{} files", plan.files);
/// let mut documents = plan.documents();
/// let db = vecdb::Database::open("notes.vecdb")?;
/// db.collection("notes")?.ingest(documents.by_ref(), Default::default())?;
/// println!("{} documents", documents.reading().documents);
/// # Ok::<(), vecdb::Error>(())
/// ```
#[derive(Default)]
pub struct Sources {
    pub(crate) inputs: Vec<Input>,
    pub(crate) options: Options,
    listener: Listener,
}

pub(crate) enum Input {
    Path(PathBuf),
    Reader(String, Box<dyn Read>),
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub id_field: Option<String>,
    pub text_field: Option<String>,
    pub title_field: Option<String>,
    pub vector_field: Option<String>,
    pub vectors: Option<PathBuf>,
    pub format: Option<Format>,
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub no_ignore: bool,
    changed_since: Option<Stamps>,
    pub without_headings: bool,
    reader_process: Option<Program>,
    reader_time: Duration,
    /// What any packed file may unpack to, however small it is.
    unpacked_bytes: u64,
    /// The longest record, line or document.
    max_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id_field: None,
            text_field: None,
            title_field: None,
            vector_field: None,
            vectors: None,
            format: None,
            include: Vec::new(),
            exclude: Vec::new(),
            no_ignore: false,
            changed_since: None,
            without_headings: false,
            reader_process: None,
            reader_time: Duration::from_secs(60),
            unpacked_bytes: 1 << 30,
            max_bytes: MAX_RECORD_BYTES,
        }
    }
}

impl Options {
    /// Do documents come with their vectors?
    pub fn has_vectors(&self) -> bool {
        self.vector_field.is_some() || self.vectors.is_some()
    }
}

impl Sources {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file, or all files of known formats in a folder and the folders in it.
    #[must_use]
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.inputs.push(Input::Path(path.into()));
        self
    }

    /// Adds what can be read only once, such as standard input; `plan` copies it to a temporary file. `name` stands for
    /// the path in ids, sources and errors. Without [`Sources::format`] it is JSON Lines if its first character is `{`,
    /// else what its bytes say.
    #[must_use]
    pub fn reader(mut self, name: impl Into<String>, reader: impl Read + 'static) -> Self {
        self.inputs
            .push(Input::Reader(name.into(), Box::new(reader)));
        self
    }

    /// The key or column that holds the id, instead of `_id` and `id`.
    #[must_use]
    pub fn id_field(mut self, name: impl Into<String>) -> Self {
        self.options.id_field = Some(name.into());
        self
    }

    /// The key or column that holds the text, instead of `text`, `content` and `body`.
    #[must_use]
    pub fn text_field(mut self, name: impl Into<String>) -> Self {
        self.options.text_field = Some(name.into());
        self
    }

    /// The key or column that holds the title, instead of `title`.
    #[must_use]
    pub fn title_field(mut self, name: impl Into<String>) -> Self {
        self.options.title_field = Some(name.into());
        self
    }

    /// The column of Parquet and Arrow files that holds each row's vector, a list of 32- or 64-bit floats. [`Plan::vectors`]
    /// gives documents with them.
    #[must_use]
    pub fn vector_field(mut self, name: impl Into<String>) -> Self {
        self.options.vector_field = Some(name.into());
        self
    }

    /// A NumPy file of shape `[records, dimension]` (f4 or f8, in C's order): the vector of each record, in the order of the
    /// records. [`Plan::vectors`] gives documents with them.
    #[must_use]
    pub fn vectors(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.vectors = Some(path.into());
        self
    }

    /// The format of readers and of files that are named themselves, whatever their bytes and names say.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.options.format = Some(format);
        self
    }

    /// In folders, reads only files that match this pattern or another one that is included, as in a `.gitignore`: `*.md` in
    /// any folder, `/docs/**` from the named folder on.
    #[must_use]
    pub fn include(mut self, glob: impl Into<String>) -> Self {
        self.options.include.push(glob.into());
        self
    }

    /// In folders, leaves out files and folders that match this pattern.
    #[must_use]
    pub fn exclude(mut self, glob: impl Into<String>) -> Self {
        self.options.exclude.push(glob.into());
        self
    }

    /// Reads also what ignore files leave out.
    #[must_use]
    pub fn no_ignore(mut self) -> Self {
        self.options.no_ignore = true;
        self
    }

    /// Reads only files that do not look as they did ([`Plan::stamps`]); the others are found, and passed over.
    #[must_use]
    pub fn changed_since(mut self, stamps: &Stamps) -> Self {
        self.options.changed_since = Some(stamps.clone());
        self
    }

    /// The encoder reads a passage without the headings above it and the header of its table
    /// ([`Outline::without_context`](crate::Outline::without_context)).
    #[must_use]
    pub fn without_headings(mut self) -> Self {
        self.options.without_headings = true;
        self
    }

    /// Told of each record and file that cannot be stored, from the thread that reads; `Break` ends the documents with an
    /// error. Without it the first one does.
    #[must_use]
    pub fn on_failure(
        mut self,
        callback: impl FnMut(&Failure) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.listener.failure = Some(Mutex::new(Box::new(callback)));
        self
    }

    /// Told of each file that was read, from the thread that reads, which is ahead of who takes the documents.
    #[must_use]
    pub fn on_file(
        mut self,
        callback: impl FnMut(&FileRead) -> ControlFlow<()> + Send + 'static,
    ) -> Self {
        self.listener.file = Some(Mutex::new(Box::new(callback)));
        self
    }

    /// Reads documents of the formats that take a parser of their own in this program, which must call [`serve`] with its
    /// standard input and output. It is killed when a document takes too long, and may limit its own memory. Without it they
    /// are read in a thread, which can be given up but not ended, and whose memory nobody limits.
    #[must_use]
    pub fn reader_process(
        mut self,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = String>,
    ) -> Self {
        self.options.reader_process = Some(Program {
            path: program.into(),
            arguments: arguments.into_iter().collect(),
        });
        self
    }

    /// The longest record, line or document that is read, in bytes; longer ones fail. At most [`MAX_RECORD_BYTES`]. Reading
    /// takes about twice as much memory, and a document waits in it until it is stored.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.options.max_bytes = bytes.clamp(1, MAX_RECORD_BYTES);
        self
    }

    /// How long reading such a document may take; a minute if not said.
    #[must_use]
    pub fn reader_time(mut self, time: Duration) -> Self {
        self.options.reader_time = time;
        self
    }

    /// Finds the files, and reads nothing of them but what tells their formats.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) for a path that was named and is not there, or cannot be looked at;
    /// [`Error::Input`](crate::Error::Input) where nothing is found to read, and for a pattern that is none.
    pub fn plan(self) -> Result<Plan> {
        plan::plan(self)
    }
}

#[cfg(test)]
mod tests;
