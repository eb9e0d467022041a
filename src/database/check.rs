//! Is everything on disk as it was written?

use std::collections::HashSet;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::embed::Prepared;
use super::inner::{open_part, open_segment};
use super::part::Part;
use super::repair::{self, Repaired};
use super::{Database, cannot_write};
use crate::error::{Error, Result};
use crate::segment::{Residency, Segment};
use crate::store::{self, CollectionRecord, Disk, Layout, Manifest, SegmentRecord};

/// What [`Database::check`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Files read.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// What is wrong, a sentence each. None is good.
    pub problems: Vec<String>,
    /// What is worth knowing but harms nothing: left-over files, rows not yet sealed, parts that were not checked.
    pub remarks: Vec<String>,
}

/// How thoroughly a database is checked and repaired.
///
/// ```
/// use vecdb::{CheckOptions, Database};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("notes.vecdb");
/// Database::open(&path)?.close()?;
/// let report = CheckOptions::default().deep().check(&path)?;
/// assert!(report.problems.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    deep: bool,
}

impl CheckOptions {
    /// Beside reading every byte, takes apart what the bytes stand for: every text and its attributes are decoded and
    /// compared with the hash they were stored under (of texts that vecdb encoded), codes are computed anew from their
    /// vectors, and walks have to come to every row of a graph.
    #[must_use]
    pub fn deep(mut self) -> Self {
        self.deep = true;
        self
    }

    /// As [`Database::check`].
    ///
    /// # Errors
    /// As [`Database::check`].
    pub fn check(&self, path: impl AsRef<Path>) -> Result<Report> {
        check(path.as_ref(), self.deep)
    }

    /// As [`Database::repair`].
    ///
    /// # Errors
    /// As [`Database::repair`].
    pub fn repair(&self, path: impl AsRef<Path>) -> Result<Repaired> {
        repair::repair(path.as_ref(), self.deep, &Disk::default())
    }
}

impl Database {
    /// Reads every file of the database and lists what is not as it was written. Takes the lock if it is free, to look at
    /// a copy of the catalog too; changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotADatabase`], [`Error::NewerFormat`], [`Error::NeedsMigration`]: there is nothing
    /// that could be checked. Damage is not an error here but a [`Report::problems`] line, but for that of the file FORMAT
    /// ([`Error::Damaged`]), which tells what the others are.
    pub fn check(path: impl AsRef<Path>) -> Result<Report> {
        CheckOptions::default().check(path)
    }
}

pub(super) fn check(path: &Path, deep: bool) -> Result<Report> {
    let layout = store::check_stamp(path)?.ok_or_else(|| Error::NotFound {
        path: path.to_path_buf(),
    })?;
    let mut report = Report::default();
    // With the lock if it is free: then nothing changes meanwhile, and the catalog can be compared.
    match store::look(&layout, &Disk::default()) {
        Ok(looked) => {
            let examined = looked.examined();
            let damage = [&examined.manifest_damage, &examined.catalog_damage];
            let damage = damage.into_iter().flatten().map(ToString::to_string);
            report.problems.extend(damage);
            if let Some(manifest) = &examined.manifest {
                report.segments(&layout, manifest, deep);
                report.leftovers(&layout, manifest);
            }
            if examined.is_behind {
                report.remarks.push(
                    "MANIFEST is older than the catalog, as a kill leaves it; the next writer writes it anew".into(),
                );
            }
            if !examined.unsealed.is_empty() {
                let calls = examined.unsealed.len();
                report.remarks.push(format!(
                    "{calls} acknowledged calls are not yet sealed; the next writer seals them"
                ));
            }
        }
        Err(error) if cannot_write(&error) => {
            report
                .remarks
                .push(format!("the catalog was not checked: {error}"));
            report.beside_a_writer(&layout, deep);
        }
        Err(error) => {
            report.problems.push(error.to_string());
            if let Ok(manifest) = store::read_only(&layout) {
                report.segments(&layout, &manifest, deep);
            }
        }
    }
    // The same damage may have been met twice.
    report.problems.sort();
    report.problems.dedup();
    Ok(report)
}

impl Report {
    /// Reads what MANIFEST names, again if it changed meanwhile.
    fn beside_a_writer(&mut self, layout: &Layout, deep: bool) {
        loop {
            let mut tried = Self::default();
            let seq = |manifest: &Result<Manifest>| manifest.as_ref().ok().map(|m| m.seq);
            let manifest = store::read_only(layout);
            match &manifest {
                Ok(manifest) => tried.segments(layout, manifest, deep),
                Err(error) => tried.problems.push(error.to_string()),
            }
            if tried.problems.is_empty() || seq(&store::read_only(layout)) == seq(&manifest) {
                self.files += tried.files;
                self.bytes += tried.bytes;
                self.problems.append(&mut tried.problems);
                return;
            }
        }
    }

    fn leftovers(&mut self, layout: &Layout, manifest: &Manifest) {
        for path in store::leftovers(layout, manifest) {
            let path = path.display();
            self.remarks.push(format!(
                "{path} belongs to no collection; the next writer removes it"
            ));
        }
        for path in store::missing_models(layout, manifest) {
            self.remarks.push(format!(
                "a collection names a model that would lie in {}; it can be asked by that one alone, wherever it is (--model)",
                path.display()
            ));
        }
        let aside = layout.aside();
        if aside.exists() {
            self.remarks.push(format!(
                "{} holds what a repair replaced; nothing is read from there, and it may be deleted",
                aside.display()
            ));
        }
    }

    /// Opens every segment with its tombstones, verifies every block, and sees that no id lives twice.
    fn segments(&mut self, layout: &Layout, manifest: &Manifest, deep: bool) {
        for collection in &manifest.collections {
            // Hashes: 16 bytes each, however long the ids are.
            let mut live = HashSet::new();
            for record in &collection.segments {
                let found = self.segment(layout, collection, record, deep, &mut live);
                self.problems.extend(found.iter().map(ToString::to_string));
            }
        }
    }

    fn segment(
        &mut self,
        layout: &Layout,
        collection: &CollectionRecord,
        record: &SegmentRecord,
        deep: bool,
        live: &mut HashSet<u128>,
    ) -> Vec<Error> {
        let part = match open_part(layout, collection, record, Residency::Mapped) {
            Ok(part) => part,
            Err(error) => {
                // Its tombstones may be what is damaged.
                let segment = open_segment(layout, collection, record);
                let more = segment.map_or_else(|_| Vec::new(), |segment| segment.damage());
                return std::iter::once(error).chain(more).collect();
            }
        };
        let Ok(segment) = part.segment() else {
            return Vec::new();
        };
        let mut found = segment.damage();
        if deep && found.is_empty() {
            found = disagreements(&segment, collection);
        }
        if found.is_empty() {
            self.files += 1 + u64::from(record.tombstones > 0);
            self.bytes += record.bytes;
        }
        found.extend(twice(&part, &segment, live, &layout.segment(&record.name)));
        found
    }
}

/// What does not agree within a segment whose bytes are as they were written.
pub(super) fn disagreements(segment: &Segment, collection: &CollectionRecord) -> Vec<Error> {
    let mut found = segment.disagreements();
    let documents = 0..segment.documents();
    let mut wrong = documents.filter_map(|at| is_whole(segment, at, collection, true).err());
    found.extend(wrong.next());
    found
}

/// Can the document be read, whole? `deep`: and is it what was stored under its hash?
pub(super) fn is_whole(
    segment: &Segment,
    document: u32,
    collection: &CollectionRecord,
    deep: bool,
) -> Result<()> {
    let (text, attributes) = (segment.text(document)?, segment.attributes(document)?);
    for row in segment.rows_of(document) {
        segment.vector(row)?;
        if text.get(segment.range(row)).is_none() {
            return Err(segment.wrong_document(document, "a passage ends inside a character"));
        }
    }
    // Vectors of the user's own may have been changed since they were hashed, to be of unit length.
    if let Some(encoder) = collection.encoder.as_ref().filter(|_| deep) {
        let hash = Prepared::hash(&text, &attributes, encoder.fingerprint.as_bytes());
        if hash != segment.content_hash(document) {
            return Err(segment.wrong_document(document, "its content is not what was hashed"));
        }
    }
    Ok(())
}

/// Tells the first live document whose id is in `live` already, and adds the others to it.
fn twice(part: &Part, segment: &Segment, live: &mut HashSet<u128>, path: &Path) -> Option<Error> {
    let ids = (0..part.documents())
        .filter(|&document| !part.is_dead(document))
        .map(|document| segment.document_id(document));
    let twice: Vec<&str> = ids
        .filter(|id| !live.insert(xxh3_128(id.as_bytes())))
        .collect();
    let first = twice.first()?;
    let what = match twice.len() {
        1 => format!("document {first:?} lives in another segment too"),
        all => format!("{all} documents, {first:?} the first, live in another segment too"),
    };
    Some(Error::damaged(path, 0, what))
}
