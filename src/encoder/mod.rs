//! Texts → unit vectors. INTERFACE DRAFT: bodies follow.
#![allow(dead_code, unused_variables, missing_docs, reason = "draft")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::vector::Vector;

/// How an encoder is opened.
#[derive(Clone, Debug, Default)]
pub struct EncoderOptions {
    /// Model folder; else `VECDB_MODEL_DIR`, else the data folder.
    pub model: Option<PathBuf>,
    /// libonnxruntime; else `ORT_DYLIB_PATH`, beside the executable, the data folder, the system's path.
    pub runtime: Option<PathBuf>,
    /// Worker threads; else the cores.
    pub threads: Option<usize>,
}

/// A window of a text that fits the encoder.
#[derive(Clone, Debug)]
pub struct Window {
    /// Bytes of the text, on char boundaries. The windows of a text, in order, overlap or touch and cover every byte.
    pub range: Range<usize>,
    pub(crate) tokens: Vec<u32>,
}

impl Window {
    /// Tokens with the special ones.
    pub fn token_count(&self) -> usize {
        self.tokens.len()
    }
}

/// Cloning is cheap; `Send + Sync`.
#[derive(Clone)]
pub struct Encoder {}

impl Encoder {
    pub fn open(options: &EncoderOptions) -> Result<Self> {
        todo!()
    }
    pub fn name(&self) -> &str {
        todo!()
    }
    /// 32 hex digits over weights, tokenizer, pooling, prompts, length, exporter version.
    pub fn fingerprint(&self) -> &str {
        todo!()
    }
    pub fn dimension(&self) -> usize {
        todo!()
    }
    pub fn max_tokens(&self) -> usize {
        todo!()
    }
    pub fn folder(&self) -> &Path {
        todo!()
    }
    /// Cuts a document's text; the title stands before each window's text where it is short enough.
    pub fn windows(&self, title: Option<&str>, text: &str) -> Result<Vec<Window>> {
        todo!()
    }
    /// One unit vector a window, in order.
    pub fn encode(&self, windows: &[Window]) -> Result<Vec<Vector>> {
        todo!()
    }
    /// A query's vector, with the query prompt; a query longer than a window is the mean of its windows.
    pub fn encode_query(&self, text: &str) -> Result<Vector> {
        todo!()
    }
    /// A passage's vector, the same way with the passage prompt.
    pub fn encode_passage(&self, text: &str) -> Result<Vector> {
        todo!()
    }
}
