//! A JSON file: an array of objects, each a record, or one object.

use std::cell::Cell;
use std::fmt;
use std::io::BufRead;

use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;

use super::jsonl::Object;
use super::{Origin, Record, Stop};
use crate::error::{Error, Result};
use crate::ingest::fields;

/// Gives each record to `take` as soon as it is read, so that a long array is never in memory as a whole.
pub(super) fn read(
    reader: impl BufRead,
    origin: &Origin,
    take: &mut dyn FnMut(Result<Record>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let stopped = Cell::new(None);
    let visitor = Records {
        origin,
        take,
        stopped: &stopped,
    };
    let mut json = Deserializer::from_reader(reader);
    let read = json.deserialize_any(visitor).and_then(|()| json.end());
    if let Some(stop) = stopped.take() {
        return Err(stop);
    }
    read.map_err(|error| {
        let error = match error.io_error_kind() {
            Some(kind) => Error::io("read", &origin.path)(kind.into()),
            None => origin.bad(None, format!("this is not JSON: {error}")),
        };
        Stop::Failed(error)
    })
}

struct Records<'a> {
    origin: &'a Origin,
    take: &'a mut dyn FnMut(Result<Record>) -> Result<(), Stop>,
    /// Why the visitor gave up, where it was not for the JSON.
    stopped: &'a Cell<Option<Stop>>,
}

impl Records<'_> {
    fn give(&mut self, record: Result<Record>) -> std::result::Result<(), serde_json::Error> {
        (self.take)(record).map_err(|stop| {
            self.stopped.set(Some(stop));
            serde_json::Error::custom("stopped")
        })
    }

    fn record(&self, object: Object, number: Option<u32>) -> Result<Record> {
        let Object { keys, repeated } = object;
        if let Some(key) = repeated {
            let what = format!("the key `{key}` stands twice in the object; rename one");
            return Err(self.origin.bad(number, what));
        }
        let make_id =
            || number.map_or_else(|| self.origin.id.clone(), |n| self.origin.record_id(n));
        let document = fields::document(keys, &self.origin.options, make_id);
        self.origin.record(number, document)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects, or an object")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> std::result::Result<(), A::Error> {
        let mut number = 0_u32;
        while let Some(item) = items.next_element::<Item>()? {
            number = number.saturating_add(1);
            let record = match item {
                Item::Object(object) => self.record(object, Some(number)),
                Item::Other(what) => {
                    let what = format!("item {number} of the array is {what}, not an object");
                    Err(self.origin.bad(number, what))
                }
            };
            self.give(record).map_err(A::Error::custom)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, entries: A) -> std::result::Result<(), A::Error> {
        let object = Object::visit(entries)?;
        let record = self.record(object, None);
        self.give(record).map_err(A::Error::custom)
    }
}

/// An item of an array.
enum Item {
    Object(Object),
    Other(&'static str),
}

impl<'de> serde::Deserialize<'de> for Item {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                entries: A,
            ) -> std::result::Result<Item, A::Error> {
                Object::visit(entries).map(Item::Object)
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> std::result::Result<Item, A::Error> {
                while items.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Item::Other("an array"))
            }

            fn visit_unit<E>(self) -> std::result::Result<Item, E> {
                Ok(Item::Other("null"))
            }

            fn visit_bool<E>(self, _: bool) -> std::result::Result<Item, E> {
                Ok(Item::Other("a boolean"))
            }

            fn visit_i64<E>(self, _: i64) -> std::result::Result<Item, E> {
                Ok(Item::Other("a number"))
            }

            fn visit_u64<E>(self, _: u64) -> std::result::Result<Item, E> {
                Ok(Item::Other("a number"))
            }

            fn visit_f64<E>(self, _: f64) -> std::result::Result<Item, E> {
                Ok(Item::Other("a number"))
            }

            fn visit_str<E>(self, _: &str) -> std::result::Result<Item, E> {
                Ok(Item::Other("a string"))
            }
        }
        from.deserialize_any(Any)
    }
}
