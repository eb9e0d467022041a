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

    /// The sum of each token's rows, `[rows × width, hidden]`.
    pub fn look_up(&self, weights: &Numbers, padded: &Padded) -> Vec<f32> {
        let hidden = self.config.hidden;
        let (words, places) = (&weights[&self.words], &weights[&self.places]);
        let segment = self.segments.as_ref().map(|name| &weights[name][..hidden]);
        let mut sums = Vec::with_capacity(padded.ids.len() * hidden);
        for (at, &id) in padded.ids.iter().enumerate() {
            let word = row(words, id as usize, hidden);
            let place = row(
                places,
                self.config.first_position + at % padded.width,
                hidden,
            );
            let sum = word.iter().zip(place).map(|(a, b)| a + b);
            match segment {
                Some(segment) => sums.extend(sum.zip(segment).map(|(a, b)| a + b)),
                None => sums.extend(sum),
            }
        }
        sums
    }

    /// Adds the gradient of what [`look_up`](Self::look_up) gave to the tables'.
    pub fn give_back(&self, padded: &Padded, gradient: &[f32], sums: &mut Numbers) {
        let hidden = self.config.hidden;
        let Config {
            vocabulary,
            positions,
            segments,
            ..
        } = self.config;
        let mut words = vec![0.0; vocabulary * hidden];
        let mut places = vec![0.0; positions * hidden];
        let mut first_segment = vec![0.0; segments * hidden];
        let tokens = padded
            .ids
            .iter()
            .zip(gradient.chunks_exact(hidden))
            .enumerate();
        for (at, (&id, gradient)) in tokens {
            if padded.mask[at] == 0.0 {
                continue;
            }
            let place = self.config.first_position + at % padded.width;
            add_row(&mut words, id as usize, gradient);
            add_row(&mut places, place, gradient);
            if segments > 0 {
                add_row(&mut first_segment, 0, gradient);
            }
        }
        add(sums, &self.words, words);
        add(sums, &self.places, places);
        if let Some(name) = &self.segments {
            add(sums, name, first_segment);
        }
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

fn row(table: &[f32], at: usize, width: usize) -> &[f32] {
    &table[at * width..][..width]
}

fn add_row(table: &mut [f32], at: usize, numbers: &[f32]) {
    let row = &mut table[at * numbers.len()..][..numbers.len()];
    row.iter_mut().zip(numbers).for_each(|(sum, x)| *sum += x);
}
