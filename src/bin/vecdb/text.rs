//! Numbers, durations and passages as people read them.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;
use vecdb::{Fields, Value};

/// `1204` → `1,204`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1` and "passage" → `1 passage`; `1204` → `1,204 passages`.
pub fn count(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

/// `1_500_000` → `1.5 MB`; powers of 1,000.
pub fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if size < 999.5 {
            break;
        }
        size /= 1_000.0;
        unit = next;
    }
    if unit == "B" || size >= 99.5 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// `500M` → 500,000,000; a number of bytes, or one with K, M, G or T, powers of 1,000.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(['b', 'B']);
    let (digits, power) = match number.char_indices().next_back() {
        Some((at, unit)) if unit.is_ascii_alphabetic() => {
            let units = ['k', 'm', 'g', 't'];
            let unit = units.iter().position(|u| *u == unit.to_ascii_lowercase());
            (&number[..at], unit.map(|unit| unit as u32 + 1))
        }
        _ => (number, Some(0)),
    };
    let size = digits.trim().parse::<f64>().ok().zip(power);
    let size = size.map(|(size, power)| size * 1e3_f64.powi(power.cast_signed()));
    match size {
        Some(size) if size.is_finite() && size >= 1.0 => Ok(size as u64),
        _ => Err("a size is a number of bytes, or one such as 500M or 4G".into()),
    }
}

/// `12.34 s` → `12.3 s`; below a second in milliseconds, from two minutes on in minutes or hours.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.01 {
        format!("{:.1} ms", seconds * 1_000.0)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1_000.0)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7_200.0 {
        format!(
            "{} min {:02} s",
            duration.as_secs() / 60,
            duration.as_secs() % 60
        )
    } else {
        format!(
            "{} h {:02} min",
            duration.as_secs() / 3_600,
            duration.as_secs() / 60 % 60
        )
    }
}

/// As [`duration`] without tenths, which would flicker in a line that is drawn again and again.
pub fn whole_seconds(duration: Duration) -> String {
    if duration.as_secs() < 120 {
        format!("{:.0} s", duration.as_secs_f64())
    } else {
        self::duration(duration)
    }
}

/// How many a second, in a precision that changes slowly enough to read.
pub fn per_second(number: u64, elapsed: Duration) -> String {
    let rate = number as f64 / elapsed.as_secs_f64().max(1e-9);
    if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        grouped(rate.round() as u64)
    }
}

/// The text without what could steer a terminal: control characters become spaces.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The text in lines of at most `width` columns, broken at white space, and inside a word only where it is wider than a line.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_whitespace() {
        let word = plain(word);
        let columns = columns(&word);
        if used > 0 && used + 1 + columns > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            let columns = c.width().unwrap_or(0);
            if used + columns > width && used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The text on one line of at most `width` columns; what is cut off is shown by `…`.
pub fn cut(text: &str, width: usize) -> String {
    let text = plain(text);
    if columns(&text) <= width {
        return text;
    }
    let mut used = 1;
    let mut short: String = text
        .chars()
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= width
        })
        .collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// Columns that the text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The title, unless it says no more than the id.
pub fn other_title<'a>(id: &str, title: Option<&'a str>) -> Option<&'a str> {
    title.filter(|title| *title != id)
}

/// `lang = en, year = 2020`; empty where there are no fields.
pub fn fields(fields: &Fields) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name} = {}", self::value(value)))
        .collect();
    plain(&pairs.join(", "))
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::List(values) => format!("[{}]", values.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit_and_nonsense_is_refused() {
        for (text, bytes) in [
            ("7", 7),
            ("500M", 500_000_000),
            ("1.5g", 1_500_000_000),
            ("4GB", 4_000_000_000),
            ("64 k", 64_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "4X", "-1", "0", "1e999", "nan", "4 G B", "é"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        let grouped: Vec<String> = [0, 7, 999, 1_000, 12_345, 1_234_567]
            .into_iter()
            .map(grouped)
            .collect();
        assert_eq!(grouped, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(
            (count(1, "hit"), count(2, "hit"), count(0, "hit")),
            ("1 hit".into(), "2 hits".into(), "0 hits".into())
        );
    }

    #[test]
    fn sizes_keep_two_digits_or_three() {
        let sizes: Vec<String> = [12, 999, 1_000, 1_500_000, 123_400_000_000]
            .into_iter()
            .map(bytes)
            .collect();
        assert_eq!(sizes, ["12 B", "999 B", "1.0 kB", "1.5 MB", "123 GB"]);
    }

    #[test]
    fn durations_choose_their_unit() {
        let shown: Vec<String> = [0.0042, 0.84, 12.34, 125.0, 7_322.0]
            .into_iter()
            .map(|s| duration(Duration::from_secs_f64(s)))
            .collect();
        assert_eq!(
            shown,
            ["4.2 ms", "840 ms", "12.3 s", "2 min 05 s", "2 h 02 min"]
        );
    }

    #[test]
    fn wrapped_lines_fit_and_lose_no_word() {
        let text = "a tree   stays\nbalanced 東京都 überlangeswortohneende";
        let lines = wrap(text, 10);
        assert!(lines.iter().all(|line| columns(line) <= 10), "{lines:?}");
        let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(letters(&lines.concat()), letters(text));
    }

    #[test]
    fn a_cut_text_fits_and_says_so() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("balanced tree", 10), "balanced…");
        assert_eq!(cut("東京都庁", 5), "東京…");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\u{7}"), "a [31mb ");
        assert_eq!(wrap("a\u{1b}[31mb", 20), ["a [31mb"]);
    }
}
