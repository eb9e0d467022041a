//! `vecdb get`: documents by id.

use std::io;

use clap::Args;
use serde::Serialize;
use vecdb::{Document, Fields};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Examples:
  vecdb get b-tree --db notes.vecdb
  vecdb get b-tree --text > b-tree.txt

With --json, one object a document, in the order asked for:
  {\"id\": \"…\", \"text\": \"…\", \"title\": \"…\" or null,
   \"fields\": {…}, \"source\": \"…\" or null}

Exit codes: 0 all found, 1 an id is unknown (stderr names it; the others are printed), 2 error.";

/// Which documents.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The documents' ids
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// The texts alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    pub text: bool,
}

#[derive(Serialize)]
struct DocumentObject<'a> {
    id: &'a str,
    text: &'a str,
    title: Option<&'a str>,
    fields: &'a Fields,
    source: Option<&'a str>,
}

/// Prints the documents.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let collection = global.collection_for_reading()?;
    let mut outcome = Outcome::Done;
    for (place, id) in arguments.ids.iter().enumerate() {
        match collection.get(id)? {
            None => {
                output.note(format_args!(
                    "no document {id:?} in collection {:?}",
                    collection.name()
                ));
                outcome = Outcome::Nothing;
            }
            Some(document) if output.json => output.object(&DocumentObject {
                id: &document.id,
                text: &document.text,
                title: document.title.as_deref(),
                fields: &document.fields,
                source: document.source.as_deref(),
            })?,
            Some(document) if arguments.text => output.raw(&document.text)?,
            Some(document) => {
                if place > 0 {
                    output.line("")?;
                }
                print_document(&document, output)?;
            }
        }
    }
    Ok(outcome)
}

fn print_document(document: &Document, output: &mut Output) -> io::Result<()> {
    let mut head = output.bold(&text::plain(&document.id));
    if let Some(title) = text::other_title(&document.id, document.title.as_deref()) {
        head.push_str("  ");
        head.push_str(&text::plain(title));
    }
    output.line(head)?;
    if let Some(source) = &document.source {
        output.line(output.dim(&format!("from {}", text::plain(source))))?;
    }
    if !document.fields.is_empty() {
        output.line(output.dim(&text::fields(&document.fields)))?;
    }
    output.line("")?;
    for line in document.text.lines() {
        output.line(text::plain(line))?;
    }
    Ok(())
}
