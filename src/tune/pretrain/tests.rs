//! A small language, learnt by a small network.

use std::path::Path;

use safetensors::SafeTensors;
use tempfile::TempDir;

use std::ops::ControlFlow;

use super::gaps::Making;
use super::run::sentences;
use super::*;
use crate::document::Document;
use crate::encoder::tests::models;
use crate::encoder::trunk::Masked;
use crate::encoder::{Encoder, EncoderOptions, Fresh};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::tune::Verdict;
use crate::tune::optimise::AdamW;

/// Sentences whose words follow on one another: after a word of one kind comes one of the next kind, and each document keeps
/// to one subject.
fn documents(count: usize, seed: u64) -> Vec<Document> {
    let mut random = Random(seed);
    let subjects = [["river", "water", "boat"], ["kitchen", "bread", "oven"]];
    let text = |at: usize, random: &mut Random| {
        let words = subjects[at % subjects.len()];
        let sentence = |random: &mut Random| {
            let first = random.below(3);
            let (a, b) = (words[first], words[(first + 1) % 3]);
            let verb = ["sees", "likes", "finds"][first];
            format!("The {a} {verb} the {b} number {}.", random.below(20))
        };
        (0..8)
            .map(|_| sentence(random))
            .collect::<Vec<_>>()
            .join(" ")
    };
    (0..count)
        .map(|at| Document::new(at.to_string(), text(at, &mut random)))
        .collect()
}

fn options(model: &str) -> EncoderOptions {
    EncoderOptions {
        model: Some(models().join(model)),
        threads: Some(2),
        ..EncoderOptions::default()
    }
}

fn small() -> Pretraining<'static> {
    let fresh = Fresh {
        vocabulary: 200,
        layers: 2,
        hidden: 32,
        heads: 2,
        positions: 64,
        lower_case: true,
    };
    Pretraining::default()
        .from_scratch(fresh)
        .length(48)
        .batch(16)
        .dropout(0.0)
        .learning_rate(5e-3)
        .epochs(30)
}

fn target(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("new")
}

fn run(pretraining: Pretraining<'_>, documents: &[Document], to: &Path) -> Result<Pretrained> {
    pretraining.run(&options("bert"), documents, to)
}

#[test]
fn a_new_network_learns_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(320, 1);
    let made = run(small().epochs(40), &documents, &target(&folder)).expect("runs");
    assert_eq!(made.verdict, Verdict::Accepted, "{made:?}");
    assert!(made.words.loss[1] < made.frequency - 1.0, "{made:?}");
    assert!(made.words.right[1] > 0.4, "{:?}", made.words);
    let pairs = made.pairs.expect("asked");
    assert!(pairs.loss[1] < pairs.loss[0], "{pairs:?}");
    assert_eq!((made.documents, made.held_out), (288, 32));
    // It is a model like others, that other programs know by its files.
    for file in [
        "config.json",
        "vocab.txt",
        "modules.json",
        "1_Pooling/config.json",
        "onnx/model.onnx",
        "pretraining.html",
    ] {
        assert!(target(&folder).join(file).is_file(), "{file}");
    }
    let open = EncoderOptions {
        model: Some(target(&folder)),
        ..options("bert")
    };
    let encoder = Encoder::open(&open).expect("opens");
    assert_eq!(Some(encoder.fingerprint()), made.fingerprint.as_deref());
    assert_eq!(encoder.max_tokens(), 48, "no more than it was trained on");
    // Going on, what guesses is there already.
    let on = Pretraining::default().length(48).epochs(1);
    let further = folder.path().join("further");
    let more = on.run(&open, &documents, &further).expect("runs");
    assert!(
        (more.words.loss[0] - made.words.loss[1]).abs() < 1e-3,
        "{more:?}"
    );
}

/// Which texts follow on one another is learnt by heart from few: held-out ones take more than a test has time for.
#[test]
fn pairs_are_learnt_alone() {
    let encoder = Encoder::open(&options("bert")).expect("opens");
    let (network, mut weights) = encoder.pretraining(0.0, 1).expect("weights");
    let alphabet = encoder.alphabet();
    let making = Making {
        alphabet: &alphabet,
        mask: alphabet.mask.expect("there"),
        length: 40,
        pairs: true,
    };
    let documents = documents(20, 1);
    let documents: Vec<&Document> = documents.iter().collect();
    let documents = sentences(&documents, &encoder, &making).expect("cut");
    let texts = making.texts(&documents.iter().collect::<Vec<_>>(), 1);
    let texts: Vec<Masked> = texts.into_iter().map(|(_, text)| text).take(24).collect();
    let mut optimiser = AdamW::default();
    let mut losses = Vec::new();
    for step in 0..150 {
        let (judged, gradients) = network
            .step(&weights, &texts, [0.0, 1.0], step)
            .expect("runs");
        losses.push(judged[1].mean());
        optimiser.step(&mut weights, &gradients, network.trained(), 3e-3);
    }
    assert!(losses[0] > 0.5 && losses[149] < 0.1, "{losses:?}");
}

#[test]
fn a_model_goes_on_with_the_words_that_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    for model in ["bert", "distilbert"] {
        let to = folder.path().join(model);
        let goes_on = Pretraining::default()
            .learning_rate(5e-3)
            .dropout(0.0)
            .epochs(15)
            .length(48);
        let made = goes_on
            .run(&options(model), &documents(100, 1), &to)
            .expect("runs");
        assert_eq!(made.verdict, Verdict::Accepted, "{made:?}");
        assert_eq!(made.pairs.is_some(), model == "bert");
        // As other programs name what stands beside a head.
        let file = std::fs::read(to.join("model.safetensors")).expect("read");
        let file = SafeTensors::deserialize(&file).expect("parses");
        let beginnings = ["bert.", "distilbert.", "cls.", "vocab_"];
        for name in file.names() {
            assert!(beginnings.iter().any(|b| name.starts_with(b)), "{name}");
        }
    }
}

#[test]
fn a_vocabulary_depends_on_the_texts_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(60, 4);
    let texts: Vec<&str> = documents.iter().map(|d| &*d.text).collect();
    let fresh = Fresh {
        vocabulary: 60,
        ..Fresh::default()
    };
    let written = ["a", "b"].map(|name| {
        let folder = folder.path().join(name);
        fresh.write(&texts, 64, 1, &folder).expect("written");
        std::fs::read_to_string(folder.join("vocab.txt")).expect("read")
    });
    assert_eq!(written[0], written[1]);
    let words: Vec<&str> = written[0].lines().collect();
    assert_eq!(&words[..5], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    assert!(words.len() <= 60 && words.contains(&"the"), "{words:?}");
    // Pieces are no special tokens: this text has none of them.
    let encoder = Encoder::open(&EncoderOptions {
        model: Some(folder.path().join("a")),
        ..options("bert")
    });
    let encoder = encoder.expect("opens");
    let ids = |text| encoder.token_ids(text).expect("cut");
    assert_eq!(
        ids("the"),
        [words.iter().position(|w| *w == "the").expect("there") as u32]
    );
    assert!(ids("##e").len() > 1);
}

#[test]
fn words_by_chance_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = Random(9);
    let mut word = || format!("w{} ", random.below(60));
    let documents: Vec<Document> = (0..80)
        .map(|at| {
            let words = (0..60).map(|_| word()).collect::<String>();
            Document::new(at.to_string(), words)
        })
        .collect();
    let made = run(small().epochs(6), &documents, &target(&folder)).expect("runs");
    assert!(
        matches!(made.verdict, Verdict::Refused(_)),
        "{:?}",
        made.gain
    );
    assert!(target(&folder).join("pretraining.json").is_file());
    assert!(!target(&folder).join("model.safetensors").exists());
}

#[test]
fn a_pre_training_that_was_stopped_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let documents = documents(60, 1);
    let whole = run(small().epochs(25), &documents, &target(&folder)).expect("runs");
    let broken = folder.path().join("broken");
    for stop_at in [3, 7] {
        let stopped = small().epochs(25).progress(|progress| match progress.done {
            done if done == stop_at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        let stopped = run(stopped, &documents, &broken);
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
        assert!(!broken.exists());
    }
    let made = run(small().epochs(25), &documents, &broken).expect("goes on");
    assert!(made.fingerprint.is_some());
    assert_eq!(made.fingerprint, whole.fingerprint);
    assert_eq!(made.course.losses, whole.course.losses);
    assert_eq!(made.words, whole.words);
    assert!(!folder.path().join("broken.tuning").exists());
}

#[test]
fn what_cannot_be_learnt_from_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = target(&folder);
    let few = run(small(), &documents(20, 1), &to).expect_err("too few");
    assert!(few.to_string().contains("too few"), "{few}");
    let same = vec![Document::new("a", "the same text"); 100];
    run(small(), &same, &to).expect_err("all are the same");
    let bare = |at: usize| Document::new(at.to_string(), "\u{200b}".repeat(at + 1));
    let bare: Vec<Document> = (0..60).map(bare).collect();
    let none = Pretraining::default().run(&options("bert"), &bare, &to);
    let none = none.expect_err("no words").to_string();
    assert!(none.contains("no words"), "{none}");
    std::fs::remove_dir_all(folder.path().join("new.tuning")).expect("removed");
    let odd = Fresh {
        heads: 3,
        ..Fresh::default()
    };
    let odd = run(
        Pretraining::default().from_scratch(odd),
        &documents(60, 1),
        &to,
    );
    assert!(odd.expect_err("no shape").to_string().contains("heads"));
    std::fs::create_dir(&to).expect("made");
    let there = run(small(), &documents(60, 1), &to).expect_err("it is there");
    assert!(there.to_string().contains("already"), "{there}");
}
