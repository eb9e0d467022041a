//! Folders and files made for each test → plans and documents.

use std::fs;
use std::path::Path;

use super::*;
use crate::document::Document;
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

mod bad_input;
#[cfg(unix)]
mod links_and_pipes;

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
fn a_database_in_the_folder_is_not_read() {
    let folder = folder(&[
        ("a.txt", "a"),
        ("notes.vecdb/FORMAT", "vecdb 1 1\n"),
        ("notes.vecdb/models/m/vocab.txt", "word"),
        ("book/FORMAT", "A4"),
        ("book/b.txt", "b"),
    ]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    assert_eq!(ids(&plan), ["a.txt", "book/b.txt"]);
    assert!(plan.remarks[0].contains("notes.vecdb is a vecdb database"));
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
