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
        ("skipped", 0),
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
    assert_eq!(ran.out, "2 documents in 1 file, 44 B of text\n");
    let plan = place
        .run("ingest two.jsonl --dry-run --json")
        .exits(0)
        .object();
    assert_eq!(
        plan,
        serde_json::json!({"files": 1, "documents": 2, "text_bytes": 44, "skipped": 0})
    );
    assert!(!place.db().exists());
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
    place
        .run("ingest texts")
        .exits(0)
        .says(&["added 3 passages of 3 documents from 3 files", ".png (1)"]);
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

#[test]
fn a_broken_line_is_named_and_nothing_is_stored() {
    let place = Place::empty();
    place.write("bad.jsonl", "{\"id\": \"a\", \"text\": \"good\"}\n{\"id\": \"b\", \"text\": \n{\"id\": \"c\", \"text\": \"good too\"}\n");
    place.run("ingest bad.jsonl").fails_saying(&["bad.jsonl:2"]);
    assert!(
        !place.db().exists(),
        "the first pass ends before a database is made"
    );
}

#[test]
fn bad_lines_are_skipped_where_that_is_asked_for() {
    let place = Place::empty();
    place.write("bad.jsonl", "{\"id\": \"a\", \"text\": \"good\"}\n{\"id\": \"b\", \"text\": \n{\"id\": \"c\", \"text\": \"good too\"}\n");
    place.run("ingest bad.jsonl --skip-bad").exits(0).says(&[
        "skipped bad.jsonl:2",
        "2 documents",
        "1 skipped",
    ]);
    assert_eq!(place.run("list --json").exits(0).objects().len(), 2);
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
        .fails_saying(&["twice.jsonl:2", "\"a\""]);
}

#[test]
fn an_empty_text_is_an_error_at_its_line() {
    let place = Place::empty();
    place.write("empty.jsonl", "{\"id\": \"a\", \"text\": \"  \"}\n");
    place
        .run("ingest empty.jsonl")
        .fails_saying(&["empty.jsonl:1", "empty"]);
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
        .fails_saying(&["latin.jsonl:2", "UTF-8"]);
    place.write("broken.txt", b"caf\xe9\0");
    place
        .run("ingest broken.txt")
        .fails_saying(&["broken.txt", "UTF-8"]);
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
    ran.says(&[
        "stopped: ",
        &format!("{stored} of 4,000 documents are stored"),
    ]);
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
