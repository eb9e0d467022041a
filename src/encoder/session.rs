//! ONNX Runtime: the one file that names `ort`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
#[cfg(any(feature = "cuda", feature = "tensorrt"))]
use ort::ep;
use ort::ep::{ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, Tensor, TensorRef};

use super::device::{Engines, Gpu, Provider};
use super::export::{IDS, MASK};
use super::runtime::{self, Library};
use crate::error::{Error, Result};

/// The process's ONNX Runtime. It allows one environment, for good, so the first library that starts stays.
static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

/// ONNX Runtime, loaded and started. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Runtime {
    environment: Environment,
    library: Arc<Library>,
}

impl Runtime {
    /// Starts the library that [`runtime::find`] finds, or returns the one that runs already.
    pub fn start(explicit: Option<&Path>) -> Result<Self> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*started {
            return match explicit {
                Some(path) if !same_file(path, &runtime.library.path) => Err(Error::Runtime {
                    what: format!(
                        "{} was asked for, but this process runs {} already, and it can run only one",
                        path.display(),
                        runtime.library.path.display()
                    ),
                }),
                _ => Ok(runtime.clone()),
            };
        }
        let library = runtime::find(explicit)?;
        let environment = ort::init_from(&library.path).map_err(|e| Error::Runtime {
            what: e.to_string(),
        })?;
        let environment =
            environment
                .with_telemetry(false)
                .build()
                .map_err(|e| Error::Runtime {
                    what: e.to_string(),
                })?;
        let runtime = Self {
            environment,
            library: Arc::new(library),
        };
        *started = Some(runtime.clone());
        Ok(runtime)
    }

    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The execution providers that the library was built with, of those that vecdb knows.
    pub fn providers(&self) -> Vec<&'static str> {
        let known = [
            (Cpu::NAME, Cpu::is_available()),
            (Cuda::NAME, Cuda::is_available()),
            (TensorRt::NAME, TensorRt::is_available()),
        ];
        let found = known
            .into_iter()
            .filter(|(_, available)| matches!(available, Ok(true)));
        found
            .map(|(name, _)| name.trim_end_matches("ExecutionProvider"))
            .collect()
    }
}

/// Execution providers to ask the library about, whatever features this build has.
macro_rules! provider {
    ($($type:ident = $name:literal),*) => {$(
        struct $type;

        impl ExecutionProvider for $type {
            const NAME: &'static str = $name;

            fn register(&self, _: &mut SessionBuilder) -> ort::Result<()> {
                Ok(())
            }
        }
    )*};
}
provider!(
    Cpu = "CPUExecutionProvider",
    Cuda = "CUDAExecutionProvider",
    TensorRt = "TensorrtExecutionProvider"
);

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Weights that sessions hold in common: as they are, and repacked for the processor.
pub(super) struct SharedWeights {
    values: Vec<(String, Arc<DynValue>)>,
    packed: PrepackedWeights,
}

impl SharedWeights {
    pub fn new(runtime: &Runtime) -> Self {
        // `PrepackedWeights::new` calls into the library; holding a `Runtime` proves that it runs.
        let _ = runtime;
        Self {
            values: Vec::new(),
            packed: PrepackedWeights::new(),
        }
    }

    /// Adds an initializer of the graph by its name.
    pub fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<()> {
        let tensor = Tensor::from_array((shape.to_vec(), values)).map_err(failed)?;
        self.values
            .push((name.to_owned(), Arc::new(tensor.into_dyn())));
        Ok(())
    }
}

/// One graph ready to run.
pub(super) struct Session(ort::session::Session);

/// How a session runs.
pub(super) struct Place<'a> {
    pub provider: &'a Provider,
    /// Threads that share one batch.
    pub threads: usize,
    /// Without these, weights are mapped and used as they lie there: ready at once, but slower to run.
    pub shared: Option<&'a SharedWeights>,
}

impl Session {
    /// Opens a graph whose weights lie in files of `folder`, a whole path.
    pub fn open(runtime: &Runtime, graph: &[u8], folder: &str, place: &Place<'_>) -> Result<Self> {
        Self::try_open(runtime, graph, folder, place)
            .map(Self)
            .map_err(|e| Error::Model {
                path: folder.into(),
                what: format!("ONNX Runtime refuses it: {e}"),
            })
    }

    fn try_open(
        runtime: &Runtime,
        graph: &[u8],
        folder: &str,
        place: &Place<'_>,
    ) -> ort::Result<ort::session::Session> {
        let level = match place.provider {
            // The graph is written as it is to run.
            Provider::Cpu => GraphOptimizationLevel::Disable,
            // A GPU has kernels for more operators at once.
            _ => GraphOptimizationLevel::All,
        };
        let mut builder = SessionBuilder::new(&runtime.environment)?
            .with_optimization_level(level)?
            .with_intra_threads(place.threads)?
            .with_inter_threads(1)?
            // Waiting for the next product takes the processor; after the last one nobody waits.
            .with_config_entry("session.force_spinning_stop", "1")?
            // Shapes change with every batch; a pattern a shape would only take memory.
            .with_memory_pattern(false)?
            .with_config_entry(
                "session.model_external_initializers_file_folder_path",
                folder,
            )?
            .with_prepacking(place.shared.is_some())?;
        if let Some(shared) = place.shared {
            builder = builder.with_prepacked_weights(&shared.packed)?;
            for (name, value) in &shared.values {
                builder = builder.with_initializer(name, Arc::clone(value))?;
            }
        }
        // The processor's own is always there; registering it would switch its arena off.
        if let Some(provider) = registration(place.provider, folder) {
            builder = builder.with_execution_providers([provider])?;
        }
        builder.commit_from_memory(graph)
    }

    /// Runs a batch; appends its vectors, `[rows, dimension]`, to `out`.
    ///
    /// `ids` and `mask` have shape `[rows, width]`.
    pub fn run(
        &mut self,
        ids: &[i64],
        mask: &[f32],
        rows: usize,
        width: usize,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let ids = TensorRef::from_array_view(([rows, width], ids)).map_err(failed)?;
        let mask = TensorRef::from_array_view(([rows, width], mask)).map_err(failed)?;
        let outputs = self
            .0
            .run(ort::inputs![IDS => ids, MASK => mask])
            .map_err(failed)?;
        let (_, vectors) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        out.extend_from_slice(vectors);
        Ok(())
    }
}

fn failed(error: ort::Error) -> Error {
    Error::Encode {
        what: error.to_string(),
    }
}

/// What makes the session use the provider, or fail; none for the processor's own.
fn registration(provider: &Provider, folder: &str) -> Option<ExecutionProviderDispatch> {
    match provider {
        Provider::Cpu => None,
        Provider::Cuda(gpu) => cuda(gpu),
        Provider::TensorRt(gpu, engines) => tensor_rt(gpu, engines, folder),
    }
}

/// `device.rs` lets no provider through that this build lacks.
#[cfg(not(feature = "cuda"))]
fn cuda(_: &Gpu) -> Option<ExecutionProviderDispatch> {
    None
}

#[cfg(not(feature = "tensorrt"))]
fn tensor_rt(_: &Gpu, _: &Engines, _: &str) -> Option<ExecutionProviderDispatch> {
    None
}

#[cfg(feature = "cuda")]
fn cuda(gpu: &Gpu) -> Option<ExecutionProviderDispatch> {
    let cuda = ep::CUDA::default()
        .with_device_id(gpu.id.cast_signed())
        // Vectors are to equal the processor's: TF32 keeps ten bits of a product's factors.
        .with_tf32(false);
    let cuda = match gpu.memory_bytes {
        Some(bytes) => cuda.with_memory_limit(usize::try_from(bytes).unwrap_or(usize::MAX)),
        None => cuda,
    };
    Some(cuda.build().error_on_failure())
}

#[cfg(feature = "tensorrt")]
fn tensor_rt(gpu: &Gpu, engines: &Engines, folder: &str) -> Option<ExecutionProviderDispatch> {
    let Engines {
        max_rows,
        max_tokens,
        ..
    } = engines;
    let shapes =
        |rows: usize, tokens: usize| format!("{IDS}:{rows}x{tokens},{MASK}:{rows}x{tokens}");
    let mut provider = ep::TensorRT::default()
        .with_device_id(gpu.id.cast_signed())
        .with_fp16(gpu.half)
        .with_onnx_model_folder_path(folder)
        .with_profile_min_shapes(shapes(1, 1))
        .with_profile_opt_shapes(shapes(max_rows.div_ceil(2), max_tokens.div_ceil(2)))
        .with_profile_max_shapes(shapes(*max_rows, *max_tokens));
    if let Some(bytes) = gpu.memory_bytes {
        provider = provider.with_max_workspace_size(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    if let Some(folder) = &engines.folder {
        let folder = folder.display();
        provider = provider
            .with_engine_cache(true)
            .with_engine_cache_path(&folder)
            .with_timing_cache(true)
            .with_timing_cache_path(&folder);
    }
    Some(provider.build().error_on_failure())
}
