//! Pre-training as Devlin et al. 2018 (arXiv:1810.04805) have it: words that were masked are guessed, and whether one text
//! follows on the other.
//!
//! ```text
//! tokens ─ rows of the tables ─ layers ─┬ masked tokens' vectors ─ transform ─ the words' own table ─→ loss of words
//!        (two segments)                 └ the first token's vector ─ pooler ─ yes or no ────────────→ loss of pairs
//! ```
//!
//! The loss is a sum over the examples, so forward and backward run batch by batch, and nothing is kept between batches.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use super::{BATCH_ROWS, BATCH_TOKENS, Batch, Numbers, Scope, Trunk, Worker, add};
use crate::encoder::batch::{Padded, Row};
use crate::encoder::export::{
    Bend, Classifier, LABELS, LEAVING, LOSS, RIGHT, ROWS, SCALE, gradient_name, prefix,
};
use crate::encoder::model::Architecture;
use crate::encoder::session::{Given, Session};
use crate::encoder::{Encoder, weights};
use crate::error::Result;
use crate::random::Random;

/// The deviation of numbers that a matrix begins with, as the paper's code has it.
const DEVIATION: f32 = 0.02;

/// A text with gaps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Masked {
    /// As the network sees them, special ones included.
    pub tokens: Vec<u32>,
    /// Where the second text begins; the number of tokens if there is none.
    pub second: usize,
    /// Places that are to be guessed, and what stood there.
    pub gaps: Vec<(usize, u32)>,
    /// Does the second text follow on the first? `None` if that is not asked.
    pub follows: Option<bool>,
}

/// How guesses went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Judged {
    /// The sum of cross-entropies, in nats.
    pub loss: f64,
    /// Guesses that were right.
    pub right: f64,
    pub asked: usize,
}

impl Judged {
    /// Mean cross-entropy.
    pub fn mean(&self) -> f64 {
        self.loss / self.asked.max(1) as f64
    }
}

impl AddAssign for Judged {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.right += other.right;
        self.asked += other.asked;
    }
}

/// A network with what guesses.
pub(crate) struct Pretraining {
    trunk: Trunk,
    /// Of words; and of pairs, where the network has two segments.
    classifiers: Vec<Classifier>,
    trained: BTreeMap<String, Vec<usize>>,
    /// Those of the trained weights that the model's file does not have.
    added: BTreeMap<String, Vec<usize>>,
}

impl Encoder {
    /// The network, to be pre-trained with its tables, and the weights as they stand. What guesses begins by chance where the
    /// model's file does not have it.
    ///
    /// # Errors
    /// As [`Encoder::trunk`].
    pub(crate) fn pretraining(&self, dropout: f32, seed: u64) -> Result<(Pretraining, Numbers)> {
        let (mut trunk, mut numbers) = self.trunk(Scope {
            first_layer: 0,
            tables: true,
            dropout,
            memory: 0,
        })?;
        let ours = self
            .0
            .pool
            .network()
            .ours("cannot be trained; that takes")?;
        let classifiers = classifiers(&trunk, &ours.weights);
        let mut trained = trunk.trained().clone();
        let (mut added, mut random) = (BTreeMap::new(), Random(seed));
        for (name, shape) in shapes(&classifiers, trunk.hidden()) {
            if trained.contains_key(&name) {
                continue;
            }
            let values = match ours.weights.has(&name) {
                true => ours.weights.values(ours.weights.place(&name, &shape)?),
                false => {
                    added.insert(name.clone(), shape.clone());
                    beginning(&name, &shape, &mut random)
                }
            };
            numbers.insert(name.clone(), values);
            trained.insert(name, shape);
        }
        let pool = &self.0.pool;
        let open =
            |graph: &[u8]| Session::open_for_training(pool.runtime(), graph, pool.provider(), 1);
        for worker in &mut trunk.workers {
            let worker = worker.get_mut().unwrap_or_else(|e| e.into_inner());
            for classifier in &classifiers {
                worker.classifiers.push(Sessions {
                    judge: open(&classifier.graph(false))?,
                    learn: open(&classifier.graph(true))?,
                });
            }
        }
        let pretraining = Pretraining {
            trunk,
            classifiers,
            trained,
            added,
        };
        Ok((pretraining, numbers))
    }
}

/// What a weight begins with: a scale at 1, a bias at 0, a matrix by chance.
pub(in crate::encoder) fn beginning(name: &str, shape: &[usize], random: &mut Random) -> Vec<f32> {
    let count = shape.iter().product();
    match shape.len() {
        1 if name.ends_with("weight") => vec![1.0; count],
        1 => vec![0.0; count],
        _ => (0..count).map(|_| DEVIATION * random.normal()).collect(),
    }
}

fn classifiers(trunk: &Trunk, file: &weights::Weights) -> Vec<Classifier> {
    let config = &trunk.config;
    let pair = |name: &str| [format!("{name}.weight"), format!("{name}.bias")];
    let prefix = prefix(config, file);
    let (transform, norm, bias) = match config.architecture {
        Architecture::Bert => (
            "cls.predictions.transform.dense",
            "cls.predictions.transform.LayerNorm",
            "cls.predictions.bias",
        ),
        Architecture::Roberta | Architecture::MpNet => {
            ("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
        }
        Architecture::DistilBert => (
            "vocab_transform",
            "vocab_layer_norm",
            "vocab_projector.bias",
        ),
    };
    // As checkpoints from TensorFlow name them.
    let old = [format!("{norm}.gamma"), format!("{norm}.beta")];
    let norm = match file.has(&old[0]) {
        true => old,
        false => pair(norm),
    };
    let words = Classifier {
        transform: pair(transform),
        bend: Bend::Of(config.activation),
        norm: Some((norm, config.epsilon)),
        output: [
            format!("{prefix}embeddings.word_embeddings.weight"),
            bias.into(),
        ],
        classes: config.vocabulary,
    };
    let mut classifiers = vec![words];
    if config.architecture == Architecture::Bert && config.segments > 1 {
        classifiers.push(Classifier {
            transform: pair(&format!("{prefix}pooler.dense")),
            bend: Bend::Tanh,
            norm: None,
            output: pair("cls.seq_relationship"),
            classes: 2,
        });
    }
    classifiers
}

fn shapes(classifiers: &[Classifier], hidden: usize) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    for classifier in classifiers {
        let [matrix, bias] = classifier.transform.clone();
        shapes.extend([(matrix, vec![hidden, hidden]), (bias, vec![hidden])]);
        for name in classifier.norm.iter().flat_map(|(names, _)| names) {
            shapes.push((name.clone(), vec![hidden]));
        }
        let [matrix, bias] = classifier.output.clone();
        let classes = classifier.classes;
        shapes.extend([(matrix, vec![classes, hidden]), (bias, vec![classes])]);
    }
    shapes
}

/// A classifier's graphs, open.
pub(super) struct Sessions {
    judge: Session,
    learn: Session,
}

/// Vectors that a classifier is asked about.
#[derive(Default)]
struct Asked {
    /// The example that each is of.
    examples: Vec<usize>,
    /// Their places among the batch's tokens.
    places: Vec<usize>,
    labels: Vec<f32>,
}

impl Pretraining {
    /// The weights that are trained, with their shapes.
    pub fn trained(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.trained
    }

    /// Those that the model's file does not have.
    pub fn added(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.added
    }

    /// Is it asked whether texts follow on one another?
    pub fn asks_pairs(&self) -> bool {
        self.classifiers.len() > 1
    }

    /// How the guesses of words and of pairs go, example by example.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) where the runtime fails.
    pub fn judge(&self, weights: &Numbers, examples: &[Masked]) -> Result<Vec<[Judged; 2]>> {
        let (order, batches) = batches(examples);
        let run = Run {
            factors: None,
            seed: None,
        };
        let parts = self.trunk.share(batches.len(), |worker, mine| {
            let mut done = Vec::new();
            for at in mine {
                let order = &order[batches[at].clone()];
                let of = |&at: &usize| &examples[at];
                let chosen: Vec<&Masked> = order.iter().map(of).collect();
                let none = &mut Numbers::new();
                let judged = self.batch(worker, weights, &chosen, 0, run, none)?;
                done.extend(order.iter().copied().zip(judged));
            }
            Ok(done)
        })?;
        let mut done: Vec<_> = parts.into_iter().flatten().collect();
        done.sort_unstable_by_key(|&(at, _)| at);
        Ok(done.into_iter().map(|(_, judged)| judged).collect())
    }

    /// How they go in all, and the gradient of `factors[0] ·` the mean over all gaps `+ factors[1] ·` the mean over all pairs.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn step(
        &self,
        weights: &Numbers,
        examples: &[Masked],
        factors: [f32; 2],
        seed: u64,
    ) -> Result<([Judged; 2], Numbers)> {
        let (order, batches) = batches(examples);
        let gaps: usize = examples.iter().map(|example| example.gaps.len()).sum();
        let pairs = examples.iter().filter(|e| e.follows.is_some()).count();
        let factors = [
            factors[0] / gaps.max(1) as f32,
            factors[1] / pairs.max(1) as f32,
        ];
        let run = Run {
            factors: Some(factors),
            seed: Some(seed),
        };
        let parts = self.trunk.share(batches.len(), |worker, mine| {
            let (mut judged, mut sums) = ([Judged::default(); 2], Numbers::new());
            for at in mine {
                let range = batches[at].clone();
                let first = range.start;
                let of = |&at: &usize| &examples[at];
                let chosen: Vec<&Masked> = order[range].iter().map(of).collect();
                for more in self.batch(worker, weights, &chosen, first, run, &mut sums)? {
                    count(&mut judged, more);
                }
            }
            Ok((judged, sums))
        })?;
        let mut parts = parts.into_iter();
        let (mut judged, mut sums) = parts.next().unwrap_or_default();
        for (more, numbers) in parts {
            count(&mut judged, more);
            for (name, numbers) in numbers {
                add(&mut sums, &name, numbers);
            }
        }
        Ok((judged, sums))
    }

    fn batch(
        &self,
        worker: &mut Worker,
        weights: &Numbers,
        examples: &[&Masked],
        first: usize,
        run: Run,
        sums: &mut Numbers,
    ) -> Result<Vec<[Judged; 2]>> {
        let trunk = &self.trunk;
        let rows = examples.iter().map(|example| Row {
            tokens: &example.tokens,
            prompt: 0,
        });
        let padded = Padded::new(&rows.collect::<Vec<_>>(), trunk.encoder.0.pool.head());
        let second: Vec<usize> = examples.iter().map(|example| example.second).collect();
        let batch = Batch {
            entering: trunk.tables.look_up(weights, &padded, &second),
            distances: trunk.tables.distances(weights, padded.width),
            padded,
            second,
            first,
            pooled: Vec::new(),
            kept: None,
        };
        let kept = trunk.run_forward(worker, weights, &batch, run.seed)?;
        let leaving = kept.numbers(LEAVING)?;
        let mut of_leaving = vec![0.0; leaving.len()];
        let mut judged = vec![[Judged::default(); 2]; examples.len()];
        let asked = asked(examples, batch.padded.width);
        for (nth, (classifier, asked)) in self.classifiers.iter().zip(&asked).enumerate() {
            let factor = run.factors.map(|factors| factors[nth]);
            if asked.labels.is_empty() || factor == Some(0.0) {
                continue;
            }
            let vectors = Vectors {
                of: leaving,
                gradient: &mut of_leaving,
                hidden: trunk.hidden(),
            };
            let sessions = &mut worker.classifiers[nth];
            let sums = factor.map(|factor| (factor, &mut *sums));
            let guesses = self.classify(sessions, classifier, weights, asked, vectors, sums)?;
            for (&example, guess) in asked.examples.iter().zip(guesses) {
                judged[example][nth] += guess;
            }
        }
        if run.factors.is_some() {
            let run = (&batch, run.seed);
            trunk.run_backward(worker, weights, run, &kept, &of_leaving, sums)?;
        }
        Ok(judged)
    }

    /// Asks a classifier, vector by vector; adds the gradients of its weights and of the vectors, if there are sums to add them to.
    fn classify(
        &self,
        sessions: &mut Sessions,
        classifier: &Classifier,
        weights: &Numbers,
        asked: &Asked,
        vectors: Vectors<'_>,
        sums: Option<(f32, &mut Numbers)>,
    ) -> Result<Vec<Judged>> {
        let hidden = vectors.hidden;
        let row = |place: &usize| &vectors.of[place * hidden..][..hidden];
        let rows: Vec<f32> = asked.places.iter().flat_map(row).copied().collect();
        let count = asked.labels.len();
        let scale = sums.as_ref().map(|(factor, _)| [*factor]);
        let given = |name, shape, numbers| Given {
            name,
            shape,
            numbers,
        };
        let (shape_of_rows, shape_of_labels) = ([count, hidden], [count]);
        let inputs = [
            given(ROWS, &shape_of_rows[..], &rows[..]),
            given(LABELS, &shape_of_labels, &asked.labels),
        ];
        let scale = scale.iter().map(|scale| given(SCALE, &[1], &scale[..]));
        let of_weights = classifier
            .weights()
            .map(|name| given(name, &self.trained[name], &weights[name]));
        let session = match sums {
            Some(_) => &mut sessions.learn,
            None => &mut sessions.judge,
        };
        let gave = session.run_and_keep(inputs.into_iter().chain(scale).chain(of_weights), None)?;
        if let Some((_, sums)) = sums {
            for name in classifier.weights() {
                add(sums, name, gave.numbers(&gradient_name(name))?.to_vec());
            }
            let of_rows = gave.numbers(&gradient_name(ROWS))?.chunks_exact(hidden);
            for (place, row) in asked.places.iter().zip(of_rows) {
                let to = &mut vectors.gradient[place * hidden..][..hidden];
                to.iter_mut().zip(row).for_each(|(to, from)| *to += from);
            }
        }
        let guesses = gave.numbers(LOSS)?.iter().zip(gave.numbers(RIGHT)?);
        let guesses = guesses.map(|(&loss, &right)| Judged {
            loss: loss.into(),
            right: right.into(),
            asked: 1,
        });
        Ok(guesses.collect())
    }
}

fn count(sums: &mut [Judged; 2], more: [Judged; 2]) {
    sums.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
}

/// Examples by length, and ranges of these that run together.
fn batches(examples: &[Masked]) -> (Vec<usize>, Vec<Range<usize>>) {
    let length = |at: usize| examples[at].tokens.len();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&at| length(at));
    let (mut batches, mut start) = (Vec::new(), 0);
    while start < order.len() {
        // The last of a batch gives its width.
        let fits = |end: &usize| (end - start) * length(order[end - 1]) <= BATCH_TOKENS;
        let ends = start + 2..=order.len().min(start + BATCH_ROWS);
        let end = ends.take_while(fits).last().unwrap_or(start + 1);
        batches.push(start..end);
        start = end;
    }
    (order, batches)
}

/// What a batch is run for.
#[derive(Clone, Copy)]
struct Run {
    /// What each gap's and each pair's loss counts; `None` if no gradient is wanted.
    factors: Option<[f32; 2]>,
    /// Of what is dropped.
    seed: Option<u64>,
}

/// The tokens' vectors of a batch, and their gradient.
struct Vectors<'a> {
    of: &'a [f32],
    gradient: &'a mut [f32],
    hidden: usize,
}

/// What is asked of a batch: gaps, and pairs.
fn asked(examples: &[&Masked], width: usize) -> [Asked; 2] {
    let [mut gaps, mut pairs] = [Asked::default(), Asked::default()];
    for (row, example) in examples.iter().enumerate() {
        for &(place, token) in &example.gaps {
            gaps.examples.push(row);
            gaps.places.push(row * width + place);
            gaps.labels.push(token as f32);
        }
        if let Some(follows) = example.follows {
            pairs.examples.push(row);
            pairs.places.push(row * width);
            // As the paper's code has it: 0 for what follows.
            pairs.labels.push(if follows { 0.0 } else { 1.0 });
        }
    }
    [gaps, pairs]
}
