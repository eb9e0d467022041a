//! What can be asked for.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::encoder::Fresh;
use crate::tune::options::{Callback, Progress};

/// A pre-training being put together; [`Pretraining::run`] runs it.
///
/// ```no_run
/// use vecdb::encoder::{EncoderOptions, Fresh};
/// use vecdb::ingest::Sources;
/// use vecdb::tune::Pretraining;
///
/// let documents = Sources::new().path("novels/").plan()?.documents();
/// let documents = documents.collect::<vecdb::Result<Vec<_>>>()?;
/// let pretrained = Pretraining::default()
///     .from_scratch(Fresh::default())
///     .run(&EncoderOptions::default(), &documents, "novels-model")?;
/// println!("{}: {:.1} % of the words", pretrained.verdict, 100.0 * pretrained.words.right[1]);
/// # Ok::<(), vecdb::Error>(())
/// ```
#[must_use]
pub struct Pretraining<'a> {
    pub(super) fresh: Option<Fresh>,
    pub(super) epochs: Option<usize>,
    pub(super) batch: usize,
    pub(super) length: usize,
    pub(super) rate: Option<f32>,
    pub(super) dropout: f32,
    pub(super) weights: [f32; 2],
    pub(super) seed: u64,
    pub(super) time: Option<Duration>,
    pub(super) progress: Callback<'a>,
}

impl Default for Pretraining<'_> {
    fn default() -> Self {
        Self {
            fresh: None,
            epochs: None,
            batch: 32,
            length: 128,
            rate: None,
            dropout: 0.1,
            weights: [1.0, 1.0],
            seed: 1,
            time: None,
            progress: Box::new(|_| ControlFlow::Continue(())),
        }
    }
}

impl<'a> Pretraining<'a> {
    /// Begins with a network of this shape that knows nothing, and a vocabulary made of the documents; if not said, goes on from
    /// the model that is given.
    pub fn from_scratch(mut self, fresh: Fresh) -> Self {
        self.fresh = Some(fresh);
        self
    }

    /// How often each document is read, each time with other gaps; 3 if not said, 20 from scratch.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs.max(1));
        self
    }

    /// Texts of a step; 32 if not said.
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = texts.max(1);
        self
    }

    /// Tokens of a text at most, special ones included; 128 if not said, and never more than the model takes.
    pub fn length(mut self, tokens: usize) -> Self {
        self.length = tokens.max(16);
        self
    }

    /// The highest learning rate; 5·10⁻⁵ if not said, 10⁻³ from scratch.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How likely numbers inside are dropped while training; 0.1 if not said, as in the paper.
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = if rate.is_nan() {
            0.0
        } else {
            rate.clamp(0.0, 0.9)
        };
        self
    }

    /// What the mean loss of gaps counts, and that of pairs (does the second text follow on the first?); 1 and 1 if not said, as
    /// in the paper. With 0 for pairs texts are not pairs.
    pub fn weights(mut self, gaps: f32, pairs: f32) -> Self {
        self.weights = [gaps.max(0.0), pairs.max(0.0)];
        self
    }

    /// What chance is drawn from: the same seed on as many threads makes the same model.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Training ends after that time, wherever it is; judging comes on top.
    pub fn budget(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Called after each step. `ControlFlow::Break` ends the call with [`Error::Cancelled`](crate::Error::Cancelled); running the
    /// same again goes on from there.
    pub fn progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Box::new(callback);
        self
    }
}
