//! Where the encoder cuts documents: one JSON line for each, with the bytes of its windows and their tokens.
//!
//!     cargo run --release --example windows -- notes.jsonl > windows.jsonl
//!
//! A line is `{"id": "a1", "windows": [[0, 1204], [1120, 1873]], "tokens": [251, 170]}`. Tokens count special ones and the
//! title, which stands before each window. Windows of a title too long for that come first, as `[0, 0]`.

use std::error::Error;
use std::io::{BufWriter, Write, stdout};

use vecdb::encoder::{Encoder, EncoderOptions};
use vecdb::ingest::Sources;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("say a file: windows notes.jsonl")?;
    vecdb::setup::ensure()?;
    let encoder = Encoder::open(&EncoderOptions::default())?;

    let mut out = BufWriter::new(stdout().lock());
    for document in Sources::new().path(path).plan()?.documents() {
        let document = document?;
        let windows =
            encoder.windows_along(document.title.as_deref(), &document.text, &document.outline)?;
        let ranges = windows.iter().map(|w| [w.range.start, w.range.end]);
        let tokens = windows.iter().map(|w| w.token_count());
        let line = serde_json::json!({
            "id": document.id,
            "windows": ranges.collect::<Vec<_>>(),
            "tokens": tokens.collect::<Vec<_>>(),
        });
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
