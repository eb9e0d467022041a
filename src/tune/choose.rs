//! How far to go from the old weights to the new: the development queries say it (Wortsman et al. 2021, arXiv:2109.01903).

use super::adapt::part_of;
use super::data::{Example, Examples};
use super::general::General;
use super::index::{Found, Index, measure};
use super::report::Step;
use super::split::shuffle;
use super::train::between;
use crate::encoder::trunk::{Numbers, Trunk};
use crate::encoder::{Adapter, Encoder, Window};
use crate::error::Result;
use crate::random::Random;

/// Parts of the way that are tried; the first is where it begins.
const PARTS: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// Development queries that are asked, and documents that they are asked of.
const MAX_QUERIES: usize = 300;
const MAX_DOCUMENTS: usize = 2_000;
/// Hits of the old encoder that are among these documents.
const HITS: usize = 10;

/// What the development queries are asked of, and what is not to be forgotten.
pub(super) struct Development<'a> {
    asked: Vec<&'a Example>,
    examples: &'a Examples,
    /// Of each text's window: the queries', the documents', the general set's.
    windows: Vec<Window>,
    documents: Vec<usize>,
    general: &'a General,
}

/// What was tried, and what is best.
pub(super) struct Choice {
    /// None if nothing is better than where it began.
    pub best: Option<Step>,
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
        Ok(Self {
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

    /// How good it is to go so far.
    fn measure(&self, way: &Way<'_>, part: f32) -> Result<Step> {
        let windows: Vec<&Window> = self.windows.iter().collect();
        let mut vectors = way.vectors(part, &windows, |at| self.asks(at))?;
        let dimension = vectors.len() / windows.len().max(1);
        for vector in vectors.chunks_exact_mut(dimension) {
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|x| *x /= length);
        }
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
        Ok(Step {
            part,
            ndcg: values.iter().map(|value| value[0]).sum::<f64>() / values.len().max(1) as f64,
            general: self.general.points(general),
        })
    }

    /// The part of the way that is best for the development queries among those that forget little, and all that was tried.
    /// No way at all if none is better than none.
    pub fn choose(&self, way: &Way<'_>) -> Result<Choice> {
        let tried = PARTS.map(|part| self.measure(way, part));
        let tried = tried.into_iter().collect::<Result<Vec<Step>>>()?;
        let (before, after) = (&tried[0], &tried[1..]);
        let fit = after.iter().filter(|step| {
            step.general.is_finite()
                && step.general >= before.general - self.general.allowed()
                && step.ndcg > before.ndcg
        });
        let best = fit.max_by(|a, b| a.ndcg.total_cmp(&b.ndcg)).copied();
        Ok(Choice { best, tried })
    }
}

/// From what was to what was learnt.
pub(super) enum Way<'a> {
    Weights {
        trunk: &'a Trunk,
        old: &'a Numbers,
        new: &'a Numbers,
    },
    Adapter {
        trunk: &'a Trunk,
        weights: &'a Numbers,
        adapter: &'a Adapter,
    },
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
            Self::Adapter { adapter, .. } => Learnt::Adapter(part_of(adapter, part)),
        }
    }

    /// The vectors of windows there, not of length 1.
    fn vectors(
        &self,
        part: f32,
        windows: &[&Window],
        asks: impl Fn(usize) -> bool,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Weights { trunk, old, new } => Ok(trunk
                .forward(&between(old, new, part), windows, None, false)?
                .vectors),
            Self::Adapter {
                trunk,
                weights,
                adapter,
            } => {
                let adapter = part_of(adapter, part);
                let mut vectors = trunk.forward(weights, windows, None, false)?.vectors;
                let rows = vectors.chunks_exact_mut(trunk.dimension()).enumerate();
                for (_, row) in rows.filter(|(at, _)| asks(*at)) {
                    row.copy_from_slice(&adapter.apply(row));
                }
                Ok(vectors)
            }
        }
    }
}
