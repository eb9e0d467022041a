//! The bytes of a document → its text with its outline.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | which reader reads what; what all of them give |
//! | `writer.rs` | headings, paragraphs, items, tables → text and outline |
//! | `html.rs` | web pages |
//! | `epub.rs` | books |
//! | `pdf.rs` | PDF |
//! | `office.rs` | Word, Excel, PowerPoint |
//! | `odf.rs` | OpenDocument |
//! | `rtf.rs` | RTF |
//! | `email.rs` | e-mail |
//!
//! A reader gets bytes and no path, and gives text or a sentence that says what is wrong. What it needs beyond that (time,
//! memory, a parser that panics) is bounded around it.

#[cfg(feature = "email")]
mod email;
#[cfg(feature = "epub")]
mod epub;
#[cfg(feature = "html")]
mod html;
#[cfg(feature = "office")]
mod odf;
#[cfg(feature = "office")]
mod office;
#[cfg(feature = "pdf")]
mod pdf;
#[cfg(feature = "office")]
mod rtf;
#[cfg_attr(
    not(all(feature = "html", feature = "office", feature = "pdf")),
    allow(dead_code, reason = "not all readers are built")
)]
mod writer;

use serde::{Deserialize, Serialize};

pub(super) use self::writer::{Rows, Writer};
use super::Format;
use crate::document::{Fields, Value};
use crate::outline::Outline;

#[cfg_attr(
    not(any(feature = "office", feature = "pdf")),
    allow(dead_code, reason = "no reader that knows passwords is built")
)]
const ENCRYPTED: &str = "it is protected by a password; save it without one";
/// Of those that are zip archives.
#[cfg(feature = "office")]
const CUT_OFF: &str = "it is cut off or damaged: the end of its archive is missing";
/// The longest part of a packed document that is read, in bytes.
const MAX_PART_BYTES: u64 = 256 << 20;

/// What a document says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Extracted {
    pub text: String,
    pub title: Option<String>,
    pub fields: Fields,
    pub outline: Outline,
}

impl Extracted {
    fn new(writer: writer::Writer, title: Option<String>, facts: Facts) -> Self {
        let (text, outline) = writer.finish();
        let title = title.map(|title| writer::one_line(&title));
        let first = || outline.headings.first().map(|heading| heading.text.clone());
        Self {
            text,
            title: title.filter(|title| !title.is_empty()).or_else(first),
            fields: facts.0,
            outline,
        }
    }

    fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// What a document says of itself, under the names that all formats share.
#[derive(Debug, Default)]
struct Facts(Fields);

impl Facts {
    fn text(&mut self, name: &str, text: Option<String>) {
        let text = text.map(|text| text.trim().to_owned());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            self.0.insert(name.to_owned(), text.into());
        }
    }

    fn list(&mut self, name: &str, texts: Vec<String>) {
        if !texts.is_empty() {
            self.0.insert(name.to_owned(), Value::List(texts));
        }
    }

    fn number(&mut self, name: &str, number: usize) {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.0.insert(name.to_owned(), number.into());
    }
}

/// Reads a document. `Err` says what is wrong with it, or that this build does not read such documents.
pub(super) fn extract(format: Format, bytes: &[u8]) -> Result<Extracted, String> {
    let extracted = match format {
        #[cfg(feature = "html")]
        Format::Html => html::extract(bytes),
        #[cfg(feature = "epub")]
        Format::Epub => epub::extract(bytes),
        #[cfg(feature = "pdf")]
        Format::Pdf => pdf::extract(bytes),
        #[cfg(feature = "office")]
        Format::Word | Format::Excel | Format::PowerPoint => office::extract(bytes),
        #[cfg(feature = "office")]
        Format::OpenDocument => odf::extract(bytes),
        #[cfg(feature = "office")]
        Format::Rtf => rtf::extract(bytes),
        #[cfg(feature = "email")]
        Format::Email => email::extract(bytes),
        _ => {
            let feature = match format {
                Format::Word | Format::Excel | Format::PowerPoint => "office",
                Format::OpenDocument | Format::Rtf => "office",
                other => other.name(),
            };
            return Err(format!(
                "this build of vecdb reads no {format}; build with feature `{feature}`"
            ));
        }
    }?;
    if extracted.is_empty() {
        return Err("it holds no text".into());
    }
    Ok(extracted)
}

/// Files that a document carries along, each with its name.
pub(super) fn attachments(format: Format, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    match format {
        #[cfg(feature = "email")]
        Format::Email => email::attachments(bytes),
        _ => Vec::new(),
    }
}

/// How many rows of a table that marks none are its header: the first, if all its cells are words, and there are more rows or
/// numbers below it.
fn guessed_header(rows: &[Vec<String>]) -> usize {
    let is_number = |cell: &String| cell.trim().parse::<f64>().is_ok();
    let [first, rest @ ..] = rows else { return 0 };
    let is_full = first.len() > 1 && first.iter().all(|cell| !cell.trim().is_empty());
    if !is_full || first.iter().any(is_number) || rest.is_empty() {
        return 0;
    }
    usize::from(rest.len() > 1 || rest.iter().flatten().any(is_number))
}
