//! What each architecture calls its weights.

use crate::encoder::model::Architecture;

/// Names of a transformer's weights. Those of a layer follow `layer` and its number; each names a matrix with a bias, or a
/// normalisation.
pub(super) struct Names {
    /// Stands before every name where the file holds a head beside the encoder.
    pub prefix: &'static str,
    pub layer: &'static str,
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub attention_output: &'static str,
    pub attention_norm: &'static str,
    pub widening: &'static str,
    pub narrowing: &'static str,
    pub output_norm: &'static str,
}

const BERT: Names = Names {
    prefix: "bert.",
    layer: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    widening: "intermediate.dense",
    narrowing: "output.dense",
    output_norm: "output.LayerNorm",
};

const ROBERTA: Names = Names {
    prefix: "roberta.",
    ..BERT
};

const DISTILBERT: Names = Names {
    prefix: "distilbert.",
    layer: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    widening: "ffn.lin1",
    narrowing: "ffn.lin2",
    output_norm: "output_layer_norm",
};

const MPNET: Names = Names {
    prefix: "mpnet.",
    query: "attention.attn.q",
    key: "attention.attn.k",
    value: "attention.attn.v",
    attention_output: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    ..BERT
};

impl Names {
    pub fn of(architecture: Architecture) -> &'static Self {
        match architecture {
            Architecture::Bert => &BERT,
            Architecture::DistilBert => &DISTILBERT,
            Architecture::Roberta => &ROBERTA,
            Architecture::MpNet => &MPNET,
        }
    }
}
