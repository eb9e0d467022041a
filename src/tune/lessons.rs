//! Examples → what the network sees: windows of queries, of their answers, and of documents that look like answers and are none.

use std::ops::Range;

use super::data::Examples;
use super::index::{Found, Index};
use super::loss;
use crate::encoder::{Encoder, Window};
use crate::error::Result;
use crate::random::Random;

/// Hits that are looked at for negatives.
const MINED: usize = 50;
/// Negatives that are kept of a query; each time one or some are drawn.
const KEPT: usize = 16;
/// A document that scores more than this part of the answer's score may be an answer that nobody wrote down
/// (positive-aware mining, Moreira et al. 2024, arXiv:2407.15831).
const BELOW_POSITIVE: f32 = 0.95;

/// A query, its answers, and its negatives.
pub(super) struct Lesson {
    pub query: Window,
    pub positives: Vec<Passage>,
    pub negatives: Vec<Passage>,
    /// Documents that answer it, those that are not in `positives` among them.
    pub answers: Vec<usize>,
}

/// A document's passage.
#[derive(Clone)]
pub(super) struct Passage {
    pub document: usize,
    pub window: Window,
}

/// What is trained at once.
pub(super) struct Step<'a> {
    /// The queries' windows, then the passages'.
    pub windows: Vec<&'a Window>,
    pub queries: usize,
    pub wanted: Vec<Vec<(usize, f32)>>,
    pub left_out: Vec<Vec<usize>>,
}

/// Lessons of some of the examples, their negatives mined from the index.
pub(super) fn prepare(
    examples: &Examples,
    which: &[usize],
    index: &Index,
    encoder: &Encoder,
) -> Result<Vec<Lesson>> {
    let asked: Vec<_> = which.iter().map(|&at| &examples.examples[at]).collect();
    let queries: Vec<&str> = asked.iter().map(|example| example.query.as_str()).collect();
    let found = index.search(&queries, MINED)?;
    let mut lessons = Vec::with_capacity(asked.len());
    for (example, found) in asked.into_iter().zip(found) {
        let passage = |document: usize, range: Option<&Range<usize>>| {
            let window = window(encoder, examples, document, range)?;
            Ok(Passage { document, window })
        };
        let hit = |document: usize| found.iter().find(|hit| hit.document == document);
        let positives = example
            .positives
            .iter()
            .map(|&document| passage(document, hit(document).map(|hit| &hit.range)));
        let positives: Vec<Passage> = positives.collect::<Result<_>>()?;
        let given = example
            .negatives
            .iter()
            .map(|&document| passage(document, hit(document).map(|hit| &hit.range)));
        let mut negatives: Vec<Passage> = given.collect::<Result<_>>()?;
        let mined = mine(&found, &example.positives, &example.negatives);
        let mined = mined.into_iter().take(KEPT.saturating_sub(negatives.len()));
        for hit in mined {
            negatives.push(passage(hit.document, Some(&hit.range))?);
        }
        lessons.push(Lesson {
            query: encoder.query_window(&example.query)?,
            positives,
            negatives,
            answers: example.positives.clone(),
        });
    }
    Ok(lessons)
}

/// Hits that are no answers, and unlikely to be.
fn mine<'a>(found: &'a [Found], positives: &[usize], given: &[usize]) -> Vec<&'a Found> {
    let answer = found.iter().filter(|hit| positives.contains(&hit.document));
    let best = answer.map(|hit| hit.score).reduce(f32::max);
    let hits = found
        .iter()
        .filter(|hit| !positives.contains(&hit.document) && !given.contains(&hit.document));
    match best {
        Some(best) => hits
            .filter(|hit| hit.score <= best * BELOW_POSITIVE)
            .collect(),
        // The answer is far down, so what stands above says little of what lies near it.
        None => hits.skip(MINED / 5).collect(),
    }
}

/// A document's window that begins and ends there, else its first.
fn window(
    encoder: &Encoder,
    examples: &Examples,
    document: usize,
    range: Option<&Range<usize>>,
) -> Result<Window> {
    let document = &examples.documents[document];
    let windows =
        encoder.windows_along(document.title.as_deref(), &document.text, &document.outline)?;
    let best = range.and_then(|range| windows.iter().position(|window| window.range == *range));
    let mut windows = windows;
    Ok(windows.swap_remove(best.unwrap_or(0)))
}

/// What is trained at once of such lessons: one answer each, and so many negatives.
pub(super) fn step<'a>(lessons: &[&'a Lesson], negatives: usize, random: &mut Random) -> Step<'a> {
    let mut passages: Vec<&'a Passage> = lessons
        .iter()
        .map(|lesson| &lesson.positives[random.below(lesson.positives.len())])
        .collect();
    for lesson in lessons {
        let mut left: Vec<&Passage> = lesson.negatives.iter().collect();
        for _ in 0..negatives.min(left.len()) {
            passages.push(left.swap_remove(random.below(left.len())));
        }
    }
    let wanted = (0..lessons.len()).map(|at| vec![(at, 1.0)]).collect();
    let left_out = lessons.iter().enumerate().map(|(at, lesson)| {
        let others = passages
            .iter()
            .enumerate()
            .filter(|(other, passage)| *other != at && lesson.answers.contains(&passage.document));
        others.map(|(other, _)| other).collect()
    });
    let left_out = left_out.collect();
    let queries = lessons.iter().map(|lesson| &lesson.query);
    Step {
        windows: queries
            .chain(passages.iter().map(|passage| &passage.window))
            .collect(),
        queries: lessons.len(),
        wanted,
        left_out,
    }
}

impl Step<'_> {
    /// Tokens in it.
    pub fn tokens(&self) -> usize {
        self.windows.iter().map(|window| window.token_count()).sum()
    }

    /// The loss of its vectors, `[windows, dimension]`, and the gradient of these.
    pub fn loss(&self, vectors: &[f32], dimension: usize, dimensions: &[usize]) -> (f32, Vec<f32>) {
        let (queries, passages) = vectors.split_at(self.queries * dimension);
        let batch = loss::Batch {
            queries,
            passages,
            dimension,
            wanted: &self.wanted,
            left_out: &self.left_out,
        };
        let loss::Loss {
            mean,
            mut queries,
            passages,
        } = loss::contrastive(&batch, dimensions);
        queries.extend(passages);
        (mean, queries)
    }
}
