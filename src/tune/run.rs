//! All of it in order.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use xxhash_rust::xxh3::Xxh3Default;

use super::choose::{Choice, Development};
use super::data::{Example, Examples};
use super::gate::{MAX_FORGOTTEN, paired};
use super::general::General;
use super::index::Index;
use super::lessons;
use super::lora::Adaptation;
use super::options::{Callback, Method, Progress, Stage, Tuning};
use super::report::{self, Report, Sizes, Test, Verdict};
use super::split::{Split, shuffle};
use super::teacher::Tokens;
use super::train::{self, Settings};
use crate::encoder::trunk::{Numbers, Scope};
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

impl Tuning<'_> {
    /// Tunes the encoder that `encoder` opens, and writes the new one's folder `target` if it is better, with the report as
    /// `tuning.json` and `tuning.html`; if it is not, the report alone. Work in progress lies beside it, in `target.tuning`, and
    /// goes when it is done; after a kill the same call goes on from there.
    ///
    /// # Errors
    /// [`Error::Tune`] for too few queries, a query in both parts, or a folder that is there already; [`Error::Model`] for a
    /// model that cannot be trained; [`Error::Cancelled`]; [`Error::Io`], [`Error::Encode`] and those of
    /// [`Collection::ingest`](crate::Collection::ingest). Nothing is changed then.
    pub fn run(
        mut self,
        encoder: &EncoderOptions,
        examples: &Examples,
        target: impl AsRef<Path>,
    ) -> Result<Report> {
        let target = target.as_ref();
        if target.exists() {
            return Err(Error::Tune {
                what: format!("{} is there already; name a new folder", target.display()),
            });
        }
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
        let (trunk, old) = encoder.trunk(self.scope(&encoder)?)?;
        let work = Work::open(target, &encoder, examples)?;
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
            let mut tokens = Tokens::new(&trunk, &old, self.memory);
            let total = questions.len() as u64;
            let told = |done| tell(progress, Stage::Mine, done as u64, total);
            lessons::teach(examples, &questions, &index, &encoder, &mut tokens, told)?
        };
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
        let adaptation = self.adaptation(old.clone(), trunk.trained());
        let settings = self.settings(lessons.len(), encoder.dimension());
        let name = self.name(&encoder, &settings, examples);
        let checkpoint = work.path("checkpoint");
        let progress = &mut self.progress;
        let told = |done: train::Done| {
            progress(&Progress {
                stage: Stage::Train,
                done: done.step as u64,
                total: done.steps as u64,
                loss: Some(done.loss),
                tokens_per_second: Some(done.tokens_per_second),
            })
        };
        let (new, course) = train::train(
            &trunk,
            &adaptation,
            &lessons,
            &settings,
            (&checkpoint, &name),
            told,
        )?;

        stop(tell(progress, Stage::Choose, 0, 1))?;
        let Choice { best, tried } = chooser.choose(&trunk, &old, &new)?;
        let mut report = Report {
            model: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
            tuned: None,
            method: self.method.to_string(),
            seed: self.seed,
            epochs: settings.epochs,
            batch: settings.batch,
            negatives: settings.negatives,
            learning_rate: settings.rate,
            sizes: Sizes {
                documents: documents.len(),
                train: lessons.len(),
                development,
                test: split.test.len(),
                left_out: split.left_out,
            },
            course,
            tried,
            part: None,
            test: None,
            general: None,
            verdict: Verdict::Refused(String::new()),
            seconds: 0.0,
        };
        let Some((part, chosen)) = best else {
            report.verdict = Verdict::Refused(
                "nothing was learnt that helps the development queries without forgetting; the held-out ones were not asked".into(),
            );
            return work.finish(report, target, start, None);
        };
        report.part = Some(part);
        drop((trunk, lessons));

        let model = work.path("model");
        let new_encoder = write(&encoder, &chosen, &model, options)?;
        report.tuned = Some(new_encoder.fingerprint().to_owned());
        report.general = Some(general_of(&general, &encoder, &new_encoder)?);
        let new_options = EncoderOptions {
            model: Some(model.clone()),
            ..options.clone()
        };
        let index = Index::build(&work.path("new.vecdb"), &new_options, documents, |done| {
            tell(progress, Stage::Test, done, total)
        })?;
        let after = index.measure(&asked, documents)?;
        drop(index);
        let test = Test::new(&asked, &before, &after, |old, new| {
            paired(old, new, self.seed)
        });
        report.verdict = verdict(&test, report.general.as_ref());
        report.test = Some(test);
        work.finish(report, target, start, Some(&model))
    }

    fn scope(&self, encoder: &Encoder) -> Result<Scope> {
        let layers = encoder.layers("cannot be trained; that takes")?;
        Ok(Scope {
            first_layer: match self.method {
                Method::Layers(count) => layers.saturating_sub(count),
                Method::All | Method::LowRank(_) => 0,
            },
            tables: false,
            dropout: self.dropout,
            memory: self.memory,
        })
    }

    fn adaptation(
        &self,
        start: Numbers,
        shapes: &std::collections::BTreeMap<String, Vec<usize>>,
    ) -> Adaptation {
        let shapes = shapes.clone();
        match self.method {
            Method::LowRank(rank) => Adaptation::LowRank {
                start,
                shapes,
                rank,
            },
            _ => Adaptation::Direct { start, shapes },
        }
    }

    fn settings(&self, lessons: usize, dimension: usize) -> Settings {
        let per_epoch = lessons.div_ceil(self.batch).max(1);
        let usual = match self.method {
            Method::LowRank(_) => LOW_RANK_RATE,
            _ => RATE,
        };
        let mut dimensions = self.dimensions.clone();
        if !dimensions.contains(&dimension) {
            dimensions.push(dimension);
        }
        Settings {
            epochs: self
                .epochs
                .unwrap_or_else(|| (STEPS / per_epoch).clamp(1, MAX_EPOCHS)),
            batch: self.batch,
            negatives: self.negatives,
            rate: self.rate.unwrap_or(usual),
            seed: self.seed,
            dimensions,
            dropout: self.dropout > 0.0,
            until: self.time.map(|time| Instant::now() + time),
        }
    }

    /// What a checkpoint must have been made with to be gone on from.
    fn name(&self, encoder: &Encoder, settings: &Settings, examples: &Examples) -> String {
        let settings = Settings {
            until: None,
            ..settings.clone()
        };
        let mut hash = Xxh3Default::new();
        let mut add = |part: &str| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(&format!(
            "{} {} {} {settings:?}",
            encoder.fingerprint(),
            self.method,
            self.dropout
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
    weights: &Numbers,
    folder: &Path,
    options: &EncoderOptions,
) -> Result<Encoder> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
    }
    old.write_with(weights, folder)?;
    let new = Encoder::open(&EncoderOptions {
        model: Some(folder.to_owned()),
        ..options.clone()
    })?;
    new.write_onnx(folder)?;
    Ok(new)
}

fn general_of(general: &General, old: &Encoder, new: &Encoder) -> Result<report::General> {
    let points = |encoder: &Encoder| -> Result<f64> {
        let mut windows = Vec::new();
        for text in &general.texts {
            windows.push(encoder.windows(None, text)?.swap_remove(0));
        }
        let vectors = encoder.encode(&windows)?;
        let vectors: Vec<&[f32]> = vectors.iter().map(|vector| vector.as_slice()).collect();
        Ok(general.points(&vectors))
    };
    Ok(report::General {
        measure: general.measure().into(),
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
        Some(general) if general.new < general.old - MAX_FORGOTTEN => Verdict::Refused(format!(
            "it forgets: {} fell by {:.1} points, and {MAX_FORGOTTEN} is allowed",
            general.measure,
            general.old - general.new
        )),
        _ => Verdict::Accepted,
    }
}

/// The folder of what is in progress.
struct Work(PathBuf);

impl Work {
    fn open(target: &Path, encoder: &Encoder, examples: &Examples) -> Result<Self> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".tuning");
        let folder = target.with_file_name(name);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let work = Self(folder);
        work.check_room(encoder, examples)?;
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Is there room for two indexes, the model twice (safetensors and ONNX), and the checkpoint with its successor?
    fn check_room(&self, encoder: &Encoder, examples: &Examples) -> Result<()> {
        let text: usize = examples
            .documents
            .iter()
            .map(|document| document.text.len())
            .sum();
        // A window has some 800 bytes of text; a passage takes its vector, its codes, and the text compressed with its index.
        let passages = examples.documents.len() + text / 800;
        let index = passages * (8 * encoder.dimension() + 512) + text;
        let weights =
            fs::metadata(encoder.folder().join("model.safetensors")).map_or(0, |file| file.len());
        let needed = 2 * index as u64 + 8 * weights;
        match fs4::available_space(&self.0) {
            Ok(free) if free < needed => Err(Error::Tune {
                what: format!(
                    "it needs up to {} MB beside the new model's folder, and {} has {} MB free",
                    needed / 1_000_000,
                    self.0.display(),
                    free / 1_000_000
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Stores the report, with the model if it is accepted, and clears up.
    fn finish(
        self,
        mut report: Report,
        target: &Path,
        start: Instant,
        model: Option<&Path>,
    ) -> Result<Report> {
        report.seconds = start.elapsed().as_secs_f64();
        let folder = self.path("result");
        match model {
            Some(model) if report.verdict == Verdict::Accepted => {
                fs::rename(model, &folder).map_err(Error::io("rename", model))?;
            }
            _ => fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?,
        }
        for (name, text) in [
            ("tuning.json", report.to_json()),
            ("tuning.html", report.to_html()),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        fs::rename(&folder, target).map_err(Error::io("rename", &folder))?;
        fs::remove_dir_all(&self.0).map_err(Error::io("remove", &self.0))?;
        Ok(report)
    }
}
