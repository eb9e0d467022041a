//! A collection of vectors, and beside it the same vectors in memory with a scan in plain Rust that says what is right.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use vecdb::{Collection, CollectionOptions, Database, Document, Merging, Metric, Vector};

use crate::random::Random;

const COLLECTION: &str = "points";
/// Two ways to add up a product differ by less, for vectors of length 1 or so.
pub const TIE: f64 = 1e-5;

impl Random {
    /// Roughly normal, mean 0.
    fn component(&mut self) -> f32 {
        let mut uniform = || (self.next() >> 40) as f32 / (1_u64 << 24) as f32;
        (0..4).map(|_| uniform()).sum::<f32>() - 2.0
    }

    pub fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.component()).collect()
    }
}

/// What the collection is to hold.
#[derive(Clone)]
pub struct Row {
    pub vector: Vec<f32>,
    /// Field `bucket`, in 0..1000.
    pub bucket: i64,
}

/// A collection and its rows by document number.
pub struct World {
    pub folder: tempfile::TempDir,
    pub db: Database,
    pub points: Collection,
    pub rows: BTreeMap<u32, Row>,
    metric: Metric,
    dimension: usize,
}

impl World {
    pub fn new(dimension: usize, metric: Metric) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (db, points) = open(folder.path(), dimension, metric);
        Self {
            folder,
            db,
            points,
            rows: BTreeMap::new(),
            metric,
            dimension,
        }
    }

    /// One call, under the next free numbers; buckets at random.
    pub fn add(&mut self, vectors: Vec<Vec<f32>>, random: &mut Random) {
        let first = self.rows.last_key_value().map_or(0, |(last, _)| last + 1);
        let rows = vectors.into_iter().map(|vector| Row {
            vector,
            bucket: random.place(1000) as i64,
        });
        self.put((first..).zip(rows).collect());
    }

    /// One call, under these numbers: what has them is replaced.
    pub fn put(&mut self, rows: Vec<(u32, Row)>) {
        let document = |(number, row): &(u32, Row)| {
            let document = Document::new(format!("d{number}"), "").field("bucket", row.bucket);
            let vector = Vector::new(row.vector.clone()).expect("finite");
            (document, vector)
        };
        self.points
            .add_vectors(rows.iter().map(document))
            .expect("adds");
        self.rows.extend(rows);
    }

    pub fn delete(&mut self, numbers: &[u32]) {
        let ids = numbers.iter().map(|number| format!("d{number}"));
        let deleted = self.points.delete(ids).expect("deletes");
        assert_eq!(deleted, numbers.len() as u64);
        self.rows.retain(|number, _| !numbers.contains(number));
    }

    /// Makes all merges that are due; there are some.
    pub fn merge(&self) {
        let made = self.db.compact(|_| ControlFlow::Continue(()));
        assert!(made.expect("merges").merges > 0);
    }

    /// Closes and opens again.
    pub fn reopen(self) -> Self {
        let Self {
            folder,
            db,
            points,
            rows,
            metric,
            dimension,
        } = self;
        drop(points);
        db.close().expect("closes");
        let (db, points) = open(folder.path(), dimension, metric);
        Self {
            folder,
            db,
            points,
            rows,
            metric,
            dimension,
        }
    }

    pub fn score(&self, query: &[f32], vector: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
        };
        match self.metric {
            Metric::Dot => dot(query, vector),
            Metric::L2 => {
                let apart = query.iter().zip(vector);
                let squares = apart.map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
                -squares.sum::<f64>().sqrt()
            }
            _ => dot(query, vector) / (dot(query, query) * dot(vector, vector)).sqrt(),
        }
    }

    /// The scores of all rows with a bucket below this, best first.
    pub fn scan(&self, query: &[f32], below: i64) -> Vec<f64> {
        let eligible = self.rows.values().filter(|row| row.bucket < below);
        let mut scores: Vec<f64> = eligible.map(|row| self.score(query, &row.vector)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores
    }

    /// Asks, checks all that must hold on every path, and counts the hits that the scan has too.
    pub fn ask(&self, asked: &Asked<'_>) -> Found {
        let vector = Vector::new(asked.query.to_vec()).expect("finite");
        let mut query = self.points.query_vector(vector).limit(asked.k);
        if let Some(below) = asked.below {
            query = query.filter(format!("bucket < {below}").as_str());
        }
        if asked.exact {
            query = query.exact();
        }
        let hits = query.scores().expect("a query");
        let scores = self.scan(asked.query, asked.below.unwrap_or(i64::MAX));
        let wanted = scores.len().min(asked.k);
        assert_eq!(hits.len(), wanted, "as many hits as match, at most k");
        let mut numbers = Vec::new();
        for hit in &hits {
            let number: u32 = hit.id[1..].parse().expect("our id");
            let row = self.rows.get(&number).expect("a live document");
            assert!(asked.below.is_none_or(|below| row.bucket < below));
            let score = self.score(asked.query, &row.vector);
            assert!(
                (score - f64::from(hit.score)).abs() < TIE * score.abs().max(1.0),
                "{} has {} and should have {score}",
                hit.id,
                hit.score
            );
            numbers.push(number);
        }
        assert!(
            hits.is_sorted_by(|a, b| a.score >= b.score),
            "best first: {hits:?}"
        );
        let mut different = numbers.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), hits.len(), "each document once");
        let least = wanted.checked_sub(1).map_or(f64::MAX, |last| scores[last]);
        let reaches = |hit: &&vecdb::Scored| {
            f64::from(hit.score) >= least - TIE * least.abs().clamp(1.0, 1e9)
        };
        Found {
            right: hits.iter().filter(reaches).count(),
            wanted,
            numbers,
        }
    }

    /// Asks for the exact answer, or for one that must be: every hit is right.
    pub fn ask_exactly(&self, asked: &Asked<'_>) {
        let found = self.ask(asked);
        assert_eq!(found.right, found.wanted, "{:?}", found.numbers);
    }

    /// The part of the right hits that queries found.
    pub fn recall<'a>(&self, asked: impl IntoIterator<Item = Asked<'a>>) -> f64 {
        let (mut right, mut wanted) = (0, 0);
        for asked in asked {
            let found = self.ask(&asked);
            right += found.right;
            wanted += found.wanted;
        }
        assert!(wanted > 0, "nothing was to be found");
        right as f64 / wanted as f64
    }
}

/// A query.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub query: &'a [f32],
    pub k: usize,
    /// Only rows with a bucket below this.
    pub below: Option<i64>,
    pub exact: bool,
}

impl<'a> Asked<'a> {
    /// As usual: no filter, no word about recall.
    pub fn usual(query: &'a [f32], k: usize) -> Self {
        Self {
            query,
            k,
            below: None,
            exact: false,
        }
    }
}

/// What a query found.
pub struct Found {
    /// Hits that the scan has too, or that tie with its last.
    pub right: usize,
    /// Hits there were to be found.
    pub wanted: usize,
    /// Documents, best first.
    pub numbers: Vec<u32>,
}

fn open(folder: &Path, dimension: usize, metric: Metric) -> (Database, Collection) {
    // Segments are merged when a test says so, and not before.
    let options = Database::options().merging(Merging::on_request());
    let db = options.open(folder.join("world.vecdb")).expect("opens");
    let options = CollectionOptions::vectors(dimension).metric(metric);
    let points = db
        .create_collection(COLLECTION, options)
        .expect("a collection");
    (db, points)
}
