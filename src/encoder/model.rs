//! The model folder: what its configuration files say.
//!
//! Nothing is guessed: a file that is needed and missing, or a setting that is not supported, is an error naming it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Architectures that [`export`](super::export) writes.
const ARCHITECTURES: &[&str] = &["bert"];
/// The fewest tokens a window may have: below that nothing is left beside prompt, title and special tokens.
const MIN_WINDOW_TOKENS: usize = 16;
/// Files of a model folder with fixed names that are read here, where they are there.
pub(super) const SETTINGS_FILES: &[&str] =
    &["config.json", MODULES_FILE, SENTENCE_FILE, PROMPTS_FILE];
const MODULES_FILE: &str = "modules.json";
const SENTENCE_FILE: &str = "sentence_bert_config.json";
const PROMPTS_FILE: &str = "config_sentence_transformers.json";

/// A model folder's settings.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub folder: PathBuf,
    pub name: String,
    pub config: BertConfig,
    pub pooling: Pooling,
    /// Tokens of a window, special ones included.
    pub max_tokens: usize,
    /// Texts are to be made lower case before anything else.
    pub lower_case: bool,
    pub prompts: Prompts,
    /// The pooling settings' file in the folder, where `modules.json` names one.
    pub pooling_file: Option<String>,
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
    #[serde(default)]
    do_lower_case: Option<bool>,
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
        let pooling_file = pooling_file(folder)?;
        let pooling = pooling_file.as_deref().map(|file| pooling(folder, file));
        let (pooling, prompt_is_pooled) = pooling.unwrap_or(Ok((Pooling::Mean, true)))?;
        let prompts = prompts(folder)?;
        if !prompt_is_pooled && prompts != Prompts::default() {
            return Err(unusable(
                folder,
                "its pooling leaves the prompt out (include_prompt is false), which is not supported",
            ));
        }
        let sentence: Option<SentenceFile> = optional(folder, SENTENCE_FILE)?;
        let (asked, lower_case) = sentence.map_or((None, None), |file| {
            (file.max_seq_length, file.do_lower_case)
        });
        let max_tokens = asked.unwrap_or(config.positions).min(config.positions);
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
            lower_case: lower_case.unwrap_or(false),
            prompts,
            pooling_file,
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

/// The file that `modules.json` leads to; a folder without one is a bare transformer, pooled by its mean as
/// sentence-transformers does.
fn pooling_file(folder: &Path) -> Result<Option<String>> {
    let modules: Option<Vec<ModuleEntry>> = optional(folder, MODULES_FILE)?;
    let mut file = None;
    for ModuleEntry { path, r#type } in modules.unwrap_or_default() {
        match r#type.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" if is_inside(&path) => file = Some(format!("{path}/config.json")),
            "Pooling" => {
                let what = format!("{MODULES_FILE} names {path:?}, which is no folder in it");
                return Err(unusable(folder, what));
            }
            other => {
                return Err(unusable(
                    folder,
                    format!("{MODULES_FILE} names a {other:?} module, which is not supported"),
                ));
            }
        }
    }
    Ok(file)
}

/// A path that leads to a folder below the one it starts from.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// How to pool, and whether a prompt's tokens take part.
fn pooling(folder: &Path, file: &str) -> Result<(Pooling, bool)> {
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
    let pooling = match modes[..] {
        ["pooling_mode_mean_tokens"] => Pooling::Mean,
        ["pooling_mode_cls_token"] => Pooling::Cls,
        _ => {
            return Err(unusable(
                folder,
                format!("{file} asks for {modes:?}; supported is one of mean_tokens and cls_token"),
            ));
        }
    };
    let prompt_is_pooled = settings.get("include_prompt") != Some(&serde_json::Value::Bool(false));
    Ok((pooling, prompt_is_pooled))
}

fn prompts(folder: &Path) -> Result<Prompts> {
    let Some(PromptsFile {
        prompts,
        default_prompt_name,
    }) = optional(folder, PROMPTS_FILE)?
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
