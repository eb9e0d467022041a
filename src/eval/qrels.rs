//! Which documents are relevant to which query.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};

/// Relevance judgements: query id → document id → relevance. Above 0 is relevant, higher is more so; 0 and below is judged
/// and not relevant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qrels {
    by_query: BTreeMap<String, BTreeMap<String, i32>>,
}

impl Qrels {
    /// Reads a file of judgements, see [`Qrels::parse`].
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and those of [`Qrels::parse`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&super::read_utf8(path)?, &path.display().to_string())
    }

    /// Parses judgements, one a line. Two layouts are known and told apart by the first line: BEIR's three columns
    /// separated by tabs under the header `query-id corpus-id score`, and TREC's four columns separated by white space,
    /// `query 0 document relevance`, without a header. `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`Error::Input`] naming the line that has other columns, a relevance that is no integer, or judges a document for
    /// the same query a second time and otherwise.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let mut qrels = Self::default();
        let mut lines = text
            .lines()
            .zip(1_u64..)
            .filter(|(line, _)| !line.trim().is_empty())
            .peekable();
        let is_beir = lines
            .peek()
            .is_some_and(|(line, _)| line.contains('\t') && line.split('\t').count() == 3);
        if is_beir
            && lines
                .peek()
                .is_some_and(|(line, _)| line.to_lowercase().starts_with("query-id\t"))
        {
            lines.next();
        }
        for (line, number) in lines {
            let wrong = |what: String| Error::Input {
                place: format!("{name}:{number}"),
                what,
            };
            let (query, document, relevance) = if is_beir {
                beir_columns(line)
            } else {
                trec_columns(line)
            }
            .ok_or_else(|| {
                wrong(format!(
                    "expected {}",
                    if is_beir { BEIR_LINE } else { TREC_LINE }
                ))
            })?;
            let relevance = relevance.parse().map_err(|_| {
                wrong(format!(
                    "the relevance is an integer such as 0 or 1, not {relevance:?}"
                ))
            })?;
            let earlier = qrels
                .by_query
                .entry(query.to_owned())
                .or_default()
                .insert(document.to_owned(), relevance);
            if let Some(earlier) = earlier.filter(|&earlier| earlier != relevance) {
                return Err(wrong(format!(
                    "document {document:?} was judged {earlier} for query {query:?} before, and here {relevance}"
                )));
            }
        }
        Ok(qrels)
    }

    /// Judges one document for one query.
    pub fn insert(
        &mut self,
        query: impl Into<String>,
        document: impl Into<String>,
        relevance: i32,
    ) {
        self.by_query
            .entry(query.into())
            .or_default()
            .insert(document.into(), relevance);
    }

    /// What is judged for a query: document id → relevance.
    pub fn judgements(&self, query: &str) -> Option<&BTreeMap<String, i32>> {
        self.by_query.get(query)
    }

    /// Has the query at least one relevant document?
    pub fn has_relevant(&self, query: &str) -> bool {
        self.judgements(query)
            .is_some_and(|judged| judged.values().any(|&relevance| relevance > 0))
    }

    /// The ids of all queries judged, sorted.
    pub fn query_ids(&self) -> impl Iterator<Item = &str> {
        self.by_query.keys().map(String::as_str)
    }
}

const BEIR_LINE: &str = "three columns separated by tabs: query-id, corpus-id, score";
const TREC_LINE: &str = "BEIR's `query-id corpus-id score` separated by tabs, or TREC's four columns `query 0 document relevance`";

fn beir_columns(line: &str) -> Option<(&str, &str, &str)> {
    let mut columns = line.split('\t').map(str::trim);
    let found = (columns.next()?, columns.next()?, columns.next()?);
    (columns.next().is_none() && !found.0.is_empty() && !found.1.is_empty()).then_some(found)
}

fn trec_columns(line: &str) -> Option<(&str, &str, &str)> {
    let mut columns = line.split_whitespace();
    let (query, _iteration) = (columns.next()?, columns.next()?);
    let found = (query, columns.next()?, columns.next()?);
    columns.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_layouts_give_the_same_judgements() {
        let beir = Qrels::parse(
            "query-id\tcorpus-id\tscore\r\nq1\td1\t2\r\nq1\td2\t0\r\nq2\td1\t1\r\n",
            "t.tsv",
        );
        let trec = Qrels::parse("q1 0 d1 2\nq1\t0\td2\t0\n\nq2  0  d1  1", "t.qrels");
        let beir = beir.expect("parses");
        assert_eq!(beir, trec.expect("parses"));
        assert_eq!(beir.judgements("q1").expect("judged")["d1"], 2);
        assert_eq!(beir.query_ids().collect::<Vec<_>>(), ["q1", "q2"]);
    }

    #[test]
    fn beir_ids_may_hold_spaces() {
        let qrels = Qrels::parse("query-id\tcorpus-id\tscore\nq 1\tmy notes.md\t1\n", "t.tsv")
            .expect("parses");
        assert!(qrels.has_relevant("q 1"));
        assert!(
            qrels
                .judgements("q 1")
                .expect("judged")
                .contains_key("my notes.md")
        );
    }

    #[test]
    fn a_query_judged_with_zeros_only_has_no_relevant_document() {
        let qrels = Qrels::parse("q1 0 d1 0\nq1 0 d2 -1\n", "t.qrels").expect("parses");
        assert!(!qrels.has_relevant("q1"));
        assert!(!qrels.has_relevant("q2"));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, place, part) in [
            (
                "query-id\tcorpus-id\tscore\nq1\td1\tone\n",
                "t:2: ",
                "not \"one\"",
            ),
            (
                "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td1\n",
                "t:3: ",
                "three columns",
            ),
            ("q1 0 d1\n", "t:1: ", "four columns"),
            ("q1 0 d1 1\n\nq1 0 d1 0\n", "t:3: ", "was judged 1"),
        ] {
            let message = Qrels::parse(text, "t").expect_err(text).to_string();
            assert!(
                message.starts_with(place) && message.contains(part),
                "{message}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z0-9\t\n \r{}\":_ü-]|query-id\tcorpus-id\tscore\n|q 0 d 1\n|q Q0 d 1 0.5 x\n|\\{\"_id\": \"a\", \"text\": \"x\"\\}\n){0,30}") {
            let _ = Qrels::parse(&text, "t");
        }
    }
}
