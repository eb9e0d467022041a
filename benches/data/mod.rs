//! What the benches share: databases in a temporary folder, and data from a generator with a fixed seed.

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use tempfile::TempDir;
use vecdb::{Collection, CollectionOptions, Database, Document, Vector};

/// Of everything generated.
pub const SEED: u64 = 7;
/// As all-MiniLM-L6-v2 has.
pub const DIMENSION: usize = 384;
/// Queries that a bench goes through again and again.
pub const QUERIES: usize = 64;
const CLUSTERS: usize = 200;

/// Ten samples, of two seconds together where an iteration is short.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args()
}

/// Iterations take from microseconds to seconds: with as many in each sample the slow ones end in time.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat);
    group
}

/// An empty collection; the folder goes when it is dropped.
pub fn empty(options: CollectionOptions) -> (TempDir, Database, Collection) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path().join("vectors.vecdb")).expect("a database");
    let collection = database.create_collection("it", options);
    let collection = collection.expect("a collection");
    (folder, database, collection)
}

/// Document `n` for vector `n`.
pub fn numbered(vectors: Vec<Vector>) -> Vec<(Document, Vector)> {
    let document = |number| Document::new(format!("d{number}"), "one row");
    let numbered = vectors.into_iter().enumerate();
    numbered.map(|(n, vector)| (document(n), vector)).collect()
}

/// Normal noise around 200 centres that are themselves normal, so that neighbours are near but not equal.
pub fn clustered(rows: usize) -> Vec<Vector> {
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
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..end.
    pub fn below(&mut self, end: usize) -> usize {
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
}
