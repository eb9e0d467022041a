//! The model folder: what its configuration files say.
//!
//! Nothing is guessed: a file that is needed and missing, or a setting that is not supported, is an error naming it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Architectures that [`export`](super::export) writes.
const ARCHITECTURES: &[&str] = &["bert"];
/// The fewest tokens a window may have: below that nothing is left beside prompt, title and special tokens.
const MIN_WINDOW_TOKENS: usize = 16;

/// A model folder's settings.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub folder: PathBuf,
    pub name: String,
    pub config: BertConfig,
    pub pooling: Pooling,
    /// Tokens of a window, special ones included.
    pub max_tokens: usize,
    pub prompts: Prompts,
}

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    Cls,
}

/// The feed-forward block's non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

/// Texts that the model was trained to see before its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompts {
    pub query: String,
    pub passage: String,
}

/// The shape of a BERT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BertConfig {
    pub vocabulary: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub positions: usize,
    pub segments: usize,
    pub epsilon: f32,
    pub activation: Activation,
}

#[derive(Deserialize)]
struct ConfigFile {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

#[derive(Deserialize)]
struct ModuleEntry {
    path: String,
    r#type: String,
}

#[derive(Deserialize)]
struct PoolingFile {
    #[serde(flatten)]
    settings: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct SentenceFile {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct PromptsFile {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    #[serde(default)]
    default_prompt_name: Option<String>,
}

impl Model {
    /// Reads the settings of a Hugging Face folder of a sentence encoder.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(unusable(
                folder,
                "there is no such folder; `vecdb setup` fetches the default model",
            ));
        }
        let text: serde_json::Value = required(folder, "config.json")?;
        let architecture = text
            .get("model_type")
            .and_then(|t| t.as_str())
            .unwrap_or("unknown")
            .to_owned();
        if !ARCHITECTURES.contains(&architecture.as_str()) {
            let supported = ARCHITECTURES.join(", ");
            return Err(unusable(
                folder,
                format!("its architecture is {architecture:?}; supported: {supported}"),
            ));
        }
        let config = bert_config(folder, text)?;
        let pooling = pooling(folder)?;
        let sentence: Option<SentenceFile> = optional(folder, "sentence_bert_config.json")?;
        let asked = sentence
            .and_then(|file| file.max_seq_length)
            .unwrap_or(config.positions);
        let max_tokens = asked.min(config.positions);
        if max_tokens < MIN_WINDOW_TOKENS {
            let what = format!(
                "its windows have {max_tokens} tokens; at least {MIN_WINDOW_TOKENS} are needed"
            );
            return Err(unusable(folder, what));
        }
        let name = folder.file_name().map_or_else(
            || "model".into(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self {
            folder: folder.into(),
            name,
            config,
            pooling,
            max_tokens,
            prompts: prompts(folder)?,
        })
    }
}

fn bert_config(folder: &Path, text: serde_json::Value) -> Result<BertConfig> {
    let file: ConfigFile =
        serde_json::from_value(text).map_err(|e| unusable(folder, format!("config.json: {e}")))?;
    debug_assert_eq!(file.model_type, "bert");
    let activation = match file.hidden_act.as_str() {
        "gelu" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        other => {
            return Err(unusable(
                folder,
                format!("its activation {other:?} is not supported (gelu, gelu_new, relu)"),
            ));
        }
    };
    match file.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => {
            return Err(unusable(
                folder,
                format!("its position embedding {other:?} is not supported (absolute)"),
            ));
        }
    }
    let sizes = [
        file.vocab_size,
        file.hidden_size,
        file.num_attention_heads,
        file.intermediate_size,
        file.type_vocab_size,
    ];
    if sizes.contains(&0) || !file.hidden_size.is_multiple_of(file.num_attention_heads) {
        return Err(unusable(
            folder,
            "config.json: a size is zero, or hidden_size is no multiple of num_attention_heads",
        ));
    }
    Ok(BertConfig {
        vocabulary: file.vocab_size,
        hidden: file.hidden_size,
        layers: file.num_hidden_layers,
        heads: file.num_attention_heads,
        intermediate: file.intermediate_size,
        positions: file.max_position_embeddings,
        segments: file.type_vocab_size,
        epsilon: file.layer_norm_eps,
        activation,
    })
}

/// What `modules.json` and the pooling folder say; a folder without them is a bare transformer, pooled by its mean as
/// sentence-transformers does.
fn pooling(folder: &Path) -> Result<Pooling> {
    let Some(modules) = optional::<Vec<ModuleEntry>>(folder, "modules.json")? else {
        return Ok(Pooling::Mean);
    };
    let mut pooling = Pooling::Mean;
    for module in &modules {
        match module.r#type.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => pooling = pooling_of(folder, &format!("{}/config.json", module.path))?,
            other => {
                return Err(unusable(
                    folder,
                    format!("modules.json names a {other:?} module, which is not supported"),
                ));
            }
        }
    }
    Ok(pooling)
}

fn pooling_of(folder: &Path, file: &str) -> Result<Pooling> {
    let PoolingFile { settings } = required(folder, file)?;
    let on = |name: &str| {
        settings
            .get(name)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false)
    };
    let modes: Vec<&str> = settings
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("pooling_mode_") && on(name))
        .collect();
    match modes[..] {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        _ => Err(unusable(
            folder,
            format!("{file} asks for {modes:?}; supported is one of mean_tokens and cls_token"),
        )),
    }
}

fn prompts(folder: &Path) -> Result<Prompts> {
    let Some(PromptsFile {
        prompts,
        default_prompt_name,
    }) = optional(folder, "config_sentence_transformers.json")?
    else {
        return Ok(Prompts::default());
    };
    let default = default_prompt_name
        .and_then(|name| prompts.get(&name).cloned())
        .unwrap_or_default();
    let first = |names: &[&str]| {
        let named = names.iter().find_map(|name| prompts.get(*name)).cloned();
        named.unwrap_or_else(|| default.clone())
    };
    Ok(Prompts {
        query: first(&["query"]),
        passage: first(&["passage", "document"]),
    })
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
