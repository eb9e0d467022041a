//! Examples → what the network sees: windows of queries, of their answers, and of documents that look like answers and are none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{ControlFlow, Range};

use super::data::{Example, Examples};
use super::index::{Found, Index};
use super::loss;
use super::teacher::{self, Tokens, Words};
use crate::encoder::{Encoder, Window};
use crate::error::{Error, Result};
use crate::random::Random;

/// Hits that are looked at for negatives.
const MINED: usize = 50;
/// Negatives that are kept of a query; each time one or some are drawn.
const KEPT: usize = 16;
/// Queries that are judged at once.
const TAUGHT_AT_ONCE: usize = 50;
/// A document that scores more than this part of the answer's score may be an answer that nobody wrote down
/// (positive-aware mining, Moreira et al. 2024, arXiv:2407.15831).
const BELOW_POSITIVE: f32 = 0.95;

/// A query, and what it is to find.
pub(super) struct Lesson {
    query: Window,
    passages: Passages,
    /// Documents that are no negatives, wherever they stand.
    known: Vec<usize>,
}

impl Lesson {
    /// All that it has.
    pub fn windows(&self) -> impl Iterator<Item = &Window> {
        let passages: Vec<&Passage> = match &self.passages {
            Passages::Judged {
                positives,
                negatives,
            } => positives.iter().chain(negatives).collect(),
            Passages::Taught(judged) => judged.iter().map(|(passage, _)| passage).collect(),
        };
        let passages = passages.into_iter();
        [&self.query]
            .into_iter()
            .chain(passages.map(|passage| &passage.window))
    }
}

enum Passages {
    /// Answers, and what looks like one.
    Judged {
        positives: Vec<Passage>,
        negatives: Vec<Passage>,
    },
    /// What a teacher preferred, best first, each with its score.
    Taught(Vec<(Passage, f32)>),
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
    // A document that many queries find is cut once.
    let mut cut: HashMap<usize, Vec<Window>> = HashMap::new();
    for (example, found) in asked.into_iter().zip(found) {
        let mut passage = |document: usize, range: Option<&Range<usize>>| {
            let windows = match cut.entry(document) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(windows(encoder, examples, document)?),
            };
            // The one that was found, else the first.
            let found = range.and_then(|range| windows.iter().find(|own| own.range == *range));
            let window = found.unwrap_or(&windows[0]).clone();
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
            passages: Passages::Judged {
                positives,
                negatives,
            },
            known: example.positives.clone(),
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

/// All windows of a document.
fn windows(encoder: &Encoder, examples: &Examples, document: usize) -> Result<Vec<Window>> {
    let document = &examples.documents[document];
    encoder.windows_along(document.title.as_deref(), &document.text, &document.outline)
}

/// What is trained at once of such lessons: of each an answer and so many negatives, or so many that the teacher judged.
pub(super) fn step<'a>(lessons: &[&'a Lesson], negatives: usize, random: &mut Random) -> Step<'a> {
    let mut passages: Vec<&Passage> = Vec::new();
    let mut wanted: Vec<Vec<(usize, f32)>> = Vec::new();
    for lesson in lessons {
        let first = passages.len();
        match &lesson.passages {
            Passages::Judged {
                positives,
                negatives: mined,
            } => {
                passages.push(&positives[random.below(positives.len())]);
                passages.extend(draw(mined.iter().collect(), negatives, random));
                wanted.push(vec![(first, 1.0)]);
            }
            Passages::Taught(judged) => {
                let (best, rest) = judged.split_at(1);
                let drawn = draw(rest.iter().collect(), negatives, random);
                let drawn: Vec<_> = best.iter().chain(drawn).collect();
                let weights: Vec<f32> = drawn
                    .iter()
                    .map(|(_, score)| (score - best[0].1).exp())
                    .collect();
                let total: f32 = weights.iter().sum();
                wanted.push(
                    (first..)
                        .zip(weights.iter().map(|weight| weight / total))
                        .collect(),
                );
                passages.extend(drawn.iter().map(|(passage, _)| passage));
            }
        }
    }
    let left_out = lessons.iter().zip(&wanted).map(|(lesson, wanted)| {
        let known = passages
            .iter()
            .enumerate()
            .filter(|(_, passage)| lesson.known.contains(&passage.document));
        let known = known.map(|(at, _)| at);
        known
            .filter(|at| wanted.iter().all(|(own, _)| own != at))
            .collect()
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

/// So many of a list, by chance.
fn draw<T>(mut list: Vec<T>, count: usize, random: &mut Random) -> Vec<T> {
    let count = count.min(list.len());
    (0..count)
        .map(|_| list.swap_remove(random.below(list.len())))
        .collect()
}

/// Lessons of queries without answers: what the encoder finds, judged by a teacher. Queries that find nothing give none.
pub(super) fn teach(
    examples: &Examples,
    questions: &[String],
    index: &Index,
    encoder: &Encoder,
    tokens: &mut Tokens<'_>,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<(Vec<Lesson>, Vec<Example>)> {
    let mut cut: HashMap<(usize, usize), Window> = HashMap::new();
    for at in 0..examples.documents.len() {
        let own = windows(encoder, examples, at)?.into_iter();
        cut.extend(own.map(|window| ((at, window.range.start), window)));
    }
    // Sums of whole numbers: their order changes nothing.
    let words = Words::count(cut.values());
    let (mut lessons, mut answered) = (Vec::new(), Vec::new());
    for (part, texts) in questions.chunks(TAUGHT_AT_ONCE).enumerate() {
        if progress(part * TAUGHT_AT_ONCE).is_break() {
            return Err(Error::Cancelled);
        }
        let asked: Vec<&str> = texts.iter().map(String::as_str).collect();
        let found = index.search(&asked, MINED)?;
        let queries = asked
            .iter()
            .map(|query| encoder.query_window(query))
            .collect::<Result<Vec<_>>>()?;
        let place = |hit: &Found| (hit.document, hit.range.start);
        let passages: Vec<Vec<&Window>> = found
            .iter()
            .map(|found| {
                found
                    .iter()
                    .filter_map(|hit| cut.get(&place(hit)))
                    .collect()
            })
            .collect();
        tokens.learn(
            &queries
                .iter()
                .chain(passages.iter().flatten().copied())
                .collect::<Vec<_>>(),
        )?;
        for (((text, query), found), passages) in texts.iter().zip(queries).zip(found).zip(passages)
        {
            if found.len() < 2 || passages.len() != found.len() {
                continue;
            }
            let scores = teacher::judge(&words, tokens, &query, &found, &passages);
            let mut order: Vec<usize> = (0..found.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            answered.push(Example {
                id: format!("question {}", answered.len()),
                query: text.clone(),
                positives: vec![found[order[0]].document],
                negatives: Vec::new(),
            });
            let passage = |&at: &usize| {
                let passage = Passage {
                    document: found[at].document,
                    window: passages[at].clone(),
                };
                (passage, scores[at])
            };
            lessons.push(Lesson {
                passages: Passages::Taught(order.iter().map(passage).collect()),
                query,
                known: found.iter().map(|hit| hit.document).collect(),
            });
        }
    }
    Ok((lessons, answered))
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
