//! The whole way on a tiny model, that learns what letters stand for which words.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::split::shuffle;
use super::*;
use crate::document::Document;
use crate::encoder::tests::models;
use crate::encoder::{Encoder, EncoderOptions};
use crate::error::Error;
use crate::random::Random;

const WORDS: [&str; 12] = [
    "river", "window", "bees", "doctor", "garden", "keep", "letter", "night", "reads", "winter",
    "sea", "end",
];
const LETTERS: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn options() -> EncoderOptions {
    EncoderOptions {
        model: Some(models().join("bert")),
        threads: Some(2),
        ..EncoderOptions::default()
    }
}

fn open(folder: &Path) -> crate::Result<Encoder> {
    Encoder::open(&EncoderOptions {
        model: Some(folder.into()),
        ..options()
    })
}

/// Documents of three words, each asked for by three letters; `answer` says which document a query is told to have.
fn examples(answer: impl Fn(usize) -> usize) -> Examples {
    let (mut documents, mut queries) = (Vec::new(), Vec::new());
    for i in 0..12 {
        for j in 0..i {
            for k in 0..j {
                let text = [WORDS[i], WORDS[j], WORDS[k]].join(" ");
                documents.push(Document::new(format!("d{}", documents.len()), text));
                queries.push([LETTERS[i], LETTERS[j], LETTERS[k]].join(" "));
            }
        }
    }
    let examples = queries.into_iter().enumerate().map(|(at, query)| Example {
        id: format!("q{at}"),
        query,
        positives: vec![answer(at)],
        negatives: Vec::new(),
    });
    Examples {
        examples: examples.collect(),
        documents,
        ..Examples::default()
    }
}

fn tuning() -> Tuning<'static> {
    Tuning::default()
        .method(Method::All)
        .batch(32)
        .epochs(20)
        .learning_rate(2e-3)
}

fn target(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("tuned")
}

#[test]
fn what_can_be_learnt_is_learnt_proven_and_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let examples = examples(|at| at);
    for (method, rate) in [
        (Method::All, 2e-3),
        (Method::Layers(1), 2e-3),
        (Method::LowRank(8), 5e-3),
    ] {
        let target = folder.path().join(method.to_string());
        let tuning = tuning().method(method).learning_rate(rate);
        let report = tuning.run(&options(), &examples, &target).expect("runs");
        assert_eq!(report.verdict, Verdict::Accepted, "{method}");
        let test = report.test.as_ref().expect("tested");
        assert!(
            test.gain.low > 0.1 && test.queries.len() == report.sizes.test,
            "{method}: {:?}",
            test.gain
        );
        // The folder is that of a model, and gives the vectors that were tested.
        let tuned = open(&target).expect("opens");
        assert_eq!(report.tuned.as_deref(), Some(tuned.fingerprint()));
        assert_ne!(tuned.fingerprint(), report.fingerprint);
        for file in [
            "onnx/model.onnx",
            "tokenizer.json",
            "config.json",
            "modules.json",
            "1_Pooling/config.json",
        ] {
            assert!(target.join(file).is_file(), "{file}");
        }
        let page = fs::read_to_string(target.join("tuning.html")).expect("a page");
        assert!(
            page.contains("Accepted") && page.contains("polyline"),
            "{page}"
        );
        let json = fs::read_to_string(target.join("tuning.json")).expect("a report");
        let json: serde_json::Value = serde_json::from_str(&json).expect("parses");
        assert_eq!(json["verdict"], "accepted");
        assert_eq!(
            fs::read_dir(folder.path()).expect("listed").count(),
            1,
            "nothing else is left"
        );
        fs::remove_dir_all(target).expect("removed");
    }
}

#[test]
fn an_adapter_is_learnt_beside_an_encoder_that_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let tuning = tuning()
        .method(Method::Adapter(16))
        .learning_rate(5e-3)
        .epochs(100);
    let report = tuning
        .run(&options(), &examples(|at| at), target(&folder))
        .expect("runs");
    assert_eq!(
        report.verdict,
        Verdict::Accepted,
        "{:?}",
        report.test.map(|test| test.gain)
    );
    assert_eq!(
        report.tuned.as_ref(),
        Some(&report.fingerprint),
        "what is embedded stays"
    );
    let (old, new) = (Encoder::open(&options()), open(&target(&folder)));
    let (old, new) = (old.expect("opens"), new.expect("opens"));
    assert_eq!(
        old.encode_passage("a b").expect("a vector"),
        new.encode_passage("a b").expect("a vector")
    );
    assert_ne!(
        old.encode_query("a b").expect("a vector"),
        new.encode_query("a b").expect("a vector")
    );

    let file = target(&folder).join("query_adapter.safetensors");
    let whole = fs::read(&file).expect("read");
    fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    assert!(
        open(&target(&folder))
            .expect_err("cut short")
            .to_string()
            .contains("query_adapter")
    );
    let narrow = EncoderOptions {
        dimension: Some(8),
        model: Some(target(&folder)),
        ..options()
    };
    fs::write(&file, &whole).expect("written");
    assert!(
        Encoder::open(&narrow)
            .expect_err("another dimension")
            .to_string()
            .contains("has shape")
    );
}

#[test]
fn of_several_methods_the_development_queries_choose_the_best() {
    let folder = tempfile::tempdir().expect("a folder");
    let examples = examples(|at| at);
    let report = tuning()
        .method(Method::Auto)
        .run(&options(), &examples, target(&folder))
        .expect("runs");
    let methods: Vec<&str> = report
        .attempts
        .iter()
        .map(|attempt| attempt.method.as_str())
        .collect();
    assert_eq!(methods, ["adapter:16", "layers:3", "all"]);
    let best = |at: usize| report.attempts[at].best.map_or(0.0, |best| best.ndcg);
    let chosen = report.chosen.expect("one is chosen");
    assert!(
        (0..chosen).all(|at| best(at) < best(chosen)),
        "a cheaper one would do"
    );
    assert_eq!(report.verdict, Verdict::Accepted);
    // No time: the first alone, and not to its end.
    let none = tuning().method(Method::Auto).budget(Duration::ZERO);
    let report = none
        .run(&options(), &examples, folder.path().join("none"))
        .expect("runs");
    assert_eq!(report.attempts.len(), 1);
    assert!(
        report.attempts[0]
            .course
            .stopped
            .as_ref()
            .expect("told")
            .contains("time")
    );
    assert!(matches!(report.verdict, Verdict::Refused(_)));
}

#[test]
fn the_same_seed_makes_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let examples = examples(|at| at);
    let run = |name: &str, seed: u64| {
        let tuning = tuning().epochs(4).dropout(0.1).seed(seed);
        tuning
            .run(&options(), &examples, folder.path().join(name))
            .expect("runs")
            .tuned
            .expect("tested")
    };
    let (first, second) = (run("a", 1), run("b", 1));
    assert_eq!(first, second);
    assert_ne!(first, run("c", 2));
}

/// Nothing but the report is written.
fn refused(examples: &Examples, why: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    let report = tuning()
        .run(&options(), examples, target(&folder))
        .expect("runs");
    assert!(
        matches!(&report.verdict, Verdict::Refused(_)),
        "{why}: {:?}",
        report.test.map(|test| test.gain)
    );
    let mut files: Vec<_> = fs::read_dir(target(&folder))
        .expect("listed")
        .flatten()
        .map(|file| file.file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["tuning.html", "tuning.json"], "{why}");
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    report
}

#[test]
fn shuffled_labels_and_random_pairs_are_refused() {
    for seed in 1..4 {
        let mut order: Vec<usize> = (0..220).collect();
        shuffle(&mut order, &mut Random(seed));
        refused(&examples(|at| order[at]), "shuffled labels");
    }
    let mut random = Random(9);
    let answers: Vec<usize> = (0..220).map(|_| random.below(220)).collect();
    let report = refused(&examples(|at| answers[at]), "random pairs");
    assert!(report.sizes.train > 0);
}

#[test]
fn a_corpus_with_nothing_to_learn_is_refused() {
    // Each query is its document's text, and found already.
    let mut examples = examples(|at| at);
    for (example, document) in examples.examples.iter_mut().zip(&examples.documents) {
        example.query.clone_from(&document.text);
    }
    refused(&examples, "nothing to learn");
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let examples = examples(|at| at);
    let run = |name: &str, until: u64| {
        let stop = |progress: &Progress| match progress.stage {
            Stage::Train if progress.done == until => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        tuning()
            .epochs(4)
            .progress(stop)
            .run(&options(), &examples, folder.path().join(name))
    };
    let whole = run("whole", u64::MAX).expect("runs");
    assert!(matches!(run("parts", 7), Err(Error::Cancelled)));
    assert!(
        folder.path().join("parts.tuning/checkpoint all").is_file()
            && !folder.path().join("parts").exists()
    );
    let mut steps = 0;
    let count = |progress: &Progress| {
        steps += u64::from(progress.stage == Stage::Train);
        ControlFlow::Continue(())
    };
    let parts = tuning()
        .epochs(4)
        .progress(count)
        .run(&options(), &examples, folder.path().join("parts"))
        .expect("runs");
    assert_eq!(parts.tuned, whole.tuned);
    assert_eq!(steps, parts.attempts[0].course.steps as u64 - 7);

    // Other data begins anew, and a folder that is something else stays.
    assert!(matches!(run("other", 7), Err(Error::Cancelled)));
    let mut fewer = examples.clone();
    fewer.documents.truncate(219);
    fewer.examples.truncate(219);
    let (mut steps, other) = (0, folder.path().join("other"));
    let count = |progress: &Progress| {
        steps += u64::from(progress.stage == Stage::Train);
        ControlFlow::Continue(())
    };
    let report = tuning()
        .epochs(4)
        .progress(count)
        .run(&options(), &fewer, &other)
        .expect("runs");
    assert_eq!(steps, report.attempts[0].course.steps as u64);
    let mine = folder.path().join("mine.tuning");
    fs::create_dir(&mine).expect("made");
    fs::write(mine.join("notes.txt"), "not to be lost").expect("written");
    let error = run("mine", u64::MAX).expect_err("not ours");
    assert!(
        error.to_string().contains("no unfinished tuning"),
        "{error}"
    );
    assert!(mine.join("notes.txt").is_file());
}

#[test]
fn a_loss_that_is_no_number_ends_the_training_and_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let tuning = tuning().learning_rate(f32::MAX);
    let report = tuning
        .run(&options(), &examples(|at| at), target(&folder))
        .expect("runs");
    let course = &report.attempts[0].course;
    let why = course.stopped.as_ref().expect("told");
    assert!(why.contains("no number"), "{why}");
    assert!(course.steps < course.planned);
    assert!(
        matches!(report.verdict, Verdict::Refused(_)),
        "{}",
        report.verdict
    );
}

#[test]
fn what_cannot_be_tuned_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |options: &EncoderOptions, examples: &Examples| {
        let error = tuning()
            .run(options, examples, target(&folder))
            .expect_err("refused")
            .to_string();
        assert_eq!(
            fs::read_dir(folder.path()).expect("listed").count(),
            0,
            "{error}"
        );
        error
    };
    let all = examples(|at| at);
    let mut few = all.clone();
    few.examples.truncate(30);
    assert!(said(&options(), &few).contains("at least 32"));
    let mut leak = all.clone();
    leak.held_out = leak.examples.split_off(150);
    for at in 0..20 {
        leak.examples[at].query.clone_from(&leak.held_out[at].query);
    }
    assert!(said(&options(), &leak).contains("held out too"));
    for wrong in [vec![], vec![220]] {
        let mut unanswered = all.clone();
        unanswered.examples[7].positives = wrong;
        assert!(said(&options(), &unanswered).contains("no answer in the collection"));
    }
    let own = EncoderOptions {
        model: Some(models().join("onnx-i64")),
        ..options()
    };
    assert!(said(&own, &all).contains("cannot be trained"));
    fs::create_dir(target(&folder)).expect("made");
    let error = tuning()
        .run(&options(), &all, target(&folder))
        .expect_err("there already");
    assert!(error.to_string().contains("is there already"), "{error}");
}

fn file(folder: &TempDir, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn pairs_are_read_from_lines_and_tables_by_ids_and_by_texts() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = file(
        &folder,
        "pairs.jsonl",
        concat!(
            r#"{"query": "red", "positive": "an apple", "negatives": ["a lime", "a plum"]}"#,
            "\n",
            r#"{"query": "green", "positive": ["a lime", "a pear"]}"#,
            "\n",
            r#"{"query": " red", "positive": "a plum"}"#,
            "\n"
        ),
    );
    let found = Examples::from_pairs(&lines, Vec::new()).expect("read");
    let texts: Vec<&str> = found
        .documents
        .iter()
        .map(|document| document.text.as_str())
        .collect();
    assert_eq!(texts, ["an apple", "a lime", "a plum", "a pear"]);
    assert_eq!(found.examples[0].positives, [0, 2]);
    assert_eq!(found.examples[0].negatives, [1]);
    assert_eq!(
        (found.examples[1].positives.as_slice(), found.examples.len()),
        ([1, 3].as_slice(), 2)
    );

    let table = file(
        &folder,
        "clicks.csv",
        "query,positive\nred,d1\ngreen,a lime\n",
    );
    let documents = || {
        vec![
            Document::new("d1", "an apple"),
            Document::new("d2", "a lime"),
        ]
    };
    let found = Examples::from_pairs(&table, documents()).expect("read");
    assert_eq!(
        [&found.examples[0].positives, &found.examples[1].positives],
        [&[0], &[1]]
    );

    for (text, wrong) in [
        ("query,positive\nred,d9\n", "not in the collection"),
        ("query,answer\nred,d1\n", "no `positive`"),
        ("question,positive\nred,d1\n", "query"),
    ] {
        let table = file(&folder, "bad.csv", text);
        let error = Examples::from_pairs(&table, documents())
            .expect_err("wrong")
            .to_string();
        assert!(error.contains(wrong), "{error}");
    }
}

#[test]
fn a_set_of_ones_own_may_say_what_is_not_to_be_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: String = (0..60)
        .map(|at| format!("{},{},{}\n", WORDS[at % 12], WORDS[at * 5 % 12], at % 7))
        .collect();
    let general = file(
        &folder,
        "sts.csv",
        &format!("sentence1,sentence2,score\n{rows}"),
    );
    let report = tuning()
        .epochs(1)
        .general(&general)
        .run(&options(), &examples(|at| at), target(&folder))
        .expect("runs");
    assert!(report.attempts[0].tried[0].general.abs() <= 100.0);
    let few = file(&folder, "few.csv", "sentence1,sentence2,score\na,b,1\n");
    let error =
        tuning()
            .general(&few)
            .run(&options(), &examples(|at| at), folder.path().join("other"));
    assert!(
        error
            .expect_err("too few")
            .to_string()
            .contains("at least 50")
    );
}

#[test]
fn questions_without_answers_are_learnt_from_by_a_teacher() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut all = examples(|at| at);
    // Two of a document's words ask for all documents that have both.
    let mut queries = Vec::new();
    for (at, first) in WORDS.iter().enumerate() {
        for second in &WORDS[..at] {
            let has =
                |document: &Document, word: &str| document.text.split(' ').any(|own| own == word);
            let both =
                |(_, document): &(usize, &Document)| has(document, first) && has(document, second);
            queries.push(Example {
                id: format!("q{}", queries.len()),
                query: format!("{first} {second}"),
                positives: all
                    .documents
                    .iter()
                    .enumerate()
                    .filter(both)
                    .map(|(at, _)| at)
                    .collect(),
                negatives: Vec::new(),
            });
        }
    }
    shuffle(&mut queries, &mut Random(1));
    all.held_out = queries.split_off(36);
    all.questions = queries.into_iter().map(|example| example.query).collect();
    // One that is held out too is not learnt from.
    all.questions.push(all.held_out[0].query.to_uppercase());
    all.examples.clear();
    let report = tuning()
        .epochs(60)
        .batch(8)
        .run(&options(), &all, target(&folder))
        .expect("runs");
    assert_eq!(
        (
            report.sizes.train,
            report.sizes.development,
            report.sizes.test
        ),
        (33, 3, 30)
    );
    assert_eq!(
        report.verdict,
        Verdict::Accepted,
        "{:?}",
        report.test.map(|test| test.gain)
    );

    let list = file(&folder, "questions.txt", "what is it\n\n and why \n");
    assert_eq!(
        Examples::read_questions(&list).expect("read"),
        ["what is it", "and why"]
    );
    let table = file(&folder, "questions.csv", "question\nwhat is it\n");
    assert_eq!(
        Examples::read_questions(&table).expect("read"),
        ["what is it"]
    );
}
