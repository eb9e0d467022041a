//! Model folders, good and bad.

use super::*;

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
            "where the configuration asks for [1535]",
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
    let left_out = open_folder(copy.path()).expect("opens");
    write(
        "1_Pooling/config.json",
        r#"{"pooling_mode_mean_tokens": true}"#,
    );
    let pooled = open_folder(copy.path()).expect("opens");
    assert_ne!(left_out.fingerprint(), pooled.fingerprint());
    let of = |encoder: &Encoder| encoder.encode_query("a store").expect("a vector");
    assert!(cosine(&of(&left_out), &of(&pooled)) < 0.9999);
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
