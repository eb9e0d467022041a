//! Speed of the whole path, by the public API: texts → vectors, questions → hits, documents → disk.
//!
//!     cargo bench --bench database            # all, some minutes
//!     cargo bench --bench database -- search  # what has "search" in its name
//!
//! Texts and vectors come from a generator with a fixed seed. Databases lie in the system's folder for temporary files,
//! whose `fsync` is timed. The encoder is fetched on the first run, as `vecdb setup` does. README.md tells what was seen.

use std::cell::LazyCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, SamplingMode, Throughput};
use tempfile::TempDir;
use vecdb::encoder::{Encoder, EncoderOptions, Window};
use vecdb::{BatchOptions, Collection, CollectionOptions, Database, Document, Vector};

const SEED: u64 = 7;
const DIMENSION: usize = 384;
const CLUSTERS: usize = 200;
const QUERIES: usize = 64;
/// One row below that where a segment gets a graph.
const FLAT_ROWS: usize = 9_999;
const GRAPH_ROWS: usize = 20_000;
const PASSAGES: usize = 5_000;

const WORDS: &str = "a the of and in to is was for with on by from river stone house garden winter summer letter teacher \
    doctor music paper window market engine signal memory number question answer network surface pressure protein cell \
    library store key value table index graph search nearest vector query large small early late old new green open \
    finds keeps writes reads holds moves grows turns carries follows between under through before after";

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    encode(&mut criterion);
    ask(&mut criterion);
    search(&mut criterion);
    write(&mut criterion);
    criterion.final_summary();
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
        let texts: Vec<String> = words.into_iter().map(|n| random.text(n)).collect();
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

/// Ten hits from clustered vectors of 384, with the scan and with the graph; and opening what was searched.
fn search(criterion: &mut Criterion) {
    let fixture = |rows| LazyCell::new(move || VectorCollection::new(rows));
    let (flat, graph) = (fixture(FLAT_ROWS), fixture(GRAPH_ROWS));
    let mut group = group(criterion, "search");
    for (name, fixture) in [
        ("flat, 9,999 vectors", &flat),
        ("graph, 20,000 vectors", &graph),
    ] {
        group.bench_function(name, |bencher| {
            let mut vectors = fixture.queries.iter().cycle();
            bencher.iter(|| {
                let vector = vectors.next().expect("endless").clone();
                run(fixture.collection.query_vector(vector))
            });
        });
    }
    group.bench_function("open read-only, 20,000 vectors", |bencher| {
        let path = graph.folder.path().join("vectors.vecdb");
        bencher.iter(|| {
            let options = Database::options().read_only();
            black_box(options.open(&path).expect("opened"))
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
            let document = Document::new(format!("d{number}"), random.text(20));
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

/// Iterations take from microseconds to a second: with as many in each sample the slow ones end in time.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

fn run(query: vecdb::Query) {
    let hits = query.run().expect("hits");
    assert_eq!(black_box(hits).len(), 10);
}

fn open_encoder() -> Encoder {
    vecdb::setup::ensure().expect("an encoder");
    Encoder::open(&EncoderOptions::default()).expect("an encoder")
}

fn empty(options: CollectionOptions) -> (TempDir, Database, Collection) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path().join("vectors.vecdb")).expect("a database");
    let collection = database.create_collection("it", options);
    let collection = collection.expect("a collection");
    (folder, database, collection)
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
            let text = random.text(8);
            Ok(Document::new(format!("d{number}"), text).field("shelf", number as i64 % 10))
        });
        collection
            .ingest(documents, BatchOptions::default())
            .expect("ingested");
        let questions: Vec<String> = (0..QUERIES).map(|_| random.text(6)).collect();
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

struct VectorCollection {
    collection: Collection,
    queries: Vec<Vector>,
    folder: TempDir,
}

impl VectorCollection {
    /// All rows in one segment.
    fn new(rows: usize) -> Self {
        let (folder, _, collection) = empty(CollectionOptions::vectors(DIMENSION));
        let mut vectors = clustered(rows + QUERIES);
        let queries = vectors.split_off(rows);
        collection.add_vectors(numbered(vectors)).expect("added");
        assert_eq!(collection.info().segments, 1);
        Self {
            collection,
            queries,
            folder,
        }
    }
}

fn numbered(vectors: Vec<Vector>) -> Vec<(Document, Vector)> {
    let document = |number| Document::new(format!("d{number}"), "one row");
    let numbered = vectors.into_iter().enumerate();
    numbered.map(|(n, vector)| (document(n), vector)).collect()
}

/// Normal noise around 200 centres that are themselves normal, so that neighbours are near but not equal.
fn clustered(rows: usize) -> Vec<Vector> {
    let mut random = Random(SEED);
    let centres: Vec<Vec<f32>> = (0..CLUSTERS)
        .map(|_| (0..DIMENSION).map(|_| random.normal()).collect())
        .collect();
    let mut row = || {
        let centre = &centres[random.below(CLUSTERS)];
        let row: Vec<f32> = centre.iter().map(|x| x + random.normal()).collect();
        Vector::new(row).expect("finite numbers")
    };
    (0..rows).map(|_| row()).collect()
}

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Mean 0, variance 1: the sum of twelve uniform numbers, less their mean.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    /// So many words; a sentence has twelve.
    fn text(&mut self, words: usize) -> String {
        let known: Vec<&str> = WORDS.split_whitespace().collect();
        let mut text = String::new();
        for number in 0..words {
            if number > 0 {
                text.push_str(if number % 12 == 0 { ". " } else { " " });
            }
            text.push_str(known[self.below(known.len())]);
        }
        text
    }
}
