//! Files → documents.
//!
//!   paths, readers → walk.rs → files → read/ → records → plan.rs (checked, counted) → documents.rs → Document
//!
//! Everything is read twice. The first pass, [`Sources::plan`], parses every record and keeps nothing but a hash of each
//! id, so bad input is an error before anything is encoded or stored. The second, [`Plan::documents`], streams the
//! documents in the same order, one record in memory at a time.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | what to read and how: [`Sources`] |
//! | `walk.rs` | paths → the files to read, in a fixed order |
//! | `spool.rs` | standard input → a temporary file that both passes can read |
//! | `read/` | one file → records, by format |
//! | `fields.rs` | JSON object → id, text, title and fields |
//! | `plan.rs` | the first pass: [`Plan`] |
//! | `documents.rs` | the second pass: [`Documents`] |
//!
//! # Formats
//!
//! | extension | documents | id, where no field gives one |
//! |---|---|---|
//! | `.txt` | the whole file | path |
//! | `.md`, `.markdown` | the whole file, byte for byte; title from front matter or the first heading | path |
//! | `.jsonl`, `.ndjson` | one JSON object a line; blank lines are passed over | path`#`line |
//! | `.csv` | one row of a table whose first row names the columns | path`#`line |
//!
//! The path in an id is relative to the folder that was named, with `/` between its parts on every platform; for a file
//! that was named itself it is the file's name. The line is the record's first, counted from 1. These ids stay the same
//! from version to version, so reading the same folder again updates its documents and adds none twice.
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
//! seems to have, and [`Plan::remarks`] says so; UTF-8 with a broken byte, and JSON in anything else, are errors. Lines
//! may end with CR LF. In a folder laid out as BEIR does (`corpus.jsonl` beside `queries.jsonl`) only `corpus.jsonl` is
//! read. Hidden files are passed over.

mod documents;
mod fields;
mod plan;
mod read;
mod spool;
mod walk;

use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::error::Result;

pub use documents::Documents;
pub use plan::{Plan, Scanned, Skipped};

/// The longest record, line or whole text file that is read, in bytes.
pub const MAX_RECORD_BYTES: usize = 256 << 20;

/// How a file is cut into documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The whole file is one document.
    Text,
    /// The whole file is one document with a title.
    Markdown,
    /// One JSON object a line.
    JsonLines,
    /// A table with a header row, fields separated by commas.
    Csv,
}

/// What to read, and how.
///
/// ```no_run
/// use vecdb::ingest::Sources;
/// let plan = Sources::new().path("notes/").path("faq.jsonl").text_field("answer").plan()?;
/// println!("{} documents in {} files", plan.documents, plan.files);
/// let db = vecdb::Database::open("notes.vecdb")?;
/// db.collection("notes")?.ingest(plan.documents(), Default::default())?;
/// # Ok::<(), vecdb::Error>(())
/// ```
#[derive(Default)]
pub struct Sources {
    pub(crate) inputs: Vec<Input>,
    pub(crate) options: Options,
}

pub(crate) enum Input {
    Path(PathBuf),
    Reader(String, Box<dyn Read>),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub id_field: Option<String>,
    pub text_field: Option<String>,
    pub title_field: Option<String>,
    pub format: Option<Format>,
    pub skip_bad: bool,
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
    /// else one text.
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

    /// The format of readers and of files that are named themselves. In folders the extension decides.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.options.format = Some(format);
        self
    }

    /// Leaves bad records, and bad files in folders, out, counted and listed in the plan, instead of failing at the first.
    #[must_use]
    pub fn skip_bad(mut self, skip: bool) -> Self {
        self.options.skip_bad = skip;
        self
    }

    /// The first pass: reads and checks everything, and changes nothing.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) naming file, line and reason for the first bad record (broken JSON, no text,
    /// an empty text, invalid UTF-8, an id that stands twice), unless `skip_bad` is set; in any case for a named file of
    /// unknown format, and where nothing is found to read. [`Error::Io`](crate::Error::Io) for what is missing, cannot be
    /// opened (unless `skip_bad` is set), or fails while it is read.
    pub fn plan(self) -> Result<Plan> {
        self.plan_with(|_| ControlFlow::Continue(()))
    }

    /// As [`Sources::plan`], telling now and then how far it is.
    ///
    /// # Errors
    /// Also [`Error::Cancelled`](crate::Error::Cancelled) when `progress` breaks.
    pub fn plan_with(self, mut progress: impl FnMut(&Scanned) -> ControlFlow<()>) -> Result<Plan> {
        plan::plan(self, &mut progress)
    }
}

#[cfg(test)]
mod tests;
