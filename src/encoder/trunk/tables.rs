//! Rows of the tables: a text's tokens → what goes into the first layer, and the way back.

use super::{Numbers, add};
use crate::encoder::batch::Padded;
use crate::encoder::export::{distance_bucket, prefix};
use crate::encoder::model::Config;
use crate::encoder::weights::Weights;

/// The tables of words, positions, segments and distances, by their names in the weights file.
pub(super) struct Tables {
    config: Config,
    words: String,
    places: String,
    segments: Option<String>,
    distances: Option<String>,
}

impl Tables {
    pub fn new(config: &Config, weights: &Weights) -> Self {
        let prefix = prefix(config, weights);
        let name = |table: &str| format!("{prefix}{table}.weight");
        Self {
            config: *config,
            words: name("embeddings.word_embeddings"),
            places: name("embeddings.position_embeddings"),
            segments: (config.segments > 0).then(|| name("embeddings.token_type_embeddings")),
            distances: (config.distance_buckets > 0)
                .then(|| name("encoder.relative_attention_bias")),
        }
    }

    /// Their names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        let Config { hidden, heads, .. } = self.config;
        let segments = self
            .segments
            .as_deref()
            .map(|name| (name, [self.config.segments, hidden]));
        let buckets = self.config.distance_buckets;
        let distances = self
            .distances
            .as_deref()
            .map(|name| (name, [buckets, heads]));
        let words = (self.words.as_str(), [self.config.vocabulary, hidden]);
        let places = (self.places.as_str(), [self.config.positions, hidden]);
        [words, places].into_iter().chain(segments).chain(distances)
    }

    /// The sum of each token's rows, `[rows × width, hidden]`. From `second` on, where that is told of a text, its tokens are
    /// of the second segment.
    pub fn look_up(&self, weights: &Numbers, padded: &Padded, second: &[usize]) -> Vec<f32> {
        let hidden = self.config.hidden;
        let (words, places) = (&weights[&self.words], &weights[&self.places]);
        let segments = self.segments.as_ref().map(|name| &weights[name]);
        let mut sums = Vec::with_capacity(padded.ids.len() * hidden);
        for (at, &id) in padded.ids.iter().enumerate() {
            let word = row(words, id as usize, hidden);
            let place = row(
                places,
                self.config.first_position + at % padded.width,
                hidden,
            );
            let sum = word.iter().zip(place).map(|(a, b)| a + b);
            match segments {
                Some(segments) => {
                    let segment = row(segments, self.segment(padded, second, at), hidden);
                    sums.extend(sum.zip(segment).map(|(a, b)| a + b));
                }
                None => sums.extend(sum),
            }
        }
        sums
    }

    /// Adds the gradient of what [`look_up`](Self::look_up) gave to the tables'.
    pub fn give_back(
        &self,
        padded: &Padded,
        second: &[usize],
        gradient: &[f32],
        sums: &mut Numbers,
    ) {
        let hidden = self.config.hidden;
        let tokens = || {
            let tokens = gradient.chunks_exact(hidden).enumerate();
            tokens.filter(|&(at, _)| padded.mask[at] != 0.0)
        };
        let words = of(sums, &self.words, self.config.vocabulary * hidden);
        for (at, gradient) in tokens() {
            add_row(words, padded.ids[at] as usize, gradient);
        }
        let places = of(sums, &self.places, self.config.positions * hidden);
        for (at, gradient) in tokens() {
            let place = self.config.first_position + at % padded.width;
            add_row(places, place, gradient);
        }
        if let Some(name) = &self.segments {
            let segments = of(sums, name, self.config.segments * hidden);
            for (at, gradient) in tokens() {
                add_row(segments, self.segment(padded, second, at), gradient);
            }
        }
    }

    /// The segment of the token at a place.
    fn segment(&self, padded: &Padded, second: &[usize], at: usize) -> usize {
        let second = second.get(at / padded.width);
        let is_second = second.is_some_and(|second| at % padded.width >= *second);
        usize::from(is_second).min(self.config.segments.saturating_sub(1))
    }

    /// What is added to scores for the distance of two tokens, `[1, heads, width, width]`; nothing where there is none.
    pub fn distances(&self, weights: &Numbers, width: usize) -> Vec<f32> {
        let Some(name) = &self.distances else {
            return Vec::new();
        };
        let table = &weights[name];
        let heads = self.config.heads;
        let mut numbers = Vec::with_capacity(heads * width * width);
        for head in 0..heads {
            numbers.extend(
                self.buckets(width)
                    .map(|bucket| table[bucket * heads + head]),
            );
        }
        numbers
    }

    /// Adds their gradient to the table's.
    pub fn give_distances_back(&self, width: usize, gradient: &[f32], sums: &mut Numbers) {
        let Some(name) = &self.distances else {
            return;
        };
        let heads = self.config.heads;
        let mut table = vec![0.0; self.config.distance_buckets * heads];
        for (head, gradient) in gradient.chunks_exact(width * width).enumerate() {
            for (bucket, number) in self.buckets(width).zip(gradient) {
                table[bucket * heads + head] += number;
            }
        }
        add(sums, name, table);
    }

    /// The bucket of each query's distance from each key.
    fn buckets(&self, width: usize) -> impl Iterator<Item = usize> {
        let buckets = self.config.distance_buckets;
        let pairs = (0..width).flat_map(move |query| (0..width).map(move |key| (query, key)));
        pairs.map(move |(query, key)| {
            distance_bucket(key as i64 - query as i64, buckets as i64) as usize
        })
    }
}

/// The sum of a table's gradients.
fn of<'a>(sums: &'a mut Numbers, name: &str, numbers: usize) -> &'a mut Vec<f32> {
    let zeros = || vec![0.0; numbers];
    sums.entry(name.to_owned()).or_insert_with(zeros)
}

fn row(table: &[f32], at: usize, width: usize) -> &[f32] {
    &table[at * width..][..width]
}

fn add_row(table: &mut [f32], at: usize, numbers: &[f32]) {
    let row = &mut table[at * numbers.len()..][..numbers.len()];
    row.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
}
