//! Fetches what the encoder needs; reports what is there.
#![allow(dead_code, unused_variables, reason = "bodies follow")]

use std::path::PathBuf;

use crate::encoder::EncoderOptions;
use crate::error::Result;

/// What set-up is to bring in.
#[derive(Clone, Debug, Default)]
pub struct SetupOptions {
    /// Copies this ONNX Runtime library instead of downloading one.
    pub runtime: Option<PathBuf>,
    /// Copies this model folder instead of downloading the default model.
    pub model: Option<PathBuf>,
    /// Fetches again what is already there.
    pub force: bool,
}

/// What is in place after set-up.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct SetupReport {
    /// The data folder.
    pub home: PathBuf,
    /// The ONNX Runtime library in use.
    pub runtime: PathBuf,
    /// Its version.
    pub runtime_version: String,
    /// The model folder in use.
    pub model: PathBuf,
    /// The model's name.
    pub model_name: String,
    /// What this call brought in, one sentence each; empty if all was there.
    pub changes: Vec<String>,
}

/// Brings the runtime library and the model into the data folder, unless they are there.
///
/// `progress` is told each step as a short sentence before it starts.
///
/// # Errors
/// [`Error::Setup`](crate::Error::Setup) says what could not be fetched or used, and what to do instead.
pub fn run(options: &SetupOptions, progress: &mut dyn FnMut(&str)) -> Result<SetupReport> {
    todo!()
}

/// [`run`] with the defaults and no progress; returns at once when a runtime library and a model are found.
///
/// # Errors
/// As [`run`].
pub fn ensure() -> Result<()> {
    todo!()
}

/// Looks at everything the encoder stands on. Never fails: what is missing is a line of the report.
pub fn doctor(options: &EncoderOptions) -> Doctor {
    todo!()
}

/// The state of the encoder's parts; `Display` is for people, `Serialize` for programs.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Doctor {
    /// vecdb's own version.
    pub version: String,
    /// The data folder.
    pub home: Option<PathBuf>,
    /// Free bytes on its file system.
    pub free_bytes: Option<u64>,
    /// The processor.
    pub cpu: Cpu,
    /// The ONNX Runtime library, if one loads.
    pub runtime: Option<RuntimeState>,
    /// The model, if it loads.
    pub model: Option<ModelState>,
    /// The self-test, if both load.
    pub self_test: Option<SelfTest>,
    /// What is wrong, each with the way out. Empty: all is well.
    pub problems: Vec<String>,
}

impl Doctor {
    /// Nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }
}

impl std::fmt::Display for Doctor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// The processor, as far as it decides the encoder's speed.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Cpu {
    /// Processor family: "x86_64", "aarch64".
    pub architecture: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Instruction sets found, of those that ONNX Runtime uses: "avx2", "avx512f", "avx512vnni", "neon".
    pub features: Vec<String>,
}

/// The ONNX Runtime library.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct RuntimeState {
    /// The library file.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// The execution providers it was built with, of those that vecdb knows.
    pub providers_available: Vec<String>,
    /// The execution provider that runs the model.
    pub provider_used: String,
}

/// The model.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ModelState {
    /// The model folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// 32 hex digits; see [`Encoder::fingerprint`](crate::encoder::Encoder::fingerprint).
    pub fingerprint: String,
    /// Components of a vector.
    pub dimension: usize,
    /// Tokens of a window.
    pub max_tokens: usize,
}

/// What about one second of encoding showed.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct SelfTest {
    /// Opening the model and the library, in milliseconds.
    pub open_ms: f64,
    /// One short query, in milliseconds.
    pub query_ms: f64,
    /// Throughput on passages of mixed length.
    pub tokens_per_second: f64,
    /// The largest difference from the known vector of one sentence; `None` for another model than the default.
    pub parity: Option<f32>,
}
