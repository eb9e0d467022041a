//! Finds ONNX Runtime's library and checks it before anything runs in it.
//!
//! Places, in order: the path that the caller names; `ORT_DYLIB_PATH`; beside the executable; the data folder; the
//! system's library path. The first two are the user's word: if they fail, nothing else is tried.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::{CStr, c_char, c_void};
use std::mem;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::home;

/// Names the library instead of the places that are searched.
pub(crate) const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";
/// The oldest ONNX Runtime whose C interface has what we call.
const OLDEST_MINOR: u32 = 22;

/// A library that loads, is ONNX Runtime, and is new enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    pub path: PathBuf,
    /// "1.32.0"
    pub version: String,
}

/// Finds the library.
///
/// # Errors
/// [`Error::Runtime`] naming each place looked at, and why what was there cannot be used.
pub(crate) fn find(explicit: Option<&Path>) -> Result<Library> {
    if let Some(path) = explicit {
        return probe(path).map_err(|what| Error::Runtime { what });
    }
    if let Some(path) = variable() {
        let named = |what| Error::Runtime {
            what: format!("{PATH_VARIABLE} is set, and {what}"),
        };
        return probe(&path).map_err(named);
    }
    let mut reasons = Vec::new();
    for place in places() {
        match place.candidates() {
            candidates if candidates.is_empty() => reasons.push(format!("none in {place}")),
            candidates => {
                for path in candidates {
                    match probe(&path) {
                        Ok(library) => return Ok(library),
                        Err(why) => reasons.push(why),
                    }
                }
            }
        }
    }
    Err(Error::Runtime {
        what: reasons.join("; "),
    })
}

/// The library that `ORT_DYLIB_PATH` names.
pub(crate) fn variable() -> Option<PathBuf> {
    std::env::var_os(PATH_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

enum Place {
    /// A folder that may hold the library.
    Folder(PathBuf),
    /// A folder with one folder a version.
    Versions(PathBuf),
    /// Wherever the system's loader looks.
    System,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) | Self::Versions(path) => path.display().fmt(f),
            Self::System => f.write_str("the system's library path"),
        }
    }
}

fn places() -> Vec<Place> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf));
    let mut places: Vec<Place> = beside.map(Place::Folder).into_iter().collect();
    places.extend(home::runtimes().map(Place::Versions));
    places.push(Place::System);
    places
}

impl Place {
    fn candidates(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(folder) => libraries_in(folder),
            Self::Versions(folder) => {
                let mut versions = entries(folder);
                versions.sort_by_key(|path| std::cmp::Reverse(version_of(path)));
                versions
                    .iter()
                    .flat_map(|folder| libraries_in(folder))
                    .collect()
            }
            Self::System => vec![format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}").into()],
        }
    }
}

/// Files of the folder that are named as the library is, newest version first.
pub(crate) fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = entries(folder);
    found.retain(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(is_library_name)
    });
    found.sort_by_key(|path| std::cmp::Reverse(version_of(path)));
    found
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, `onnxruntime.dll`.
pub(crate) fn is_library_name(name: &str) -> bool {
    let Some(rest) = name
        .strip_prefix(DLL_PREFIX)
        .and_then(|rest| rest.strip_prefix("onnxruntime"))
    else {
        return false;
    };
    let extension = DLL_SUFFIX.trim_start_matches('.');
    let mut parts = rest.split('.').filter(|part| !part.is_empty());
    rest.starts_with('.')
        && rest.split('.').any(|part| part == extension)
        && parts.all(|part| part == extension || part.bytes().all(|b| b.is_ascii_digit()))
}

/// The numbers in a file or folder name, for comparing versions.
fn version_of(path: &Path) -> Vec<u64> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect()
}

/// `OrtApiBase` of `onnxruntime_c_api.h`: the one structure that never changes between versions.
#[repr(C)]
struct ApiBase {
    api: unsafe extern "system" fn(version: u32) -> *const c_void,
    version: unsafe extern "system" fn() -> *const c_char,
}

/// Loads the library and asks its version. The reason names the file.
pub(crate) fn probe(path: &Path) -> std::result::Result<Library, String> {
    let place = path.display();
    // SAFETY: loading a library runs its initialisers. The path is one that the user named or that set-up or the
    // system's loader stands for; a library that misbehaves when loaded would do so in any program.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|e| format!("{place} does not load ({})", cause(&e)))?;
    // SAFETY: `OrtGetApiBase` has had this signature since ONNX Runtime 1.0.
    let base =
        unsafe { library.get::<unsafe extern "system" fn() -> *const ApiBase>(b"OrtGetApiBase\0") };
    let base =
        base.map_err(|_| format!("{place} is not ONNX Runtime (it has no OrtGetApiBase)"))?;
    // SAFETY: it takes nothing and returns a pointer to static data, or null.
    let base = unsafe { base() };
    if base.is_null() {
        return Err(format!(
            "{place} gives no interface (OrtGetApiBase returned null)"
        ));
    }
    // SAFETY: not null, and static in the library, which `library` keeps loaded.
    let version = unsafe { ((*base).version)() };
    if version.is_null() {
        return Err(format!("{place} does not tell its version"));
    }
    // SAFETY: a NUL-terminated static string by the C interface's contract.
    let version = unsafe { CStr::from_ptr(version) }
        .to_string_lossy()
        .into_owned();
    let mut numbers = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    // SAFETY: as above; the call returns null for a version it does not know.
    let too_old =
        (major, minor) < (1, OLDEST_MINOR) || unsafe { ((*base).api)(OLDEST_MINOR) }.is_null();
    if too_old {
        return Err(format!(
            "{place} is version {version}, and 1.{OLDEST_MINOR} or newer is needed"
        ));
    }
    // Left open: closed, it would be linked a second time for `ort`, which takes milliseconds.
    mem::forget(library);
    Ok(Library {
        path: path.to_path_buf(),
        version,
    })
}

/// The loader's own words, which stand in the error's source.
fn cause(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_onnx_runtime_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = folder.path().join("libonnxruntime.so");
        std::fs::write(&text, "not a library").expect("written");
        for path in [
            &text,
            &folder.path().join("missing.so"),
            &folder.path().to_path_buf(),
        ] {
            let words = find(Some(path)).expect_err("no library").to_string();
            assert!(words.contains(&path.display().to_string()), "{words}");
            assert!(
                words.contains("does not load") && words.contains("vecdb setup"),
                "{words}"
            );
        }
    }

    /// Builds a library that says of itself what `code` says; `None` where there is no C compiler.
    #[cfg(target_os = "linux")]
    fn compiled(folder: &Path, code: &str) -> Option<PathBuf> {
        let (source, library) = (folder.join("fake.c"), folder.join("libfake.so"));
        std::fs::write(&source, code).expect("written");
        let status = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .status();
        status.ok()?.success().then_some(library)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_old_or_broken_library_is_an_error_and_never_a_panic() {
        let version = |text: &str| {
            format!(
                "#include <stdint.h>\nstatic const void* api(uint32_t v) {{ return v > 18 ? 0 : \"\"; }}\n\
                 static const char* version(void) {{ return {text}; }}\n\
                 struct base {{ const void* (*a)(uint32_t); const char* (*v)(void); }} base = {{ api, version }};\n\
                 const struct base* OrtGetApiBase(void) {{ return &base; }}\n"
            )
        };
        let cases = [
            (
                version("\"1.18.0\""),
                "is version 1.18.0, and 1.22 or newer is needed",
            ),
            (version("\"1.99.0\""), "is version 1.99.0, and 1.22"),
            (version("\"nonsense\""), "is version nonsense"),
            (version("0"), "does not tell its version"),
            (
                "void* OrtGetApiBase(void) { return 0; }".to_owned(),
                "gives no interface",
            ),
            ("int other;".to_owned(), "is not ONNX Runtime"),
        ];
        for (code, part) in cases {
            let folder = tempfile::tempdir().expect("a folder");
            let Some(library) = compiled(folder.path(), &code) else {
                return;
            };
            let words = probe(&library).expect_err("refused");
            assert!(
                words.contains(part) && words.contains("libfake.so"),
                "{words}"
            );
        }
    }

    #[test]
    fn library_names_of_every_system_are_known_and_others_are_not() {
        let name = |middle: &str| format!("{DLL_PREFIX}onnxruntime{middle}");
        assert!(is_library_name(&name(DLL_SUFFIX)));
        if cfg!(target_os = "linux") {
            assert!(is_library_name("libonnxruntime.so.1.32.0"));
            assert!(is_library_name("libonnxruntime.so.1"));
            for other in [
                "libonnxruntime_providers_shared.so",
                "libonnxruntime.so.txt",
                "libonnxruntime",
                "onnxruntime.dll",
            ] {
                assert!(!is_library_name(other), "{other}");
            }
        }
    }

    #[test]
    fn the_newest_version_comes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        for version in ["1.9.0", "1.32.0", "1.22.1"] {
            let inside = folder.path().join(version);
            std::fs::create_dir(&inside).expect("made");
            std::fs::write(
                inside.join(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")),
                "",
            )
            .expect("written");
        }
        let found = Place::Versions(folder.path().into()).candidates();
        let versions: Vec<_> = found
            .iter()
            .map(|path| version_of(path.parent().expect("a folder")))
            .collect();
        assert_eq!(versions, [vec![1, 32, 0], vec![1, 22, 1], vec![1, 9, 0]]);
    }
}
