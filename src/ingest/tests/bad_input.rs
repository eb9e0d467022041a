//! What cannot be read, and how that is told.

use proptest::prelude::*;

use super::*;
use crate::document::Value;

#[test]
fn bad_input_is_an_error_naming_its_place() {
    let good = "{\"id\": \"a\", \"text\": \"x\"}\n";
    let line = |bad: &str| [good, bad, "\n"].concat().into_bytes();
    let cases: [(&str, Vec<u8>, &str, &str); 18] = [
        (
            "r.jsonl",
            line("{\"id\": \"b\", \"text\": }"),
            "r.jsonl:2:21: ",
            "not JSON: expected value",
        ),
        (
            "r.jsonl",
            line("{\"id\": \"b\""),
            "r.jsonl:2:",
            "not JSON: EOF",
        ),
        (
            "r.jsonl",
            b"{\n  \"id\": 1\n}\n".to_vec(),
            "r.jsonl:1:",
            "jq -c",
        ),
        (
            "r.jsonl",
            b"[{\"id\": 1}]\n".to_vec(),
            "r.jsonl:1: ",
            "one JSON object",
        ),
        (
            "r.jsonl",
            line("{\"text\": \"b\", \"text\": \"c\"}"),
            "r.jsonl:2: ",
            "the key `text` stands twice",
        ),
        (
            "r.jsonl",
            line("\"text\""),
            "r.jsonl:2: ",
            "one JSON object",
        ),
        (
            "r.jsonl",
            line("{\"id\": \"b\", \"answer\": \"x\"}"),
            "r.jsonl:2: ",
            "the keys are `answer`",
        ),
        (
            "r.jsonl",
            line("{\"id\": \"b\", \"text\": \"  \"}"),
            "r.jsonl:2: ",
            "its text is empty",
        ),
        (
            "r.jsonl",
            line("{\"id\": \"\", \"text\": \"x\"}"),
            "r.jsonl:2: ",
            "its id is empty",
        ),
        (
            "r.jsonl",
            line("{\"id\": \"a\", \"text\": \"y\"}"),
            "r.jsonl:2: ",
            "the id \"a\" is also that of ",
        ),
        (
            "r.jsonl",
            [good.as_bytes(), b"{\"\xff"].concat(),
            "r.jsonl:2: ",
            "byte 3 of the line is not UTF-8",
        ),
        (
            "t.txt",
            b"ab\n\xc3(\0".to_vec(),
            "t.txt: ",
            "byte 4 (on line 2) is not UTF-8",
        ),
        ("t.txt", b" \n".to_vec(), "t.txt: ", "its text is empty"),
        (
            "t.csv",
            b"id,answer\n1,x\n".to_vec(),
            "t.csv:1: ",
            "the columns are `id`, `answer`",
        ),
        (
            "t.csv",
            b"id;text\n1;x\n".to_vec(),
            "t.csv:1: ",
            "separated by commas",
        ),
        (
            "t.csv",
            b"id,text,id\n1,x,2\n".to_vec(),
            "t.csv:1: ",
            "two columns are named `id`",
        ),
        (
            "t.csv",
            b"id,text\n1,x\n2,y,z\n".to_vec(),
            "t.csv:3: ",
            "3 cells, and the header 2",
        ),
        (
            "t.csv",
            b"id,text\n1,x\n2,\"y\n3,z\n".to_vec(),
            "t.csv:3: ",
            "never closed",
        ),
    ];
    for (name, content, place, part) in cases {
        let folder = folder(&[(name, content)]);
        let message = fails(Sources::new().path(folder.path()), folder.path());
        assert!(
            message.starts_with(place) && message.contains(part) && message.contains("--skip-bad"),
            "{message}"
        );
    }
}

#[test]
fn a_repeated_id_names_both_places_also_across_files() {
    let folder = folder(&[
        ("a.jsonl", "{\"id\": \"x.txt\", \"text\": \"x\"}\n"),
        ("x.txt", "x"),
    ]);
    let message = fails(Sources::new().path(folder.path()), folder.path());
    assert!(
        message.starts_with("x.txt: the id \"x.txt\" is also that of a.jsonl:1;"),
        "{message}"
    );
}

#[test]
fn bad_records_and_files_can_be_left_out_and_are_told() {
    let folder = folder(&[
        ("a.jsonl", &b"{\"id\": 1, \"text\": \"x\"}\n{broken\n{\"id\": 1, \"text\": \"again\"}\n\xff\n{\"id\": 2, \"text\": \"y\"}\n"[..]),
        ("b.txt", b""),
        ("c.csv", b"id,text\n3,z\n4\n5,\"z\n6,z\n"),
        ("d.csv", b"no,thing\n7,z\n"),
        ("e.txt", b"\xff\0"),
        ("f.txt", b"f"),
    ]);
    let plan = Sources::new().path(folder.path()).skip_bad(true).plan();
    let plan = plan.expect("planned");
    assert_eq!(ids(&plan), ["1", "2", "3", "f.txt"]);
    assert_eq!(plan.documents, 4);
    let place = |skipped: &Skipped| {
        skipped
            .place
            .rsplit(std::path::MAIN_SEPARATOR)
            .next()
            .expect("a name")
            .to_owned()
    };
    let places: Vec<_> = plan.skipped.iter().map(place).collect();
    let expected = [
        "a.jsonl:2:2",
        "a.jsonl:3",
        "a.jsonl:4",
        "b.txt",
        "c.csv:3",
        "c.csv:4",
        "d.csv:1",
        "e.txt",
    ];
    assert_eq!(places, expected);
    assert_eq!(plan.skipped_count, expected.len() as u64);
    assert!(
        plan.skipped[1].what.contains("also that of"),
        "{:?}",
        plan.skipped[1]
    );
}

#[test]
fn the_list_of_what_is_left_out_is_bounded_and_its_count_is_not() {
    let folder = folder(&[("a.jsonl", "{\n".repeat(1_500) + "{\"text\": \"x\"}\n")]);
    let plan = Sources::new()
        .path(folder.path())
        .skip_bad(true)
        .plan()
        .expect("planned");
    assert_eq!(
        (plan.skipped_count, plan.skipped.len(), plan.documents),
        (1_500, 1_000, 1)
    );
}

#[test]
fn a_named_file_of_unknown_format_needs_the_format_said() {
    let folder = folder(&[("notes.log", "x"), ("other.pdf", "y")]);
    let path = folder.path().join("notes.log");
    let message = fails(Sources::new().path(&path), folder.path());
    assert!(
        message.starts_with("notes.log: ") && message.contains("--format"),
        "{message}"
    );
    assert_eq!(
        ids(&Sources::new()
            .path(&path)
            .format(Format::Text)
            .plan()
            .expect("planned")),
        ["notes.log"]
    );

    let message = Sources::new()
        .path(folder.path())
        .plan()
        .expect_err("nothing known")
        .to_string();
    assert!(
        message.contains("nothing to read; it holds .log, .pdf"),
        "{message}"
    );
    let missing = Sources::new()
        .path(folder.path().join("no.txt"))
        .skip_bad(true)
        .plan()
        .expect_err("missing");
    assert!(
        matches!(missing, Error::Io { ref path, .. } if path.ends_with("no.txt")),
        "{missing}"
    );
}

#[test]
fn a_file_that_changed_between_the_passes_is_an_error() {
    let folder = folder(&[
        ("a.txt", "a"),
        ("b.jsonl", "{\"text\": \"b\"}\n"),
        ("c.txt", "c"),
    ]);
    let plan = Sources::new()
        .path(folder.path())
        .skip_bad(true)
        .plan()
        .expect("planned");
    fs::write(
        folder.path().join("b.jsonl"),
        "{\"text\": \"b\"}\n{\"text\": \"more\"}\n",
    )
    .expect("written");
    let read: Vec<_> = plan.documents().collect();
    assert_eq!(read.len(), 2, "nothing follows an error");
    assert!(
        read[1]
            .as_ref()
            .expect_err("changed")
            .to_string()
            .contains("changed after it was checked")
    );

    fs::remove_file(folder.path().join("a.txt")).expect("removed");
    assert!(
        matches!(plan.documents().next(), Some(Err(Error::Io { .. }))),
        "what was planned and is gone is not left out"
    );
}

#[test]
fn fields_that_cannot_be_stored_are_bad_records() {
    let key = "k".repeat(256);
    let folder = folder(&[("r.jsonl", format!("{{\"text\": \"x\", \"{key}\": 1}}\n"))]);
    let message = fails(Sources::new().path(folder.path()), folder.path());
    assert!(
        message.starts_with("r.jsonl:1: ") && message.contains("field name"),
        "{message}"
    );
}

#[test]
fn numbers_of_any_size_and_depth_of_any_kind_never_panic() {
    let deep = format!(
        "{{\"text\": \"x\", \"a\": {}1{}}}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let wide =
        "{\"text\": \"x\", \"n\": 123456789012345678901234567890, \"m\": -9223372036854775809}\n"
            .to_owned();
    let huge = "{\"text\": \"x\", \"n\": 1e999}\n".to_owned();
    let folder = folder(&[("r.jsonl", [deep, wide, huge].concat())]);
    let plan = Sources::new()
        .path(folder.path())
        .skip_bad(true)
        .plan()
        .expect("planned");
    let read = documents(&plan);
    assert_eq!((read.len(), plan.skipped_count), (1, 2));
    assert_eq!(
        read[0].fields["n"],
        Value::Float(123_456_789_012_345_678_901_234_567_890.0)
    );
    assert_eq!(
        read[0].fields["m"],
        Value::Float(-9_223_372_036_854_775_809.0)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_and_both_passes_agree(
        pieces in prop::collection::vec(prop_oneof![
            prop::sample::select(vec![
                "{\"text\":\"x\"}", "{\"id\":1,\"text\":\"y\"}", "id,text\n", "1,a\n", "\"", ",", "\n", "\r\n", "# T", "---\n", "title: a",
                "```", "{", "[", "null", "\u{feff}", "===", "~~~~", "#",
            ]).prop_map(|piece| piece.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], 0..12),
        format in prop::sample::select(vec![Format::Text, Format::Markdown, Format::JsonLines, Format::Csv]),
    ) {
        let reader = std::io::Cursor::new(pieces.concat());
        let plan = Sources::new().reader("input", reader).format(format).skip_bad(true).plan();
        let plan = plan.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read: Vec<_> = plan.documents().collect();
        prop_assert_eq!(read.len() as u64, plan.documents);
        prop_assert!(read.iter().all(|document| document.is_ok()));
        prop_assert_eq!(plan.skipped_count, plan.skipped.len() as u64);
    }
}
