//! All of it in order.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3Default;

use super::adapt;
use super::choose::{Choice, Development, Learnt, Tried, Way};
use super::data::{Example, Examples};
use super::gate::paired;
use super::general::General;
use super::index::Index;
use super::lessons::{self, Lesson};
use super::lora::Adaptation;
use super::options::{Callback, Method, Progress, Stage, Tuning};
use super::report::{self, Attempt, Report, Sizes, Test, Verdict};
use super::split::{Split, shuffle};
use super::teacher::Tokens;
use super::train::{self, Settings};
use super::work::{self, Work};
use crate::encoder::trunk::{Numbers, Scope, Trunk};
use crate::encoder::{Encoder, EncoderOptions};
use crate::error::{Error, Result};
use crate::random::Random;

/// Steps that a training has if its epochs are not said, where that is one epoch at least and ten at most.
const STEPS: usize = 300;
const MAX_EPOCHS: usize = 10;
/// Questions without answers that are learnt from; more take longer and add little.
const MAX_QUESTIONS: usize = 4_000;
const RATE: f32 = 5e-5;
const LOW_RANK_RATE: f32 = 5e-4;
const ADAPTER_STEPS: usize = 1_000;
const ADAPTER_RATE: f32 = 2e-3;
/// Texts of the general set that are encoded together.
const GENERAL_AT_ONCE: usize = 1_024;

impl Tuning<'_> {
    /// Tunes the encoder that `encoder` opens, and writes the new one's folder `target` if it is better, with the report as
    /// `tuning.json` and `tuning.html`; if it is not, the report alone. Work in progress lies beside it, in `target.tuning`, and
    /// goes when it is done; after a kill the same call goes on from there.
    ///
    /// # Errors
    /// [`Error::Tune`] for too few queries, one without an answer, parts that share too many, or a folder that is there already;
    /// [`Error::Model`] for a model that cannot be trained; [`Error::Cancelled`]; [`Error::Io`], [`Error::Encode`] and those of
    /// [`Collection::ingest`](crate::Collection::ingest). Nothing is changed then.
    pub fn run(
        mut self,
        encoder: &EncoderOptions,
        examples: &Examples,
        target: impl AsRef<Path>,
    ) -> Result<Report> {
        let target = target.as_ref();
        work::check_new(target)?;
        examples.check()?;
        let start = Instant::now();
        let options = encoder;
        let encoder = Encoder::open(options)?;
        let (split, questions) = match (&examples.questions[..], &examples.held_out[..]) {
            ([], []) => (Split::by_chance(&examples.examples, self.seed)?, Vec::new()),
            ([], held_out) => (
                Split::held_out(&examples.examples, held_out, self.seed)?,
                Vec::new(),
            ),
            _ => Split::questions(examples, self.seed)?,
        };
        let questions = some(questions, MAX_QUESTIONS, self.seed);
        let general = match &self.general {
            Some(file) => General::pairs(file)?,
            None => General::definitions(),
        };
        // A model that cannot be trained is told before anything is done.
        let judge = trunk(self.dropout, self.memory, &encoder, Method::Layers(1))?;
        let name = self.name(&encoder, examples);
        let work = Work::open(target, &name, work::room(&encoder, examples))?;
        let progress = &mut self.progress;

        let documents = &examples.documents;
        let total = documents.len() as u64;
        let index = Index::build(&work.path("old.vecdb"), options, documents, |done| {
            tell(progress, Stage::Index, done, total)
        })?;
        let asked = split.asked(examples);
        let before = index.measure(&asked, documents)?;

        stop(tell(progress, Stage::Mine, 0, 1))?;
        let (lessons, answered) = if questions.is_empty() {
            let lessons = lessons::prepare(examples, &split.train, &index, &encoder)?;
            (lessons, Vec::new())
        } else {
            let mut tokens = Tokens::new(&judge.0, &judge.1, self.memory);
            let total = questions.len() as u64;
            let told = |done| tell(progress, Stage::Mine, done as u64, total);
            lessons::teach(examples, &questions, &index, &encoder, &mut tokens, told)?
        };
        // It has kept what its frozen layers gave.
        drop(judge);
        let mut lessons = lessons;
        let mut chosen_by: Vec<&Example> = split
            .development
            .iter()
            .map(|&at| &examples.examples[at])
            .collect();
        if chosen_by.is_empty() {
            // The teacher's own answers, of questions that are not learnt from then.
            let learnt = lessons.len() - lessons.len() / 10;
            lessons.truncate(learnt);
            chosen_by = answered[learnt..].iter().collect();
        }
        let development = chosen_by.len();
        let chooser = Development::new(examples, chosen_by, &general, &index, &encoder, self.seed)?;

        let end = self.time.and_then(|time| Instant::now().checked_add(time));
        let (mut attempts, mut best) = (Vec::new(), None::<(usize, Tried, Learnt)>);
        for method in self.method.each() {
            if !attempts.is_empty() && end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let settings = Settings {
                until: end,
                ..self.settings(method, lessons.len(), encoder.dimension())
            };
            let checkpoint = work.path(&format!("checkpoint {method}").replace(':', " "));
            let checkpoint = (checkpoint.as_path(), name.as_str());
            let (attempt, learnt) =
                self.attempt(method, &encoder, &lessons, &settings, checkpoint, &chooser)?;
            // The cheaper one stays unless this one is better beyond chance.
            if let Some((tried, learnt)) = learnt
                && best
                    .as_ref()
                    .is_none_or(|(_, best, _)| tried.is_better_than(best))
            {
                best = Some((attempts.len(), tried, learnt));
            }
            attempts.push(attempt);
        }
        let mut report = Report {
            model: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
            tuned: None,
            seed: self.seed,
            batch: self.batch,
            negatives: self.negatives,
            sizes: Sizes {
                documents: documents.len(),
                train: lessons.len(),
                development,
                test: split.test.len(),
                left_out: split.left_out,
            },
            attempts,
            chosen: best.as_ref().map(|(at, ..)| *at),
            test: None,
            general: None,
            verdict: Verdict::Refused(String::new()),
            seconds: 0.0,
        };
        let Some((_, _, learnt)) = best else {
            report.verdict = Verdict::Refused(
                "nothing was learnt that helps the development queries without forgetting; the held-out ones were not asked".into(),
            );
            return finish(work, report, target, start, None);
        };
        drop(lessons);

        let model = work.path("model");
        let new_encoder = write(&encoder, &learnt, &model, options)?;
        report.tuned = Some(new_encoder.fingerprint().to_owned());
        report.general = Some(general_of(&general, &encoder, &new_encoder)?);
        let new_options = EncoderOptions {
            model: Some(model.clone()),
            ..options.clone()
        };
        // What an adapter leaves as it is need not be encoded again.
        let same = new_encoder.fingerprint() == encoder.fingerprint();
        drop(index);
        let folder = work.path(if same { "old.vecdb" } else { "new.vecdb" });
        let progress = &mut self.progress;
        let index = Index::build(&folder, &new_options, documents, |done| {
            tell(progress, Stage::Test, done, total)
        })?;
        let after = index.measure(&asked, documents)?;
        drop(index);
        let test = Test::new(&asked, &before, &after, |old, new| {
            paired(old, new, self.seed)
        });
        report.verdict = verdict(&test, report.general.as_ref());
        report.test = Some(test);
        finish(work, report, target, start, Some(&model))
    }

    /// Trains by one method, and sees how far it is good to go.
    fn attempt(
        &mut self,
        method: Method,
        encoder: &Encoder,
        lessons: &[Lesson],
        settings: &Settings,
        checkpoint: (&Path, &str),
        chooser: &Development<'_>,
    ) -> Result<(Attempt, Option<(Tried, Learnt)>)> {
        let progress = &mut self.progress;
        let told = |done: train::Done| {
            progress(&Progress {
                stage: Stage::Train,
                method,
                done: done.step as u64,
                total: done.steps as u64,
                loss: Some(done.loss),
                tokens_per_second: done.tokens_per_second,
            })
        };
        let (adapter, trained, new, course);
        let way = if let Method::Adapter(rank) = method {
            (adapter, course) = adapt::learn(encoder, rank, lessons, settings, told)?;
            Way::Adapter(&adapter)
        } else {
            trained = trunk(self.dropout, self.memory, encoder, method)?;
            let (trunk, old) = &trained;
            let shapes = trunk.trained().clone();
            let adaptation = match method {
                Method::LowRank(rank) => Adaptation::LowRank {
                    start: old.clone(),
                    shapes,
                    rank,
                },
                _ => Adaptation::Direct {
                    start: old.clone(),
                    shapes,
                },
            };
            (new, course) = train::train(trunk, &adaptation, lessons, settings, checkpoint, told)?;
            Way::Weights {
                trunk,
                old,
                new: &new,
            }
        };
        stop(tell(&mut self.progress, Stage::Choose, 0, 1))?;
        let Choice { best, tried } = chooser.choose(&way)?;
        let attempt = Attempt {
            method: method.to_string(),
            epochs: settings.epochs,
            learning_rate: settings.rate,
            course,
            tried,
            best: best.as_ref().map(|best| best.step),
        };
        let learnt = best.map(|best| {
            let learnt = way.at(best.step.part);
            (best, learnt)
        });
        Ok((attempt, learnt))
    }

    fn settings(&self, method: Method, lessons: usize, dimension: usize) -> Settings {
        let per_epoch = lessons.div_ceil(self.batch).max(1);
        let (steps, rate) = match method {
            Method::Adapter(_) => (ADAPTER_STEPS, ADAPTER_RATE),
            Method::LowRank(_) => (STEPS, LOW_RANK_RATE),
            _ => (STEPS, RATE),
        };
        let mut dimensions = self.dimensions.clone();
        if !dimensions.contains(&dimension) {
            dimensions.push(dimension);
        }
        Settings {
            epochs: self
                .epochs
                .unwrap_or_else(|| (steps / per_epoch).clamp(1, MAX_EPOCHS)),
            batch: self.batch,
            negatives: self.negatives,
            rate: self.rate.unwrap_or(rate),
            seed: self.seed,
            dimensions,
            dropout: self.dropout > 0.0,
            until: None,
        }
    }

    /// What a checkpoint must have been made with to be gone on from.
    fn name(&self, encoder: &Encoder, examples: &Examples) -> String {
        let mut hash = Xxh3Default::new();
        let mut add = |part: &str| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(encoder.fingerprint());
        let settings = self.settings(Method::All, 1, encoder.dimension());
        add(&format!(
            "{settings:?} {:?} {:?} {}",
            self.epochs, self.rate, self.dropout
        ));
        for document in &examples.documents {
            add(document.title.as_deref().unwrap_or_default());
            add(&document.text);
        }
        for example in examples.examples.iter().chain(&examples.held_out) {
            add(&example.query);
            add(&format!("{:?} {:?}", example.positives, example.negatives));
        }
        examples.questions.iter().for_each(|question| add(question));
        format!("{:032x}", hash.digest128())
    }
}

/// Stores the report, with the model if it is accepted.
fn finish(
    work: Work,
    mut report: Report,
    target: &Path,
    start: Instant,
    model: Option<&Path>,
) -> Result<Report> {
    report.seconds = start.elapsed().as_secs_f64();
    let reports = [
        ("tuning.json", report.to_json()),
        ("tuning.html", report.to_html()),
    ];
    let accepted = model.filter(|_| report.verdict == Verdict::Accepted);
    work.finish(&reports, target, accepted)?;
    Ok(report)
}

/// The network as a method trains it, and the weights that it starts from.
fn trunk(
    dropout: f32,
    memory: usize,
    encoder: &Encoder,
    method: Method,
) -> Result<(Trunk, Numbers)> {
    let layers = encoder.layers("cannot be trained; that takes")?;
    encoder.trunk(Scope {
        first_layer: match method {
            Method::Layers(count) => layers.saturating_sub(count),
            _ => 0,
        },
        tables: false,
        dropout,
        memory,
    })
}

/// So many of the questions, by chance.
fn some(questions: Vec<&String>, count: usize, seed: u64) -> Vec<String> {
    let mut questions: Vec<String> = questions.into_iter().cloned().collect();
    shuffle(&mut questions, &mut Random(seed));
    questions.truncate(count);
    questions
}

fn tell(progress: &mut Callback<'_>, stage: Stage, done: u64, total: u64) -> ControlFlow<()> {
    progress(&Progress {
        stage,
        method: Method::Auto,
        done,
        total,
        loss: None,
        tokens_per_second: None,
    })
}

fn stop(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    }
}

/// Writes the new model and opens it.
fn write(
    old: &Encoder,
    learnt: &Learnt,
    folder: &Path,
    options: &EncoderOptions,
) -> Result<Encoder> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
    }
    match learnt {
        Learnt::Weights(weights) => old.write_with(weights, &BTreeMap::new(), folder)?,
        Learnt::Adapter(adapter) => {
            old.write_with(&Numbers::new(), &BTreeMap::new(), folder)?;
            adapter.write(folder)?;
        }
    }
    let new = Encoder::open(&EncoderOptions {
        model: Some(folder.to_owned()),
        ..options.clone()
    })?;
    new.write_onnx(folder)?;
    Ok(new)
}

fn general_of(general: &General, old: &Encoder, new: &Encoder) -> Result<report::General> {
    let points = |encoder: &Encoder| -> Result<f64> {
        let mut vectors = Vec::with_capacity(general.texts.len());
        for part in general.texts.chunks(GENERAL_AT_ONCE) {
            let mut windows = Vec::with_capacity(part.len());
            for text in part {
                windows.push(encoder.windows(None, text)?.swap_remove(0));
            }
            vectors.extend(encoder.encode(&windows)?);
        }
        let asking = general
            .texts
            .iter()
            .enumerate()
            .filter(|(at, _)| general.asks(*at));
        let (places, asking): (Vec<usize>, Vec<&String>) = asking.unzip();
        for (place, vector) in places.into_iter().zip(encoder.encode_queries(&asking)?) {
            vectors[place] = vector;
        }
        let vectors: Vec<&[f32]> = vectors.iter().map(|vector| vector.as_slice()).collect();
        Ok(general.points(&vectors))
    };
    Ok(report::General {
        measure: general.measure().into(),
        allowed: general.allowed(),
        old: points(old)?,
        new: points(new)?,
    })
}

fn verdict(test: &Test, general: Option<&report::General>) -> Verdict {
    if test.gain.low <= 0.0 {
        return Verdict::Refused(
            "the gain on the held-out queries may be chance: its interval reaches down to zero or below".into(),
        );
    }
    match general {
        Some(general) if general.new < general.old - general.allowed => Verdict::Refused(format!(
            "it forgets: {} fell by {:.1} points, and {:.0} may be lost",
            general.measure,
            general.old - general.new,
            general.allowed
        )),
        _ => Verdict::Accepted,
    }
}
