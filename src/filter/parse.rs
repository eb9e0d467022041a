//! Tokens → filter, by recursive descent. [`Filter::parse`] describes the language.

use super::display::{KEYWORDS, Name};
use super::lex::{Fault, Token, fault, next_token};
use super::{Comparison, Filter};
use crate::document::Value;
use crate::error::{Error, Result};

/// How deep parentheses and `not` may nest: far beyond what people write, far below what the stack holds.
const MAX_DEPTH: usize = 64;

const COMPARISONS: &str = "`=` `!=` `<` `<=` `>` `>=` `in` or `not in`";

impl Filter {
    /// Parses a filter as people type it.
    ///
    /// # The language
    ///
    /// | condition | true where |
    /// |---|---|
    /// | `lang = 'en'` | the field equals the value; `==` is the same |
    /// | `lang != 'en'` | not so: also where there is no such field |
    /// | `year < 2020`, `<=`, `>`, `>=` | the field is a number, or a string, on that side of the value |
    /// | `lang in ('en', 'de')` | the field equals one of the values |
    /// | `lang not in ('en', 'de')` | not so: also where there is no such field |
    /// | `exists year`, `exists(year)` | the field is there and not null |
    /// | `true`, `false` | always, never |
    ///
    /// Conditions are joined with `and` (`&&`) and `or` (`||`), turned round with `not` (`!`), and grouped with
    /// parentheses. `not` binds tighter than `and`, and `and` tighter than `or`. Keywords may be written in any case.
    ///
    /// **Values** are strings in single or double quotes; integers; floats (`2.5`, `-1e3`); `true` and `false`. In quotes a
    /// backslash stands before `\`, a quote or a backtick to mean just that, and `\n`, `\r`, `\t` and `\u{1f600}` are a line
    /// feed, a carriage return, a tab and a character by its number. An integer beyond 64 bits is taken as a float, as in
    /// documents that are read from JSON. There is no null: `not exists field` asks for it.
    ///
    /// **Field names** start with a letter of any script or `_`, and go on with letters, digits, `_`, `-`, `.` and `:`
    /// (nested JSON is flattened with dots: `author.name`). Any other name, and the keywords, stand in backticks, with the
    /// same escapes: `` `publication year` = 1999 ``.
    ///
    /// ```
    /// use vecdb::Filter;
    /// let filter = Filter::parse("lang in ('en', 'de') and (stars >= 100 or not exists archived)")?;
    /// assert_eq!(Filter::parse(&filter.to_string())?, filter);
    ///
    /// let error = Filter::parse("lang = en").unwrap_err().to_string();
    /// assert!(error.contains("a string needs quotes: 'en'"));
    /// # Ok::<(), vecdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Filter`] with the place and what was expected there; also for an empty text, and for parentheses or `not`
    /// nested more than 64 deep.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |Fault { offset, what }| Error::Filter {
            filter: text.to_owned(),
            offset,
            what,
        };
        Parser::new(text).and_then(Parser::filter).map_err(wrong)
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The token to be looked at next, and where it begins and ends.
    token: Token,
    start: usize,
    end: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, Fault> {
        let (token, start, end) = next_token(text, 0)?;
        Ok(Self {
            text,
            token,
            start,
            end,
            depth: 0,
        })
    }

    fn filter(mut self) -> Result<Filter, Fault> {
        if self.token == Token::End {
            return fault(0, "it is empty; write a condition such as lang = 'en'");
        }
        let filter = self.any()?;
        match &self.token {
            Token::End => Ok(filter),
            Token::Symbol(")") => fault(self.start, "this `)` closes nothing"),
            _ => fault(self.start, "expected `and`, `or` or the end"),
        }
    }

    /// Takes the token and moves to the next.
    fn advance(&mut self) -> Result<Token, Fault> {
        let (token, start, end) = next_token(self.text, self.end)?;
        (self.start, self.end) = (start, end);
        Ok(std::mem::replace(&mut self.token, token))
    }

    /// Is the token this symbol, or this keyword in any case?
    fn at(&self, word: &str) -> bool {
        match &self.token {
            Token::Symbol(symbol) => *symbol == word,
            Token::Word(found) => found.eq_ignore_ascii_case(word),
            _ => false,
        }
    }

    fn eat(&mut self, word: &str) -> Result<bool, Fault> {
        let found = self.at(word);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    /// `all or all or …`
    fn any(&mut self) -> Result<Filter, Fault> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.eat("or")? {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Filter::Or(parts)
        })
    }

    /// `condition and condition and …`
    fn all(&mut self) -> Result<Filter, Fault> {
        let first = self.condition()?;
        let mut parts = vec![first];
        while self.eat("and")? {
            parts.push(self.condition()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Filter::And(parts)
        })
    }

    fn condition(&mut self) -> Result<Filter, Fault> {
        if self.depth == MAX_DEPTH {
            return fault(
                self.start,
                format!("parentheses and `not` nest more than {MAX_DEPTH} deep"),
            );
        }
        self.depth += 1;
        let condition = self.condition_inside();
        self.depth -= 1;
        condition
    }

    fn condition_inside(&mut self) -> Result<Filter, Fault> {
        if self.eat("not")? {
            return Ok(self.condition()?.negate());
        }
        let opened = self.start;
        if self.eat("(")? {
            let inside = self.any()?;
            return match self.eat(")")? {
                true => Ok(inside),
                false if self.token == Token::End => fault(opened, "this `(` is never closed"),
                false => fault(self.start, "expected `and`, `or` or `)`"),
            };
        }
        if self.eat("exists")? {
            return self.exists();
        }
        if self.eat("true")? {
            return Ok(Filter::And(Vec::new()));
        }
        if self.eat("false")? {
            return Ok(Filter::Or(Vec::new()));
        }
        let field = self.field("expected a condition")?;
        self.comparison(field)
    }

    fn exists(&mut self) -> Result<Filter, Fault> {
        let in_parentheses = self.eat("(")?;
        let field = self.field("expected a field name after `exists`")?;
        if in_parentheses && !self.eat(")")? {
            return fault(self.start, format!("expected `)`, found {}", self.token));
        }
        Ok(Filter::Exists(field))
    }

    fn field(&mut self, expected: &str) -> Result<String, Fault> {
        match &self.token {
            Token::Word(word)
                if KEYWORDS
                    .iter()
                    .any(|keyword| word.eq_ignore_ascii_case(keyword)) =>
            {
                fault(
                    self.start,
                    format!(
                        "{expected}, found the keyword `{word}`; a field of that name stands in backticks"
                    ),
                )
            }
            Token::Name(name) if name.is_empty() => {
                fault(self.start, "a field name cannot be empty")
            }
            Token::Word(_) | Token::Name(_) => match self.advance()? {
                Token::Word(name) | Token::Name(name) => Ok(name),
                _ => unreachable!("just seen to be a name"),
            },
            Token::Value(_) => fault(
                self.start,
                format!(
                    "{expected}, which starts with a field name, found {}",
                    self.token
                ),
            ),
            _ => fault(self.start, format!("{expected}, found {}", self.token)),
        }
    }

    /// What stands after a field.
    fn comparison(&mut self, field: String) -> Result<Filter, Fault> {
        if self.eat("not")? {
            return match self.eat("in")? {
                true => Ok(self.membership(field)?.negate()),
                false => fault(self.start, "expected `in` after `not`"),
            };
        }
        if self.eat("in")? {
            return self.membership(field);
        }
        let (comparison, is_negated) = match &self.token {
            Token::Symbol("=") => (Comparison::Equal, false),
            Token::Symbol("!=") => (Comparison::Equal, true),
            Token::Symbol("<") => (Comparison::Less, false),
            Token::Symbol("<=") => (Comparison::LessOrEqual, false),
            Token::Symbol(">") => (Comparison::Greater, false),
            Token::Symbol(">=") => (Comparison::GreaterOrEqual, false),
            Token::Word(word) if word.eq_ignore_ascii_case("is") => {
                let field = Name(&field);
                let what =
                    format!("write `exists {field}`, or `not exists {field}` for null or absent");
                return fault(self.start, what);
            }
            Token::End | Token::Symbol(")" | "and" | "or") | Token::Word(_) => {
                return fault(
                    self.start,
                    format!("expected {COMPARISONS} after a field; a boolean is asked by `= true`"),
                );
            }
            _ => {
                return fault(
                    self.start,
                    format!("expected {COMPARISONS} after a field, found {}", self.token),
                );
            }
        };
        let operator = self.text[self.start..self.end].to_owned();
        self.advance()?;
        let place = self.start;
        let value = self.value(&field, &operator)?;
        if matches!(value, Value::Bool(_)) && comparison != Comparison::Equal {
            return fault(place, "true and false are compared with `=` and `!=` only");
        }
        let condition = Filter::Compare(field, comparison, value);
        Ok(if is_negated {
            condition.negate()
        } else {
            condition
        })
    }

    /// `(value, value, …)`, where the last comma may stand before the parenthesis.
    fn membership(&mut self, field: String) -> Result<Filter, Fault> {
        let opened = self.start;
        if !self.eat("(")? {
            return fault(
                self.start,
                "expected a list in parentheses after `in`: ('en', 'de')",
            );
        }
        let mut values = Vec::new();
        let mut before = "(";
        while !self.eat(")")? {
            values.push(self.value(&field, before)?);
            before = ",";
            if !self.eat(",")? && !self.at(")") {
                return match self.token {
                    Token::End => fault(opened, "this `(` is never closed"),
                    _ => fault(self.start, "expected `,` or `)` in the list"),
                };
            }
        }
        Ok(Filter::In(field, values))
    }

    fn value(&mut self, field: &str, before: &str) -> Result<Value, Fault> {
        if self.eat("true")? {
            return Ok(Value::Bool(true));
        }
        if self.eat("false")? {
            return Ok(Value::Bool(false));
        }
        match &self.token {
            Token::Value(_) => match self.advance()? {
                Token::Value(value) => Ok(value),
                _ => unreachable!("just seen to be a value"),
            },
            Token::Word(word) if word.eq_ignore_ascii_case("null") => fault(
                self.start,
                format!("null is not compared; use `not exists {}`", Name(field)),
            ),
            Token::Word(word) => fault(self.start, format!("a string needs quotes: '{word}'")),
            Token::Name(name) => fault(
                self.start,
                format!("backticks are for field names; a string needs quotes: {name:?}"),
            ),
            _ => fault(self.start, format!("expected a value after `{before}`")),
        }
    }
}

#[cfg(test)]
mod tests;
