//! Where a generation lies, and what is left over from others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

pub(crate) const STAMP: &str = "FORMAT";
pub(crate) const STAMP_TEMPORARY: &str = "FORMAT.tmp";

/// What the first generation has in the database's folder itself. Nothing else in that folder is ever removed.
const FIRST_GENERATION: [&str; 4] = ["MANIFEST", "meta", "segments", "models"];

/// The folder that holds a generation's data: the database's own for the first, `g<n>` in it for a later one.
pub fn data_folder(database: &Path, generation: u64) -> PathBuf {
    if generation <= 1 {
        database.to_path_buf()
    } else {
        database.join(format!("g{generation}"))
    }
}

/// What belongs to no generation but `current`'s: unfinished and outlived ones.
pub(crate) fn leftovers(database: &Path, current: u64) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(database).map_err(Error::io("list", database))? {
        let entry = entry.map_err(Error::io("list", database))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_first = FIRST_GENERATION.contains(&name);
        let is_leftover = match generation_of(name) {
            Some(generation) => generation != current,
            None => name == STAMP_TEMPORARY || (is_first && current > 1),
        };
        if is_leftover {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The generation, from 2 on, whose folder has this name.
fn generation_of(name: &str) -> Option<u64> {
    let generation = name
        .strip_prefix('g')?
        .parse()
        .ok()
        .filter(|&generation| generation > 1)?;
    // `g02` and `g+2` are not ours.
    (format!("g{generation}") == name).then_some(generation)
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    let metadata = fs::symlink_metadata(path).map_err(Error::io("read", path))?;
    let removed = if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(Error::io("remove", path))
}

/// Makes everything in a folder durable, the folder included.
pub(crate) fn sync_all(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let path = entry.map_err(Error::io("list", folder))?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(Error::io("sync", &path))?;
        }
    }
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // Elsewhere a folder can't be opened as a file, and renames are durable with the file.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("sync", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_generation_made_is_left_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path();
        for name in [
            "meta", "segments", "g2", "g3", "g10", "g02", "g1", "gx", "notes",
        ] {
            fs::create_dir(database.join(name)).expect("made");
        }
        for name in ["FORMAT", "FORMAT.tmp", "LOCK", "MANIFEST", "todo.txt"] {
            fs::write(database.join(name), "").expect("written");
        }
        let names = |current| -> Vec<String> {
            let found = leftovers(database, current).expect("listed");
            found
                .iter()
                .map(|path| {
                    path.file_name()
                        .expect("named")
                        .to_string_lossy()
                        .into_owned()
                })
                .collect()
        };
        assert_eq!(names(1), ["FORMAT.tmp", "g10", "g2", "g3"]);
        assert_eq!(
            names(3),
            ["FORMAT.tmp", "MANIFEST", "g10", "g2", "meta", "segments"]
        );
    }
}
