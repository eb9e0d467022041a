//! vecdb: an embedded vector database with a built-in BERT encoder.

mod document;
mod error;
mod filter;
#[cfg(feature = "encoder")]
mod home;
mod vector;

mod database;
#[cfg(feature = "encoder")]
pub mod encoder;
pub mod eval;
#[cfg(feature = "readers")]
pub mod ingest;
mod segment;
#[cfg(feature = "encoder")]
pub mod setup;
mod store;

pub use database::{
    Added, BatchOptions, Collection, CollectionInfo, CollectionOptions, Database, DatabaseOptions,
    Documents, Hit, IntoFilter, Progress, Query, Report, Stage,
};
pub use document::{Document, Fields, Value};
pub use error::{Error, Result};
pub use filter::{Comparison, Filter};
pub use vector::{Metric, Vector};
