//! `config.json` → the shape of a transformer encoder, whatever its architecture calls things.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::unusable;
use crate::error::Result;

/// Architectures that [`export`](super::super::export) writes, as `model_type` names them.
const ARCHITECTURES: &[(&str, Architecture)] = &[
    ("bert", Architecture::Bert),
    ("distilbert", Architecture::DistilBert),
    ("roberta", Architecture::Roberta),
    ("xlm-roberta", Architecture::Roberta),
    ("camembert", Architecture::Roberta),
    ("mpnet", Architecture::MpNet),
];

/// A family of encoders that share names of weights and rules of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum Architecture {
    /// Devlin et al. 2018, arXiv:1810.04805.
    Bert,
    /// Sanh et al. 2019, arXiv:1910.01108: no segments.
    DistilBert,
    /// Liu et al. 2019, arXiv:1907.11692, and its multilingual XLM-R: positions begin after the padding's.
    Roberta,
    /// Song et al. 2020, arXiv:2004.09297: positions as RoBERTa, and a bias for each distance between two tokens.
    MpNet,
}

/// The feed-forward block's non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encoder) enum Activation {
    Gelu,
    GeluTanh,
    Relu,
}

/// The shape of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::encoder) struct Config {
    pub architecture: Architecture,
    pub vocabulary: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// The row of a text's first token.
    pub first_position: usize,
    /// Rows of the segment table; 0 where there is none.
    pub segments: usize,
    /// Buckets of distances that have a bias of their own; 0 where there are none.
    pub distance_buckets: usize,
    pub epsilon: f32,
    pub activation: Activation,
}

/// Keys of all architectures; DistilBERT has names of its own.
#[derive(Deserialize)]
struct File {
    vocab_size: usize,
    #[serde(alias = "dim")]
    hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    layer_norm_eps: f32,
    #[serde(alias = "activation")]
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    pad_token_id: Option<usize>,
    #[serde(default)]
    relative_attention_num_buckets: Option<usize>,
}

/// What all of them use where they say nothing; DistilBERT never does.
fn usual_epsilon() -> f32 {
    1e-12
}

impl Config {
    /// `None` for an architecture that cannot be written as a graph here; its name.
    pub fn architecture(text: &Value) -> (Option<Architecture>, String) {
        let name = text.get("model_type").and_then(Value::as_str);
        let name = name.unwrap_or("unknown").to_owned();
        let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
        (known.map(|&(_, architecture)| architecture), name)
    }

    /// The names of the architectures that can be.
    pub fn supported() -> String {
        let names: Vec<&str> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// Reads the shape of a model of that architecture.
    pub fn read(folder: &Path, architecture: Architecture, text: Value) -> Result<Self> {
        let wrong = |what: String| unusable(folder, format!("config.json: {what}"));
        let file: File = serde_json::from_value(text).map_err(|e| wrong(e.to_string()))?;
        let activation = match file.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => {
                return Err(wrong(format!(
                    "the activation {other:?} is not supported (gelu, gelu_new, relu)"
                )));
            }
        };
        if let Some(other) = file
            .position_embedding_type
            .filter(|kind| kind != "absolute")
        {
            return Err(wrong(format!(
                "the position embedding {other:?} is not supported (absolute)"
            )));
        }
        let first_position = match architecture {
            Architecture::Bert | Architecture::DistilBert => 0,
            Architecture::Roberta | Architecture::MpNet => file.pad_token_id.unwrap_or(1) + 1,
        };
        let segments = match architecture {
            Architecture::Bert => file.type_vocab_size.max(1),
            Architecture::Roberta => file.type_vocab_size,
            Architecture::DistilBert | Architecture::MpNet => 0,
        };
        let distance_buckets = match architecture {
            Architecture::MpNet => file.relative_attention_num_buckets.unwrap_or(32),
            _ => 0,
        };
        let sizes = [
            file.vocab_size,
            file.hidden_size,
            file.num_attention_heads,
            file.intermediate_size,
        ];
        if sizes.contains(&0) || !file.hidden_size.is_multiple_of(file.num_attention_heads) {
            return Err(wrong(
                "a size is zero, or hidden_size is no multiple of num_attention_heads".into(),
            ));
        }
        if !distance_buckets.is_multiple_of(4) {
            return Err(wrong(format!(
                "{distance_buckets} relative_attention_num_buckets cannot be halved twice"
            )));
        }
        Ok(Self {
            architecture,
            vocabulary: file.vocab_size,
            hidden: file.hidden_size,
            layers: file.num_hidden_layers,
            heads: file.num_attention_heads,
            intermediate: file.intermediate_size,
            positions: file.max_position_embeddings,
            first_position,
            segments,
            distance_buckets,
            epsilon: file.layer_norm_eps,
            activation,
        })
    }

    /// Tokens that have a position.
    pub fn usable_positions(&self) -> usize {
        self.positions.saturating_sub(self.first_position)
    }
}
