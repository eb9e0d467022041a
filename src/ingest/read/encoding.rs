//! Bytes in another encoding → UTF-8.
//!
//! - A byte order mark tells UTF-16; this is certain, in every format. That of UTF-8 is dropped.
//! - What is not UTF-8 and has no such mark is text in a legacy encoding, or no text. Only texts and tables are guessed at, by
//!   `chardetng`, which is what a browser does: JSON is UTF-8 by its standard (RFC 8259).
//! - UTF-8 with a broken byte stays UTF-8 and an error: read as anything else all of it would be nonsense.

use std::io::{self, Cursor, Read};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8};
use encoding_rs_io::DecodeReaderBytesBuilder;

use crate::ingest::Format;

/// Bytes of a file that are looked at.
const SAMPLE: usize = 1 << 20;

/// In UTF-8 with broken bytes there are at least so many characters beyond ASCII for each of these.
const WHOLE_FOR_BROKEN: usize = 4;

/// The file as UTF-8. `guessed` is the encoding that it seems to have, where nothing in it says so.
pub(super) struct Decoded {
    pub reader: Box<dyn Read + Send>,
    pub guessed: Option<&'static str>,
}

/// Reads the beginning of a file and decodes all of it. A sequence that its encoding does not have becomes U+FFFD.
pub(super) fn decoded(
    mut reader: impl Read + Send + 'static,
    format: Format,
) -> io::Result<Decoded> {
    let mut sample = Vec::new();
    reader
        .by_ref()
        .take(SAMPLE as u64)
        .read_to_end(&mut sample)?;
    let marked = Encoding::for_bom(&sample).filter(|&(marked, _)| marked != UTF_8);
    let guessed = match (marked, format) {
        (Some(_), _) | (_, Format::JsonLines | Format::Json) => None,
        (None, _) => guess(&sample),
    };
    let is_marked = sample.starts_with("\u{feff}".as_bytes());
    let mut sample = Cursor::new(sample);
    if is_marked {
        sample.set_position(3);
    }
    let whole = sample.chain(reader);
    if marked.is_none() && guessed.is_none() {
        return Ok(Decoded {
            reader: Box::new(whole),
            guessed: None,
        });
    }
    // Without an encoding it goes by the mark.
    let mut decoder = DecodeReaderBytesBuilder::new();
    Ok(Decoded {
        reader: Box::new(decoder.encoding(guessed).build(whole)),
        guessed: guessed.map(Encoding::name),
    })
}

/// A web page as text: its encoding is that of its mark, else the one it names itself, else a guess.
#[cfg(feature = "html")]
pub(in crate::ingest) fn html(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    let (encoding, _) = Encoding::for_bom(bytes)
        .or_else(|| declared(bytes).map(|encoding| (encoding, 0)))
        .unwrap_or_else(|| (guess(bytes).unwrap_or(UTF_8), 0));
    encoding.decode(bytes).0
}

/// `<meta charset=…>`, or the same in a `content`, within the bytes where browsers look for it.
#[cfg(feature = "html")]
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)]).to_ascii_lowercase();
    let after = &head[head.find("charset=")? + "charset=".len()..];
    let label = after.trim_start_matches(['"', '\'', ' ']);
    let end = label.find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)));
    Encoding::for_label(&label.as_bytes()[..end.unwrap_or(label.len())])
}

/// The legacy encoding of what is text and not UTF-8.
fn guess(sample: &[u8]) -> Option<&'static Encoding> {
    let (mut whole, mut broken) = (0, 0);
    for chunk in sample.utf8_chunks() {
        whole += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    // The sample may end within a character.
    if broken <= usize::from(sample.len() == SAMPLE) || whole >= broken * WHOLE_FOR_BROKEN {
        return None;
    }
    if sample.iter().any(|&byte| is_binary(byte)) {
        return None;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(sample, sample.len() < SAMPLE);
    Some(detector.guess(None, Utf8Detection::Deny))
}

/// Stands in no text: controls other than tab, line ends, form feed and the escape of ISO-2022-JP.
fn is_binary(byte: u8) -> bool {
    byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], format: Format) -> (Vec<u8>, Option<&'static str>) {
        let found = decoded(Cursor::new(bytes.to_vec()), format).expect("read");
        let (mut reader, mut out) = (found.reader, Vec::new());
        reader.read_to_end(&mut out).expect("read");
        (out, found.guessed)
    }

    #[test]
    fn text_in_the_encodings_that_people_have_is_read() {
        let utf16 = |text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let marked = format!("\u{feff}{text}");
            marked.encode_utf16().flat_map(bytes).collect()
        };
        let text = "Käse, 東京 and 🙂\n";
        for marked in [utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes)] {
            for format in [Format::Text, Format::JsonLines] {
                assert_eq!(read(&marked, format), (text.as_bytes().to_vec(), None));
            }
        }
        for (name, text) in [
            (
                "windows-1252",
                "Der Käse wäre größer, sagte die Verkäuferin über den Preis.",
            ),
            (
                "windows-1251",
                "Быстрая коричневая лиса прыгает через ленивую собаку.",
            ),
            (
                "Shift_JIS",
                "吾輩は猫である。名前はまだ無い。どこで生れたか頓と見当がつかぬ。",
            ),
            ("GBK", "敏捷的棕色狐狸跳过懒狗，然后在树下休息了一整天。"),
            (
                "EUC-KR",
                "빠른 갈색 여우가 게으른 개를 뛰어넘고 나무 아래에서 쉬었다.",
            ),
        ] {
            let encoding = Encoding::for_label(name.as_bytes()).expect("known");
            let (bytes, _, lost) = encoding.encode(text);
            assert!(!lost);
            let (out, guessed) = read(&bytes, Format::Text);
            assert_eq!(
                (String::from_utf8_lossy(&out).as_ref(), guessed),
                (text, Some(name))
            );
        }
    }

    #[test]
    fn what_is_utf8_or_no_text_is_left_as_it_is() {
        let broken = ["東京で食べた。".as_bytes(), b"\xff", "東京".as_bytes()].concat();
        let long = "é".repeat(SAMPLE);
        let cut = [b"x", long.as_bytes()].concat();
        for bytes in [
            &b""[..],
            b"plain",
            "K\u{e4}se".as_bytes(),
            &broken,
            &cut,
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff",
        ] {
            assert_eq!(read(bytes, Format::Text), (bytes.to_vec(), None));
        }
        assert_eq!(read("\u{feff}marked".as_bytes(), Format::Csv).0, b"marked");
        assert_eq!(
            read(b"caf\xe9", Format::JsonLines),
            (b"caf\xe9".to_vec(), None)
        );
    }
}
