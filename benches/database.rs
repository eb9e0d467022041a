//! Speed of the whole path, by the public API: texts → vectors, questions → hits, documents → disk.
//!
//!     cargo bench --bench database            # all
//!     cargo bench --bench database -- encode  # what has "encode" in its name
//!
//! Texts and vectors come from a generator with a fixed seed. Databases lie in the system's folder for temporary files,
//! whose `fsync` is timed. The encoder is fetched on the first run, as `vecdb setup` does. README.md tells what was seen.

mod data;

use std::cell::LazyCell;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use tempfile::TempDir;
use vecdb::encoder::{Encoder, EncoderOptions, Window};
use vecdb::{BatchOptions, Collection, CollectionOptions, Document, Vector};

use data::{DIMENSION, QUERIES, Random, SEED, clustered, criterion, empty, group, numbered};

const PASSAGES: usize = 5_000;

const WORDS: &str = "a the of and in to is was for with on by from river stone house garden winter summer letter teacher \
    doctor music paper window market engine signal memory number question answer network surface pressure protein cell \
    library store key value table index graph search nearest vector query large small early late old new green open \
    finds keeps writes reads holds moves grows turns carries follows between under through before after";

fn main() {
    let mut criterion = criterion();
    open(&mut criterion);
    encode(&mut criterion);
    ask(&mut criterion);
    write(&mut criterion);
    criterion.final_summary();
}

/// A model folder → an encoder, and → an ONNX file for others. Cold starts of whole processes: `encoders/cold.py`.
fn open(criterion: &mut Criterion) {
    let encoder = open_encoder();
    let mut group = group(criterion, "model");
    group.bench_function("opened", |bencher| bencher.iter(open_encoder));
    group.bench_function("exported", |bencher| {
        bencher.iter_batched(
            || tempfile::tempdir().expect("a folder"),
            |folder| {
                let exported = encoder.export_onnx(folder.path().join("onnx"));
                exported.expect("written");
                folder
            },
            BatchSize::PerIteration,
        );
    });
}

/// Text → unit vectors: tokenising, cutting and the model. Throughput counts tokens without padding.
fn encode(criterion: &mut Criterion) {
    let encoder = open_encoder();
    let mut group = group(criterion, "encode");
    for (name, words) in [
        ("short: 64 of 8 words", vec![8; 64]),
        (
            "mixed: 16 of 5 to 170 words",
            (0..16).map(|n| 5 + 11 * n).collect(),
        ),
        ("long: 1 of 900 words", vec![900]),
    ] {
        let mut random = Random(SEED);
        let texts: Vec<String> = words.into_iter().map(|n| text(&mut random, n)).collect();
        let windows = || -> Vec<Window> {
            let cut = texts.iter().map(|text| encoder.windows(None, text));
            cut.flat_map(|windows| windows.expect("windows")).collect()
        };
        let tokens: usize = windows().iter().map(Window::token_count).sum();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| encoder.encode(&windows()).expect("vectors"));
        });
    }
}

/// Query latency where 5,000 short texts lie in one segment, ten hits with their texts.
fn ask(criterion: &mut Criterion) {
    let notes = LazyCell::new(TextCollection::new);
    let mut group = group(criterion, "query of 5,000 passages");
    group.bench_function("text", |bencher| {
        let mut texts = notes.questions.iter().cycle();
        bencher.iter(|| run(notes.collection.query(texts.next().expect("endless"))));
    });
    group.bench_function("vector", |bencher| {
        let mut vectors = notes.vectors.iter().cycle();
        bencher.iter(|| {
            let vector = vectors.next().expect("endless").clone();
            run(notes.collection.query_vector(vector))
        });
    });
    group.bench_function("vector, filter that keeps a tenth", |bencher| {
        let mut vectors = notes.vectors.iter().cycle();
        bencher.iter(|| {
            let vector = vectors.next().expect("endless").clone();
            run(notes.collection.query_vector(vector).filter("shelf = 3"))
        });
    });
}

/// Documents → durable. One is a write-ahead row; a large batch is a segment at once.
fn write(criterion: &mut Criterion) {
    let mut group = group(criterion, "add");
    group.bench_function("one vector", |bencher| {
        let (_folder, _, collection) = empty(CollectionOptions::vectors(DIMENSION));
        let mut vectors = clustered(QUERIES).into_iter().cycle().zip(0_u64..);
        bencher.iter(|| {
            let (vector, number) = vectors.next().expect("endless");
            let document = Document::new(format!("d{number}"), "one row");
            collection.add_vectors([(document, vector)]).expect("added")
        });
    });
    group.bench_function("one text of 20 words", |bencher| {
        let (_folder, _, collection) = empty(CollectionOptions::default());
        let mut random = Random(SEED);
        let mut numbers = 0_u64..;
        bencher.iter(|| {
            let number = numbers.next().expect("endless");
            let document = Document::new(format!("d{number}"), text(&mut random, 20));
            collection.add([document]).expect("added")
        });
    });
    group.throughput(Throughput::Elements(PASSAGES as u64));
    group.bench_function("5,000 vectors, sealed", |bencher| {
        let vectors = LazyCell::new(|| clustered(PASSAGES));
        let fresh = || {
            (
                empty(CollectionOptions::vectors(DIMENSION)),
                numbered(vectors.clone()),
            )
        };
        bencher.iter_batched(
            fresh,
            |((folder, database, collection), documents)| {
                let added = collection.add_vectors(documents).expect("added");
                assert_eq!(collection.info().unsealed_passages, 0);
                (added, collection, database, folder)
            },
            BatchSize::PerIteration,
        );
    });
}

fn run(query: vecdb::Query) {
    let hits = query.run().expect("hits");
    assert_eq!(black_box(hits).len(), 10);
}

fn open_encoder() -> Encoder {
    vecdb::setup::ensure().expect("an encoder");
    Encoder::open(&EncoderOptions::default()).expect("an encoder")
}

struct TextCollection {
    collection: Collection,
    questions: Vec<String>,
    vectors: Vec<Vector>,
    _folder: TempDir,
}

impl TextCollection {
    fn new() -> Self {
        let encoder = open_encoder();
        let (_folder, _, collection) = empty(CollectionOptions::default());
        let mut random = Random(SEED);
        let documents = (0..PASSAGES).map(|number| {
            let text = text(&mut random, 8);
            Ok(Document::new(format!("d{number}"), text).field("shelf", number as i64 % 10))
        });
        collection
            .ingest(documents, BatchOptions::default())
            .expect("ingested");
        let questions: Vec<String> = (0..QUERIES).map(|_| text(&mut random, 6)).collect();
        let vectors = questions.iter().map(|text| encoder.encode_query(text));
        let vectors = vectors.map(|vector| vector.expect("a vector")).collect();
        Self {
            collection,
            questions,
            vectors,
            _folder,
        }
    }
}

/// So many words; a sentence has twelve.
fn text(random: &mut Random, words: usize) -> String {
    let known: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for number in 0..words {
        if number > 0 {
            text.push_str(if number % 12 == 0 { ". " } else { " " });
        }
        text.push_str(known[random.below(known.len())]);
    }
    text
}
