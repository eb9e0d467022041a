//! What an encoder knows of general language, so that it is seen when it forgets.
//!
//! Built in are definitions of English words, from WordNet 3.0, © 2006 Princeton University, used under its licence
//! (<https://wordnet.princeton.edu/license-and-commercial-use>): does each word find its own among all? A user's set is pairs of
//! sentences with a score of how alike they are, as STS-B has it (Cer et al. 2017): do cosines order them as people do?

use std::path::Path;

use super::data::read_named;
use crate::document::Value;
use crate::error::{Error, Result};

const DEFINITIONS: &str = include_str!("general.tsv");
/// Pairs that are looked at; more tell no more.
const MAX_PAIRS: usize = 3_000;
const MIN_PAIRS: usize = 50;
/// Columns of a file of pairs, as the names in use have them.
const FIRST: [&str; 3] = ["sentence1", "text1", "a"];
const SECOND: [&str; 3] = ["sentence2", "text2", "b"];
const SCORE: [&str; 3] = ["score", "similarity", "label"];

/// What is asked of both encoders beside the user's own.
#[derive(Clone, Debug)]
pub(super) struct General {
    /// All texts that have to be encoded.
    pub texts: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Words, then as many definitions.
    Definitions,
    /// Pairs of texts, one after the other, and how alike they are.
    Pairs(Vec<f64>),
}

impl General {
    pub fn definitions() -> Self {
        let rows = DEFINITIONS.lines().filter_map(|line| line.split_once('\t'));
        let (mut texts, definitions): (Vec<String>, Vec<String>) = rows
            .map(|(word, definition)| (word.to_owned(), definition.to_owned()))
            .unzip();
        texts.extend(definitions);
        Self {
            texts,
            kind: Kind::Definitions,
        }
    }

    /// Reads pairs with scores: columns `sentence1`, `sentence2`, `score`.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Input`] for a file that cannot be read, lacks a column, or has too few pairs.
    pub fn pairs(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::Input {
            place: path.display().to_string(),
            what,
        };
        let documents = read_named(path, &FIRST)?;
        let (mut texts, mut scores) = (Vec::new(), Vec::new());
        for document in documents.take(MAX_PAIRS) {
            let document = document?;
            let field =
                |names: [&str; 3]| names.into_iter().find_map(|name| document.fields.get(name));
            let second = match field(SECOND) {
                Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
                _ => return Err(wrong("a row has no text under `sentence2`".into())),
            };
            let score = match field(SCORE) {
                Some(Value::Float(score)) => *score,
                Some(Value::Integer(score)) => *score as f64,
                Some(Value::String(score)) => score
                    .trim()
                    .parse()
                    .map_err(|_| wrong(format!("the score {score:?} is no number")))?,
                _ => return Err(wrong("a row has no number under `score`".into())),
            };
            texts.extend([document.text, second]);
            scores.push(score);
        }
        if scores.len() < MIN_PAIRS {
            return Err(wrong(format!(
                "it has {} pairs; at least {MIN_PAIRS} are needed",
                scores.len()
            )));
        }
        Ok(Self {
            texts,
            kind: Kind::Pairs(scores),
        })
    }

    /// What is measured.
    pub fn measure(&self) -> &'static str {
        match self.kind {
            Kind::Definitions => "nDCG@10 of words for their definitions",
            Kind::Pairs(_) => "Spearman correlation with the scores",
        }
    }

    /// Is the n-th text what asks, and not what is asked for?
    pub fn asks(&self, at: usize) -> bool {
        match self.kind {
            Kind::Definitions => at < self.texts.len() / 2,
            Kind::Pairs(_) => at.is_multiple_of(2),
        }
    }

    /// Points that may be lost.
    ///
    /// Definitions are a harder measure than sentences, since a word alone is what tuning on sentences protects least: where
    /// STS-B's correlation lost 0.8 points, they lost 6, and the model was better at everything that it had been tuned for. The
    /// point that a correlation may lose would forbid what is known to do no harm.
    pub fn allowed(&self) -> f64 {
        match self.kind {
            Kind::Definitions => 2.0,
            Kind::Pairs(_) => 1.0,
        }
    }

    /// The measure in points, 0 to 100, of unit vectors of the texts.
    pub fn points(&self, vectors: &[&[f32]]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        match &self.kind {
            Kind::Definitions => {
                let (words, definitions) = vectors.split_at(vectors.len() / 2);
                let gains = words.iter().zip(definitions).map(|(word, own)| {
                    let own = dot(word, own);
                    let better = definitions
                        .iter()
                        .filter(|other| dot(word, other) > own)
                        .count();
                    if better < 10 {
                        1.0 / (better as f64 + 2.0).log2()
                    } else {
                        0.0
                    }
                });
                100.0 * gains.sum::<f64>() / words.len().max(1) as f64
            }
            Kind::Pairs(scores) => {
                let cosines: Vec<f64> = vectors
                    .chunks_exact(2)
                    .map(|pair| f64::from(dot(pair[0], pair[1])))
                    .collect();
                100.0 * spearman(&cosines, scores)
            }
        }
    }
}

/// The correlation of ranks; equals share theirs.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        both += (x - mean) * (y - mean);
        of_a += (x - mean).powi(2);
        of_b += (y - mean).powi(2);
    }
    both / (of_a * of_b).sqrt().max(f64::MIN_POSITIVE)
}

fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b]));
    let mut ranks = vec![0.0; numbers.len()];
    for equal in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        let first = order.iter().position(|at| *at == equal[0]).unwrap_or(0);
        for &at in equal {
            ranks[at] = first as f64 + (equal.len() as f64 - 1.0) / 2.0;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_compared_and_equals_share_one() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 25.0, 90.0]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // As scipy.stats.spearmanr gives it.
        assert!(
            (spearman(&[1.0, 2.0, 2.0, 3.0], &[1.0, 3.0, 2.0, 4.0]) - 0.948_683_298).abs() < 1e-6
        );
    }
}
