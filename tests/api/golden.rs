//! A whole database of each released format, committed with the recipe that made it. The current one opens as it is; from
//! the second format on, older ones go through every migration first.
//!
//! It is as kill -9 leaves it: nothing was closed, and some of what was acknowledged lies in write-ahead rows alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vecdb::{
    Collection, CollectionOptions, Database, Document, Error, Filter, Merging, Metric, Vector,
};

use crate::random::Random;

/// Documents and their vectors by id.
type Model = BTreeMap<String, (Document, Vector)>;

/// Packed, because most of sled's files is zeros.
fn packed(format: u32) -> PathBuf {
    let name = format!("tests/golden/database-{format}.zip");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn unpacked(format: u32, folder: &Path) -> PathBuf {
    let file = File::open(packed(format)).expect("committed with the code");
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let database = folder.join("golden.vecdb");
    archive.extract(&database).expect("unpacks");
    database
}

/// The recipe. Run it only for a new format, under a new number:
/// `cargo test --test api write_the_golden_database -- --ignored`
#[test]
#[ignore = "writes the committed file"]
fn write_the_golden_database() {
    const FORMAT: u32 = 1;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("golden.vecdb");
    let db = Database::options()
        .merging(Merging::on_request())
        .seal_after_idle(Duration::from_secs(3_600))
        .open(&path)
        .expect("opens");
    let collections = COLLECTIONS.map(|(name, metric, dimension)| {
        let options = CollectionOptions::vectors(dimension).metric(metric);
        let collection = db.create_collection(name, options).expect("a collection");
        (collection, steps(name, dimension).into_iter())
    });
    // Both take each step together: sealing seals all collections.
    let mut collections = collections;
    loop {
        let mut taken = 0;
        for (collection, steps) in &mut collections {
            let Some(step) = steps.next() else { continue };
            taken += 1;
            match step {
                Step::Add(documents) => drop(collection.add_vectors(documents).expect("adds")),
                Step::Delete(ids) => drop(collection.delete(&ids).expect("deletes")),
                Step::Seal => db.flush().expect("seals"),
            }
        }
        if taken == 0 {
            break;
        }
    }
    let stamp = fs::read_to_string(path.join("FORMAT")).expect("a file");
    assert_eq!(stamp, format!("vecdb {FORMAT} 1\n"));
    // Acknowledged is durable: the files as they are, while the database is open.
    let mut archive = zip::ZipWriter::new(File::create(packed(FORMAT)).expect("a file"));
    pack(&mut archive, &path, &path);
    archive.finish().expect("packs");
    let bytes = fs::metadata(packed(FORMAT)).expect("there").len();
    assert!(bytes <= 64 << 10, "{bytes} bytes are too many to commit");
}

fn pack(archive: &mut zip::ZipWriter<File>, folder: &Path, root: &Path) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    let options = zip::write::SimpleFileOptions::default();
    for path in entries {
        let name = path.strip_prefix(root).expect("below it").to_string_lossy();
        if path.is_dir() {
            archive.add_directory(name, options).expect("packs");
            pack(archive, &path, root);
            continue;
        }
        archive.start_file(name, options).expect("packs");
        // Who ran the recipe, and where, is of no interest.
        let content = match path.file_name() == Some("LOCK".as_ref()) {
            true => b"pid 1, since 0 (Unix time), command: vecdb\n".to_vec(),
            false => fs::read(&path).expect("a file"),
        };
        archive.write_all(&content).expect("packs");
    }
}

const COLLECTIONS: [(&str, Metric, usize); 2] =
    [("notes", Metric::Cosine, 8), ("points", Metric::L2, 3)];

enum Step {
    Add(Vec<(Document, Vector)>),
    Delete(Vec<String>),
    Seal,
}

/// What is done to a collection: three segments, two of them with tombstones, and calls that no segment holds yet.
fn steps(collection: &str, dimension: usize) -> Vec<Step> {
    let mut random = Random(2_027 + dimension as u64);
    let mut documents = |numbers: std::ops::Range<u64>, edition: i64| {
        let document = |number: u64| {
            let components = (0..dimension).map(|_| (random.below(2_001) as f32 - 1_000.5) / 500.0);
            let vector = Vector::new(components.collect::<Vec<f32>>()).expect("finite");
            let mut document = Document::new(
                format!("{collection}-{number:02}-ü"),
                format!("Text {number} of edition {edition}. ").repeat(1 + number as usize % 7),
            )
            .field("edition", edition)
            .field("even", number.is_multiple_of(2));
            if number.is_multiple_of(3) {
                document = document
                    .title(format!("Title {number}"))
                    .source("golden/file.txt")
                    .field("weight", number as f64 / 4.0)
                    .field("lang", ["en", "de"][number as usize % 2])
                    .field("tags", vec!["a", "b c"]);
            }
            (document, vector)
        };
        numbers.map(document).collect::<Vec<_>>()
    };
    let id = |number: u64| format!("{collection}-{number:02}-ü");
    vec![
        Step::Add(documents(0..24, 1)),
        Step::Seal,
        Step::Add(documents(20..36, 2)),
        Step::Delete(vec![id(3), id(30)]),
        Step::Seal,
        Step::Add(documents(36..40, 3)),
        Step::Seal,
        Step::Add(documents(38..44, 4)),
        Step::Delete(vec![id(5), id(39), id(43)]),
        Step::Add(documents(3..4, 5)),
    ]
}

/// What a collection holds after all steps.
fn expected(collection: &str, dimension: usize) -> Model {
    let mut model = Model::new();
    for step in steps(collection, dimension) {
        match step {
            Step::Add(documents) => {
                model.extend(documents.into_iter().map(|d| (d.0.id.clone(), d)));
            }
            Step::Delete(ids) => model.retain(|id, _| !ids.contains(id)),
            Step::Seal => {}
        }
    }
    model
}

fn check(collection: &Collection, model: &Model, metric: Metric) {
    assert_eq!(collection.len(), model.len() as u64);
    let mut stored: Vec<Document> = collection
        .documents()
        .collect::<vecdb::Result<_>>()
        .expect("all are whole");
    stored.sort_by(|a, b| a.id.cmp(&b.id));
    let documents: Vec<Document> = model
        .values()
        .map(|(document, _)| document.clone())
        .collect();
    assert_eq!(stored, documents);
    for filter in [
        "edition >= 4",
        "lang = 'en'",
        "not exists tags",
        "even = true and weight < 4",
    ] {
        let parsed = Filter::parse(filter).expect("a filter");
        let matching = |d: &&Document| parsed.matches(&d.fields);
        for (document, vector) in model.values() {
            let wanted = documents.iter().filter(matching).count();
            let query = collection.query_vector(vector.clone()).filter(filter);
            let hits = query.limit(100).run().expect("answers");
            assert_eq!(hits.len(), wanted, "{filter}");
            let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
            assert!(scores.is_sorted_by(|a, b| a >= b), "best first");
            for hit in hits {
                let (document, stored) = &model[&hit.id];
                assert!(matching(&document), "{}: {filter}", hit.id);
                assert_eq!(
                    (&hit.title, &hit.fields),
                    (&document.title, &document.fields)
                );
                assert_eq!(hit.passage, document.text);
                let score = score(metric, vector.as_slice(), stored.as_slice());
                assert!((score - f64::from(hit.score)).abs() < 1e-5, "{}", hit.id);
            }
            let itself = collection.query_vector(vector.clone()).limit(1).run();
            assert_eq!(itself.expect("answers")[0].id, document.id);
        }
    }
}

fn score(metric: Metric, query: &[f32], vector: &[f32]) -> f64 {
    let pairs = || {
        query
            .iter()
            .zip(vector)
            .map(|(&x, &y)| (f64::from(x), f64::from(y)))
    };
    let dot: f64 = pairs().map(|(x, y)| x * y).sum();
    let length = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    match metric {
        Metric::L2 => -pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt(),
        _ => dot / (length(query) * length(vector)),
    }
}

/// Opens it and asks for everything, before and after it is closed, merged and opened again.
fn answers(path: &Path) {
    let report = Database::check(path).expect("can be checked");
    assert_eq!(report.problems, [] as [String; 0]);
    for round in 0..3 {
        let db = Database::options()
            .merging(Merging::on_request())
            .must_exist()
            .open(path)
            .expect("opens");
        let names: Vec<String> = db.collections().into_iter().map(|info| info.name).collect();
        assert_eq!(names, COLLECTIONS.map(|(name, _, _)| name));
        for (name, metric, dimension) in COLLECTIONS {
            let collection = db.existing_collection(name).expect("it is there");
            let info = collection.info();
            assert_eq!((info.metric, info.dimension), (metric, Some(dimension)));
            if round == 0 {
                assert_eq!(info.segments, 3);
                assert!(info.unsealed_passages > 0 && info.dead_passages > 0);
            }
            check(&collection, &expected(name, dimension), metric);
        }
        if round == 1 {
            db.compact(|_| std::ops::ControlFlow::Continue(()))
                .expect("merges");
        }
        db.close().expect("closes");
    }
    let db = Database::options().read_only().open(path).expect("opens");
    for (name, metric, dimension) in COLLECTIONS {
        let collection = db.existing_collection(name).expect("it is there");
        check(&collection, &expected(name, dimension), metric);
    }
}

#[test]
fn a_database_of_every_format_gives_every_answer_after_its_migration() {
    let mut newest = (0, 0);
    for format in (1..).take_while(|&format| packed(format).exists()) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = unpacked(format, folder.path());
        let done = Database::migrate(&path, |_, _| ()).expect("migrates");
        assert_eq!(done.from, format);
        newest = (format, done.to);
        answers(&path);
    }
    assert!(newest.0 >= 1, "the fixtures are there");
    assert_eq!(newest.0, newest.1, "the current format has its fixture");
}

#[test]
fn the_error_of_an_older_format_names_the_command() {
    let error = Error::NeedsMigration {
        path: "notes.vecdb".into(),
        found: 1,
        current: 2,
    };
    assert_eq!(
        error.to_string(),
        "notes.vecdb has format 1, and this vecdb reads 2; `vecdb migrate --db notes.vecdb` brings it there"
    );
}

#[test]
fn a_database_that_a_migration_moved_to_another_generation_gives_every_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = unpacked(1, folder.path());
    // What a step leaves: the files in the next generation's folder, and the stamp that names it.
    let next = path.join("g2");
    fs::create_dir(&next).expect("a folder");
    for name in ["MANIFEST", "meta", "segments"] {
        fs::rename(path.join(name), next.join(name)).expect("moves");
    }
    fs::write(path.join("FORMAT"), "vecdb 1 2\n").expect("writes");
    answers(&path);
    let mut names: Vec<_> = fs::read_dir(&path)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["FORMAT", "LOCK", "g2"],
        "nothing is written beside it"
    );
}

#[test]
fn what_an_interrupted_migration_left_is_told_and_removed_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = unpacked(1, folder.path());
    fs::create_dir_all(path.join("g2/segments")).expect("a folder");
    fs::write(path.join("g2/segments/half.seg"), "half").expect("writes");
    let planned = Database::migration(&path).expect("can be planned");
    assert_eq!(planned.leftovers, [path.join("g2")]);
    assert!(path.join("g2").exists(), "a plan changes nothing");

    let db = Database::open(&path).expect("opens");
    let refused = Database::migrate(&path, |_, _| ()).expect_err("it is open");
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(path.join("g2").exists());
    db.close().expect("closes");

    let done = Database::migrate(&path, |_, _| panic!("there is no step")).expect("sweeps");
    assert_eq!(done, planned);
    assert!(!path.join("g2").exists());
    answers_after_close(&path);
}

/// As [`answers`], of a database that was closed, so that nothing is unsealed.
fn answers_after_close(path: &Path) {
    let db = Database::options().read_only().open(path).expect("opens");
    for (name, metric, dimension) in COLLECTIONS {
        let collection = db.existing_collection(name).expect("it is there");
        check(&collection, &expected(name, dimension), metric);
    }
}

#[test]
fn a_newer_format_is_refused_by_every_door_and_nothing_is_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = unpacked(1, folder.path());
    fs::write(path.join("FORMAT"), "vecdb 2 7\n").expect("writes");
    let before = contents(&path);
    let refusals = [
        Database::open(&path).map(|_| ()).expect_err("newer"),
        Database::options()
            .read_only()
            .open(&path)
            .map(|_| ())
            .expect_err("newer"),
        Database::options()
            .for_reading()
            .open(&path)
            .map(|_| ())
            .expect_err("newer"),
        Database::check(&path).expect_err("newer"),
        Database::migration(&path).expect_err("newer"),
        Database::migrate(&path, |_, _| ()).expect_err("newer"),
    ];
    for refusal in refusals {
        let newer = matches!(
            refusal,
            Error::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        );
        assert!(newer, "{refusal}");
        assert!(refusal.to_string().contains("install a newer vecdb"));
    }
    assert_eq!(contents(&path), before);
}

fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let content = fs::read(&path).expect("a file");
            found.insert(path, content);
        }
    }
    found
}
