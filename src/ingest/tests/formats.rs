//! Real documents, and those that are made for a trap.
#![cfg(all(
    feature = "archives",
    feature = "email",
    feature = "epub",
    feature = "office",
    feature = "pdf"
))]

use std::io::{Cursor, Write};
use std::path::PathBuf;

use super::*;
use crate::document::Value;

fn real(name: &str) -> PathBuf {
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    documents.join(name)
}

fn read_real(name: &str) -> Document {
    read(Sources::new().path(real(name))).one().clone()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(*name, options).expect("started");
        archive.write_all(content).expect("written");
    }
    archive.finish().expect("finished").into_inner()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).expect("written");
    packed.finish().expect("finished")
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, *content)
            .expect("appended");
    }
    archive.into_inner().expect("finished")
}

#[test]
fn word_documents_have_headings_tables_and_their_makers_words() {
    let document = read_real("word_tables.docx");
    assert_eq!(document.title.as_deref(), Some("Test with tables"));
    assert_eq!(document.fields["author"], "Cesar Berrospi Ramis".into());
    assert_eq!(document.fields["format"], "word".into());
    assert_eq!(document.fields["created"], "2025-01-31T14:37:00Z".into());
    let row = document
        .text
        .find("Cell 2.0 | Cell 2.1 | Cell 2.2")
        .expect("a row");
    let header = document.outline.table_header_at(&document.text, row);
    assert_eq!(header, Some("Header 0.0 | Header 0.1 | Header 0.2\n"));
    assert_eq!(document.outline.headings_at(row), ["Test with tables"]);

    assert!(!read_real("Strict.docx").text.is_empty());
    let features = read_real("testWORD_features.docx").text;
    assert!(
        features.starts_with("Lorem ipsum dolor sit amet"),
        "{features}"
    );
    let old = read_real("testWORD.doc");
    assert!(
        old.text
            .contains("This is a sample Microsoft Word Document."),
        "{}",
        old.text
    );
    assert_eq!(old.outline.headings.len(), 4);
}

#[test]
fn sheets_and_slides_are_pages() {
    let sheets = read_real("testEXCEL.xlsx");
    assert_eq!(sheets.fields["pages"], Value::Integer(3));
    let at = sheets.text.find("5 | 25").expect("a row");
    assert_eq!(sheets.outline.page_at(at), Some(1));
    assert_eq!(sheets.outline.headings_at(at), ["Feuil1"]);

    let slides = read_real("powerpoint_sample.pptx");
    assert_eq!(slides.outline.pages.len(), 3);
    assert_eq!(slides.title.as_deref(), Some("Test Table Slide"));
}

#[test]
fn books_and_opendocument_and_rtf_are_read() {
    let book = read_real("testEPUB.epub");
    assert_eq!(book.title.as_deref(), Some("An ePub for Tika"));
    assert_eq!(book.fields["language"], "en".into());
    let at = book
        .text
        .find("This is the text for chapter Two")
        .expect("there");
    assert_eq!(book.outline.headings_at(at), ["Chapter 2"]);

    let text = read_real("testFooter.odt").text;
    assert_eq!(
        text,
        "Here is some text...\n\nHere is some text on page 2\n\nHere is footer text"
    );
    assert_eq!(
        read_real("testRTF.rtf").text,
        "Test d\u{2019}indexation Word"
    );
}

#[test]
fn pdf_has_pages_and_what_it_lacks_is_said() {
    let document = read_real("testPDF.pdf");
    assert_eq!(document.title.as_deref(), Some("Apache Tika - Apache Tika"));
    assert_eq!(document.outline.page_at(0), Some(1));
    assert!(
        document
            .text
            .contains("detecting and extracting metadata and structured text content")
    );
    let layer = read_real("invisible_text_layer.pdf").text;
    assert!(layer.contains("Visible heading line"), "{layer}");

    let locked = read(Sources::new().path(real("encrypted.pdf")));
    assert!(
        locked.failed()[0].1.contains("password"),
        "{:?}",
        locked.failures
    );

    let whole = fs::read(real("testPDF.pdf")).expect("there");
    let folder = folder(&[
        ("cut.pdf", &whole[..whole.len() / 3]),
        ("image.pdf", &image_only()),
        ("text.pdf", b"no pdf at all"),
        ("zeros.pdf", &[0; 5_000]),
    ]);
    let outcome = read_folder(&folder);
    let failed = outcome.failed();
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["cut.pdf", "image.pdf", "text.pdf", "zeros.pdf"]);
    assert!(failed[1].1.contains("images without text"), "{failed:?}");
}

/// A page that shows a picture.
fn image_only() -> Vec<u8> {
    b"%PDF-1.4
1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj
2 0 obj << /Type /Pages /Kids [3 0 R] /Count 1 >> endobj
3 0 obj << /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources << /XObject << /I 5 0 R >> >> /Contents 4 0 R >> endobj
4 0 obj << /Length 26 >> stream
q 9 0 0 9 0 0 cm /I Do Q  
endstream endobj
5 0 obj << /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >> stream
x
endstream endobj
trailer << /Root 1 0 R /Size 6 >>
startxref
0
%%EOF
"
    .to_vec()
}

#[test]
fn tables_without_a_text_column_are_one_document() {
    for name in [
        "csv-tab.csv",
        "csv-inconsistent-header.csv",
        "csv-too-few-columns.csv",
    ] {
        let document = read_real(name);
        let lines = fs::read_to_string(real(name))
            .expect("there")
            .lines()
            .count();
        assert_eq!(document.text.lines().count(), lines, "{}", document.text);
        assert_eq!(document.outline.tables.len(), 1);
    }
    let text = read_real("csv-tab.csv").text;
    assert!(
        text.starts_with("Index | Customer Id | First Name"),
        "{text}"
    );
    let folder = folder(&[
        ("a.csv", "id;text\n1;\"x;y\"\n"),
        ("b.tsv", "text\tn\n\"x\"\t1\n"),
        ("c.csv", "text\na,b\n"),
    ]);
    let outcome = read_folder(&folder);
    assert_eq!(outcome.ids(), ["1", "b.tsv#2"]);
    assert_eq!(outcome.documents[0].text, "x;y");
    assert_eq!(outcome.failed()[0].0, "c.csv:2");
}

#[test]
fn json_arrays_and_objects_are_records() {
    let folder = folder(&[
        (
            "a.json",
            "\u{feff}[{\"text\": \"one\", \"n\": 1}, {\"_id\": \"two\", \"text\": \"2\"}, 3, {\"no\": 1}]",
        ),
        ("b.json", "{\"title\": \"T\",\n \"text\": \"x\"}"),
        ("c.json", "[{\"text\": \"first\"}, {\"text\": "),
        ("d.json", "{\"text\": \"x\"} more"),
        ("e.json", "5"),
    ]);
    let outcome = read_folder(&folder);
    assert_eq!(
        outcome.ids(),
        ["a.json#1", "two", "b.json", "c.json#1", "d.json"]
    );
    assert_eq!(outcome.documents[0].fields["n"], Value::Integer(1));
    let places: Vec<_> = outcome.failed().iter().map(|(place, _)| *place).collect();
    assert_eq!(
        places,
        ["a.json:3", "a.json:4", "c.json", "d.json", "e.json"]
    );
}

#[test]
fn messages_are_read_with_what_is_attached() {
    let message = "From: Li Bai <li@example.org>\r\nTo: Du Fu <du@example.org>\r\nSubject: =?utf-8?B?5pyI?=\r\n\
        Date: Fri, 27 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n\
        <html><style>p{}</style><h1>Moon</h1><p>Drinking <b>alone</b></html>\r\n--b\r\n\
        Content-Type: text/plain; name=\"poem.txt\"\r\nContent-Disposition: attachment; filename=\"poem.txt\"\r\n\r\n\
        A cup of wine\r\n--b--\r\n";
    let folder = folder(&[("m.eml", message)]);
    let outcome = read_folder(&folder);
    assert_eq!(outcome.ids(), ["m.eml", "m.eml/poem.txt"]);
    let [mail, poem] = outcome.documents.as_slice() else {
        panic!("two")
    };
    assert_eq!(mail.title.as_deref(), Some("月"));
    assert_eq!(mail.text, "Moon\n\nDrinking alone");
    assert_eq!(mail.fields["author"], "Li Bai <li@example.org>".into());
    assert_eq!(mail.fields["created"], "2026-11-27T10:00:00Z".into());
    assert_eq!(poem.text.trim(), "A cup of wine");
}

#[test]
fn archives_are_walked_and_packed_files_unpacked() {
    let page = b"<html><p>page".as_slice();
    let inner = zip(&[
        ("deep/x.txt", b"x"),
        ("pic.png", b"\x89PNG\r\n\x1a\n\0"),
        (".hidden.txt", b"h"),
    ]);
    let folder = folder(&[
        ("a.jsonl.gz", gzip(b"{\"text\": \"packed\"}\n")),
        ("b.txt.zst", [zstd(b"two "), zstd(b"frames")].concat()),
        (
            "c.zip",
            zip(&[
                ("inner.zip", &inner),
                ("page.html", page),
                ("bad.docx", b"words"),
            ]),
        ),
        (
            "d.tar.gz",
            gzip(&tar(&[("./t/y.md", b"# Y"), ("z.csv", b"text\nrow\n")])),
        ),
        ("e.tgz", gzip(&tar(&[("w.txt", b"w")]))),
        ("f.gz", gzip(page)),
    ]);
    let outcome = read_folder(&folder);
    let ids = [
        "a.jsonl.gz#1",
        "b.txt.zst",
        "c.zip/inner.zip/deep/x.txt",
        "c.zip/page.html",
        "d.tar.gz/t/y.md",
        "d.tar.gz/z.csv#2",
        "e.tgz/w.txt",
        "f.gz",
    ];
    assert_eq!(outcome.ids(), ids);
    assert_eq!(outcome.documents[1].text, "two frames");
    assert_eq!(outcome.documents[7].text, "page");
    let source = folder.path().join("d.tar.gz/z.csv").display().to_string();
    assert_eq!(outcome.documents[5].source, Some(source + ":2"));
    assert_eq!(outcome.failures.len(), 1);
    assert!(outcome.failures[0].place.ends_with("c.zip/bad.docx"));
    assert_eq!(
        outcome.reading.unknown_extensions,
        [("png".to_owned(), 1)].into()
    );
}

#[test]
fn what_unpacks_without_end_is_refused() {
    let bomb = b"{\"text\": \"x\"}\n".repeat(400_000);
    let mut once = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    once.write_all(&bomb).expect("written");
    let once = once.finish().expect("finished");
    let mut nested = b"text".to_vec();
    for _ in 0..8 {
        nested = gzip(&nested);
    }
    let folder = folder(&[("bomb.jsonl.gz", once), ("nested.gz", nested)]);
    let mut sources = Sources::new().path(folder.path().join("bomb.jsonl.gz"));
    sources.options.unpacked_bytes = 1 << 16;
    let bomb = read(sources);
    assert!(
        bomb.failed()[0].1.contains("zip bomb"),
        "{:?}",
        bomb.failures
    );
    let nested = read(Sources::new().path(folder.path().join("nested.gz")));
    assert_eq!(nested.failed(), [("nested.gz", "it is packed too often")]);
}

#[test]
fn damaged_archives_are_told_and_give_what_is_whole() {
    let whole = zip(&[("a.txt", b"a"), ("b.txt", &[b'b'; 3_000])]);
    let packed = gzip("line\n".repeat(100_000).as_bytes());
    let folder = folder(&[
        ("cut.zip", &whole[..whole.len() - 30]),
        ("cut.txt.gz", &packed[..packed.len() / 2]),
        (
            "cut.tar",
            &tar(&[("t.txt", b"t"), ("u.txt", &[b'u'; 3_000])])[..2_000],
        ),
        ("no.zip", b"words"),
    ]);
    let outcome = read_folder(&folder);
    assert_eq!(outcome.ids(), ["cut.tar/t.txt"]);
    let names: Vec<_> = outcome.failed().iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), 4, "{:?}", outcome.failures);
}
