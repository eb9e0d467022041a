//! One JSON object a line.

use std::fmt;
use std::io::BufRead;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::lines::Lines;
use super::{Origin, Record};
use crate::error::{Error, Result};
use crate::ingest::fields;

pub(super) struct Records<R> {
    lines: Lines<R>,
    origin: Origin,
}

impl<R: BufRead> Records<R> {
    pub fn new(reader: R, origin: Origin) -> Self {
        Self {
            lines: Lines::new(reader, origin.options.max_bytes),
            origin,
        }
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { lines, origin } = self;
        loop {
            let (number, line) = match lines.next(origin)? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if !line.trim().is_empty() {
                return Some(record(line, number, origin));
            }
        }
    }
}

fn record(line: &str, number: u32, origin: &Origin) -> Result<Record> {
    let Object { keys, repeated } =
        serde_json::from_str(line).map_err(|error| broken(line, number, origin, &error))?;
    if let Some(key) = repeated {
        return Err(origin.bad(
            number,
            format!("the key `{key}` stands twice in the object; rename one"),
        ));
    }
    let document = fields::document(keys, &origin.options, || origin.record_id(number));
    origin.record(number, document)
}

/// An object that tells of a key that stands in it twice, where `serde_json` would drop the first value in silence.
pub(super) struct Object {
    pub keys: Map<String, Value>,
    pub repeated: Option<String>,
}

impl Object {
    pub fn visit<'de, A: MapAccess<'de>>(mut entries: A) -> std::result::Result<Self, A::Error> {
        let mut object = Self {
            keys: Map::new(),
            repeated: None,
        };
        while let Some(key) = entries.next_key::<String>()? {
            if object.keys.contains_key(&key) {
                object.repeated = Some(key.clone());
            }
            object.keys.insert(key, entries.next_value()?);
        }
        Ok(object)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> std::result::Result<Object, A::Error> {
        Object::visit(entries)
    }
}

fn broken(line: &str, number: u32, origin: &Origin, error: &serde_json::Error) -> Error {
    if error.is_data() || line.trim_start().starts_with('[') {
        return origin.bad(
            number,
            "a line holds one JSON object; `jq -c '.[]'` makes such lines of an array",
        );
    }
    let message = error.to_string();
    // serde_json counts lines within the one that it was given.
    let message = message.split(" at line ").next().unwrap_or_default();
    let hint = match error.is_eof() && number == 1 && line.trim() == "{" {
        true => "; an object stands on one line: `jq -c .` puts it there",
        false => "",
    };
    let place = format!("{}:{number}:{}", origin.shown, error.column().max(1));
    Error::Input {
        place,
        what: format!("this is not JSON: {message}{hint}"),
    }
}
