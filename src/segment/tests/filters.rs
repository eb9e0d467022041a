use proptest::prelude::*;

use super::*;
use crate::filter::Comparison;

/// What the filter's documentation says, said again as plainly as possible.
fn matches(filter: &Filter, fields: &Fields) -> bool {
    match filter {
        Filter::Compare(name, comparison, value) => fields
            .get(name)
            .is_some_and(|field| compare(field, *comparison, value)),
        Filter::In(name, values) => values.iter().any(|value| {
            matches(
                &Filter::Compare(name.clone(), Comparison::Equal, value.clone()),
                fields,
            )
        }),
        Filter::Exists(name) => match fields.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::List(list)) => !list.is_empty(),
            Some(_) => true,
        },
        Filter::And(parts) => parts.iter().all(|part| matches(part, fields)),
        Filter::Or(parts) => parts.iter().any(|part| matches(part, fields)),
        Filter::Not(part) => !matches(part, fields),
    }
}

fn compare(field: &Value, comparison: Comparison, value: &Value) -> bool {
    use std::cmp::Ordering;
    let order = match (field, value) {
        (Value::Bool(a), Value::Bool(b)) => return comparison == Comparison::Equal && a == b,
        (Value::List(list), Value::String(_)) => {
            return list
                .iter()
                .any(|item| compare(&Value::String(item.clone()), comparison, value));
        }
        (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => match a.partial_cmp(b) {
            Some(order) => order,
            None => return false,
        },
        (Value::Integer(a), Value::Float(b)) => match integer_with_float(*a, *b) {
            Some(order) => order,
            None => return false,
        },
        (Value::Float(a), Value::Integer(b)) => match integer_with_float(*b, *a) {
            Some(order) => order.reverse(),
            None => return false,
        },
        _ => return false,
    };
    match comparison {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    }
}

/// By value: first the whole parts, then what is behind the point.
fn integer_with_float(integer: i64, float: f64) -> Option<std::cmp::Ordering> {
    if float.is_nan() {
        return None;
    }
    let whole = i128::from(integer).cmp(&(float.trunc() as i128));
    // The fraction of an infinity is NaN, but its whole part decides.
    let fraction = 0.0
        .partial_cmp(&float.fract())
        .unwrap_or(std::cmp::Ordering::Equal);
    Some(whole.then(fraction))
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("year".to_string()),
        Just("a.b".to_string()),
        Just("a".to_string()),
        Just("a\\.b".to_string()),
        Just("_2e ü\u{1}\t\"x".to_string()),
        Just("i".to_string()),
    ]
}

fn integers() -> impl Strategy<Value = i64> {
    const BIG: i64 = 1 << 53;
    prop_oneof![
        -3i64..4,
        BIG - 2..BIG + 3,
        Just(i64::MIN),
        Just(i64::MAX),
        Just(i64::MAX - 1),
        any::<i64>()
    ]
}

fn floats() -> impl Strategy<Value = f64> {
    const BIG: f64 = (1u64 << 53) as f64;
    prop_oneof![
        (-6i32..8).prop_map(|half| f64::from(half) / 2.0),
        Just(-0.0),
        Just(BIG),
        Just(BIG + 2.0),
        Just(9_223_372_036_854_775_808.0),
        Just(-9_223_372_036_854_775_808.0),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        integers().prop_map(|n| n as f64),
    ]
}

fn strings() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[ab]{1,3}",
        Just("ü".to_string()),
        Just("2020-01-01T00:00:00Z".to_string()),
        Just("7".to_string()),
        Just("true".to_string()),
        Just("x".repeat(40_000)),
        Just("x".repeat(70_000)),
        Just("x".repeat(69_999) + "y"),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::Bool),
        4 => integers().prop_map(Value::Integer),
        4 => floats().prop_map(Value::Float),
        4 => strings().prop_map(Value::String),
        2 => proptest::collection::vec(strings(), 0..4).prop_map(Value::List),
    ]
}

fn sought() -> impl Strategy<Value = Value> {
    prop_oneof![
        9 => values(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Value::Float),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
    ];
    let leaf = prop_oneof![
        4 => (names(), comparison, sought()).prop_map(|(name, comparison, value)| Filter::Compare(name, comparison, value)),
        1 => (names(), proptest::collection::vec(sought(), 0..4)).prop_map(|(name, values)| Filter::In(name, values)),
        1 => names().prop_map(Filter::Exists),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

fn with_fields(all: &[Fields]) -> Segment {
    let documents: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(nth, fields)| {
            let vector = || Random(nth as u64).unit(3);
            let mut document = document(nth.to_string(), "some text", vector());
            document.attributes.fields = fields.clone();
            for start in 0..nth % 3 {
                document
                    .passages
                    .push(EmbeddedPassage::new(start..9, vector()));
            }
            document
        })
        .collect();
    segment(3, &documents, usize::MAX)
}

fn expected(segment: &Segment, all: &[Fields], filter: &Filter) -> RoaringBitmap {
    let matching = |row| matches(filter, &all[segment.document_of(row) as usize]);
    (0..segment.rows()).filter(|&row| matching(row)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_filter_selects_the_rows_that_its_documentation_says(
        all in proptest::collection::vec(proptest::collection::btree_map(names(), values(), 0..4), 1..12),
        filters in proptest::collection::vec(filters(), 40),
    ) {
        let segment = with_fields(&all);
        for filter in &filters {
            prop_assert_eq!(segment.matching_rows(filter).expect("whole"), expected(&segment, &all, filter), "{:?}", filter);
        }
    }
}

#[test]
fn a_filter_finds_each_of_many_strings() {
    // More strings than one block of a column's dictionary holds.
    let name = |nth: usize| format!("name-{:05}", nth * 2);
    let all: Vec<Fields> = (0..5_000)
        .map(|nth| Fields::from([("n".into(), Value::from(name((nth * 7) % 5_000)))]))
        .collect();
    let segment = with_fields(&all);
    for nth in (0..5_000).step_by(97) {
        let between = format!("name-{:05}", nth * 2 + 1);
        for sought in [name(nth), between, String::new(), "zzz".into()] {
            for comparison in [
                Comparison::Equal,
                Comparison::Less,
                Comparison::LessOrEqual,
                Comparison::Greater,
                Comparison::GreaterOrEqual,
            ] {
                let filter = Filter::Compare("n".into(), comparison, Value::from(sought.as_str()));
                assert_eq!(
                    segment.matching_rows(&filter).expect("whole"),
                    expected(&segment, &all, &filter),
                    "{filter:?}"
                );
            }
        }
    }
}
