//! JSON object → id, text, title and fields.

use serde_json::{Map, Value as Json};

use super::Options;
use crate::document::{Document, Fields, Value};

pub(super) const ID_NAMES: [&str; 2] = ["_id", "id"];
pub(super) const TEXT_NAMES: [&str; 3] = ["text", "content", "body"];
pub(super) const TITLE_NAME: &str = "title";

/// The document that an object describes. `Err` says what is wrong with it.
pub(super) fn document(
    mut object: Map<String, Json>,
    options: &Options,
    make_id: impl FnOnce() -> String,
) -> Result<Document, String> {
    let id = match take_named(
        &mut object,
        options.id_field.as_deref(),
        &ID_NAMES,
        "--id-field",
    )? {
        Some((_, Json::String(id))) => id,
        Some((_, Json::Number(id))) if !id.is_f64() => id.to_string(),
        Some((name, other)) => {
            let kind = kind(&other);
            return Err(format!(
                "the id under `{name}` is {kind}, not a string or an integer; name another key by `--id-field`"
            ));
        }
        None => make_id(),
    };
    let text = match take_named(
        &mut object,
        options.text_field.as_deref(),
        &TEXT_NAMES,
        "--text-field",
    )? {
        Some((_, Json::String(text))) => text,
        Some((name, other)) => {
            return Err(format!(
                "the text under `{name}` is {}, not a string; name another key by `--text-field`",
                kind(&other)
            ));
        }
        // What comes with its vector needs no text.
        None if options.has_vectors() => String::new(),
        None => {
            return Err(format!(
                "there is no text under {}; name its key by `--text-field`; the keys are {}",
                list(TEXT_NAMES),
                list(object.keys())
            ));
        }
    };
    let title = match &options.title_field {
        Some(name) => match take(&mut object, name) {
            None | Some(Json::Null) => None,
            Some(Json::String(title)) => Some(title),
            Some(Json::Number(title)) => Some(title.to_string()),
            Some(other) => {
                return Err(format!(
                    "the title under `{name}` is {}, not a string",
                    kind(&other)
                ));
            }
        },
        // A title of another kind stays a field.
        None => {
            let title = object.get(TITLE_NAME).and_then(Json::as_str);
            let title = title.map(str::to_owned);
            if title.is_some() {
                object.remove(TITLE_NAME);
            }
            title
        }
    };
    let mut document = Document::new(id, text);
    document.title = title;
    settle_title(&mut document);
    flatten(object, "", &mut document.fields)?;
    Ok(document)
}

/// A record with a title and an empty text is that of a text nobody has but its title, as library catalogues hold them: the
/// title is its text then. A blank title is none.
pub(super) fn settle_title(document: &mut Document) {
    let is_blank = |text: &String| text.trim().is_empty();
    document.title = document.title.take().filter(|title| !is_blank(title));
    if is_blank(&document.text)
        && let Some(title) = document.title.take()
    {
        document.text = title;
    }
}

/// The value under the name that was asked for, or under the first default name that is there; null is as if it were not.
fn take_named(
    object: &mut Map<String, Json>,
    asked: Option<&str>,
    defaults: &[&str],
    option: &str,
) -> Result<Option<(String, Json)>, String> {
    if let Some(name) = asked {
        return match take(object, name) {
            None => Err(format!(
                "there is no `{name}` here, which `{option}` names; the keys are {}",
                list(object.keys())
            )),
            Some(Json::Null) => Err(format!("`{name}`, which `{option}` names, is null here")),
            Some(value) => Ok(Some((name.to_owned(), value))),
        };
    }
    let name = defaults
        .iter()
        .find(|&&name| object.get(name).is_some_and(|value| !value.is_null()));
    Ok(name.and_then(|&name| Some((name.to_owned(), object.remove(name)?))))
}

/// Takes what stands under a name, where `a.b` is also `b` in the object under `a`.
fn take(object: &mut Map<String, Json>, name: &str) -> Option<Json> {
    if object.contains_key(name) {
        return object.remove(name);
    }
    let (outer, inner) = name.split_once('.')?;
    match object.get_mut(outer)? {
        Json::Object(object) => take(object, inner),
        _ => None,
    }
}

/// Nested objects' keys are joined with dots. The parser bounds how deep they nest.
fn flatten(object: Map<String, Json>, prefix: &str, fields: &mut Fields) -> Result<(), String> {
    for (key, json) in object {
        let name = if prefix.is_empty() {
            key
        } else {
            format!("{prefix}.{key}")
        };
        let value = match json {
            Json::Object(object) => {
                flatten(object, &name, fields)?;
                continue;
            }
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Value::Integer(integer),
                (None, Some(float)) => Value::Float(float),
                (None, None) => {
                    return Err(format!(
                        "the number under `{name}` is beyond a 64-bit float"
                    ));
                }
            },
            Json::String(value) => Value::String(value),
            Json::Array(items) => Value::List(items.into_iter().map(list_item).collect()),
        };
        insert(fields, name, value)?;
    }
    Ok(())
}

/// Nothing is overwritten in silence: `{"a.b": 1, "a": {"b": 2}}` has two values for one field.
fn insert(fields: &mut Fields, name: String, value: Value) -> Result<(), String> {
    match fields.insert(name.clone(), value) {
        None => Ok(()),
        Some(_) => Err(format!("two keys give the field `{name}`; rename one")),
    }
}

fn list_item(item: Json) -> String {
    match item {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// Names for a message: `` `a`, `b` ``, the first dozen.
pub(super) fn list<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<_> = names
        .into_iter()
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    match names.len() {
        0 => "none".into(),
        1..=12 => names.join(", "),
        count => format!("{} and {} more", names[..12].join(", "), count - 12),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Json, options: &Options) -> Result<Document, String> {
        let Json::Object(object) = json else {
            panic!("an object")
        };
        document(object, options, || "f#1".into())
    }

    #[test]
    fn every_other_key_becomes_a_field() {
        let json = json!({
            "_id": "a", "title": "T", "text": "x", "id": 5, "n": 3, "half": 0.5, "big": 18_446_744_073_709_551_615_u64,
            "yes": true, "nothing": null, "tags": ["a", 1, false, null, {"k": 1}], "none": [],
            "author": {"name": "Li", "born": {"year": 701}}, "empty": {},
        });
        let expected = Document::new("a", "x")
            .title("T")
            .field("id", 5)
            .field("n", 3)
            .field("half", 0.5)
            .field("big", 18_446_744_073_709_551_615.0)
            .field("yes", true)
            .field("nothing", Value::Null)
            .field("tags", vec!["a", "1", "false", "null", "{\"k\":1}"])
            .field("none", Value::List(Vec::new()))
            .field("author.name", "Li")
            .field("author.born.year", 701);
        assert_eq!(read(json, &Options::default()), Ok(expected));
    }

    #[test]
    fn default_names_are_tried_in_their_order() {
        let none = Options::default();
        let read = |json| read(json, &none).expect("reads");
        assert_eq!(
            read(json!({"id": 7, "content": "c", "body": "b"})),
            Document::new("7", "c").field("body", "b")
        );
        assert_eq!(
            read(json!({"_id": null, "text": null, "body": "b"})).id,
            "f#1"
        );
        assert_eq!(read(json!({"text": "x", "title": " "})).title, None);
        assert_eq!(
            read(json!({"text": "x", "title": 5})).fields["title"],
            Value::Integer(5)
        );
    }

    #[test]
    fn named_keys_reach_into_nested_objects() {
        let named = |name: &str| Some(name.to_owned());
        let options = Options {
            id_field: named("_id.$oid"),
            text_field: named("doc.body"),
            title_field: named("a.b"),
            ..Options::default()
        };
        let json = json!({"_id": {"$oid": "5f"}, "doc": {"body": "x", "lang": "en"}, "a.b": "T", "text": "not this"});
        let expected = Document::new("5f", "x")
            .title("T")
            .field("doc.lang", "en")
            .field("text", "not this");
        assert_eq!(read(json, &options), Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_option_that_helps() {
        let named = |name: &str| Some(name.to_owned());
        let none = Options::default();
        let text = Options {
            text_field: named("answer"),
            ..Options::default()
        };
        let id = Options {
            id_field: named("key"),
            ..Options::default()
        };
        let title = Options {
            title_field: named("name"),
            ..Options::default()
        };
        for (json, options, parts) in [
            (
                json!({"answer": "x", "lang": "en"}),
                &none,
                ["`--text-field`", "`answer`, `lang`"],
            ),
            (
                json!({"text": 5}),
                &none,
                ["`text` is a number", "`--text-field`"],
            ),
            (
                json!({"text": "x"}),
                &text,
                ["no `answer`", "the keys are `text`"],
            ),
            (json!({"text": "x", "key": null}), &id, ["`key`", "is null"]),
            (
                json!({"_id": {"$oid": "5f"}, "text": "x"}),
                &none,
                ["`_id` is an object", "`--id-field`"],
            ),
            (
                json!({"id": 1.5, "text": "x"}),
                &none,
                ["`id` is a number", "`--id-field`"],
            ),
            (
                json!({"text": "x", "name": ["a"]}),
                &title,
                ["`name` is an array", "not a string"],
            ),
            (
                json!({"text": "x", "a.b": 1, "a": {"b": 2}}),
                &none,
                ["two keys", "`a.b`"],
            ),
        ] {
            let message = read(json, options).expect_err(parts[1]);
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
