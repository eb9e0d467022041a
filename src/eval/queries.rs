//! Queries with their ids.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// A query to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The name that judgements use.
    pub id: String,
    /// What is asked.
    pub text: String,
}

/// Reads a JSON Lines file of objects with `_id` (or `id`, a string or an integer) and `text`, in the order they stand.
/// Other keys are ignored.
///
/// # Errors
/// [`Error::Io`] if it cannot be read; [`Error::Input`] naming the line that is broken, lacks an id or a text, or repeats
/// an id.
pub fn read_queries(path: impl AsRef<Path>) -> Result<Vec<Query>> {
    let path = path.as_ref();
    parse(&super::read_utf8(path)?, &path.display().to_string())
}

pub(crate) fn parse(text: &str, name: &str) -> Result<Vec<Query>> {
    let mut queries = Vec::new();
    let mut lines_by_id = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let query = parse_line(line).map_err(|what| Error::Input {
            place: format!("{name}:{number}"),
            what,
        })?;
        if let Some(first) = lines_by_id.insert(query.id.clone(), number) {
            let what = format!(
                "query id {:?} stands on line {first} too; give each query its own",
                query.id
            );
            return Err(Error::Input {
                place: format!("{name}:{number}"),
                what,
            });
        }
        queries.push(query);
    }
    Ok(queries)
}

fn parse_line(line: &str) -> std::result::Result<Query, String> {
    use serde_json::Value;
    let object: serde_json::Map<String, Value> = serde_json::from_str(line)
        .map_err(|error| format!("this is not a JSON object: {error}"))?;
    let id = match object.get("_id").or_else(|| object.get("id")) {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) if !id.is_f64() => id.to_string(),
        Some(_) => {
            return Err("the query's id is neither a non-empty string nor an integer".into());
        }
        None => return Err("the query has neither `_id` nor `id`".into()),
    };
    match object.get("text") {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Query {
            id,
            text: text.clone(),
        }),
        _ => Err(format!("query {id:?} has no `text`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_the_id_are_read_and_integers_are_ids_too() {
        let text = "{\"_id\": \"a\", \"text\": \"first\"}\r\n\n{\"id\": 7, \"text\": \"second\", \"metadata\": {}}\n";
        let queries = parse(text, "q.jsonl").expect("parses");
        assert_eq!(
            queries[0],
            Query {
                id: "a".into(),
                text: "first".into()
            }
        );
        assert_eq!(
            queries[1],
            Query {
                id: "7".into(),
                text: "second".into()
            }
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = "{\"_id\": \"a\", \"text\": \"first\"}\n";
        for (line, part) in [
            ("{\"_id\": \"b\"", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("{\"text\": \"b\"}", "neither `_id` nor `id`"),
            (
                "{\"_id\": 1.5, \"text\": \"b\"}",
                "neither a non-empty string nor an integer",
            ),
            ("{\"_id\": \"b\", \"text\": \" \"}", "has no `text`"),
            ("{\"_id\": \"a\", \"text\": \"again\"}", "line 1 too"),
        ] {
            let message = parse(&format!("{good}{line}\n"), "q.jsonl")
                .expect_err(line)
                .to_string();
            assert!(
                message.starts_with("q.jsonl:2: ") && message.contains(part),
                "{message}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z0-9\t\n \r{}\":_ü-]|query-id\tcorpus-id\tscore\n|q 0 d 1\n|q Q0 d 1 0.5 x\n|\\{\"_id\": \"a\", \"text\": \"x\"\\}\n){0,30}") {
            let _ = parse(&text, "t");
        }
    }
}
