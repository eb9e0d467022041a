//! A filter as text that parses to the same filter.

use std::fmt::{self, Display, Formatter, Write};

use super::lex::{is_name_part, is_name_start};
use super::{Comparison, Filter};
use crate::document::Value;

/// The words that are no field names unless they stand in backticks.
pub(super) const KEYWORDS: [&str; 8] =
    ["and", "or", "not", "in", "exists", "true", "false", "null"];

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// The filter in the language of [`Filter::parse`], which gives the same filter back.
///
/// Two things that only builders can make do not come back as they were: an `And` or `Or` of one part, which is written
/// as the part, and values that have no place in the language (null, lists, floats that are not finite).
impl Display for Filter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(field, comparison, value) => {
                write!(f, "{} {comparison} {}", Name(field), Literal(value))
            }
            Self::In(field, values) => write!(f, "{} in {}", Name(field), Values(values)),
            Self::Exists(field) => write!(f, "exists {}", Name(field)),
            Self::And(parts) => join(f, parts, "and", "true"),
            Self::Or(parts) => join(f, parts, "or", "false"),
            Self::Not(part) => match part.as_ref() {
                Self::Compare(field, Comparison::Equal, value) => {
                    write!(f, "{} != {}", Name(field), Literal(value))
                }
                Self::In(field, values) => write!(f, "{} not in {}", Name(field), Values(values)),
                part => {
                    f.write_str("not ")?;
                    operand(f, part)
                }
            },
        }
    }
}

fn join(f: &mut Formatter<'_>, parts: &[Filter], word: &str, if_empty: &str) -> fmt::Result {
    match parts {
        [] => f.write_str(if_empty),
        [only] => only.fmt(f),
        [first, others @ ..] => {
            operand(f, first)?;
            others.iter().try_for_each(|part| {
                write!(f, " {word} ")?;
                operand(f, part)
            })
        }
    }
}

/// A part of something larger, in parentheses where it has parts itself.
fn operand(f: &mut Formatter<'_>, part: &Filter) -> fmt::Result {
    match part {
        Filter::And(parts) | Filter::Or(parts) if parts.len() == 1 => operand(f, &parts[0]),
        Filter::And(parts) | Filter::Or(parts) if !parts.is_empty() => write!(f, "({part})"),
        _ => part.fmt(f),
    }
}

/// A field name, in backticks where it needs them.
pub(super) struct Name<'a>(pub &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_bare = self.0.starts_with(is_name_start) && self.0.chars().all(is_name_part);
        if is_bare
            && !KEYWORDS
                .iter()
                .any(|word| self.0.eq_ignore_ascii_case(word))
        {
            f.write_str(self.0)
        } else {
            quote(f, self.0, '`')
        }
    }
}

struct Literal<'a>(&'a Value);

impl Display for Literal<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            // Debug keeps `2.0` a float and writes the shortest digits that read back as the same number.
            Value::Float(value) => write!(f, "{value:?}"),
            Value::String(value) => quote(f, value, '\''),
            Value::List(values) => {
                f.write_char('[')?;
                for (at, value) in values.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    quote(f, value, '\'')?;
                }
                f.write_char(']')
            }
        }
    }
}

struct Values<'a>(&'a [Value]);

impl Display for Values<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        for (at, value) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, Literal(value))?;
        }
        f.write_char(')')
    }
}

fn quote(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c == quote || c == '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char(quote)
}
