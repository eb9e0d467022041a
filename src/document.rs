//! What the user adds: a document with its fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest document id, in bytes.
pub const MAX_ID_BYTES: usize = 1_024;
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
}

impl Document {
    /// A document with an id and a text and nothing else.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), title: None, fields: Fields::new(), source: None }
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

    /// Checks everything that can be wrong without an encoder: id, text, field names and floats.
    ///
    /// # Errors
    /// [`Error::Document`] naming the document and what is wrong with it.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Document { id: self.id.clone(), what });
        if self.id.is_empty() {
            return wrong("its id is empty".into());
        }
        if self.id.len() > MAX_ID_BYTES {
            return wrong(format!("its id has {} bytes; at most {MAX_ID_BYTES} are stored", self.id.len()));
        }
        if self.text.trim().is_empty() {
            return wrong("its text is empty".into());
        }
        for (name, value) in &self.fields {
            if name.is_empty() || name.len() > MAX_FIELD_NAME_BYTES || name.contains('\0') {
                return wrong(format!("the field name {name:?} is empty, longer than {MAX_FIELD_NAME_BYTES} bytes, or holds a NUL"));
            }
            if matches!(value, Value::Float(x) if !x.is_finite()) {
                return wrong(format!("field {name:?} is not a finite number"));
            }
        }
        Ok(())
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
}
