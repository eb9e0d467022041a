//! Hits out.

use std::io::Read as _;
use std::process::Stdio;

use crate::command::{Place, with_input};

#[test]
fn a_question_finds_an_answer_that_shares_no_word_with_it() {
    let place = Place::with_notes();
    for (question, answer) in [
        (
            "how do animals find their way over long distances",
            "migration",
        ),
        ("why is my steak so tasty when fried", "maillard"),
        ("getting the burn of spicy food under control", "chili"),
    ] {
        let hits = place
            .run_args(["query", question, "-k", "1", "--json"])
            .exits(0)
            .objects();
        assert_eq!(hits[0]["id"], answer, "{question}");
    }
}

#[test]
fn people_see_rank_score_id_title_passage_and_fields() {
    let place = Place::with_notes();
    let ran = place
        .run_args(["query", "how do plants make their food", "-k", "2"])
        .exits(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with(" 1  0."), "{}", ran.out);
    assert!(
        lines[0].ends_with("photosynthesis  Photosynthesis"),
        "{}",
        ran.out
    );
    assert!(
        lines[1].starts_with("    Leaves use sunlight"),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .contains("    level = basic, topic = biology, year = 1779"),
        "{}",
        ran.out
    );
    assert!(!ran.out.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(ran.err, "");
}

#[test]
fn json_hits_hold_everything_in_order() {
    let place = Place::with_notes();
    let hits = place
        .run_args(["query", "ship", "--json", "-k", "4", "--offset", "1"])
        .exits(0)
        .objects();
    assert_eq!(hits.len(), 4);
    let mut last = f64::INFINITY;
    for (place, hit) in hits.iter().enumerate() {
        assert_eq!(hit["rank"], place + 2);
        let score = hit["score"].as_f64().expect("a number");
        assert!(score <= last && score > -1.0, "{hit}");
        last = score;
        let range = [
            hit["range"][0].as_u64().expect("a number"),
            hit["range"][1].as_u64().expect("a number"),
        ];
        assert_eq!(
            range[1] - range[0],
            hit["passage"].as_str().expect("a string").len() as u64,
            "{hit}"
        );
        assert!(
            hit["fields"]["topic"].is_string() && hit["title"].is_string() && hit["id"].is_string(),
            "{hit}"
        );
        assert!(
            hit.as_object()
                .is_some_and(|hit| hit.contains_key("source")),
            "{hit}"
        );
    }
}

#[test]
fn words_need_no_quotes_and_stdin_will_do() {
    let place = Place::with_notes();
    let quoted = place
        .run_args(["query", "clock on a ship", "--json"])
        .exits(0)
        .out;
    assert_eq!(
        place.run("query clock on a ship --json").exits(0).out,
        quoted
    );
    assert_eq!(
        with_input(
            place.command().args(["query", "-", "--json"]),
            b"clock on a ship"
        )
        .exits(0)
        .out,
        quoted
    );
}

#[test]
fn every_hit_matches_the_filter() {
    let place = Place::with_notes();
    let filter = "topic = 'physics' and year < 1900";
    let hits = place
        .run_args(["query", "light", "-k", "50", "--json", "--filter", filter])
        .exits(0)
        .objects();
    assert_eq!(hits.len(), 3, "as many as match");
    for hit in hits {
        assert_eq!(hit["fields"]["topic"], "physics");
        assert!(
            hit["fields"]["year"]
                .as_i64()
                .is_some_and(|year| year < 1900),
            "{hit}"
        );
    }
}

#[test]
fn a_filter_that_does_not_parse_is_shown_with_a_caret() {
    let place = Place::with_notes();
    let ran = place
        .run_args(["query", "x", "--filter", "year >> 3"])
        .fails_saying(&["year >> 3"]);
    let shown: Vec<&str> = ran.err.lines().collect();
    let caret = shown
        .iter()
        .rposition(|line| line.trim() == "^")
        .expect("a caret");
    assert_eq!(
        shown[caret].find('^'),
        shown[caret - 1].rfind('>'),
        "{}",
        ran.err
    );
}

#[test]
fn a_query_without_hits_exits_1() {
    let place = Place::with_notes();
    let ran = place
        .run_args(["query", "light", "--min-score", "0.99"])
        .exits(1);
    assert_eq!(ran.out, "");
    ran.says(&["no hit in 99 documents", "--min-score"]);
    let ran = place
        .run_args(["query", "light", "--filter", "year > 3000", "--json"])
        .exits(1);
    assert_eq!(ran.out, "");
}

#[test]
fn an_empty_query_is_an_error() {
    Place::with_notes()
        .run_args(["query", ""])
        .fails_saying(&["query"]);
}

#[test]
fn min_score_cuts_the_list() {
    let place = Place::with_notes();
    let all = place
        .run("query frozen water --json -k 10")
        .exits(0)
        .objects();
    let bound = all[2]["score"].as_f64().expect("a number");
    let cut = place
        .run(&format!(
            "query frozen water --json -k 10 --min-score {bound}"
        ))
        .exits(0)
        .objects();
    assert_eq!(cut, all[..cut.len()]);
    assert!(
        (1..=3).contains(&cut.len()),
        "{} of {}",
        cut.len(),
        all.len()
    );
}

#[test]
fn a_long_passage_is_cut_and_full_shows_it() {
    let place = Place::empty();
    let text = "The lighthouse keeper writes down every ship that passes. ".repeat(12);
    place.write("log.txt", &text);
    place.run("ingest log.txt -q").exits(0);
    let short = place.run("query lighthouse").exits(0).out;
    assert!(short.contains("… (--full)"), "{short}");
    assert!(
        short.lines().all(|line| line.chars().count() <= 100),
        "{short}"
    );
    let full = place.run("query lighthouse --full").exits(0).out;
    assert_eq!(full.matches("lighthouse").count(), 12, "{full}");
}

#[test]
fn escape_sequences_in_a_text_do_not_reach_the_terminal() {
    let place = Place::empty();
    place.write("evil.jsonl", "{\"id\": \"e\\u001b[2J\", \"text\": \"red \\u001b[31malarm\", \"title\": \"\\u0007bell\"}\n");
    place.run("ingest evil.jsonl -q").exits(0);
    for line in ["query alarm", "list", "query alarm --full"] {
        let out = place.run(line).exits(0).out;
        assert!(!out.contains(['\u{1b}', '\u{7}']), "{out:?}");
    }
}

#[test]
fn timings_go_to_stderr() {
    let ran = Place::with_notes()
        .run("query ship --timings --json -k 1")
        .exits(0)
        .says(&["search", "total"]);
    assert_eq!(ran.objects().len(), 1);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::with_notes();
    let mut child = place
        .command()
        .args(["list", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("stderr is piped")
        .read_to_string(&mut said)
        .expect("UTF-8");
    assert_eq!(
        (child.wait().expect("the binary ends").code(), said.as_str()),
        (Some(0), "")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let place = Place::with_notes();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let output = place
        .command()
        .args(["list"])
        .stdout(full)
        .output()
        .expect("the binary starts");
    crate::command::Ran::from(output).fails_saying(&["cannot write to stdout"]);
}

#[test]
fn within_prints_all_that_reach_the_score() {
    let place = Place::with_notes();
    let all = place.run("query light --json -k 99").exits(0).objects();
    let bound = all[14]["score"].as_f64().expect("a number");
    let line = format!("query light --json --within {bound}");
    let ran = place.run(&line).exits(0);
    assert_eq!(ran.objects(), all[..15], "no limit of ten");
    let ran = place.run(&format!("{line} -k 3")).exits(0);
    assert_eq!(ran.objects(), all[..3]);
    place
        .run("query light --within 0.99")
        .exits(1)
        .says(&["no hit in 99 documents", "--within"]);
}

#[test]
fn exact_and_recall_say_how_hard_to_search() {
    let place = Place::with_notes();
    let usual = place.run("query light --json").exits(0).out;
    // A small collection is scanned anyway.
    for option in ["--exact", "--target-recall 0.5", "--target-recall 1"] {
        let ran = place.run(&format!("query light --json {option}")).exits(0);
        assert_eq!(ran.out, usual, "{option}");
    }
    place
        .run("query light --target-recall 1.5")
        .fails_saying(&["recall", "1.5"]);
    place
        .run("query light --exact --target-recall 0.9")
        .exits(2);
}

#[test]
fn documents_stand_for_a_text() {
    let place = Place::with_notes();
    let ids = |line: &str| -> Vec<String> {
        let hits = place.run(line).exits(0).objects();
        let id = |hit: &serde_json::Value| hit["id"].as_str().expect("an id").to_owned();
        hits.iter().map(id).collect()
    };
    let like = ids("query --like photosynthesis --json -k 98");
    assert_eq!(like.len(), 98);
    assert!(!like.contains(&"photosynthesis".into()));
    // What is not wanted sinks, and is itself no hit.
    let unlike = ids(&format!(
        "query --like photosynthesis --unlike {} --json -k 98",
        like[0]
    ));
    assert_eq!(unlike.len(), 97);
    assert!(!unlike.contains(&like[0]));
    assert_ne!(unlike, like[1..]);
    let with_text = ids("query frozen water --like photosynthesis --json -k 98");
    assert!(with_text.len() == 98 && with_text != like);
    place
        .run("query --like photosynthesis --like no-such-id")
        .fails_saying(&["no-such-id"]);
    place.run("query --unlike photosynthesis").exits(2);
}

#[test]
fn a_batch_answers_each_line_as_if_it_were_asked_alone() {
    let place = Place::with_notes();
    let lines = ["frozen water", "clock on a ship", "light"];
    place.write(
        "lines.txt",
        format!("{}\n\n  {}\n{}", lines[0], lines[1], lines[2]),
    );
    let answers = place
        .run("query --batch lines.txt --json -k 2")
        .exits(0)
        .objects();
    assert_eq!(answers.len(), 6);
    for (nth, line) in lines.iter().enumerate() {
        let alone = place
            .run(&format!("query {line} --json -k 2"))
            .exits(0)
            .objects();
        for (answer, alone) in answers[2 * nth..].iter().zip(alone) {
            assert_eq!(answer["query"], *line);
            assert_eq!(
                (&answer["rank"], &answer["id"]),
                (&alone["rank"], &alone["id"])
            );
        }
    }
    let stdin = with_input(
        place.command().args(["query", "--batch", "-", "-k", "1"]),
        b"frozen water\nlight\n",
    )
    .exits(0);
    assert!(
        stdin.out.starts_with("frozen water\n 1  0."),
        "{}",
        stdin.out
    );
    assert!(stdin.out.contains("\nlight\n 1  0."), "{}", stdin.out);
    place.write("empty.txt", " \n");
    place
        .run("query --batch empty.txt")
        .fails_saying(&["empty.txt", "no query"]);
    place
        .run("query --batch no-such-file")
        .fails_saying(&["no-such-file"]);
    place.run("query light --batch lines.txt").exits(2);
}

#[test]
fn timings_say_where_the_time_went() {
    let place = Place::with_notes();
    place.write("questions.txt", "plants\nships\n");
    for question in ["plants", "--batch=questions.txt"] {
        let ran = place.run_args(["query", question, "--timings"]).exits(0);
        ran.says(&[
            "open database ",
            "load encoder ",
            "encode ",
            "search ",
            "total ",
        ]);
    }
}
