//! A comparison with a number, as the inclusive range of the integers or floats that satisfy it. Exact in both directions:
//! 2^53 + 1 is greater than 2^53 as a float, although it rounds to it.

use std::ops::RangeInclusive;

use crate::document::Value;
use crate::filter::Comparison::{self, Equal, Greater, GreaterOrEqual, Less, LessOrEqual};

/// The integers x with `x comparison value`. `None` if there are none, or `value` is no number.
pub(super) fn integers(comparison: Comparison, value: &Value) -> Option<RangeInclusive<i64>> {
    let (floor, ceil) = match value {
        Value::Integer(n) => (i128::from(*n), i128::from(*n)),
        // A cast saturates, and ±2^127 lies as far beyond every i64 as infinity does.
        Value::Float(f) if !f.is_nan() => (f.floor() as i128, f.ceil() as i128),
        _ => return None,
    };
    let (low, high) = match comparison {
        Equal => (ceil, floor),
        Less => (i128::MIN, ceil.saturating_sub(1)),
        LessOrEqual => (i128::MIN, floor),
        Greater => (floor.saturating_add(1), i128::MAX),
        GreaterOrEqual => (ceil, i128::MAX),
    };
    let (low, high) = (low.max(i64::MIN.into()), high.min(i64::MAX.into()));
    if low > high {
        None
    } else {
        Some(low as i64..=high as i64)
    }
}

/// The finite floats x with `x comparison value`; zero is written as +0. `None` if there are none, or `value` is no number.
pub(super) fn floats(comparison: Comparison, value: &Value) -> Option<RangeInclusive<f64>> {
    // The greatest float not above the value, and the least not below it.
    let (floor, ceil) = match value {
        Value::Float(f) if !f.is_nan() => (*f, *f),
        Value::Integer(n) => {
            let near = *n as f64;
            match (near as i128).cmp(&i128::from(*n)) {
                std::cmp::Ordering::Less => (near, near.next_up()),
                std::cmp::Ordering::Equal => (near, near),
                std::cmp::Ordering::Greater => (near.next_down(), near),
            }
        }
        _ => return None,
    };
    let exact = floor == ceil;
    let (low, high) = match comparison {
        Equal => (ceil, floor),
        Less => (f64::MIN, if exact { floor.next_down() } else { floor }),
        LessOrEqual => (f64::MIN, floor),
        Greater => (if exact { ceil.next_up() } else { ceil }, f64::MAX),
        GreaterOrEqual => (ceil, f64::MAX),
    };
    let (low, high) = (low.max(f64::MIN) + 0.0, high.min(f64::MAX) + 0.0);
    if low > high { None } else { Some(low..=high) }
}

/// Does the comparison hold between two strings, byte by byte?
pub(super) fn strings(field: &str, comparison: Comparison, value: &str) -> bool {
    match comparison {
        Equal => field == value,
        Less => field < value,
        LessOrEqual => field <= value,
        Greater => field > value,
        GreaterOrEqual => field >= value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_beyond_2_to_the_53_compare_with_floats_by_value() {
        let big = (1i64 << 53) + 1;
        let rounded = (1i64 << 53) as f64;
        assert_eq!(floats(Equal, &Value::Integer(big)), None);
        assert_eq!(
            floats(LessOrEqual, &Value::Integer(big)),
            Some(f64::MIN..=rounded)
        );
        assert_eq!(
            floats(Greater, &Value::Integer(big)),
            Some(rounded.next_up()..=f64::MAX)
        );
        assert_eq!(
            integers(Greater, &Value::Float(rounded)),
            Some(big..=i64::MAX)
        );
        assert_eq!(integers(Equal, &Value::Float(0.5)), None);
        assert_eq!(integers(Less, &Value::Float(0.5)), Some(i64::MIN..=0));
        assert_eq!(
            integers(Less, &Value::Float(f64::INFINITY)),
            Some(i64::MIN..=i64::MAX)
        );
        assert_eq!(integers(GreaterOrEqual, &Value::Float(9.3e18)), None);
        assert_eq!(
            floats(GreaterOrEqual, &Value::Integer(i64::MAX)),
            Some(9_223_372_036_854_775_808.0..=f64::MAX)
        );
    }

    #[test]
    fn zero_has_one_sign() {
        for zero in [0.0, -0.0] {
            let range = floats(Equal, &Value::Float(zero)).expect("zero equals zero");
            assert_eq!([range.start(), range.end()].map(|x| x.to_bits()), [0, 0]);
            assert_eq!(
                floats(LessOrEqual, &Value::Float(zero)).map(|range| range.end().to_bits()),
                Some(0)
            );
        }
    }
}
