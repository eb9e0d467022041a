//! Where the model runs: what is asked for, what this build and the library can do, and what was chosen.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::session::Runtime;
use crate::error::{Error, Result};
use crate::home;

/// Threads that one text's products are shared among, at most: more wait for the memory that the weights come from.
const MAX_WIDE_THREADS: usize = 4;

/// Batches before repacking weights pays off.
const MAPPED_RUNS: usize = 16;

/// Where the model is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// CUDA where it works, else the processor; [`Encoder::device_note`](super::Encoder::device_note) says why.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through CUDA; takes a build with feature `cuda`.
    Cuda,
    /// An NVIDIA GPU through TensorRT, which builds an engine at the first start and keeps it in the data folder; takes a
    /// build with feature `tensorrt`.
    TensorRt,
}

impl Device {
    /// All that can be asked for.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Cpu, Self::Cuda, Self::TensorRt];
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
        })
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter();
        let mut same = known.filter(|device| device.to_string() == text);
        same.next().ok_or_else(|| Error::Device {
            device: text.into(),
            what: "it is unknown; auto, cpu, cuda and tensorrt are known".into(),
        })
    }
}

/// What is asked of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub device: Device,
    pub id: u32,
    pub memory_bytes: Option<u64>,
    pub half: bool,
    /// Tokens of a window, at most.
    pub max_tokens: usize,
}

/// A device as a session takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    Cpu,
    Cuda(Gpu),
    TensorRt(Gpu, Engines),
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gpu {
    pub id: u32,
    /// What the runtime may take of its memory.
    pub memory_bytes: Option<u64>,
    /// Computes in f16.
    pub half: bool,
}

/// What TensorRT builds engines for, and where it keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engines {
    pub folder: Option<PathBuf>,
    /// Rows of a batch and tokens of a row, at most.
    pub max_rows: usize,
    pub max_tokens: usize,
}

/// How batches are cut and how many run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Tokens of a batch, padding included, at most (one longer row may exceed it).
    pub token_budget: usize,
    /// Rows of a batch, at most.
    pub max_rows: usize,
    /// Sessions that run at once.
    pub sessions: usize,
    /// Threads that prepare batches and wait for them.
    pub workers: usize,
    /// Threads that share one batch where nothing else runs.
    pub wide_threads: usize,
    /// Batches that run on sessions with mapped weights; after them come sessions with repacked ones.
    pub mapped_runs: usize,
}

impl Provider {
    /// As `doctor` and `stats` name it.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => "CPU".into(),
            Self::Cuda(gpu) => format!("CUDA, device {}{}", gpu.id, half(gpu)),
            Self::TensorRt(gpu, _) => format!("TensorRT, device {}{}", gpu.id, half(gpu)),
        }
    }

    /// For a network of ours.
    pub fn shape(&self, threads: usize) -> Shape {
        match self {
            // Larger batches are slower: what flows between the operators no longer fits the processor's cache.
            Self::Cpu => Shape {
                token_budget: 512,
                max_rows: usize::MAX,
                sessions: threads,
                workers: threads,
                wide_threads: threads.min(MAX_WIDE_THREADS),
                mapped_runs: MAPPED_RUNS,
            },
            // One session keeps the weights once on the device; while it runs, the next batch is padded.
            Self::Cuda(_) => Shape {
                token_budget: 32_768,
                max_rows: usize::MAX,
                sessions: 1,
                workers: 2,
                wide_threads: 1,
                mapped_runs: usize::MAX,
            },
            Self::TensorRt(_, engines) => Shape {
                token_budget: 32_768,
                max_rows: engines.max_rows,
                sessions: 1,
                workers: 2,
                wide_threads: 1,
                mapped_runs: usize::MAX,
            },
        }
    }
}

impl Shape {
    /// For a graph that is not ours, whose sessions share nothing: one of them, with all threads.
    pub fn for_own_graph(self, threads: usize) -> Self {
        Self {
            sessions: 1,
            workers: self.workers.min(2),
            wide_threads: threads,
            mapped_runs: usize::MAX,
            ..self
        }
    }
}

fn half(gpu: &Gpu) -> &'static str {
    if gpu.half { ", f16" } else { "" }
}

/// Rows of a batch for TensorRT, whose engines are built for a largest shape.
const TENSORRT_ROWS: usize = 256;

/// Opens what is wanted on the device that is asked for, or on the first that works; and says why that is no better one.
///
/// # Errors
/// [`Error::Device`] for a device that was asked for by name and cannot be had, saying what is missing; what `open` gives
/// for the processor.
pub(super) fn choose<T>(
    wanted: &Wanted,
    runtime: &Runtime,
    open: impl Fn(Provider) -> Result<T>,
) -> Result<(T, Option<String>)> {
    let on_gpu = |device| {
        available(device, runtime)?;
        let provider = gpu_provider(device, wanted);
        open(provider).map_err(|error| refused(device, &error))
    };
    match wanted.device {
        Device::Cpu => Ok((open(Provider::Cpu)?, None)),
        Device::Cuda | Device::TensorRt => Ok((on_gpu(wanted.device)?, None)),
        // TensorRT builds its engine for minutes: only where it is asked for.
        Device::Auto => match on_gpu(Device::Cuda) {
            Ok(opened) => Ok((opened, None)),
            Err(error) => {
                // A build without GPU support was not made for one: nothing to tell.
                let note = cfg!(feature = "cuda").then(|| error.to_string());
                Ok((open(Provider::Cpu)?, note))
            }
        },
    }
}

fn gpu_provider(device: Device, wanted: &Wanted) -> Provider {
    let gpu = Gpu {
        id: wanted.id,
        memory_bytes: wanted.memory_bytes,
        half: wanted.half,
    };
    if device != Device::TensorRt {
        return Provider::Cuda(gpu);
    }
    let engines = Engines {
        folder: home::home().map(|home| home.join("cache").join("tensorrt")),
        max_rows: TENSORRT_ROWS,
        max_tokens: wanted.max_tokens,
    };
    Provider::TensorRt(gpu, engines)
}

/// Whether this build and the library know the device; not whether there is one.
fn available(device: Device, runtime: &Runtime) -> Result<()> {
    let (feature, built) = match device {
        Device::TensorRt => ("tensorrt", cfg!(feature = "tensorrt")),
        _ => ("cuda", cfg!(feature = "cuda")),
    };
    let fail = |what| {
        Err(Error::Device {
            device: device.to_string(),
            what,
        })
    };
    if !built {
        return fail(format!(
            "this build has no support for it; build with `--features {feature}`"
        ));
    }
    let in_library = runtime.providers();
    let known = in_library
        .iter()
        .any(|name| name.eq_ignore_ascii_case(&device.to_string()));
    if !known {
        let library = runtime.library();
        return fail(format!(
            "the ONNX Runtime library {} ({}) was built without it, and has {}; name one that has it, such as that of \
             the PyPI wheel onnxruntime-gpu, with --runtime FILE or {}",
            library.path.display(),
            library.version,
            in_library.join(", "),
            super::runtime::PATH_VARIABLE
        ));
    }
    Ok(())
}

/// What a provider's refusal means to the user.
fn refused(device: Device, error: &Error) -> Error {
    let needs = match device {
        Device::TensorRt => "TensorRT 10, CUDA 13 and cuDNN 9",
        _ => "CUDA 13 and cuDNN 9",
    };
    Error::Device {
        device: device.to_string(),
        what: format!(
            "ONNX Runtime cannot use it: {error}. It needs an NVIDIA driver and {needs} where the system's loader finds \
             them (LD_LIBRARY_PATH)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices_are_read_as_they_are_written() {
        for device in Device::ALL {
            assert_eq!(device.to_string().parse::<Device>().expect("known"), device);
        }
        let words = "gpu".parse::<Device>().expect_err("unknown").to_string();
        assert!(
            words.contains("\"gpu\"") && words.contains("tensorrt"),
            "{words}"
        );
    }

    #[test]
    fn a_gpu_gets_large_batches_and_one_session() {
        let gpu = Gpu {
            id: 1,
            memory_bytes: None,
            half: true,
        };
        let shape = Provider::Cuda(gpu.clone()).shape(8);
        assert!(shape.token_budget > 16 * Provider::Cpu.shape(8).token_budget);
        assert_eq!((shape.sessions, shape.workers), (1, 2));
        assert_eq!(Provider::Cuda(gpu).name(), "CUDA, device 1, f16");
        assert_eq!(Provider::Cpu.shape(64).wide_threads, MAX_WIDE_THREADS);
    }
}
