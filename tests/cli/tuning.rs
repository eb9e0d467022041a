//! tune, on a tiny model.

use crate::command::{Place, Ran, binary, unpack_models};

const WORDS: [&str; 12] = [
    "river", "window", "bees", "doctor", "garden", "keep", "letter", "night", "reads", "winter",
    "sea", "end",
];

/// Pairs in which letters stand for words; `answer` says whose words a query's letters are told to mean.
fn pairs(place: &Place, answer: impl Fn(usize) -> usize) {
    let (mut queries, mut texts) = (Vec::new(), Vec::new());
    for first in 0..12 {
        for second in 0..first {
            for third in 0..second {
                let words = [first, second, third];
                texts.push(words.map(|at| WORDS[at]).join(" "));
                let letters = words.map(|at| char::from(b'a' + at as u8).to_string());
                queries.push(letters.join(" "));
            }
        }
    }
    let lines = queries.iter().enumerate().map(|(at, query)| {
        let pair = serde_json::json!({"query": query, "positive": texts[answer(at)]});
        format!("{pair}\n")
    });
    place.write("pairs.jsonl", lines.collect::<String>());
}

/// Without a database, whose documents would be the collection.
fn tune(place: &Place, line: &str) -> Ran {
    let mut command = binary();
    command
        .current_dir(place.path(""))
        .args(line.split_whitespace());
    command.output().expect("the binary starts").into()
}

const TUNE: &str = "--model bert tune --pairs pairs.jsonl --out tuned --method all --epochs 20 --batch 32 --learning-rate 2e-3";

#[test]
fn a_model_that_is_better_is_written_and_told() {
    let place = Place::empty();
    unpack_models(&place.path(""));
    pairs(&place, |at| at);
    let tuned = tune(&place, &format!("{TUNE} --json")).exits(0).object();
    assert_eq!(
        (&tuned["accepted"], &tuned["method"]),
        (&true.into(), &"all".into())
    );
    assert!(
        tuned["gain"]["low"].as_f64().expect("a number") > 0.1,
        "{tuned}"
    );
    assert!(place.path("tuned/tuning.html").is_file() && !place.path("tuned.tuning").exists());

    // It is a model like others, and knows what was learnt.
    place.write("notes.jsonl", "{\"id\": \"1\", \"text\": \"river doctor sea\"}\n{\"id\": \"2\", \"text\": \"end night bees\"}\n");
    place.run("--model tuned ingest notes.jsonl -q").exits(0);
    let hits = place
        .run_args(["--model", "tuned", "query", "a d k", "--json"])
        .exits(0);
    assert_eq!(hits.objects()[0]["id"], "1");
    tune(&place, TUNE).fails_saying(&["tuned is there already"]);
}

#[test]
fn a_collection_is_encoded_anew_and_goes_back() {
    let place = Place::empty();
    unpack_models(&place.path(""));
    place.write(
        "notes.jsonl",
        "{\"id\": \"1\", \"text\": \"river doctor sea\"}\n{\"id\": \"2\", \"text\": \"end night bees\"}\n",
    );
    place.run("--model bert ingest notes.jsonl -q").exits(0);
    let encoder = || {
        let stats = place.run("stats --json").exits(0).object();
        let name = stats["encoder"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        (name, stats["before"].clone())
    };
    let applied = place
        .run("tune --apply distilbert --json")
        .exits(0)
        .object();
    assert_eq!(
        (&applied["documents"], &applied["from"]["name"]),
        (&2.into(), &"bert".into())
    );
    let (name, before) = encoder();
    assert!(name.starts_with("distilbert-"), "{name}");
    assert_eq!(before["documents"], 2);
    // Its model need not be named any more, nor be where it was.
    std::fs::remove_dir_all(place.path("distilbert")).expect("removed");
    let hits = place.run_args(["query", "river doctor sea", "--json"]);
    assert_eq!(hits.exits(0).objects()[0]["id"], "1");
    place
        .run_args(["--model", "bert", "query", "river"])
        .fails_saying(&["distilbert-", "bert ("]);

    place
        .run("tune --rollback")
        .exits(0)
        .says(&["now by bert", "0 documents encoded", "--forget"]);
    assert_eq!(encoder().0, "bert");
    place.run("--model bert query river").exits(0);
    place.run("tune --forget").exits(0).says(&["freed"]);
    assert!(encoder().1.is_null());
    place
        .run("tune --rollback")
        .fails_saying(&["no earlier version"]);
    for line in [
        "tune --apply",
        "tune --apply bert --rollback",
        "tune --rollback --out tuned",
        "tune --forget --pairs few.csv",
    ] {
        place.run(line).exits(2).says(&["error:"]);
    }
    place.run("tune --apply nowhere").fails_saying(&["nowhere"]);
    assert_eq!(encoder().0, "bert");
}

#[test]
fn a_model_that_is_not_better_is_not_written() {
    let place = Place::empty();
    unpack_models(&place.path(""));
    pairs(&place, |at| (at * 89 + 17) % 220);
    let ran = tune(&place, TUNE).exits(1);
    assert!(ran.out.contains("refused: "), "{}", ran.out);
    ran.says(&["nothing was changed", "tuned/tuning.html"]);
    assert!(place.path("tuned/tuning.json").is_file());
    assert!(!place.path("tuned/model.safetensors").exists());
}

#[test]
fn what_cannot_be_learnt_from_is_told() {
    let place = Place::empty();
    place.write("few.csv", "query,positive\nred,an apple\n");
    place.write("empty.txt", "\n");
    for (line, words) in [
        (
            "tune --pairs few.csv --out tuned",
            &["cannot tune", "at least"][..],
        ),
        ("tune --pairs none.csv --out tuned", &["none.csv"]),
        ("tune nowhere --out tuned", &["nowhere", "--pairs"]),
        ("tune --out tuned", &["database"]),
    ] {
        tune(&place, line).fails_saying(words);
    }
    for line in [
        "tune --pairs few.csv --out tuned --method magic",
        "tune --pairs few.csv --out tuned --budget soon",
        "tune --pairs few.csv --out tuned --batch 1",
        "tune --pairs few.csv",
    ] {
        tune(&place, line).exits(2).says(&["error:"]);
    }
    assert!(!place.path("tuned").exists() && !place.path("tuned.tuning").exists());
}

#[test]
fn a_network_is_made_of_documents_alone() {
    let place = Place::empty();
    unpack_models(&place.path(""));
    let line = |at: usize| {
        let word = |nth: usize| WORDS[at % 3 * 4 + (at / 3 + nth * nth) % 4];
        let text = (0..30 + at / 12).map(word).collect::<Vec<_>>().join(" ");
        format!(
            "{}\n",
            serde_json::json!({"id": at.to_string(), "text": format!("{text}.")})
        )
    };
    place.write("texts.jsonl", (0..240).map(line).collect::<String>());
    let pretrain = "pretrain texts.jsonl --from-scratch --vocabulary 100 --layers 1 --hidden 32 --heads 2 --length 32 --dropout 0";
    let made = tune(
        &place,
        &format!("{pretrain} --epochs 30 --learning-rate 5e-3 --out new --json"),
    );
    let made = made.exits(0).object();
    assert_eq!(
        (&made["accepted"], &made["model"]),
        (&true.into(), &"new".into())
    );
    assert!(
        made["gain"]["low"].as_f64().expect("a number") > 0.2,
        "{made}"
    );
    assert!(place.path("new/pretraining.html").is_file() && !place.path("new.tuning").exists());
    place.run("--model new ingest texts.jsonl -q").exits(0);
    place.run("--model new query river").exits(0);
    // It goes on, from a model and from a collection.
    let on = "pretrain --model bert --epochs 1 --learning-rate 1e-9 --weights 1,0 --length 32 --out further";
    let ran = place.run(on).exits(1);
    assert!(ran.out.contains("refused: "), "{}", ran.out);
    ran.says(&["nothing was changed", "further/pretraining.html"]);
    for (line, words) in [
        (pretrain.to_owned() + " --out new", &["already"][..]),
        (
            pretrain.replace("--heads 2", "--heads 3") + " --out newer",
            &["heads"],
        ),
        ("pretrain --out newer".into(), &["database"]),
    ] {
        tune(&place, &line).fails_saying(words);
    }
    for line in [
        "pretrain texts.jsonl",
        "pretrain texts.jsonl --weights 1 --dropout nan --out newer",
        "pretrain texts.jsonl --layers 3 --out newer",
    ] {
        tune(&place, line).exits(2).says(&["error:"]);
    }
    assert!(!place.path("newer").exists() && !place.path("newer.tuning").exists());
}
