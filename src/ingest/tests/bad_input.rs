//! What cannot be read, and how that is told.

use proptest::prelude::*;

use super::*;
use crate::document::Value;

#[test]
fn bad_input_is_an_error_naming_its_place() {
    let good = "{\"id\": \"a\", \"text\": \"x\"}\n";
    let line = |bad: &str| [good, bad, "\n"].concat().into_bytes();
    let cases: [(&str, Vec<u8>, &str, &str); 17] = [
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
        ("t.txt", Vec::new(), "t.txt: ", "it is empty"),
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
            message.starts_with(place) && message.contains(part),
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
        message.starts_with("x.txt: the id \"x.txt\" is also that of a.jsonl:1"),
        "{message}"
    );
}

#[test]
fn bad_records_and_files_are_told_and_the_others_read() {
    let folder = folder(&[
        ("a.jsonl", &b"{\"id\": 1, \"text\": \"x\"}\n{broken\n{\"id\": 1, \"text\": \"again\"}\n\xff\n{\"id\": 2, \"text\": \"y\"}\n"[..]),
        ("b.txt", b""),
        ("c.csv", b"id,text\n3,z\n4\n5,\"z\n6,z\n"),
        ("d.csv", b"no,no,text\n7,z,z\n"),
        ("e.txt", b"\xff\0"),
        ("f.txt", b"f"),
        ("g.docx", b"only words"),
        ("h.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ]);
    let read = read_folder(&folder);
    assert_eq!(read.ids(), ["1", "2", "3", "f.txt"]);
    let failed = read.failed();
    let places: Vec<_> = failed.iter().map(|(place, _)| *place).collect();
    let expected = [
        "a.jsonl:2:2",
        "a.jsonl:3",
        "a.jsonl:4",
        "b.txt",
        "c.csv:3",
        "c.csv:4",
        "d.csv:1",
        "e.txt",
        "g.docx",
        "h.txt",
    ];
    assert_eq!(places, expected);
    assert!(failed[1].1.contains("also that of"), "{failed:?}");
    assert_eq!(failed[8].1, "it is text, and no word file as its name says");
    assert!(failed[9].1.contains("image/png"), "{failed:?}");
}

#[test]
fn the_list_of_a_files_failures_is_bounded_and_their_count_is_not() {
    let folder = folder(&[("a.jsonl", "{\n".repeat(1_500) + "{\"text\": \"x\"}\n")]);
    let told = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&told);
    let sources = Sources::new().path(folder.path()).on_file(move |file| {
        *heard.lock().expect("no panic") = Some(file.clone());
        ControlFlow::Continue(())
    });
    assert_eq!(read(sources).failures.len(), 1_500);
    let file = told.lock().expect("no panic").take().expect("told");
    assert_eq!(
        (file.failed, file.failures.len(), file.documents),
        (1_500, 1_000, 1)
    );
}

#[test]
fn what_was_named_and_is_not_there_is_an_error_at_once() {
    let folder = folder(&[("song.mp3", "x"), ("core.bin", "y")]);
    let message = Sources::new()
        .path(folder.path())
        .plan()
        .expect_err("nothing known")
        .to_string();
    assert!(
        message.contains("nothing to read; it holds .bin, .mp3"),
        "{message}"
    );
    let song = Sources::new().path(folder.path().join("song.mp3"));
    assert_eq!(
        read(song).ids(),
        ["song.mp3"],
        "text is read, whatever its name"
    );
    let missing = Sources::new()
        .path(folder.path().join("no.txt"))
        .on_failure(|_| ControlFlow::Continue(()))
        .plan()
        .expect_err("missing");
    assert!(
        matches!(missing, Error::Io { ref path, .. } if path.ends_with("no.txt")),
        "{missing}"
    );
}

#[test]
fn a_file_that_goes_while_others_are_read_is_told() {
    let folder = folder(&[("a.txt", "a"), ("b.txt", "b"), ("c.txt", "c")]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    fs::remove_file(folder.path().join("b.txt")).expect("removed");
    let read: Vec<_> = plan.documents().collect();
    assert_eq!(read.len(), 2, "nothing follows an error that nobody hears");
    assert!(matches!(read[1], Err(Error::Io { .. })));
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
    let outcome = read_folder(&folder);
    let read = &outcome.documents;
    assert_eq!((read.len(), outcome.failures.len()), (1, 2));
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
    fn no_bytes_panic(
        pieces in prop::collection::vec(prop_oneof![
            prop::sample::select(vec![
                "{\"text\":\"x\"}", "{\"id\":1,\"text\":\"y\"}", "id,text\n", "1,a\n", "\"", ",", "\n", "\r\n", "# T", "---\n", "title: a",
                "```", "{", "[", "null", "\u{feff}", "===", "~~~~", "#",
            ]).prop_map(|piece| piece.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], 0..12),
        format in prop::sample::select(Format::ALL.to_vec()),
    ) {
        let reader = std::io::Cursor::new(pieces.concat());
        let read = read(Sources::new().reader("input", reader).format(format));
        prop_assert!(read.documents.iter().all(|document| document.validate().is_ok()));
        prop_assert_eq!(read.reading.documents, read.documents.len() as u64);
    }
}
