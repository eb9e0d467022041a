//! An embedded vector database with a built-in BERT encoder: text goes in, similarity search comes out.
//!
//!   file ─ingest→ Document ─encoder→ passages with vectors ─segment→ one immutable file ─database→ Hit
//!
//! - It is a library and a folder on disk: no server, no network (but for `setup`, when it is asked). ONNX Runtime's own
//!   telemetry is kept from starting by `ORT_DISABLE_TELEMETRY=1`, which the first encoder sets in the process's
//!   environment unless it is there. Set it yourself where other threads may read the environment by C code then.
//! - It writes in one process at a time and reads in any number; what it acknowledged survives a kill.
//! - Every byte of a text lies in some embedded passage: nothing is cut off.
//! - It never compares vectors of two different encoders.
//!
//! It is not a distributed system, and not a store for documents that nobody searches by meaning.
//!
//! Four stages know nothing of each other: `ingest`, `encoder`, `segment`, `store`. `database` joins them, `eval` measures and
//! `tune` teaches the encoder. `error`,
//! `document`, `vector`, `filter`, `scratch` and `home` are leaves that all may use.
//!
#![cfg_attr(
    feature = "encoder",
    doc = r#"
```
# vecdb::setup::ensure()?;
# let folder = tempfile::tempdir()?;
# let path = folder.path().join("notes.vecdb");
use vecdb::{Database, Document};

let db = Database::open(&path)?; // created if absent
let notes = db.collection("notes")?; // default encoder, cosine
notes.add([
    Document::new("a1", "Sled is an embedded store for keys and values.").field("lang", "en"),
    Document::new("a2", "Onions are fried until they are golden.").field("lang", "en"),
])?;
for hit in notes.query("key-value database").filter("lang = 'en'").limit(1).run()? {
    println!("{:.3} {} {}", hit.score, hit.id, hit.passage);
#   assert_eq!(hit.id, "a1");
}
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]

mod document;
mod error;
mod filter;
#[cfg(feature = "encoder")]
mod home;
mod outline;
mod random;
mod scratch;
mod vector;

#[cfg(feature = "readers")]
pub mod ingest;

#[cfg(feature = "encoder")]
pub mod encoder;

mod segment;

mod store;

mod database;

pub mod eval;

#[cfg(feature = "tune")]
pub mod tune;

#[cfg(feature = "encoder")]
pub mod setup;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

pub use database::{
    Added, Affected, BatchOptions, CheckOptions, Collection, CollectionInfo, CollectionOptions,
    Compacted, Database, DatabaseOptions, Documents, Effect, ExportFormat, ExportOptions, Exported,
    Hit, Imported, IntoFilter, Merging, Migration, Progress, Purged, Query, QueryTimings, Recall,
    RecallOptions, Reembedded, Repaired, Report, Residency, Scored, SnapshotOptions, Snapshotted,
    Stage, StageTimes, VersionInfo,
};
#[cfg(feature = "readers")]
pub use database::{SyncOptions, Synced};
pub use document::{Document, Fields, Value};
pub use error::{Error, Result};
pub use filter::{Comparison, Filter};
pub use outline::{Heading, Outline, Table};
pub use vector::{Metric, Vector};
