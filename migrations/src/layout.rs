//! Where a generation lies, and what is left over from others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::files::Files;
use crate::{Error, Result};

pub(crate) const STAMP: &str = "FORMAT";
pub(crate) const STAMP_TEMPORARY: &str = "FORMAT.tmp";

/// What a generation has in its folder, which is the database's own for the first. Nothing else in the database's folder is
/// ever removed, but other generations' folders.
const GENERATION: [&str; 8] = [
    "MANIFEST",
    "meta",
    "meta.copy",
    "meta.new",
    "meta.next",
    "meta.old",
    "segments",
    "models",
];

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
    let mut found = entries(database)?;
    found.retain(|path| {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return false;
        };
        match generation_of(name) {
            Some(generation) => generation != current,
            None => name == STAMP_TEMPORARY || (GENERATION.contains(&name) && current > 1),
        }
    });
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

/// Removes a file, or a folder with everything in it.
pub(crate) fn remove(files: &dyn Files, path: &Path) -> Result<()> {
    for entry in entries(path)? {
        remove(files, &entry)?;
    }
    files.remove(path).map_err(Error::io("remove", path))
}

/// Makes everything in a folder durable, the folder included.
pub(crate) fn sync_all(files: &dyn Files, path: &Path) -> Result<()> {
    for entry in entries(path)? {
        sync_all(files, &entry)?;
    }
    // What a link leads to is not part of the generation.
    if path.is_symlink() {
        return Ok(());
    }
    files.sync(path).map_err(Error::io("sync", path))
}

/// Bytes of everything that a generation has in its folder.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    let of = |name: &&str| bytes_below(&folder.join(name));
    GENERATION.iter().map(of).sum()
}

fn bytes_below(path: &Path) -> Result<u64> {
    let below: u64 = entries(path)?
        .iter()
        .map(|entry| bytes_below(entry))
        .sum::<Result<_>>()?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(below + metadata.len()),
        Ok(_) => Ok(below),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(Error::io("read", path)(e)),
    }
}

/// What lies in a folder, sorted; nothing for a file, a link, or what is not there.
fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(Vec::new()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", path)(e)),
    }
    let failed = Error::io("list", path);
    let entries = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let mut entries = entries.map_err(failed)?;
    entries.sort();
    Ok(entries)
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
