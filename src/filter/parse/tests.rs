use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Filter {
    Filter::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The byte where `text` goes wrong, and the message about it.
fn fails(text: &str) -> (usize, String) {
    match Filter::parse(text) {
        Err(Error::Filter {
            filter,
            offset,
            what,
        }) => {
            assert_eq!(filter, text);
            assert!(text.is_char_boundary(offset), "{text:?} at {offset}");
            (offset, what)
        }
        other => panic!("{text:?} gives {other:?}"),
    }
}

#[test]
fn each_comparison_is_read() {
    assert_eq!(parse("lang = 'en'"), Filter::equal("lang", "en"));
    assert_eq!(parse("lang=='en'"), Filter::equal("lang", "en"));
    assert_eq!(
        parse("lang != \"en\""),
        Filter::equal("lang", "en").negate()
    );
    assert_eq!(parse("year<2020"), Filter::less("year", 2020));
    assert_eq!(parse("year <= -5"), Filter::less_or_equal("year", -5));
    assert_eq!(parse("score > 1e3"), Filter::greater("score", 1000.0));
    assert_eq!(
        parse("score >= -2.5"),
        Filter::greater_or_equal("score", -2.5)
    );
    assert_eq!(parse("open = TRUE"), Filter::equal("open", true));
    assert_eq!(parse("n in (1, 2.5, 'x', false)"), {
        let values = vec![
            Value::Integer(1),
            Value::Float(2.5),
            Value::from("x"),
            Value::Bool(false),
        ];
        Filter::In("n".into(), values)
    });
    assert_eq!(
        parse("lang NOT IN ('en',)"),
        Filter::any_of("lang", ["en"]).negate()
    );
    assert_eq!(
        parse("lang in ()"),
        Filter::any_of("lang", Vec::<&str>::new())
    );
    assert_eq!(parse("exists year"), Filter::exists("year"));
    assert_eq!(parse("Exists(year)"), Filter::exists("year"));
    assert_eq!(parse("true"), Filter::And(Vec::new()));
    assert_eq!(parse("false"), Filter::Or(Vec::new()));
}

#[test]
fn not_binds_tighter_than_and_and_and_tighter_than_or() {
    let [a, b, c] = ["a", "b", "c"].map(Filter::exists);
    let wanted = a.clone().negate().and(b.clone()).or(c.clone());
    assert_eq!(parse("not exists a and exists b or exists c"), wanted);
    assert_eq!(parse("!exists(a)&&exists(b)||exists(c)"), wanted);
    assert_eq!(
        parse("exists a AND (exists b Or exists c)"),
        a.clone().and(b.clone().or(c.clone()))
    );
    assert_eq!(
        parse("not (exists a and exists b)"),
        a.clone().and(b.clone()).negate()
    );
    assert_eq!(
        parse("exists a and exists b and exists c"),
        Filter::And(vec![a, b, c])
    );
}

#[test]
fn names_of_any_script_are_bare_and_odd_ones_stand_in_backticks() {
    assert_eq!(parse("größe = 1"), Filter::equal("größe", 1));
    assert_eq!(parse("作者 = '李白'"), Filter::equal("作者", "李白"));
    assert_eq!(
        parse("author.name:x-y_1 = 1"),
        Filter::equal("author.name:x-y_1", 1)
    );
    assert_eq!(
        parse("`publication year` = 1999"),
        Filter::equal("publication year", 1999)
    );
    assert_eq!(parse(r"`a\`b` = 1"), Filter::equal("a`b", 1));
    assert_eq!(parse("`in` in (1)"), Filter::any_of("in", [1]));
    assert_eq!(
        parse("android = 1 and order = 2"),
        Filter::equal("android", 1).and(Filter::equal("order", 2))
    );
}

#[test]
fn escapes_in_strings_are_undone() {
    assert_eq!(
        parse(r#"a = 'it\'s \\ \n\r\t \"x\" \u{1f600}!'"#),
        Filter::equal("a", "it's \\ \n\r\t \"x\" 😀!")
    );
    assert_eq!(parse(r#"a = "it's""#), Filter::equal("a", "it's"));
}

#[test]
fn integers_beyond_64_bits_are_floats() {
    assert_eq!(
        parse("n = 9223372036854775807"),
        Filter::equal("n", i64::MAX)
    );
    assert_eq!(
        parse("n = -9223372036854775808"),
        Filter::equal("n", i64::MIN)
    );
    assert_eq!(
        parse("n = 9223372036854775808"),
        Filter::equal("n", 9_223_372_036_854_775_808.0)
    );
}

#[test]
fn the_error_stands_under_the_place_and_says_what_to_write() {
    for (text, offset, part) in [
        ("", 0, "it is empty"),
        (" \t\n", 0, "it is empty"),
        ("lang =", 6, "expected a value after `=`"),
        ("lang == ", 8, "expected a value after `==`"),
        ("lang = en", 7, "a string needs quotes: 'en'"),
        ("lang = ü and x = 1", 7, "a string needs quotes: 'ü'"),
        (
            "date > 2020-01-01",
            7,
            "a string needs quotes: '2020-01-01'",
        ),
        ("lang = `en`", 7, "backticks are for field names"),
        ("lang = null", 7, "use `not exists lang`"),
        ("lang is null", 5, "`exists lang`, or `not exists lang`"),
        ("lang", 4, "expected `=` `!="),
        ("lang like 'x'", 5, "expected `=`"),
        ("lang 'x'", 5, "found a string"),
        ("größe ~ 3", 8, "has no meaning here"),
        ("lang = 'en", 7, "never closed"),
        (r"lang = 'e\qn'", 9, "backslash"),
        (r"lang = '\u{110000}'", 8, r"\u{1f600}"),
        (r"lang = '\u{+41}'", 8, r"\u{1f600}"),
        ("lang = ‘en’", 7, "straight quotes"),
        ("a = 1 b = 2", 6, "expected `and`, `or` or the end"),
        ("a = 1 and", 9, "expected a condition, found the end"),
        ("and a = 1", 0, "found the keyword `and`"),
        ("1 < a", 0, "starts with a field name"),
        ("(a = 1", 0, "this `(` is never closed"),
        ("(a = 1 b", 7, "expected `and`, `or` or `)`"),
        ("a = 1)", 5, "closes nothing"),
        ("a in 1", 5, "list in parentheses"),
        ("a in (1 2)", 8, "expected `,` or `)`"),
        ("a in (1,,2)", 8, "expected a value after `,`"),
        ("a in (1", 5, "never closed"),
        ("a not 1", 6, "expected `in` after `not`"),
        ("exists", 6, "field name after `exists`"),
        ("exists(a", 8, "expected `)`"),
        ("a < true", 4, "compared with `=` and `!=` only"),
        ("a <> 1", 2, "`!=`"),
        ("a = 1 & b = 2", 6, "`&&`"),
        ("a = 1 | b = 2", 6, "`||`"),
        ("a = -", 4, "digits after `-`"),
        ("a = 1e999", 4, "too large"),
        ("`` = 1", 0, "cannot be empty"),
    ] {
        let (at, what) = fails(text);
        assert!(
            at == offset && what.contains(part),
            "{text:?}: at {at}: {what}"
        );
    }
}

#[test]
fn the_caret_stands_under_its_character() {
    let caret = |text: &str| {
        let message = Filter::parse(text).expect_err(text).to_string();
        message.lines().skip(1).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(caret("größe = en"), "  größe = en\n          ^");
    // Ideographs are two columns wide, and so is an ideographic space.
    assert_eq!(caret("作者 = x"), "  作者 = x\n  \u{3000}\u{3000}   ^");
    assert_eq!(
        caret("a = 1 and\nb = x"),
        "  a = 1 and b = x\n                ^"
    );
}

#[test]
fn the_message_about_a_long_filter_shows_only_the_place() {
    let message = Filter::parse(&format!(
        "{}x{}",
        "a = 1 and ".repeat(10_000),
        " and a = 1".repeat(10_000)
    ));
    let message = message.expect_err("no comparison").to_string();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    assert!(
        lines[1].chars().count() < 100 && lines[1].starts_with("  …") && lines[1].ends_with('…'),
        "{message}"
    );
    let column = lines[2].chars().count() - 1;
    assert_eq!(
        lines[1]
            .chars()
            .skip(column - 2)
            .take(5)
            .collect::<String>(),
        "x and",
        "{message}"
    );
}

#[test]
fn deep_nesting_is_an_error_and_long_chains_are_not() {
    assert!(fails(&"(".repeat(100_000)).1.contains("64 deep"));
    assert!(fails(&"not ".repeat(100_000)).1.contains("64 deep"));
    assert!(fails(&"!(".repeat(100_000)).1.contains("64 deep"));
    assert_eq!(
        parse(&format!("{}exists a{}", "(".repeat(63), ")".repeat(63))),
        Filter::exists("a")
    );
    match parse(&format!("a = 1{}", " or a = 1".repeat(100_000))) {
        Filter::Or(parts) => assert_eq!(parts.len(), 100_001),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chain_of_one_part_is_written_as_the_part() {
    let part = Filter::exists("a").or(Filter::exists("b"));
    let only = Filter::And(vec![part.clone()]);
    assert_eq!(parse(&only.to_string()), part);
    assert_eq!(
        parse(&only.and(Filter::exists("c")).to_string()).to_string(),
        "(exists a or exists b) and exists c"
    );
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,3}",
        "[\\PC\n`'\\\\]{1,6}",
        Just("NOT".to_owned()),
        Just("in".to_owned())
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(Value::Float),
        any::<String>().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
    ];
    let leaf = prop_oneof![
        (name(), comparison, value()).prop_map(|(name, comparison, value)| {
            let is_ordered = !matches!(value, Value::Bool(_));
            Filter::Compare(
                name,
                if is_ordered {
                    comparison
                } else {
                    Comparison::Equal
                },
                value,
            )
        }),
        (name(), prop::collection::vec(value(), 0..3))
            .prop_map(|(name, values)| Filter::In(name, values)),
        name().prop_map(Filter::Exists),
        Just(Filter::And(Vec::new())),
        Just(Filter::Or(Vec::new())),
    ];
    leaf.prop_recursive(6, 40, 4, |part| {
        prop_oneof![
            prop::collection::vec(part.clone(), 2..4).prop_map(Filter::And),
            prop::collection::vec(part.clone(), 2..4).prop_map(Filter::Or),
            part.prop_map(Filter::negate),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_survives_being_written_and_parsed(filter in filter()) {
        let text = filter.to_string();
        let parsed = Filter::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(parsed, filter);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(error) = Filter::parse(&text) {
            prop_assert!(error.to_string().contains('^'));
        }
    }

    #[test]
    fn no_text_made_of_the_languages_pieces_panics(pieces in prop::collection::vec(prop_oneof![
        "[a-zü\"'`\\\\ .:-]{0,3}",
        prop::sample::select(vec!["and ", "or ", "not ", "in ", "exists ", "(", ")", ",", "= ", "!", "<", "&&", "'a'", "\\u{", "1", "-", "e", "."])
            .prop_map(str::to_owned),
    ], 0..20)) {
        let text = pieces.concat();
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).ok(), Some(filter));
        }
    }
}
