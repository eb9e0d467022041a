//! Another encoder for a collection: what its vectors are then, what happens meanwhile, and whatever interrupts it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use rayon::prelude::*;

use super::*;
use crate::database::{Database, DatabaseOptions, Merging, SnapshotOptions};
use crate::document::Document;
use crate::encoder::EncoderOptions;
use crate::encoder::tests::models;
use crate::store::faults::{Fault, FaultyDir};
use crate::vector::Vector;

fn options() -> DatabaseOptions {
    let encoder = EncoderOptions {
        threads: Some(1),
        ..EncoderOptions::default()
    };
    let options = Database::options()
        .merging(Merging::on_request())
        .encoder(encoder);
    options.seal_after_idle(Duration::MAX)
}

fn open(path: &Path) -> Database {
    options().open(path).expect("opens")
}

fn notes(db: &Database) -> Collection {
    db.existing_collection("notes").expect("it is there")
}

fn add(db: &Database, texts: &[(&str, &str)]) -> Result<()> {
    let documents = texts.iter().map(|&(id, text)| Document::new(id, text));
    notes(db).add(documents).map(|_| ())
}

fn reembed(db: &Database, model: &str) -> Result<Reembedded> {
    notes(db).reembed(models().join(model), BatchOptions::default())
}

fn roll_back(db: &Database) -> Result<Reembedded> {
    notes(db).roll_back(BatchOptions::default())
}

/// Documents by a model that is kept with the data, so that it opens without being told.
fn make(path: &Path) {
    {
        let encoder = EncoderOptions {
            model: Some(models().join("bert")),
            threads: Some(1),
            ..EncoderOptions::default()
        };
        let db = options().encoder(encoder).open(path).expect("opens");
        db.collection("notes").expect("made");
        let texts = [
            ("a", "the river in winter"),
            ("b", "a letter for the doctor"),
        ];
        add(&db, &texts).expect("adds");
        let added = reembed(&db, "distilbert").expect("re-embeds").added;
        assert_eq!((added.added, added.passages), (2, 2));
        assert!(notes(&db).forget_versions().expect("forgets") > 0);
    }
    assert_eq!(kept(path), ["distilbert"]);
}

/// The models that are kept, without their hashes.
fn kept(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path.join("models")).expect("a folder");
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().into_string().expect("a name"));
    let mut names: Vec<String> = names
        .map(|name| name.rsplit_once('-').expect("a hash").0.to_owned())
        .collect();
    names.sort();
    names
}

/// The encoder's name without its hash, and the documents; each is found by its own text.
fn stored(db: &Database, what: &str) -> (String, BTreeMap<String, String>) {
    let collection = notes(db);
    let mut documents = BTreeMap::new();
    for document in collection.documents() {
        let Document { id, text, .. } = document.unwrap_or_else(|e| panic!("{what}: {e}"));
        // Tiny networks see little difference between texts.
        let hits = collection
            .query(text.clone())
            .min_score(0.999_9)
            .limit(1_000);
        let hits = hits.run().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(hits.iter().any(|hit| hit.id == id), "{what}: {id}");
        documents.insert(id, text);
    }
    let (name, _) = collection.info().encoder.expect("it has one");
    let (name, _) = name.rsplit_once('-').expect("a hash");
    (name.to_owned(), documents)
}

fn vectors(db: &Database) -> Vec<(String, Vector)> {
    let snapshot = notes(db).state.snapshot();
    let mut vectors = Vec::new();
    for part in &snapshot.parts {
        let segment = part.segment().expect("opens");
        for document in (0..part.documents()).filter(|&document| !part.is_dead(document)) {
            for row in segment.rows_of(document) {
                let vector = segment.vector(row).expect("reads").to_vec();
                vectors.push((
                    part.id(document).to_owned(),
                    Vector::new(vector).expect("finite"),
                ));
            }
        }
    }
    vectors.sort_by(|a, b| a.0.cmp(&b.0));
    vectors
}

#[test]
fn a_collection_changes_its_encoder_and_returns_with_what_was_written_since() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let held = notes(&db);
    let reader = Database::open_read_only(&path).expect("opens");
    let before = vectors(&db);
    let made = reembed(&db, "mpnet").expect("re-embeds");
    assert_eq!((made.added.added, made.deleted), (2, 0));
    assert_ne!(made.from, made.to);
    let (name, documents) = stored(&db, "re-embedded");
    assert_eq!((&*name, documents.len()), ("mpnet", 2));
    assert_eq!(kept(&path), ["distilbert", "mpnet"]);
    let model = notes(&db).kept_model().expect("asked").expect("it is kept");
    assert!(model.join("config.json").is_file(), "{model:?}");
    // Whoever held the collection, and whoever reads elsewhere, goes on.
    assert_eq!(held.query("winter").run().expect("asks").len(), 2);
    assert_eq!(stored(&reader, "a reader").0, "distilbert");
    assert!(reader.refresh().expect("refreshes"));
    assert_eq!(stored(&reader, "a reader"), ("mpnet".into(), documents));
    let made = reembed(&db, "mpnet").expect("nothing to do");
    assert_eq!((&made.from, made.added), (&made.to, Added::default()));

    assert_eq!(roll_back(&db).expect("returns").added.passages, 0);
    assert_eq!(vectors(&db), before, "bit by bit");
    assert_eq!(stored(&db, "returned").0, "distilbert");
    roll_back(&db).expect("goes forward again");
    assert_eq!(stored(&db, "forward").0, "mpnet");

    // What is written meanwhile is in what it returns to.
    add(
        &db,
        &[("b", "bees in the garden"), ("c", "the end of the night")],
    )
    .expect("adds");
    notes(&db).delete(["a"]).expect("deletes");
    drop((db, reader, held));
    let db = open(&path);
    let expected = stored(&db, "opened again").1;
    let made = roll_back(&db).expect("returns");
    assert_eq!(
        (made.added.added, made.added.updated, made.deleted),
        (1, 1, 1)
    );
    assert_eq!(
        stored(&db, "returned"),
        ("distilbert".into(), expected.clone())
    );
    assert!(notes(&db).forget_versions().expect("forgets") > 0);
    assert!(notes(&db).info().before.is_none());
    roll_back(&db).expect_err("there is nothing left to return to");
    drop(db);
    assert_eq!(kept(&path), ["distilbert"]);
    assert_eq!(
        stored(&open(&path), "at last"),
        ("distilbert".into(), expected)
    );
    let report = Database::check(&path).expect("checks");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[test]
fn what_was_encoded_before_an_interruption_is_not_encoded_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let texts: Vec<(String, String)> = (0..400)
        .map(|n| (format!("n{n}"), format!("letter {n}")))
        .collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (&**id, &**text)).collect();
    add(&db, &texts).expect("adds");
    let mut calls = 0;
    let stop = BatchOptions::default().progress(|_| {
        calls += 1;
        ControlFlow::Break(())
    });
    let stopped = notes(&db).reembed(models().join("mpnet"), stop);
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    assert_eq!(stored(&db, "as before").0, "distilbert");
    let next = notes(&db).info().next.expect("it is begun");
    assert!(next.documents > 0 && next.documents < 402, "{next:?}");
    drop(db);
    let db = open(&path);
    let made = reembed(&db, "mpnet").expect("goes on");
    assert_eq!(made.added.added, 402 - next.documents);
    let info = notes(&db).info();
    assert_eq!((info.documents, info.next), (402, None));
    assert_eq!(db.collections().len(), 1, "versions are not collections");
}

#[test]
fn what_is_written_while_a_collection_is_re_embedded_is_not_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let done = std::sync::atomic::AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let id = format!("w{written}");
                match add(&db, &[(&id, &format!("window {written}"))]) {
                    Ok(()) => written += 1,
                    // It was encoding when the encoders changed.
                    Err(Error::EncoderMismatch { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                notes(&db).query("window").run().expect("always answered");
            }
            written
        });
        for _ in 0..4 {
            for model in ["mpnet", "distilbert"] {
                reembed(&db, model).expect("re-embeds");
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("it did not panic")
    });
    assert!(written > 8, "{written}");
    let (name, documents) = stored(&db, "afterwards");
    assert_eq!((&*name, documents.len()), ("distilbert", 2 + written));
}

#[test]
fn an_adapter_is_exchanged_without_encoding() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let tuned = folder.path().join("tuned");
    let base = db.0.encoder.open_model(&models().join("distilbert"));
    let base = base.expect("opens");
    fs::create_dir(&tuned).expect("made");
    for file in base.files_to_copy() {
        let target = tuned.join(&file);
        fs::create_dir_all(target.parent().expect("a folder")).expect("made");
        fs::copy(base.folder().join(file), target).expect("copied");
    }
    let dimension = base.dimension();
    let adapter = crate::encoder::Adapter {
        rank: 1,
        down: vec![0.5; dimension],
        up: (0..dimension).map(|at| at as f32 / 10.0).collect(),
    };
    adapter.write(&tuned).expect("written");
    let answer = || notes(&db).query("winter").run().expect("asks")[0].score;
    let (old, before) = (answer(), vectors(&db));
    let apply = || notes(&db).reembed(&tuned, BatchOptions::default());
    let made = apply().expect("applies");
    assert_eq!((made.added, &made.from.1), (Added::default(), &made.to.1));
    assert_ne!(answer(), old);
    assert_eq!(vectors(&db), before);
    // A write by the encoder without the adapter is no change of what answers.
    add(&db, &[("c", "the end")]).expect("adds");
    assert_ne!(answer(), old);
    roll_back(&db).expect("returns");
    assert_eq!(answer(), old);
    assert_eq!(notes(&db).len(), 3);
}

#[test]
fn what_is_purged_is_gone_from_the_version_before_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    add(&db, &[("secret", "nobody is to read this of all letters")]).expect("adds");
    reembed(&db, "mpnet").expect("re-embeds");
    notes(&db).delete(["secret"]).expect("deletes");
    let purged = db.purge(|_| ControlFlow::Continue(())).expect("purges");
    assert!(purged.is_proved(), "{:?}", purged.problems);
    assert_eq!(purged.documents, 2, "in both versions");
    assert_eq!(notes(&db).info().before.expect("kept").documents, 2);
}

#[test]
fn a_purge_and_a_re_embedding_keep_out_of_each_other_s_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let purge = |db: &Database| db.purge(|_| ControlFlow::Continue(()));
    let mut refused = None;
    let options = BatchOptions::default().progress(|_| {
        refused = Some(purge(&db));
        ControlFlow::Continue(())
    });
    notes(&db)
        .reembed(models().join("mpnet"), options)
        .expect("re-embeds");
    let refused = refused.expect("it was told").expect_err("refused");
    assert!(refused.to_string().contains("re-embedded"), "{refused}");
    let mut refused = None;
    db.purge(|_| {
        refused = Some(roll_back(&db));
        ControlFlow::Continue(())
    })
    .expect("purges");
    let refused = refused.expect("it was told").expect_err("refused");
    assert!(refused.to_string().contains("purged"), "{refused}");
    roll_back(&db).expect("nobody else");
    assert!(purge(&db).expect("purges").is_proved());
}

#[test]
fn a_document_that_was_changed_since_is_changed_in_the_version_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    reembed(&db, "mpnet").expect("re-embeds");
    add(&db, &[("a", "another text than it was")]).expect("adds");
    let purged = db.purge(|_| ControlFlow::Continue(())).expect("purges");
    assert!(purged.is_proved(), "{:?}", purged.problems);
    // What was purged comes back by no way.
    roll_back(&db).expect("returns");
    assert_eq!(notes(&db).len(), 2);
    let text = notes(&db).get("a").expect("reads").map(|a| a.text);
    assert_eq!(text.as_deref(), Some("another text than it was"));
}

#[test]
fn a_model_that_is_gone_is_told_and_brought_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    fs::remove_dir_all(path.join("models")).expect("removed");
    let report = Database::check(&path).expect("checks");
    assert!(report.remarks.iter().any(|r| r.contains("distilbert-")));
    {
        let db = open(&path);
        let lost = notes(&db).query("winter").run().expect_err("it is gone");
        assert!(lost.to_string().contains("is gone"), "{lost}");
        notes(&db).kept_model().expect_err("it is gone");
        reembed(&db, "distilbert").expect("it is kept again");
        assert_eq!(stored(&db, "again").0, "distilbert");
    }
    // So is the one that it was before.
    {
        let db = open(&path);
        reembed(&db, "mpnet").expect("re-embeds");
        let lost = fs::read_dir(path.join("models"))
            .expect("a folder")
            .flatten();
        let lost = lost.map(|entry| entry.path());
        let lost = lost.filter(|p| p.to_string_lossy().contains("distilbert-"));
        lost.for_each(|path| fs::remove_dir_all(path).expect("removed"));
        add(&db, &[("c", "the end of the night")]).expect("adds");
    }
    {
        let db = open(&path);
        roll_back(&db).expect_err("its model is gone");
        reembed(&db, "distilbert").expect("it is kept again");
        assert_eq!(stored(&db, "again").1.len(), 3);
        notes(&db).forget_versions().expect("forgets");
    }
    // One that was let go of and comes again is opened again.
    let db = open(&path);
    for _ in 0..2 {
        reembed(&db, "mpnet").expect("re-embeds");
        assert_eq!(stored(&db, "there").0, "mpnet");
        roll_back(&db).expect("returns");
        notes(&db).forget_versions().expect("forgets");
    }
    drop(db);
    assert_eq!(kept(&path), ["distilbert"]);
}

#[test]
fn a_snapshot_has_its_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    reembed(&db, "mpnet").expect("re-embeds");
    for (name, options) in [
        ("linked", SnapshotOptions::default()),
        ("copied", SnapshotOptions::default().copy()),
    ] {
        let copy = folder.path().join(name);
        let made = db.snapshot(&copy, options).expect("made");
        assert_eq!((made.collections, made.documents), (1, 2));
        assert_eq!(kept(&copy), ["distilbert", "mpnet"]);
        let copy = open(&copy);
        assert_eq!(stored(&copy, name).0, "mpnet");
        roll_back(&copy).expect("returns");
        assert_eq!(stored(&copy, name).0, "distilbert");
    }
}

#[test]
fn what_cannot_be_re_embedded_is_told_and_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.vecdb");
    make(&path);
    let db = open(&path);
    let says = |result: Result<Reembedded>, words: &str| {
        let error = result.expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    };
    says(roll_back(&db), "no earlier version");
    says(reembed(&db, "nowhere"), "nowhere");
    let own = crate::database::CollectionOptions::vectors(2);
    let own = db.create_collection("own", own).expect("made");
    let model = models().join("mpnet");
    let call = |collection: &Collection| collection.reembed(&model, BatchOptions::default());
    says(call(&own), "the user's own");
    says(call(&db.collection("empty").expect("made")), "nothing yet");
    for name in ["notes\0before", "notes\0next"] {
        assert!(db.existing_collection(name).is_err() && db.collection(name).is_err());
    }
    let alone = notes(&db);
    let hold = alone.alone().expect("nobody else");
    says(reembed(&db, "mpnet"), "already");
    drop(hold);
    let reader = Database::open_read_only(&path).expect("opens");
    let read = notes(&reader).reembed(&model, BatchOptions::default());
    assert!(matches!(read, Err(Error::ReadOnly { .. })));
    assert_eq!(stored(&db, "as before").0, "distilbert");
}

type Step = fn(&Database) -> Result<()>;

/// Each may be made again after it was made.
const STEPS: &[Step] = &[
    |db| reembed(db, "mpnet").map(|_| ()),
    |db| add(db, &[("b", "bees in the garden"), ("c", "the end")]),
    |db| notes(db).delete(["a"]).map(|_| ()),
    |db| match notes(db).info().encoder {
        Some((name, _)) if name.starts_with("mpnet") => roll_back(db).map(|_| ()),
        _ => Ok(()),
    },
    |db| notes(db).forget_versions().map(|_| ()),
];

/// After each number of steps.
fn expected(steps: usize) -> (&'static str, &'static [&'static str]) {
    match steps {
        0 => ("distilbert", &["a", "b"]),
        1 => ("mpnet", &["a", "b"]),
        2 => ("mpnet", &["a", "b", "c"]),
        3 => ("mpnet", &["b", "c"]),
        _ => ("distilbert", &["b", "c"]),
    }
}

fn is(db: &Database, steps: usize, what: &str) -> bool {
    let (name, documents) = stored(db, what);
    let (expected, ids) = expected(steps);
    name == expected && documents.keys().eq(ids)
}

fn run(db: &Database, first: usize) -> std::result::Result<(), (usize, Error)> {
    let steps = STEPS.iter().enumerate().skip(first);
    steps
        .into_iter()
        .try_for_each(|(at, step)| step(db).map_err(|error| (at, error)))
}

/// The disk fails at each operation, or the power is cut there.
#[test]
fn whatever_interrupts_it_the_collection_is_by_the_one_or_by_the_other_encoder() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = folder.path().join("made.vecdb");
    make(&made);
    let copied = |name: &str, dir: &FaultyDir| -> (PathBuf, Database) {
        let path = folder.path().join(name);
        // By the disk that is to know what was synced.
        let read = options().read_only().disk(dir.disk()).open(&made);
        let snapshot = read
            .expect("opens")
            .snapshot(&path, SnapshotOptions::default().copy());
        snapshot.expect("made");
        let db = options().disk(dir.disk()).open(&path).expect("opens");
        (path, db)
    };
    let dir = FaultyDir::default();
    let (_, db) = copied("counted", &dir);
    dir.mend();
    run(&db, 0).expect("nothing fails");
    let operations = dir.take_trace();
    drop(db);
    println!("{} operations", operations.len());
    let cases = operations.par_iter().enumerate();
    let cases = cases.flat_map(|case| [(case, true), (case, false)]);
    cases.for_each(|((at, line), is_cut)| {
        let what = format!("operation {at}, {line}, cut: {is_cut}");
        let dir = FaultyDir::default();
        let (path, db) = copied(&format!("{at}.{is_cut}"), &dir);
        let image = folder.path().join(format!("{at}.image"));
        dir.plan(
            at,
            match is_cut {
                true => Fault::PowerCut {
                    of: path.clone(),
                    images: vec![image.clone()],
                    seed: at as u64,
                },
                false => Fault::Lasting(ErrorKind::StorageFull),
            },
        );
        let hit = run(&db, 0).err().map_or(STEPS.len(), |(step, _)| step);
        drop(db);
        let left = if is_cut { &image } else { &path };
        let db = open(left);
        let next = (hit + 1).min(STEPS.len());
        assert!(is(&db, hit, &what) || is(&db, next, &what), "{what}");
        run(&db, hit).unwrap_or_else(|(_, e)| panic!("{what}: {e}"));
        assert!(is(&db, STEPS.len(), &what), "{what}");
        drop(db);
        let report = Database::check(left).expect("checks");
        assert!(report.problems.is_empty(), "{what}: {:?}", report.problems);
        assert_eq!(kept(left), ["distilbert"], "{what}");
    });
}
