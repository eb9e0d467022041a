//! Learns a map of queries' vectors alone: the encoder stays, and so does all that it embedded.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Instant;

use super::lessons::{self, Lesson};
use super::lora::first_factor;
use super::optimise::{AdamW, schedule};
use super::train::{Course, Done, Settings, lessons_of, seed_of};
use crate::encoder::trunk::Numbers;
use crate::encoder::{Adapter, Encoder, Window};
use crate::error::{Error, Result};
use crate::random::Random;

const UP: &str = "up";
const DOWN: &str = "down";

/// The map that changes nothing, from which learning begins.
fn identity(dimension: usize, rank: usize, seed: u64) -> Adapter {
    Adapter {
        rank,
        up: vec![0.0; dimension * rank],
        down: first_factor(rank, dimension, &mut Random(seed)),
    }
}

/// So much of the map: 0 is none of it, 1 all.
pub(super) fn part_of(adapter: &Adapter, part: f32) -> Adapter {
    Adapter {
        up: adapter.up.iter().map(|x| part * x).collect(),
        ..adapter.clone()
    }
}

/// Learns a map of such a rank. It takes seconds, so there is no checkpoint.
///
/// # Errors
/// [`Error::Cancelled`] where `progress` ended it, [`Error::Encode`].
pub(super) fn learn(
    encoder: &Encoder,
    rank: usize,
    lessons: &[Lesson],
    settings: &Settings,
    mut progress: impl FnMut(Done) -> ControlFlow<()>,
) -> Result<(Adapter, Course)> {
    let dimension = encoder.dimension();
    let known = Vectors::new(encoder, lessons)?;
    let mut adapter = identity(dimension, rank, settings.seed);
    let shapes = [(UP, vec![dimension, rank]), (DOWN, vec![rank, dimension])];
    let shapes = shapes.map(|(name, shape)| (name.to_owned(), shape)).into();
    let per_epoch = lessons.len().div_ceil(settings.batch);
    let steps = per_epoch * settings.epochs;
    let (mut optimiser, start) = (AdamW::default(), Instant::now());
    let mut course = Course {
        planned: steps,
        ..Course::default()
    };
    for at in 0..steps {
        if settings.until.is_some_and(|until| Instant::now() >= until) {
            course.stopped = Some("the time was up".into());
            break;
        }
        let chosen = lessons_of(lessons, settings, at);
        let step = lessons::step(
            &chosen,
            settings.negatives,
            &mut Random(seed_of(settings.seed, at)),
        );
        let given: Vec<&[f32]> = step.windows.iter().map(|window| known.of(window)).collect();
        let (queries, passages) = given.split_at(step.queries);
        let mut vectors: Vec<f32> = queries
            .iter()
            .flat_map(|query| adapter.apply(query))
            .collect();
        vectors.extend(passages.iter().copied().flatten());
        let (loss, gradient) = step.loss(&vectors, dimension, &settings.dimensions);
        if !loss.is_finite() {
            course.stopped = Some(format!("the loss was no number at step {}", at + 1));
            break;
        }
        let gradients = gradients(&adapter, queries, &gradient);
        let mut parameters = Numbers::from([
            (UP.to_owned(), std::mem::take(&mut adapter.up)),
            (DOWN.to_owned(), std::mem::take(&mut adapter.down)),
        ]);
        optimiser.step(
            &mut parameters,
            &gradients,
            &shapes,
            settings.rate * schedule(at, steps),
        );
        adapter.up = parameters.remove(UP).unwrap_or_default();
        adapter.down = parameters.remove(DOWN).unwrap_or_default();
        course.done(step.tokens(), loss, start.elapsed());
        let done = Done {
            step: course.steps,
            steps,
            loss,
            tokens_per_second: None,
        };
        if progress(done).is_break() {
            return Err(Error::Cancelled);
        }
    }
    Ok((adapter, course))
}

/// Gradients of the map from those of the queries that came out of it, the first ones of `gradient`.
fn gradients(adapter: &Adapter, queries: &[&[f32]], gradient: &[f32]) -> Numbers {
    let rank = adapter.rank;
    let dimension = adapter.up.len() / rank;
    let (mut of_up, mut of_down) = (vec![0.0; dimension * rank], vec![0.0; rank * dimension]);
    for (query, gradient) in queries.iter().zip(gradient.chunks_exact(dimension)) {
        let low: Vec<f32> = adapter
            .down
            .chunks_exact(dimension)
            .map(|row| row.iter().zip(*query).map(|(a, b)| a * b).sum())
            .collect();
        let mut of_low = vec![0.0; rank];
        for (at, g) in gradient.iter().enumerate() {
            let (up, of_up) = (
                &adapter.up[at * rank..][..rank],
                &mut of_up[at * rank..][..rank],
            );
            for i in 0..rank {
                of_up[i] += g * low[i];
                of_low[i] += g * up[i];
            }
        }
        for (row, g) in of_down.chunks_exact_mut(dimension).zip(of_low) {
            row.iter_mut()
                .zip(*query)
                .for_each(|(sum, x)| *sum += g * x);
        }
    }
    Numbers::from([(UP.to_owned(), of_up), (DOWN.to_owned(), of_down)])
}

/// The vectors of all that the lessons have.
struct Vectors<'a> {
    places: HashMap<&'a [u32], usize>,
    vectors: Vec<crate::vector::Vector>,
}

impl<'a> Vectors<'a> {
    fn new(encoder: &Encoder, lessons: &'a [Lesson]) -> Result<Self> {
        let mut places: HashMap<&[u32], usize> = HashMap::new();
        let mut windows: Vec<Window> = Vec::new();
        for window in lessons.iter().flat_map(Lesson::windows) {
            places.entry(&window.tokens).or_insert_with(|| {
                windows.push(window.clone());
                windows.len() - 1
            });
        }
        Ok(Self {
            vectors: encoder.encode(&windows)?,
            places,
        })
    }

    fn of(&self, window: &Window) -> &[f32] {
        self.vectors[self.places[window.tokens.as_slice()]].as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_those_of_finite_differences_and_nothing_is_changed_at_first() {
        let mut random = Random(1);
        let mut number = || random.below(2_001) as f32 / 1_000.0 - 1.0;
        let query: Vec<f32> = (0..5).map(|_| number()).collect();
        let mut adapter = identity(5, 2, 3);
        assert_eq!(adapter.apply(&query), query);
        adapter.up.iter_mut().for_each(|x| *x = number());
        assert_eq!(part_of(&adapter, 0.0).apply(&query), query);
        let factors: Vec<f32> = (0..5).map(|_| number()).collect();
        let loss = |adapter: &Adapter| -> f32 {
            adapter
                .apply(&query)
                .iter()
                .zip(&factors)
                .map(|(a, b)| a * b)
                .sum()
        };
        let told = gradients(&adapter, &[&query], &factors);
        for name in [UP, DOWN] {
            for (at, told) in told[name].iter().enumerate() {
                let moved = |by: f32| {
                    let mut moved = adapter.clone();
                    match name {
                        UP => moved.up[at] += by,
                        _ => moved.down[at] += by,
                    }
                    loss(&moved)
                };
                let seen = (moved(0.01) - moved(-0.01)) / 0.02;
                assert!((seen - told).abs() < 1e-3, "{name} {at}");
            }
        }
    }
}
