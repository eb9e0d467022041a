//! Texts through the built-in encoder.

use std::io::Cursor;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use vecdb::{
    BatchOptions, Collection, CollectionOptions, Database, Document, Error, Metric, Query, Stage,
    Vector,
};

/// A database with an empty collection of texts.
fn notes() -> (tempfile::TempDir, Database, Collection) {
    static SET_UP: OnceLock<()> = OnceLock::new();
    SET_UP.get_or_init(|| vecdb::setup::ensure().unwrap_or_else(|e| panic!("{e}")));
    let folder = tempfile::tempdir().expect("a folder");
    let db = Database::open(folder.path().join("n.vecdb")).expect("opens");
    let notes = db.collection("notes").expect("a collection");
    (folder, db, notes)
}

fn long_text() -> String {
    let sentence =
        |i: u32| format!("Paragraph {i} speaks of harbours, tides and the price of rope. ");
    let needle = "The violin maker varnished the spruce belly with amber resin. ";
    (0..120)
        .map(sentence)
        .chain([needle.to_owned()])
        .chain((120..200).map(sentence))
        .collect()
}

#[test]
fn a_query_finds_by_meaning_and_says_where() {
    let (_folder, _db, notes) = notes();
    let text = long_text();
    let added = notes
        .add([
            Document::new("sea", text.clone())
                .title("Notes")
                .field("lang", "en"),
            Document::new("onion", "Onions are fried until they are golden.").field("lang", "en"),
            Document::new("dough", "Der Teig muss eine Stunde ruhen.").field("lang", "de"),
        ])
        .expect("adds");
    assert_eq!(added.added, 3);
    assert!(
        added.passages > 10,
        "the long text became many passages: {added:?}"
    );
    let hits = notes
        .query("making a musical instrument")
        .limit(1)
        .run()
        .expect("a query");
    assert_eq!(hits[0].id, "sea");
    assert!(
        hits[0].passage.contains("violin maker"),
        "the best passage is the one that says it: {}",
        hits[0].passage
    );
    assert_eq!(text[hits[0].range.clone()], hits[0].passage);
    let german = notes
        .query("frying")
        .filter("lang = 'de'")
        .run()
        .expect("a query");
    assert_eq!(
        german.iter().map(|h| h.id.as_str()).collect::<Vec<_>>(),
        ["dough"]
    );
    assert_eq!(
        notes.query("frying").limit(3).run().expect("a query").len(),
        3,
        "each document once, all three"
    );
    assert!(matches!(notes.query(" ").run(), Err(Error::Query { .. })));
}

#[test]
fn a_document_scores_the_same_sealed_or_not_alone_or_in_company() {
    let (_folder, db, notes) = notes();
    let one = || Document::new("one", "Bread rises because yeast makes gas.").title("Yeast");
    notes.add([one()]).expect("adds");
    let score = || {
        notes
            .query("why dough grows")
            .limit(1)
            .run()
            .expect("a query")[0]
            .score
    };
    let alone = score();
    db.flush().expect("seals");
    assert!((score() - alone).abs() < 1e-6);
    let company = (0..40).map(|i| {
        Document::new(
            format!("c{i}"),
            format!("Ledger entry {i}: {}", "paid in full ".repeat(i)),
        )
    });
    notes
        .add(
            [Document {
                id: "two".into(),
                ..one()
            }]
            .into_iter()
            .chain(company),
        )
        .expect("adds");
    let hits = notes
        .query("why dough grows")
        .limit(2)
        .run()
        .expect("a query");
    assert!(
        hits.iter().all(|h| (h.score - alone).abs() < 1e-5),
        "{alone} against {hits:?}"
    );
}

#[test]
fn encoders_and_user_vectors_are_never_mixed() {
    let (_folder, db, notes) = notes();
    notes.add([Document::new("a", "text")]).expect("adds");
    let own = Vector::new(vec![1.0; 384]).expect("finite");
    let refused = notes.add_vectors([(Document::new("b", "text"), own.clone())]);
    assert!(
        matches!(refused, Err(Error::Collection { .. })),
        "{refused:?}"
    );
    let points = db
        .create_collection("points", CollectionOptions::vectors(384))
        .expect("a collection");
    points
        .add_vectors([(Document::new("b", "text"), own)])
        .expect("adds");
    assert!(matches!(
        points.add([Document::new("c", "text")]),
        Err(Error::Collection { .. })
    ));
    assert_eq!((notes.len(), points.len()), (1, 1));
}

#[test]
fn a_stream_reports_progress_and_a_second_run_encodes_nothing() {
    let (_folder, _db, notes) = notes();
    let stream = || {
        (0..300).map(|i| {
            Ok(Document::new(
                format!("d{i}"),
                format!("Entry number {i} of the log."),
            ))
        })
    };
    let mut sealed = false;
    let options = BatchOptions::default().progress(|progress| {
        sealed |= progress.stage == Stage::Sealing;
        assert!(progress.durable_documents <= progress.documents);
        ControlFlow::Continue(())
    });
    let first = notes.ingest(stream(), options).expect("ingests");
    assert_eq!(
        (first.added, first.passages, first.unchanged),
        (300, 300, 0)
    );
    assert!(sealed, "sealing is told");
    let second = notes
        .ingest(stream(), BatchOptions::default())
        .expect("ingests");
    assert_eq!(
        (
            second.added,
            second.updated,
            second.passages,
            second.unchanged
        ),
        (0, 0, 0, 300)
    );
    let twice = stream().chain(stream());
    assert!(matches!(
        notes.ingest(twice, BatchOptions::default()),
        Err(Error::DuplicateId { .. })
    ));
    assert_eq!(notes.len(), 300);
}

#[test]
fn a_cancelled_stream_keeps_what_was_encoded() {
    let (_folder, _db, notes) = notes();
    let stream = (0..2_000).map(|i| {
        Ok(Document::new(
            format!("d{i}"),
            format!("Entry number {i} of the log."),
        ))
    });
    let options = BatchOptions::default().progress(|_| ControlFlow::Break(()));
    assert!(matches!(
        notes.ingest(stream, options),
        Err(Error::Cancelled)
    ));
    let kept = notes.len();
    assert!(kept > 0 && kept < 2_000, "{kept}");
    assert_eq!(notes.info().unsealed_passages, 0, "and it is sealed");
}

#[test]
fn texts_of_a_batch_are_answered_as_if_they_were_asked_alone() {
    let (_folder, db, notes) = notes();
    notes
        .add([
            Document::new("sea", long_text()),
            Document::new("onion", "Onions are fried until they are golden."),
            Document::new("dough", "Der Teig muss eine Stunde ruhen."),
        ])
        .expect("adds");
    let never_filled = db.collection("empty").expect("made");
    // One is longer than a window, and one stands twice.
    let texts = ["frying", &long_text(), "rope", "frying", "baking bread"];
    let queries = || {
        texts
            .iter()
            .map(|text| notes.query(*text).limit(2))
            .chain([never_filled.query("nothing")])
    };
    let answers = Query::run_all(queries()).expect("queries");
    assert_eq!(answers.len(), texts.len() + 1);
    for (query, answer) in queries().zip(&answers) {
        let alone = query.run().expect("a query");
        assert_eq!(alone.len(), answer.len());
        for (alone, hit) in alone.iter().zip(answer) {
            assert_eq!((&alone.id, &alone.range), (&hit.id, &hit.range));
            // The model may sum in another order where batches have other shapes.
            assert!((alone.score - hit.score).abs() < 1e-4);
        }
    }
    let error = Query::run_all([notes.query("frying"), notes.query(" ")]).expect_err("empty");
    assert!(matches!(error, Error::Query { .. }), "{error}");
}

#[test]
fn a_long_document_is_an_example_with_all_its_passages() {
    let (_folder, db, notes) = notes();
    notes
        .add([
            Document::new("long", long_text()),
            Document::new(
                "harbour",
                "The price of rope rose in every harbour of the coast.",
            ),
            Document::new("onion", "Onions are fried until they are golden."),
        ])
        .expect("adds");
    let hits = notes.more_like(["long"]).run().expect("a query");
    let ids: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(
        ids,
        ["harbour", "onion"],
        "none of its own passages is found"
    );
    let less = notes.query("harbour").less_like(["long"]).run();
    let less = less.expect("a query");
    assert!(less.iter().all(|hit| hit.id != "long"));

    let options = CollectionOptions::default().metric(Metric::L2);
    let distances = db.create_collection("distances", options).expect("made");
    let error = distances
        .add([Document::new("a", "text")])
        .expect_err("texts are compared by cosine");
    assert!(error.to_string().contains("cosine"), "{error}");
}

#[test]
fn what_the_encoder_was_given_once_is_not_encoded_again() {
    let (_folder, db, notes) = notes();
    let text = |i: u32| format!("Entry number {i} of the log.");
    let copies = |from: u32, to: u32, name: &str| -> Vec<Document> {
        let copy = |i| Document::new(format!("{name}{i}"), text(i));
        (from..to).map(copy).collect()
    };
    let added = notes.add(copies(0, 20, "a")).expect("adds");
    assert_eq!((added.passages, added.reused), (20, 0));
    // From memory, within the call, and encoded: 15 of each.
    let mut more = copies(5, 20, "b");
    more.extend(copies(20, 35, "c"));
    more.extend(copies(20, 35, "d"));
    let added = notes.add(more).expect("adds");
    assert_eq!((added.passages, added.reused), (45, 30));
    db.flush().expect("seals");
    // From segments, and from what the same stream has not sealed yet.
    let stream = copies(0, 35, "e").into_iter().chain(copies(35, 400, "f"));
    let stream = stream.chain(copies(35, 400, "g")).map(Ok);
    let added = notes.ingest(stream, BatchOptions::default());
    let added = added.expect("ingests");
    assert_eq!((added.passages, added.reused), (765, 400));
    let again = notes.ingest(
        copies(0, 400, "h").into_iter().map(Ok),
        BatchOptions::default(),
    );
    let again = again.expect("ingests");
    assert_eq!((again.passages, again.reused, again.tokens), (400, 400, 0));
    // A title is given to the encoder too.
    let titled = copies(0, 1, "i").into_iter().map(|d| d.title("Log"));
    let titled = notes.add(titled).expect("adds");
    assert_eq!(titled.reused, 0);
    let hits = notes.query(text(7)).limit(5).run().expect("a query");
    let mut same: Vec<(&str, f32)> = hits.iter().map(|h| (h.id.as_str(), h.score)).collect();
    same.retain(|&(_, score)| score == hits[0].score);
    same.sort_by_key(|&(id, _)| id);
    assert_eq!(
        same.iter().map(|&(id, _)| id).collect::<Vec<_>>(),
        ["a7", "b7", "e7", "h7"]
    );
}

#[test]
fn a_document_that_takes_more_memory_than_allowed_is_refused_and_the_others_are_stored() {
    let (_folder, _db, notes) = notes();
    let small = |id: &str| Document::new(id, "A small text.");
    let large = Document::new("large", "word ".repeat(2_000_000));
    let options = BatchOptions::default().max_memory(32 << 20);
    let batch = (0..256).map(|i| small(&format!("s{i}")));
    let stream = batch.chain([large, small("behind")]).map(Ok);
    let error = notes.ingest(stream, options).expect_err("too large");
    assert!(
        matches!(&error, Error::Document { id, what } if id == "large" && what.contains("memory")),
        "{error}"
    );
    assert_eq!(notes.len(), 256);
}

#[test]
fn two_databases_with_different_encoders_live_in_one_process() {
    let (folder, db, notes) = notes();
    let models = include_bytes!("../golden/models.zip");
    let mut models = zip::ZipArchive::new(Cursor::new(&models[..])).expect("an archive");
    models.extract(folder.path()).expect("unpacked");
    let options = Database::options().model(folder.path().join("bert"));
    let other = options.open(folder.path().join("o.vecdb")).expect("opens");
    let others = other.collection("notes").expect("a collection");

    let texts = ["Onions are fried.", "The ship left the harbour.", "Rope"];
    let documents = || texts.map(|text| Document::new(text, text));
    std::thread::scope(|scope| {
        let added = [&notes, &others].map(|to| scope.spawn(|| to.add(documents())));
        for added in added {
            assert_eq!(added.join().expect("no panic").expect("adds").added, 3);
        }
    });
    assert_eq!(notes.info().dimension, Some(384));
    assert_eq!(others.info().dimension, Some(32));

    // Each text is its own best answer under either, asked together and alone.
    let asked = texts
        .iter()
        .flat_map(|text| [notes.query(*text), others.query(*text)]);
    let (answers, timings) = Query::run_all_timed(asked).expect("answers");
    for (text, hits) in texts.iter().zip(answers.chunks(2)) {
        for hits in hits {
            assert_eq!((hits[0].id.as_str(), hits.len()), (*text, 3));
            assert!(hits[0].score > 0.999, "{hits:?}");
        }
    }
    assert!(!timings.encode.is_zero() && !timings.search.is_zero());

    // Neither takes the other's vectors.
    drop((notes, others));
    db.close().expect("closes");
    other.close().expect("closes");
    let wrong = Database::open(folder.path().join("o.vecdb")).expect("opens");
    let wrong = wrong.collection("notes").expect("a collection");
    let (added, asked) = (wrong.add(documents()), wrong.query("rope").run());
    assert!(
        matches!(added, Err(Error::EncoderMismatch { .. })),
        "{added:?}"
    );
    assert!(
        matches!(asked, Err(Error::EncoderMismatch { .. })),
        "{asked:?}"
    );
}
