//! What a file says of its collection and of each document.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::to_string;

use crate::database::embed::Prepared;
use crate::database::part::Snapshot;
use crate::document::{Attributes, Document, EmbeddedDocument, EmbeddedPassage, Fields};
use crate::error::{Error, Result};
use crate::outline::Outline;
use crate::segment;
use crate::store::EncoderRecord;
use crate::vector::{Metric, Vector};

/// The version that this code writes.
const VERSION: u32 = 1;

/// What stands before the documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    vecdb_export: u32,
    pub collection: String,
    pub metric: Metric,
    /// `None` where nothing was ever added.
    pub dimension: Option<usize>,
    /// `None` for user-supplied vectors.
    pub encoder: Option<EncoderRecord>,
    pub documents: u64,
    /// Do passages and vectors come along?
    pub vectors: bool,
}

impl Header {
    pub fn of(snapshot: &Snapshot, vectors: bool) -> Self {
        let record = &snapshot.record;
        Self {
            vecdb_export: VERSION,
            collection: record.name.clone(),
            metric: record.metric,
            dimension: record.dimension,
            encoder: record.encoder.clone(),
            documents: snapshot.live_documents(),
            vectors,
        }
    }

    pub fn to_json(&self) -> String {
        to_string(self).expect("a header has only string keys")
    }

    /// Reads what [`Header::to_json`] gave. `Err` says what is wrong.
    pub fn parse(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            vecdb_export: u32,
        }
        match serde_json::from_str(json) {
            Ok(Version {
                vecdb_export: VERSION,
            }) => {}
            Ok(Version { vecdb_export }) => {
                return Err(format!(
                    "it was exported by another version of vecdb (its form is {vecdb_export}, and this one reads {VERSION})"
                ));
            }
            Err(_) => {
                return Err(
                    "it does not begin as an export of vecdb; `vecdb ingest` reads other files"
                        .into(),
                );
            }
        }
        let header: Self = serde_json::from_str(json)
            .map_err(|error| format!("what it says of its collection does not parse: {error}"))?;
        if header.vectors && header.documents > 0 && header.dimension.is_none() {
            return Err("it has vectors, and does not say of how many components".into());
        }
        Ok(header)
    }
}

/// A document as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub id: String,
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    #[serde(default, skip_serializing_if = "Outline::is_empty")]
    pub outline: Outline,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passages: Vec<Passage>,
}

/// A passage as it stands in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Passage {
    pub start: usize,
    pub end: usize,
    pub vector: Vector,
}

impl Record {
    pub fn of(document: Document) -> Self {
        let Document {
            id,
            text,
            title,
            fields,
            source,
            outline,
        } = document;
        Self {
            id,
            text,
            title,
            source,
            fields,
            outline,
            passages: Vec::new(),
        }
    }

    pub fn with_passages(document: Arc<EmbeddedDocument>) -> Self {
        let document = Arc::unwrap_or_clone(document);
        let Attributes {
            title,
            source,
            fields,
            outline,
        } = document.attributes;
        let passages = document.passages.into_iter().map(|passage| Passage {
            start: passage.range.start,
            end: passage.range.end,
            vector: passage.vector,
        });
        Self {
            id: document.id,
            text: document.text,
            title,
            source,
            fields,
            outline,
            passages: passages.collect(),
        }
    }

    pub fn into_document(self) -> Document {
        Document {
            id: self.id,
            text: self.text,
            title: self.title,
            fields: self.fields,
            source: self.source,
            outline: self.outline,
        }
    }

    /// The document with its vectors as they stand here, checked.
    pub fn into_embedded(mut self, header: &Header) -> Result<EmbeddedDocument> {
        let passages = std::mem::take(&mut self.passages).into_iter();
        let passages = passages.map(|passage| {
            Ok(EmbeddedPassage::new(
                passage.start..passage.end,
                header.metric.keep(passage.vector)?,
            ))
        });
        let passages: Vec<EmbeddedPassage> = passages.collect::<Result<_>>()?;
        let document = self.into_document();
        document.validate_without_text()?;
        // As it was when the document was added: what is added again is known by it.
        let prepared = match &header.encoder {
            Some(encoder) => Prepared::new(document, encoder.fingerprint.as_bytes()),
            None => Prepared::of_vectors(document, passages.iter().map(|passage| &passage.vector)),
        };
        let document = prepared.with_passages(passages);
        let Some(dimension) = header.dimension else {
            return Err(Error::Document {
                id: document.id,
                what: "the file does not say how many components its vectors have".into(),
            });
        };
        segment::check(&document, dimension)?;
        Ok(document)
    }
}
