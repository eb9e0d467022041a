//! One JSON object a line.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::lines::Lines;
use super::{Origin, Record};
use crate::error::{Error, Result};
use crate::ingest::MAX_RECORD_BYTES;
use crate::ingest::fields;

pub(super) struct Records<R> {
    lines: Lines<R>,
    origin: Origin,
}

impl<R: BufRead> Records<R> {
    pub fn new(reader: R, origin: Origin) -> Self {
        Self {
            lines: Lines::new(reader, MAX_RECORD_BYTES),
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
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| broken(line, number, origin, &error))?;
    let mut document = fields::document(object, &origin.options, || origin.record_id(number))
        .map_err(|what| origin.bad(number, what))?;
    document.source = Some(origin.source(number));
    Ok(Record {
        line: Some(number),
        document,
    })
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
