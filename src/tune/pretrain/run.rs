//! All of it in order.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::Xxh3Default;

use super::gaps::{Making, Sentences};
use super::options::Pretraining;
use super::report::{Guesses, Pretrained};
use crate::document::Document;
use crate::encoder::trunk::{Judged, Masked, Numbers, Pretraining as Network};
use crate::encoder::{Alphabet, Encoder, EncoderOptions};
use crate::error::{Error, Result};
use crate::random::Random;
use crate::tune::gate::{Interval, paired};
use crate::tune::options::{Method, Progress, Stage};
use crate::tune::report::Verdict;
use crate::tune::split::shuffle;
use crate::tune::train::{Course, Done, Plan, Stepped, follow, seed_of};
use crate::tune::work::{Work, check_new};

/// The fewest documents; of a hundred, those that are held out, within bounds.
const MIN_DOCUMENTS: usize = 50;
const HELD_OUT: usize = 10;
const MIN_HELD_OUT: usize = 10;
const MAX_HELD_OUT: usize = 500;
const RATE: f32 = 5e-5;
const FRESH_RATE: f32 = 1e-3;
const EPOCHS: usize = 3;
const FRESH_EPOCHS: usize = 20;

impl Pretraining<'_> {
    /// Pre-trains, and writes the folder `target`: the model if it guesses held-out documents' words better than before, and
    /// better than by how frequent words are, beyond chance; the report alone, `pretraining.json` and `pretraining.html`, if not.
    /// Work in progress lies beside it, in `target.tuning`. From scratch, `encoder` says which runtime; its model is not asked for.
    ///
    /// It takes memory for four copies of the weights and three more while a checkpoint is written, for their gradients a worker,
    /// and some 100 MB a worker for the likelihoods of 30,000 words.
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
        let (work, student) = self.open(encoder, documents, &train, target)?;
        let making = student.making(&self);
        let train = sentences(&train, &student.encoder, &making)?;
        let held_out = sentences(&held_out, &student.encoder, &making)?;
        if train.is_empty() || held_out.is_empty() {
            return Err(Error::Tune {
                what: "the vocabulary has no words of these documents".into(),
            });
        }
        let (train, held_out): (Vec<_>, Vec<_>) =
            (train.iter().collect(), held_out.iter().collect());
        let test = Test {
            asked: making.texts(&held_out, !self.seed),
            documents: held_out.len(),
        };
        let before = test.judge(&student.network, &student.weights)?;
        let texts = making.texts(&train, self.seed).len();
        let (weights, course) = self.train(&student, &making, &train, texts, &work)?;
        let after = test.judge(&student.network, &weights)?;
        let frequent = test.by_frequency(&train, student.alphabet.tokens);
        let [words, pairs] = [0, 1].map(|nth| Guesses::new(&before, &after, nth));
        let (gain, verdict) = self.verdict(&before, &after, &frequent);
        let mut report = Pretrained {
            model: student.encoder.name().to_owned(),
            from_scratch: self.fresh,
            fingerprint: None,
            seed: self.seed,
            documents: train.len(),
            held_out: held_out.len(),
            vocabulary: student.alphabet.tokens,
            weights: weights.values().map(Vec::len).sum(),
            texts,
            epochs: self.epochs_of(),
            batch: self.batch,
            learning_rate: self.rate_of(),
            course,
            words,
            pairs: making.pairs.then_some(pairs),
            frequency: mean(frequent.iter().copied()),
            gain,
            verdict,
            seconds: 0.0,
        };
        let model = work.path("model");
        let accepted = (report.verdict == Verdict::Accepted).then_some(&*model);
        if let Some(folder) = accepted {
            let new = student.write(&weights, folder)?;
            report.fingerprint = Some(new.fingerprint().to_owned());
        }
        report.seconds = start.elapsed().as_secs_f64();
        let reports = [
            ("pretraining.json", report.to_json()),
            ("pretraining.html", report.to_html()),
        ];
        work.finish(&reports, target, accepted)?;
        Ok(report)
    }

    /// The network that learns, made or opened, and where work is done. What cannot be trained is told before anything is
    /// written.
    fn open(
        &self,
        encoder: &EncoderOptions,
        documents: &[Document],
        train: &[&Document],
        target: &Path,
    ) -> Result<(Work, Student)> {
        let Some(fresh) = self.fresh else {
            let student = Student::open(encoder.clone(), self)?;
            // The model twice, and the checkpoint, which is three times as large, with its successor.
            let numbers: usize = student.weights.values().map(Vec::len).sum();
            let room = 8 * 4 * numbers as u64;
            let name = self.name(student.encoder.fingerprint(), documents);
            return Ok((Work::open(target, &name, room)?, student));
        };
        fresh.check()?;
        let name = self.name(&format!("{fresh:?} {:?}", encoder.max_tokens), documents);
        let work = Work::open(target, &name, 9 * fresh.bytes())?;
        let (folder, unfinished) = (work.path("start"), work.path("start.new"));
        if !folder.exists() {
            let texts: Vec<&str> = train.iter().copied().flat_map(texts).collect();
            fresh.write(&texts, self.length, self.seed, &unfinished)?;
            fs::rename(&unfinished, &folder).map_err(Error::io("rename", &unfinished))?;
        }
        let options = EncoderOptions {
            model: Some(folder),
            ..encoder.clone()
        };
        Ok((work, Student::open(options, self)?))
    }

    /// `texts` is how many there are in the first epoch.
    fn train(
        &mut self,
        student: &Student,
        making: &Making<'_>,
        train: &[&Sentences],
        texts: usize,
        work: &Work,
    ) -> Result<(Numbers, Course)> {
        let (seed, weights, network) = (self.seed, self.weights, &student.network);
        let per_epoch = texts.div_ceil(self.batch).max(1);
        let checkpoint = work.path("checkpoint");
        let plan = Plan {
            steps: per_epoch * self.epochs_of(),
            rate: self.rate_of(),
            until: self.time.and_then(|time| Instant::now().checked_add(time)),
            checkpoint: (&checkpoint, "pre-training"),
        };
        let mut epoch = (usize::MAX, Vec::new());
        let step = |at: usize, parameters: &Numbers| {
            if epoch.0 != at / per_epoch {
                let seed = seed.wrapping_add((at / per_epoch) as u64);
                let texts = making.texts(train, seed).into_iter();
                epoch = (at / per_epoch, texts.map(|(_, text)| text).collect());
            }
            // As many texts a step as there are, whatever their number is in this epoch.
            let edge = |step: usize| step * epoch.1.len() / per_epoch;
            let texts = &epoch.1[edge(at % per_epoch)..edge(at % per_epoch + 1)];
            let (judged, gradients) =
                network.step(parameters, texts, weights, seed_of(seed, at))?;
            let losses = judged.iter().zip(weights);
            Ok(Stepped {
                loss: losses
                    .map(|(judged, weight)| weight * judged.mean() as f32)
                    .sum(),
                tokens: texts.iter().map(|text| text.tokens.len()).sum(),
                gradients: Some(gradients),
            })
        };
        let progress = &mut self.progress;
        let told = |done: Done| {
            progress(&Progress {
                stage: Stage::Train,
                method: Method::All,
                done: done.step as u64,
                total: done.steps as u64,
                loss: Some(done.loss),
                tokens_per_second: done.tokens_per_second,
            })
        };
        let start = || student.weights.clone();
        follow(&plan, start, network.trained(), step, told)
    }

    /// Is the loss of words less than the better of what there was: before, and by how frequent they are?
    fn verdict(
        &self,
        before: &[[Judged; 2]],
        after: &[[Judged; 2]],
        frequent: &[f64],
    ) -> (Interval, Verdict) {
        let losses = |judged: &[[Judged; 2]]| -> Vec<f64> {
            judged.iter().map(|judged| judged[0].mean()).collect()
        };
        let before = losses(before);
        let total = |losses: &[f64]| losses.iter().sum::<f64>();
        let better = match total(frequent) < total(&before) {
            true => frequent,
            false => &before,
        };
        // Of a loss less is more.
        let gain = paired(&losses(after), better, self.seed);
        let verdict = match gain.low > 0.0 {
            true => Verdict::Accepted,
            false => Verdict::Refused(
                "held-out documents' words are not guessed better than before, or than by how frequent they are, beyond chance"
                    .into(),
            ),
        };
        (gain, verdict)
    }

    fn epochs_of(&self) -> usize {
        let usual = if self.fresh.is_some() {
            FRESH_EPOCHS
        } else {
            EPOCHS
        };
        self.epochs.unwrap_or(usual)
    }

    fn rate_of(&self) -> f32 {
        let usual = if self.fresh.is_some() {
            FRESH_RATE
        } else {
            RATE
        };
        self.rate.unwrap_or(usual)
    }

    /// Documents to learn from, and held-out ones.
    fn split<'d>(
        &self,
        documents: &'d [Document],
    ) -> Result<(Vec<&'d Document>, Vec<&'d Document>)> {
        // Equal texts are one, so that none is in both parts, whatever white space is in them.
        let mut known = HashMap::new();
        for document in documents {
            let words: Vec<&str> = document.text.split_whitespace().collect();
            if !words.is_empty() {
                known.entry(words.join(" ")).or_insert(document);
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
        for part in std::iter::once(&*settings).chain(documents.iter().flat_map(texts)) {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        format!("{:032x}", hash.digest128())
    }
}

/// What learns.
struct Student {
    options: EncoderOptions,
    encoder: Encoder,
    network: Network,
    /// Where they begin.
    weights: Numbers,
    alphabet: Alphabet,
    mask: u32,
}

impl Student {
    fn open(options: EncoderOptions, pretraining: &Pretraining<'_>) -> Result<Self> {
        let encoder = Encoder::open(&options)?;
        let (network, weights) = encoder.pretraining(pretraining.dropout, pretraining.seed)?;
        let alphabet = encoder.alphabet();
        let mask = alphabet.mask.ok_or_else(|| Error::Tune {
            what: format!("the vocabulary of {} has no token for gaps", encoder.name()),
        })?;
        Ok(Self {
            options,
            encoder,
            network,
            weights,
            alphabet,
            mask,
        })
    }

    fn making(&self, pretraining: &Pretraining<'_>) -> Making<'_> {
        Making {
            alphabet: &self.alphabet,
            mask: self.mask,
            length: pretraining.length.min(self.encoder.max_tokens()),
            pairs: self.network.asks_pairs() && pretraining.weights[1] > 0.0,
        }
    }

    /// Writes the model with what it learnt, and opens it.
    fn write(&self, weights: &Numbers, folder: &Path) -> Result<Encoder> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
        }
        self.encoder
            .write_with(weights, self.network.added(), folder)?;
        let new = Encoder::open(&EncoderOptions {
            model: Some(folder.to_owned()),
            ..self.options.clone()
        })?;
        new.write_onnx(folder)?;
        Ok(new)
    }
}

/// The title, if there is one, and the text.
fn texts(document: &Document) -> impl Iterator<Item = &str> {
    document
        .title
        .as_deref()
        .into_iter()
        .chain([&*document.text])
}

/// Documents → sentences, whose tokens fill half a text at most.
pub(super) fn sentences(
    documents: &[&Document],
    encoder: &Encoder,
    making: &Making<'_>,
) -> Result<Vec<Sentences>> {
    let most = (making.capacity() / 2).max(1);
    let of = |document: &&Document| -> Result<Sentences> {
        let mut sentences = Vec::new();
        for sentence in texts(document).flat_map(cut) {
            let tokens = encoder.token_ids(sentence)?;
            sentences.extend(tokens.chunks(most).map(<[u32]>::to_vec));
        }
        Ok(sentences)
    };
    let all: Vec<Sentences> = documents.par_iter().map(of).collect::<Result<_>>()?;
    Ok(all.into_iter().filter(|s| !s.is_empty()).collect())
}

/// A text's sentences. The white space between two is the second one's, since some vocabularies have words with it before them.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends = text
        .split_sentence_bound_indices()
        .map(|(at, sentence)| at + sentence.trim_end().len());
    ends.map(move |end| {
        let sentence = &text[start.min(end)..end];
        start = end;
        sentence
    })
}

/// Held-out documents' texts.
struct Test {
    /// Each with the place of its document.
    asked: Vec<(usize, Masked)>,
    documents: usize,
}

impl Test {
    /// How guesses go, by document.
    fn judge(&self, network: &Network, weights: &Numbers) -> Result<Vec<[Judged; 2]>> {
        let texts: Vec<Masked> = self.asked.iter().map(|(_, text)| text.clone()).collect();
        let mut by_document = vec![[Judged::default(); 2]; self.documents];
        for ((document, _), judged) in self.asked.iter().zip(network.judge(weights, &texts)?) {
            for (sum, more) in by_document[*document].iter_mut().zip(judged) {
                *sum += more;
            }
        }
        Ok(by_document)
    }

    /// The mean loss of each document's gaps if each of so many tokens is as likely as it is frequent, by Laplace's rule.
    fn by_frequency(&self, train: &[&Sentences], tokens: usize) -> Vec<f64> {
        let mut counts: HashMap<u32, u64> = HashMap::new();
        let mut all = tokens as u64;
        for token in train
            .iter()
            .flat_map(|sentences| sentences.iter().flatten())
        {
            *counts.entry(*token).or_default() += 1;
            all += 1;
        }
        let mut by_document = vec![Judged::default(); self.documents];
        for (document, text) in &self.asked {
            for (_, token) in &text.gaps {
                let count = counts.get(token).copied().unwrap_or_default() + 1;
                by_document[*document] += Judged {
                    loss: (all as f64 / count as f64).ln(),
                    right: 0.0,
                    asked: 1,
                };
            }
        }
        by_document.iter().map(Judged::mean).collect()
    }
}

/// The mean of some values; 0 of none.
pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}
