//! For tests: a disk that fails, fills up, and forgets what was not synced.
//!
//! It works on real files. Beside them it remembers what a power cut would leave: each file as it was when it was last
//! synced, and each folder's names as they were when it was last synced. [`Fault::PowerCut`] makes folders of that:
//! whatever changed since is there as it was, as it is, or torn, each file and each name for itself: a file system may do no
//! worse. In the first of these folders it is the same for all: as it was, or as it is, or cut, by the seed; in the others
//! chance decides.
//!
//! When an fsync fails, what it was to write stays in the system's memory, where it is read from, but is not written by a
//! later fsync either, unless the same blocks are written to again: so Linux has it.
//!
//! sled writes its own files, of which ours is only the fsync: its log is what was synced, or that and all that came after,
//! or as much of what came after as fits the length that was synced, or some blocks of what came after and not others. The
//! snapshots of its log, which it syncs itself, are as they are, and so are their names (`kv.rs` tells of the moment in
//! which that is not sure).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dir::{Dir, Disk, SystemDir, WriteFile, folder_of};
use crate::random::Random;
use crate::scratch::ScratchFile;

/// What the system writes of a file at once.
const BLOCK: usize = 4096;

/// What happens at an operation.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It fails, a write after half of its bytes. Those after it work.
    Once(ErrorKind),
    /// It and all after it fail.
    Lasting(ErrorKind),
    /// It and all after it write only half of what they are given, and say so.
    ShortWrites,
    /// The power is cut before it; what may be left of the folder `of` is put into each of `images`.
    PowerCut {
        of: PathBuf,
        images: Vec<PathBuf>,
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
    /// The process is dead: all fails, and nothing is counted.
    is_killed: bool,
    /// Files and folders by the name that they have now.
    ids: HashMap<PathBuf, u64>,
    next_id: u64,
    synced_files: HashMap<u64, Vec<u8>>,
    synced_names: HashMap<PathBuf, BTreeMap<OsString, u64>>,
    /// Blocks that a failed fsync did not write, as they were to be written.
    unwritten: HashMap<u64, BTreeMap<usize, Vec<u8>>>,
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

    /// Nothing fails from now on. Starts counting operations at 0.
    pub fn mend(&self) {
        let mut state = self.state();
        state.trace.clear();
        state.fault = None;
    }

    /// Lets the process die, as far as its files can tell: whatever it does until [`FaultyDir::revive`] fails.
    pub fn kill(&self) {
        self.state().is_killed = true;
    }

    /// The next process comes.
    pub fn revive(&self) {
        self.state().is_killed = false;
    }

    /// Cuts the power now, as [`Fault::PowerCut`] does.
    pub fn cut_power(&self, of: &Path, images: &[PathBuf], seed: u64) {
        self.state().cut_power(of, images, seed);
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

    /// What a power cut could take or change now, a line each: files whose bytes are not as they were synced, and names that
    /// are not. Files that were removed are not among them, nor those that sled syncs itself.
    pub fn unsynced(&self, folder: &Path) -> Vec<String> {
        let mut state = self.state();
        let mut found = Vec::new();
        let (names, then) = (state.names(folder), state.synced_names.get(folder).cloned());
        for (name, id) in names {
            let path = folder.join(&name);
            if is_sleds_own(&path) {
                continue;
            }
            if then.as_ref().and_then(|then| then.get(&name)) != Some(&id) {
                found.push(line("name", &path));
            }
            if path.is_dir() {
                drop(state);
                found.extend(self.unsynced(&path));
                state = self.state();
            } else if state.synced_files.get(&id) != fs::read(&path).ok().as_ref() {
                found.push(line("bytes", &path));
            }
        }
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, verb: &str, path: &Path) -> io::Result<()> {
        self.state().step(verb, path)
    }

    /// Writes as much as the disk takes.
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<usize> {
        let half = bytes.len().div_ceil(2);
        let stepped = self.step("write", path);
        let short = matches!(&self.state().fault, Some((_, Fault::ShortWrites)));
        match stepped {
            Err(error) => {
                // A process that is dead writes nothing.
                if !self.state().is_killed {
                    file.write_all(&bytes[..half])?;
                }
                Err(error)
            }
            Ok(()) if short => file.write_all(&bytes[..half]).map(|()| half),
            Ok(()) => file.write_all(bytes).map(|()| bytes.len()),
        }
    }
}

impl State {
    fn step(&mut self, verb: &str, path: &Path) -> io::Result<()> {
        if self.is_killed {
            return Err(io::Error::other("the process was killed"));
        }
        let now = self.trace.len();
        self.trace.push(line(verb, path));
        let failed = match self.fault.clone() {
            Some((at, Fault::Once(kind))) if at == now => kind.into(),
            Some((at, Fault::Lasting(kind))) if at <= now => kind.into(),
            Some((at, Fault::PowerCut { of, images, seed })) if at <= now => {
                if at == now {
                    self.cut_power(&of, &images, seed);
                }
                return Err(io::Error::other("the power is off"));
            }
            _ => return Ok(()),
        };
        if verb == "sync" && path.is_file() {
            self.leave_unwritten(path)?;
        }
        Err(failed)
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

    /// An fsync of this file failed.
    fn leave_unwritten(&mut self, path: &Path) -> io::Result<()> {
        let (id, bytes) = (self.id(path), fs::read(path)?);
        let on_disk = self.synced_files.get(&id).cloned().unwrap_or_default();
        let unwritten = self.unwritten.entry(id).or_default();
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            if old_block(&on_disk, at) != block {
                unwritten.insert(at, block.to_vec());
            }
        }
        Ok(())
    }

    /// What an fsync, or time, makes of a file's bytes on disk: all but the blocks that one before failed to write.
    fn reaches_disk(&self, id: u64, mut bytes: Vec<u8>) -> Vec<u8> {
        let on_disk = self.synced_files.get(&id);
        for (&at, unwritten) in self.unwritten.get(&id).into_iter().flatten() {
            let start = (at * BLOCK).min(bytes.len());
            let end = (start + BLOCK).min(bytes.len());
            // Written again since if it is another.
            if bytes[start..end] == unwritten[..] {
                let mut old = on_disk.map_or(&[][..], |d| old_block(d, at)).to_vec();
                old.resize(end - start, 0);
                bytes[start..end].copy_from_slice(&old);
            }
        }
        bytes
    }

    fn cut_power(&mut self, of: &Path, images: &[PathBuf], seed: u64) {
        let name = of.file_name().expect("a database has a name");
        let is_known = self.synced_names.get(folder_of(of));
        let is_known = is_known.is_some_and(|names| names.contains_key(name));
        for (nth, image) in images.iter().enumerate() {
            let mut chance = match nth {
                0 => Chance::Always((seed % 3) as usize),
                _ => Chance::Any(Random(seed + nth as u64)),
            };
            if is_known || chance.below(2) == 1 {
                self.forget(of, image, &mut chance);
            }
        }
    }

    /// Puts into `image` what is left of a folder.
    fn forget(&mut self, folder: &Path, image: &Path, chance: &mut Chance) {
        fs::create_dir_all(image).expect("a folder");
        let now = self.names(folder);
        let then = self.synced_names.get(folder).cloned().unwrap_or_default();
        let all: BTreeSet<&OsString> = now.keys().chain(then.keys()).collect();
        for name in all {
            let (old, new) = (then.get(name), now.get(name));
            let path = folder.join(name);
            let chosen = if is_sleds_own(&path) || chance.below(2) == 1 {
                new
            } else {
                old
            };
            let Some(id) = chosen else { continue };
            // A folder may have another name by now, or be gone.
            let moved = self.ids.iter().find(|(_, other)| *other == id);
            let inside = moved.map_or(path.clone(), |(now, _)| now.clone());
            if inside.is_dir() || self.synced_names.contains_key(&inside) {
                self.forget(&inside, &image.join(name), chance);
                continue;
            }
            let current = new
                .filter(|new| *new == id)
                .and_then(|_| fs::read(&path).ok());
            let left = self.left_of(&path, *id, current, chance);
            fs::write(image.join(name), left).expect("writes");
        }
    }

    /// What is left of a file. `current` is `None` where it has this name no more.
    fn left_of(
        &self,
        path: &Path,
        id: u64,
        current: Option<Vec<u8>>,
        chance: &mut Chance,
    ) -> Vec<u8> {
        let synced = self.synced_files.get(&id).cloned().unwrap_or_default();
        let Some(current) = current else {
            return synced;
        };
        if is_sleds_own(path) {
            return current;
        }
        let mut current = self.reaches_disk(id, current);
        match chance.below(4) {
            _ if current == synced => synced,
            0 => synced,
            1 => current,
            2 if path.ends_with("meta/db") => {
                current.truncate(synced.len());
                current
            }
            3 if path.ends_with("meta/db") => {
                for (at, block) in current.chunks_mut(BLOCK).enumerate() {
                    let old = old_block(&synced, at);
                    if chance.below(2) == 0 {
                        block.fill(0);
                        let known = old.len().min(block.len());
                        block[..known].copy_from_slice(&old[..known]);
                    }
                }
                current
            }
            _ => {
                current.truncate(chance.below(current.len() + 1));
                let block = chance.below(current.len() + 1);
                let end = current.len().min(block + 512);
                current[block..end].fill(0);
                current
            }
        }
    }
}

/// Which of several a power cut leaves.
enum Chance {
    /// The one at this place, or the last.
    Always(usize),
    Any(Random),
}

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        match self {
            Self::Always(place) => (*place).min(limit - 1),
            Self::Any(random) => random.below(limit),
        }
    }
}

fn old_block(bytes: &[u8], at: usize) -> &[u8] {
    let start = (at * BLOCK).min(bytes.len());
    &bytes[start..(start + BLOCK).min(bytes.len())]
}

/// Snapshots of sled's log, which it syncs itself, and its folder for what never comes.
fn is_sleds_own(path: &Path) -> bool {
    let folder = folder_of(path).file_name().unwrap_or_default();
    let of_sled = folder.to_string_lossy().starts_with("meta");
    of_sled && !path.ends_with("db") && !path.ends_with("conf")
}

/// A line of the trace.
fn line(verb: &str, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let made_up = name.len() > 26 && name.as_bytes()[26] == b'.';
    let name = match name.find(".del") {
        Some(at) if made_up => format!("*{}", &name[at..]),
        _ if made_up => format!("*{}", &name[26..]),
        _ => name.into_owned(),
    };
    match folder.to_string_lossy() {
        folder if folder == "segments" || folder == "meta" => format!("{verb} {folder}/{name}"),
        _ => format!("{verb} {name}"),
    }
}

/// A file, with or without a name. Counts what reaches the disk, not what is handed to a buffer.
struct FaultyFile {
    file: File,
    path: PathBuf,
    dir: FaultyDir,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.dir.write(&mut self.file, &self.path, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for FaultyFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.dir.step("read", &self.path)?;
        self.file.read(bytes)
    }
}

impl Seek for FaultyFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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
        let bytes = state.reaches_disk(id, bytes);
        state.synced_files.insert(id, bytes);
        Ok(())
    }

    fn rewrite(&self, path: &Path) -> io::Result<()> {
        self.step("rewrite", path)?;
        SystemDir.rewrite(path)?;
        let mut state = self.state();
        let id = state.id(path);
        state.unwritten.remove(&id);
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.step("open", path)?;
        SystemDir.open(path)
    }

    fn overwrite(&self, file: &mut File, text: &str) -> io::Result<()> {
        let lock = Path::new("LOCK");
        if let Err(error) = self.step("overwrite", lock) {
            if !self.state().is_killed {
                file.rewind()?;
                file.write_all(&text.as_bytes()[..text.len() / 2])?;
            }
            return Err(error);
        }
        SystemDir.overwrite(file, text)
    }

    fn scratch(&self, folder: &Path) -> io::Result<Box<dyn ScratchFile>> {
        let path = folder.join("nameless");
        self.step("create", &path)?;
        let file = tempfile::tempfile_in(folder)?;
        let dir = self.clone();
        Ok(Box::new(FaultyFile { file, path, dir }))
    }
}
