//! Lessons → weights.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::lessons::{self, Lesson};
use super::lora::Adaptation;
use super::optimise::{AdamW, schedule};
use super::split::shuffle;
use crate::encoder::trunk::{Numbers, Trunk};
use crate::error::{Error, Result};
use crate::random::Random;

/// Between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Of so many steps the loss is one point of the curve, at most.
const CURVE_POINTS: usize = 200;

/// How it is trained.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub epochs: usize,
    pub batch: usize,
    pub negatives: usize,
    pub rate: f32,
    pub seed: u64,
    /// Components that the loss looks at, each for itself.
    pub dimensions: Vec<usize>,
    pub dropout: bool,
    /// Ends there, whatever is left.
    pub until: Option<Instant>,
}

/// A step that was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub step: usize,
    pub steps: usize,
    pub loss: f32,
    /// `None` where no network runs.
    pub tokens_per_second: Option<f64>,
}

/// What training came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Course {
    /// Steps done, of those that were planned.
    pub steps: usize,
    /// Planned.
    pub planned: usize,
    /// Tokens that were trained on, padding left out.
    pub tokens: u64,
    /// Time for it.
    pub seconds: f64,
    /// Step and mean loss up to there.
    pub losses: Vec<(usize, f32)>,
    /// Why it ended before its end.
    pub stopped: Option<String>,
    /// The sum of losses since the last point.
    #[serde(default)]
    pub(super) recent: f32,
}

/// All that changes.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub parameters: Numbers,
    pub optimiser: AdamW,
    pub course: Course,
}

/// How long it goes on, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub steps: usize,
    pub rate: f32,
    /// Ends there, whatever is left.
    pub until: Option<Instant>,
    /// Where the state is kept, and what it must have been made with to be gone on from.
    pub checkpoint: (&'a Path, &'a str),
}

/// What a step came to.
pub(super) struct Stepped {
    pub loss: f32,
    pub tokens: usize,
    /// Of the parameters; `None` if the loss is no number.
    pub gradients: Option<Numbers>,
}

/// Trains on lessons; goes on from the checkpoint where there is one of the same name.
///
/// # Errors
/// [`Error::Cancelled`] where `progress` ended it; the checkpoint is there then. [`Error::Encode`], [`Error::Io`].
pub(super) fn train(
    trunk: &Trunk,
    adaptation: &Adaptation,
    lessons: &[Lesson],
    settings: &Settings,
    checkpoint: (&Path, &str),
    progress: impl FnMut(Done) -> ControlFlow<()>,
) -> Result<(Numbers, Course)> {
    let plan = Plan {
        steps: lessons.len().div_ceil(settings.batch) * settings.epochs,
        rate: settings.rate,
        until: settings.until,
        checkpoint,
    };
    let step = |at: usize, parameters: &Numbers| {
        let chosen = lessons_of(lessons, settings, at);
        let mut random = Random(seed_of(settings.seed, at));
        let step = lessons::step(&chosen, settings.negatives, &mut random);
        let weights = adaptation.weights(parameters);
        let drop = settings.dropout.then(|| random.next());
        let forward = trunk.forward(&weights, &step.windows, drop, true)?;
        let (loss, gradient) = step.loss(&forward.vectors, trunk.dimension(), &settings.dimensions);
        let gradients = match loss.is_finite() {
            true => {
                let gradients = trunk.backward(&weights, forward, &gradient)?;
                Some(adaptation.gradients(parameters, gradients))
            }
            false => None,
        };
        Ok(Stepped {
            loss,
            tokens: step.tokens(),
            gradients,
        })
    };
    let start = || adaptation.start(settings.seed);
    let (parameters, course) = follow(&plan, start, &adaptation.shapes(), step, progress)?;
    Ok((adaptation.weights(&parameters), course))
}

/// Takes the steps of a plan from the parameters that `start` gives, or from those of the checkpoint.
///
/// # Errors
/// As [`train`], and those of `step`.
pub(super) fn follow(
    plan: &Plan<'_>,
    start: impl FnOnce() -> Numbers,
    shapes: &BTreeMap<String, Vec<usize>>,
    mut step: impl FnMut(usize, &Numbers) -> Result<Stepped>,
    mut progress: impl FnMut(Done) -> ControlFlow<()>,
) -> Result<(Numbers, Course)> {
    let (path, name) = plan.checkpoint;
    let mut state = checkpoint::read(path, name)?.unwrap_or_else(|| State {
        parameters: start(),
        ..State::default()
    });
    state.course.planned = plan.steps;
    // Why it stopped then need not stop it now.
    state.course.stopped = None;
    let before = Duration::from_secs_f64(state.course.seconds);
    let start = Instant::now();
    let mut written = Instant::now();
    let mut tokens = 0;
    while state.course.steps < plan.steps {
        let at = state.course.steps;
        if plan.until.is_some_and(|until| Instant::now() >= until) {
            state.course.stopped = Some("the time was up".into());
            break;
        }
        let stepped = step(at, &state.parameters)?;
        let wrong = match &stepped.gradients {
            _ if !stepped.loss.is_finite() => Some("the loss"),
            Some(gradients) if gradients.values().flatten().all(|x| x.is_finite()) => None,
            _ => Some("a gradient"),
        };
        let (None, Some(gradients)) = (wrong, stepped.gradients) else {
            state.course.stopped = Some(format!(
                "{} was no number at step {}; the weights are those before it",
                wrong.unwrap_or_default(),
                at + 1
            ));
            break;
        };
        let rate = plan.rate * schedule(at, plan.steps);
        state
            .optimiser
            .step(&mut state.parameters, &gradients, shapes, rate);

        let course = &mut state.course;
        course.done(stepped.tokens, stepped.loss, before + start.elapsed());
        tokens += stepped.tokens as u64;
        let done = Done {
            step: course.steps,
            steps: plan.steps,
            loss: stepped.loss,
            tokens_per_second: Some(tokens as f64 / start.elapsed().as_secs_f64()),
        };
        let stop = progress(done).is_break();
        if stop || written.elapsed() >= CHECKPOINT_EVERY {
            checkpoint::write(path, name, &state)?;
            written = Instant::now();
        }
        if stop {
            return Err(Error::Cancelled);
        }
    }
    checkpoint::write(path, name, &state)?;
    Ok((state.parameters, state.course))
}

/// The lessons of a step: each epoch has all of them, in an order of its own.
pub(super) fn lessons_of<'a>(
    lessons: &'a [Lesson],
    settings: &Settings,
    at: usize,
) -> Vec<&'a Lesson> {
    let per_epoch = lessons.len().div_ceil(settings.batch);
    let mut order: Vec<usize> = (0..lessons.len()).collect();
    let epoch = (at / per_epoch) as u64;
    shuffle(
        &mut order,
        &mut Random(settings.seed.wrapping_add(epoch * 7_919)),
    );
    let chosen = order
        .chunks(settings.batch)
        .nth(at % per_epoch)
        .unwrap_or_default();
    chosen.iter().map(|&lesson| &lessons[lesson]).collect()
}

/// What a step draws from.
pub(super) fn seed_of(seed: u64, at: usize) -> u64 {
    seed ^ (at as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95)
}

impl Course {
    /// Counts a step. The curve has a point for every so many steps: the mean since the last one.
    pub(super) fn done(&mut self, tokens: usize, loss: f32, elapsed: Duration) {
        self.steps += 1;
        self.tokens += tokens as u64;
        self.seconds = elapsed.as_secs_f64();
        self.recent += loss;
        let last = self.losses.last().map_or(0, |&(step, _)| step);
        let every = self.planned.div_ceil(CURVE_POINTS);
        if self.steps - last >= every || self.steps == self.planned {
            self.losses
                .push((self.steps, self.recent / (self.steps - last) as f32));
            self.recent = 0.0;
        }
    }
}

/// Weights between two of the same names: `from + part × (to − from)`.
pub(super) fn between(from: &Numbers, to: &Numbers, part: f32) -> Numbers {
    let mixed = to.iter().map(|(name, to)| {
        let from = &from[name];
        let numbers = from
            .iter()
            .zip(to)
            .map(|(from, to)| from + part * (to - from));
        (name.clone(), numbers.collect())
    });
    mixed.collect::<BTreeMap<_, _>>()
}
