//! What the user adds: a document with its fields.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::outline::Outline;
use crate::vector::Vector;

/// The longest document id, in bytes.
pub const MAX_ID_BYTES: usize = 512;
/// The longest field name, in bytes.
pub const MAX_FIELD_NAME_BYTES: usize = 255;

/// A field's value.
///
/// Integers and floats compare with each other by value; a list matches a comparison when any of its elements does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Present but empty; for a filter the same as absent.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A finite 64-bit float.
    Float(f64),
    /// UTF-8 text, compared byte by byte.
    String(String),
    /// A list of strings.
    List(Vec<String>),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
value_from!(bool => Bool, i64 => Integer, i32 => Integer, u32 => Integer, f64 => Float, f32 => Float, &str => String, String => String, Vec<String> => List);

impl Value {
    fn bytes(&self) -> usize {
        match self {
            Self::String(text) => text.len(),
            Self::List(texts) => texts.iter().map(|t| t.len() + 8).sum(),
            _ => 8,
        }
    }
}

impl From<Vec<&str>> for Value {
    fn from(list: Vec<&str>) -> Self {
        Self::List(list.into_iter().map(str::to_owned).collect())
    }
}

/// The named values that filters compare.
pub type Fields = BTreeMap<String, Value>;

/// A text to be found again, with its id and whatever is known of it.
///
/// ```
/// use vecdb::Document;
/// let doc = Document::new("a1", "Sled is an embedded store.").title("sled").field("lang", "en").field("stars", 8_000);
/// assert_eq!(doc.id, "a1");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The user's name for it, unique in its collection. Adding the same id again replaces the document.
    pub id: String,
    /// What is embedded and searched. Byte ranges in hits count bytes of this text.
    pub text: String,
    /// A short name; it is read by the encoder together with each passage.
    pub title: Option<String>,
    /// Values to filter by.
    pub fields: Fields,
    /// Where it came from: a path or an address.
    pub source: Option<String>,
    /// Headings, pages and tables of the text, where they are known.
    pub outline: Outline,
}

impl Document {
    /// A document with an id and a text and nothing else.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            text: text.into(),
            title: None,
            fields: Fields::new(),
            source: None,
            outline: Outline::default(),
        }
    }

    /// Sets the title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets one field.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }

    /// Says where the document came from.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells the text's structure.
    #[must_use]
    pub fn outline(mut self, outline: Outline) -> Self {
        self.outline = outline;
        self
    }

    /// Checks all that can be wrong without an encoder: id, text, field names and floats.
    ///
    /// # Errors
    /// [`Error::Document`] naming the document and what is wrong with it.
    pub fn validate(&self) -> Result<()> {
        if self.text.trim().is_empty() {
            return Err(self.wrong("its text is empty"));
        }
        self.validate_without_text()
    }

    /// The same for a document that comes with its vector: its text may be empty.
    pub(crate) fn validate_without_text(&self) -> Result<()> {
        if self.id.is_empty() {
            return Err(self.wrong("its id is empty"));
        }
        if self.id.len() > MAX_ID_BYTES {
            return Err(self.wrong(format!(
                "its id has {} bytes; at most {MAX_ID_BYTES} are stored",
                self.id.len()
            )));
        }
        for (name, value) in &self.fields {
            if name.is_empty() || name.len() > MAX_FIELD_NAME_BYTES || name.contains('\0') {
                let rule = format!("a field name has 1 to {MAX_FIELD_NAME_BYTES} bytes and no NUL");
                return Err(self.wrong(format!("{rule}, which {name:?} breaks")));
            }
            if matches!(value, Value::Float(x) if !x.is_finite()) {
                return Err(self.wrong(format!("field {name:?} is not a finite number")));
            }
        }
        Ok(())
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Document {
            id: self.id.clone(),
            what: what.into(),
        }
    }
}

/// What a document carries beside id and text, as segments and the write-ahead rows store it (JSON).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub fields: Fields,
    #[serde(default, skip_serializing_if = "Outline::is_empty")]
    pub outline: Outline,
}

/// A document with the vectors of its passages: what the write-ahead rows keep and a segment is built from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmbeddedDocument {
    pub id: String,
    pub text: String,
    #[serde(with = "as_json")]
    pub attributes: Attributes,
    /// xxh3-128 over everything the user gave and the encoder's fingerprint: equal hashes mean nothing to do.
    pub content_hash: u128,
    /// At least one, by start, the first at 0; together they cover the text.
    pub passages: Vec<EmbeddedPassage>,
}

impl EmbeddedDocument {
    /// About how many bytes it takes in memory and in a write-ahead row.
    pub(crate) fn bytes(&self) -> usize {
        let fields = &self.attributes.fields;
        let fields: usize = fields
            .iter()
            .map(|(name, value)| name.len() + value.bytes())
            .sum();
        let passages: usize = self
            .passages
            .iter()
            .map(|p| 4 * p.vector.dimension() + 16)
            .sum();
        let title = self.attributes.title.as_ref().map_or(0, String::len);
        let source = self.attributes.source.as_ref().map_or(0, String::len);
        let outline = self.attributes.outline.bytes();
        self.id.len() + self.text.len() + title + source + fields + outline + passages
    }
}

/// A passage with its vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EmbeddedPassage {
    /// Bytes of the document's text, on char boundaries.
    pub range: Range<usize>,
    /// Unit length under cosine.
    pub vector: Vector,
    /// What the encoder was given; unknown for the user's vectors and for what came back from a write-ahead row, whose
    /// bytes do not have it: there it saves work only as long as the process lives.
    #[serde(skip)]
    pub input: Option<InputHash>,
}

/// xxh3-128 of all that the encoder makes a passage's vector from; never 0. Equal hashes under one fingerprint give the
/// vector that is there already.
pub(crate) type InputHash = std::num::NonZeroU128;

impl EmbeddedPassage {
    /// A passage of whose making nothing is known.
    pub(crate) fn new(range: Range<usize>, vector: Vector) -> Self {
        Self {
            range,
            vector,
            input: None,
        }
    }
}

/// `Value` is untagged, which only a self-describing format can read back.
mod as_json {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{self, Serializer};

    use super::Attributes;

    pub(super) fn serialize<S: Serializer>(
        attributes: &Attributes,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(&serde_json::to_string(attributes).map_err(ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Attributes, D::Error> {
        serde_json::from_str(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}
