//! Speed of the index alone, on vectors: scan, walk, after churn, filters, opening, building, merging.
//!
//!     cargo bench --bench index            # all, some minutes
//!     cargo bench --bench index -- search  # what has "search" in its name
//!
//! Clustered vectors of 384 from a generator with a fixed seed; ten hits, ids and scores, no text. `scan` reads every code,
//! so its rate of rows is that of the kernel and the memory. Recall is not measured here, but by compare/compare.py on real
//! vectors. README.md tells what was seen.

mod data;

use std::cell::LazyCell;
use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{BatchSize, Criterion, Throughput};
use tempfile::TempDir;
use vecdb::{Collection, CollectionOptions, Database, Document, Merging, Query, Vector};

use data::{DIMENSION, QUERIES, Random, SEED, clustered, criterion, empty, group, numbered};

/// One row below that where a segment gets a graph as it is sealed.
const FLAT_ROWS: usize = 9_999;
const GRAPH_ROWS: usize = 20_000;
/// So often all rows are replaced where a bench says so, in calls of [`CALL_ROWS`].
const CHURNS: usize = 5;
const CALL_ROWS: usize = 1_000;

fn main() {
    let mut criterion = criterion();
    let flat: LazyCell<Fixture> = LazyCell::new(|| Fixture::new(FLAT_ROWS));
    let graph: LazyCell<Fixture> = LazyCell::new(|| Fixture::new(GRAPH_ROWS));
    scan(&mut criterion, &flat, &graph);
    search(&mut criterion, &graph);
    churned(&mut criterion, &graph);
    filtered(&mut criterion, &graph);
    open(&mut criterion, &graph);
    build(&mut criterion);
    merge(&mut criterion);
    criterion.final_summary();
}

/// Every code is read: rows a second.
fn scan(criterion: &mut Criterion, flat: &LazyCell<Fixture>, graph: &LazyCell<Fixture>) {
    let mut group = group(criterion, "scan");
    group.throughput(Throughput::Elements(FLAT_ROWS as u64));
    group.bench_function("9,999 rows, no graph", |bencher| {
        let mut queries = flat.queries();
        bencher.iter(|| ten(queries()));
    });
    group.throughput(Throughput::Elements(GRAPH_ROWS as u64));
    group.bench_function("20,000 rows, exact on request", |bencher| {
        let mut queries = graph.queries();
        bencher.iter(|| ten(queries().exact()));
    });
}

/// The walk over the graph, by the recall asked for.
fn search(criterion: &mut Criterion, graph: &LazyCell<Fixture>) {
    let mut group = group(criterion, "search of 20,000");
    for recall in [0.9, 0.95, 0.99] {
        group.bench_function(format!("recall {recall}"), |bencher| {
            let mut queries = graph.queries();
            bencher.iter(|| ten(queries().target_recall(recall)));
        });
    }
    group.bench_function("recall 0.95, with texts", |bencher| {
        let mut queries = graph.queries();
        bencher.iter(|| assert_eq!(black_box(queries().run().expect("hits")).len(), 10));
    });
}

/// The same rows as built in one call, and after all were replaced again and again in random order, merges done.
fn churned(criterion: &mut Criterion, graph: &LazyCell<Fixture>) {
    let replaced = LazyCell::new(|| {
        let (folder, database, collection) = empty(CollectionOptions::vectors(DIMENSION));
        let vectors = clustered(GRAPH_ROWS);
        let mut random = Random(SEED);
        let mut numbers: Vec<usize> = (0..GRAPH_ROWS).collect();
        for version in 0..=CHURNS {
            for last in (1..GRAPH_ROWS).rev() {
                numbers.swap(last, random.below(last + 1));
            }
            for some in numbers.chunks(CALL_ROWS) {
                let document =
                    |number| Document::new(format!("d{number}"), format!("version {version}"));
                let some = some.iter().map(|&n| (document(n), vectors[n].clone()));
                collection.add_vectors(some).expect("added");
                database.flush().expect("sealed");
            }
        }
        let made = database.compact(|_| ControlFlow::Continue(()));
        made.expect("merged");
        (collection, database, folder)
    });
    let mut group = group(criterion, "churned 20,000");
    group.bench_function("built in one call", |bencher| {
        let mut queries = graph.queries();
        bencher.iter(|| ten(queries()));
    });
    group.bench_function("replaced 5 times", |bencher| {
        let (collection, ..) = &*replaced;
        let mut vectors = graph.queries.iter().cycle();
        bencher.iter(|| {
            let vector = vectors.next().expect("endless").clone();
            ten(collection.query_vector(vector));
        });
    });
}

/// Filters that keep a part of the rows: any rows, and those that lie farthest from all queries.
fn filtered(criterion: &mut Criterion, graph: &LazyCell<Fixture>) {
    let mut group = group(criterion, "filtered search of 20,000");
    for (field, which) in [("bucket", "of any"), ("far", "of the farthest")] {
        for permille in [500, 100, 10, 1] {
            let name = format!("{which}, {} %", f64::from(permille) / 10.0);
            group.bench_function(name, |bencher| {
                let filter = format!("{field} < {permille}");
                let fixture = &**graph;
                let mut queries = match field {
                    "far" => fixture.near_one(),
                    _ => fixture.queries(),
                };
                bencher.iter(|| ten(queries().filter(&filter)));
            });
        }
    }
}

/// From the folder to the first answer: files lie in the page cache, but nothing of them is verified yet.
fn open(criterion: &mut Criterion, graph: &LazyCell<Fixture>) {
    let mut group = group(criterion, "open 20,000 read-only");
    let opened = |path: &std::path::Path| {
        let database = Database::options().read_only().open(path);
        database.expect("opened")
    };
    group.bench_function("open", |bencher| {
        let path = graph.path();
        bencher.iter(|| black_box(opened(&path)));
    });
    group.bench_function("open and ask", |bencher| {
        let (path, query) = (graph.path(), &graph.queries[0]);
        bencher.iter(|| {
            let collection = opened(&path).existing_collection("it").expect("there");
            ten(collection.query_vector(query.clone()));
        });
    });
}

/// One call: a segment with its graph, written and synced.
fn build(criterion: &mut Criterion) {
    let mut group = group(criterion, "build");
    group.throughput(Throughput::Elements(GRAPH_ROWS as u64));
    group.bench_function("20,000 vectors with a graph", |bencher| {
        let vectors = LazyCell::new(|| clustered(GRAPH_ROWS));
        let fresh = || {
            (
                empty(CollectionOptions::vectors(DIMENSION)),
                numbered(vectors.clone()),
            )
        };
        bencher.iter_batched(
            fresh,
            |((folder, database, collection), documents)| {
                collection.add_vectors(documents).expect("added");
                assert_eq!(collection.info().unsealed_passages, 0);
                (collection, database, folder)
            },
            BatchSize::PerIteration,
        );
    });
}

/// Four segments of 5,000 rows become one with a graph; a tenth of the rows is deleted.
fn merge(criterion: &mut Criterion) {
    let mut group = group(criterion, "merge");
    group.throughput(Throughput::Elements(GRAPH_ROWS as u64 * 9 / 10));
    group.bench_function("20,000 vectors in 4 segments", |bencher| {
        let documents = LazyCell::new(|| numbered(clustered(GRAPH_ROWS)));
        let fresh = || {
            let folder = tempfile::tempdir().expect("a folder");
            let options = Database::options().merging(Merging::on_request());
            let database = options.open(folder.path().join("vectors.vecdb"));
            let database = database.expect("a database");
            let options = CollectionOptions::vectors(DIMENSION);
            let collection = database.create_collection("it", options);
            let collection = collection.expect("a collection");
            for part in documents.chunks(GRAPH_ROWS / 4) {
                collection.add_vectors(part.to_vec()).expect("added");
                database.flush().expect("sealed");
            }
            let tenth = (0..GRAPH_ROWS).step_by(10).map(|n| format!("d{n}"));
            collection.delete(tenth).expect("deleted");
            database.flush().expect("sealed");
            assert_eq!(collection.info().segments, 4);
            (folder, database, collection)
        };
        bencher.iter_batched(
            fresh,
            |(folder, database, collection)| {
                let made = database.compact(|_| ControlFlow::Continue(()));
                made.expect("merged");
                assert_eq!(collection.info().segments, 1);
                (collection, database, folder)
            },
            BatchSize::PerIteration,
        );
    });
}

fn ten(query: Query) {
    assert_eq!(black_box(query.scores().expect("hits")).len(), 10);
}

/// All rows in one segment, with the fields `bucket` (random) and `far` (by distance from the first query), in 0..1000.
struct Fixture {
    collection: Collection,
    queries: Vec<Vector>,
    folder: TempDir,
}

impl Fixture {
    fn new(rows: usize) -> Self {
        let (folder, _, collection) = empty(CollectionOptions::vectors(DIMENSION));
        let mut vectors = clustered(rows + QUERIES);
        let queries = vectors.split_off(rows);
        let cosine = |vector: &Vector| {
            let product = |a: &Vector, b: &Vector| -> f32 {
                let pairs = a.as_slice().iter().zip(b.as_slice());
                pairs.map(|(x, y)| x * y).sum()
            };
            product(vector, &queries[0]) / product(vector, vector).sqrt()
        };
        let scores: Vec<f32> = vectors.iter().map(cosine).collect();
        let mut by_score: Vec<usize> = (0..rows).collect();
        by_score.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let mut far = vec![0; rows];
        for (rank, row) in by_score.into_iter().enumerate() {
            far[row] = (1000 * rank / rows) as i64;
        }
        let mut random = Random(SEED);
        let mut with_fields = |((document, vector), far): ((Document, Vector), i64)| {
            let bucket = random.below(1000) as i64;
            (document.field("bucket", bucket).field("far", far), vector)
        };
        let documents = numbered(vectors).into_iter().zip(far);
        let documents = documents.map(&mut with_fields);
        collection.add_vectors(documents).expect("added");
        assert_eq!(collection.info().segments, 1);
        Self {
            collection,
            queries,
            folder,
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("vectors.vecdb")
    }

    /// One query after the other.
    fn queries(&self) -> Box<dyn FnMut() -> Query + '_> {
        let mut vectors = self.queries.iter().cycle();
        Box::new(move || {
            let vector = vectors.next().expect("endless").clone();
            self.collection.query_vector(vector)
        })
    }

    /// The query that `far` is measured from.
    fn near_one(&self) -> Box<dyn FnMut() -> Query + '_> {
        Box::new(|| self.collection.query_vector(self.queries[0].clone()))
    }
}
