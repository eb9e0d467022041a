//! Documents → embedded documents: the encoder, opened when it is first needed.

#[cfg(feature = "encoder")]
use std::collections::HashMap;
#[cfg(feature = "encoder")]
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
#[cfg(feature = "encoder")]
use std::time::Instant;

use serde_json::to_vec;
use xxhash_rust::xxh3::Xxh3Default;

use super::DatabaseOptions;
use super::part::Content;
use crate::document::{Attributes, Document, EmbeddedDocument, EmbeddedPassage, InputHash};
use crate::error::{Error, Result};
use crate::segment;
use crate::store::{CollectionRecord, EncoderRecord};
use crate::vector::Vector;

#[cfg(feature = "encoder")]
use super::inputs::Inputs;
#[cfg(feature = "encoder")]
use super::versions;
#[cfg(feature = "encoder")]
use crate::encoder::{Encoder, EncoderOptions};
#[cfg(feature = "encoder")]
use crate::store;
#[cfg(feature = "encoder")]
use crate::vector::deal;
#[cfg(feature = "encoder")]
use std::sync::{Mutex, PoisonError};

/// A document on its way to its vectors.
pub(super) struct Prepared {
    pub id: String,
    pub text: String,
    pub attributes: Attributes,
    pub content_hash: u128,
}

impl Prepared {
    /// `maker` is what the vectors come from: an encoder's fingerprint, or the bytes of the user's vector. The same
    /// document with another maker is another content.
    pub fn new(document: Document, maker: &[u8]) -> Self {
        let Document {
            id,
            text,
            title,
            fields,
            source,
            outline,
        } = document;
        let attributes = Attributes {
            title,
            source,
            fields,
            outline,
        };
        Self {
            id,
            content_hash: Self::hash(&text, &attributes, maker),
            text,
            attributes,
        }
    }

    /// With the user's own vectors.
    pub fn of_vectors<'a>(
        document: Document,
        vectors: impl IntoIterator<Item = &'a Vector>,
    ) -> Self {
        let components = vectors.into_iter().flat_map(Vector::as_slice);
        let bytes: Vec<u8> = components.flat_map(|x| x.to_le_bytes()).collect();
        Self::new(document, &bytes)
    }

    /// The hash of a content.
    pub fn hash(text: &str, attributes: &Attributes, maker: &[u8]) -> u128 {
        let mut hash = Xxh3Default::new();
        let described = to_vec(attributes).expect("attributes have string keys and finite numbers");
        for part in [maker, text.as_bytes(), &described] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.digest128()
    }

    /// One passage, the whole text, with the user's vector.
    pub fn with_vector(self, vector: Vector) -> EmbeddedDocument {
        let passages = vec![EmbeddedPassage::new(0..self.text.len(), vector)];
        self.with_passages(passages)
    }

    pub fn with_passages(self, passages: Vec<EmbeddedPassage>) -> EmbeddedDocument {
        let Self {
            id,
            text,
            attributes,
            content_hash,
        } = self;
        EmbeddedDocument {
            id,
            text,
            attributes,
            content_hash,
            passages,
        }
    }
}

impl Content for Prepared {
    fn id(&self) -> &str {
        &self.id
    }

    fn content_hash(&self) -> u128 {
        self.content_hash
    }
}

/// What embedding cost.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub passages: u64,
    /// Passages whose vector was there already, or was made once for several.
    pub reused: u64,
    /// Of the others.
    pub tokens: u64,
    /// Time in the encoder.
    pub encoding: Duration,
}

/// What embedding asks and tells.
#[cfg_attr(not(feature = "encoder"), expect(dead_code, reason = "nothing embeds"))]
pub(super) struct Help<'a> {
    /// The vector that was made from this input before, where it is not in the collection yet.
    pub made: &'a dyn Fn(InputHash) -> Option<Vector>,
    /// Told which part of the call's tokens is encoded, when some are and others are not; an error ends the work.
    pub tell: &'a mut dyn FnMut(f64) -> Result<()>,
    /// Bytes that one document may take in memory.
    pub memory: u64,
}

/// What documents take in memory until they are in a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weight {
    pub text: u64,
    pub passages: u64,
    /// Of windows that are not yet encoded.
    pub tokens: u64,
}

impl Weight {
    /// About so many bytes: the text where it is read, here, and on its way into the segment; the vectors, and what building
    /// the segment takes.
    pub fn bytes(self, dimension: usize) -> u64 {
        let passage = 4 * dimension as u64 + PASSAGE_BYTES + segment::build_bytes_a_row(dimension);
        3 * self.text + 4 * self.tokens + passage * self.passages
    }

    /// `Err` if the document takes more than it may.
    #[cfg(feature = "encoder")]
    fn fits(self, id: &str, dimension: usize, memory: u64) -> Result<()> {
        let needed = self.bytes(dimension);
        if needed <= memory {
            return Ok(());
        }
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        Err(Error::Document {
            id: id.to_owned(),
            what: format!(
                "embedding it takes about {} MB of memory, and one document may take {} MB; allow more memory, or cut it",
                megabytes(needed),
                megabytes(memory)
            ),
        })
    }
}

/// What a window and a passage take beside tokens and vector.
const PASSAGE_BYTES: u64 = 160;

/// The database's encoders, each opened when it is first needed: the one that the options name, and those that are kept with
/// the data.
pub(super) struct EncoderSlot {
    #[cfg(feature = "encoder")]
    options: EncoderOptions,
    /// Where kept ones lie.
    #[cfg(feature = "encoder")]
    models: PathBuf,
    /// By the folder that a kept one lies in; `None`: the one that the options name.
    #[cfg(feature = "encoder")]
    opened: Mutex<HashMap<Option<PathBuf>, Encoder>>,
}

#[cfg(feature = "encoder")]
impl EncoderSlot {
    pub fn new(options: &DatabaseOptions, models: PathBuf) -> Self {
        Self {
            options: options.encoder.clone(),
            models,
            opened: Mutex::default(),
        }
    }

    /// The encoder for a collection: the one that is kept with the data for it, unless the options name a folder; else the one
    /// that they mean. Whether its vectors may go there is not asked.
    ///
    /// # Errors
    /// Those of [`Encoder::open`]; [`Error::Model`] if the one that is kept is gone.
    pub fn open(&self, collection: &CollectionRecord) -> Result<Opened> {
        let is_named = self.options.model.is_some();
        let stored = collection.encoder.as_ref();
        let stored = stored.filter(|_| !is_named || versions::is_hidden(&collection.name));
        let folder = stored.and_then(|stored| store::model_folder(&self.models, &stored.name));
        let Some(folder) = folder else {
            return self.open_folder(None);
        };
        if folder.is_dir() {
            return self.open_folder(Some(folder));
        }
        // A folder of the user's own may have such a name; but another one might pass for what is gone, and lack its query adapter.
        match self.open_folder(None) {
            Ok(opened) if is_named || folder.ends_with(opened.0.name()) => Ok(opened),
            _ => Err(Error::Model {
                path: folder,
                what: "the model that this collection is asked by is gone; name one of the same vectors".into(),
            }),
        }
    }

    /// The folder of the encoder that is kept with the data for a collection.
    ///
    /// # Errors
    /// [`Error::Model`] if it is gone.
    pub fn kept(&self, collection: &CollectionRecord) -> Result<Option<PathBuf>> {
        let stored = collection.encoder.as_ref();
        match stored.and_then(|stored| store::model_folder(&self.models, &stored.name)) {
            Some(folder) if folder.is_dir() => Ok(Some(folder)),
            // Not ours, if that goes well.
            Some(_) => self.open(collection).map(|_| None),
            None => Ok(None),
        }
    }

    /// Lets go of those that are no longer kept.
    pub fn let_go(&self) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.retain(|kept, _| kept.as_ref().is_none_or(|folder| folder.is_dir()));
    }

    fn open_folder(&self, kept: Option<PathBuf>) -> Result<Opened> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(encoder) = opened.get(&kept) {
            return Ok(Opened(encoder.clone()));
        }
        let encoder = match &kept {
            None => Encoder::open(&self.options)?,
            Some(folder) => self.open_model(folder)?,
        };
        Ok(Opened(
            opened.entry(kept).insert_entry(encoder).get().clone(),
        ))
    }

    /// The encoder of another folder, with the options that the database has.
    pub fn open_model(&self, folder: &Path) -> Result<Encoder> {
        Encoder::open(&EncoderOptions {
            model: Some(folder.to_owned()),
            ..self.options.clone()
        })
    }
}

/// An encoder that is open.
#[cfg(feature = "encoder")]
pub(super) struct Opened(Encoder);

#[cfg(feature = "encoder")]
impl Opened {
    /// Which encoder this is, and the dimension of its vectors.
    pub fn record(&self) -> (EncoderRecord, usize) {
        (record_of(&self.0), self.0.dimension())
    }

    pub fn query(&self, text: &str) -> Result<Vector> {
        self.0.encode_query(text)
    }

    pub fn queries(&self, texts: &[&str]) -> Result<Vec<Vector>> {
        self.0.encode_queries(texts)
    }

    /// Cuts the documents into windows and encodes these together, in the documents' order; equal ones once, and those not at
    /// all whose vector is there, which `made` tells.
    pub fn embed(
        &self,
        documents: Vec<Prepared>,
        made: impl Fn(InputHash) -> Result<Option<Vector>>,
        help: Help<'_>,
    ) -> Result<(Vec<EmbeddedDocument>, Cost)> {
        use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

        let encoder = &self.0;
        let cut = documents.par_iter().map(|document| {
            let (id, text) = (&document.id, &document.text);
            let mut weight = Weight {
                text: text.len() as u64,
                ..Weight::default()
            };
            // Cutting takes memory too.
            weight.fits(id, encoder.dimension(), help.memory)?;
            let windows = {
                let Attributes { title, outline, .. } = &document.attributes;
                encoder.windows_along(title.as_deref(), text, outline)?
            };
            weight.passages = windows.len() as u64;
            weight.tokens = windows.iter().map(|w| w.token_count() as u64).sum();
            weight.fits(id, encoder.dimension(), help.memory)?;
            Ok(windows)
        });
        let cut = cut.collect::<Result<Vec<_>>>()?;
        let counts: Vec<usize> = cut.iter().map(Vec::len).collect();
        let mut inputs = Inputs::default();
        let (mut passages, mut places) = (Vec::new(), Vec::new());
        for window in cut.into_iter().flatten() {
            let input = window.input();
            passages.push((window.range.clone(), input));
            places.push(inputs.take(input, window, &made)?);
        }
        let mut cost = Cost {
            passages: passages.len() as u64,
            reused: passages.len() as u64 - inputs.fresh(),
            tokens: inputs.fresh_tokens(),
            encoding: Duration::ZERO,
        };
        let start = Instant::now();
        let vectors = deal(inputs.encode(encoder, help.tell)?, &places);
        cost.encoding = start.elapsed();
        let passages = passages.into_iter().zip(vectors);
        let mut passages = passages.map(|((range, input), vector)| EmbeddedPassage {
            range,
            vector,
            input: Some(input),
        });
        let embedded = documents
            .into_iter()
            .zip(counts)
            .map(|(document, count)| {
                document.with_passages(passages.by_ref().take(count).collect())
            })
            .collect();
        Ok((embedded, cost))
    }
}

/// What a collection's record says of an encoder.
#[cfg(feature = "encoder")]
pub(super) fn record_of(encoder: &Encoder) -> EncoderRecord {
    EncoderRecord {
        name: encoder.name().to_owned(),
        fingerprint: encoder.fingerprint().to_owned(),
    }
}

#[cfg(not(feature = "encoder"))]
impl EncoderSlot {
    pub fn new(_options: &DatabaseOptions, _models: PathBuf) -> Self {
        Self {}
    }

    pub fn open(&self, _collection: &CollectionRecord) -> Result<Opened> {
        Err(Error::Encode {
            what:
                "this build has no encoder; build with feature `encoder`, or bring your own vectors"
                    .into(),
        })
    }

    pub fn let_go(&self) {}
}

/// There is none.
#[cfg(not(feature = "encoder"))]
pub(super) enum Opened {}

#[cfg(not(feature = "encoder"))]
impl Opened {
    pub fn record(&self) -> (EncoderRecord, usize) {
        match *self {}
    }

    pub fn query(&self, _text: &str) -> Result<Vector> {
        match *self {}
    }

    pub fn queries(&self, _texts: &[&str]) -> Result<Vec<Vector>> {
        match *self {}
    }

    pub fn embed(
        &self,
        _documents: Vec<Prepared>,
        _made: impl Fn(InputHash) -> Result<Option<Vector>>,
        _help: Help<'_>,
    ) -> Result<(Vec<EmbeddedDocument>, Cost)> {
        match *self {}
    }
}

/// The two encoders are the same, or the error that says they are not.
pub(super) fn same_encoder(
    collection: &str,
    stored: &EncoderRecord,
    given: &EncoderRecord,
) -> Result<()> {
    if stored.fingerprint == given.fingerprint {
        return Ok(());
    }
    let tell = |e: &EncoderRecord| format!("{} ({})", e.name, e.fingerprint);
    Err(Error::EncoderMismatch {
        collection: collection.to_owned(),
        stored: tell(stored),
        given: tell(given),
    })
}
