//! Weights files: safetensors, mapped.

#[cfg(feature = "tune")]
use std::borrow::Cow;
#[cfg(feature = "tune")]
use std::collections::HashMap;
#[cfg(feature = "tune")]
use std::fs::File;
#[cfg(feature = "tune")]
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
#[cfg(feature = "tune")]
use safetensors::tensor::View;
use safetensors::tensor::{Dtype, Metadata as Header};

use super::model_file::ModelFile;
#[cfg(feature = "tune")]
use crate::error::Error;
use crate::error::Result;

/// The transformer's weights in a model folder.
pub(super) const WEIGHTS_FILE: &str = "model.safetensors";

/// A mapped weights file with its header parsed and checked against the file's length.
pub(super) struct Weights {
    pub file: ModelFile,
    /// Where the tensors' bytes begin.
    data_start: usize,
    header: Header,
}

/// Bytes of a tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: usize,
    pub length: usize,
    pub numbers: Numbers,
}

/// How a tensor's numbers are kept, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    F32,
    F16,
    /// The upper half of an f32.
    Bf16,
}

impl Weights {
    /// Maps a file of a model folder.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let file = ModelFile::open(folder, name)?;
        let (header_bytes, header) = SafeTensors::read_metadata(file.bytes()).map_err(|e| {
            file.unusable(format_args!("not a safetensors file, or cut short: {e}"))
        })?;
        Ok(Self {
            file,
            data_start: header_bytes + 8,
            header,
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.header.info(name)?.shape)
    }

    /// Where the tensor lies in the file, after checking its shape.
    pub fn place(&self, name: &str, shape: &[usize]) -> Result<Place> {
        let Some(info) = self.header.info(name) else {
            return Err(self
                .file
                .unusable(format_args!("it lacks the weight {name:?}")));
        };
        let numbers = match info.dtype {
            Dtype::F32 => Numbers::F32,
            Dtype::F16 => Numbers::F16,
            Dtype::BF16 => Numbers::Bf16,
            other => {
                return Err(self.file.unusable(format_args!(
                    "the weight {name:?} is {other:?}; F32, F16 and BF16 are supported"
                )));
            }
        };
        if info.shape != shape {
            return Err(self.file.unusable(format_args!(
                "the weight {name:?} has shape {:?} where the configuration asks for {shape:?}",
                info.shape
            )));
        }
        // `read_metadata` checked that the ranges lie in the file and fit shape and type.
        let (start, end) = info.data_offsets;
        Ok(Place {
            offset: self.data_start + start,
            length: end - start,
            numbers,
        })
    }

    /// The numbers at a place that [`place`](Self::place) gave.
    pub fn values(&self, place: Place) -> Vec<f32> {
        let bytes = &self.file.bytes()[place.offset..place.offset + place.length];
        let half = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
        match place.numbers {
            Numbers::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Numbers::F16 => bytes.chunks_exact(2).map(|b| from_f16(half(b))).collect(),
            Numbers::Bf16 => bytes
                .chunks_exact(2)
                .map(|b| f32::from_bits(u32::from(half(b)) << 16))
                .collect(),
        }
    }
}

/// A tensor to be written.
#[cfg(feature = "tune")]
pub(super) struct Tensor<'a> {
    pub numbers: Dtype,
    pub shape: &'a [usize],
    pub bytes: Cow<'a, [u8]>,
}

#[cfg(feature = "tune")]
impl<'a> Tensor<'a> {
    /// Of f32.
    pub fn of(numbers: &[f32], shape: &'a [usize]) -> Self {
        Self {
            numbers: Dtype::F32,
            shape,
            bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

#[cfg(feature = "tune")]
impl View for &Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.numbers
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes a weights file, synced.
#[cfg(feature = "tune")]
pub(super) fn write(
    tensors: &[(impl AsRef<str>, Tensor<'_>)],
    words: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<()> {
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_ref(), tensor));
    let bytes = safetensors::serialize(tensors, words).map_err(|e| Error::Tune {
        what: format!("{} cannot be written: {e}", path.display()),
    })?;
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", path))
}

/// IEEE 754 binary16 → binary32, exactly.
fn from_f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    match (bits >> 10) & 0x1f {
        0 => sign * fraction * 2_f32.powi(-24),
        0x1f if fraction == 0.0 => sign * f32::INFINITY,
        0x1f => f32::NAN,
        exponent => sign * (1024.0 + fraction) * 2_f32.powi(i32::from(exponent) - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_read_exactly() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65_504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(from_f16(bits), value, "{bits:04x}");
        }
        assert!(from_f16(0x7e00).is_nan());
    }
}
