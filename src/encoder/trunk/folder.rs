//! Weights that were trained → a model folder, as sentence-transformers lays one out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use super::Numbers;
use crate::encoder::Encoder;
use crate::encoder::adapter::ADAPTER_FILE;
use crate::encoder::export::{full_prefix, prefix};
use crate::encoder::weights::{self, Tensor, WEIGHTS_FILE};
use crate::error::{Error, Result};

/// What the names of heads' weights begin with.
const HEADS: [&str; 3] = ["cls.", "lm_head.", "vocab_"];

impl Encoder {
    /// Writes the model with other weights into an empty folder: the weights file, in which all others stand as they were and
    /// those of `added`, which have shapes there, come to them; and the settings and the tokenizer. A map of queries' vectors is
    /// left out if anything was trained, since it was made for other ones.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own, [`Error::Io`] where the folder cannot be written.
    pub(crate) fn write_with(
        &self,
        trained: &Numbers,
        added: &BTreeMap<String, Vec<usize>>,
        folder: &Path,
    ) -> Result<()> {
        let network = self
            .0
            .pool
            .network()
            .ours("cannot be trained; that takes")?;
        let (config, ours) = (&network.config, &network.weights);
        // Beside a head an encoder's names have its prefix, as other programs expect.
        let is_bare = !added.is_empty() && prefix(config, ours).is_empty();
        let renamed = |name: &str| match is_bare && !HEADS.iter().any(|h| name.starts_with(h)) {
            true => format!("{}{name}", full_prefix(config)),
            false => name.to_owned(),
        };
        let unreadable = |e: safetensors::SafeTensorError| ours.file.unusable(e);
        let file = SafeTensors::deserialize(ours.file.bytes()).map_err(unreadable)?;
        let (_, header) = SafeTensors::read_metadata(ours.file.bytes()).map_err(unreadable)?;
        let views = file.tensors();
        let tensors = views.iter().map(|(name, view)| {
            let tensor = match trained.get(name) {
                Some(numbers) => Tensor::of(numbers, view.shape()),
                None => Tensor {
                    numbers: view.dtype(),
                    shape: view.shape(),
                    bytes: Cow::Borrowed(view.data()),
                },
            };
            (renamed(name), tensor)
        });
        let added = added.iter().filter_map(|(name, shape)| {
            let numbers = trained.get(name)?;
            Some((renamed(name), Tensor::of(numbers, shape)))
        });
        let tensors: Vec<(String, _)> = tensors.chain(added).collect();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        weights::write(
            &tensors,
            header.metadata().clone(),
            &folder.join(WEIGHTS_FILE),
        )?;
        self.copy_settings(folder)?;
        let adapter = folder.join(ADAPTER_FILE);
        match adapter.exists() && !trained.is_empty() {
            true => fs::remove_file(&adapter).map_err(Error::io("remove", &adapter)),
            false => Ok(()),
        }
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
