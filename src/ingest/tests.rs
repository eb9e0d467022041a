//! Folders and files made for each test → plans and documents.

use std::fs;
use std::path::Path;

use super::*;
use crate::document::{Document, Value};
use crate::error::Error;

/// A folder with these files.
fn folder<C: AsRef<[u8]>>(files: &[(&str, C)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, content).expect("written");
    }
    folder
}

fn documents(plan: &Plan) -> Vec<Document> {
    plan.documents()
        .collect::<Result<_>>()
        .expect("what was planned can be read")
}

fn ids(plan: &Plan) -> Vec<String> {
    documents(plan)
        .into_iter()
        .map(|document| document.id)
        .collect()
}

/// The error, with the folder's path cut out of it.
fn fails(sources: Sources, folder: &Path) -> String {
    let message = sources.plan().expect_err("bad input").to_string();
    message.replace(
        &format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR),
        "",
    )
}

#[test]
fn a_folder_is_read_in_order_with_stable_ids() {
    let folder = folder(&[
        ("b.txt", "B"),
        ("a/z.md", "# Zed\n\nZ"),
        ("a.txt", "A"),
        (
            "a/y.jsonl",
            "\n{\"text\": \"one\"}\n{\"_id\": \"two\", \"text\": \"2\"}\n",
        ),
        ("c/t.CSV", "id,text\n,row\n"),
        (".hidden.txt", "H"),
        (".git/x.txt", "H"),
        ("photo.JPG", "x"),
        ("paper.pdf", "x"),
        ("b.pdf", "x"),
        ("Makefile", "x"),
    ]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    assert_eq!(
        ids(&plan),
        [
            "a/y.jsonl#2",
            "two",
            "a/z.md",
            "a.txt",
            "b.txt",
            "c/t.CSV#2"
        ]
    );
    assert_eq!((plan.files, plan.documents, plan.skipped_count), (5, 6, 0));
    assert_eq!(
        plan.text_bytes,
        documents(&plan)
            .iter()
            .map(|document| document.text.len() as u64)
            .sum::<u64>()
    );
    let unknown = [
        ("".to_owned(), 1),
        ("jpg".to_owned(), 1),
        ("pdf".to_owned(), 2),
    ];
    assert_eq!(plan.unknown_extensions, unknown.into());

    let all = documents(&plan);
    let shown = |name: &str| Some(folder.path().join(name).display().to_string());
    assert_eq!(all[0].source, shown("a/y.jsonl").map(|path| path + ":2"));
    assert_eq!(all[2].source, shown("a/z.md"));
    assert_eq!(
        (all[2].title.as_deref(), all[2].text.as_str()),
        (Some("Zed"), "# Zed\n\nZ")
    );
    assert_eq!(all, documents(&plan), "the second pass can be had again");
}

#[test]
fn files_named_themselves_have_their_names_as_ids() {
    let folder = folder(&[
        ("a/x.txt", "\u{feff}X\r\n"),
        ("a/r.ndjson", "{\"text\": \"r\"}"),
    ]);
    let plan = Sources::new()
        .path(folder.path().join("a/r.ndjson"))
        .path(folder.path().join("a/x.txt"))
        .plan();
    let plan = plan.expect("planned");
    assert_eq!(ids(&plan), ["r.ndjson#1", "x.txt"]);
    assert_eq!(documents(&plan)[1].text, "X\r\n");
}

#[test]
fn json_lines_become_documents_with_fields() {
    let text = "\u{feff}{\"id\": \"a\", \"title\": \"T\", \"content\": \"x\", \"meta\": {\"lang\": \"en\"}}\r\n  \r\n{\"id\":2,\"text\":\"ü\"}";
    let folder = folder(&[("r.jsonl", text)]);
    let path = folder.path().join("r.jsonl");
    let source = |line| format!("{}:{line}", path.display());
    let expected = [
        Document::new("a", "x")
            .title("T")
            .field("meta.lang", "en")
            .source(source(1)),
        Document::new("2", "ü").source(source(3)),
    ];
    assert_eq!(
        documents(&Sources::new().path(&path).plan().expect("planned")),
        expected
    );
}

#[test]
fn tables_become_documents_with_fields() {
    let text = "\u{feff}Name , body,year,,open\r\nx,\"two\r\nlines\",1999,u,TRUE\r\n\r\ny,b,,,\r\n";
    let folder = folder(&[("t.csv", text)]);
    let path = folder.path().join("t.csv");
    let source = |line| format!("{}:{line}", path.display());
    let expected = [
        Document::new("x", "two\r\nlines")
            .field("year", 1999)
            .field("column_4", "u")
            .field("open", true)
            .source(source(2)),
        Document::new("y", "b").source(source(5)),
    ];
    assert_eq!(
        documents(
            &Sources::new()
                .path(&path)
                .id_field("Name")
                .plan()
                .expect("planned")
        ),
        expected
    );

    let plan = Sources::new()
        .path(&path)
        .text_field("Name")
        .title_field("body")
        .plan()
        .expect("planned");
    let first = &documents(&plan)[0];
    assert_eq!(
        (
            first.id.as_str(),
            first.text.as_str(),
            first.title.as_deref()
        ),
        ("t.csv#2", "x", Some("two\r\nlines"))
    );
}

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
            b"ab\n\xc3(".to_vec(),
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
        ("e.txt", b"\xff"),
        ("f.txt", b"f"),
    ]);
    let plan = Sources::new()
        .path(folder.path())
        .path(folder.path().join("missing.txt"))
        .skip_bad(true)
        .plan();
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
        "missing.txt",
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
        plan.skipped[2].what.contains("also that of"),
        "{:?}",
        plan.skipped[2]
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
fn of_a_beir_folder_only_the_corpus_is_read() {
    let corpus = "{\"_id\": \"d1\", \"title\": \"T\", \"text\": \"x\"}\n";
    let queries = "{\"_id\": \"q1\", \"text\": \"x\"}\n";
    let files = [
        ("set/corpus.jsonl", corpus),
        ("set/queries.jsonl", queries),
        ("set/qrels/test.txt", "x"),
        ("a.txt", "a"),
    ];
    let folder = folder(&files);
    for (root, expected) in [
        (folder.path().join("set"), vec!["d1"]),
        (folder.path().to_path_buf(), vec!["a.txt", "d1"]),
    ] {
        let plan = Sources::new().path(root).plan().expect("planned");
        assert_eq!(ids(&plan), expected);
        assert!(
            plan.remarks[0].contains("BEIR") && plan.remarks[0].contains("set"),
            "{:?}",
            plan.remarks
        );
    }
    let named = Sources::new()
        .path(folder.path().join("set/queries.jsonl"))
        .plan()
        .expect("planned");
    assert_eq!(ids(&named), ["q1"], "a file named itself is read");
}

#[test]
fn a_reader_is_read_twice_and_its_format_is_guessed() {
    let read = |text: &'static str| Sources::new().reader("stdin", text.as_bytes());
    let plan = read("\u{feff}\n {\"text\": \"x\"}\n")
        .plan()
        .expect("planned");
    let (mut one, mut two) = (plan.documents(), plan.documents());
    let expected = Document::new("stdin#2", "x").source("stdin:2");
    assert_eq!(two.next().expect("one").expect("read"), expected);
    assert_eq!(one.next().expect("one").expect("read"), expected);
    assert!(one.next().is_none() && one.next().is_none());

    assert_eq!(
        documents(&read("plain\ntext\n").plan().expect("planned")),
        [Document::new("stdin", "plain\ntext\n").source("stdin")]
    );
    assert_eq!(
        ids(&read("text\nrow\n")
            .format(Format::Csv)
            .plan()
            .expect("planned")),
        ["stdin#2"]
    );
    let message = read("").plan().expect_err("nothing").to_string();
    assert!(message.starts_with("stdin: its text is empty"), "{message}");
}

#[test]
fn a_reader_longer_than_any_buffer_comes_back_whole() {
    let text: String = (0..40_000)
        .map(|n| format!("{{\"id\": {n}, \"text\": \"text {n}\"}}\n"))
        .collect();
    let plan = Sources::new()
        .reader("stdin", std::io::Cursor::new(text))
        .plan()
        .expect("planned");
    assert_eq!(plan.documents, 40_000);
    for (document, n) in plan.documents().zip(0..) {
        assert_eq!(document.expect("read").text, format!("text {n}"));
    }
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
fn progress_counts_up_to_all_bytes_and_can_cancel() {
    let files = [
        ("a.jsonl", "{\"text\": \"x\"}\n".repeat(2_000)),
        ("b.txt", "b".into()),
    ];
    let folder = folder(&files);
    let mut told = Vec::new();
    let plan = Sources::new().path(folder.path()).plan_with(|scanned| {
        told.push(*scanned);
        ControlFlow::Continue(())
    });
    let last = *told.last().expect("told");
    assert_eq!(
        (last.documents, last.bytes),
        (plan.expect("planned").documents, last.bytes_total)
    );
    assert_eq!(last.bytes_total, 2_000 * 14 + 1);
    assert!(told.len() > 3 && told.is_sorted_by_key(|scanned| (scanned.documents, scanned.bytes)));

    let cancelled = Sources::new()
        .path(folder.path())
        .plan_with(|_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

#[test]
fn fields_that_cannot_be_stored_are_bad_records() {
    let key = "k".repeat(256);
    let folder = folder(&[("r.jsonl", format!("{{\"text\": \"x\", \"{key}\": 1}}\n"))]);
    assert!(
        fails(Sources::new().path(folder.path()), folder.path())
            .starts_with("r.jsonl:1: the field name")
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

#[cfg(unix)]
mod links_and_pipes {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_and_loops_are_not() {
        let folder = folder(&[("a/x.txt", "x"), ("elsewhere.md", "y"), ("a/sub/s.txt", "s")]);
        symlink(folder.path().join("a"), folder.path().join("a/sub/loop")).expect("linked");
        symlink(
            folder.path().join("elsewhere.md"),
            folder.path().join("a/y.md"),
        )
        .expect("linked");
        symlink("nowhere.txt", folder.path().join("a/z.txt")).expect("linked");
        let plan = Sources::new()
            .path(folder.path().join("a"))
            .plan()
            .expect("planned");
        assert_eq!(ids(&plan), ["sub/s.txt", "x.txt", "y.md"]);
        assert!(
            plan.remarks
                .iter()
                .any(|remark| remark.contains("leads back to")),
            "{:?}",
            plan.remarks
        );
        assert!(
            plan.remarks
                .iter()
                .any(|remark| remark.contains("leads nowhere")),
            "{:?}",
            plan.remarks
        );
    }

    #[test]
    fn a_pipe_named_as_a_file_is_read_once_and_kept() {
        let folder = folder::<&str>(&[]);
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, "{\"text\": \"from a pipe\"}\n").expect("written")
        });
        let plan = Sources::new().path(&pipe).plan().expect("planned");
        writer.join().expect("ended");
        assert_eq!(ids(&plan), ["pipe#1"]);
    }

    #[test]
    fn a_name_that_is_not_utf8_is_bad_input() {
        use std::os::unix::ffi::OsStrExt;
        let folder = folder(&[("a.txt", "a")]);
        let name = std::ffi::OsStr::from_bytes(b"\xff.txt");
        if fs::write(folder.path().join(name), "x").is_err() {
            return; // Some file systems know UTF-8 names only.
        }
        assert!(
            fails(Sources::new().path(folder.path()), folder.path())
                .contains("its name is not UTF-8")
        );
        let plan = Sources::new()
            .path(folder.path())
            .skip_bad(true)
            .plan()
            .expect("planned");
        assert_eq!(
            (ids(&plan), plan.skipped_count),
            (vec!["a.txt".to_owned()], 1)
        );
    }
}
