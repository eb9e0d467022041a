//! Fields → does the condition hold? The definition that every index must agree with.

use std::cmp::Ordering;

use super::{Comparison, Filter};
use crate::document::{Fields, Value};

impl Filter {
    /// Does the condition hold for these fields?
    ///
    /// ```
    /// use vecdb::{Document, Filter};
    /// let note = Document::new("a1", "text").field("lang", "en").field("tags", vec!["x", "y"]);
    /// assert!(Filter::parse("lang = 'en' and tags = 'y'")?.matches(&note.fields));
    /// assert!(Filter::parse("year != 2020")?.matches(&note.fields), "an absent field equals nothing");
    /// # Ok::<(), vecdb::Error>(())
    /// ```
    pub fn matches(&self, fields: &Fields) -> bool {
        match self {
            Self::Compare(field, comparison, value) => fields
                .get(field)
                .is_some_and(|stored| compares(stored, *comparison, value)),
            Self::In(field, values) => fields.get(field).is_some_and(|stored| {
                values
                    .iter()
                    .any(|value| compares(stored, Comparison::Equal, value))
            }),
            Self::Exists(field) => match fields.get(field) {
                None | Some(Value::Null) => false,
                Some(Value::List(elements)) => !elements.is_empty(),
                Some(_) => true,
            },
            Self::And(parts) => parts.iter().all(|part| part.matches(fields)),
            Self::Or(parts) => parts.iter().any(|part| part.matches(fields)),
            Self::Not(part) => !part.matches(fields),
        }
    }
}

fn compares(stored: &Value, comparison: Comparison, value: &Value) -> bool {
    match (stored, value) {
        (Value::List(elements), Value::String(value)) => elements
            .iter()
            .any(|element| accepts(comparison, element.as_str().cmp(value))),
        (Value::Bool(stored), Value::Bool(value)) => {
            comparison == Comparison::Equal && stored == value
        }
        _ => order(stored, value).is_some_and(|order| accepts(comparison, order)),
    }
}

fn accepts(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

/// `None` where the kinds do not compare.
fn order(stored: &Value, value: &Value) -> Option<Ordering> {
    match (stored, value) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Integer(a), Value::Float(b)) => integer_to_float(*a, *b),
        (Value::Float(a), Value::Integer(b)) => integer_to_float(*b, *a).map(Ordering::reverse),
        _ => None,
    }
}

/// By value and exact: a cast to f64 would make 2⁵³ and 2⁵³ + 1 equal.
fn integer_to_float(integer: i64, float: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0; // 2⁶³, the first float above every i64.
    if float.is_nan() {
        None
    } else if float >= BEYOND {
        Some(Ordering::Less)
    } else if float < -BEYOND {
        Some(Ordering::Greater)
    } else {
        let whole = integer.cmp(&(float.trunc() as i64));
        Some(whole.then_with(|| {
            0.0_f64
                .partial_cmp(&float.fract())
                .unwrap_or(Ordering::Equal)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields::from([
            ("lang".into(), "en".into()),
            ("year".into(), 2020.into()),
            ("score".into(), 0.5.into()),
            ("draft".into(), true.into()),
            ("tags".into(), vec!["b", "d"].into()),
            ("bare".into(), Value::List(Vec::new())),
            ("blank".into(), Value::Null),
        ])
    }

    #[track_caller]
    fn check(filter: &str, expected: bool) {
        let parsed = Filter::parse(filter).expect("the filter parses");
        assert_eq!(parsed.matches(&fields()), expected, "{filter}");
    }

    #[test]
    fn comparisons_follow_the_value() {
        for (filter, expected) in [
            ("lang = 'en'", true),
            ("lang > 'de'", true),
            ("year >= 2020", true),
            ("year < 2020", false),
            ("year = 2020.0", true),
            ("year < 2020.5", true),
            ("score > 0", true),
            ("score <= 0.5", true),
            ("draft = true", true),
            ("draft = false", false),
            ("year in (1999, 2020)", true),
            ("lang in ('de', 'fr')", false),
        ] {
            check(filter, expected);
        }
    }

    #[test]
    fn another_kind_an_absent_field_and_null_never_compare() {
        for filter in [
            "year = '2020'",
            "lang = 1",
            "absent = 1",
            "absent < 1",
            "blank = 1",
            "exists absent",
            "exists blank",
            "exists bare",
            "bare = 'a'",
        ] {
            check(filter, false);
            check(&format!("not ({filter})"), true);
        }
        check("absent != 1", true);
        check("exists tags and exists year", true);
    }

    #[test]
    fn a_list_matches_when_any_element_does() {
        check("tags = 'd'", true);
        check("tags = 'c'", false);
        check("tags > 'c' and tags < 'c'", true);
        check("tags in ('a', 'b')", true);
    }

    #[test]
    fn empty_conjunctions_are_true_and_empty_disjunctions_false() {
        assert!(Filter::And(Vec::new()).matches(&fields()));
        assert!(!Filter::Or(Vec::new()).matches(&fields()));
    }

    #[test]
    fn large_integers_are_not_rounded_to_floats() {
        let two_to_53 = 9_007_199_254_740_992_i64;
        for (integer, float, order) in [
            (two_to_53 + 1, two_to_53 as f64, Ordering::Greater),
            (i64::MAX, 9_223_372_036_854_775_808.0, Ordering::Less),
            (i64::MIN, -9_223_372_036_854_775_808.0, Ordering::Equal),
            (i64::MIN, f64::NEG_INFINITY, Ordering::Greater),
            (-1, -1.5, Ordering::Greater),
            (-2, -1.5, Ordering::Less),
            (0, -0.0, Ordering::Equal),
        ] {
            assert_eq!(
                integer_to_float(integer, float),
                Some(order),
                "{integer} and {float}"
            );
        }
        assert_eq!(integer_to_float(0, f64::NAN), None);
    }
}
