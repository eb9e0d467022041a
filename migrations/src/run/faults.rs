//! For tests: files that fail, a process that ends, and a disk that forgets what was not synced.
//!
//! It works on real files. Beside them it remembers each file as it was when it was last synced, and each folder's names as
//! they were when it was last synced: that much a power cut leaves at least.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::files::{Files, SystemFiles};

/// What happens at an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fault {
    /// It fails, a write after half of its bytes. Those after it work.
    Once,
    /// It and all after it fail: the process has ended.
    Lasting,
}

/// What is left after a power cut of that which was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unsynced {
    Lost,
    /// Each file and each name for itself, by chance from this seed.
    ByChance(u64),
}

#[derive(Default)]
pub(super) struct FaultyFiles(Mutex<State>);

#[derive(Default)]
struct State {
    fault: Option<(usize, Fault)>,
    operations: usize,
    /// Files and folders by the name that they have now.
    ids: HashMap<PathBuf, u64>,
    next_id: u64,
    synced_files: HashMap<u64, Vec<u8>>,
    synced_names: HashMap<u64, BTreeMap<OsString, u64>>,
}

impl FaultyFiles {
    /// Over a folder that is durable as it is.
    pub fn over(folder: &Path) -> Self {
        let files = Self::default();
        files.state().sync_all(folder);
        files
    }

    /// Starts counting operations at 0; the fault comes at the given one.
    pub fn plan(&self, at: usize, fault: Fault) {
        let mut state = self.state();
        state.operations = 0;
        state.fault = Some((at, fault));
    }

    /// Did the fault come?
    pub fn has_failed(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|(at, _)| state.operations > at)
    }

    /// Counts an operation; fails if the fault says so. Steps call it for what they write.
    pub fn operation(&self) -> io::Result<()> {
        let mut state = self.state();
        let now = state.operations;
        state.operations += 1;
        match state.fault {
            Some((at, Fault::Once)) if at == now => Err(io::ErrorKind::StorageFull.into()),
            Some((at, Fault::Lasting)) if at <= now => Err(io::Error::other("the process ended")),
            _ => Ok(()),
        }
    }

    /// Puts into `image` what a power cut leaves of a folder.
    pub fn cut_power(&self, folder: &Path, image: &Path, unsynced: Unsynced) {
        let mut state = self.state();
        let id = state.id(folder);
        let mut chance = Chance(unsynced);
        state.forget(id, Some(folder), image, &mut chance);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for FaultyFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        SystemFiles.create_folder(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let allowed = self.operation();
        let written = match allowed {
            Ok(()) => content,
            Err(_) => &content[..content.len() / 2],
        };
        SystemFiles.write(path, written)?;
        allowed
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.state().sync(path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation()?;
        SystemFiles.rename(from, to)?;
        let mut state = self.state();
        let id = state.id(from);
        state.ids.remove(from);
        state.ids.insert(to.to_path_buf(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        SystemFiles.remove(path)?;
        self.state().ids.remove(path);
        Ok(())
    }
}

impl State {
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

    fn sync(&mut self, path: &Path) {
        let id = self.id(path);
        if path.is_dir() {
            let names = self.names(path);
            self.synced_names.insert(id, names);
        } else {
            let content = fs::read(path).expect("a file that is there");
            self.synced_files.insert(id, content);
        }
    }

    fn sync_all(&mut self, path: &Path) {
        self.sync(path);
        for name in self.names(path).into_keys() {
            self.sync_all(&path.join(name));
        }
    }

    /// `path` is where the file or folder lies now, if it is still there.
    fn forget(&mut self, id: u64, path: Option<&Path>, image: &Path, chance: &mut Chance) {
        let names = self.synced_names.get(&id).cloned();
        if names.is_none() && path.is_none_or(|path| !path.is_dir()) {
            let then = self.synced_files.get(&id).cloned();
            // A file that is gone was not written since.
            let now = path.map_or_else(|| then.clone(), |path| fs::read(path).ok());
            let chosen = chance.choose(then, now).unwrap_or_default();
            fs::write(image, chosen).expect("a file");
            return;
        }
        fs::create_dir(image).expect("a folder");
        let then = names.unwrap_or_default();
        let now = path.map(|path| self.names(path)).unwrap_or_default();
        let all: BTreeSet<&OsString> = then.keys().chain(now.keys()).collect();
        for name in all {
            let chosen = chance.choose(then.get(name), now.get(name));
            if let Some(&id) = chosen {
                let place = path.map(|path| path.join(name));
                let place = place.filter(|_| now.get(name) == Some(&id));
                self.forget(id, place.as_deref(), &image.join(name), chance);
            }
        }
    }
}

struct Chance(Unsynced);

impl Chance {
    fn choose<T>(&mut self, then: T, now: T) -> T {
        let Unsynced::ByChance(seed) = &mut self.0 else {
            return then;
        };
        // Knuth's generator of MMIX; its upper bits are good enough for coins.
        *seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        if *seed >> 63 == 0 { then } else { now }
    }
}
