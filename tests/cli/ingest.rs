//! Files in, good and bad.

use crate::command::{NOTES, Place, with_input};

const TWO: &str = "{\"id\": \"a\", \"text\": \"Bees dance to show the way.\", \"year\": 1944}\n{\"id\": \"b\", \"text\": \"Locks lift ships.\"}\n";

#[test]
fn what_was_added_is_told_on_stderr() {
    let place = Place::empty();
    let file = place.write("two.jsonl", TWO);
    let ran = place
        .run_args(["ingest", file.to_str().expect("UTF-8")])
        .exits(0);
    assert_eq!(ran.out, "");
    ran.says(&[
        "added 2 passages of 2 documents from 1 file in ",
        " passages/s",
    ]);
}

#[test]
fn json_counts_what_happened() {
    let place = Place::empty();
    place.write("two.jsonl", TWO);
    let added = place.run("ingest two.jsonl --json").exits(0).object();
    for (key, value) in [
        ("files", 1),
        ("documents", 2),
        ("failed", 0),
        ("added", 2),
        ("updated", 0),
        ("unchanged", 0),
        ("passages", 2),
        ("reused", 0),
    ] {
        assert_eq!(added[key], value, "{key} in {added}");
    }
    assert_eq!(added["text_bytes"], 44);
    assert!(
        added["tokens"].as_u64().is_some_and(|tokens| tokens > 8),
        "{added}"
    );
    assert_eq!(added["interrupted"], false);

    place.write("two.jsonl", TWO.replace("ships", "boats"));
    let again = place.run("ingest two.jsonl --json").exits(0).object();
    for (key, value) in [
        ("added", 0),
        ("updated", 1),
        ("unchanged", 1),
        ("passages", 1),
    ] {
        assert_eq!(again[key], value, "{key} in {again}");
    }
}

#[test]
fn ingesting_again_says_that_nothing_is_new() {
    let place = Place::with_notes();
    place
        .run_args(["ingest", NOTES])
        .exits(0)
        .says(&["nothing new in 1 file (99 unchanged)"]);
}

#[test]
fn quiet_is_quiet() {
    let place = Place::empty();
    place.write("two.jsonl", TWO);
    let ran = place.run("ingest two.jsonl -q").exits(0);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
}

#[test]
fn a_dry_run_reads_everything_and_makes_nothing() {
    let place = Place::empty();
    place.write("two.jsonl", TWO);
    let ran = place.run("ingest two.jsonl --dry-run").exits(0);
    assert!(
        ran.out
            .starts_with("2 documents in 1 file, 44 B of text\n1 jsonl\n2 passages of "),
        "{}",
        ran.out
    );
    let plan = place
        .run("ingest two.jsonl --dry-run --json")
        .exits(0)
        .object();
    for (key, value) in [
        ("files", 1),
        ("documents", 2),
        ("text_bytes", 44),
        ("failed", 0),
        ("passages", 2),
    ] {
        assert_eq!(plan[key], value, "{key} in {plan}");
    }
    let tokens = plan["tokens"].as_u64().expect("an encoder is there");
    assert!(
        plan["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    assert!(!place.db().exists());
    let added = place.run("ingest two.jsonl --json").exits(0).object();
    assert_eq!(added["tokens"], tokens, "it costs what was told");
}

#[test]
fn stdin_is_read() {
    let place = Place::empty();
    with_input(place.command().args(["ingest", "-"]), TWO.as_bytes()).exits(0);
    assert_eq!(
        place.run("get a --text").exits(0).out,
        "Bees dance to show the way."
    );
}

#[test]
fn a_folder_is_walked_and_other_files_are_named() {
    let place = Place::empty();
    std::fs::create_dir(place.path("texts")).expect("a folder");
    place.write("texts/one.txt", "The tide comes twice a day.");
    place.write(
        "texts/two.md",
        "# Rivers\n\nThe Danube passes ten countries.\n",
    );
    place.write(
        "texts/table.csv",
        "id,text,year\nrow1,Steam lifts the lid.,1679\n",
    );
    place.write("texts/picture.png", [0x89, b'P', b'N', b'G']);
    place.run("ingest texts").exits(0).says(&[
        "added 3 passages of 3 documents from 3 files",
        "read 1 csv, 1 markdown, 1 text",
        ".png (1)",
    ]);
    assert_eq!(
        place.run("get row1 --json").exits(0).object()["fields"]["year"],
        1679
    );
    assert_eq!(
        place.run("get two.md --json").exits(0).object()["title"],
        "Rivers"
    );
}

#[test]
fn keys_can_be_named() {
    let place = Place::empty();
    place.write(
        "faq.jsonl",
        "{\"nr\": 7, \"q\": \"Why do lakes freeze from the top?\", \"a\": \"Ice is lighter.\"}\n",
    );
    place
        .run("ingest faq.jsonl --id-field nr --title-field q --text-field a")
        .exits(0);
    let document = place.run("get 7 --json").exits(0).object();
    assert_eq!(document["text"], "Ice is lighter.");
    assert_eq!(document["title"], "Why do lakes freeze from the top?");
}

const BAD: &str = "{\"id\": \"a\", \"text\": \"good\"}\n{\"id\": \"b\", \"text\": \n{\"id\": \"c\", \"text\": \"good too\"}\n";

#[test]
fn a_broken_line_is_named_and_the_others_are_stored() {
    let place = Place::empty();
    place.write("bad.jsonl", BAD);
    let ran = place.run("ingest bad.jsonl --json").exits(2);
    let (added, words) = (
        ran.object(),
        ["failed: bad.jsonl:2", "added 2 passages", "(1 failed)"],
    );
    assert_eq!((&added["failed"], &added["added"]), (&1.into(), &2.into()));
    ran.says(&words);
    assert_eq!(place.run("list --json").exits(0).objects().len(), 2);
    // Still there, and told, when nothing is new.
    place
        .run("ingest bad.jsonl -q")
        .exits(2)
        .says(&["failed: bad.jsonl:2"]);
    place.run("ingest bad.jsonl --keep-going").exits(0);
}

#[test]
fn a_report_tells_of_each_file() {
    let place = Place::empty();
    std::fs::create_dir(place.path("pile")).expect("a folder");
    place.write("pile/a.txt", "The tide comes twice a day.");
    place.write("pile/bad.jsonl", BAD);
    place.write("pile/c.pdf", "words");
    place.run("ingest pile --report report.jsonl").exits(2);
    let report = std::fs::read_to_string(place.path("report.jsonl")).expect("written");
    let lines = report
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    let lines: Vec<serde_json::Value> = lines.collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["format"].as_str(),
                line["documents"].as_u64(),
                line["failed"].as_u64(),
            )
        })
        .collect();
    let expected = [
        (Some("text"), Some(1), Some(0)),
        (Some("jsonl"), Some(2), Some(1)),
        (None, Some(0), Some(1)),
    ];
    assert_eq!(told, expected);
    assert!(
        lines[1]["failures"][0]["place"]
            .as_str()
            .is_some_and(|place| place.contains("bad.jsonl:2:"))
    );
    place
        .run("ingest pile --report /no/such/folder/r.jsonl")
        .fails_saying(&["/no/such/folder/r.jsonl"]);
}

#[test]
fn hits_say_their_page_and_headings() {
    let place = Place::empty();
    let document = format!(
        "{}/tests/documents/testEXCEL.xlsx",
        env!("CARGO_MANIFEST_DIR")
    );
    place.run_args(["ingest", &document]).exits(0);
    let hit = place.run("query numbers --json").exits(0).object();
    assert_eq!(hit["page"], 1);
    assert_eq!(hit["headings"], serde_json::json!(["Feuil1"]));
    assert_eq!(hit["fields"]["format"], "excel");
    let shown = place.run("query numbers").exits(0).out;
    assert!(shown.contains("page 1 › Feuil1"), "{shown}");
}

#[test]
fn renamed_files_are_known_again_and_gone_ones_stay_until_they_are_pruned() {
    let place = Place::empty();
    std::fs::create_dir(place.path("pile")).expect("a folder");
    place.write("pile/a.txt", "The tide comes twice a day.");
    place.write("pile/b.txt", "Bees dance to show the way.");
    place.write("pile/c.jsonl", TWO);
    place.run("ingest pile").exits(0);
    std::fs::rename(place.path("pile/a.txt"), place.path("pile/z.txt")).expect("renamed");
    std::fs::remove_file(place.path("pile/b.txt")).expect("removed");
    place.write("pile/c.jsonl", TWO.lines().next().expect("a line"));

    let again = place.run("ingest pile --json").exits(0).object();
    for (key, value) in [
        ("added", 1),
        ("reused", 1),
        ("tokens", 0),
        ("renamed", 1),
        ("pruned", 0),
    ] {
        assert_eq!(again[key], value, "{key} in {again}");
    }
    let ids = || {
        let listed = place.run("list --json").exits(0).objects();
        let mut ids: Vec<_> = listed.iter().map(|d| d["id"].to_string()).collect();
        ids.sort();
        ids.join(" ")
    };
    assert_eq!(ids(), "\"a\" \"b\" \"b.txt\" \"z.txt\"");
    // What a pattern leaves out is not gone, and neither is what failed.
    place
        .run("ingest pile --prune --include nothing.txt")
        .exits(2);
    place.write("pile/c.jsonl", "{");
    place.run("ingest pile --prune").exits(2);
    assert_eq!(ids(), "\"a\" \"b\" \"z.txt\"");
    place.write("pile/c.jsonl", TWO.lines().next().expect("a line"));
    place
        .run("ingest pile --prune")
        .exits(0)
        .says(&["1 pruned"]);
    assert_eq!(ids(), "\"a\" \"z.txt\"");
}

#[test]
fn an_id_twice_in_one_batch_is_an_error() {
    let place = Place::empty();
    place.write(
        "twice.jsonl",
        "{\"id\": \"a\", \"text\": \"one\"}\n{\"id\": \"a\", \"text\": \"two\"}\n",
    );
    place
        .run("ingest twice.jsonl")
        .exits(2)
        .says(&["twice.jsonl:2", "\"a\""]);
}

#[test]
fn an_empty_text_is_an_error_at_its_line() {
    let place = Place::empty();
    place.write("empty.jsonl", "{\"id\": \"a\", \"text\": \"  \"}\n");
    place
        .run("ingest empty.jsonl")
        .exits(2)
        .says(&["empty.jsonl:1", "empty"]);
}

#[test]
fn bytes_that_are_not_utf_8_are_an_error_at_their_line() {
    let place = Place::empty();
    place.write(
        "latin.jsonl",
        b"{\"id\": \"a\", \"text\": \"good\"}\n{\"id\": \"b\", \"text\": \"caf\xe9\"}\n",
    );
    place
        .run("ingest latin.jsonl")
        .exits(2)
        .says(&["latin.jsonl:2", "UTF-8"]);
    place.write("broken.txt", b"caf\xe9\0");
    place
        .run("ingest broken.txt")
        .exits(2)
        .says(&["broken.txt", "UTF-8"]);
}

#[test]
fn texts_in_other_encodings_are_read_and_a_guess_is_told() {
    let place = Place::empty();
    place.write(
        "latin.txt",
        b"Der K\xe4se w\xe4re gr\xf6\xdfer, sagte die Verk\xe4uferin.",
    );
    let text = "\u{feff}The ship left the harbour.";
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    place.write("utf16.txt", utf16);
    place
        .run("ingest latin.txt utf16.txt")
        .exits(0)
        .says(&["latin.txt is not UTF-8; it is read as windows-1252"]);
    let text_of =
        |id: &str| place.run_args(["get", id, "--json"]).exits(0).object()["text"].clone();
    assert_eq!(
        text_of("latin.txt"),
        "Der Käse wäre größer, sagte die Verkäuferin."
    );
    assert_eq!(text_of("utf16.txt"), "The ship left the harbour.");
}

#[test]
fn a_missing_file_is_named() {
    Place::empty()
        .run("ingest no-such-file.txt")
        .fails_saying(&["no-such-file.txt"]);
}

#[cfg(unix)]
#[test]
fn what_changes_is_ingested_while_it_is_watched() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let place = Place::empty();
    std::fs::create_dir(place.path("pile")).expect("a folder");
    place.write("pile/a.txt", "The tide comes twice a day.");
    place.write("pile/b.txt", "Bees dance to show the way.");
    let child = place
        .command()
        .args(["ingest", "pile", "--watch", "--prune", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let wait_for = |expected: &[&str]| {
        let start = Instant::now();
        loop {
            let ran = place.run("list --json");
            let mut ids: Vec<String> = match ran.code {
                Some(0) => ran.objects().iter().map(|d| d["id"].to_string()).collect(),
                _ => Vec::new(),
            };
            ids.sort();
            if ids == expected {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{ids:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    wait_for(&["\"a.txt\"", "\"b.txt\""]);
    place.write("pile/c.md", "# Canals\n\nLocks lift ships.");
    wait_for(&["\"a.txt\"", "\"b.txt\"", "\"c.md\""]);
    std::fs::remove_file(place.path("pile/a.txt")).expect("removed");
    wait_for(&["\"b.txt\"", "\"c.md\""]);
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    let ended = child.wait_with_output().expect("the binary ends");
    let ran = crate::command::Ran::from(ended).exits(0);
    let (added, files): (Vec<_>, Vec<_>) = ran
        .objects()
        .iter()
        .map(|told| (told["added"].as_u64(), told["files"].as_u64()))
        .unzip();
    assert_eq!(added, [Some(2), Some(1), Some(0)]);
    assert_eq!(
        files,
        [Some(2), Some(1), Some(0)],
        "only what changed is read"
    );
    ran.says(&["watching for changes", "1 pruned"]);
}

#[test]
fn a_reader_that_runs_away_ends_though_nobody_ends_it() {
    use std::io::Write as _;
    use std::process::Stdio;

    // The parser takes time as the square of the depth.
    let page = "<div><span>".repeat(100_000);
    let mut child = crate::command::binary_alone()
        .args(["read-documents", "--memory=1000000000", "--time=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{{\"format\": \"Html\", \"bytes\": {}}}", page.len()).expect("asked");
    stdin.write_all(page.as_bytes()).expect("asked");
    stdin.flush().expect("asked");
    let ended = child.wait_with_output().expect("the binary ends");
    drop(stdin);
    crate::command::Ran::from(ended).exits(2);
}

#[test]
fn vectors_beside_records_are_stored_as_they_are() {
    let place = Place::empty();
    place.write("two.jsonl", TWO);
    let header = format!(
        "{:117}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"
    );
    let mut file = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    file.extend(header.as_bytes());
    for x in [3.0_f32, 4.0, 0.0, 1.0] {
        file.extend(x.to_le_bytes());
    }
    place.write("two.npy", file);
    let ran = place.run("ingest two.jsonl --vectors two.npy --metric dot --json");
    let added = ran.exits(0).object();
    assert_eq!((&added["added"], &added["tokens"]), (&2.into(), &0.into()));
    let stats = place.run("stats --json").exits(0).object();
    assert_eq!(stats["metric"], "dot", "{stats}");
    let again = place.run("ingest two.jsonl --vectors two.npy --json");
    assert_eq!(again.exits(0).object()["unchanged"], 2);
    place
        .run("ingest two.jsonl --vectors two.npy --metric l2")
        .fails_saying(&["dot already"]);
    place
        .run("ingest two.jsonl --vectors no.npy")
        .fails_saying(&["no.npy"]);
}

#[cfg(unix)]
#[test]
fn a_signal_ends_an_ingestion_in_order_and_the_same_command_goes_on() {
    use std::fmt::Write as _;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let place = Place::empty();
    let mut lines = String::new();
    for number in 0..4_000 {
        writeln!(
            lines,
            "{{\"id\": \"{number}\", \"text\": \"Note {number}: {}\"}}",
            "a ship passes the lock and goes on ".repeat(4)
        )
        .expect("writing to a string");
    }
    place.write("many.jsonl", &lines);
    let mut child = place
        .command()
        .args(["ingest", "many.jsonl", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // The folder is made when the encoding is about to begin, after the listening has.
    while !place.db().exists() {
        let ended = child.try_wait().expect("the binary runs");
        assert_eq!(ended, None, "it ended before it began to encode");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(1_500));
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    let ran =
        crate::command::Ran::from(child.wait_with_output().expect("the binary ends")).exits(130);
    assert_eq!(ran.object()["interrupted"], true);
    let stored = place.run("list --json").objects().len();
    ran.says(&["stopped: ", "documents are stored, of 1 of 1 files"]);
    assert!(stored < 4_000, "the signal came too late to show anything");

    // The same order again: what is stored is passed over, and ten more are added.
    let part: Vec<&str> = lines.lines().take(stored + 10).collect();
    place.write("many.jsonl", part.join("\n"));
    let resumed = place.run("ingest many.jsonl --json").exits(0).object();
    assert_eq!(
        (&resumed["unchanged"], &resumed["added"]),
        (&stored.into(), &10.into())
    );
}
