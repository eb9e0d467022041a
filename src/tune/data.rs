//! What is learnt from: queries, and the documents that answer them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::document::{Document, Value};
use crate::error::{Error, Result};
use crate::eval::{BeirFolder, Qrels, Query, read_queries};
use crate::ingest::{Documents, Sources};

/// A query with what answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The query's id.
    pub id: String,
    /// The query.
    pub query: String,
    /// Documents that answer it, as places in [`Examples::documents`].
    pub positives: Vec<usize>,
    /// Documents that are known not to.
    pub negatives: Vec<usize>,
}

/// Queries and the collection that they are asked of.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// All that can be found.
    pub documents: Vec<Document>,
    /// Queries to learn from.
    pub examples: Vec<Example>,
    /// Queries that are only for the test. If there are none, some of the others are held out.
    pub held_out: Vec<Example>,
    /// Queries whose answers nobody knows. If there are any, they are what is learnt from: a teacher made of the encoder's tokens
    /// and of words judges what they find.
    pub questions: Vec<String>,
}

/// A pair's keys.
const QUERY: &str = "query";
const POSITIVE: &str = "positive";
const NEGATIVES: [&str; 2] = ["negatives", "negative"];

impl Examples {
    /// A folder in BEIR's layout: its corpus, and the queries that `learn` and `test` judge, names of its splits. What is judged 0
    /// or less is a negative.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Input`] for files that cannot be read, or a query all of whose relevant documents are missing in
    /// the corpus.
    pub fn from_beir(folder: &BeirFolder, learn: Option<&str>, test: Option<&str>) -> Result<Self> {
        let documents = Sources::new().path(&folder.corpus).plan()?.documents();
        let documents = documents.collect::<Result<Vec<_>>>()?;
        let queries = read_queries(&folder.queries)?;
        let examples = judged(&documents, &queries, folder.split(learn)?)?;
        let held_out = match test {
            Some(test) => judged(&documents, &queries, folder.split(Some(test))?)?,
            None => Vec::new(),
        };
        Ok(Self {
            documents,
            examples,
            held_out,
            ..Self::default()
        })
    }

    /// Reads [`questions`](Self::questions) from a text file, one a line, or from any file that has fields: `query`, `question` or
    /// `text`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Input`] for a file that cannot be read or has none.
    pub fn read_questions(path: impl AsRef<Path>) -> Result<Vec<String>> {
        let path = path.as_ref();
        let lines = path.extension().is_some_and(|extension| extension == "txt");
        let found: Vec<String> = if lines {
            let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
            text.lines().map(|line| line.trim().to_owned()).collect()
        } else {
            read_named(path, &[QUERY, "question", "text"])?
                .map(|document| document.map(|found| found.text))
                .collect::<Result<_>>()?
        };
        let found: Vec<String> = found
            .into_iter()
            .filter(|question| !question.is_empty())
            .collect();
        match found[..] {
            [] => Err(Error::Input {
                place: path.display().to_string(),
                what: "it has no question; they stand one a line, or under `query`".into(),
            }),
            _ => Ok(found),
        }
    }

    /// Pairs from a file of any format that has fields (JSON Lines, CSV, TSV, Parquet): `query`, `positive`, and `negatives`
    /// where there are any. A positive is the id of one of `documents` or its text; without documents the texts are the
    /// collection. The pairs of one query are one example.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Input`] for a file that cannot be read, lacks a field, or names what is not in the collection.
    pub fn from_pairs(path: impl AsRef<Path>, documents: Vec<Document>) -> Result<Self> {
        let path = path.as_ref();
        let pairs = read_named(path, &[QUERY])?;
        let mut found = Collecting::new(documents);
        for pair in pairs {
            let pair = pair?;
            let wrong = |what: String| Error::Input {
                place: format!("{}: the pair of {:?}", path.display(), pair.text),
                what,
            };
            let positives = texts(pair.fields.get(POSITIVE));
            if positives.is_empty() {
                return Err(wrong(format!(
                    "it has no `{POSITIVE}`; that is a text, a document's id, or a list of them"
                )));
            }
            let place = |texts: Vec<String>, found: &mut Collecting| -> Result<Vec<usize>> {
                let places = texts.into_iter().map(|text| found.place(&text).ok_or(text));
                let places: Result<_, String> = places.collect();
                places.map_err(|missing| unanswered(path, &pair.text, &missing))
            };
            let positives = place(positives, &mut found)?;
            let negatives = NEGATIVES
                .iter()
                .flat_map(|name| texts(pair.fields.get(*name)));
            let negatives = place(negatives.collect(), &mut found)?;
            found.add(&pair.text, positives, negatives);
        }
        Ok(found.examples)
    }
}

impl Examples {
    /// Does every query have an answer that is there?
    pub(super) fn check(&self) -> Result<()> {
        let there = |place: &usize| *place < self.documents.len();
        for example in self.examples.iter().chain(&self.held_out) {
            let all = example.positives.iter().chain(&example.negatives);
            if example.positives.is_empty() || !all.clone().all(there) {
                return Err(Error::Tune {
                    what: format!(
                        "the query {:?} has no answer in the collection, or names a document that is not there",
                        example.query
                    ),
                });
            }
        }
        Ok(())
    }
}

/// The queries that have a relevant document in a file of judgements.
fn judged(documents: &[Document], queries: &[Query], path: &Path) -> Result<Vec<Example>> {
    let qrels = Qrels::read(path)?;
    let mut by_id: HashMap<&str, usize> = HashMap::new();
    by_id.extend(
        documents
            .iter()
            .enumerate()
            .map(|(at, document)| (document.id.as_str(), at)),
    );
    let mut examples = Vec::new();
    for query in queries.iter().filter(|query| qrels.has_relevant(&query.id)) {
        let judged = qrels.judgements(&query.id).into_iter().flatten();
        let (positives, negatives): (Vec<_>, Vec<_>) = judged.partition(|&(_, &grade)| grade > 0);
        let places = |ids: &[(&String, &i32)]| -> Vec<usize> {
            ids.iter()
                .filter_map(|(id, _)| by_id.get(id.as_str()).copied())
                .collect()
        };
        let found = places(&positives);
        if let (true, Some((missing, _))) = (found.is_empty(), positives.first()) {
            return Err(unanswered(path, &query.text, missing));
        }
        examples.push(Example {
            id: query.id.clone(),
            query: query.text.clone(),
            positives: found,
            negatives: places(&negatives),
        });
    }
    Ok(examples)
}

fn unanswered(path: &Path, query: &str, missing: &str) -> Error {
    let shown: String = missing.chars().take(60).collect();
    Error::Input {
        place: format!("{}: the query {query:?}", path.display()),
        what: format!(
            "its answer {shown:?} is not in the collection; add that document, or leave the query out"
        ),
    }
}

/// The rows of a file, their text under the first of these names that it has.
pub(super) fn read_named(path: &Path, names: &[&str]) -> Result<Documents> {
    let open = |name: &str| -> Result<Documents> {
        Ok(Sources::new()
            .path(path)
            .text_field(name)
            .without_headings()
            .plan()?
            .documents())
    };
    for name in names {
        if matches!(open(name)?.next(), Some(Ok(_))) {
            return open(name);
        }
    }
    // The error that the usual name gives says best what is wrong.
    open(names[0])
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) if !text.trim().is_empty() => vec![text.clone()],
        Some(Value::Integer(id)) => vec![id.to_string()],
        Some(Value::List(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Examples while they are read.
struct Collecting {
    examples: Examples,
    /// Ids and texts → documents.
    places: HashMap<String, usize>,
    /// Queries → examples.
    queries: HashMap<String, usize>,
    /// What is not there yet is added.
    grows: bool,
}

impl Collecting {
    fn new(documents: Vec<Document>) -> Self {
        let mut places = HashMap::new();
        for (at, document) in documents.iter().enumerate() {
            places.entry(document.text.trim().to_owned()).or_insert(at);
        }
        // An id counts before another document's text.
        places.extend(
            documents
                .iter()
                .enumerate()
                .map(|(at, document)| (document.id.clone(), at)),
        );
        Self {
            grows: documents.is_empty(),
            examples: Examples {
                documents,
                ..Examples::default()
            },
            places,
            queries: HashMap::new(),
        }
    }

    fn place(&mut self, text: &str) -> Option<usize> {
        let text = text.trim();
        if let Some(&place) = self.places.get(text) {
            return Some(place);
        }
        self.grows.then(|| {
            let place = self.examples.documents.len();
            self.examples
                .documents
                .push(Document::new(format!("text {place}"), text));
            self.places.insert(text.to_owned(), place);
            place
        })
    }

    fn add(&mut self, query: &str, positives: Vec<usize>, negatives: Vec<usize>) {
        let examples = &mut self.examples.examples;
        let at = *self
            .queries
            .entry(query.trim().to_owned())
            .or_insert_with(|| {
                examples.push(Example {
                    id: format!("query {}", examples.len()),
                    query: query.trim().to_owned(),
                    positives: Vec::new(),
                    negatives: Vec::new(),
                });
                examples.len() - 1
            });
        let example = &mut examples[at];
        for positive in positives {
            if !example.positives.contains(&positive) {
                example.positives.push(positive);
            }
        }
        example.negatives.extend(negatives);
        let Example {
            positives,
            negatives,
            ..
        } = example;
        negatives.retain(|negative| !positives.contains(negative));
    }
}
