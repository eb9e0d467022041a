//! The model folder: what its configuration files say.
//!
//! Nothing is guessed: a file that is needed and missing, or a setting that is not supported, is an error naming it.
//!
//! | file | |
//! |---|---|
//! | `config.rs` | the transformer's shape |
//! | `modules.rs` | what follows it: pooling, dense layers |

mod config;
mod modules;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::EncoderOptions;
use super::weights::WEIGHTS_FILE;
use crate::error::{Error, Result};
pub(super) use config::{Activation, Architecture, Config};
use modules::MODULES_FILE;
pub(super) use modules::{DenseActivation, DenseConfig, Modules, Pooling};

/// The fewest tokens a window may have: below that nothing is left beside prompt, title and special tokens.
const MIN_WINDOW_TOKENS: usize = 16;
/// Files of a model folder with fixed names that are read here, where they are there.
pub(super) const SETTINGS_FILES: &[&str] = &[
    CONFIG_FILE,
    MODULES_FILE,
    PROMPTS_FILE,
    TOKENIZER_SETTINGS_FILE,
];
const CONFIG_FILE: &str = "config.json";
const PROMPTS_FILE: &str = "config_sentence_transformers.json";
const TOKENIZER_SETTINGS_FILE: &str = "tokenizer_config.json";
/// Where sentence-transformers keeps a window's length; the first that is there counts.
pub(super) const SENTENCE_FILES: &[&str] = &[
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_mpnet_config.json",
];
/// Where a folder may bring a graph of its own.
const ONNX_FILES: &[&str] = &["onnx/model.onnx", "model.onnx"];

/// A model folder's settings.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub folder: PathBuf,
    pub name: String,
    pub source: Source,
    pub modules: Modules,
    /// Tokens of a window, special ones included.
    pub max_tokens: usize,
    /// Texts are to be made lower case before anything else.
    pub lower_case: bool,
    pub prompts: Prompts,
    /// Components that are kept of a vector (Kusupati et al. 2022, arXiv:2205.13147); all if `None`.
    pub kept: Option<usize>,
    /// Tokens that windows share, where the caller said so.
    pub overlap: Option<usize>,
}

/// What the network is made from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Weights, from which we write the graph.
    Weights(Config),
    /// A graph that the folder brings, as a path in it.
    Onnx(&'static str),
}

/// Texts that the model was trained to see before its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompts {
    pub query: String,
    pub passage: String,
}

#[derive(Default, Deserialize)]
struct SentenceFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: Option<bool>,
}

#[derive(Deserialize)]
struct TokenizerFile {
    /// A number beyond all measure where there is no limit.
    model_max_length: Option<f64>,
}

#[derive(Deserialize)]
struct PromptsFile {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
    #[serde(default)]
    truncate_dim: Option<usize>,
}

impl Model {
    /// Reads the settings of a Hugging Face folder of a sentence encoder.
    pub fn read(folder: &Path, options: &EncoderOptions) -> Result<Self> {
        if !folder.is_dir() {
            return Err(unusable(
                folder,
                "there is no such folder; `vecdb setup` fetches the default model",
            ));
        }
        let config: Value = required(folder, CONFIG_FILE)?;
        let stated_positions = config
            .get("max_position_embeddings")
            .and_then(Value::as_u64);
        let source = source(folder, config)?;
        let positions = match &source {
            Source::Weights(config) => config.usable_positions(),
            Source::Onnx(_) => stated_positions.map_or(usize::MAX, |n| n as usize),
        };
        let modules = Modules::read(folder)?;
        let (prompts, truncated) = prompts(folder)?;
        let sentence = sentence_settings(folder)?;
        let max_tokens = max_tokens(folder, &sentence, positions, options.max_tokens)?;
        let name = folder.file_name().map_or_else(
            || "model".into(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self {
            folder: folder.into(),
            name,
            source,
            modules,
            max_tokens,
            lower_case: sentence.do_lower_case.unwrap_or(false),
            prompts,
            kept: options.dimension.or(truncated),
            overlap: options.overlap,
        })
    }
}

fn source(folder: &Path, config: Value) -> Result<Source> {
    let (architecture, name) = Config::architecture(&config);
    let has_weights = folder.join(WEIGHTS_FILE).exists();
    if let (Some(architecture), true) = (architecture, has_weights) {
        return Ok(Source::Weights(Config::read(folder, architecture, config)?));
    }
    let own = ONNX_FILES.iter().find(|file| folder.join(file).is_file());
    if let Some(file) = own {
        return Ok(Source::Onnx(file));
    }
    if architecture.is_none() {
        let what = format!(
            "its architecture is {name:?}; supported: {}; others by an ONNX file of their own ({})",
            Config::supported(),
            ONNX_FILES.join(", ")
        );
        return Err(unusable(folder, what));
    }
    let hint = if folder.join(format!("{WEIGHTS_FILE}.index.json")).exists() {
        "; weights in several files are not supported: save them as one"
    } else if folder.join("pytorch_model.bin").exists() {
        "; pytorch_model.bin is not read, since it is a program as much as data: save the weights as safetensors"
    } else {
        ""
    };
    let what = format!(
        "{WEIGHTS_FILE} is missing, and so is an ONNX file ({}){hint}",
        ONNX_FILES.join(", ")
    );
    Err(unusable(folder, what))
}

fn sentence_settings(folder: &Path) -> Result<SentenceFile> {
    for file in SENTENCE_FILES {
        if let Some(settings) = optional(folder, file)? {
            return Ok(settings);
        }
    }
    let limit: Option<TokenizerFile> = optional(folder, TOKENIZER_SETTINGS_FILE)?;
    let limit = limit.and_then(|file| file.model_max_length);
    Ok(SentenceFile {
        max_seq_length: limit.filter(|n| *n < 1e6).map(|n| n as usize),
        do_lower_case: None,
    })
}

/// What the folder says, at most what has positions, and less where the caller wants less.
fn max_tokens(
    folder: &Path,
    sentence: &SentenceFile,
    positions: usize,
    asked: Option<usize>,
) -> Result<usize> {
    let Some(limit) = asked
        .or(sentence.max_seq_length)
        .or(Some(positions))
        .filter(|n| *n < usize::MAX)
    else {
        let what = "no file of it says how many tokens it takes; say it with max_tokens";
        return Err(unusable(folder, what));
    };
    if asked.is_some() && limit > positions {
        let what =
            format!("it has {positions} positions, and windows of {limit} tokens were asked for");
        return Err(unusable(folder, what));
    }
    let tokens = limit.min(positions);
    if tokens < MIN_WINDOW_TOKENS {
        let what =
            format!("its windows have {tokens} tokens; at least {MIN_WINDOW_TOKENS} are needed");
        return Err(unusable(folder, what));
    }
    Ok(tokens)
}

/// The prompts, and how many components of a vector the folder says to keep.
fn prompts(folder: &Path) -> Result<(Prompts, Option<usize>)> {
    let Some(PromptsFile {
        prompts,
        default_prompt_name,
        truncate_dim,
    }) = optional(folder, PROMPTS_FILE)?
    else {
        return Ok((Prompts::default(), None));
    };
    let default = default_prompt_name
        .and_then(|name| prompts.get(&name).cloned())
        .unwrap_or_default();
    let first = |names: &[&str]| {
        let named = names.iter().find_map(|name| prompts.get(*name)).cloned();
        named.unwrap_or_else(|| default.clone())
    };
    let prompts = Prompts {
        query: first(&["query"]),
        passage: first(&["passage", "document"]),
    };
    Ok((prompts, truncate_dim))
}

fn required<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<T> {
    optional(folder, file)?.ok_or_else(|| unusable(folder, format!("{file} is missing")))
}

fn optional<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<Option<T>> {
    let path = folder.join(file);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| unusable(folder, format!("{file}: {e}"))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &path)(e)),
    }
}

/// A model folder that cannot be used.
pub(super) fn unusable(folder: &Path, what: impl Into<String>) -> Error {
    Error::Model {
        path: folder.to_path_buf(),
        what: what.into(),
    }
}
