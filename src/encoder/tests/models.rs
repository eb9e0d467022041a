//! Tiny models of every architecture beside the reference implementation; `tests/golden/make_models.py` made them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;

#[derive(serde::Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    /// By pooling; not normalised.
    vectors: BTreeMap<String, Vec<f32>>,
    #[serde(default)]
    hidden: Vec<Vec<f32>>,
    #[serde(default)]
    attention: Vec<Vec<f32>>,
}

pub(super) struct Models {
    pub(super) root: TempDir,
    expected: BTreeMap<String, Vec<Case>>,
}

pub(super) fn models() -> &'static Models {
    static MODELS: OnceLock<Models> = OnceLock::new();
    MODELS.get_or_init(|| {
        // The runtime is what the tests need of it.
        encoder();
        let bytes = include_bytes!("../../../tests/golden/models.zip");
        let root = tempfile::tempdir().expect("a folder");
        let mut archive = zip::ZipArchive::new(Cursor::new(&bytes[..])).expect("an archive");
        archive.extract(root.path()).expect("unpacked");
        let expected = std::fs::read(root.path().join("expected.json")).expect("read");
        let expected = serde_json::from_slice(&expected).expect("parses");
        Models { root, expected }
    })
}

/// A copy of a model's folder that the test may change.
fn copy(name: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for entry in walkdir(&models().root.path().join(name)) {
        let target = copy.path().join(&entry);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("made");
        std::fs::copy(models().root.path().join(name).join(&entry), target).expect("copied");
    }
    copy
}

fn walkdir(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        let name = PathBuf::from(path.file_name().expect("a name"));
        match path.is_dir() {
            true => files.extend(walkdir(&path).into_iter().map(|file| name.join(file))),
            false => files.push(name),
        }
    }
    files
}

pub(super) fn open(folder: &Path) -> Result<Encoder> {
    open_with(folder, EncoderOptions::default())
}

fn open_with(folder: &Path, options: EncoderOptions) -> Result<Encoder> {
    Encoder::open(&EncoderOptions {
        model: Some(folder.into()),
        threads: Some(2),
        ..options
    })
}

fn write(folder: &TempDir, file: &str, value: serde_json::Value) {
    std::fs::write(folder.path().join(file), value.to_string()).expect("written");
}

fn unit(numbers: &[f32]) -> Vec<f32> {
    let length = numbers
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    numbers
        .iter()
        .map(|x| (f64::from(*x) / length) as f32)
        .collect()
}

#[test]
fn every_architecture_gives_the_vectors_of_the_reference_in_every_pooling() {
    let Models { expected, .. } = models();
    assert_eq!(expected.len(), 13);
    for (name, cases) in expected {
        let folder = copy(name);
        for pooling in cases[0].vectors.keys() {
            write(
                &folder,
                "1_Pooling/config.json",
                json!({ "pooling_mode": pooling }),
            );
            let encoder = open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
            let windows = cases.iter().map(|case| {
                let windows = encoder.windows(None, &case.text).expect("windows");
                assert_eq!(windows.len(), 1, "{name}: {:?}", case.text);
                assert_eq!(windows[0].tokens, case.ids, "{name}: {:?}", case.text);
                windows[0].clone()
            });
            let windows: Vec<Window> = windows.collect();
            // Padded in one batch, and each alone.
            let together = encoder.encode(&windows).expect("vectors");
            for ((case, window), vector) in cases.iter().zip(&windows).zip(&together) {
                let alone = encoder
                    .encode(std::slice::from_ref(window))
                    .expect("a vector");
                for ours in [vector, &alone[0]] {
                    let difference =
                        largest_difference(ours.as_slice(), &unit(&case.vectors[pooling]));
                    assert!(
                        difference <= 1e-5,
                        "{name}, {pooling}, {:?}: {difference:e}",
                        case.text
                    );
                }
            }
        }
    }
}

#[test]
fn a_tokenizer_is_read_as_the_library_reads_it() {
    let root = models().root.path();
    let tiny = walkdir(root).into_iter().map(|file| root.join(file));
    let default = encoder().folder().join("tokenizer.json");
    let files = tiny.filter(|file| file.ends_with("tokenizer.json"));
    let files: Vec<PathBuf> = files.chain([default]).collect();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).expect("read");
        let read = |tokenizer: tokenizers::Tokenizer| tokenizer.to_string(false).expect("JSON");
        let theirs = tokenizers::Tokenizer::from_bytes(&bytes).expect("parses");
        let ours = crate::encoder::tokenizer::parse(&bytes).expect("parses");
        assert!(read(ours) == read(theirs), "{}", file.display());
    }
}

#[test]
fn older_names_of_poolings_mean_the_same() {
    let folder = copy("bert");
    let case = &models().expected["bert"][1];
    for (switch, pooling) in [
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_lasttoken", "lasttoken"),
        ("pooling_mode_weightedmean_tokens", "weightedmean"),
        ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ] {
        write(&folder, "1_Pooling/config.json", json!({ switch: true }));
        let vector = open(folder.path())
            .expect("opens")
            .encode_passage(&case.text);
        let vector = vector.expect("a vector");
        assert!(largest_difference(vector.as_slice(), &unit(&case.vectors[pooling])) <= 1e-5);
    }
}

#[test]
fn layers_and_attention_are_those_of_the_reference() {
    for name in ["bert", "mpnet"] {
        let encoder = open(&models().root.path().join(name)).expect("opens");
        let cases = models().expected[name]
            .iter()
            .filter(|case| !case.hidden.is_empty());
        for case in cases {
            let seen = encoder.inspect(&case.text).expect("seen").remove(0);
            let ids: Vec<u32> = seen.tokens.iter().map(|token| token.id).collect();
            assert_eq!(ids, case.ids);
            assert_eq!(
                (seen.hidden, seen.layers.len(), seen.attention.len()),
                (32, 3, 2)
            );
            for (ours, theirs) in seen.layers.iter().zip(&case.hidden) {
                assert!(
                    largest_difference(ours, theirs) <= 2e-5,
                    "{name}: {:?}",
                    case.text
                );
            }
            for (ours, theirs) in seen.attention.iter().zip(&case.attention) {
                assert_eq!(ours.heads, 4);
                assert!(
                    largest_difference(&ours.weights, theirs) <= 1e-5,
                    "{name}: {:?}",
                    case.text
                );
            }
            assert_eq!(seen.embeddings.len(), ids.len() * 32);
            assert_eq!(seen.token_vector(1), &seen.layers[2][32..64]);
        }
    }
    let own = open(&models().root.path().join("onnx-i64")).expect("opens");
    let words = own
        .inspect("text")
        .expect_err("a graph of its own")
        .to_string();
    assert!(words.contains("tells nothing but its output"), "{words}");
}

#[test]
fn tokens_of_an_inspection_name_their_bytes() {
    let text = "Überraschung im São-Paulo-Café! ".repeat(30);
    for name in ["bert", "roberta", "xlm-roberta"] {
        let encoder = open(&models().root.path().join(name)).expect("opens");
        let windows = encoder.windows(None, &text).expect("windows");
        let seen = encoder.inspect(&text).expect("seen");
        assert!(seen.len() > 3 && seen.len() == windows.len());
        for (seen, window) in seen.iter().zip(&windows) {
            let ids: Vec<u32> = seen.tokens.iter().map(|token| token.id).collect();
            assert_eq!(ids, window.tokens);
            let inner = &seen.tokens[1..seen.tokens.len() - 1];
            let mut end = window.range.start;
            for token in inner {
                let range = token.range.clone().expect("a range");
                assert!(text.get(range.clone()).is_some() && range.end >= end);
                end = range.end;
            }
            assert!(seen.tokens[0].range.is_none());
        }
        let first = seen[0].tokens[1].range.clone().expect("a range");
        assert!(text[first].starts_with('Ü'));
    }
}

#[test]
fn a_vector_can_be_cut_to_its_first_components() {
    let folder = copy("bert-dense");
    let case = &models().expected["bert-dense"][1];
    let whole = open(folder.path()).expect("opens");
    assert_eq!(whole.dimension(), 12);
    let cut = |dimension| EncoderOptions {
        dimension: Some(dimension),
        ..EncoderOptions::default()
    };
    let five = open_with(folder.path(), cut(5)).expect("opens");
    assert_eq!(five.dimension(), 5);
    assert_ne!(five.fingerprint(), whole.fingerprint());
    let vector = five.encode_passage(&case.text).expect("a vector");
    assert!(largest_difference(vector.as_slice(), &unit(&case.vectors["mean"][..5])) <= 1e-5);
    for wrong in [0, 13] {
        let words = open_with(folder.path(), cut(wrong))
            .expect_err("refused")
            .to_string();
        assert!(words.contains("vectors have 12 components"), "{words}");
    }
    write(
        &folder,
        "config_sentence_transformers.json",
        json!({ "truncate_dim": 4 }),
    );
    assert_eq!(open(folder.path()).expect("opens").dimension(), 4);
}

#[test]
fn a_prompt_is_pooled_or_left_out_as_the_folder_says() {
    let folder = copy("bert");
    let prompts = json!({ "prompts": { "query": "the doctor reads: ", "passage": "" } });
    write(&folder, "config_sentence_transformers.json", prompts);
    let text = "The river runs to the sea.";
    let pooled = open(folder.path())
        .expect("opens")
        .encode_query(text)
        .expect("a vector");
    write(
        &folder,
        "1_Pooling/config.json",
        json!({ "pooling_mode_mean_tokens": true, "include_prompt": false }),
    );
    let encoder = open(folder.path()).expect("opens");
    let ours = encoder.encode_query(text).expect("a vector");
    // The mean of the last layer's vectors behind the prompt, [CLS] left out as sentence-transformers does.
    let whole = format!("the doctor reads: {text}");
    let seen = encoder.inspect(&whole).expect("seen").remove(0);
    let start = seen
        .tokens
        .iter()
        .position(|token| token.range == Some(18..21))
        .expect("The");
    let mut sum = vec![0.0_f32; 32];
    for token in start..seen.tokens.len() {
        sum.iter_mut()
            .zip(seen.token_vector(token))
            .for_each(|(sum, x)| *sum += x);
    }
    assert!(largest_difference(ours.as_slice(), &unit(&sum)) <= 1e-5);
    assert!(largest_difference(ours.as_slice(), pooled.as_slice()) > 1e-3);
}

#[test]
fn windows_are_as_long_as_asked_and_overlap_as_asked() {
    let text = "The river runs to the sea. ".repeat(40);
    let folder = models().root.path().join("bert");
    let cut = |max_tokens, overlap| {
        let options = EncoderOptions {
            max_tokens,
            overlap,
            ..EncoderOptions::default()
        };
        let encoder = open_with(&folder, options).expect("opens");
        let windows = encoder.windows(None, &text).expect("windows");
        for pair in windows.windows(2) {
            assert!(pair[1].range.start <= pair[0].range.end);
        }
        assert_eq!(
            (windows[0].range.start, windows[windows.len() - 1].range.end),
            (0, text.len())
        );
        (encoder.fingerprint().to_owned(), windows)
    };
    let (usual, long) = cut(None, None);
    let (shorter, short) = cut(Some(20), None);
    assert!(short.len() > 2 * long.len());
    assert!(short.iter().all(|window| window.token_count() <= 20));
    let (apart, without) = cut(None, Some(0));
    assert!(
        without
            .windows(2)
            .all(|pair| pair[0].range.end == pair[1].range.start)
    );
    let (_, much) = cut(None, Some(1_000));
    assert!(much.len() > long.len() && long.len() >= without.len());
    assert!(usual != shorter && usual != apart);
    let options = EncoderOptions {
        max_tokens: Some(65),
        ..EncoderOptions::default()
    };
    let words = open_with(&folder, options)
        .expect_err("too long")
        .to_string();
    assert!(words.contains("it has 64 positions"), "{words}");
}

#[test]
fn what_is_not_supported_is_named() {
    let says = |folder: &TempDir, part: &str| {
        let error = open(folder.path()).expect_err(part);
        assert!(matches!(error, Error::Model { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let folder = copy("bert");
    for (pooling, part) in [
        (
            json!({ "pooling_mode_max_tokens": true }),
            "pooling_mode_max_tokens",
        ),
        (
            json!({ "pooling_mode": ["mean", "cls"] }),
            "[\"mean\", \"cls\"]",
        ),
        (json!({}), "asks for the pooling []"),
    ] {
        write(&folder, "1_Pooling/config.json", pooling);
        says(&folder, part);
    }
    let folder = copy("bert");
    let module = |kind: &str| json!([{ "path": "3_X", "type": format!("sentence_transformers.models.{kind}") }]);
    write(&folder, "modules.json", module("LSTM"));
    says(&folder, "\"LSTM\" module");
    let both = json!([{ "path": "2", "type": "x.Normalize" }, { "path": "1_Pooling", "type": "x.Pooling" }]);
    write(&folder, "modules.json", both);
    says(&folder, "Pooling module after a Normalize module");

    let folder = copy("bert-dense");
    let dense = |inputs: usize, outputs: usize, activation: &str| json!({ "in_features": inputs, "out_features": outputs, "bias": true, "activation_function": activation });
    write(
        &folder,
        "2_Dense/config.json",
        dense(32, 12, "torch.nn.modules.activation.Softmax"),
    );
    says(&folder, "\"Softmax\"");
    write(&folder, "2_Dense/config.json", dense(31, 12, "x.Tanh"));
    says(
        &folder,
        "takes 31 numbers, and what stands before it gives 32",
    );
    write(&folder, "2_Dense/config.json", dense(32, 11, "x.Tanh"));
    says(
        &folder,
        "2_Dense/model.safetensors: the weight \"linear.weight\" has shape [12, 32]",
    );
    std::fs::remove_file(folder.path().join("2_Dense/model.safetensors")).expect("removed");
    says(&folder, "2_Dense/model.safetensors is missing");

    let folder = copy("onnx-i64");
    std::fs::remove_file(folder.path().join("onnx/model.onnx")).expect("removed");
    says(
        &folder,
        "architecture is \"albert\"; supported: bert, distilbert",
    );
    let folder = copy("bert");
    std::fs::remove_file(folder.path().join("model.safetensors")).expect("removed");
    says(
        &folder,
        "model.safetensors is missing, and so is an ONNX file",
    );
    std::fs::write(folder.path().join("pytorch_model.bin"), "").expect("written");
    says(&folder, "save the weights as safetensors");
}

#[test]
fn a_graph_that_is_damaged_or_not_understood_is_an_error() {
    let says = |folder: &TempDir, part: &str| {
        let words = open(folder.path()).expect_err(part).to_string();
        assert!(
            words.contains(part) && words.contains("onnx/model.onnx"),
            "{words}"
        );
    };
    let folder = copy("onnx-i64");
    let path = folder.path().join("onnx/model.onnx");
    let whole = std::fs::read(&path).expect("read");
    for damaged in [&b""[..], b"not a graph", &whole[..whole.len() / 2]] {
        std::fs::write(&path, damaged).expect("written");
        says(&folder, "ONNX Runtime refuses it");
    }
    // An input that nobody knows: "token_type_ids" renamed to a name of the same length.
    let renamed = replaced(
        &whole,
        b"token_type_ids",
        b"global_mask_ids"[..14].try_into().expect("14 bytes"),
    );
    std::fs::write(&path, renamed).expect("written");
    says(&folder, "its input \"global_mask_id\" is not supported");
    let external = copy("onnx-external");
    std::fs::remove_file(external.path().join("onnx/model.onnx_data")).expect("removed");
    says(&external, "ONNX Runtime refuses it");

    let options = EncoderOptions {
        precision: Precision::Int8,
        ..EncoderOptions::default()
    };
    let words = open_with(&models().root.path().join("onnx-i64"), options)
        .expect_err("refused")
        .to_string();
    assert!(
        words.contains("precision int8 takes weights as safetensors"),
        "{words}"
    );
}

fn replaced(bytes: &[u8], from: &[u8; 14], to: &[u8; 14]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

#[test]
fn the_fingerprint_of_a_graph_covers_its_weights_file() {
    let folder = copy("onnx-external");
    let before = open(folder.path()).expect("opens").fingerprint().to_owned();
    let path = folder.path().join("onnx/model.onnx_data");
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[1_000] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    assert_ne!(open(folder.path()).expect("opens").fingerprint(), before);
}

#[test]
fn a_model_that_yields_no_number_is_an_error_and_not_a_vector() {
    let folder = copy("bert");
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("read");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).expect("written");
    let encoder = open(folder.path()).expect("opens");
    let error = encoder.encode_query("the river").expect_err("no vector");
    assert!(
        error
            .to_string()
            .contains("the model's output cannot be used"),
        "{error}"
    );
}

#[test]
fn an_exported_file_gives_the_same_vectors_as_what_it_was_made_from() {
    for name in ["bert", "distilbert", "roberta", "mpnet", "bert-f16"] {
        let ours = open(&models().root.path().join(name)).expect("opens");
        let folder = tempfile::tempdir().expect("a folder");
        ours.export_onnx(folder.path()).expect("exported");
        ours.export_onnx(folder.path())
            .expect_err("nothing is overwritten");
        // Read back as a folder that brings its own graph, by ONNX Runtime's own optimiser.
        let back = open(folder.path()).expect("opens");
        assert!(!folder.path().join("model.safetensors").exists());
        for case in &models().expected[name] {
            let vector = back.encode_passage(&case.text).expect("a vector");
            let difference = largest_difference(vector.as_slice(), &unit(&case.vectors["mean"]));
            assert!(difference <= 1e-5, "{name}: {difference:e}");
        }
    }
}

#[test]
fn int8_vectors_lie_near_those_of_f32_and_depend_on_no_neighbour() {
    let int8 = EncoderOptions {
        precision: Precision::Int8,
        ..EncoderOptions::default()
    };
    let int8 = Encoder::open(&int8).expect("opens");
    assert_eq!(int8.fingerprint(), encoder().fingerprint());
    let texts = (0..12).map(|n| format!("Text {n} of rivers. {}", "And of seas. ".repeat(n)));
    let windows: Vec<Window> = texts
        .flat_map(|text| int8.windows(None, &text).expect("windows"))
        .collect();
    let exact = encoder().encode(&windows).expect("vectors");
    let together = int8.encode(&windows).expect("vectors");
    for ((window, exact), together) in windows.iter().zip(&exact).zip(&together) {
        assert!(
            cosine(exact, together) > 0.999,
            "{}",
            cosine(exact, together)
        );
        let alone = int8.encode(std::slice::from_ref(window)).expect("a vector");
        assert!(cosine(&alone[0], together) > 0.99999);
    }
    let half = EncoderOptions {
        precision: Precision::F16,
        device: Device::Cpu,
        ..EncoderOptions::default()
    };
    let words = Encoder::open(&half).expect_err("no GPU").to_string();
    assert!(words.contains("it takes TensorRT"), "{words}");
}

#[test]
fn two_encoders_work_beside_each_other() {
    let open = |name: &str| open(&models().root.path().join(name)).expect("opens");
    let (a, b) = (open("bert"), open("roberta"));
    std::thread::scope(|scope| {
        for (encoder, name) in [(&a, "bert"), (&b, "roberta")] {
            scope.spawn(move || {
                for case in &models().expected[name] {
                    let vector = encoder.encode_passage(&case.text).expect("a vector");
                    assert!(
                        largest_difference(vector.as_slice(), &unit(&case.vectors["mean"])) <= 1e-5
                    );
                }
            });
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_kind_of_tokenizer_covers_any_text(
        pieces in prop::collection::vec(
            prop_oneof!["\\PC{0,40}", "[a-z]{1,12}[ .\n]", "[\u{4e00}-\u{4eff}。]{1,20}", "[א-ת]{1,9} ", "[🎉👩‍]{1,6}", " {1,200}"],
            0..60,
        ),
    ) {
        static ENCODERS: OnceLock<Vec<Encoder>> = OnceLock::new();
        let encoders = ENCODERS.get_or_init(|| {
            let names = ["bert", "roberta", "xlm-roberta"].into_iter();
            names.map(|name| open(&models().root.path().join(name)).expect("opens")).collect()
        });
        let text = pieces.concat();
        for encoder in encoders {
            let windows = encoder.windows(None, &text).expect("windows");
            prop_assert_eq!(windows[0].range.start, 0);
            prop_assert_eq!(windows[windows.len() - 1].range.end, text.len());
            for window in &windows {
                prop_assert!(text.get(window.range.clone()).is_some());
                prop_assert!(window.token_count() <= encoder.max_tokens());
            }
            for pair in windows.windows(2) {
                prop_assert!(pair[1].range.start <= pair[0].range.end);
            }
        }
    }
}
