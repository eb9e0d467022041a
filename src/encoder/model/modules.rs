//! `modules.json` → what is done with the token vectors: pooling, dense layers, length.
//!
//! The modules are those of sentence-transformers (Reimers and Gurevych 2019, arXiv:1908.10084).

use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{optional, required, unusable};
use crate::error::Result;

pub(super) const MODULES_FILE: &str = "modules.json";

/// How token vectors become one. Each is a weighted sum, so one graph serves all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum Pooling {
    Mean,
    Cls,
    /// The last token's vector.
    LastToken,
    /// The n-th token weighs n.
    WeightedMean,
    /// The sum divided by the root of the count; of the mean's direction.
    MeanSqrtLen,
}

const POOLINGS: &[(&str, Pooling)] = &[
    ("mean", Pooling::Mean),
    ("cls", Pooling::Cls),
    ("lasttoken", Pooling::LastToken),
    ("weightedmean", Pooling::WeightedMean),
    ("mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
];

/// The older names, one switch each.
const SWITCHES: &[(&str, Pooling)] = &[
    ("pooling_mode_mean_tokens", Pooling::Mean),
    ("pooling_mode_cls_token", Pooling::Cls),
    ("pooling_mode_lasttoken", Pooling::LastToken),
    ("pooling_mode_weightedmean_tokens", Pooling::WeightedMean),
    ("pooling_mode_mean_sqrt_len_tokens", Pooling::MeanSqrtLen),
];

/// What is applied to the numbers that a dense layer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum DenseActivation {
    Identity,
    Tanh,
    Relu,
    Sigmoid,
}

/// The settings of a dense layer; its weights lie in a file of its folder.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::encoder) struct DenseConfig {
    /// The folder in the model's.
    pub path: String,
    pub inputs: usize,
    pub outputs: usize,
    pub bias: bool,
    pub activation: DenseActivation,
}

/// What follows the transformer.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::encoder) struct Modules {
    pub pooling: Pooling,
    /// Tokens of the prompt take part in pooling.
    pub prompt_is_pooled: bool,
    pub dense: Vec<DenseConfig>,
    /// The settings files that were read, in the model's folder.
    pub files: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    r#type: String,
}

#[derive(Deserialize)]
struct DenseFile {
    in_features: usize,
    out_features: usize,
    #[serde(default = "yes")]
    bias: bool,
    #[serde(default)]
    activation_function: Option<String>,
}

fn yes() -> bool {
    true
}

impl Modules {
    /// Reads the modules. A folder that lists none is a bare transformer, pooled by its mean as sentence-transformers does.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut modules = Self {
            pooling: Pooling::Mean,
            prompt_is_pooled: true,
            dense: Vec::new(),
            files: Vec::new(),
        };
        let entries: Option<Vec<Entry>> = optional(folder, MODULES_FILE)?;
        let mut normalized = false;
        for Entry { path, r#type } in entries.unwrap_or_default() {
            let kind = r#type.rsplit('.').next().unwrap_or_default();
            let file = || match is_inside(&path) {
                true => Ok(format!("{path}/config.json")),
                false => Err(unusable(
                    folder,
                    format!("{MODULES_FILE} names {path:?}, which is no folder in it"),
                )),
            };
            match kind {
                "Transformer" => {}
                // Vectors are always made unit length at the end; in the middle it would be another model.
                "Normalize" => normalized = true,
                "Pooling" | "Dense" if normalized => {
                    let what = format!(
                        "{MODULES_FILE} has a {kind} module after a Normalize module, which is not supported"
                    );
                    return Err(unusable(folder, what));
                }
                "Pooling" => {
                    let file = file()?;
                    (modules.pooling, modules.prompt_is_pooled) = pooling(folder, &file)?;
                    modules.files.push(file);
                }
                "Dense" => {
                    let file = file()?;
                    modules.dense.push(dense(folder, &file, path)?);
                    modules.files.push(file);
                }
                other => {
                    let what = format!(
                        "{MODULES_FILE} names a {other:?} module, which is not supported (Transformer, Pooling, Dense, \
                         Normalize)"
                    );
                    return Err(unusable(folder, what));
                }
            }
        }
        Ok(modules)
    }
}

/// A path that leads to a folder below the one it starts from.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// How to pool, and whether a prompt's tokens take part.
fn pooling(folder: &Path, file: &str) -> Result<(Pooling, bool)> {
    let settings: Map<String, Value> = required(folder, file)?;
    let prompt_is_pooled = settings.get("include_prompt") != Some(&Value::Bool(false));
    let asked: Vec<&str> = match settings.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode],
        Some(Value::Array(modes)) => modes.iter().filter_map(Value::as_str).collect(),
        _ => settings
            .iter()
            .filter(|(name, on)| name.starts_with("pooling_mode_") && **on == Value::Bool(true))
            .map(|(name, _)| name.as_str())
            .collect(),
    };
    let known = |asked: &str| {
        let mut names = POOLINGS.iter().chain(SWITCHES);
        names
            .find(|(name, _)| *name == asked)
            .map(|&(_, pooling)| pooling)
    };
    match asked[..] {
        [one] if known(one).is_some() => {
            Ok((known(one).unwrap_or(Pooling::Mean), prompt_is_pooled))
        }
        _ => {
            let supported: Vec<&str> = POOLINGS.iter().map(|(name, _)| *name).collect();
            let what = format!(
                "{file} asks for the pooling {asked:?}; supported is one of {}",
                supported.join(", ")
            );
            Err(unusable(folder, what))
        }
    }
}

fn dense(folder: &Path, file: &str, path: String) -> Result<DenseConfig> {
    let DenseFile {
        in_features,
        out_features,
        bias,
        activation_function,
    } = required(folder, file)?;
    let asked = activation_function.as_deref().unwrap_or("Tanh");
    let activation = match asked.rsplit('.').next().unwrap_or_default() {
        "Identity" => DenseActivation::Identity,
        "Tanh" => DenseActivation::Tanh,
        "ReLU" => DenseActivation::Relu,
        "Sigmoid" => DenseActivation::Sigmoid,
        other => {
            let what = format!(
                "{file} asks for the activation {other:?}, which is not supported (Identity, Tanh, ReLU, Sigmoid)"
            );
            return Err(unusable(folder, what));
        }
    };
    if in_features == 0 || out_features == 0 {
        return Err(unusable(folder, format!("{file}: a size is zero")));
    }
    Ok(DenseConfig {
        path,
        inputs: in_features,
        outputs: out_features,
        bias,
        activation,
    })
}
