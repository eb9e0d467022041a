//! How texts are cut.

use proptest::prelude::*;

use super::*;
use crate::outline::{Heading, Outline, Table};

/// The windows of `text` cover it as they promise.
fn assert_covers(windows: &[Window], text: &str) {
    assert!(!windows.is_empty());
    assert_eq!(windows[0].range.start, 0);
    assert_eq!(windows[windows.len() - 1].range.end, text.len());
    for window in windows {
        assert!(window.range.start <= window.range.end);
        assert!(
            text.get(window.range.clone()).is_some(),
            "{:?} is not on char boundaries",
            window.range
        );
        assert!(window.token_count() <= encoder().max_tokens());
    }
    for pair in windows.windows(2) {
        assert!(
            pair[1].range.start <= pair[0].range.end,
            "bytes between {:?} and {:?}",
            pair[0].range,
            pair[1].range
        );
        assert!(pair[0].range.start <= pair[1].range.start);
    }
}

#[test]
fn a_short_document_is_tokenised_as_title_and_text_at_once() {
    let encoder = encoder();
    let text = "Sled is an embedded store, written in Rust.";
    let windows = encoder
        .windows(Some("sled: a (small) database"), text)
        .expect("windows");
    assert_eq!(windows.len(), 1);
    assert_eq!(windows[0].range, 0..text.len());
    let whole = encoder
        .windows(None, &format!("sled: a (small) database {text}"))
        .expect("windows");
    assert_eq!(windows[0].tokens, whole[0].tokens);
    assert_eq!(
        (
            windows[0].tokens[0],
            windows[0].tokens[windows[0].tokens.len() - 1]
        ),
        (101, 102)
    );
    // "Rust ." and [SEP], by the model's vocabulary.
    assert!(
        windows[0].tokens.ends_with(&[18399, 1012, 102]),
        "{:?}",
        windows[0].tokens
    );
}

#[test]
fn a_text_just_too_long_for_one_window_becomes_two() {
    let encoder = encoder();
    let fits = vec!["word"; encoder.max_tokens() - 2].join(" ");
    let windows = encoder.windows(None, &fits).expect("windows");
    assert_eq!(
        (windows.len(), windows[0].token_count()),
        (1, encoder.max_tokens())
    );
    let longer = fits + " word";
    let windows = encoder.windows(None, &longer).expect("windows");
    assert_eq!(windows.len(), 2);
    assert_covers(&windows, &longer);
}

#[test]
fn windows_end_at_sentence_ends_and_overlap_from_a_word_start() {
    let sentence = "The index answers a query by walking its graph from one fixed entry point to nearer nodes. ";
    let text = sentence.repeat(60);
    let windows = encoder().windows(None, &text).expect("windows");
    assert_covers(&windows, &text);
    assert!(windows.len() > 3);
    for pair in windows.windows(2) {
        let end = pair[0].range.end;
        assert!(
            text[..end].trim_end().ends_with('.'),
            "{:?}",
            &text[end - 20..end]
        );
        let start = pair[1].range.start;
        assert!(start < end, "no overlap");
        assert!(
            text[..start].ends_with(' '),
            "starts inside a word: {:?}",
            &text[start - 3..start + 9]
        );
        assert!(pair[0].token_count() > encoder().max_tokens() / 2);
    }
}

#[test]
fn a_short_title_stands_in_every_window_and_a_long_one_is_cut_like_text() {
    let encoder = encoder();
    let text = "Some sentence about storage engines. ".repeat(100);
    let windows = encoder
        .windows(Some("Zebra crossing"), &text)
        .expect("windows");
    let title = &encoder.windows(None, "Zebra crossing").expect("windows")[0].tokens;
    assert!(windows.len() > 2);
    for window in &windows {
        assert_eq!(window.tokens[..title.len() - 1], title[..title.len() - 1]);
    }
    assert_covers(&windows, &text);

    let long = "Many words of a title that never ends ".repeat(60);
    let windows = encoder.windows(Some(&long), &text).expect("windows");
    let of_title = windows
        .iter()
        .take_while(|window| window.range == (0..0))
        .count();
    assert!(of_title >= 2);
    assert_covers(&windows[of_title..], &text);
}

#[test]
fn a_text_without_any_token_is_one_window() {
    for text in ["", " ", "\n\t ", "\u{200b}", &" ".repeat(200_000)] {
        let windows = encoder().windows(None, text).expect("windows");
        assert_eq!(windows.len(), 1);
        assert_eq!(windows[0].range, 0..text.len());
        assert_eq!(windows[0].tokens, [101, 102]);
    }
    assert_eq!(
        encoder()
            .encode(&encoder().windows(Some(""), "").expect("windows"))
            .expect("vectors")
            .len(),
        1
    );
}

#[test]
fn a_word_of_any_length_is_known_by_its_characters() {
    let encoder = encoder();
    let (unknown, key) = (100, "3f9a07c5".repeat(40));
    for (text, different) in [
        (key.clone(), key.replacen("3f", "4e", 1)),
        ("é".repeat(101), "ü".repeat(101)),
        ("x".repeat(70_000), format!("{}y", "x".repeat(69_999))),
    ] {
        let [tokens, others] = [&text, &different].map(|text| {
            let windows = encoder.windows(None, text).expect("windows");
            let tokens = windows.into_iter().flat_map(|window| window.tokens);
            tokens.collect::<Vec<_>>()
        });
        assert!(!tokens.contains(&unknown), "{text:.20}");
        assert_ne!(tokens, others, "{text:.20}");
    }
    // A word as long as WordPiece takes one is left as it is.
    let longest = "a".repeat(100);
    let tokens = encoder.0.tokenizer.ids(&longest).expect("tokens");
    let mut places = Vec::new();
    let read = encoder.0.tokenizer.tokens(&longest, 0, &mut places);
    read.expect("tokens");
    assert_eq!(places.iter().filter(|token| token.starts_word).count(), 1);
    assert_eq!(tokens.len(), places.len());
}

#[test]
fn long_texts_of_every_kind_are_covered() {
    let kinds = [
        "東京は日本の首都です。".repeat(8_000),
        "漢".repeat(70_000),
        "👩‍👩‍👧‍👦🎉".repeat(9_000),
        "x".repeat(300_000),
        "é".repeat(100_000),
        "e\u{301}".repeat(60_000),
        "a.b,c;d".repeat(30_000),
        "\u{1160}\u{ac00}".repeat(20_000),
        format!("{} end", " ".repeat(150_000)),
        ")".repeat(1 << 20),
    ];
    for text in &kinds {
        let windows = encoder().windows(None, text).expect("windows");
        assert_covers(&windows, text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_is_covered_by_its_windows(
        pieces in prop::collection::vec(prop_oneof!["\\PC{0,40}", "[a-z]{1,12}[ .\n]", "[\u{4e00}-\u{4eff}。]{1,20}"], 0..250),
        title in prop::option::of("\\PC{0,60}"),
    ) {
        let text = pieces.concat();
        let windows = encoder().windows(title.as_deref(), &text).expect("windows");
        let of_title = if windows.len() > 1 { windows.iter().take_while(|w| w.range == (0..0)).count() } else { 0 };
        assert_covers(&windows[of_title..], &text);
    }
}

/// A text of sections with so many words each, and its outline.
fn sections(words: &[usize]) -> (String, Outline) {
    let mut text = String::new();
    let mut outline = Outline::default();
    for (nth, &words) in words.iter().enumerate() {
        let heading = format!("Chapter {nth}");
        let start = text.len();
        outline.headings.push(Heading::new(start, 1, &heading));
        text.push_str(&format!(
            "{heading}\n\n{}\n\n",
            "word ".repeat(words).trim()
        ));
    }
    (text, outline)
}

#[test]
fn windows_begin_where_sections_do_and_small_ones_stay_together() {
    let encoder = encoder();
    let (text, outline) = sections(&[100, 10, 10, 10, 150, 400]);
    let windows = encoder
        .windows_along(Some("Book"), &text, &outline)
        .expect("windows");
    let starts: Vec<usize> = windows.iter().map(|window| window.range.start).collect();
    let begin = |nth: usize| outline.headings[nth].start;
    // 1 to 3 are too small to stand alone, and 4 begins where they are large enough.
    assert_eq!(starts[..2], [begin(0), begin(1)], "{starts:?}");
    assert!(starts.contains(&begin(5)), "{starts:?}");
    let mut covered = 0;
    for window in &windows {
        assert!(window.range.start <= covered && window.range.end > covered);
        covered = window.range.end;
        assert!(window.token_count() <= encoder.max_tokens());
    }
    assert_eq!(covered, text.len());
}

#[test]
fn windows_are_read_with_what_stands_above_them() {
    let encoder = encoder();
    let (text, outline) = sections(&[600, 20]);
    let along = |outline: &Outline| {
        let windows = encoder.windows_along(None, &text, outline);
        windows.expect("windows")
    };
    let tokens = |text: &str| {
        encoder
            .windows(None, text)
            .expect("windows")
            .remove(0)
            .tokens
    };
    let windows = along(&outline);
    // Between the special tokens: the heading, and then the words.
    let heading = tokens("Chapter 0");
    let heading = &heading[1..heading.len() - 1];
    assert!(windows.len() > 2);
    assert!(
        windows[0].tokens[1..].starts_with(heading),
        "it begins with it itself"
    );
    assert!(!windows[0].tokens[1 + heading.len()..].starts_with(heading));
    assert!(windows[1].tokens[1..].starts_with(heading));
    let plain = Outline {
        without_context: true,
        ..outline
    };
    assert!(!along(&plain)[1].tokens[1..].starts_with(heading));
}

#[test]
fn parts_of_a_table_are_read_with_its_header() {
    let encoder = encoder();
    let rows: String = (0..200).map(|n| format!("{n} | {}\n", n * n)).collect();
    let text = format!("number | square\n{rows}");
    let outline = Outline {
        tables: vec![Table::new(0..text.len(), 16)],
        ..Outline::default()
    };
    let header = encoder.windows(None, "number | square").expect("windows");
    let header = &header[0].tokens[1..header[0].tokens.len() - 1];
    let windows = encoder.windows_along(None, &text, &outline);
    let windows = windows.expect("windows");
    assert!(windows.len() > 3);
    for window in &windows {
        assert!(window.tokens[1..].starts_with(header));
        let begins = window.range.start == 0 || text[..window.range.start].ends_with('\n');
        assert!(begins, "a part begins with a row: {:?}", window.range);
    }
}
