//! Whatever is damaged, it is told, nothing wrong is answered, and a repair keeps what can be read and names what cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vecdb::{
    CheckOptions, Collection, CollectionOptions, Database, Document, Effect, Error, Merging,
    Repaired, Result, Vector,
};

use crate::random::Random;

/// Documents by id.
type Documents = BTreeMap<String, Document>;

/// A database with two segments, tombstones of both, and calls in no segment yet: as a kill leaves it.
struct Damaged {
    folder: tempfile::TempDir,
    /// What is acknowledged, and
    live: Documents,
    /// of that what is sealed.
    sealed: Documents,
    /// All versions that there ever were.
    ever: Vec<Document>,
    /// Ids that the unsealed calls name.
    unsealed: BTreeSet<String>,
}

fn document(random: &mut Random, id: u32, version: u32) -> Document {
    // Hardly to be compressed, so that texts fill several blocks.
    let words: Vec<String> = (0..90).map(|_| format!("{:016x}", random.next())).collect();
    let text = format!("{id} version {version}: {}", words.join(" "));
    Document::new(format!("id{id}"), text)
        .title(format!("title {id}"))
        .field("n", id)
        .field("kind", ["odd", "even"][version as usize % 2])
}

fn vector(id: u32) -> Vector {
    let angle = id as f32 * 0.13;
    Vector::new(vec![angle.cos(), angle.sin(), 0.25, 0.0]).expect("finite")
}

fn open(path: &Path) -> Result<Database> {
    let options = Database::options().merging(Merging::on_request());
    options.seal_after_idle(Duration::MAX).open(path)
}

fn read_only(path: &Path) -> Result<Database> {
    Database::options().read_only().open(path)
}

impl Damaged {
    fn new(random: &mut Random) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("made.vecdb");
        let db = open(&path).expect("opens");
        let points = db
            .create_collection("points", CollectionOptions::vectors(4))
            .expect("a collection");
        let (mut live, mut ever) = (Documents::new(), Vec::new());
        let mut unsealed = BTreeSet::new();
        let mut add = |points: &Collection, live: &mut Documents, ids: Vec<u32>, version| {
            let new = ids
                .into_iter()
                .map(|id| (id, document(random, id, version)));
            let new: Vec<_> = new.collect();
            live.extend(new.iter().map(|(_, d)| (d.id.clone(), d.clone())));
            ever.extend(new.iter().map(|(_, d)| d.clone()));
            let new = new.into_iter().map(|(id, d)| (d, vector(id)));
            points.add_vectors(new).expect("adds");
        };
        let delete = |points: &Collection, live: &mut Documents, ids: &[&str]| {
            points.delete(ids).expect("deletes");
            live.retain(|id, _| !ids.contains(&&**id));
        };
        add(&points, &mut live, (0..200).collect(), 1);
        db.flush().expect("seals");
        let ids = (0..100).step_by(10).chain(200..230).collect();
        add(&points, &mut live, ids, 2);
        db.flush().expect("seals");
        let gone = ["id1", "id2", "id3", "id10", "id201"];
        delete(&points, &mut live, &gone);
        drop(points);
        db.close().expect("closes");
        // The second open leaves a snapshot of sled's log.
        let db = open(&path).expect("opens");
        let points = db.existing_collection("points").expect("it is there");
        let sealed = live.clone();
        add(&points, &mut live, (4..6).chain(228..232).collect(), 3);
        delete(&points, &mut live, &["id7"]);
        unsealed
            .extend(["id4", "id5", "id228", "id229", "id230", "id231", "id7"].map(String::from));
        crate::copy(&path, &folder.path().join("killed.vecdb"));
        drop(points);
        db.close().expect("closes");
        Self {
            folder,
            live,
            sealed,
            ever,
            unsealed,
        }
    }

    /// A copy to be damaged.
    fn copy(&self) -> PathBuf {
        let path = self.folder.path().join("copy.vecdb");
        let _ = fs::remove_dir_all(&path);
        crate::copy(&self.folder.path().join("killed.vecdb"), &path);
        path
    }

    /// Every file, from the database's folder on.
    fn files(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join("killed.vecdb");
        let mut found = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).expect("inside").to_path_buf());
                }
            }
        }
        found.sort();
        found
    }

    /// After a repair every document is as it was, or told of.
    fn assert_told(&self, repaired: &Repaired, path: &Path, what: &str) {
        let problems = &repaired.report.problems;
        assert!(problems.is_empty(), "{what}: {problems:?}");
        let stored = {
            let db = open(path).unwrap_or_else(|e| panic!("{what}: {e}"));
            let stored = stored(&db).unwrap_or_else(|e| panic!("{what}: {e}"));
            db.close().expect("closes");
            stored
        };
        let told = |effect| -> BTreeSet<&String> {
            let of = repaired.affected.iter().filter(|a| a.effect == effect);
            of.flat_map(|affected| &affected.ids).collect()
        };
        let (lost, undeleted) = (told(Effect::Lost), told(Effect::Undeleted));
        let mut unnamed: u64 = repaired.affected.iter().map(|a| a.unnamed).sum();
        for (id, document) in &stored {
            if self.live.get(id) == Some(document) {
                continue;
            }
            // Calls that were lost leave what was before them, and a lost record of deletions what was deleted.
            let of_a_lost_call = !repaired.lost.is_empty() && self.unsealed.contains(id);
            assert!(of_a_lost_call || undeleted.contains(id), "{what}: {id}");
            assert!(self.ever.contains(document), "{what}: {id}");
        }
        for id in self.live.keys().filter(|id| !stored.contains_key(*id)) {
            let with_calls = !repaired.lost.is_empty() && self.unsealed.contains(id);
            if !lost.contains(id) && !with_calls {
                assert!(unnamed > 0, "{what}: {id} is gone and not told of");
                unnamed -= 1;
            }
        }
        for id in lost {
            assert!(!stored.contains_key(id), "{what}: {id} is there");
            assert!(self.live.contains_key(id), "{what}: {id} was not there");
        }
        let left = CheckOptions::default().deep().check(path).expect("checks");
        assert!(left.problems.is_empty(), "{what}: {:?}", left.problems);
    }
}

/// All documents, and that they are found.
fn stored(db: &Database) -> Result<Documents> {
    let points = db.existing_collection("points")?;
    let mut found = Documents::new();
    for document in points.documents() {
        let document = document?;
        assert!(
            found.insert(document.id.clone(), document).is_none(),
            "an id twice"
        );
    }
    asked(&points, &found)?;
    Ok(found)
}

/// Answers are what a scan of the stored documents gives.
fn asked(points: &Collection, stored: &Documents) -> Result<()> {
    let number = |id: &str| -> u32 { id[2..].parse().expect("a number") };
    let score = |a: u32, b: u32| -> f32 {
        let (a, b) = (vector(a), vector(b));
        let length = |v: &Vector| v.as_slice().iter().map(|x| x * x).sum::<f32>().sqrt();
        let pairs = a.as_slice().iter().zip(b.as_slice());
        pairs.map(|(a, b)| a * b).sum::<f32>() / (length(&a) * length(&b))
    };
    for question in [3, 77, 210] {
        let query = points.query_vector(vector(question)).limit(5);
        for hit in query.filter("n >= 2 and kind = 'odd'").run()? {
            let document = &stored[&hit.id];
            assert!(document.text.contains("version 2"), "{}", document.text);
            assert_eq!(hit.passage, document.text);
            let expected = score(question, number(&hit.id));
            assert!((hit.score - expected).abs() < 1e-5, "{}", hit.id);
        }
        let hits = points.query_vector(vector(question)).limit(5).run()?;
        let mut all: Vec<f32> = stored
            .keys()
            .map(|id| score(question, number(id)))
            .collect();
        all.sort_by(|a, b| b.total_cmp(a));
        for (hit, expected) in hits.iter().zip(&all) {
            assert!((hit.score - expected).abs() < 1e-5, "{}", hit.id);
        }
        assert_eq!(hits.len(), all.len().min(5));
    }
    Ok(())
}

/// Places of a file that are worth a flip: two in each section of a segment, some of another.
fn places(name: &Path, bytes: &[u8], random: &mut Random) -> Vec<usize> {
    let mut places = Vec::new();
    if name.extension().is_some_and(|e| e == "seg") {
        let footer = number(bytes, bytes.len() - 32);
        for nth in 0..number(bytes, footer) {
            let (start, length) = section(bytes, nth);
            if length > 0 {
                places.push(start + random.place(length));
            }
        }
        places.push(footer + random.place(bytes.len() - footer));
    }
    let few = if name.ends_with("db") { 24 } else { 3 };
    places.extend((0..few).map(|_| random.place(bytes.len())));
    places
}

/// What a damaged database does: it tells, or answers as ever; then it is repaired.
fn try_one(damaged: &Damaged, name: &Path, bytes: &[u8], what: &str) -> bool {
    let path = damaged.copy();
    fs::write(path.join(name), bytes).expect("writes");
    let named = |error: &Error| {
        let part = match name.starts_with("meta") {
            true => "meta".into(),
            false => name.file_name().expect("a name").to_string_lossy(),
        };
        let (told, part) = (error.to_string(), part.to_string());
        let of_format = part == "FORMAT" && told.contains("copy.vecdb");
        assert!(told.contains(&part) || of_format, "{what}: {told}");
    };
    match read_only(&path).and_then(|db| stored(&db)) {
        Ok(stored) => assert!(stored == damaged.sealed, "{what}: a wrong answer"),
        Err(error) => named(&error),
    }
    let is_told = match Database::check(&path) {
        Ok(report) => !report.problems.is_empty(),
        Err(error) => {
            named(&error);
            true
        }
    };
    let writing = damaged.folder.path().join("writing.vecdb");
    let _ = fs::remove_dir_all(&writing);
    crate::copy(&path, &writing);
    match open(&writing).and_then(|db| stored(&db)) {
        Ok(stored) => {
            assert!(stored == damaged.live, "{what}: a wrong answer to a writer");
        }
        Err(error) => {
            named(&error);
            assert!(is_told, "{what}: check does not see it: {error}");
        }
    }
    match Database::repair(&path) {
        Ok(repaired) => {
            if !is_told {
                let done = &repaired.done;
                assert!(done.is_empty(), "{what}: nothing was told, but {done:?}");
            }
            damaged.assert_told(&repaired, &path, what);
        }
        Err(error) => assert!(
            matches!(error, Error::NewerFormat { .. }),
            "{what}: {error}"
        ),
    }
    is_told
}

#[test]
fn whatever_byte_changes_it_is_told_or_harmless_and_a_repair_loses_only_what_it_names() {
    let seed = 20_261_125;
    println!("seed {seed}");
    let mut random = Random(seed);
    let damaged = Damaged::new(&mut random);
    let files = damaged.files();
    let is_snapshot = |name: &PathBuf| name.to_string_lossy().contains("snap.");
    assert!(files.iter().any(is_snapshot), "{files:?}");
    for name in files {
        let began = Instant::now();
        let bytes = fs::read(damaged.folder.path().join("killed.vecdb").join(&name));
        let bytes = bytes.expect("reads");
        if bytes.is_empty() {
            continue;
        }
        let (mut told, mut harmless) = (0, 0);
        let mut count = |is_told| if is_told { told += 1 } else { harmless += 1 };
        for at in places(&name, &bytes, &mut random) {
            let mut changed = bytes.clone();
            let bit = random.below(8);
            changed[at] ^= 1 << bit;
            let what = format!("{} byte {at} bit {bit}", name.display());
            count(try_one(&damaged, &name, &changed, &what));
        }
        for length in [0, random.place(bytes.len()), bytes.len() - 1] {
            let what = format!("{} cut to {length}", name.display());
            count(try_one(&damaged, &name, &bytes[..length], &what));
        }
        println!(
            "{}: {told} told, {harmless} harmless, {:?}",
            name.display(),
            began.elapsed()
        );
        let must_tell = !name.starts_with("meta") && !name.starts_with("LOCK");
        assert!(!must_tell || harmless == 0, "{}", name.display());
    }
}

#[test]
fn every_changed_bit_of_the_stamp_is_told() {
    let damaged = Damaged::new(&mut Random(5));
    let path = damaged.copy();
    let stamp = path.join("FORMAT");
    let whole = fs::read(&stamp).expect("reads");
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        fs::write(&stamp, changed).expect("writes");
        assert!(read_only(&path).is_err(), "bit {bit}");
        assert!(open(&path).is_err(), "bit {bit}");
        assert!(Database::check(&path).is_err(), "bit {bit}");
    }
}

#[test]
fn a_missing_file_is_told_and_a_repair_loses_only_what_it_names() {
    let damaged = Damaged::new(&mut Random(6));
    for name in damaged.files() {
        let path = damaged.copy();
        fs::remove_file(path.join(&name)).expect("there");
        let what = format!("{} missing", name.display());
        let is_told = Database::check(&path).map_or(true, |report| !report.problems.is_empty());
        let needed = !name.starts_with("LOCK") && !name.starts_with("meta") || name.ends_with("db");
        assert!(is_told || !needed, "{what}");
        let repaired = Database::repair(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        damaged.assert_told(&repaired, &path, &what);
    }
}

/// The database's first segment, and its bytes.
fn first_segment(path: &Path) -> (PathBuf, Vec<u8>) {
    let entries = fs::read_dir(path.join("segments")).expect("a folder");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    paths.sort();
    let bytes = fs::read(&paths[0]).expect("reads");
    (paths.swap_remove(0), bytes)
}

fn number(bytes: &[u8], at: usize) -> usize {
    let bytes = bytes[at..at + 8].try_into().expect("eight bytes");
    usize::try_from(u64::from_le_bytes(bytes)).expect("it fits")
}

/// Where the `nth` section of a segment lies: its start, and its length.
fn section(bytes: &[u8], nth: usize) -> (usize, usize) {
    let entry = number(bytes, bytes.len() - 32) + 8 + 24 * nth;
    (number(bytes, entry + 8), number(bytes, entry + 16))
}

#[test]
fn of_a_segment_with_a_damaged_text_only_the_texts_beside_it_are_lost() {
    let damaged = Damaged::new(&mut Random(7));
    let path = damaged.copy();
    let (segment, mut bytes) = first_segment(&path);
    let words = &damaged.sealed["id150"].text.as_bytes()[20..40];
    let at = bytes
        .windows(words.len())
        .position(|window| window == words);
    bytes[at.expect("the text is hardly compressed")] ^= 1;
    fs::write(&segment, bytes).expect("writes");
    let repaired = Database::repair(&path).expect("repairs");
    damaged.assert_told(&repaired, &path, "a text");
    let [affected] = &repaired.affected[..] else {
        panic!("one segment is affected: {repaired:?}");
    };
    assert_eq!((affected.effect, affected.unnamed), (Effect::Lost, 0));
    assert_eq!(affected.collection, "points");
    assert_eq!(affected.segment, segment);
    assert!(affected.ids.contains(&"id150".into()), "{affected:?}");
    assert!(
        affected.ids.len() < 80,
        "a block holds about 45: {affected:?}"
    );
    let aside = path
        .join("aside")
        .join(segment.file_name().expect("a name"));
    assert!(aside.exists(), "it is put aside, not deleted");
    // A second repair has nothing to do, and no sweep takes what is aside.
    let again = Database::repair(&path).expect("repairs");
    assert!(
        again.done.is_empty() && again.affected.is_empty(),
        "{again:?}"
    );
    open(&path).and_then(Database::close).expect("opens");
    assert!(aside.exists());
}

#[test]
fn of_a_segment_with_damaged_codes_nothing_is_lost_and_with_damaged_vectors_all_that_they_were_of()
{
    let damaged = Damaged::new(&mut Random(8));
    for (nth, name) in [(12, "the codes"), (13, "the vectors")] {
        let path = damaged.copy();
        let (segment, mut bytes) = first_segment(&path);
        let (start, length) = section(&bytes, nth);
        bytes[start + length / 2] ^= 4;
        fs::write(&segment, bytes).expect("writes");
        let report = Database::check(&path).expect("checks");
        assert_eq!(report.problems.len(), 1, "{report:?}");
        assert!(report.problems[0].contains(name), "{report:?}");
        let repaired = Database::repair(&path).expect("repairs");
        damaged.assert_told(&repaired, &path, name);
        if nth == 12 {
            assert!(repaired.affected.is_empty(), "{repaired:?}");
            assert_eq!(repaired.done.len(), 2, "{repaired:?}");
        } else {
            // All of one block; the other segment has what replaced some.
            let lost = &repaired.affected[0].ids;
            assert!(lost.len() > 150, "{lost:?}");
        }
    }
}

#[test]
fn lost_tombstones_are_told_again_by_what_replaced_the_documents() {
    let damaged = Damaged::new(&mut Random(9));
    let path = damaged.copy();
    let mut tombstones: Vec<_> = fs::read_dir(path.join("segments"))
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "del"))
        .collect();
    tombstones.sort();
    fs::write(&tombstones[0], "gone").expect("writes");
    let repaired = Database::repair(&path).expect("repairs");
    damaged.assert_told(&repaired, &path, "tombstones");
    let [affected] = &repaired.affected[..] else {
        panic!("one segment is affected: {repaired:?}");
    };
    assert_eq!(affected.effect, Effect::Undeleted);
    assert!(affected.ids.contains(&"id1".into()));
    // Replaced by the other segment: id0, id10 and so on; replaced or deleted by calls in no segment: id4, id5, id7.
    for replaced in ["id0", "id20", "id90", "id4", "id7"] {
        assert!(!affected.ids.contains(&replaced.into()), "{replaced}");
    }
}

#[test]
fn a_database_that_somebody_writes_to_is_not_repaired() {
    let damaged = Damaged::new(&mut Random(10));
    let path = damaged.copy();
    let db = open(&path).expect("opens");
    let refused = Database::repair(&path).expect_err("it is held");
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    db.close().expect("closes");
    assert!(Database::repair(&path).expect("repairs").done.is_empty());
}
