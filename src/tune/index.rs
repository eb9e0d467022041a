//! A collection encoded by one encoder, searched as users search it.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::data::Example;
use crate::database::{BatchOptions, Collection, Database, Query};
use crate::document::Document;
use crate::encoder::EncoderOptions;
use crate::error::Result;
use crate::eval::{Measure, Qrels, Run, evaluate};

const COLLECTION: &str = "tuning";
/// Hits that the measures look at.
pub(super) const DEPTH: usize = 100;

/// Documents in a database of their own.
pub(super) struct Index {
    collection: Collection,
    places: HashMap<String, usize>,
}

/// A document that a query found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub document: usize,
    pub score: f32,
    /// Of its text, the best passage.
    pub range: Range<usize>,
}

impl Index {
    /// Encodes the documents into a database, or what it lacks of them.
    pub fn build(
        folder: &Path,
        encoder: &EncoderOptions,
        documents: &[Document],
        mut progress: impl FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Self> {
        let database = Database::options().encoder(encoder.clone()).open(folder)?;
        let collection = database.collection(COLLECTION)?;
        let options = BatchOptions::default().progress(move |done| progress(done.documents));
        collection.ingest(documents.iter().cloned().map(Ok), options)?;
        let places = documents
            .iter()
            .enumerate()
            .map(|(at, document)| (document.id.clone(), at));
        Ok(Self {
            collection,
            places: places.collect(),
        })
    }

    /// The best documents of each query.
    pub fn search(&self, queries: &[&str], limit: usize) -> Result<Vec<Vec<Found>>> {
        let queries = queries
            .iter()
            .map(|&query| self.collection.query(query).limit(limit));
        let answers = Query::scores_all(queries)?;
        let found = |answer: Vec<crate::database::Scored>| {
            let known = answer.into_iter().filter_map(|hit| {
                Some(Found {
                    document: *self.places.get(&hit.id)?,
                    score: hit.score,
                    range: hit.range,
                })
            });
            known.collect()
        };
        Ok(answers.into_iter().map(found).collect())
    }

    /// nDCG@10 and Recall@100 of each example, in order.
    pub fn measure(&self, examples: &[&Example], documents: &[Document]) -> Result<Vec<[f64; 2]>> {
        let queries: Vec<&str> = examples
            .iter()
            .map(|example| example.query.as_str())
            .collect();
        let answers = self.search(&queries, DEPTH)?;
        Ok(measure(examples, documents, &answers))
    }
}

/// nDCG@10 and Recall@100 of answers.
pub(super) fn measure(
    examples: &[&Example],
    documents: &[Document],
    answers: &[Vec<Found>],
) -> Vec<[f64; 2]> {
    let (mut run, mut qrels) = (Run::default(), Qrels::default());
    // Ids that sort as the examples stand: an evaluation is in the order of ids.
    let name = |at: usize| format!("{at:09}");
    for (at, (example, answer)) in examples.iter().zip(answers).enumerate() {
        let hits = answer
            .iter()
            .map(|hit| (documents[hit.document].id.as_str(), hit.score));
        run.insert(name(at), hits);
        for &positive in &example.positives {
            qrels.insert(name(at), documents[positive].id.as_str(), 1);
        }
    }
    let evaluation = evaluate(&run, &qrels, &[Measure::Ndcg(10), Measure::Recall(DEPTH)]);
    let values = evaluation
        .per_query
        .iter()
        .map(|query| [query.values[0], query.values[1]]);
    values.collect()
}
