//! Text → tokens, each with its place.

use std::fmt;

use crate::document::Value;

/// What a piece of the text is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A bare name or keyword.
    Word(String),
    /// A name in backticks.
    Name(String),
    /// A string or number.
    Value(Value),
    /// An operator, parenthesis or comma.
    Symbol(&'static str),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => write!(f, "`{word}`"),
            Self::Name(name) => write!(f, "the name {name:?}"),
            Self::Value(Value::String(_)) => write!(f, "a string"),
            Self::Value(_) => write!(f, "a number"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => write!(f, "the end"),
        }
    }
}

/// What is wrong, and the byte where.
#[derive(Debug)]
pub(super) struct Fault {
    pub offset: usize,
    pub what: String,
}

pub(super) fn fault<T>(offset: usize, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault {
        offset,
        what: what.into(),
    })
}

/// Longer symbols stand before their beginnings.
const SYMBOLS: [(&str, &str); 13] = [
    ("==", "="),
    ("!=", "!="),
    ("<=", "<="),
    (">=", ">="),
    ("&&", "and"),
    ("||", "or"),
    ("=", "="),
    ("<", "<"),
    (">", ">"),
    ("!", "not"),
    ("(", "("),
    (")", ")"),
    (",", ","),
];

pub(super) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(super) fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')
}

/// The token that begins at or after byte `from`, with the bytes where it begins and ends.
pub(super) fn next_token(text: &str, from: usize) -> Result<(Token, usize, usize), Fault> {
    let rest = &text[from..];
    let start = from + rest.len() - rest.trim_start().len();
    let rest = &text[start..];
    let Some(first) = rest.chars().next() else {
        return Ok((Token::End, text.len(), text.len()));
    };
    if is_name_start(first) {
        let length = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
        return Ok((
            Token::Word(rest[..length].to_owned()),
            start,
            start + length,
        ));
    }
    if first.is_ascii_digit() || first == '-' {
        let (number, length) = number(rest, start)?;
        return Ok((Token::Value(number), start, start + length));
    }
    if matches!(first, '\'' | '"' | '`') {
        let (content, length) = quoted(rest, first, start)?;
        let token = if first == '`' {
            Token::Name(content)
        } else {
            Token::Value(Value::String(content))
        };
        return Ok((token, start, start + length));
    }
    if rest.starts_with("<>") {
        return fault(start, "unequal is written `!=`");
    }
    if let Some((symbol, meaning)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return Ok((Token::Symbol(meaning), start, start + symbol.len()));
    }
    match first {
        '&' => fault(start, "write `and` or `&&`"),
        '|' => fault(start, "write `or` or `||`"),
        '‘' | '’' | '“' | '”' => fault(start, "strings stand in straight quotes: 'en'"),
        _ => fault(
            start,
            format!("{first:?} has no meaning here; a field of an odd name stands in backticks"),
        ),
    }
}

/// An integer, or a float where it has a fraction or an exponent or is beyond 64 bits.
fn number(rest: &str, start: usize) -> Result<(Value, usize), Fault> {
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let mut length = usize::from(rest.starts_with('-'));
    match digits(length) {
        0 => return fault(start, "expected digits after `-`"),
        count => length += count,
    }
    let mut is_integer = true;
    if rest[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
        is_integer = false;
    }
    if rest[length..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
        if digits(length + 1 + sign) > 0 {
            length += 1 + sign + digits(length + 1 + sign);
            is_integer = false;
        }
    }
    if rest[length..].starts_with(is_name_part) {
        let end = rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
        return fault(
            start,
            format!(
                "this is not a number, and a string needs quotes: '{}'",
                &rest[..end]
            ),
        );
    }
    let written = &rest[..length];
    if let (true, Ok(integer)) = (is_integer, written.parse()) {
        return Ok((Value::Integer(integer), length));
    }
    match written.parse::<f64>() {
        Ok(float) if float.is_finite() => Ok((Value::Float(float), length)),
        _ => fault(start, "this number is too large for a 64-bit float"),
    }
}

/// What stands between two `quote`s, with the bytes it takes up including them.
fn quoted(rest: &str, quote: char, start: usize) -> Result<(String, usize), Fault> {
    let mut content = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((content, at + 1));
        }
        if c != '\\' {
            content.push(c);
            continue;
        }
        match chars.next() {
            Some((_, c @ ('\\' | '\'' | '"' | '`'))) => content.push(c),
            Some((_, 'n')) => content.push('\n'),
            Some((_, 'r')) => content.push('\r'),
            Some((_, 't')) => content.push('\t'),
            Some((_, 'u')) => match code_point(&rest[at..]) {
                Some((c, length)) => {
                    content.push(c);
                    // The escape is ASCII, and two of its characters are taken already.
                    chars.by_ref().take(length - 2).for_each(drop);
                }
                None => {
                    return fault(
                        start + at,
                        r"a character by its number is written `\u{1f600}`",
                    );
                }
            },
            Some(_) => {
                return fault(
                    start + at,
                    r"a backslash stands before \ ' ` n r t u or a double quote; write `\\` for itself",
                );
            }
            None => break,
        }
    }
    fault(start, format!("this {quote} is never closed"))
}

/// `\u{…}` at the beginning of `rest`: the character, and the bytes it takes up.
fn code_point(rest: &str) -> Option<(char, usize)> {
    let digits = rest.strip_prefix("\\u{")?.split_once('}')?.0;
    let is_hex = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some((char::from_u32(number)?, digits.len() + 4))
}
