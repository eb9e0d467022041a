//! What was erased, kept as windows of its bytes; and the search for them in everything that is left.
//!
//! Text is searched twice: in the bytes of all files, and decompressed, as the segments store it. What a segment makes of a
//! vector, its codes and its place in the graph, has no bytes in common with it, and is not looked for: it lies in the same
//! file and was made anew with it.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Purged;
use super::windows::{OVERLAP, SHORTEST, Windows};
use crate::database::inner::Inner;
use crate::database::part::{Body, Part, Snapshot};
use crate::document::{EmbeddedDocument, Value};
use crate::error::{Error, Result};
use crate::segment::Stop;
use crate::store::{Layout, Store};

/// About so many windows are kept, 100 bytes each: where more is erased, of every so manyth document.
const MOST_WINDOWS: u64 = 1 << 18;
/// Beginning, middle and end of text and vector of a passage, and of its document's attributes.
const WINDOWS_OF_PASSAGE: u64 = 8;
/// Ids stand in segments one behind the other, and two short ones can make a third.
const SHORTEST_ID: usize = 16;
const CHUNK_BYTES: usize = 1 << 20;

/// What was erased.
pub(super) struct Erased(Windows);

impl Erased {
    /// Takes windows of what is dead in these snapshots and says so in `purged`; without those that live documents have too.
    pub fn gather(before: &[Arc<Snapshot>], purged: &mut Purged, stop: Stop<'_>) -> Result<Self> {
        let parts = || before.iter().flat_map(|snapshot| &snapshot.parts);
        purged.documents = parts().map(|part| u64::from(part.dead_documents)).sum();
        purged.passages = parts().map(|part| part.dead.len()).sum();
        let every = (purged.passages * WINDOWS_OF_PASSAGE)
            .div_ceil(MOST_WINDOWS)
            .max(1);
        let mut windows = Windows::new();
        let (mut nth, mut short) = (0, 0);
        for part in parts() {
            for document in documents(part, true) {
                go_on(stop)?;
                if nth % every == 0 {
                    let dead = part.embedded(document)?;
                    short += u64::from(!insert(&mut windows, &dead));
                }
                nth += 1;
            }
        }
        let all = windows.len();
        if all > 0 {
            for part in parts() {
                for document in documents(part, false) {
                    go_on(stop)?;
                    let live = part.embedded(document)?;
                    each_stretch(&live, |bytes| windows.remove(bytes));
                }
            }
        }
        purged.windows = windows.len() as u64;
        purged.shared_windows = (all - windows.len()) as u64;
        if short > 0 {
            purged.remarks.push(format!(
                "of {short} erased documents neither text nor vector could be looked for: they are shorter than {SHORTEST} \
                 bytes, or all alike"
            ));
        }
        if every > 1 {
            purged.remarks.push(format!(
                "one of {every} erased documents was looked for: these are too many to keep in memory"
            ));
        }
        Ok(Self(windows))
    }

    /// Searches all files, and all that segments store.
    pub fn look_for(&self, inner: &Inner, purged: &mut Purged, stop: Stop<'_>) -> Result<()> {
        let layout = inner.at_rest(|store| store.layout().clone(), stop)?;
        let (mut files, mut unknown) = (Vec::new(), Vec::new());
        // Files first: what is written from now on is in later snapshots too.
        list(layout.root(), &mut files)?;
        for state in inner.states() {
            for part in &state.snapshot().parts {
                let Body::Sealed { record, .. } = &part.body else {
                    continue;
                };
                let path = layout.segment(&record.name);
                for document in 0..part.documents() {
                    go_on(stop)?;
                    let stored = part.embedded(document)?;
                    purged.stored_documents += 1;
                    let mut found = false;
                    each_stretch(&stored, |bytes| found |= self.0.find(bytes).is_some());
                    if found {
                        purged.problems.push(format!(
                            "document {:?} in {} holds what was erased; if it was added meanwhile, purge again",
                            stored.id,
                            path.display()
                        ));
                    }
                }
            }
        }
        // A vocabulary has words that are in erased texts too.
        let models = inner.at_rest(|store| store.model_folders(), stop)?;
        for path in files {
            let Some(searched) = self.search(&path, stop)? else {
                continue;
            };
            purged.files += 1;
            purged.bytes += searched.bytes;
            let is_of_model = models.iter().any(|model| path.starts_with(model));
            if let Some(at) = searched.found.filter(|_| !is_of_model) {
                purged.problems.push(format!(
                    "{} holds erased bytes at {at}; if they were added meanwhile, purge again",
                    path.display()
                ));
            } else {
                unknown.push(path);
            }
        }
        for model in models {
            purged.remarks.push(format!(
                "{}: if this model was tuned on what was erased, its weights may tell something of it",
                model.display()
            ));
        }
        for path in inner.at_rest(|store| not_in_use(store, unknown), stop)? {
            purged.problems.push(format!(
                "{} is not in use and may hold erased documents in another form; remove it if you do not need it",
                path.display()
            ));
        }
        Ok(())
    }

    /// Searches a file; `None` if it is gone.
    fn search(&self, path: &Path, stop: Stop<'_>) -> Result<Option<Searched>> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("open", path))?,
        };
        let mut searched = Searched::default();
        let (mut buffer, mut kept) = (vec![0; OVERLAP + CHUNK_BYTES], 0);
        loop {
            go_on(stop)?;
            let read = file
                .read(&mut buffer[kept..])
                .map_err(Error::io("read", path))?;
            if read == 0 {
                return Ok(Some(searched));
            }
            let filled = kept + read;
            if searched.found.is_none() {
                let found = self.0.find(&buffer[..filled]);
                searched.found = found.map(|at| searched.bytes - kept as u64 + at as u64);
            }
            searched.bytes += read as u64;
            kept = filled.min(OVERLAP);
            buffer.copy_within(filled - kept..filled, 0);
        }
    }
}

#[derive(Default)]
struct Searched {
    bytes: u64,
    /// Where the first window stands.
    found: Option<u64>,
}

impl Purged {
    /// Says how many of the files that are to be erased have names elsewhere, in a snapshot made of hard links.
    pub(super) fn remark_other_names(&mut self, layout: &Layout, before: &[Arc<Snapshot>]) {
        let parts = before.iter().flat_map(|snapshot| &snapshot.parts);
        let holding = parts
            .filter(|part| !part.dead.is_empty())
            .filter_map(Part::name);
        let linked = holding
            .filter(|name| has_other_names(&layout.segment(name)))
            .count();
        if linked > 0 {
            self.remarks.push(format!(
                "{linked} of the erased files have another name on this disk, as in a snapshot: what was erased here lives on \
                 there"
            ));
        }
    }
}

#[cfg(unix)]
fn has_other_names(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|file| file.nlink() > 1)
}

#[cfg(not(unix))]
fn has_other_names(_path: &Path) -> bool {
    false
}

fn go_on(stop: Stop<'_>) -> Result<()> {
    if stop() {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}

/// The documents of a part that are dead, or those that are not.
fn documents(part: &Part, dead: bool) -> impl Iterator<Item = u32> {
    (0..part.documents()).filter(move |&document| part.is_dead(document) == dead)
}

/// Takes windows of a document. `false` if it has none.
fn insert(windows: &mut Windows, document: &EmbeddedDocument) -> bool {
    let mut any = false;
    for passage in &document.passages {
        let text = document.text.get(passage.range.clone()).unwrap_or_default();
        any |= windows.insert(text.as_bytes());
    }
    each_stretch(document, |bytes| {
        any |= bytes.len() >= SHORTEST && windows.insert(bytes)
    });
    any
}

/// Id, text, title, source, texts of fields, and vectors.
fn each_stretch(document: &EmbeddedDocument, mut visit: impl FnMut(&[u8])) {
    if document.id.len() >= SHORTEST_ID {
        visit(document.id.as_bytes());
    }
    visit(document.text.as_bytes());
    let attributes = &document.attributes;
    let named = [&attributes.title, &attributes.source];
    named
        .into_iter()
        .flatten()
        .for_each(|text| visit(text.as_bytes()));
    for value in attributes.fields.values() {
        match value {
            Value::String(text) => visit(text.as_bytes()),
            Value::List(texts) => texts.iter().for_each(|text| visit(text.as_bytes())),
            _ => {}
        }
    }
    for passage in &document.passages {
        let components = passage.vector.as_slice().iter();
        visit(
            &components
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>(),
        );
    }
}

/// All files under a folder. Links are not followed.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => list(&entry.path(), files)?,
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    files.sort();
    Ok(())
}

/// The files that are there and that the database does not consist of.
fn not_in_use(store: &Store, mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    let layout = store.layout();
    let root = layout.root();
    let mut named = store.segment_files();
    named.extend([root.join("FORMAT"), root.join("LOCK"), layout.manifest()]);
    let mut folders = store.model_folders();
    folders.push(layout.meta());
    let is_in_use = |file: &PathBuf| {
        named.contains(file) || folders.iter().any(|folder| file.starts_with(folder))
    };
    files.retain(|file| !is_in_use(file) && file.exists());
    files
}
