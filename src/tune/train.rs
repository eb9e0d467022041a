//! Lessons → weights.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::checkpoint;
use super::lessons::{self, Lesson, Step};
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

/// Trains; goes on from the checkpoint where there is one of the same `name`.
///
/// # Errors
/// [`Error::Cancelled`] where `progress` ended it; the checkpoint is there then. [`Error::Encode`], [`Error::Io`].
pub(super) fn train(
    trunk: &Trunk,
    adaptation: &Adaptation,
    lessons: &[Lesson],
    settings: &Settings,
    checkpoint: (&Path, &str),
    mut progress: impl FnMut(Done) -> ControlFlow<()>,
) -> Result<(Numbers, Course)> {
    let (path, name) = checkpoint;
    let per_epoch = lessons.len().div_ceil(settings.batch);
    let steps = per_epoch * settings.epochs;
    let mut state = checkpoint::read(path, name)?.unwrap_or_else(|| State {
        parameters: adaptation.start(settings.seed),
        ..State::default()
    });
    state.course.planned = steps;
    // Why it stopped then need not stop it now.
    state.course.stopped = None;
    let shapes = adaptation.shapes();
    let before = Duration::from_secs_f64(state.course.seconds);
    let start = Instant::now();
    let mut written = Instant::now();
    let mut tokens = 0;
    while state.course.steps < steps {
        let at = state.course.steps;
        if settings.until.is_some_and(|until| Instant::now() >= until) {
            state.course.stopped = Some("the time was up".into());
            break;
        }
        let chosen = lessons_of(lessons, settings, at);
        let mut random = Random(seed_of(settings, at));
        let step = lessons::step(&chosen, settings.negatives, &mut random);

        let weights = adaptation.weights(&state.parameters);
        let drop = settings.dropout.then(|| random.next());
        let forward = trunk.forward(&weights, &step.windows, drop, true)?;
        let (loss, gradient) = step.loss(&forward.vectors, trunk.dimension(), &settings.dimensions);
        if !loss.is_finite() {
            state.course.stopped = Some(format!(
                "the loss was no number at step {}; the weights are those before it",
                at + 1
            ));
            break;
        }
        let gradients = trunk.backward(&weights, forward, &gradient)?;
        let gradients = adaptation.gradients(&state.parameters, gradients);
        if !gradients.values().flatten().all(|x| x.is_finite()) {
            state.course.stopped = Some(format!(
                "a gradient was no number at step {}; the weights are those before it",
                at + 1
            ));
            break;
        }
        let rate = settings.rate * schedule(at, steps);
        state
            .optimiser
            .step(&mut state.parameters, &gradients, &shapes, rate);

        let course = &mut state.course;
        course.done(&step, loss, before + start.elapsed());
        tokens += step.tokens() as u64;
        let done = Done {
            step: course.steps,
            steps,
            loss,
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
    Ok((adaptation.weights(&state.parameters), state.course))
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
pub(super) fn seed_of(settings: &Settings, at: usize) -> u64 {
    settings.seed ^ (at as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95)
}

impl Course {
    /// Counts a step. The curve has a point for every so many steps: the mean since the last one.
    pub(super) fn done(&mut self, step: &Step<'_>, loss: f32, elapsed: Duration) {
        self.steps += 1;
        self.tokens += step.tokens() as u64;
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
