//! How an encoder is opened.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Device;
use super::device::Provider;
use crate::error::{Error, Result};

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
    /// In which numbers matrices are multiplied.
    pub precision: Precision,
    /// Tokens of a window, special ones included; else what the folder says. At most as many as the model has positions.
    pub max_tokens: Option<usize>,
    /// Tokens that a window of a long text shares with the one before, at most; else an eighth of a window. At most half of
    /// one.
    pub overlap: Option<usize>,
    /// Components that are kept of a vector, the first ones, for models that were trained so (Matryoshka representation
    /// learning, Kusupati et al. 2022, arXiv:2205.13147); else what the folder says, else all.
    pub dimension: Option<usize>,
}

/// In which numbers a model's matrices are multiplied. The fingerprint does not depend on it: the vectors are those of one
/// encoder, in other rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// 32-bit floats, everywhere.
    #[default]
    F32,
    /// 16-bit floats where TensorRT finds them faster; with [`Device::TensorRt`] alone.
    F16,
    /// 8-bit integers with a scale for each 32 of a row; on the processor alone. Many texts take less memory; it was slower than
    /// F32 on both processors that were measured, with VNNI and without, so nothing chooses it by itself.
    Int8,
}

impl Precision {
    /// All that can be asked for.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// What it comes to on a device.
    ///
    /// # Errors
    /// [`Error::Encode`] for numbers that the device does not compute with.
    pub(super) fn on(self, provider: &Provider) -> Result<Self> {
        let refused = |what| {
            Err(Error::Encode {
                what: format!("precision {self}: {what}"),
            })
        };
        match (self, provider) {
            (Self::F16, Provider::Cpu | Provider::Cuda(_)) => refused(
                "it takes TensorRT (device tensorrt); the processor computes with f32 and int8, CUDA with f32",
            ),
            (Self::Int8, Provider::Cuda(_) | Provider::TensorRt(..)) => {
                refused("it takes the processor; CUDA computes with f32, TensorRT with f32 and f16")
            }
            _ => Ok(self),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut known = Self::ALL.into_iter();
        known
            .find(|precision| precision.to_string() == text)
            .ok_or_else(|| Error::Encode {
                what: format!("the precision {text:?} is unknown; f32, f16 and int8 are known"),
            })
    }
}
