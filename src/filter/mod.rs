//! A condition on a document's fields.
//!
//!   "lang = 'en' and year >= 2020" → parse.rs → Filter → segment (rows that match)
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the condition as a tree, and its builders |
//! | `lex.rs` | text → tokens with their places |
//! | `parse.rs` | tokens → filter: the language people type |
//! | `display.rs` | filter → text that parses back to it |
//! | `matches.rs` | does the condition hold for these fields? |

mod display;
mod lex;
mod matches;
mod parse;

use crate::document::Value;

/// How a field is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

/// A condition on a document's fields; [`Filter::parse`] describes the language for it.
///
/// A comparison is false where the field is absent, null, or of another kind than the value (a number is never equal to a
/// string). Integers and floats compare by value. For a list the comparison is true when it is true of any element.
/// `!=` is `not (… = …)`, so it is true where the field is absent.
///
/// ```
/// use vecdb::Filter;
/// let typed = Filter::parse("lang = 'en' and not year < 2020")?;
/// let built = Filter::equal("lang", "en").and(Filter::less("year", 2020).negate());
/// assert_eq!(typed, built);
/// # Ok::<(), vecdb::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// The field compares so with the value (bool, integer, float or string; bools know only [`Comparison::Equal`]).
    Compare(String, Comparison, Value),
    /// The field equals one of the values.
    In(String, Vec<Value>),
    /// The field is present and not null. An empty list counts as absent.
    Exists(String),
    /// Every part is true; true when there are none.
    And(Vec<Filter>),
    /// Some part is true; false when there are none.
    Or(Vec<Filter>),
    /// The part is false.
    Not(Box<Filter>),
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident => $comparison:ident),* $(,)?) => {$(
        $(#[$doc])*
        pub fn $name(field: impl Into<String>, value: impl Into<Value>) -> Self {
            Self::Compare(field.into(), Comparison::$comparison, value.into())
        }
    )*};
}

impl Filter {
    comparisons! {
        /// `field = value`
        equal => Equal,
        /// `field < value`
        less => Less,
        /// `field <= value`
        less_or_equal => LessOrEqual,
        /// `field > value`
        greater => Greater,
        /// `field >= value`
        greater_or_equal => GreaterOrEqual,
    }

    /// `field in (values…)`
    pub fn any_of<V: Into<Value>>(
        field: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        Self::In(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// `exists field`
    pub fn exists(field: impl Into<String>) -> Self {
        Self::Exists(field.into())
    }

    /// `self and other`
    #[must_use]
    pub fn and(self, other: Filter) -> Self {
        match self {
            Self::And(mut parts) => {
                parts.push(other);
                Self::And(parts)
            }
            first => Self::And(vec![first, other]),
        }
    }

    /// `self or other`
    #[must_use]
    pub fn or(self, other: Filter) -> Self {
        match self {
            Self::Or(mut parts) => {
                parts.push(other);
                Self::Or(parts)
            }
            first => Self::Or(vec![first, other]),
        }
    }

    /// `not self`
    #[must_use]
    pub fn negate(self) -> Self {
        Self::Not(Box::new(self))
    }
}
