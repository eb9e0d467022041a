//! Pre-training: a network learns a language from texts alone (Devlin et al. 2018, arXiv:1810.04805).
//!
//! In: documents, and a model to go on from or the shape of a new one. Out: a model folder, if held-out documents' words are
//! guessed better beyond chance; else the report alone. What comes out knows words in their context; to find answers it is
//! tuned next, by [`Tuning`](super::Tuning).
//!
//! ```text
//! documents ┬ train ── (vocabulary) ─ sentences ─ gaps, pairs ─ steps ─→ weights ┐
//!           └ held out ────────────── sentences ─ gaps, pairs ───────────────────┴ judged ─→ report
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | all of it in order |
//! | `gaps.rs` | sentences → texts with gaps |
//! | `report.rs` | what is told of it |

mod gaps;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::Xxh3Default;

use super::gate::paired;
use super::options::{Progress, Stage};
use super::report::Verdict;
use super::split::shuffle;
use super::train::{Plan, Stepped, follow, seed_of};
use super::work::{Work, check_new};
use super::{Method, options};
use crate::document::Document;
use crate::encoder::trunk::{Judged, Masked, Numbers, Pretraining as Network};
use crate::encoder::{Encoder, EncoderOptions, Fresh};
use crate::error::{Error, Result};
use crate::random::Random;
use gaps::{Making, Sentences};
pub use report::{Guesses, Pretrained};

/// The fewest documents; of a hundred, those that are held out, within bounds.
const MIN_DOCUMENTS: usize = 50;
const HELD_OUT: usize = 10;
const MIN_HELD_OUT: usize = 10;
const MAX_HELD_OUT: usize = 500;
const RATE: f32 = 5e-5;
const FRESH_RATE: f32 = 1e-3;
const EPOCHS: usize = 3;
const FRESH_EPOCHS: usize = 20;

/// A pre-training being put together; [`Pretraining::run`] runs it.
///
/// ```no_run
/// use vecdb::encoder::{EncoderOptions, Fresh};
/// use vecdb::ingest::Sources;
/// use vecdb::tune::Pretraining;
///
/// let documents = Sources::new().path("novels/").plan()?.documents();
/// let documents = documents.collect::<vecdb::Result<Vec<_>>>()?;
/// let pretrained = Pretraining::default()
///     .from_scratch(Fresh::default())
///     .run(&EncoderOptions::default(), &documents, "novels-model")?;
/// println!("{}: {:.1} % of the words", pretrained.verdict, 100.0 * pretrained.words.right[1]);
/// # Ok::<(), vecdb::Error>(())
/// ```
#[must_use]
pub struct Pretraining<'a> {
    fresh: Option<Fresh>,
    epochs: Option<usize>,
    batch: usize,
    length: usize,
    rate: Option<f32>,
    dropout: f32,
    weights: [f32; 2],
    seed: u64,
    time: Option<Duration>,
    progress: options::Callback<'a>,
}

impl Default for Pretraining<'_> {
    fn default() -> Self {
        Self {
            fresh: None,
            epochs: None,
            batch: 32,
            length: 128,
            rate: None,
            dropout: 0.1,
            weights: [1.0, 1.0],
            seed: 1,
            time: None,
            progress: Box::new(|_| ControlFlow::Continue(())),
        }
    }
}

impl<'a> Pretraining<'a> {
    /// Begins with a network of this shape that knows nothing, and a vocabulary made of the documents; if not said, goes on from
    /// the model that is given.
    pub fn from_scratch(mut self, fresh: Fresh) -> Self {
        self.fresh = Some(fresh);
        self
    }

    /// How often each document is read, each time with other gaps; 3 if not said, 20 from scratch.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs.max(1));
        self
    }

    /// Texts of a step; 32 if not said.
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = texts.max(1);
        self
    }

    /// Tokens of a text at most, special ones included; 128 if not said, and never more than the model takes.
    pub fn length(mut self, tokens: usize) -> Self {
        self.length = tokens.max(16);
        self
    }

    /// The highest learning rate; 5·10⁻⁵ if not said, 10⁻³ from scratch.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How likely numbers inside are dropped while training; 0.1 if not said, as in the paper.
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = rate.clamp(0.0, 0.9);
        self
    }

    /// What the mean loss of gaps counts, and that of pairs (does the second text follow on the first?); 1 and 1 if not said, as
    /// in the paper. With 0 for pairs texts are not pairs.
    pub fn weights(mut self, gaps: f32, pairs: f32) -> Self {
        self.weights = [gaps.max(0.0), pairs.max(0.0)];
        self
    }

    /// What chance is drawn from: the same seed on as many threads makes the same model.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Training ends after that time, wherever it is; judging comes on top.
    pub fn budget(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Called after each step. `ControlFlow::Break` ends the call with [`Error::Cancelled`]; running the same again goes on from
    /// there.
    pub fn progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Box::new(callback);
        self
    }

    /// Pre-trains, and writes the folder `target`: the model if it guesses held-out documents' words better than before, and
    /// better than by how frequent words are, beyond chance; the report alone, `pretraining.json` and `pretraining.html`, if not.
    /// Work in progress lies beside it, in `target.tuning`. From scratch, `encoder` says which runtime; its model is not asked for.
    ///
    /// It takes memory for four copies of the weights, for their gradients a worker, and some 100 MB a worker for the likelihoods
    /// of 30,000 words.
    ///
    /// # Errors
    /// [`Error::Tune`] for too few documents, a folder that is there already, no room, or a model without a token for gaps;
    /// [`Error::Model`] for one that cannot be trained; [`Error::Cancelled`], [`Error::Io`], [`Error::Encode`].
    pub fn run(
        mut self,
        encoder: &EncoderOptions,
        documents: &[Document],
        target: impl AsRef<Path>,
    ) -> Result<Pretrained> {
        let (target, start) = (target.as_ref(), Instant::now());
        check_new(target)?;
        let (train, held_out) = self.split(documents)?;
        let mut options = encoder.clone();
        let open = |options: &EncoderOptions| -> Result<_> {
            let encoder = Encoder::open(options)?;
            let network = encoder.pretraining(self.dropout, self.seed)?;
            let alphabet = encoder.alphabet();
            let mask = alphabet.mask.ok_or_else(|| Error::Tune {
                what: format!("the vocabulary of {} has no token for gaps", encoder.name()),
            })?;
            Ok((encoder, network, alphabet, mask))
        };
        // What cannot be trained is told before anything is written.
        let (work, opened) = match self.fresh {
            None => {
                let opened = open(&options)?;
                let name = self.name(opened.0.fingerprint(), documents);
                (Work::open(target, &name, room(&opened.0))?, opened)
            }
            Some(fresh) => {
                fresh.check()?;
                let name = self.name(&format!("{fresh:?}"), documents);
                let work = Work::open(target, &name, 9 * fresh.bytes())?;
                let folder = work.path("start");
                // A kill may have left a part of it.
                if !folder.join("model.safetensors").exists() {
                    let texts = train.iter().map(|document| &*document.text);
                    fresh.write(texts, self.seed, &folder)?;
                }
                options.model = Some(folder);
                (work, open(&options)?)
            }
        };
        let (encoder, (network, weights), alphabet, mask) = opened;
        let making = Making {
            alphabet: &alphabet,
            mask,
            length: self.length.min(encoder.max_tokens()),
            pairs: network.asks_pairs() && self.weights[1] > 0.0,
        };
        let train = sentences(&train, &encoder, &making)?;
        let held_out = sentences(&held_out, &encoder, &making)?;
        let (train, held_out): (Vec<_>, Vec<_>) =
            (train.iter().collect(), held_out.iter().collect());
        let asked = making.texts(&held_out, !self.seed);
        let before = judge(&network, &weights, &asked, held_out.len())?;

        let first = making.texts(&train, self.seed).len();
        let per_epoch = first.div_ceil(self.batch).max(1);
        let fresh = self.fresh.is_some();
        let epochs = self
            .epochs
            .unwrap_or(if fresh { FRESH_EPOCHS } else { EPOCHS });
        let rate = self.rate.unwrap_or(if fresh { FRESH_RATE } else { RATE });
        let checkpoint = work.path("checkpoint");
        let plan = Plan {
            steps: per_epoch * epochs,
            rate,
            until: self.time.map(|time| Instant::now() + time),
            checkpoint: (&checkpoint, "pre-training"),
        };
        let mut epoch = (usize::MAX, Vec::new());
        let step = |at: usize, parameters: &Numbers| {
            if epoch.0 != at / per_epoch {
                let seed = self.seed.wrapping_add((at / per_epoch) as u64);
                let texts = making.texts(&train, seed).into_iter();
                epoch = (at / per_epoch, texts.map(|(_, text)| text).collect());
            }
            // As many texts a step as there are, whatever their number is in this epoch.
            let edge = |step: usize| step * epoch.1.len() / per_epoch;
            let texts = &epoch.1[edge(at % per_epoch)..edge(at % per_epoch + 1)];
            let seed = seed_of(self.seed, at);
            let (judged, gradients) = network.step(parameters, texts, self.weights, seed)?;
            let loss = judged.iter().zip(self.weights);
            Ok(Stepped {
                loss: loss
                    .map(|(judged, weight)| weight * judged.mean() as f32)
                    .sum(),
                tokens: texts.iter().map(|text| text.tokens.len()).sum(),
                gradients: Some(gradients),
            })
        };
        let progress = &mut self.progress;
        let told = |done: super::train::Done| {
            progress(&Progress {
                stage: Stage::Train,
                method: Method::All,
                done: done.step as u64,
                total: done.steps as u64,
                loss: Some(done.loss),
                tokens_per_second: done.tokens_per_second,
            })
        };
        let start_with = || weights.clone();
        let (weights, course) = follow(&plan, start_with, network.trained(), step, told)?;

        let after = judge(&network, &weights, &asked, held_out.len())?;
        let frequent = by_frequency(&train, &asked, held_out.len(), &alphabet.tokens);
        let [words, pairs] = [0, 1].map(|nth| Guesses::new(&before, &after, nth));
        let frequency = mean(frequent.iter().copied());
        // The better of what there was.
        let better = match frequency < words.loss[0] {
            true => frequent,
            false => before.iter().map(|judged| judged[0].mean()).collect(),
        };
        let now: Vec<f64> = after.iter().map(|judged| judged[0].mean()).collect();
        // Of a loss less is more.
        let gain = paired(&now, &better, self.seed);
        let verdict = match gain.low > 0.0 {
            true => Verdict::Accepted,
            false => Verdict::Refused(
                "held-out documents' words are not guessed better than before, or than by how frequent they are, beyond chance"
                    .into(),
            ),
        };
        let mut report = Pretrained {
            model: encoder.name().to_owned(),
            from_scratch: self.fresh,
            fingerprint: None,
            seed: self.seed,
            documents: train.len(),
            held_out: held_out.len(),
            vocabulary: alphabet.tokens,
            weights: weights.values().map(Vec::len).sum(),
            texts: first,
            epochs,
            batch: self.batch,
            learning_rate: rate,
            course,
            words,
            pairs: making.pairs.then_some(pairs),
            frequency,
            gain,
            verdict,
            seconds: 0.0,
        };
        let model = work.path("model");
        if report.verdict == Verdict::Accepted {
            if model.exists() {
                fs::remove_dir_all(&model).map_err(Error::io("remove", &model))?;
            }
            encoder.write_with(&weights, network.added(), &model)?;
            options.model = Some(model.clone());
            let new = Encoder::open(&options)?;
            new.write_onnx(&model)?;
            report.fingerprint = Some(new.fingerprint().to_owned());
        }
        report.seconds = start.elapsed().as_secs_f64();
        let reports = [
            ("pretraining.json", report.to_json()),
            ("pretraining.html", report.to_html()),
        ];
        let accepted = (report.verdict == Verdict::Accepted).then_some(&*model);
        work.finish(&reports, target, accepted)?;
        Ok(report)
    }

    /// Documents to learn from, and held-out ones.
    fn split<'d>(
        &self,
        documents: &'d [Document],
    ) -> Result<(Vec<&'d Document>, Vec<&'d Document>)> {
        // Equal texts are one, so that none is in both parts.
        let mut known = HashMap::new();
        for document in documents {
            if !document.text.trim().is_empty() {
                known.entry(&*document.text).or_insert(document);
            }
        }
        let mut all: Vec<&Document> = known.into_values().collect();
        if all.len() < MIN_DOCUMENTS {
            return Err(Error::Tune {
                what: format!(
                    "{} documents with different texts are too few to learn a language from; it takes at least {MIN_DOCUMENTS}",
                    all.len()
                ),
            });
        }
        all.sort_by(|a, b| a.text.cmp(&b.text));
        shuffle(&mut all, &mut Random(self.seed));
        let held_out = (all.len() * HELD_OUT / 100).clamp(MIN_HELD_OUT, MAX_HELD_OUT);
        let train = all.split_off(held_out);
        Ok((train, all))
    }

    /// What a checkpoint must have been made with to be gone on from.
    fn name(&self, start: &str, documents: &[Document]) -> String {
        let mut hash = Xxh3Default::new();
        let settings = format!(
            "{start} {:?} {} {} {:?} {} {:?} {}",
            self.epochs, self.batch, self.length, self.rate, self.dropout, self.weights, self.seed
        );
        for part in std::iter::once(&settings).chain(documents.iter().map(|d| &d.text)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        format!("{:032x}", hash.digest128())
    }
}

/// Bytes that the model takes twice and the checkpoint with its successor.
fn room(encoder: &Encoder) -> u64 {
    let file = encoder.folder().join("model.safetensors");
    8 * fs::metadata(file).map_or(0, |file| file.len())
}

/// Documents → sentences, whose tokens fill half a text at most.
fn sentences(
    documents: &[&Document],
    encoder: &Encoder,
    making: &Making<'_>,
) -> Result<Vec<Sentences>> {
    let most = (making.capacity() / 2).max(1);
    let of = |document: &&Document| -> Result<Sentences> {
        let mut sentences = Vec::new();
        for sentence in document.text.split_sentence_bounds() {
            let tokens = encoder.token_ids(sentence)?;
            sentences.extend(tokens.chunks(most).map(<[u32]>::to_vec));
        }
        Ok(sentences)
    };
    let all: Vec<Sentences> = documents.par_iter().map(of).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|s| !s.is_empty()).collect())
}

/// How guesses go, by document.
fn judge(
    network: &Network,
    weights: &Numbers,
    asked: &[(usize, Masked)],
    documents: usize,
) -> Result<Vec<[Judged; 2]>> {
    let texts: Vec<Masked> = asked.iter().map(|(_, text)| text.clone()).collect();
    let mut by_document = vec![[Judged::default(); 2]; documents];
    for ((document, _), judged) in asked.iter().zip(network.judge(weights, &texts)?) {
        for (sum, more) in by_document[*document].iter_mut().zip(judged) {
            *sum += more;
        }
    }
    Ok(by_document)
}

/// The mean loss of each document's gaps if each token is as likely as it is frequent.
fn by_frequency(
    train: &[&Sentences],
    asked: &[(usize, Masked)],
    documents: usize,
    tokens: &usize,
) -> Vec<f64> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    let mut all = 0;
    for token in train
        .iter()
        .flat_map(|sentences| sentences.iter().flatten())
    {
        *counts.entry(*token).or_default() += 1;
        all += 1;
    }
    // Laplace's rule, for those that were never seen.
    let all = (all + *tokens as u64) as f64;
    let mut by_document = vec![Judged::default(); documents];
    for (document, text) in asked {
        for (_, token) in &text.gaps {
            let count = counts.get(token).copied().unwrap_or_default() + 1;
            by_document[*document] += Judged {
                loss: (all / count as f64).ln(),
                right: 0.0,
                asked: 1,
            };
        }
    }
    by_document.iter().map(Judged::mean).collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}
