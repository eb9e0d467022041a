//! The folder of what is in progress, and what becomes of it.

use std::fs;
use std::path::{Path, PathBuf};

use super::data::Examples;
use crate::encoder::Encoder;
use crate::error::{Error, Result};

/// In it, what it is for.
const NAME_FILE: &str = "name";

/// The folder of what is in progress.
pub(super) struct Work(PathBuf);

impl Work {
    /// Beside the target, where there must be `room` bytes. What a call left that did not end stays if it had the same `name`:
    /// the same encoder, data and settings.
    ///
    /// # Errors
    /// [`Error::Tune`] if the disk has too little room, or something else has the folder's name; [`Error::Io`].
    pub fn open(target: &Path, name: &str, room: u64) -> Result<Self> {
        let mut folder = target.file_name().unwrap_or_default().to_owned();
        folder.push(".tuning");
        let folder = target.with_file_name(folder);
        let note = folder.join(NAME_FILE);
        if folder.exists() {
            match fs::read_to_string(&note) {
                Ok(other) if other == name => return Ok(Self(folder)),
                Ok(_) => fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?,
                // A call that was killed had not yet written what it is for.
                Err(_) if is_empty(&folder) => {}
                Err(_) => {
                    return Err(Error::Tune {
                        what: format!(
                            "{} is there already, and no unfinished tuning; name another folder for the model",
                            folder.display()
                        ),
                    });
                }
            }
        }
        check_room(target, room)?;
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        fs::write(&note, name).map_err(Error::io("write", &note))?;
        Ok(Self(folder))
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Stores the reports, with the model if it is accepted, and clears up.
    pub fn finish(
        self,
        reports: &[(&str, String)],
        target: &Path,
        accepted: Option<&Path>,
    ) -> Result<()> {
        let folder = self.path("result");
        // By a call that was killed just here.
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(Error::io("remove", &folder))?;
        }
        match accepted {
            Some(model) => fs::rename(model, &folder).map_err(Error::io("rename", model))?,
            None => fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?,
        }
        for (name, text) in reports {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        fs::rename(&folder, target).map_err(Error::io("rename", &folder))?;
        fs::remove_dir_all(&self.0).map_err(Error::io("remove", &self.0))
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// Refuses a folder that is there.
///
/// # Errors
/// [`Error::Tune`].
pub(super) fn check_new(target: &Path) -> Result<()> {
    match target.exists() {
        false => Ok(()),
        true => Err(Error::Tune {
            what: format!("{} is there already; name a new folder", target.display()),
        }),
    }
}

/// What a tuning takes: two indexes, the model twice (safetensors and ONNX), and the checkpoint with its successor.
pub(super) fn room(encoder: &Encoder, examples: &Examples) -> u64 {
    let text: usize = examples
        .documents
        .iter()
        .map(|document| document.text.len())
        .sum();
    // A window has some 800 bytes of text; a passage takes its vector, its codes, and the text compressed with its index.
    let passages = examples.documents.len() + text / 800;
    let index = passages * (8 * encoder.dimension() + 512) + text;
    let weights =
        fs::metadata(encoder.folder().join("model.safetensors")).map_or(0, |file| file.len());
    2 * index as u64 + 8 * weights
}

fn check_room(target: &Path, needed: u64) -> Result<()> {
    let existing = target.ancestors().skip(1).find(|folder| folder.exists());
    let existing = existing.unwrap_or(Path::new("."));
    match fs4::available_space(existing) {
        Ok(free) if free < needed => Err(Error::Tune {
            what: format!(
                "it needs up to {} MB beside the new model's folder, and {} has {} MB free",
                needed / 1_000_000,
                existing.display(),
                free / 1_000_000
            ),
        }),
        _ => Ok(()),
    }
}
