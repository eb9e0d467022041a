//! How far to go from the old weights to the new: the development queries say it (Wortsman et al. 2021, arXiv:2109.01903).

use super::adapt::part_of;
use super::data::{Example, Examples};
use super::general::General;
use super::index::{Found, Index, measure};
use super::report::Step;
use super::split::shuffle;
use super::train::between;
use crate::encoder::trunk::{Numbers, Trunk, to_unit};
use crate::encoder::{Adapter, Encoder, Window};
use crate::error::Result;
use crate::random::Random;

/// Parts of the way that are tried.
const PARTS: [f32; 4] = [0.25, 0.5, 0.75, 1.0];
/// Development queries that are asked, and documents that they are asked of.
const MAX_QUERIES: usize = 300;
const MAX_DOCUMENTS: usize = 1_000;
/// Hits of the old encoder that are among these documents.
const HITS: usize = 10;

/// What the development queries are asked of, and what is not to be forgotten.
pub(super) struct Development<'a> {
    asked: Vec<&'a Example>,
    examples: &'a Examples,
    /// Of each text's window: the queries', the documents', the general set's.
    windows: Vec<Window>,
    /// Their vectors as they were, `[windows, dimension]`.
    before: Vec<f32>,
    documents: Vec<usize>,
    general: &'a General,
}

/// What was tried, and what is best.
pub(super) struct Choice {
    /// None if nothing is better than where it began.
    pub best: Option<Tried>,
    pub tried: Vec<Step>,
}

impl<'a> Development<'a> {
    pub fn new(
        examples: &'a Examples,
        asked: Vec<&'a Example>,
        general: &'a General,
        index: &Index,
        encoder: &Encoder,
        seed: u64,
    ) -> Result<Self> {
        let asked: Vec<&Example> = asked.into_iter().take(MAX_QUERIES).collect();
        let queries: Vec<&str> = asked.iter().map(|example| example.query.as_str()).collect();
        let hits = index.search(&queries, HITS)?;
        let mut documents: Vec<usize> = asked
            .iter()
            .flat_map(|example| example.positives.iter().copied())
            .collect();
        documents.extend(hits.iter().flatten().map(|hit| hit.document));
        let mut others: Vec<usize> = (0..examples.documents.len()).collect();
        shuffle(&mut others, &mut Random(seed));
        documents.extend(
            others
                .into_iter()
                .take(MAX_DOCUMENTS.saturating_sub(documents.len())),
        );
        documents.sort_unstable();
        documents.dedup();
        let mut windows = Vec::new();
        for query in queries {
            windows.push(encoder.query_window(query)?);
        }
        for &at in &documents {
            let document = &examples.documents[at];
            let mut cut = encoder.windows_along(
                document.title.as_deref(),
                &document.text,
                &document.outline,
            )?;
            windows.push(cut.swap_remove(0));
        }
        for text in &general.texts {
            windows.push(encoder.windows(None, text)?.swap_remove(0));
        }
        let before = encoder.encode(&windows)?;
        let before = before
            .iter()
            .flat_map(|vector| vector.as_slice().iter().copied());
        Ok(Self {
            before: before.collect(),
            asked,
            examples,
            windows,
            documents,
            general,
        })
    }

    /// Does the n-th window ask?
    fn asks(&self, at: usize) -> bool {
        let general = (self.asked.len() + self.documents.len())..;
        at < self.asked.len() || general.contains(&at) && self.general.asks(at - general.start)
    }

    /// How good these vectors of the windows are, `[windows, dimension]`.
    fn measure(&self, part: f32, mut vectors: Vec<f32>) -> Tried {
        let dimension = vectors.len() / self.windows.len().max(1);
        to_unit(&mut vectors, dimension);
        let vectors: Vec<&[f32]> = vectors.chunks_exact(dimension).collect();
        let (queries, rest) = vectors.split_at(self.asked.len());
        let (documents, general) = rest.split_at(self.documents.len());
        let answers: Vec<Vec<Found>> = queries
            .iter()
            .map(|query| {
                let scored = documents
                    .iter()
                    .zip(&self.documents)
                    .map(|(vector, &document)| Found {
                        document,
                        score: query.iter().zip(*vector).map(|(a, b)| a * b).sum(),
                        range: 0..0,
                    });
                let mut found: Vec<Found> = scored.collect();
                found.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.truncate(HITS);
                found
            })
            .collect();
        let values = measure(&self.asked, &self.examples.documents, &answers);
        let values: Vec<f64> = values.iter().map(|value| value[0]).collect();
        Tried {
            step: Step {
                part,
                ndcg: values.iter().sum::<f64>() / values.len().max(1) as f64,
                general: self.general.points(general),
            },
            values,
        }
    }

    /// Tries parts of the way. Among those that forget little and are better than none, the shortest counts that is as good as
    /// the best, within its standard error (Breiman et al. 1984, section 3.4.3): few development queries would else choose by chance.
    pub fn choose(&self, way: &Way<'_>) -> Result<Choice> {
        let mut all = vec![self.measure(0.0, self.before.clone())];
        for part in PARTS {
            all.push(self.measure(part, way.vectors(part, self)?));
        }
        let (before, after) = (&all[0].step, &all[1..]);
        let fit: Vec<&Tried> = after
            .iter()
            .filter(|Tried { step, .. }| {
                step.general.is_finite()
                    && step.general >= before.general - self.general.allowed()
                    && step.ndcg > before.ndcg
            })
            .collect();
        let best = fit
            .iter()
            .max_by(|a, b| a.step.ndcg.total_cmp(&b.step.ndcg));
        let shortest = best.and_then(|best| fit.iter().find(|tried| !best.is_better_than(tried)));
        Ok(Choice {
            best: shortest.map(|&tried| tried.clone()),
            tried: all.iter().map(|tried| tried.step).collect(),
        })
    }
}

/// What was tried, with the nDCG@10 of each development query.
#[derive(Clone)]
pub(super) struct Tried {
    pub step: Step,
    values: Vec<f64>,
}

impl Tried {
    /// Beyond the standard error of the mean difference.
    pub fn is_better_than(&self, other: &Self) -> bool {
        let gains: Vec<f64> = self
            .values
            .iter()
            .zip(&other.values)
            .map(|(a, b)| a - b)
            .collect();
        let count = gains.len().max(2) as f64;
        let mean = gains.iter().sum::<f64>() / count;
        let squares = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>();
        mean > (squares / (count - 1.0) / count).sqrt()
    }
}

/// From what was to what was learnt.
pub(super) enum Way<'a> {
    Weights {
        trunk: &'a Trunk,
        old: &'a Numbers,
        new: &'a Numbers,
    },
    Adapter(&'a Adapter),
}

/// What a model is to be made of.
pub(super) enum Learnt {
    Weights(Numbers),
    Adapter(Adapter),
}

impl Way<'_> {
    /// What lies at that part of the way.
    pub fn at(&self, part: f32) -> Learnt {
        match self {
            Self::Weights { old, new, .. } => Learnt::Weights(between(old, new, part)),
            Self::Adapter(adapter) => Learnt::Adapter(part_of(adapter, part)),
        }
    }

    /// The vectors of the windows there.
    fn vectors(&self, part: f32, development: &Development<'_>) -> Result<Vec<f32>> {
        match self {
            Self::Weights { trunk, old, new } => {
                let windows: Vec<&Window> = development.windows.iter().collect();
                let weights = between(old, new, part);
                Ok(trunk.forward(&weights, &windows, None, false)?.vectors)
            }
            Self::Adapter(adapter) => {
                let adapter = part_of(adapter, part);
                let mut vectors = development.before.clone();
                let dimension = vectors.len() / development.windows.len().max(1);
                let rows = vectors.chunks_exact_mut(dimension).enumerate();
                for (_, row) in rows.filter(|(at, _)| development.asks(*at)) {
                    row.copy_from_slice(&adapter.apply(row));
                }
                Ok(vectors)
            }
        }
    }
}
