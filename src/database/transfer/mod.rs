//! A collection as a file that other programs read, and back.
//!
//!   Collection → export.rs → jsonl.rs, columns.rs → file → import.rs → Collection
//!
//! With vectors the passages come along, each with its byte range and its vector, so that nothing is encoded again; without,
//! the encoder cuts and encodes the texts on import. An import reads the file twice: what is wrong in it is told before
//! anything is stored.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the file's content, and the options |
//! | `record.rs` | what a file says of its collection and of each document |
//! | `export.rs` | live documents → records |
//! | `import.rs` | records → documents of a collection |
//! | `jsonl.rs` | one JSON object a line |
//! | `columns.rs` | Parquet, for programs that compute (feature `parquet`, the one `parquet` file) |
//!
//! # JSON lines
//!
//! UTF-8, one object a line. The first says what follows:
//!
//! ```json
//! {"vecdb_export":1,"collection":"notes","metric":"cosine","dimension":384,
//!  "encoder":{"name":"…","fingerprint":"…"},"documents":2,"vectors":true}
//! ```
//!
//! (on one line; `encoder` is null for user-supplied vectors), each other is a document; absent keys are absent in it:
//!
//! ```json
//! {"id":"a1","text":"…","title":"…","source":"…","fields":{"lang":"en"},
//!  "passages":[{"start":0,"end":210,"vector":[0.1, …]}]}
//! ```
//!
//! `start` and `end` count bytes of the text. Numbers come back as they were, bit by bit.
//!
//! # Parquet
//!
//! A row is a passage with its vector, or a document where there are no vectors. The first object above is the footer's
//! metadata under the key `vecdb`.
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | string | the document's |
//! | `passage` | int32 | its number in the document, from 0; with vectors |
//! | `start`, `end` | int64 | bytes of the document's text; with vectors |
//! | `vector` | list of float | with vectors |
//! | `text` | string | the document's; null on all its rows but the first, as are the next |
//! | `title`, `source` | string | null where there is none |
//! | `fields` | string | a JSON object; null where there are none |

#[cfg(feature = "parquet")]
mod columns;
mod export;
mod import;
mod jsonl;
mod record;

pub use export::{ExportOptions, Exported};
pub use import::Imported;

/// How a collection is written to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFormat {
    /// One JSON object a line.
    #[default]
    JsonLines,
    /// Columns in row groups, compressed with snappy.
    #[cfg(feature = "parquet")]
    Parquet,
}
