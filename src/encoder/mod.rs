//! Text → unit vectors.
//!
//! In: a model folder (Hugging Face layout, BERT architecture) and texts. Out: [`Vector`]s of length 1, and the
//! [`Window`]s that long texts were cut into. Nothing is ever truncated: the windows of a text cover its every byte.
//!
//! ```text
//! text ─ tokenizer ─ window ─→ Window ─ batch ─ pool ─ session ─→ Vector
//! model.safetensors ─ weights ─ export ────────────────┘
//! ```
//!
//! | file | |
//! |---|---|
//! | `model.rs` | the folder's settings |
//! | `weights.rs` | its weights file, mapped |
//! | `hash_cache.rs` | its hash, remembered |
//! | `tokenizer.rs` | text → tokens with their places |
//! | `window.rs` | tokens → windows that cover the text |
//! | `batch.rs` | windows → batches of similar length |
//! | `pool.rs` | batches → vectors on several sessions |
//! | `workers.rs` | jobs → results on several threads |
//! | `device.rs` | processor or GPU: asked for, possible, chosen |
//! | `session.rs` | ONNX Runtime; the one file that names `ort` |
//! | `runtime.rs` | finds the library |
//! | `export/` | weights → ONNX graph |
//! | `open.rs` | puts the parts together |
//!
//! Output order equals input order. A text's vector does not depend on what shares its batch, nor on the number of
//! threads, beyond rounding (cosine > 0.99999).
//!
//! The weights file stays mapped while an encoder lives. Replace a model's files by renaming others over them, never in
//! place: a process that reads a mapped file beyond its new end is killed (SIGBUS). An encoder notices a file that was
//! replaced when it opens its next session, and refuses to mix the two.

mod batch;
mod device;
mod export;
mod hash_cache;
mod model;
mod open;
mod pool;
pub(crate) mod runtime;
mod session;
#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;
mod window;
mod workers;

use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::vector::Vector;
use batch::Plan;
pub use device::Device;
use model::Model;
use pool::Pool;
use tokenizer::Tokenizer;

/// A title of more than this part of a window is cut into windows of its own.
const TITLE_PART: usize = 4;

/// How an encoder is opened.
#[derive(Clone, Debug, Default)]
pub struct EncoderOptions {
    /// The model folder; else `VECDB_MODEL_DIR`, else the data folder's default model.
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library; else `ORT_DYLIB_PATH`, beside the executable, the data folder, the system's path.
    pub runtime: Option<PathBuf>,
    /// Worker threads; else as many as the processor runs at once.
    pub threads: Option<usize>,
    /// Where the model runs.
    pub device: Device,
    /// Which GPU, counted from 0.
    pub device_id: u32,
    /// Bytes of the GPU's memory that ONNX Runtime may take for what it computes; else as many as it wants.
    pub device_memory: Option<u64>,
}

/// A window of a text that fits the encoder.
#[derive(Clone, Debug)]
pub struct Window {
    /// Bytes of the text, on char boundaries. The windows of a text, in order, overlap or touch and cover every byte;
    /// windows of a long title come first and have the range `0..0`.
    pub range: Range<usize>,
    pub(crate) tokens: Vec<u32>,
}

impl Window {
    /// Tokens, special ones included.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }
}

/// Turns texts into vectors. Cloning is cheap; all methods may be called from many threads at once.
#[derive(Clone)]
pub struct Encoder(Arc<Inner>);

struct Inner {
    model: Model,
    fingerprint: String,
    tokenizer: Tokenizer,
    query_prompt: Vec<u32>,
    passage_prompt: Vec<u32>,
    pool: Pool,
    device_note: Option<String>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder")
            .field("folder", &self.folder())
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

impl Encoder {
    /// Opens a model folder.
    ///
    /// # Errors
    /// [`Error::Runtime`] if no ONNX Runtime library can be used, naming the places looked at; [`Error::Model`] if the
    /// folder lacks a file or asks for something that is not supported.
    pub fn open(options: &EncoderOptions) -> Result<Self> {
        open::open(options).map(|inner| Self(Arc::new(inner)))
    }

    /// The model's name: its folder's.
    pub fn name(&self) -> &str {
        &self.0.model.name
    }

    /// 32 hex digits over weights, tokenizer, pooling, prompts, window length and the graph's version. Vectors of two
    /// fingerprints cannot be compared.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.0.model.config.hidden
    }

    /// Tokens of a window, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.0.model.max_tokens
    }

    /// The model folder.
    pub fn folder(&self) -> &Path {
        &self.0.model.folder
    }

    /// The files of the folder that an encoder is made from, as paths in it. Nothing else there matters.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let fixed = [weights::WEIGHTS_FILE, tokenizer::TOKENIZER_FILE];
        let names = fixed.iter().chain(model::SETTINGS_FILES).map(PathBuf::from);
        let files = names.chain(self.0.model.pooling_file.as_ref().map(PathBuf::from));
        files
            .filter(|file| self.folder().join(file).is_file())
            .collect()
    }

    /// The ONNX Runtime library that runs.
    pub fn runtime_path(&self) -> &Path {
        &self.0.pool.runtime().library().path
    }

    /// Its version, such as "1.32.0".
    pub fn runtime_version(&self) -> &str {
        &self.0.pool.runtime().library().version
    }

    /// The execution provider that runs the model, with its device: "CPU", "CUDA, device 0".
    pub fn provider(&self) -> String {
        self.0.pool.provider().name()
    }

    /// Why [`Device::Auto`] did not take a GPU, where this build could have.
    pub fn device_note(&self) -> Option<&str> {
        self.0.device_note.as_deref()
    }

    /// The execution providers that the library was built with, of those that vecdb knows.
    pub fn providers_available(&self) -> Vec<&'static str> {
        self.0.pool.runtime().providers()
    }

    /// Cuts a document's text into windows.
    ///
    /// A title of at most a quarter of a window stands before each window's text; a longer one is cut into windows of
    /// its own. A document that fits as a whole is one window.
    ///
    /// # Errors
    /// [`Error::Encode`] if the tokenizer fails.
    pub fn windows(&self, title: Option<&str>, text: &str) -> Result<Vec<Window>> {
        self.cut(&self.0.passage_prompt, title.unwrap_or_default(), text)
    }

    /// One unit vector a window, in order. Equal windows are computed once.
    ///
    /// # Errors
    /// [`Error::Encode`] if the runtime fails or the model gives something that is not a vector.
    pub fn encode(&self, windows: &[Window]) -> Result<Vec<Vector>> {
        self.encode_with(windows, |_| ControlFlow::Continue(()))
    }

    /// As [`encode`](Self::encode); tells `progress` after each batch, from whichever thread ran it, how many distinct
    /// windows it held, and ends where that says so.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Cancelled`].
    pub fn encode_with(
        &self,
        windows: &[Window],
        progress: impl Fn(usize) -> ControlFlow<()> + Sync,
    ) -> Result<Vec<Vector>> {
        let shape = self.0.pool.shape();
        let plan = Plan::new(
            windows.iter().map(|window| window.tokens.as_slice()),
            shape.token_budget,
            shape.max_rows,
        );
        let rows = self.0.pool.run(&plan, &progress)?;
        let unit = |row: Vec<f32>| {
            Vector::new(row)
                .and_then(Vector::to_unit)
                .map_err(not_a_vector)
        };
        let rows: Vec<Vector> = rows.into_iter().map(unit).collect::<Result<_>>()?;
        Ok(plan.row_of.iter().map(|&row| rows[row].clone()).collect())
    }

    /// A query's vector, with the model's query prompt. A query longer than a window gives the mean of its windows.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_query(&self, text: &str) -> Result<Vector> {
        self.encode_whole(&self.0.query_prompt, text)
    }

    /// One vector a query, in order, as [`encode_query`](Self::encode_query) gives it; computed together.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_queries(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vector>> {
        self.encode_wholes(&self.0.query_prompt, texts)
    }

    /// A passage's vector, in the same way with the passage prompt.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_passage(&self, text: &str) -> Result<Vector> {
        self.encode_whole(&self.0.passage_prompt, text)
    }

    fn encode_whole(&self, prompt: &[u32], text: &str) -> Result<Vector> {
        let mut vectors = self.encode_wholes(prompt, &[text])?;
        Ok(vectors.pop().expect("one text gives one vector"))
    }

    fn encode_wholes(&self, prompt: &[u32], texts: &[impl AsRef<str>]) -> Result<Vec<Vector>> {
        let cut = texts.iter().map(|text| self.cut(prompt, "", text.as_ref()));
        let cut = cut.collect::<Result<Vec<_>>>()?;
        let counts: Vec<usize> = cut.iter().map(Vec::len).collect();
        let windows: Vec<Window> = cut.into_iter().flatten().collect();
        let mut vectors = self.encode(&windows)?.into_iter();
        let whole = |count| self.mean(vectors.by_ref().take(count).collect());
        counts.into_iter().map(whole).collect()
    }

    /// The mean of a text's windows.
    fn mean(&self, mut vectors: Vec<Vector>) -> Result<Vector> {
        if vectors.len() == 1 {
            return Ok(vectors.remove(0));
        }
        let mut sum = vec![0.0_f32; self.dimension()];
        for vector in &vectors {
            for (total, x) in sum.iter_mut().zip(vector.as_slice()) {
                *total += x;
            }
        }
        Vector::new(sum)
            .and_then(Vector::to_unit)
            .map_err(not_a_vector)
    }

    fn cut(&self, prompt: &[u32], title: &str, text: &str) -> Result<Vec<Window>> {
        let tokenizer = &self.0.tokenizer;
        let fixed = tokenizer.before().len() + prompt.len() + tokenizer.after().len();
        // `open` checked that the prompts leave room.
        let capacity = self.0.model.max_tokens - fixed;
        let window = |title: &[u32], tokens: &[u32], range| Window {
            range,
            tokens: [tokenizer.before(), prompt, title, tokens, tokenizer.after()].concat(),
        };

        let title_tokens = if title.is_empty() {
            Vec::new()
        } else {
            window::leading_ids(tokenizer, title, capacity)?
        };
        if title_tokens.len() <= capacity {
            let room = capacity - title_tokens.len();
            let tokens = window::leading_ids(tokenizer, text, room)?;
            if tokens.len() <= room {
                return Ok(vec![window(&title_tokens, &tokens, 0..text.len())]);
            }
        }
        if title_tokens.len() <= capacity / TITLE_PART {
            let pieces = window::cut(tokenizer, text, capacity - title_tokens.len())?;
            return Ok(pieces
                .into_iter()
                .map(|piece| window(&title_tokens, &piece.tokens, piece.range))
                .collect());
        }
        let titles = window::cut(tokenizer, title, capacity)?;
        let texts = window::cut(tokenizer, text, capacity)?;
        let titles = titles
            .into_iter()
            .map(|piece| window(&[], &piece.tokens, 0..0));
        Ok(titles
            .chain(
                texts
                    .into_iter()
                    .map(|piece| window(&[], &piece.tokens, piece.range)),
            )
            .collect())
    }
}

fn not_a_vector(error: Error) -> Error {
    Error::Encode {
        what: format!("the model's output cannot be used: {error}"),
    }
}
