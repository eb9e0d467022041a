//! What vecdb reads in files: one JSON line for each document, with its text, title, fields, headings and pages.
//!
//!     cargo run --release --example extract -- report.pdf notes/ > documents.jsonl
//!
//! A line is `{"id": "report.pdf", "title": "…", "text": "…", "fields": {…}, "headings": [[0, 1, "Summary"], …],
//! "pages": [0, 1873, …]}`. What cannot be read is told on stderr, and then the exit code is 2.

use std::error::Error;
use std::io::{BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;

use vecdb::ingest::Sources;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let sources = std::env::args_os()
        .skip(1)
        .fold(Sources::new(), Sources::path);
    let plan = sources.on_failure(|failure| {
        eprintln!("{}: {}", failure.place, failure.what);
        ControlFlow::Continue(())
    });
    let mut documents = plan.plan()?.documents();
    let mut out = BufWriter::new(stdout().lock());
    for document in documents.by_ref() {
        let document = document?;
        let line = serde_json::json!({
            "id": document.id,
            "title": document.title,
            "text": document.text,
            "fields": document.fields,
            "headings": document.outline.headings,
            "pages": document.outline.pages,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    let failed = documents.reading().failed > 0;
    Ok(ExitCode::from(if failed { 2 } else { 0 }))
}
