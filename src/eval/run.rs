//! The ranked answers, and TREC's file of them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// What was found for each query asked: query id → documents with their scores, best first.
///
/// A query that found nothing is in a run too, with no documents: it counts as answered badly, not as never asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    by_query: BTreeMap<String, Vec<(String, f32)>>,
}

impl Run {
    /// Notes what was found for a query, best first, and forgets what was noted before.
    pub fn insert<D: Into<String>>(
        &mut self,
        query: impl Into<String>,
        hits: impl IntoIterator<Item = (D, f32)>,
    ) {
        let hits = hits
            .into_iter()
            .map(|(document, score)| (document.into(), score))
            .collect();
        self.by_query.insert(query.into(), hits);
    }

    /// What was found for a query, best first; `None` if it was not asked.
    pub fn hits(&self, query: &str) -> Option<&[(String, f32)]> {
        self.by_query.get(query).map(Vec::as_slice)
    }

    /// The ids of all queries asked, sorted.
    pub fn query_ids(&self) -> impl Iterator<Item = &str> {
        self.by_query.keys().map(String::as_str)
    }

    /// Writes the file that `trec_eval` reads: a line `query Q0 document rank score vecdb` for each hit, ranks from 1.
    ///
    /// `trec_eval` sorts by score and breaks ties by id, so it can rank equal scores otherwise than this run does.
    ///
    /// # Errors
    /// [`Error::Input`] if an id is empty or holds white space, which the format cannot carry (nothing is written then);
    /// [`Error::Io`] if `out` fails, under `name`.
    pub fn write_trec(&self, mut out: impl Write, name: impl AsRef<Path>) -> Result<()> {
        for (query, hits) in &self.by_query {
            for id in std::iter::once(query).chain(hits.iter().map(|(document, _)| document)) {
                if id.is_empty() || id.contains(char::is_whitespace) {
                    let what = format!(
                        "a TREC run cannot carry the id {id:?}: ids in it are separated by white space"
                    );
                    return Err(Error::Input {
                        place: name.as_ref().display().to_string(),
                        what,
                    });
                }
            }
        }
        let mut write = || -> io::Result<()> {
            for (query, hits) in &self.by_query {
                for ((document, score), rank) in hits.iter().zip(1..) {
                    writeln!(out, "{query} Q0 {document} {rank} {score} vecdb")?;
                }
            }
            out.flush()
        };
        write().map_err(Error::io("write", name.as_ref()))
    }

    /// Reads such a file. The rank column orders the hits.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Input`] naming the line that has not six columns, or a rank or score
    /// that is no number.
    pub fn read_trec(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse_trec(&super::read_utf8(path)?, &path.display().to_string())
    }

    pub(crate) fn parse_trec(text: &str, name: &str) -> Result<Self> {
        let mut ranked: BTreeMap<String, Vec<(u64, String, f32)>> = BTreeMap::new();
        for (line, number) in text.lines().zip(1_u64..) {
            if line.trim().is_empty() {
                continue;
            }
            let wrong = |what: &str| Error::Input {
                place: format!("{name}:{number}"),
                what: what.into(),
            };
            let columns: Vec<_> = line.split_whitespace().collect();
            let [query, _, document, rank, score, _] = columns[..] else {
                return Err(wrong(
                    "expected six columns: query Q0 document rank score tag",
                ));
            };
            let rank = rank
                .parse()
                .map_err(|_| wrong("the rank is not a whole number"))?;
            let score = score
                .parse()
                .map_err(|_| wrong("the score is not a number"))?;
            ranked
                .entry(query.to_owned())
                .or_default()
                .push((rank, document.to_owned(), score));
        }
        let mut run = Self::default();
        for (query, mut hits) in ranked {
            hits.sort_by_key(|&(rank, ..)| rank);
            run.insert(
                query,
                hits.into_iter()
                    .map(|(_, document, score)| (document, score)),
            );
        }
        Ok(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_survives_being_written_and_read() {
        let mut run = Run::default();
        run.insert("q2", [("d1", 0.25), ("d3", 0.1)]);
        run.insert("q1", [("doc-ü", 0.700_000_05), ("d2", -1.5e-9)]);
        let mut file = Vec::new();
        run.write_trec(&mut file, "run.trec").expect("written");
        let text = String::from_utf8(file).expect("UTF-8");
        assert!(
            text.starts_with("q1 Q0 doc-ü 1 0.70000005 vecdb\nq1 Q0 d2 2 "),
            "{text}"
        );
        assert_eq!(Run::parse_trec(&text, "run.trec").expect("read"), run);
    }

    #[test]
    fn hits_are_read_in_the_order_of_their_ranks() {
        let run = Run::parse_trec("q Q0 b 10 1 x\nq Q0 a 2 3 x\n", "run.trec").expect("read");
        assert_eq!(
            run.hits("q").expect("asked"),
            [("a".to_owned(), 3.0), ("b".to_owned(), 1.0)]
        );
    }

    #[test]
    fn an_id_with_a_space_is_refused_before_anything_is_written() {
        let mut run = Run::default();
        run.insert("a", [("d1", 1.0)]);
        run.insert("b", [("my notes.md", 1.0)]);
        let mut file = Vec::new();
        let message = run
            .write_trec(&mut file, "run.trec")
            .expect_err("refused")
            .to_string();
        assert!(message.contains("my notes.md"), "{message}");
        assert!(file.is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, part) in [
            ("q Q0 d 1 0.5", "six columns"),
            ("q Q0 d x 0.5 t", "rank"),
            ("q Q0 d 1 high t", "score"),
        ] {
            let message = Run::parse_trec(&format!("q Q0 d 1 0.5 t\n{line}\n"), "r")
                .expect_err(line)
                .to_string();
            assert!(
                message.starts_with("r:2: ") && message.contains(part),
                "{message}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([a-z0-9\t\n \r{}\":_ü-]|query-id\tcorpus-id\tscore\n|q 0 d 1\n|q Q0 d 1 0.5 x\n|\\{\"_id\": \"a\", \"text\": \"x\"\\}\n){0,30}") {
            let _ = Run::parse_trec(&text, "t");
        }
    }
}
