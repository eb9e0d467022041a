//! vecdb: an embedded vector database with a built-in BERT encoder.

mod error;
mod vector;
mod document;
mod filter;
#[cfg(feature = "encoder")]
mod home;

#[cfg(feature = "readers")]
pub mod ingest;
#[cfg(feature = "encoder")]
pub mod encoder;
mod segment;
mod store;
mod database;
pub mod eval;
#[cfg(feature = "encoder")]
pub mod setup;

pub use database::{
    Added, BatchOptions, Collection, CollectionInfo, CollectionOptions, Database, DatabaseOptions, Documents, Hit, IntoFilter,
    Progress, Query, Report, Stage,
};
pub use document::{Document, Fields, Value};
pub use error::{Error, Result};
pub use filter::{Comparison, Filter};
pub use vector::{Metric, Vector};
