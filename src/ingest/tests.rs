//! Folders and files made for each test → plans and documents.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

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

/// What comes of sources: their documents, and what failed.
struct Outcome {
    documents: Vec<Document>,
    failures: Vec<Failure>,
    reading: Reading,
}

impl Outcome {
    fn ids(&self) -> Vec<&str> {
        self.documents.iter().map(|d| d.id.as_str()).collect()
    }

    /// The one document.
    fn one(&self) -> &Document {
        assert!(self.failures.is_empty(), "{:?}", self.failures);
        let [document] = self.documents.as_slice() else {
            panic!("{:?}", self.ids());
        };
        document
    }

    /// Names of the files that failed, without their folders, and what is wrong with them.
    fn failed(&self) -> Vec<(&str, &str)> {
        let name = |failure: &Failure| failure.place.rfind(std::path::MAIN_SEPARATOR);
        let failures = self.failures.iter();
        failures
            .map(|failure| {
                let begin = name(failure).map_or(0, |at| at + 1);
                (&failure.place[begin..], failure.what.as_str())
            })
            .collect()
    }
}

fn read(sources: Sources) -> Outcome {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&failures);
    let sources = sources.on_failure(move |failure| {
        heard.lock().expect("no panic").push(failure.clone());
        ControlFlow::Continue(())
    });
    let mut documents = sources.plan().expect("planned").documents();
    let taken = documents.by_ref().collect::<Result<_>>();
    let reading = documents.reading();
    let failures = std::mem::take(&mut *failures.lock().expect("no panic"));
    assert_eq!(reading.failed, failures.len() as u64);
    Outcome {
        documents: taken.expect("failures are heard"),
        failures,
        reading,
    }
}

fn read_folder(folder: &tempfile::TempDir) -> Outcome {
    read(Sources::new().path(folder.path()))
}

fn documents(plan: &Plan) -> Vec<Document> {
    plan.documents()
        .collect::<Result<_>>()
        .expect("can be read")
}

fn ids(plan: &Plan) -> Vec<String> {
    documents(plan)
        .into_iter()
        .map(|document| document.id)
        .collect()
}

/// The error that the documents end with where nobody hears of failures, with the folder's path cut out of it.
fn fails(sources: Sources, folder: &Path) -> String {
    let plan = sources.plan();
    let error = plan.and_then(|plan| plan.documents().collect::<Result<Vec<_>>>().map(drop));
    let message = error.expect_err("bad input").to_string();
    message.replace(
        &format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR),
        "",
    )
}

mod bad_input;
mod columns;
mod formats;
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
        ("a.mp3", "x"),
        ("b.mp3", "x"),
        ("core", "\0\x01"),
        ("README", "R"),
    ]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    assert_eq!(
        ids(&plan),
        [
            "README",
            "a/y.jsonl#2",
            "two",
            "a/z.md",
            "a.txt",
            "b.txt",
            "c/t.CSV#2"
        ]
    );
    assert_eq!(plan.files, 6);
    let unknown = [
        ("".to_owned(), 1),
        ("jpg".to_owned(), 1),
        ("mp3".to_owned(), 2),
    ];
    assert_eq!(plan.unknown_extensions, unknown.into());

    let all = documents(&plan);
    let shown = |name: &str| Some(folder.path().join(name).display().to_string());
    assert_eq!(all[1].source, shown("a/y.jsonl").map(|path| path + ":2"));
    assert_eq!(all[3].source, shown("a/z.md"));
    assert_eq!(
        (all[3].title.as_deref(), all[3].text.as_str()),
        (Some("Zed"), "# Zed\n\nZ")
    );
    assert_eq!(all, documents(&plan), "they can be had again");
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
    assert_eq!(ids(&plan), ["a.txt", "book/FORMAT", "book/b.txt"]);
    assert!(plan.remarks[0].contains("notes.vecdb is a vecdb database"));
}

#[test]
fn a_reader_can_be_read_twice_and_its_format_is_guessed() {
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
    let message = fails(read(""), Path::new("/"));
    assert!(message.starts_with("stdin: it is empty"), "{message}");
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
    assert_eq!(plan.documents().count(), 40_000);
    for (document, n) in plan.documents().zip(0..) {
        assert_eq!(document.expect("read").text, format!("text {n}"));
    }
}

#[test]
fn reading_counts_up_to_all_bytes_and_files_are_told() {
    let files = [
        ("a.jsonl", "{\"text\": \"x\"}\n".repeat(2_000) + "{"),
        ("b.txt", "b".into()),
        ("c.txt", String::new()),
    ];
    let folder = folder(&files);
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let sources = Sources::new()
        .path(folder.path())
        .on_failure(|_| ControlFlow::Continue(()))
        .on_file(move |file| {
            heard.lock().expect("no panic").push(file.clone());
            ControlFlow::Continue(())
        });
    let plan = sources.plan().expect("planned");
    assert_eq!((plan.files, plan.bytes), (3, 2_000 * 14 + 2));
    let mut documents = plan.documents();
    let watch = documents.watch();
    let mut readings = Vec::new();
    for document in documents.by_ref() {
        document.expect("read");
        readings.push(watch.reading());
    }
    assert!(readings.is_sorted_by_key(|reading| (reading.files, reading.bytes, reading.documents)));
    assert!(readings[0].file.ends_with("a.jsonl") && readings[2_000].file.ends_with("b.txt"));
    let end = documents.reading();
    assert_eq!((end.files, end.bytes), (plan.files, plan.bytes));
    assert_eq!(
        (end.documents, end.text_bytes, end.failed),
        (2_001, 2_001, 2)
    );
    assert_eq!(end.formats, [("jsonl", 1), ("text", 1)].into());

    let told = told.lock().expect("no panic");
    let files: Vec<_> = told
        .iter()
        .map(|file| (file.format, file.documents, file.failed))
        .collect();
    let expected = [
        (Some(Format::JsonLines), 2_000, 1),
        (Some(Format::Text), 1, 0),
        (None, 0, 1),
    ];
    assert_eq!(files, expected);
    assert_eq!(told[2].failures[0].what, "it is empty");
}

#[test]
fn who_drops_the_documents_ends_the_reading() {
    let line = format!("{{\"text\": \"{}\"}}\n", "x".repeat(100_000));
    let folder = folder(&[("a.jsonl", line.repeat(1_000))]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    let mut documents = plan.documents();
    assert!(documents.next().is_some_and(|document| document.is_ok()));
    let watch = documents.watch();
    drop(documents);
    assert_eq!(watch.reading().documents, 1);
}

#[test]
fn globs_and_ignore_files_choose() {
    let folder = folder(&[
        ("a.md", "a"),
        ("b.txt", "b"),
        ("sub/c.md", "c"),
        ("sub/d.txt", "d"),
        ("build/e.md", "e"),
        ("private/f.md", "f"),
        (".gitignore", "build/\n"),
        ("sub/.vecdbignore", "d.txt\n"),
        (".ignore", "private\n"),
    ]);
    let of = |choose: fn(Sources) -> Sources| {
        let plan = choose(Sources::new().path(folder.path())).plan();
        ids(&plan.expect("planned"))
    };
    assert_eq!(of(|all| all), ["a.md", "b.txt", "sub/c.md"]);
    assert_eq!(of(|all| all.include("*.md")), ["a.md", "sub/c.md"]);
    assert_eq!(
        of(|all| all.include("/sub/**").exclude("*.txt")),
        ["sub/c.md"]
    );
    assert_eq!(of(|all| all.exclude("sub")), ["a.md", "b.txt"]);
    let plan = Sources::new().path(folder.path()).plan().expect("planned");
    assert_eq!(plan.ignored, 3);
    let all = [
        "a.md",
        "b.txt",
        "build/e.md",
        "private/f.md",
        "sub/c.md",
        "sub/d.txt",
    ];
    assert_eq!(of(Sources::no_ignore), all);
    let wrong = Sources::new().path(folder.path()).include("a[").plan();
    assert!(wrong.expect_err("no glob").to_string().contains("pattern"));
}
