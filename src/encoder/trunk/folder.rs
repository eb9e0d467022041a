//! Weights that were trained → a model folder, as sentence-transformers lays one out.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};

use super::Numbers;
use crate::encoder::Encoder;
use crate::encoder::weights::WEIGHTS_FILE;
use crate::error::{Error, Result};

/// A tensor as it was, or with other numbers.
struct Tensor<'a> {
    numbers: Dtype,
    shape: &'a [usize],
    bytes: Cow<'a, [u8]>,
}

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

impl Encoder {
    /// Writes the model with other weights into an empty folder: the weights file, in which all others stand as they were, and
    /// the settings and the tokenizer.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own, [`Error::Io`] where the folder cannot be written.
    pub(crate) fn write_with(&self, trained: &Numbers, folder: &Path) -> Result<()> {
        let weights = &self
            .0
            .pool
            .network()
            .ours("cannot be trained; that takes")?
            .weights;
        let unreadable = |e: safetensors::SafeTensorError| weights.file.unusable(e);
        let file = SafeTensors::deserialize(weights.file.bytes()).map_err(unreadable)?;
        let (_, header) = SafeTensors::read_metadata(weights.file.bytes()).map_err(unreadable)?;
        let views = file.tensors();
        let tensors: Vec<(&str, Tensor<'_>)> = views
            .iter()
            .map(|(name, view)| {
                let tensor = match trained.get(name) {
                    Some(numbers) => Tensor {
                        numbers: Dtype::F32,
                        shape: view.shape(),
                        bytes: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    },
                    None => Tensor {
                        numbers: view.dtype(),
                        shape: view.shape(),
                        bytes: Cow::Borrowed(view.data()),
                    },
                };
                (name.as_str(), tensor)
            })
            .collect();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let target = folder.join(WEIGHTS_FILE);
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor));
        safetensors::serialize_to_file(tensors, header.metadata().clone(), &target).map_err(
            |e| Error::Tune {
                what: format!("{} cannot be written: {e}", target.display()),
            },
        )?;
        self.copy_settings(folder)
    }

    /// Writes the network as `onnx/model.onnx`, beside which nothing else is needed.
    pub(crate) fn write_onnx(&self, folder: &Path) -> Result<()> {
        let folder = folder.join("onnx");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let target = folder.join("model.onnx");
        let bytes = self.0.pool.network().to_file()?;
        fs::write(&target, bytes).map_err(Error::io("write", &target))
    }
}
