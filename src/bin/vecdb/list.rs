//! `vecdb list`: a collection's documents, or the collections.

use clap::Args;
use serde::Serialize;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Examples:
  vecdb list --db notes.vecdb
  vecdb list --limit 20 --offset 40
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
    #[arg(long, conflicts_with_all = ["limit", "offset"])]
    pub collections: bool,
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
    let collection = global.collection_for_reading()?;
    let mut listed = false;
    for document in collection
        .documents()
        .skip(arguments.offset)
        .take(arguments.limit.unwrap_or(usize::MAX))
    {
        let document = document?;
        listed = true;
        if output.json {
            output.object(&DocumentObject {
                id: &document.id,
                title: document.title.as_deref(),
                bytes: document.text.len(),
            })?;
            continue;
        }
        let size = text::bytes(document.text.len() as u64);
        let mut line = format!("{:>8}  {}", size, output.bold(&text::plain(&document.id)));
        if let Some(title) = document
            .title
            .as_deref()
            .filter(|title| *title != document.id)
        {
            let room = output
                .width()
                .saturating_sub(text::columns(&document.id) + 12)
                .max(10);
            line.push_str("  ");
            line.push_str(&text::cut(title, room));
        }
        output.line(line)?;
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
