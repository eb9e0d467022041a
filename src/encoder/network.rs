//! What a model folder computes with: our graph over its weights, or a graph of its own.

use std::fs;
use std::path::Path;

use super::Precision;
use super::device::Provider;
use super::export::{Export, Form, Stored, export};
use super::model::{Config, Model, Source};
use super::model_file::ModelFile;
use super::session::{Packed, Place, Runtime, Session, Values};
use super::weights::{WEIGHTS_FILE, Weights};
use crate::error::{Error, Result};

/// A network that sessions are opened for.
pub(super) enum Network {
    /// A graph that we wrote.
    Ours(Box<Ours>),
    /// One that the folder brings: the graph's file first, then those of its weights.
    Own(Vec<ModelFile>),
}

/// Weights and the graph over them.
pub(super) struct Ours {
    pub config: Config,
    pub weights: Weights,
    serving: Export,
    /// Weights that are kept in other numbers than the graph's, converted.
    converted: Values,
}

impl Network {
    /// Reads what the model is made from, to compute in such numbers.
    pub fn open(model: &Model, provider: &Provider, precision: Precision) -> Result<Self> {
        let Source::Weights(config) = &model.source else {
            let files = files(model)?;
            return match precision {
                Precision::Int8 | Precision::F16 => Err(files[0].unusable(format_args!(
                    "it brings a graph of its own, which runs in its own numbers; precision {precision} takes weights as \
                     safetensors"
                ))),
                _ => Ok(Self::Own(files)),
            };
        };
        // TensorRT chooses what it computes in f16 itself.
        let precision = match provider {
            Provider::TensorRt(..) => Precision::F32,
            _ => precision,
        };
        let weights = Weights::open(&model.folder, WEIGHTS_FILE)?;
        let serving = export(config, &weights, Form::Serving, precision)?;
        let mut ours = Ours {
            config: *config,
            weights,
            serving,
            converted: Values::default(),
        };
        ours.converted = ours.values(&ours.serving.converted)?;
        Ok(Self::Ours(Box::new(ours)))
    }

    /// Opens a session for texts' vectors.
    ///
    /// # Errors
    /// [`Error::Model`] where the runtime refuses the graph, or a file is not the one that was hashed.
    pub fn session(
        &self,
        runtime: &Runtime,
        provider: &Provider,
        threads: usize,
        packed: Option<(&Packed, &Values)>,
    ) -> Result<Session> {
        let none = Values::default();
        let (packed, values) = packed.map_or((None, None), |(packed, values)| {
            (Some(packed), Some(values))
        });
        let place = |values| Place {
            provider,
            threads,
            values,
            packed,
        };
        match self {
            Self::Ours(ours) => {
                let values = values.unwrap_or(&ours.converted);
                let folder = ours.weights.file.parent();
                let session = Session::open(runtime, &ours.serving.graph, folder, &place(values));
                // First, because other weights are also why a session may not open.
                ours.weights.file.check_unchanged()?;
                session
            }
            Self::Own(files) => {
                let session = Session::open_own(runtime, &files[0], &place(&none));
                files.iter().try_for_each(ModelFile::check_unchanged)?;
                session
            }
        }
    }

    /// Everything that packed sessions share, on the heap.
    pub fn shared_values(&self) -> Result<Values> {
        match self {
            Self::Ours(ours) => {
                let mut values = ours.values(&ours.serving.matrices)?;
                values.extend(&ours.converted);
                Ok(values)
            }
            Self::Own(_) => Ok(Values::default()),
        }
    }

    /// A session that tells what happens inside.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own, which tells only its output.
    pub fn inspection(&self, runtime: &Runtime) -> Result<Session> {
        let ours =
            self.ours("tells nothing but its output; layers, attention and embeddings take")?;
        let inside = export(
            &ours.config,
            &ours.weights,
            Form::Inspection,
            Precision::F32,
        )?;
        let converted = ours.values(&inside.converted)?;
        let place = Place {
            provider: &Provider::Cpu,
            threads: 1,
            values: &converted,
            packed: None,
        };
        let session = Session::open(runtime, &inside.graph, ours.weights.file.parent(), &place);
        ours.weights.file.check_unchanged()?;
        session
    }

    /// The graph as a file for other programs.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own: it is a file already.
    pub fn to_file(&self) -> Result<Vec<u8>> {
        match self {
            Self::Ours(ours) => {
                Ok(export(&ours.config, &ours.weights, Form::File, Precision::F32)?.graph)
            }
            Self::Own(files) => Err(files[0].unusable("it is an ONNX file already; copy it")),
        }
    }

    /// Its files, as paths in the model's folder.
    pub fn files(&self) -> Vec<String> {
        match self {
            Self::Ours(_) => vec![WEIGHTS_FILE.to_owned()],
            Self::Own(files) => files.iter().map(|file| file.name().to_owned()).collect(),
        }
    }

    /// The weights.
    ///
    /// # Errors
    /// [`Error::Model`] for a graph of the folder's own, which `cannot` tells what it cannot, and what needs weights instead.
    pub fn ours(&self, cannot: &str) -> Result<&Ours> {
        match self {
            Self::Ours(ours) => Ok(ours),
            Self::Own(files) => Err(files[0].unusable(format_args!(
                "it brings a graph of its own, which {cannot} weights as safetensors of a supported architecture"
            ))),
        }
    }

    /// The transformer's shape, where we know it.
    pub fn config(&self) -> Option<&Config> {
        match self {
            Self::Ours(ours) => Some(&ours.config),
            Self::Own(_) => None,
        }
    }
}

/// The files that a model's network is made from.
pub(super) fn files(model: &Model) -> Result<Vec<ModelFile>> {
    let names = match model.source {
        Source::Weights(_) => vec![WEIGHTS_FILE.to_owned()],
        Source::Onnx(file) => own_files(&model.folder, file)?,
    };
    let files = names
        .iter()
        .map(|name| ModelFile::open(&model.folder, name));
    files.collect()
}

/// A line for the fingerprint: a hash of every byte of them.
pub(super) fn describe(files: &[ModelFile]) -> String {
    let hashes: Vec<String> = files
        .iter()
        .map(|file| format!("{:032x}", file.hash()))
        .collect();
    let kind = if files[0].name() == WEIGHTS_FILE {
        "weights"
    } else {
        "onnx"
    };
    format!("{kind} {}", hashes.join(" "))
}

impl Ours {
    fn values(&self, stored: &[Stored]) -> Result<Values> {
        let mut values = Values::default();
        for Stored { name, shape, place } in stored {
            values.add(name, shape, self.weights.values(*place))?;
        }
        Ok(values)
    }
}

/// The graph's file, and those beside it that hold its weights: they are named after it (`model.onnx_data`).
fn own_files(folder: &Path, graph: &str) -> Result<Vec<String>> {
    let (below, name) = graph
        .rsplit_once('/')
        .map_or(("", graph), |(below, name)| (below, name));
    let parent = folder.join(below);
    let entries = fs::read_dir(&parent).map_err(Error::io("list", &parent))?;
    let mut beside = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", &parent))?.file_name();
        let Some(entry) = entry.to_str() else {
            continue;
        };
        if entry.starts_with(name) && entry != name {
            beside.push(if below.is_empty() {
                entry.to_owned()
            } else {
                format!("{below}/{entry}")
            });
        }
    }
    beside.sort();
    let mut files = vec![graph.to_owned()];
    files.extend(beside);
    Ok(files)
}
