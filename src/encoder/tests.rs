//! The encoder as a whole, with the real model and runtime.

use std::path::PathBuf;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::setup;

fn encoder() -> &'static Encoder {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    ENCODER.get_or_init(|| {
        setup::ensure().expect("the model and the runtime are set up");
        Encoder::open(&EncoderOptions::default()).expect("the default encoder opens")
    })
}

fn cosine(a: &Vector, b: &Vector) -> f32 {
    a.as_slice()
        .iter()
        .zip(b.as_slice())
        .map(|(a, b)| a * b)
        .sum()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

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

#[derive(serde::Deserialize)]
struct Golden {
    text: String,
    tokens: usize,
    vector: Vec<f32>,
}

#[test]
fn vectors_equal_those_of_an_independent_forward_pass() {
    let golden: Vec<Golden> = serde_json::from_str(include_str!("../../tests/golden/minilm.json"))
        .expect("the golden file parses");
    assert!(golden.len() >= 12);
    for Golden {
        text,
        tokens,
        vector,
    } in &golden
    {
        let windows = encoder().windows(None, text).expect("windows");
        assert_eq!(windows.len(), 1, "{text:?}");
        assert_eq!(windows[0].token_count(), *tokens, "{text:?}");
        let ours = encoder().encode_passage(text).expect("a vector");
        let difference = largest_difference(ours.as_slice(), vector);
        assert!(difference <= 1e-5, "{text:?} differs by {difference:e}");
    }
    // All at once: padded, in batches, on several threads.
    let windows: Vec<Window> = golden
        .iter()
        .flat_map(|row| encoder().windows(None, &row.text).expect("windows"))
        .collect();
    let together = encoder().encode(&windows).expect("vectors");
    let differences = together
        .iter()
        .zip(&golden)
        .map(|(ours, row)| largest_difference(ours.as_slice(), &row.vector));
    let worst = differences.fold(0.0, f32::max);
    assert!(worst <= 1e-5, "a batch differs by {worst:e}");
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

#[test]
fn a_vector_does_not_depend_on_its_batch_or_on_the_threads() {
    let encoder = encoder();
    let texts: Vec<String> = (0..90)
        .map(|n| format!("Text number {n}. {}", "More of it. ".repeat(n % 40)))
        .collect();
    let windows: Vec<Window> = texts
        .iter()
        .flat_map(|text| encoder.windows(None, text).expect("windows"))
        .collect();
    let one = Encoder::open(&EncoderOptions {
        threads: Some(1),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let three = Encoder::open(&EncoderOptions {
        threads: Some(3),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let together = encoder.encode(&windows).expect("vectors");
    let on_one = one.encode(&windows).expect("vectors");
    let on_three = three.encode(&windows).expect("vectors");
    for (at, window) in windows.iter().enumerate() {
        let alone = &encoder
            .encode(std::slice::from_ref(window))
            .expect("a vector")[0];
        for other in [&together[at], &on_one[at], &on_three[at]] {
            assert!(
                cosine(alone, other) > 0.99999,
                "window {at}: {}",
                cosine(alone, other)
            );
        }
    }
    // Neighbours differ, so the order is proven too.
    assert!(cosine(&together[0], &together[1]) < 0.999);
}

#[test]
fn many_threads_encode_at_once() {
    let encoder = encoder();
    let expected: Vec<Vector> = (0..8)
        .map(|n| {
            encoder
                .encode_query(&format!("question {n}"))
                .expect("a vector")
        })
        .collect();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let expected = &expected[n];
            scope.spawn(move || {
                for _ in 0..6 {
                    let vector = encoder
                        .encode_query(&format!("question {n}"))
                        .expect("a vector");
                    assert!(cosine(&vector, expected) > 0.99999);
                }
            });
        }
    });
}

#[test]
fn equal_windows_give_equal_vectors_in_their_places() {
    let encoder = encoder();
    let of = |text: &str| encoder.windows(None, text).expect("windows").remove(0);
    let vectors = encoder
        .encode(&[of("a"), of("b"), of("a"), of("b")])
        .expect("vectors");
    assert_eq!(vectors[0], vectors[2]);
    assert_eq!(vectors[1], vectors[3]);
    assert_ne!(vectors[0], vectors[1]);
    assert_eq!(encoder.encode(&[]).expect("nothing").len(), 0);
}

#[test]
fn a_query_longer_than_a_window_is_still_one_unit_vector() {
    let text = "How does a log-structured merge tree compact its levels? ".repeat(80);
    let vector = encoder().encode_query(&text).expect("a vector");
    assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
    let short = encoder()
        .encode_query("How does a log-structured merge tree compact its levels?")
        .expect("a vector");
    assert!(cosine(&vector, &short) > 0.8);
}

#[test]
fn meaning_is_nearer_than_words() {
    let of = |text| encoder().encode_passage(text).expect("a vector");
    let (query, near, far) = (
        of("How do I cook pasta?"),
        of("Boil the noodles in salted water."),
        of("How do I sell shares?"),
    );
    assert!(cosine(&query, &near) > cosine(&query, &far));
}

#[test]
fn a_second_runtime_in_one_process_is_refused() {
    encoder();
    let runtime = Some(PathBuf::from("/nowhere/libonnxruntime.so"));
    let error = Encoder::open(&EncoderOptions {
        runtime,
        ..EncoderOptions::default()
    })
    .expect_err("another library");
    assert!(error.to_string().contains("it can run only one"), "{error}");
}

/// A copy of the model folder without the weights, which are linked.
#[cfg(unix)]
fn copied_model() -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for file in [
        "config.json",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        let target = copy.path().join(file);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("made");
        std::fs::copy(encoder().folder().join(file), target).expect("copied");
    }
    let weights = encoder().folder().join("model.safetensors");
    std::os::unix::fs::symlink(weights, copy.path().join("model.safetensors")).expect("linked");
    copy
}

#[cfg(unix)]
fn open_folder(folder: &Path) -> Result<Encoder> {
    Encoder::open(&EncoderOptions {
        model: Some(folder.into()),
        ..EncoderOptions::default()
    })
}

#[cfg(unix)]
#[test]
fn linked_weights_open_and_the_fingerprint_depends_on_content_alone() {
    let copy = copied_model();
    let other = open_folder(copy.path()).expect("opens");
    assert_eq!(other.fingerprint(), encoder().fingerprint());
    assert_eq!(other.fingerprint().len(), 32);
    std::fs::write(
        copy.path().join("sentence_bert_config.json"),
        r#"{"max_seq_length": 128}"#,
    )
    .expect("written");
    let shorter = open_folder(copy.path()).expect("opens");
    assert_eq!(shorter.max_tokens(), 128);
    assert_ne!(shorter.fingerprint(), encoder().fingerprint());
    let prompts = r#"{"prompts": {"query": "query: ", "passage": "passage: "}}"#;
    std::fs::write(
        copy.path().join("config_sentence_transformers.json"),
        prompts,
    )
    .expect("written");
    let prompted = open_folder(copy.path()).expect("opens");
    assert_ne!(prompted.fingerprint(), shorter.fingerprint());
    let plain = encoder()
        .encode_passage("passage: a store")
        .expect("a vector");
    assert!(
        cosine(
            &prompted.encode_passage("a store").expect("a vector"),
            &plain
        ) > 0.99999
    );
    assert!(cosine(&prompted.encode_query("a store").expect("a vector"), &plain) < 0.9999);
    let text = "One more sentence. ".repeat(200);
    for window in prompted.windows(None, &text).expect("windows") {
        assert!(window.token_count() <= 128);
    }
}

#[cfg(unix)]
#[test]
fn cls_pooling_gives_other_vectors_than_the_mean() {
    let copy = copied_model();
    let cls = r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#;
    std::fs::write(copy.path().join("1_Pooling/config.json"), cls).expect("written");
    let cls = open_folder(copy.path()).expect("opens");
    let (a, b) = (
        cls.encode_passage("a store").expect("a vector"),
        encoder().encode_passage("a store").expect("a vector"),
    );
    assert_ne!(cls.fingerprint(), encoder().fingerprint());
    assert!(cosine(&a, &b) < 0.9999);
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_used_is_an_error_that_says_why() {
    let says = |folder: &Path, part: &str| {
        let error = open_folder(folder).expect_err(part);
        assert!(
            matches!(error, Error::Model { .. } | Error::Io { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains(part), "{error}");
    };
    says(Path::new("/nowhere/at/all"), "no such folder");

    let copy = copied_model();
    let file = |name: &str| copy.path().join(name);
    std::fs::remove_file(file("tokenizer.json")).expect("removed");
    says(copy.path(), "tokenizer.json is missing");

    let copy = copied_model();
    let file = |name: &str| copy.path().join(name);
    let config = std::fs::read_to_string(file("config.json")).expect("read");
    for (from, to, part) in [
        (
            r#""model_type": "bert""#,
            r#""model_type": "t5""#,
            "supported: bert",
        ),
        (
            r#""vocab_size": 30522"#,
            r#""vocab_size": 30000"#,
            "has shape [30522, 384]",
        ),
        (
            r#""hidden_act": "gelu""#,
            r#""hidden_act": "swish""#,
            "activation",
        ),
        (
            r#""num_hidden_layers": 6"#,
            r#""num_hidden_layers": 7"#,
            "lacks the weight \"encoder.layer.6",
        ),
        (
            r#""intermediate_size": 1536"#,
            r#""intermediate_size": 1535"#,
            "has shape [1536, 384]",
        ),
        (
            r#""num_attention_heads": 12"#,
            r#""num_attention_heads": 0"#,
            "size is zero",
        ),
    ] {
        assert!(config.contains(from), "{from}");
        std::fs::write(file("config.json"), config.replace(from, to)).expect("written");
        says(copy.path(), part);
    }
    std::fs::write(file("config.json"), "{").expect("written");
    says(copy.path(), "config.json");
    std::fs::write(file("config.json"), &config).expect("written");

    std::fs::write(
        file("1_Pooling/config.json"),
        r#"{"pooling_mode_max_tokens": true}"#,
    )
    .expect("written");
    says(copy.path(), "pooling_mode_max_tokens");
    std::fs::remove_file(file("1_Pooling/config.json")).expect("removed");
    says(copy.path(), "1_Pooling/config.json is missing");

    let copy = copied_model();
    let tokenizer = copy.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&tokenizer).expect("read");
    assert!(text.contains(r#""[unused0]":1"#));
    std::fs::write(
        &tokenizer,
        text.replace(r#""[unused0]":1"#, r#""[unused0]":1,"no such word":40000"#),
    )
    .expect("written");
    says(
        copy.path(),
        "it has 30523 tokens, and the model embeds 30522",
    );
    std::fs::write(
        &tokenizer,
        text.replace(r#""store":3573"#, r#""store":40000"#),
    )
    .expect("written");
    let error = open_folder(copy.path())
        .expect("opens")
        .encode_query("a store")
        .expect_err("a far id");
    assert!(error.to_string().contains("the token id 40000"), "{error}");
    std::fs::write(&tokenizer, "{}").expect("written");
    says(copy.path(), "tokenizer.json");

    let copy = copied_model();
    let file = |name: &str| copy.path().join(name);
    let modules = std::fs::read_to_string(file("modules.json")).expect("read");
    for path in ["../elsewhere", "", "/etc"] {
        let elsewhere = modules.replace("1_Pooling", path);
        std::fs::write(file("modules.json"), elsewhere).expect("written");
        says(copy.path(), "which is no folder in it");
    }

    let copy = copied_model();
    let weights = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).expect("read");
    std::fs::remove_file(&weights).expect("removed");
    says(copy.path(), "model.safetensors");
    for damaged in [
        &b""[..],
        &b"short"[..],
        &[0xff; 64][..],
        &bytes[..bytes.len() / 2],
    ] {
        std::fs::write(&weights, damaged).expect("written");
        says(copy.path(), "not a safetensors file");
    }
}

#[cfg(unix)]
#[test]
fn a_setting_that_would_change_vectors_and_is_not_supported_is_refused() {
    let refused = |folder: &Path, part: &str| {
        let error = open_folder(folder).expect_err(part);
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let copy = copied_model();
    let write = |name: &str, text: &str| {
        std::fs::write(copy.path().join(name), text).expect("written");
    };

    let lower = r#"{"max_seq_length": 256, "do_lower_case": true}"#;
    write("sentence_bert_config.json", lower);
    let opened = open_folder(copy.path()).expect("its tokenizer makes lower case");
    assert_eq!(opened.fingerprint(), encoder().fingerprint());
    let path = copy.path().join("tokenizer.json");
    let tokenizer = std::fs::read_to_string(path).expect("read");
    let mut cased: serde_json::Value = serde_json::from_str(&tokenizer).expect("JSON");
    cased["normalizer"]["lowercase"] = false.into();
    write("tokenizer.json", &cased.to_string());
    refused(copy.path(), "asks for lower case");
    cased["normalizer"] = serde_json::Value::Null;
    write("tokenizer.json", &cased.to_string());
    refused(copy.path(), "asks for lower case");
    write("tokenizer.json", &tokenizer);

    let left_out = r#"{"pooling_mode_mean_tokens": true, "include_prompt": false}"#;
    write("1_Pooling/config.json", left_out);
    open_folder(copy.path()).expect("there is no prompt");
    let prompts = r#"{"prompts": {"query": "query: "}}"#;
    write("config_sentence_transformers.json", prompts);
    refused(copy.path(), "include_prompt is false");
}

#[cfg(unix)]
#[test]
fn a_model_whose_special_tokens_fill_a_window_is_refused() {
    let copy = copied_model();
    let path = copy.path().join("tokenizer.json");
    let text = std::fs::read_to_string(&path).expect("read");
    let mut tokenizer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (specials, room) in [(300, false), (249, false), (248, true)] {
        let ids = vec![101; specials - 1];
        let names = vec!["[CLS]"; specials - 1];
        let before = &mut tokenizer["post_processor"]["special_tokens"]["[CLS]"];
        before["ids"] = ids.into();
        before["tokens"] = names.into();
        std::fs::write(&path, tokenizer.to_string()).expect("written");
        match open_folder(copy.path()) {
            Ok(opened) => {
                assert!(room, "{specials} special tokens");
                let windows = opened.windows(None, &"word ".repeat(50)).expect("windows");
                assert!(windows.iter().all(|window| window.token_count() <= 256));
            }
            Err(error) => {
                assert!(!room, "{error}");
                assert!(error.to_string().contains("leaves no room"), "{error}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn weights_that_are_replaced_while_an_encoder_lives_are_refused() {
    let copy = copied_model();
    let weights = copy.path().join("model.safetensors");
    // The link becomes a file that others cannot be meant by.
    std::fs::remove_file(&weights).expect("removed");
    std::fs::copy(encoder().folder().join("model.safetensors"), &weights).expect("copied");
    let opened = Encoder::open(&EncoderOptions {
        model: Some(copy.path().into()),
        threads: Some(3),
        ..EncoderOptions::default()
    })
    .expect("opens");
    let before = opened.encode_query("a store").expect("a vector");

    let mut other = std::fs::read(&weights).expect("read");
    let last = other.len() - 4;
    other[last..].copy_from_slice(&1.0_f32.to_le_bytes());
    let aside = copy.path().join("aside");
    std::fs::write(&aside, other).expect("written");
    std::fs::rename(&aside, &weights).expect("replaced");

    // The session that is open keeps the old file; any other would get the new one.
    let again = opened.encode_query("a store").expect("a vector");
    assert_eq!(before, again);
    let windows: Vec<Window> = (0..60)
        .flat_map(|n| {
            let text = format!("Text {n}. {}", "More of it. ".repeat(30));
            opened.windows(None, &text).expect("windows")
        })
        .collect();
    let error = opened.encode(&windows).expect_err("other weights");
    assert!(error.to_string().contains("the weights changed"), "{error}");
    let reopened = open_folder(copy.path()).expect("opens");
    assert_ne!(reopened.fingerprint(), opened.fingerprint());
}

#[test]
fn the_files_of_an_encoder_are_all_that_it_needs() {
    let copy = tempfile::tempdir().expect("a folder");
    for file in encoder().files() {
        let target = copy.path().join(&file);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("made");
        std::fs::copy(encoder().folder().join(&file), target).expect("copied");
    }
    assert!(!copy.path().join("README.md").exists());
    let opened = Encoder::open(&EncoderOptions {
        model: Some(copy.path().into()),
        ..EncoderOptions::default()
    })
    .expect("opens");
    assert_eq!(opened.fingerprint(), encoder().fingerprint());
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
