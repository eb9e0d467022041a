//! Text → unit vectors.
//!
//! In: a model folder (Hugging Face layout, an encoder of the BERT family) and texts. Out: [`Vector`]s of length 1, and the
//! [`Window`]s that long texts were cut into. Nothing is ever truncated: the windows of a text cover its every byte.
//!
//! ```text
//! text ─ tokenizer ─ window ─→ Window ─ batch ─ pool ─ session ─→ Vector
//! model.safetensors ─ weights ─ export ────────────────┘
//! ```
//!
//! | file | |
//! |---|---|
//! | `options.rs` | how an encoder is opened |
//! | `model/` | the folder's settings |
//! | `model_file.rs` | a file of it, mapped |
//! | `weights.rs` | safetensors |
//! | `hash_cache.rs` | a file's hash, remembered |
//! | `tokenizer.rs` | text → tokens with their places |
//! | `cut.rs` | title, prompt and text → windows |
//! | `window.rs` | tokens → windows that cover the text |
//! | `batch.rs` | windows → batches of similar length |
//! | `pool.rs` | batches → vectors on several sessions |
//! | `workers.rs` | jobs → results on several threads |
//! | `head.rs` | token vectors → the text's vector |
//! | `adapter.rs` | a map of queries' vectors |
//! | `inspect.rs` | what happens inside: tokens, layers, attention |
//! | `fresh.rs` | a model that knows nothing yet |
//! | `trunk/` | the network as it is trained |
//! | `device.rs` | processor or GPU: asked for, possible, chosen |
//! | `network.rs` | what sessions are opened for |
//! | `export/` | weights → ONNX graph |
//! | `own_graph.rs` | a graph that the folder brings |
//! | `session.rs` | ONNX Runtime; the one file that names `ort` |
//! | `runtime.rs` | finds the library |
//! | `open.rs` | puts the parts together |
//!
//! Output order equals input order. A text's vector does not depend on what shares its batch, nor on the number of
//! threads, beyond rounding (cosine > 0.99999).
//!
//! The weights file stays mapped while an encoder lives. Replace a model's files by renaming others over them, never in
//! place: a process that reads a mapped file beyond its new end is killed (SIGBUS). An encoder notices a file that was
//! replaced when it opens its next session, and refuses to mix the two.

mod adapter;
mod batch;
mod cut;
mod device;
mod export;
#[cfg(feature = "tune")]
mod fresh;
mod hash_cache;
mod head;
mod inspect;
mod model;
mod model_file;
mod network;
mod open;
mod options;
mod own_graph;
mod pool;
pub(crate) mod runtime;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod tokenizer;
#[cfg(feature = "tune")]
pub(crate) mod trunk;
mod weights;
mod window;
mod workers;

use std::fs::{self, File};
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use crate::document::InputHash;
use crate::error::{Error, Result};
use crate::outline::Outline;
use crate::vector::{Vector, deal};
#[cfg(feature = "tune")]
pub(crate) use adapter::Adapter;
#[cfg(not(feature = "tune"))]
use adapter::Adapter;
use batch::{Plan, Row};
pub use device::Device;
#[cfg(feature = "tune")]
pub use fresh::Fresh;
pub use inspect::{Attention, Inspection, Token};
use model::Model;
pub use options::{EncoderOptions, Precision};
use pool::Pool;
use tokenizer::Tokenizer;

/// A window of a text that fits the encoder.
#[derive(Clone, Debug)]
pub struct Window {
    /// Bytes of the text, on char boundaries. The windows of a text, in order, overlap or touch and cover every byte;
    /// windows of a long title come first and have the range `0..0`.
    pub range: Range<usize>,
    pub(crate) tokens: Vec<u32>,
    /// Tokens before the text's own: special ones and the prompt's.
    prompt: usize,
}

impl Window {
    /// Tokens, special ones included.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }

    /// Those of the text itself; without the prompt, and without the special one at the end.
    #[cfg(feature = "tune")]
    pub(crate) fn own_tokens(&self) -> &[u32] {
        let end = self.tokens.len().saturating_sub(1).max(self.prompt);
        &self.tokens[self.prompt..end]
    }

    /// Of all that the encoder makes the window's vector from.
    pub(crate) fn input(&self) -> InputHash {
        let mut hash = Xxh3Default::new();
        hash.update(&(self.prompt as u64).to_le_bytes());
        for &token in &self.tokens {
            hash.update(&token.to_le_bytes());
        }
        InputHash::new(hash.digest128()).unwrap_or(InputHash::MIN)
    }
}

/// Tokens that stand for no text.
#[cfg(feature = "tune")]
pub(crate) struct Alphabet {
    /// Before a text.
    pub before: Vec<u32>,
    /// After it.
    pub after: Vec<u32>,
    /// For a word that is to be guessed, where there is one.
    pub mask: Option<u32>,
    /// How many tokens there are.
    pub tokens: usize,
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
    adapter: Option<Adapter>,
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
    /// fingerprints cannot be compared. A query adapter is not in it: passages stay what they are.
    pub fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    /// Components of a vector.
    pub fn dimension(&self) -> usize {
        self.0.pool.head().dimension()
    }

    /// What masked texts are made of.
    #[cfg(feature = "tune")]
    pub(crate) fn alphabet(&self) -> Alphabet {
        let tokenizer = &self.0.tokenizer;
        // MPNet's vocabulary has BERT's as well, as a word like others.
        let mask = ["<mask>", "[MASK]"].into_iter();
        Alphabet {
            before: tokenizer.before().to_vec(),
            after: tokenizer.after().to_vec(),
            mask: mask.filter_map(|name| tokenizer.id(name)).next(),
            tokens: tokenizer.count(),
        }
    }

    /// The tokens of a text, without special ones.
    #[cfg(feature = "tune")]
    pub(crate) fn token_ids(&self, text: &str) -> Result<Vec<u32>> {
        self.0.tokenizer.ids(text)
    }

    /// Tokens of a window, special ones included.
    pub fn max_tokens(&self) -> usize {
        self.0.model.max_tokens
    }

    /// Layers of the network, where it is one that we wrote; `cannot` says what another one cannot.
    #[cfg(feature = "tune")]
    pub(crate) fn layers(&self, cannot: &str) -> Result<usize> {
        Ok(self.0.pool.network().ours(cannot)?.config.layers)
    }

    /// The model folder.
    pub fn folder(&self) -> &Path {
        &self.0.model.folder
    }

    /// The file of the query adapter; nothing if there is none.
    pub(crate) fn adapter_bytes(&self) -> Result<Vec<u8>> {
        let file = self.folder().join(adapter::ADAPTER_FILE);
        match (&self.0.adapter, fs::read(&file)) {
            (Some(_), read) => read.map_err(Error::io("read", &file)),
            (None, _) => Ok(Vec::new()),
        }
    }

    /// The files of the folder that an encoder is made from, as paths in it. Nothing else there matters.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let model = &self.0.model;
        let fixed = model::SETTINGS_FILES.iter().chain(model::SENTENCE_FILES);
        let fixed = fixed
            .chain(&[tokenizer::TOKENIZER_FILE, adapter::ADAPTER_FILE])
            .map(|&file| file.to_owned());
        let files = fixed
            .chain(self.0.pool.network().files())
            .chain(model.modules.files.iter().cloned())
            .chain(self.0.pool.head().files());
        files
            .map(PathBuf::from)
            .filter(|file| self.folder().join(file).is_file())
            .collect()
    }

    /// These, and what other programs read of the tokenizer beside them.
    pub(crate) fn files_to_copy(&self) -> Vec<PathBuf> {
        let beside = ["special_tokens_map.json", "vocab.txt"].map(PathBuf::from);
        let beside = beside.into_iter();
        let mut files = self.files();
        files.extend(beside.filter(|file| self.folder().join(file).is_file()));
        files
    }

    /// Writes the model as an ONNX file for other programs, `model.onnx`, into a folder, with the tokenizer and settings that
    /// lie in its own beside it. The file has standard operators of opset 20, and the weights inside: inputs `input_ids`,
    /// `attention_mask` and, where the model has them, `token_type_ids`, `[batch, tokens]` i64; output `last_hidden_state`,
    /// `[batch, tokens, hidden]` f32.
    ///
    /// # Errors
    /// [`Error::Model`] for a model that brings an ONNX file of its own, [`Error::Io`] if the folder cannot be written or has a
    /// `model.onnx` already.
    pub fn export_onnx(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let bytes = self.0.pool.network().to_file()?;
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let target = folder.join("model.onnx");
        let mut file = File::create_new(&target).map_err(Error::io("create", &target))?;
        file.write_all(&bytes)
            .map_err(Error::io("write", &target))?;
        self.copy_settings(folder)
    }

    /// Copies all of the model's files but its network's.
    fn copy_settings(&self, folder: &Path) -> Result<()> {
        let weights = self.0.pool.network().files();
        for name in self.files_to_copy() {
            let source = self.folder().join(&name);
            if weights.iter().any(|file| name == Path::new(file)) {
                continue;
            }
            let target = folder.join(&name);
            let parent = target.parent().unwrap_or(folder);
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            fs::copy(&source, &target).map_err(Error::io("write", &target))?;
        }
        Ok(())
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
        self.windows_along(title, text, &Outline::default())
    }

    /// As [`windows`](Self::windows), for a text whose structure is known: windows begin where headings and tables do, unless
    /// that made them smaller than a quarter of their length, and before each stand the headings above it and the header of
    /// the table that it is in, in at most a quarter of its length.
    ///
    /// # Errors
    /// As [`windows`](Self::windows).
    pub fn windows_along(
        &self,
        title: Option<&str>,
        text: &str,
        outline: &Outline,
    ) -> Result<Vec<Window>> {
        let title = title.unwrap_or_default();
        self.cut(&self.0.passage_prompt, title, text, outline)
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
        let rows = windows.iter().map(|window| Row {
            tokens: &window.tokens,
            prompt: window.prompt,
        });
        let plan = Plan::new(rows, shape.token_budget, shape.max_rows);
        let rows = self.0.pool.run(&plan, &progress)?;
        Ok(deal(rows, &plan.row_of))
    }

    /// A query's vector, with the model's query prompt. A query longer than a window gives the mean of its windows.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_query(&self, text: &str) -> Result<Vector> {
        let mut vectors = self.encode_queries(&[text])?;
        Ok(vectors.pop().expect("one text gives one vector"))
    }

    /// One vector a query, in order, as [`encode_query`](Self::encode_query) gives it; computed together.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_queries(&self, texts: &[impl AsRef<str>]) -> Result<Vec<Vector>> {
        let vectors = self.encode_wholes(&self.0.query_prompt, texts)?;
        match &self.0.adapter {
            Some(adapter) => vectors.iter().map(|vector| adapter.adapt(vector)).collect(),
            None => Ok(vectors),
        }
    }

    /// A query's tokens; of one that is longer than a window the first window's.
    #[cfg(feature = "tune")]
    pub(crate) fn query_window(&self, text: &str) -> Result<Window> {
        let outline = Outline::default();
        let mut windows = self.cut(&self.0.query_prompt, "", text, &outline)?;
        Ok(windows.swap_remove(0))
    }

    /// A passage's vector, in the same way with the passage prompt.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_passage(&self, text: &str) -> Result<Vector> {
        let mut vectors = self.encode_wholes(&self.0.passage_prompt, &[text])?;
        Ok(vectors.pop().expect("one text gives one vector"))
    }

    fn encode_wholes(&self, prompt: &[u32], texts: &[impl AsRef<str>]) -> Result<Vec<Vector>> {
        let outline = Outline::default();
        let cut = texts
            .iter()
            .map(|text| self.cut(prompt, "", text.as_ref(), &outline));
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
}

fn not_a_vector(error: Error) -> Error {
    Error::Encode {
        what: format!("the model's output cannot be used: {error}"),
    }
}
