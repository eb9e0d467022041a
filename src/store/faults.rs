//! For tests: a disk that fails, fills up, and forgets what was not synced.
//!
//! It works on real files. Beside them it remembers what a power cut would leave: each file as it was when it was last
//! synced, and each folder's names as they were when it was last synced. [`Fault::PowerCut`] makes a folder of that: whatever
//! changed since is there as it was, as it is, or torn, by chance, each file and each name for itself. A file
//! system may do no worse than that.
//!
//! sled writes its own files, of which ours is only the fsync: its log is what was synced, or that and all that came after,
//! or as much of what came after as fits the length that was synced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::{Dir, Disk, SystemDir, WriteFile};
use crate::random::Random;

/// What happens at an operation.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It fails, a write after half of its bytes. Those after it work.
    Once(ErrorKind),
    /// It and all after it fail.
    Lasting(ErrorKind),
    /// The power is cut before it; what is left of the folder `of` is put into `image`.
    PowerCut {
        of: PathBuf,
        image: PathBuf,
        seed: u64,
    },
}

/// The disk. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct FaultyDir(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What was done, a line each.
    trace: Vec<String>,
    fault: Option<(usize, Fault)>,
    /// Files and folders by the name that they have now.
    ids: HashMap<PathBuf, u64>,
    next_id: u64,
    synced_files: HashMap<u64, Vec<u8>>,
    synced_names: HashMap<PathBuf, BTreeMap<OsString, u64>>,
}

impl FaultyDir {
    /// To open a database with.
    pub fn disk(&self) -> Disk {
        Disk(Arc::new(self.clone()))
    }

    /// Starts counting operations at 0; the fault comes at the given one.
    pub fn plan(&self, at: usize, fault: Fault) {
        let mut state = self.state();
        state.trace.clear();
        state.fault = Some((at, fault));
    }

    /// What was done since the plan was made (or this was called), a line each, such as `sync segments/*.seg.tmp`; names
    /// that are made up stand as `*`.
    pub fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.state().trace)
    }

    /// Operations since the plan was made.
    pub fn operations(&self) -> usize {
        self.state().trace.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, verb: &str, path: &Path) -> io::Result<()> {
        self.state().step(verb, path)
    }
}

impl State {
    fn step(&mut self, verb: &str, path: &Path) -> io::Result<()> {
        let now = self.trace.len();
        self.trace.push(line(verb, path));
        match self.fault.clone() {
            Some((at, Fault::Once(kind))) if at == now => Err(kind.into()),
            Some((at, Fault::Lasting(kind))) if at <= now => Err(kind.into()),
            Some((at, Fault::PowerCut { of, image, seed })) if at <= now => {
                if at == now {
                    self.cut_power(&of, &image, seed);
                }
                Err(io::Error::other("the power is off"))
            }
            _ => Ok(()),
        }
    }

    fn id(&mut self, path: &Path) -> u64 {
        let next = &mut self.next_id;
        let fresh = || {
            *next += 1;
            *next
        };
        *self.ids.entry(path.to_path_buf()).or_insert_with(fresh)
    }

    fn names(&mut self, folder: &Path) -> BTreeMap<OsString, u64> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| (entry.file_name(), self.id(&entry.path())))
            .collect()
    }

    fn cut_power(&mut self, of: &Path, image: &Path, seed: u64) {
        let mut random = Random(seed);
        let around = of.parent().expect("a database lies in a folder");
        let name = of.file_name().expect("a database has a name");
        let is_known = self.synced_names.get(around);
        if is_known.is_some_and(|names| names.contains_key(name)) || random.below(2) == 0 {
            self.forget(of, image, &mut random);
        }
    }

    /// Puts into `image` what is left of a folder.
    fn forget(&mut self, folder: &Path, image: &Path, random: &mut Random) {
        fs::create_dir_all(image).expect("a folder");
        let now = self.names(folder);
        let then = self.synced_names.get(folder).cloned().unwrap_or_default();
        let all: BTreeSet<&OsString> = now.keys().chain(then.keys()).collect();
        for name in all {
            let (old, new) = (then.get(name), now.get(name));
            let chosen = if random.below(2) == 0 { old } else { new };
            let Some(id) = chosen else { continue };
            let path = folder.join(name);
            // A folder may have another name by now, or be gone.
            let moved = self.ids.iter().find(|(_, other)| *other == id);
            let inside = moved.map_or(path.clone(), |(now, _)| now.clone());
            if inside.is_dir() || self.synced_names.contains_key(&inside) {
                self.forget(&inside, &image.join(name), random);
                continue;
            }
            let current = new
                .filter(|new| *new == id)
                .and_then(|_| fs::read(&path).ok());
            let left = self.left_of(&path, *id, current, random);
            fs::write(image.join(name), left).expect("writes");
        }
    }

    /// What is left of a file. `current` is `None` where it has this name no more.
    fn left_of(
        &self,
        path: &Path,
        id: u64,
        current: Option<Vec<u8>>,
        random: &mut Random,
    ) -> Vec<u8> {
        let synced = self.synced_files.get(&id).cloned().unwrap_or_default();
        let Some(mut current) = current else {
            return synced;
        };
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let of_sled = folder.to_string_lossy().starts_with("meta");
        let is_log = of_sled && path.ends_with("db");
        if of_sled && !is_log && !path.ends_with("conf") {
            // Snapshots of its log, which it syncs itself.
            return current;
        }
        match random.below(3) {
            _ if current == synced => synced,
            0 => synced,
            1 => current,
            _ if is_log => {
                current.truncate(synced.len());
                current
            }
            _ => {
                current.truncate(random.below(current.len() + 1));
                let block = random.below(current.len() + 1);
                let end = current.len().min(block + 512);
                current[block..end].fill(0);
                current
            }
        }
    }
}

/// A line of the trace.
fn line(verb: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let made_up = name.len() > 26 && name.as_bytes()[26] == b'.';
    let name = if made_up {
        format!("*{}", &name[26..])
    } else {
        name.into_owned()
    };
    match folder.to_string_lossy() {
        folder if folder == "segments" || folder == "meta" => format!("{verb} {folder}/{name}"),
        _ => format!("{verb} {name}"),
    }
}

/// Counts what reaches the disk, not what is handed to a buffer.
struct FaultyFile {
    file: File,
    path: PathBuf,
    dir: FaultyDir,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.dir.step("write", &self.path) {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.file.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Buffered(BufWriter<FaultyFile>);

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for Buffered {
    fn sync(&mut self) -> io::Result<()> {
        self.0.flush()?;
        let file = self.0.get_ref();
        file.dir.sync_file(&file.path)
    }
}

impl Dir for FaultyDir {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        self.step("create", path)?;
        let file = File::create(path)?;
        // Another file than what had the name before.
        self.state().ids.remove(path);
        Ok(Box::new(Buffered(BufWriter::with_capacity(
            1 << 16,
            FaultyFile {
                file,
                path: path.to_path_buf(),
                dir: self.clone(),
            },
        ))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename", to)?;
        SystemDir.rename(from, to)?;
        let mut state = self.state();
        state.id(from);
        // A folder takes what is in it along.
        let moved = |path: &Path| match path.strip_prefix(from) {
            Ok(inside) if inside.as_os_str().is_empty() => to.to_path_buf(),
            Ok(inside) => to.join(inside),
            Err(_) => path.to_path_buf(),
        };
        let ids = std::mem::take(&mut state.ids);
        let stays = |path: &Path| !path.starts_with(to);
        state.ids = ids
            .into_iter()
            .filter(|(path, _)| stays(path))
            .map(|(path, id)| (moved(&path), id))
            .collect();
        let names = std::mem::take(&mut state.synced_names);
        state.synced_names = names
            .into_iter()
            .map(|(folder, names)| (moved(&folder), names))
            .collect();
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("link", to)?;
        SystemDir.link(from, to)?;
        let mut state = self.state();
        let id = state.id(from);
        state.ids.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step("sync", folder)?;
        let mut state = self.state();
        let names = state.names(folder);
        state.synced_names.insert(folder.to_path_buf(), names);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path)?;
        SystemDir.remove(path)?;
        self.state().ids.remove(path);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step("remove", path)?;
        SystemDir.remove_folder(path)?;
        self.state().ids.retain(|known, _| !known.starts_with(path));
        Ok(())
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.step("create", path)?;
        SystemDir.create_folder(path)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.step("sync", path)?;
        let bytes = fs::read(path)?;
        let mut state = self.state();
        let id = state.id(path);
        state.synced_files.insert(id, bytes);
        Ok(())
    }

    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()> {
        self.step("overwrite", Path::new("LOCK"))?;
        SystemDir.overwrite(file, text)
    }
}
