//! What part of a document's words the readers find, against the same document as plain text.
//!
//!     cargo bench --bench extraction -- --data DATA      # or VECDB_DATA
//!
//! DATA holds `documents/clean` with debian-policy and debian-reference-zh as txt, html, pdf and epub, and rust-book-docx. Recall is
//! the part of the text's words that the reader gives, precision the part of the reader's words that the text has, words counted
//! as often as they stand; each Chinese character is a word. A web page is one chapter of the book and is compared with that
//! chapter (the last one is left out). For Word documents the reference is what stands in their XML between the marks of text. README.md tells what was seen.

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vecdb::Document;
use vecdb::ingest::Sources;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut typed = std::env::args().skip_while(|word| word != "--data").skip(1);
    let data = typed.next().map(PathBuf::from);
    let Some(data) = data.or_else(|| std::env::var_os("VECDB_DATA").map(PathBuf::from)) else {
        // `cargo bench` runs every bench, this one too.
        println!("needs documents: --data FOLDER, or VECDB_DATA");
        return Ok(());
    };
    let clean = data.join("documents/clean");
    println!(
        "{:34} {:>7} {:>7} {:>9} {:>9} {:>9}",
        "", "files", "words", "recall", "precision", "seconds"
    );
    for (book, text) in [
        ("debian-policy", "policy.txt"),
        ("debian-reference-zh", "debian-reference.zh-cn.txt"),
    ] {
        let folder = clean.join(book);
        let text = fs::read_to_string(folder.join(text))?;
        for format in ["epub", "pdf", "html"] {
            let files = files(&folder, format)?;
            let pages: Vec<_> = files
                .iter()
                .map(|path| read(path))
                .collect::<Result<_, _>>()?;
            let mut total = Overlap::default();
            if format == "html" {
                for (chapter, (document, time)) in chapters(&text, pages)? {
                    total.add(chapter, &document.text, time);
                }
            } else {
                for (document, time) in pages {
                    total.add(&text, &document.text, time);
                }
            }
            total.print(&format!("{book} {format}"));
        }
    }
    let mut total = Overlap::default();
    for path in files(&clean.join("rust-book-docx"), "docx")? {
        let (document, time) = read(&path)?;
        total.add(&text_of_xml(&path)?, &document.text, time);
    }
    total.print("rust-book docx");
    Ok(())
}

fn files(folder: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let all = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = all.collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Outcome<(Document, Duration)> {
    let start = Instant::now();
    let mut documents = Sources::new().path(path).plan()?.documents();
    let document = documents.next().ok_or("no document")??;
    Ok((document, start.elapsed()))
}

/// Each page with the chapter of the book that its first heading begins: from the last line that is this heading, behind the table
/// of contents, to the heading of the next page. What ends the last one is not known, so it is left out.
fn chapters(
    book: &str,
    pages: Vec<(Document, Duration)>,
) -> Outcome<Vec<(&str, (Document, Duration))>> {
    let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let begin = |page: &Document| {
        let heading = line(&page.outline.headings.first()?.text);
        let mut lines = book.split_inclusive('\n').rev();
        let mut at = book.len();
        lines.find_map(|text| {
            at -= text.len();
            (line(text) == heading).then_some(at)
        })
    };
    let mut placed = Vec::new();
    for page in pages {
        placed.push((begin(&page.0).ok_or("a page is no chapter")?, page));
    }
    placed.sort_by_key(|(begin, _)| *begin);
    let ends: Vec<usize> = placed.iter().skip(1).map(|(begin, _)| *begin).collect();
    let chapters = placed.into_iter().zip(ends);
    Ok(chapters
        .map(|((begin, page), end)| (&book[begin..end], page))
        .collect())
}

/// The text of a Word document, by its marks alone.
fn text_of_xml(path: &Path) -> Outcome<String> {
    let mut archive = zip::ZipArchive::new(fs::File::open(path)?)?;
    let mut xml = String::new();
    archive
        .by_name("word/document.xml")?
        .read_to_string(&mut xml)?;
    let mut text = String::new();
    for part in xml.split('<').skip(1) {
        let (mark, content) = part.split_once('>').unwrap_or((part, ""));
        match mark.split([' ', '/']).next() {
            Some("w:t") => text.push_str(content),
            Some("w:tab" | "w:br") => text.push(' '),
            _ if mark == "/w:p" => text.push('\n'),
            _ => {}
        }
    }
    let named = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    Ok(named
        .iter()
        .fold(text, |text, (name, c)| text.replace(name, c)))
}

#[derive(Default)]
struct Overlap {
    files: usize,
    both: usize,
    reference: usize,
    found: usize,
    time: Duration,
}

impl Overlap {
    fn add(&mut self, reference: &str, found: &str, time: Duration) {
        let (reference, found) = (words(reference), words(found));
        let both = found.iter().map(|(word, count)| {
            reference
                .get(word)
                .map_or(0, |expected| *expected.min(count))
        });
        self.both += both.sum::<usize>();
        self.reference += reference.values().sum::<usize>();
        self.found += found.values().sum::<usize>();
        self.files += 1;
        self.time += time;
    }

    fn print(&self, name: &str) {
        if self.files > 0 {
            println!(
                "{name:34} {:7} {:7} {:9.4} {:9.4} {:9.2}",
                self.files,
                self.reference,
                self.both as f64 / self.reference as f64,
                self.both as f64 / self.found as f64,
                self.time.as_secs_f64()
            );
        }
    }
}

/// How often each word stands in a text.
fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        let is_han = matches!(c, '\u{3400}'..='\u{9fff}');
        if c.is_alphanumeric() && !is_han {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            *counts.entry(std::mem::take(&mut word)).or_default() += 1;
        }
        if is_han {
            *counts.entry(c.to_string()).or_default() += 1;
        }
    }
    counts
}
