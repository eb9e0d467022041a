//! What a file holds: told by its bytes first, then by its name.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Bytes at the beginning of a file that are looked at.
pub(super) const BEGINNING: usize = 8 << 10;

macro_rules! formats {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal [$($extension:literal)*],)*) => {
        /// How a file is cut into documents.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Format {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Format {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is typed and told.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// File names' endings that stand for it, in lower case.
            pub fn extensions(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($extension,)*],)* }
            }
        }
    };
}

formats! {
    /// The whole file is one document.
    Text "text" ["txt" "text" "rst" "adoc" "asciidoc" "org" "log" "tex" "srt" "vtt"],
    /// The whole file is one document with headings.
    Markdown "markdown" ["md" "markdown" "mdown" "mkd" "qmd" "rmd"],
    /// The whole file is one document: the source text of a program, or a configuration.
    Code "code" ["rs" "py" "pyi" "js" "mjs" "cjs" "ts" "mts" "jsx" "tsx" "vue" "svelte" "java" "kt" "kts" "scala" "groovy"
        "gradle" "clj" "cljs" "c" "h" "cc" "cpp" "cxx" "hh" "hpp" "hxx" "m" "mm" "cs" "fs" "fsx" "vb" "go" "swift" "zig"
        "nim" "d" "rb" "php" "pl" "pm" "lua" "r" "jl" "dart" "ex" "exs" "erl" "hrl" "hs" "ml" "mli" "elm" "lisp" "el"
        "scm" "f" "f90" "for" "pas" "ada" "adb" "ads" "asm" "s" "v" "sv" "vhd" "vhdl" "sh" "bash" "zsh" "fish" "ps1"
        "bat" "cmd" "awk" "sed" "sql" "graphql" "proto" "thrift" "toml" "yaml" "yml" "ini" "cfg" "conf" "properties"
        "cmake" "mk" "tf" "nix" "xml" "xsd" "xsl" "dtd" "bib" "diff" "patch"],
    /// One JSON object a line.
    JsonLines "jsonl" ["jsonl" "ndjson"],
    /// A JSON array of objects, or one object.
    Json "json" ["json"],
    /// A table with a header row; its cells are separated by commas, semicolons or tabs.
    Csv "csv" ["csv"],
    /// A table with a header row; its cells are separated by tabs.
    Tsv "tsv" ["tsv" "tab"],
    /// A table in columns; its rows are documents.
    Parquet "parquet" ["parquet"],
    /// A table in columns (Arrow's file format, also known as Feather); its rows are documents.
    Arrow "arrow" ["arrow" "feather" "ipc"],
    /// A web page.
    Html "html" ["html" "htm" "xhtml" "shtml"],
    /// A book.
    Epub "epub" ["epub"],
    /// PDF.
    Pdf "pdf" ["pdf"],
    /// A text of Microsoft Word.
    Word "word" ["docx" "docm" "dotx" "doc"],
    /// Sheets of Microsoft Excel.
    Excel "excel" ["xlsx" "xlsm" "xls"],
    /// Slides of Microsoft PowerPoint.
    PowerPoint "powerpoint" ["pptx" "pptm" "ppsx" "ppt"],
    /// A text, sheets or slides in the OpenDocument format.
    OpenDocument "opendocument" ["odt" "ott" "ods" "odp"],
    /// A text in the Rich Text Format.
    Rtf "rtf" ["rtf"],
    /// An e-mail message.
    Email "email" ["eml"],
    /// An archive, whose files are read.
    Zip "zip" ["zip"],
    /// An archive, whose files are read.
    Tar "tar" ["tar"],
    /// A file of any of the other formats, packed.
    Gzip "gzip" ["gz" "tgz"],
    /// A file of any of the other formats, packed.
    Zstandard "zstd" ["zst" "tzst"],
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By its name, or by one of its extensions.
impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = || Self::ALL.iter().copied();
        all()
            .find(|format| format.name() == name)
            .or_else(|| all().find(|format| format.extensions().contains(&name)))
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
                Error::Input {
                    place: name.into(),
                    what: format!("there is no such format; there are {}", names.join(", ")),
                }
            })
    }
}

/// What the beginning of a file says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Certainly this.
    Format(Format),
    /// Something that holds no text, or none that can be read: the words for it.
    Foreign(String),
    /// Characters, of whatever kind.
    Text,
    /// Neither.
    Binary,
}

impl Format {
    /// The format that a file's extension, in any case, stands for.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension().and_then(OsStr::to_str)?;
        let extension = extension.to_ascii_lowercase();
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.extensions().contains(&extension.as_str()))
    }

    /// What a file is by its beginning and by its name. `Err` says what it is instead of a format that is read.
    pub(super) fn detect(beginning: &[u8], name: &Path) -> Result<Self, String> {
        let named = Self::of_path(name);
        match (see(beginning), named) {
            // Both pack a family of formats, and the name says which member it is.
            (Seen::Format(Self::Word), Some(named @ (Self::Excel | Self::PowerPoint))) => Ok(named),
            (Seen::Format(Self::Zip), Some(named)) if named.is_zipped() => Ok(named),
            (Seen::Format(Self::Html | Self::Email), Some(named)) if named.is_plain() => Ok(named),
            (Seen::Format(seen), _) => Ok(seen),
            (Seen::Foreign(what), _) => Err(what),
            (Seen::Text, Some(named)) if named.is_text() => Ok(named),
            (Seen::Text, None) => Ok(Self::Text),
            (Seen::Text, Some(named)) => {
                Err(format!("it is text, and no {named} file as its name says"))
            }
            (Seen::Binary, None) => Err("its format is unknown".into()),
            (Seen::Binary, Some(named)) if named.is_text() && is_mostly_zeros(beginning) => {
                Err("it holds zeros, and no text".into())
            }
            // Its reader knows best what is wrong with it: a broken character, or a format that begins with anything.
            (Seen::Binary, Some(named)) => Ok(named),
        }
    }

    /// Are its files characters?
    pub(super) fn is_text(self) -> bool {
        self.is_plain() || matches!(self, Self::Text | Self::Html | Self::Email)
    }

    /// Is a file of it a zip archive?
    fn is_zipped(self) -> bool {
        matches!(
            self,
            Self::Word | Self::Excel | Self::PowerPoint | Self::OpenDocument | Self::Epub
        )
    }

    /// Is a file of it no other format, though it may look like one?
    fn is_plain(self) -> bool {
        matches!(
            self,
            Self::Markdown | Self::Code | Self::JsonLines | Self::Json | Self::Csv | Self::Tsv
        )
    }
}

/// What bytes are, whatever their name.
pub(super) fn see(beginning: &[u8]) -> Seen {
    let beginning = &beginning[..beginning.len().min(BEGINNING)];
    // Readers of PDF let it begin with other bytes.
    if beginning
        .windows(5)
        .take(1_024)
        .any(|window| window == b"%PDF-")
    {
        return Seen::Format(Format::Pdf);
    }
    if beginning.starts_with(b"PK\x03\x04") || beginning.starts_with(b"PK\x05\x06") {
        return Seen::Format(zipped(beginning));
    }
    if beginning.starts_with(b"{\\rtf") {
        return Seen::Format(Format::Rtf);
    }
    // Old Office, and new Office behind a password.
    if beginning.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Seen::Format(Format::Word);
    }
    if beginning.starts_with(b"\x1f\x8b") {
        return Seen::Format(Format::Gzip);
    }
    if beginning.starts_with(b"\x28\xb5\x2f\xfd") {
        return Seen::Format(Format::Zstandard);
    }
    if beginning.starts_with(b"PAR1") {
        return Seen::Format(Format::Parquet);
    }
    if beginning.starts_with(b"ARROW1") {
        return Seen::Format(Format::Arrow);
    }
    if beginning.get(257..262) == Some(b"ustar") {
        return Seen::Format(Format::Tar);
    }
    let text = text(beginning);
    if let Some(kind) = infer::get(beginning).filter(|kind| !kind.mime_type().starts_with("text/"))
        && (text.is_none() || !kind.mime_type().starts_with("application/"))
    {
        return Seen::Foreign(format!(
            "it is of the type {}, which is not read",
            kind.mime_type()
        ));
    }
    let Some(text) = text else {
        return Seen::Binary;
    };
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    if is_html(text) {
        Seen::Format(Format::Html)
    } else if is_email(text) {
        Seen::Format(Format::Email)
    } else {
        Seen::Text
    }
}

/// What a crash may leave of a file. A few zeros may stand in what is text all the same.
fn is_mostly_zeros(beginning: &[u8]) -> bool {
    let zeros = beginning.iter().filter(|&&byte| byte == 0).count();
    zeros > beginning.len() / 8 && std::str::from_utf8(beginning).is_ok()
}

/// The characters of a beginning, if it holds no byte that stands in no text. In a legacy encoding they are wrong, but for
/// those of ASCII.
fn text(beginning: &[u8]) -> Option<String> {
    let is_utf16 = beginning.starts_with(b"\xff\xfe") || beginning.starts_with(b"\xfe\xff");
    if is_utf16 {
        return Some(
            encoding_rs::Encoding::for_bom(beginning)?
                .0
                .decode(beginning)
                .0
                .into_owned(),
        );
    }
    let is_control =
        |&byte: &u8| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b);
    (!beginning.iter().any(is_control)).then(|| String::from_utf8_lossy(beginning).into_owned())
}

/// Which format a zip archive is: those that are one begin with a file that says so.
fn zipped(beginning: &[u8]) -> Format {
    let holds = |name: &[u8]| beginning.windows(name.len()).any(|window| window == name);
    // The first file's name stands at byte 30.
    let is_said = |kind: &[u8]| {
        let said = &beginning[..beginning.len().min(256)];
        said[30.min(said.len())..].starts_with(b"mimetype")
            && said.windows(kind.len()).any(|window| window == kind)
    };
    if is_said(b"application/epub+zip") {
        Format::Epub
    } else if is_said(b"application/vnd.oasis.opendocument") {
        Format::OpenDocument
    } else if holds(b"[Content_Types].xml") || holds(b"_rels/.rels") {
        if holds(b"xl/workbook") || holds(b"xl/worksheets") {
            Format::Excel
        } else if holds(b"ppt/presentation") || holds(b"ppt/slides") {
            Format::PowerPoint
        } else {
            Format::Word
        }
    } else {
        Format::Zip
    }
}

fn is_html(text: &str) -> bool {
    let mut rest = text;
    // A declaration, and comments, may stand before it.
    loop {
        rest = rest.trim_start();
        let end = if rest.starts_with("<?xml") {
            rest.find("?>").map(|at| at + 2)
        } else if rest.starts_with("<!--") {
            rest.find("-->").map(|at| at + 3)
        } else {
            break;
        };
        let Some(end) = end else { return false };
        rest = &rest[end..];
    }
    let begins = |with: &str| {
        rest.get(..with.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    begins("<!doctype html") || begins("<html")
}

/// A first line that only the header of a message has, followed by more of it.
fn is_email(text: &str) -> bool {
    let is_field = |line: &str, names: &[&str]| {
        let name = line.split_once(':').map(|(name, _)| name);
        name.is_some_and(|name| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    };
    let first = [
        "Return-Path",
        "Received",
        "Delivered-To",
        "Message-ID",
        "MIME-Version",
        "From",
        "Date",
        "X-Mozilla-Status",
    ];
    let also = ["Message-ID", "MIME-Version", "Received", "Subject"];
    let mut lines = text.lines();
    lines.next().is_some_and(|line| is_field(line, &first))
        && lines
            .take_while(|line| !line.is_empty())
            .filter(|line| is_field(line, &also))
            .count()
            >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_known_in_any_case_and_each_stands_for_one_format() {
        assert_eq!(Format::of_path(Path::new("a/B.MD")), Some(Format::Markdown));
        assert_eq!(
            Format::of_path(Path::new("x.tar.ndjson")),
            Some(Format::JsonLines)
        );
        assert_eq!(Format::of_path(Path::new("md")), None);
        assert_eq!("jsonl".parse::<Format>().expect("known"), Format::JsonLines);
        assert_eq!("docx".parse::<Format>().expect("known"), Format::Word);
        let unknown = "mp3".parse::<Format>().expect_err("unknown").to_string();
        assert!(unknown.contains("markdown"), "{unknown}");
        let mut all: Vec<_> = Format::ALL
            .iter()
            .flat_map(|format| format.extensions())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn bytes_say_more_than_names() {
        let detect = |bytes: &[u8], name: &str| Format::detect(bytes, Path::new(name));
        assert_eq!(detect(b"%PDF-1.4 ...", "a.txt"), Ok(Format::Pdf));
        assert_eq!(detect(b"{\\rtf1 x}", "a.doc"), Ok(Format::Rtf));
        assert_eq!(detect(b"<!DOCTYPE HTML><p>", "a.txt"), Ok(Format::Html));
        assert_eq!(detect(b"<html>", "a.md"), Ok(Format::Markdown));
        assert_eq!(
            detect(b"<?xml version=\"1.0\"?>\n<!-- x --><html>", "page"),
            Ok(Format::Html)
        );
        assert_eq!(detect(b"plain", "README"), Ok(Format::Text));
        assert_eq!(detect(b"plain", "a.rs"), Ok(Format::Code));
        assert_eq!(detect(b"a,b\n", "a.csv"), Ok(Format::Csv));
        let message = b"From: a@b.c\r\nSubject: x\r\nMessage-ID: <1>\r\n\r\nHello";
        assert_eq!(detect(message, "1234"), Ok(Format::Email));
        assert_eq!(
            detect(b"From: here\nto there\n\nSubject: none", "a.txt"),
            Ok(Format::Text)
        );
        for (bytes, name, words) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], "a.txt", "image/png"),
            (b"only words", "a.docx", "no word file"),
            (b"\0\x01\x02", "a", "unknown"),
        ] {
            let error = detect(bytes, name).expect_err(name);
            assert!(error.contains(words), "{error}");
        }
        assert!(detect(&[0; 100], "a.csv").is_err());
        assert_eq!(
            detect(b"\0\x01\xff", "a.txt"),
            Ok(Format::Text),
            "told by its reader"
        );
    }
}
