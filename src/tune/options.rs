//! What can be asked for.

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Method {
    /// The others in turn while there is time, the cheapest first; the development queries choose among them.
    Auto,
    /// A map of queries' vectors of such a rank. What is embedded stays.
    Adapter(usize),
    /// The last layers; what stands below is computed once a text.
    Layers(usize),
    /// All layers; the tables of words and positions stay.
    All,
    /// Additions of such a rank to all layers' matrices, merged at the end (LoRA, Hu et al. 2021, arXiv:2106.09685).
    LowRank(usize),
}

impl Method {
    /// What is to be tried, in order.
    pub(super) fn each(self) -> Vec<Self> {
        match self {
            Self::Auto => vec![Self::Adapter(16), Self::Layers(3), Self::All],
            one => vec![one],
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Adapter(rank) => f.pad(&format!("adapter:{rank}")),
            Self::Layers(count) => f.pad(&format!("layers:{count}")),
            Self::All => f.pad("all"),
            Self::LowRank(rank) => f.pad(&format!("lora:{rank}")),
        }
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').unwrap_or((text, ""));
        let number = |usual: usize| match number {
            "" => Some(usual),
            number => number.parse().ok().filter(|number| *number > 0),
        };
        let method = match name {
            "auto" if text == "auto" => Some(Self::Auto),
            "adapter" => number(16).map(Self::Adapter),
            "layers" => number(3).map(Self::Layers),
            "lora" => number(16).map(Self::LowRank),
            "all" if text == "all" => Some(Self::All),
            _ => None,
        };
        method.ok_or_else(|| Error::Tune {
            what: format!("the method {text:?} is unknown; auto, adapter:16, layers:3, lora:16 and all are known"),
        })
    }
}

/// What is done at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Documents are encoded as they were before; counted in documents.
    Index,
    /// Negatives are mined.
    Mine,
    /// Steps of training.
    Train,
    /// Weights between the old and the new are tried.
    Choose,
    /// Documents are encoded by the new encoder, and the held-out queries asked; counted in documents.
    Test,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Index => "encoding the documents as they were before",
            Self::Mine => "mining negatives",
            Self::Train => "training",
            Self::Choose => "choosing how far to go",
            Self::Test => "encoding the documents anew for the test",
        })
    }
}

/// How far a tuning is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// What is done.
    pub stage: Stage,
    /// What is trained, while training.
    pub method: Method,
    /// Of it, that much is done.
    pub done: u64,
    /// How much there is.
    pub total: u64,
    /// The last step's loss, while training.
    pub loss: Option<f32>,
    /// Tokens trained on a second, padding left out.
    pub tokens_per_second: Option<f64>,
}

pub(super) type Callback<'a> = Box<dyn FnMut(&Progress) -> ControlFlow<()> + 'a>;

/// A tuning being put together; [`Tuning::run`] runs it.
#[must_use]
pub struct Tuning<'a> {
    pub(super) method: Method,
    pub(super) epochs: Option<usize>,
    pub(super) batch: usize,
    pub(super) negatives: usize,
    pub(super) rate: Option<f32>,
    pub(super) dropout: f32,
    pub(super) dimensions: Vec<usize>,
    pub(super) seed: u64,
    pub(super) memory: usize,
    pub(super) time: Option<Duration>,
    pub(super) general: Option<PathBuf>,
    pub(super) progress: Callback<'a>,
}

impl Default for Tuning<'_> {
    fn default() -> Self {
        Self {
            method: Method::Auto,
            epochs: None,
            batch: 64,
            negatives: 1,
            rate: None,
            dropout: 0.0,
            dimensions: Vec::new(),
            seed: 1,
            memory: 1 << 30,
            time: None,
            general: None,
            progress: Box::new(|_| ControlFlow::Continue(())),
        }
    }
}

impl<'a> Tuning<'a> {
    /// What is trained; [`Method::Auto`] if not said.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// How often each query is trained on. If not said as often as makes 300 steps, but once at least and ten times at most.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = Some(epochs.max(1));
        self
    }

    /// Queries of a step, 64 if not said. Memory does not bound it.
    pub fn batch(mut self, queries: usize) -> Self {
        self.batch = queries.max(2);
        self
    }

    /// Mined negatives of each query beside the other queries' answers; 1 if not said.
    pub fn negatives(mut self, negatives: usize) -> Self {
        self.negatives = negatives;
        self
    }

    /// The highest learning rate. If not said 5·10⁻⁵; 5·10⁻⁴ for low-rank additions, and 2·10⁻³ for an
    /// adapter.
    pub fn learning_rate(mut self, rate: f32) -> Self {
        self.rate = Some(rate);
        self
    }

    /// How likely numbers inside are dropped while training; 0 if not said.
    pub fn dropout(mut self, rate: f32) -> Self {
        self.dropout = if rate.is_nan() {
            0.0
        } else {
            rate.clamp(0.0, 0.9)
        };
        self
    }

    /// Numbers of components, of which each is to be good alone (Matryoshka representation learning, arXiv:2205.13147); only
    /// all of them if not said.
    pub fn dimensions(mut self, dimensions: impl IntoIterator<Item = usize>) -> Self {
        self.dimensions = dimensions
            .into_iter()
            .filter(|dimension| *dimension > 0)
            .collect();
        self
    }

    /// What chance is drawn from: the same seed on as many threads makes the same model.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Bytes that may be kept between the forward and the backward run; 1 GiB if not said. More than that is computed twice.
    /// Frozen layers' numbers take as much again; four copies of the trained weights and the encoder come on top.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Training ends after that time, wherever it is, and no other method is begun; the test comes on top.
    pub fn budget(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// A file of what is not to be forgotten: columns `sentence1`, `sentence2`, `score`, as STS-B has them. If not said,
    /// definitions of English words.
    pub fn general(mut self, file: impl Into<PathBuf>) -> Self {
        self.general = Some(file.into());
        self
    }

    /// Called after each batch and step. `ControlFlow::Break` ends the call with [`Error::Cancelled`]; running the same again
    /// goes on from there.
    pub fn progress(mut self, callback: impl FnMut(&Progress) -> ControlFlow<()> + 'a) -> Self {
        self.progress = Box::new(callback);
        self
    }
}
