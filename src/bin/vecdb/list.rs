//! `vecdb list`: a collection's documents, or the collections.

use std::io;

use clap::Args;
use serde::Serialize;
use vecdb::{Document, Filter};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Examples:
  vecdb list --db notes.vecdb
  vecdb list --limit 20 --offset 40
  vecdb list --filter \"topic = 'physics' and year < 1900\"
  vecdb list --collections
  vecdb list --json | jq -r .id

With --json, one object a document, in the order they were added:
  {\"id\": \"…\", \"title\": \"…\" or null, \"bytes\": 210}          bytes of text
or with --collections one a collection:
  {\"collection\": \"default\", \"documents\": 37, \"passages\": 1204}

Exit codes: 0 something listed, 1 nothing to list, 2 error.";

/// What to list.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The collections instead of one collection's documents
    #[arg(long, conflicts_with_all = ["filter", "limit", "offset"])]
    pub collections: bool,
    /// Only documents whose fields match
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Option<String>,
    /// At most this many documents
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Skip this many first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: usize,
}

#[derive(Serialize)]
struct DocumentObject<'a> {
    id: &'a str,
    title: Option<&'a str>,
    bytes: usize,
}

#[derive(Serialize)]
struct CollectionObject<'a> {
    collection: &'a str,
    documents: u64,
    passages: u64,
}

/// Prints the list.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    if arguments.collections {
        list_collections(global, output)
    } else {
        list_documents(arguments, global, output)
    }
}

fn list_collections(global: &Global, output: &mut Output) -> Result<Outcome, Failure> {
    let collections = global.open_for_reading()?.collections();
    for info in &collections {
        if output.json {
            output.object(&CollectionObject {
                collection: &info.name,
                documents: info.documents,
                passages: info.passages,
            })?;
        } else {
            let counts = format!(
                "{}, {}",
                text::count(info.documents, "document"),
                text::count(info.passages, "passage")
            );
            output.line(format_args!(
                "{}  {}",
                output.bold(&text::plain(&info.name)),
                output.dim(&counts)
            ))?;
        }
    }
    Ok(Outcome::found(!collections.is_empty()))
}

fn list_documents(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let filter = arguments.filter.as_deref().map(Filter::parse).transpose()?;
    let collection = global.collection_for_reading()?;
    let chosen = collection.documents().filter(|document| match document {
        Ok(document) => filter
            .as_ref()
            .is_none_or(|filter| filter.matches(&document.fields)),
        // An error is passed on, not left out.
        Err(_) => true,
    });
    let mut listed = false;
    for document in chosen
        .skip(arguments.offset)
        .take(arguments.limit.unwrap_or(usize::MAX))
    {
        print_document(&document?, output)?;
        listed = true;
    }
    if !listed {
        output.note(format_args!(
            "nothing to list: collection {:?} has {}",
            collection.name(),
            text::count(collection.len(), "document")
        ));
    }
    Ok(Outcome::found(listed))
}

fn print_document(document: &Document, output: &mut Output) -> io::Result<()> {
    let bytes = document.text.len();
    if output.json {
        return output.object(&DocumentObject {
            id: &document.id,
            title: document.title.as_deref(),
            bytes,
        });
    }
    let id = text::plain(&document.id);
    let mut line = format!("{:>8}  {}", text::bytes(bytes as u64), output.bold(&id));
    if let Some(title) = text::other_title(&document.id, document.title.as_deref()) {
        let taken = text::columns(&id) + 12;
        line.push_str("  ");
        line.push_str(&text::cut(
            title,
            output.width().saturating_sub(taken).max(10),
        ));
    }
    output.line(line)
}
