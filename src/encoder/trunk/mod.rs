//! The network as it is trained: texts' vectors, and from the gradients of these the gradient of every weight.
//!
//! ```text
//! tokens ─ rows of the tables ─ frozen layers ─ trained layers ─ pooling ─ dense ─→ vectors
//!          (summed here)        (once a text)   (two graphs)     (here)    (here)
//! ```
//!
//! | file | |
//! |---|---|
//! | `tables.rs` | tokens → rows of the tables |
//! | `dropout.rs` | what is kept of the numbers inside |
//! | `pretraining.rs` | texts with gaps, guessed, instead of vectors |
//! | `frozen.rs` | what layers gave that are not trained |
//! | `folder.rs` | trained weights → a model folder |
//!
//! The layers run as graphs whose weights are inputs; what is looked up and pooled is little, and done here. Texts run in small
//! batches, whose numbers stay near the processor. Each worker takes every n-th batch, so that the sums of gradients, and with
//! them a whole training, are the same for the same seed and number of threads. What the forward run computed is kept for the
//! backward run as long as it fits the memory; where not, it is computed again (gradient caching, Gao et al. 2021,
//! arXiv:2101.06983).

mod dropout;
mod folder;
mod frozen;
mod pretraining;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::{Padded, Plan, Row};
use super::export::{DISTANCES, ENTERING, Graphs, LEAVING, MASK, Part, gradient_name, graphs};
use super::head::Head;
use super::model::Config;
use super::network::Ours;
use super::session::{Given, Kept, Session};
use super::{Encoder, Window, workers};
use crate::error::Result;
use frozen::FrozenLayers;
pub(super) use pretraining::beginning;
pub(crate) use pretraining::{Judged, Masked, Pretraining};
use tables::Tables;

/// Tokens of a batch, padding included.
const BATCH_TOKENS: usize = 1_024;
const BATCH_ROWS: usize = 64;
/// Texts of a batch whose tokens' vectors are asked for.
const TOKEN_ROWS: usize = 16;

/// Numbers by the names of their weights in the weights file.
pub(crate) type Numbers = BTreeMap<String, Vec<f32>>;

/// Which weights are trained, and how.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Layers below are frozen, and the tables with them.
    pub first_layer: usize,
    /// The tables of words, positions and segments are trained too.
    pub tables: bool,
    /// How likely a number is dropped; 0 for none.
    pub dropout: f32,
    /// Bytes that may be kept between the forward and the backward run, and as many for what frozen layers gave.
    pub memory: usize,
}

/// The network of an encoder, to be trained.
pub(crate) struct Trunk {
    encoder: Encoder,
    config: Config,
    scope: Scope,
    tables: Tables,
    graphs: Graphs,
    /// Of the tables, and all weights below the first trained layer.
    fixed: Numbers,
    frozen: Option<FrozenLayers>,
    trained: BTreeMap<String, Vec<usize>>,
    workers: Vec<Mutex<Worker>>,
}

struct Worker {
    frozen: Option<Session>,
    /// What is guessed of tokens and of texts, in pre-training.
    classifiers: Vec<pretraining::Sessions>,
    forward: Session,
    backward: Session,
}

/// What a forward run gave.
pub(crate) struct Forward {
    /// `[texts, dimension]`, not of length 1.
    pub vectors: Vec<f32>,
    row_of: Vec<usize>,
    rows: usize,
    batches: Vec<Batch>,
    seed: Option<u64>,
}

/// Texts that run together.
struct Batch {
    padded: Padded,
    /// Where each text's second segment begins; empty where all are of one.
    second: Vec<usize>,
    /// Its first row of the plan.
    first: usize,
    /// `[rows × width, hidden]`
    entering: Vec<f32>,
    /// `[1, heads, width, width]`, or nothing.
    distances: Vec<f32>,
    /// `[rows, hidden]`
    pooled: Vec<f32>,
    kept: Option<Kept>,
}

impl Encoder {
    /// The network, to be trained, and the weights that are, as they stand.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own, whose weights cannot be told apart.
    pub(crate) fn trunk(&self, mut scope: Scope) -> Result<(Trunk, Numbers)> {
        let Ours {
            config, weights, ..
        } = self
            .0
            .pool
            .network()
            .ours("cannot be trained; that takes")?;
        scope.first_layer = scope.first_layer.min(config.layers.saturating_sub(1));
        scope.tables &= scope.first_layer == 0;
        let mut part = Part {
            layers: scope.first_layer..config.layers,
            trained: BTreeSet::new(),
            embeddings: scope.tables,
            drops: scope.dropout > 0.0,
        };
        let read = |name: &str, shape: &[usize]| -> Result<(String, Vec<f32>)> {
            Ok((name.to_owned(), weights.values(weights.place(name, shape)?)))
        };
        let mut trained: BTreeMap<_, _> = graphs(config, weights, &part)?
            .weights
            .into_iter()
            .collect();
        part.trained = trained.keys().cloned().collect();
        let written = graphs(config, weights, &part)?;
        let tables = Tables::new(config, weights);
        let mut fixed = Numbers::new();
        for (name, shape) in tables.shapes() {
            match scope.tables {
                true => drop(trained.insert(name.to_owned(), shape.into())),
                false => fixed.extend([read(name, &shape)?]),
            }
        }
        let numbers = trained.iter().map(|(name, shape)| read(name, shape));
        let numbers = numbers.collect::<Result<Numbers>>()?;
        let mut below = None;
        if scope.first_layer > 0 {
            part.layers = 0..scope.first_layer;
            part.trained.clear();
            part.drops = false;
            let graphs = graphs(config, weights, &part)?;
            for (name, shape) in &graphs.weights {
                fixed.extend([read(name, shape)?]);
            }
            below = Some(graphs);
        }
        let pool = &self.0.pool;
        let open =
            |graph: &[u8]| Session::open_for_training(pool.runtime(), graph, pool.provider(), 1);
        let workers = (0..pool.shape().workers.max(1)).map(|_| {
            let below = below.as_ref().map(|graphs| open(&graphs.forward));
            Ok(Mutex::new(Worker {
                frozen: below.transpose()?,
                classifiers: Vec::new(),
                forward: open(&written.forward)?,
                backward: open(&written.backward)?,
            }))
        });
        let trunk = Trunk {
            workers: workers.collect::<Result<_>>()?,
            encoder: self.clone(),
            config: *config,
            scope,
            tables,
            graphs: written,
            fixed,
            frozen: below.map(|graphs| FrozenLayers::new(graphs.weights)),
            trained,
        };
        Ok((trunk, numbers))
    }
}

impl Trunk {
    /// The weights that are trained, with their shapes.
    pub fn trained(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.trained
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.encoder.dimension()
    }

    /// The vectors of windows; with a seed, numbers inside are dropped. `keep` tells that a backward run follows.
    ///
    /// # Errors
    /// [`Error::Encode`] where the runtime fails.
    pub fn forward(
        &self,
        weights: &Numbers,
        windows: &[&Window],
        seed: Option<u64>,
        keep: bool,
    ) -> Result<Forward> {
        let head = self.encoder.0.pool.head();
        let rows = windows.iter().map(|window| Row {
            tokens: &window.tokens,
            prompt: window.prompt,
        });
        let plan = Plan::new(rows, BATCH_TOKENS, BATCH_ROWS);
        let memory = if keep {
            self.scope.memory / self.workers.len()
        } else {
            0
        };
        let parts = self.share(plan.batches.len(), |worker, mine| {
            let mut left = memory;
            let mut done = Vec::new();
            for at in mine {
                let range = plan.batches[at].clone();
                let rows = &plan.rows[range.clone()];
                let mut batch = self.batch(worker, weights, rows, head, range.start)?;
                let kept = self.run_forward(worker, weights, &batch, seed)?;
                batch.pooled = batch.pool(kept.numbers(LEAVING)?, head.inputs());
                if let Some(rest) = left.checked_sub(kept.bytes()) {
                    left = rest;
                    batch.kept = Some(kept);
                }
                if !keep {
                    batch.entering = Vec::new();
                }
                done.push(batch);
            }
            Ok(done)
        })?;
        let mut batches: Vec<Batch> = parts.into_iter().flatten().collect();
        batches.sort_by_key(|batch| batch.first);
        let pooled = batches
            .iter()
            .flat_map(|batch| batch.pooled.chunks_exact(head.inputs()));
        let rows: Vec<Vec<f32>> = pooled.map(|row| head.project(row)).collect();
        let vectors = plan
            .row_of
            .iter()
            .flat_map(|&row| rows[row].iter().copied());
        Ok(Forward {
            vectors: vectors.collect(),
            rows: rows.len(),
            row_of: plan.row_of,
            batches,
            seed,
        })
    }

    /// Components of a token's vector.
    pub fn hidden(&self) -> usize {
        self.config.hidden
    }

    /// The vectors of each window's own tokens, `[tokens, hidden]`, at length 1.
    ///
    /// # Errors
    /// [`Error::Encode`] where the runtime fails.
    pub fn token_vectors(&self, weights: &Numbers, windows: &[&Window]) -> Result<Vec<Vec<f32>>> {
        let head = self.encoder.0.pool.head();
        let hidden = self.config.hidden;
        let mut order: Vec<usize> = (0..windows.len()).collect();
        order.sort_by_key(|&at| windows[at].tokens.len());
        let batches: Vec<&[usize]> = order.chunks(TOKEN_ROWS).collect();
        let parts = self.share(batches.len(), |worker, mine| {
            let mut done = Vec::new();
            for at in mine {
                let rows = batches[at].iter().map(|&at| Row {
                    tokens: &windows[at].tokens,
                    prompt: windows[at].prompt,
                });
                let batch = self.batch(worker, weights, &rows.collect::<Vec<_>>(), head, 0)?;
                let kept = self.run_forward(worker, weights, &batch, None)?;
                let rows = kept
                    .numbers(LEAVING)?
                    .chunks_exact(batch.padded.width * hidden);
                for (&at, row) in batches[at].iter().zip(rows) {
                    let window = windows[at];
                    let own = &row[window.prompt * hidden..][..window.own_tokens().len() * hidden];
                    let mut own = own.to_vec();
                    to_unit(&mut own, hidden);
                    done.push((at, own));
                }
            }
            Ok(done)
        })?;
        let mut done: Vec<_> = parts.into_iter().flatten().collect();
        done.sort_unstable_by_key(|&(at, _)| at);
        Ok(done.into_iter().map(|(_, vectors)| vectors).collect())
    }

    fn batch(
        &self,
        worker: &mut Worker,
        weights: &Numbers,
        rows: &[Row<'_>],
        head: &Head,
        first: usize,
    ) -> Result<Batch> {
        let padded = Padded::new(rows, head);
        Ok(Batch {
            entering: self.entering(worker, weights, rows, &padded)?,
            distances: self.tables.distances(self.of(weights), padded.width),
            padded,
            second: Vec::new(),
            first,
            pooled: Vec::new(),
            kept: None,
        })
    }

    /// The gradient of every trained weight, from that of the vectors, `[texts, dimension]`.
    ///
    /// # Errors
    /// [`Error::Encode`] where the runtime fails.
    pub fn backward(
        &self,
        weights: &Numbers,
        forward: Forward,
        gradient: &[f32],
    ) -> Result<Numbers> {
        let head = self.encoder.0.pool.head();
        let dimension = head.dimension();
        let mut of_rows = vec![0.0_f32; forward.rows * dimension];
        for (from, &row) in gradient.chunks_exact(dimension).zip(&forward.row_of) {
            let to = &mut of_rows[row * dimension..][..dimension];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
        let batches = forward
            .batches
            .into_iter()
            .map(|batch| Mutex::new(Some(batch)));
        let batches: Vec<_> = batches.collect();
        let parts = self.share(batches.len(), |worker, mine| {
            let mut sums = Numbers::new();
            for at in mine {
                // What the batch kept goes when it is done.
                let Some(mut batch) = lock(&batches[at]).take() else {
                    continue;
                };
                let kept = match batch.kept.take() {
                    Some(kept) => kept,
                    None => self.run_forward(worker, weights, &batch, forward.seed)?,
                };
                let pooled = batch.pooled.chunks_exact(head.inputs()).zip(batch.first..);
                let pooled = pooled.flat_map(|(pooled, row)| {
                    head.pull_back(pooled, &of_rows[row * dimension..][..dimension])
                });
                let leaving = batch.unpool(&pooled.collect::<Vec<_>>(), head.inputs());
                let run = (&batch, forward.seed);
                self.run_backward(worker, weights, run, &kept, &leaving, &mut sums)?;
            }
            Ok(sums)
        })?;
        let mut parts = parts.into_iter();
        let mut sums = parts.next().unwrap_or_default();
        for (name, numbers) in parts.flatten() {
            add(&mut sums, &name, numbers);
        }
        Ok(sums)
    }

    /// Gives each worker every n-th of so many batches.
    fn share<T: Send>(
        &self,
        batches: usize,
        work: impl Fn(&mut Worker, &mut dyn Iterator<Item = usize>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let count = self.workers.len();
        let part = |(): &mut (), at: usize| {
            let mut worker = lock(&self.workers[at]);
            work(&mut worker, &mut (at..batches).step_by(count))
        };
        workers::run(count, count, || Ok(()), part)
    }

    /// Where the tables' numbers are.
    fn of<'a>(&'a self, weights: &'a Numbers) -> &'a Numbers {
        if self.scope.tables {
            weights
        } else {
            &self.fixed
        }
    }

    /// What goes into the trained layers, `[rows × width, hidden]`.
    fn entering(
        &self,
        worker: &mut Worker,
        weights: &Numbers,
        rows: &[Row<'_>],
        padded: &Padded,
    ) -> Result<Vec<f32>> {
        let (Some(frozen), Some(session)) = (&self.frozen, &mut worker.frozen) else {
            return Ok(self.tables.look_up(self.of(weights), padded, &[]));
        };
        let hidden = self.config.hidden;
        if let Some(known) = frozen.recall(rows, padded.width * hidden) {
            return Ok(known);
        }
        let sums = self.tables.look_up(&self.fixed, padded, &[]);
        let distances = self.tables.distances(&self.fixed, padded.width);
        let inputs = self.inputs(&frozen.weights, &self.fixed, padded, &sums, &distances);
        let kept = session.run_and_keep(inputs.iter().map(Input::given), None)?;
        let leaving = kept.numbers(LEAVING)?.to_vec();
        frozen.remember(
            rows,
            &leaving,
            padded.width * hidden,
            hidden,
            self.scope.memory,
        );
        Ok(leaving)
    }

    /// All that a graph takes but what is dropped.
    fn inputs<'a>(
        &self,
        names: &'a [(String, Vec<usize>)],
        weights: &'a Numbers,
        padded: &'a Padded,
        entering: &'a [f32],
        distances: &'a [f32],
    ) -> Vec<Input<'a>> {
        let Config { hidden, heads, .. } = self.config;
        let (rows, width) = (padded.rows, padded.width);
        let input = |name: &'a str, shape: Vec<usize>, numbers| Input {
            name,
            shape,
            numbers,
        };
        let weights = names.iter().filter_map(|(name, shape)| {
            Some(input(name, shape.clone(), weights.get(name)?.as_slice()))
        });
        let mut inputs: Vec<_> = weights.collect();
        inputs.push(input(MASK, vec![rows, width], &padded.mask));
        inputs.push(input(ENTERING, vec![rows * width, hidden], entering));
        if !distances.is_empty() {
            inputs.push(input(DISTANCES, vec![1, heads, width, width], distances));
        }
        inputs
    }

    /// What is dropped in a batch.
    fn masks(&self, batch: &Batch, seed: Option<u64>) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let Scope {
            first_layer,
            dropout,
            ..
        } = self.scope;
        if dropout <= 0.0 {
            return Vec::new();
        }
        // Without a seed all is kept, by the same graph.
        let (rate, seed) = seed.map_or((0.0, 0), |seed| {
            (
                dropout,
                seed ^ (batch.first as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            )
        });
        let shape = [batch.padded.rows, batch.padded.width];
        dropout::masks(&self.config, first_layer, rate, seed, shape)
    }

    fn run_forward(
        &self,
        worker: &mut Worker,
        weights: &Numbers,
        batch: &Batch,
        seed: Option<u64>,
    ) -> Result<Kept> {
        let inputs = batch.inputs(self, weights);
        let masks = self.masks(batch, seed);
        worker
            .forward
            .run_and_keep(all_given(&inputs, &masks), None)
    }

    /// Adds a batch's gradients to the sums.
    fn run_backward(
        &self,
        worker: &mut Worker,
        weights: &Numbers,
        (batch, seed): (&Batch, Option<u64>),
        kept: &Kept,
        leaving: &[f32],
        sums: &mut Numbers,
    ) -> Result<()> {
        let name = gradient_name(LEAVING);
        let padded = &batch.padded;
        let start = Given {
            name: &name,
            shape: &[padded.rows * padded.width, self.config.hidden],
            numbers: leaving,
        };
        let inputs = batch.inputs(self, weights);
        let masks = self.masks(batch, seed);
        let given = all_given(&inputs, &masks);
        let given = given.filter(|given| self.graphs.taken.contains(given.name));
        let gradients = worker
            .backward
            .run_and_keep(given.chain([start]), Some(kept))?;
        for name in &self.graphs.gradients {
            let numbers = gradients.numbers(&gradient_name(name))?;
            match name.as_str() {
                ENTERING => self.tables.give_back(padded, &batch.second, numbers, sums),
                DISTANCES => self.tables.give_distances_back(padded.width, numbers, sums),
                _ => add(sums, name, numbers.to_vec()),
            }
        }
        Ok(())
    }
}

/// An input of a graph.
struct Input<'a> {
    name: &'a str,
    shape: Vec<usize>,
    numbers: &'a [f32],
}

impl Input<'_> {
    fn given(&self) -> Given<'_> {
        Given {
            name: self.name,
            shape: &self.shape,
            numbers: self.numbers,
        }
    }
}

/// What a graph takes, and what is kept of the numbers inside.
fn all_given<'a>(
    inputs: &'a [Input<'_>],
    masks: &'a [(String, Vec<usize>, Vec<f32>)],
) -> impl Iterator<Item = Given<'a>> {
    inputs
        .iter()
        .map(Input::given)
        .chain(masks.iter().map(given))
}

fn given((name, shape, numbers): &(String, Vec<usize>, Vec<f32>)) -> Given<'_> {
    Given {
        name,
        shape,
        numbers,
    }
}

impl Batch {
    fn inputs<'a>(&'a self, trunk: &'a Trunk, weights: &'a Numbers) -> Vec<Input<'a>> {
        let names = &trunk.graphs.weights;
        trunk.inputs(
            names,
            weights,
            &self.padded,
            &self.entering,
            &self.distances,
        )
    }

    /// Token vectors → texts' vectors, `[rows, hidden]`.
    fn pool(&self, leaving: &[f32], hidden: usize) -> Vec<f32> {
        let mut pooled = vec![0.0; self.padded.rows * hidden];
        let tokens = leaving
            .chunks_exact(hidden)
            .zip(&self.padded.pooling)
            .enumerate();
        for (at, (token, &weight)) in tokens {
            if weight != 0.0 {
                let row = &mut pooled[at / self.padded.width * hidden..][..hidden];
                row.iter_mut()
                    .zip(token)
                    .for_each(|(sum, x)| *sum += weight * x);
            }
        }
        pooled
    }

    /// The gradient of the tokens' vectors from that of the texts'.
    fn unpool(&self, pooled: &[f32], hidden: usize) -> Vec<f32> {
        let mut leaving = Vec::with_capacity(self.padded.pooling.len() * hidden);
        for (at, &weight) in self.padded.pooling.iter().enumerate() {
            let row = &pooled[at / self.padded.width * hidden..][..hidden];
            leaving.extend(row.iter().map(|x| weight * x));
        }
        leaving
    }
}

/// Brings rows of such a width to length 1.
pub(crate) fn to_unit(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        row.iter_mut().for_each(|x| *x /= length);
    }
}

fn add(sums: &mut Numbers, name: &str, numbers: Vec<f32>) {
    match sums.get_mut(name) {
        Some(sum) => sum.iter_mut().zip(&numbers).for_each(|(sum, x)| *sum += x),
        None => drop(sums.insert(name.to_owned(), numbers)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
