//! ONNX Runtime: the one folder that names `ort`.
//!
//! | file | |
//! |---|---|
//! | `training.rs` | graphs whose weights change |

#[cfg(feature = "tune")]
mod training;
#[cfg(feature = "tune")]
pub(super) use training::{Given, Kept};

use std::env;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
#[cfg(any(feature = "cuda", feature = "tensorrt"))]
use ort::ep;
use ort::ep::{ExecutionProvider, ExecutionProviderDispatch};
use ort::session::SessionInputValue;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};
use ort::value::{DynValue, Tensor, TensorElementType, TensorRef};

use super::batch::Padded;
use super::device::{Engines, Gpu, Provider};
use super::export::{IDS, MASK, POOLING, VECTORS};
use super::model_file::ModelFile;
use super::own_graph::Interface;
use super::runtime::{self, Library};
use crate::error::{Error, Result};

/// Any value that the caller's environment gives it is left as it is.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// The process's ONNX Runtime. It allows one environment, for good, so the first library that starts stays.
static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Keeps ONNX Runtime's telemetry (1.32 has it, on Linux too) from starting. It writes an identifier of the device and a
/// store of events into the home folder, and by its makers' account sends one that tells of the process. Its API comes too
/// late for that: it asks for the environment, whose creation does all this.
fn silence_telemetry() {
    if env::var_os(NO_TELEMETRY).is_some() {
        return;
    }
    // SAFETY: Rust's own reading and writing of the environment is locked against this. What reads it without that lock is
    // C code on other threads, by `getenv`: this crate starts none before ONNX Runtime, glibc has let that be safe since
    // 2.41, and before, the first change of a process leaves the old table where it was. A program that changes its
    // environment by C code and reads it at this moment sets the variable itself, as the crate's documentation says; then
    // nothing is changed here.
    unsafe { env::set_var(NO_TELEMETRY, "1") };
}

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
        silence_telemetry();
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

/// Weights on the heap that sessions hold in common, by their names in the graph.
#[derive(Clone, Default)]
pub(super) struct Values(Vec<(String, Arc<DynValue>)>);

impl Values {
    /// Adds an initializer of the graph by its name.
    pub fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Result<()> {
        let tensor = Tensor::from_array((shape.to_vec(), values)).map_err(failed)?;
        self.0.push((name.to_owned(), Arc::new(tensor.into_dyn())));
        Ok(())
    }

    /// Adds what others hold; nothing is copied.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }
}

/// Weights repacked for the processor, which sessions hold in common.
pub(super) struct Packed(PrepackedWeights);

impl Packed {
    pub fn new(runtime: &Runtime) -> Self {
        // `PrepackedWeights::new` calls into the library; holding a `Runtime` proves that it runs.
        let _ = runtime;
        Self(PrepackedWeights::new())
    }
}

/// How a session runs.
pub(super) struct Place<'a> {
    pub provider: &'a Provider,
    /// Threads that share one batch.
    pub threads: usize,
    /// Weights that are not taken from the file.
    pub values: &'a Values,
    /// Without this, weights are used as they lie in memory: ready at once, but slower to run.
    pub packed: Option<&'a Packed>,
}

/// What a graph gives under one name.
pub(super) struct Output {
    pub name: String,
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

/// One graph ready to run.
pub(super) struct Session {
    session: ort::session::Session,
    /// `None` for a graph that we wrote.
    interface: Option<Interface>,
}

impl Session {
    /// Opens a graph of ours whose weights lie in files of `folder`, a whole path.
    pub fn open(runtime: &Runtime, graph: &[u8], folder: &str, place: &Place<'_>) -> Result<Self> {
        let open = || -> ort::Result<ort::session::Session> {
            // The graph is written as it is to run; a GPU has kernels for more operators at once.
            let level = match place.provider {
                Provider::Cpu => GraphOptimizationLevel::Disable,
                _ => GraphOptimizationLevel::All,
            };
            builder(runtime, folder, place, level)?
                .with_config_entry(
                    "session.model_external_initializers_file_folder_path",
                    folder,
                )?
                .commit_from_memory(graph)
        };
        let session = open().map_err(|e| Error::Model {
            path: folder.into(),
            what: format!("ONNX Runtime refuses it: {e}"),
        })?;
        Ok(Self {
            session,
            interface: None,
        })
    }

    /// Opens a graph that a model folder brings; ONNX Runtime optimises it first.
    pub fn open_own(runtime: &Runtime, file: &ModelFile, place: &Place<'_>) -> Result<Self> {
        let level = GraphOptimizationLevel::All;
        let open = || -> ort::Result<ort::session::Session> {
            builder(runtime, file.parent(), place, level)?.commit_from_file(file.path())
        };
        let session =
            open().map_err(|e| file.unusable(format_args!("ONNX Runtime refuses it: {e}")))?;
        let inputs = session.inputs().iter().map(|input| {
            let element = input.dtype().tensor_type();
            (
                input.name().to_owned(),
                element == Some(TensorElementType::Int32),
                element,
            )
        });
        let inputs = inputs.map(|(name, narrow, element)| {
            let known = matches!(
                element,
                Some(TensorElementType::Int32 | TensorElementType::Int64)
            );
            (name, known.then_some(narrow))
        });
        let outputs = session.outputs().iter().map(|output| {
            let shape = output.dtype().tensor_shape().map(|shape| shape.to_vec());
            (output.name().to_owned(), shape.unwrap_or_default())
        });
        let interface = Interface::of(inputs.collect(), outputs.collect())
            .map_err(|what| file.unusable(what))?;
        Ok(Self {
            session,
            interface: Some(interface),
        })
    }

    /// Components of what a graph of the folder's own gives, where it says so.
    pub fn width(&self) -> Option<usize> {
        self.interface.as_ref()?.width
    }

    /// Runs a batch; appends its pooled vectors, `[rows, components]`, to `out`.
    pub fn run(&mut self, batch: &Padded, out: &mut Vec<f32>) -> Result<()> {
        let shape = [batch.rows, batch.width];
        let Some(interface) = &self.interface else {
            let ids = TensorRef::from_array_view((shape, &batch.ids[..])).map_err(failed)?;
            let mask = TensorRef::from_array_view((shape, &batch.mask[..])).map_err(failed)?;
            let pooling =
                TensorRef::from_array_view((shape, &batch.pooling[..])).map_err(failed)?;
            let inputs = ort::inputs![IDS => ids, MASK => mask, POOLING => pooling];
            let outputs = self.session.run(inputs).map_err(failed)?;
            let (_, vectors) = outputs[VECTORS]
                .try_extract_tensor::<f32>()
                .map_err(failed)?;
            out.extend_from_slice(vectors);
            return Ok(());
        };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        for input in &interface.inputs {
            let numbers = input.numbers(batch);
            let value = match input.narrow {
                true => {
                    let numbers: Vec<i32> = numbers.iter().map(|&n| n as i32).collect();
                    Tensor::from_array((shape, numbers))
                        .map_err(failed)?
                        .into_dyn()
                }
                false => Tensor::from_array((shape, numbers))
                    .map_err(failed)?
                    .into_dyn(),
            };
            inputs.push((&input.name, value.into()));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let (shape, numbers) = outputs[interface.output.as_str()]
            .try_extract_tensor::<f32>()
            .map_err(failed)?;
        interface.pool(shape, numbers, batch, out)
    }

    /// Runs one text through a graph that tells what happens inside; its outputs.
    pub fn inspect(&mut self, ids: &[i64]) -> Result<Vec<Output>> {
        let shape = [1, ids.len()];
        let mask = vec![1.0_f32; ids.len()];
        let ids = TensorRef::from_array_view((shape, ids)).map_err(failed)?;
        let mask = TensorRef::from_array_view((shape, &mask[..])).map_err(failed)?;
        let outputs = self
            .session
            .run(ort::inputs![IDS => ids, MASK => mask])
            .map_err(failed)?;
        let mut told = Vec::new();
        for (name, value) in outputs.iter() {
            let (shape, numbers) = value.try_extract_tensor::<f32>().map_err(failed)?;
            let shape = shape.iter().map(|&n| usize::try_from(n).unwrap_or(0));
            told.push(Output {
                name: name.to_owned(),
                shape: shape.collect(),
                numbers: numbers.to_vec(),
            });
        }
        Ok(told)
    }
}

/// What all sessions are opened with.
fn builder(
    runtime: &Runtime,
    folder: &str,
    place: &Place<'_>,
    level: GraphOptimizationLevel,
) -> ort::Result<SessionBuilder> {
    let mut builder = SessionBuilder::new(&runtime.environment)?
        .with_optimization_level(level)?
        .with_intra_threads(place.threads)?
        .with_inter_threads(1)?
        // Waiting for the next product takes the processor; after the last one nobody waits.
        .with_config_entry("session.force_spinning_stop", "1")?
        // Shapes change with every batch; a pattern a shape would only take memory.
        .with_memory_pattern(false)?
        .with_prepacking(place.packed.is_some())?;
    if let Some(packed) = place.packed {
        builder = builder.with_prepacked_weights(&packed.0)?;
    }
    for (name, value) in &place.values.0 {
        builder = builder.with_initializer(name, Arc::clone(value))?;
    }
    // The processor's own is always there; registering it would switch its arena off.
    if let Some(provider) = registration(place.provider, folder) {
        builder = builder.with_execution_providers([provider])?;
    }
    Ok(builder)
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
    let shapes = |rows: usize, tokens: usize| {
        format!("{IDS}:{rows}x{tokens},{MASK}:{rows}x{tokens},{POOLING}:{rows}x{tokens}")
    };
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

fn failed(error: ort::Error) -> Error {
    Error::Encode {
        what: error.to_string(),
    }
}
