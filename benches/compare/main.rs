//! vecdb's side of the comparison with other engines; `compare.py` runs it and tells what it found.
//!
//!     compare build  --rows ROWS.npy --db FOLDER [--fields FIELDS.npy] [--segments N]
//!     compare search --db FOLDER --queries QUERIES.npy [--settings default,exact,0.9] [--filter FILTER] [--k 10]
//!                    [--threads 1] [--seconds 0.3] [--residency pinned]
//!
//! Only the public interface is used. Row `n` of the file is document `n`. Each measurement is one JSON line, the hits of
//! the first pass over the queries included, so that every engine's recall is computed by the same code.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | builds, and measures searches |
//! | `npy.rs` | the files that numpy writes |
//! | `compare.py` | all engines in turn, recall, the table |
//! | `peers.py` | the peers' side |
//! | `rows.py` | rows, fields, the exact answer |
//! | `million.py` | many rows out of few |

mod npy;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use npy::Npy;
use serde_json::json;
use vecdb::{Collection, CollectionOptions, Database, Document, Merging, Query, Residency, Vector};

type Outcome<T> = Result<T, Box<dyn Error>>;

const COLLECTION: &str = "rows";
/// Integer fields, the columns of FIELDS.npy.
const FIELDS: [&str; 2] = ["bucket", "far"];
/// Queries before the clock starts.
const WARM_UP: usize = 50;

fn main() -> Outcome<()> {
    let mut typed = std::env::args().skip(1);
    match typed.next().as_deref() {
        Some("build") => build(&Arguments::parse(typed)?),
        Some("search") => search(&Arguments::parse(typed)?),
        // `cargo bench` runs every bench, this one too.
        _ => {
            println!("run by benches/compare/compare.py");
            Ok(())
        }
    }
}

/// Options by name.
struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn parse(mut typed: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut named = BTreeMap::new();
        while let Some(name) = typed.next() {
            let value = typed.next().ok_or_else(|| format!("{name} has no value"))?;
            named.insert(name, value);
        }
        Ok(Self(named))
    }

    fn text(&self, name: &str) -> Outcome<&str> {
        let value = self.0.get(name).map(String::as_str);
        Ok(value.ok_or_else(|| format!("{name} is missing"))?)
    }

    fn number<T: FromStr>(&self, name: &str, default: T) -> Outcome<T> {
        let Some(value) = self.0.get(name) else {
            return Ok(default);
        };
        Ok(value
            .parse()
            .map_err(|_| format!("{name}: {value} is no number"))?)
    }
}

/// Rows → a database, all rows of a segment in one call.
fn build(arguments: &Arguments) -> Outcome<()> {
    let mut rows = Npy::open(Path::new(arguments.text("--rows")?))?;
    let mut fields = match arguments.0.get("--fields") {
        Some(path) => Some(Npy::open(Path::new(path))?),
        None => None,
    };
    let path = Path::new(arguments.text("--db")?);
    let segments: usize = arguments.number("--segments", 1)?;
    // As many segments as were asked for.
    let options = Database::options().merging(Merging::on_request());
    let database = options.open(path)?;
    let options = CollectionOptions::vectors(rows.columns());
    let collection = database.create_collection(COLLECTION, options)?;
    let total = rows.rows();
    let mut build = Duration::ZERO;
    let mut start = 0;
    for segment in 0..segments {
        let end = total * (segment + 1) / segments;
        let mut batch = Vec::with_capacity(end - start);
        for number in start..end {
            let mut document = Document::new(number.to_string(), "");
            if let Some(fields) = &mut fields {
                for (name, value) in FIELDS.iter().zip(fields.row()?) {
                    document = document.field(*name, value as i64);
                }
            }
            batch.push((document, Vector::new(rows.row()?)?));
        }
        start = end;
        let clock = Instant::now();
        collection.add_vectors(batch)?;
        build += clock.elapsed();
    }
    let clock = Instant::now();
    database.flush()?;
    build += clock.elapsed();
    let info = collection.info();
    drop(collection);
    database.close()?;
    let line = json!({
        "build_s": build.as_secs_f64(), "rows": total, "segments": info.segments,
        "disk_mb": info.bytes as f64 / 1e6, "peak_mb": peak_mb(),
    });
    println!("{line}");
    Ok(())
}

/// Queries → times and hits, one line a setting.
fn search(arguments: &Arguments) -> Outcome<()> {
    let path = Path::new(arguments.text("--db")?);
    let clock = Instant::now();
    let residency = match arguments.0.get("--residency").map(String::as_str) {
        None | Some("mapped") => Residency::Mapped,
        Some("pinned") => Residency::Pinned,
        Some(other) => return Err(format!("--residency is mapped or pinned, not {other}").into()),
    };
    let database = Database::options()
        .read_only()
        .residency(residency)
        .open(path)?;
    let open_ms = clock.elapsed().as_secs_f64() * 1e3;
    let collection = database.existing_collection(COLLECTION)?;
    let mut file = Npy::open(Path::new(arguments.text("--queries")?))?;
    let queries = (0..file.rows())
        .map(|_| Ok(Vector::new(file.row()?)?))
        .collect::<Outcome<Vec<Vector>>>()?;
    let threads: usize = arguments.number("--threads", 1)?;
    let seconds = Duration::from_secs_f64(arguments.number("--seconds", 0.3)?);
    let filter = arguments.0.get("--filter").map(String::as_str);
    let k: usize = arguments.number("--k", 10)?;
    let settings = arguments.0.get("--settings").map_or("default", |s| s);
    for setting in settings.split(',') {
        let asked = Asked {
            collection: &collection,
            queries: &queries,
            filter,
            k,
            setting: setting.parse()?,
        };
        let ids = asked.first_pass()?;
        let mut line = match threads {
            1 => asked.one_thread(seconds)?,
            threads => asked.many_threads(threads, seconds)?,
        };
        line["setting"] = json!(setting);
        line["ids"] = json!(ids);
        line["open_ms"] = json!(open_ms);
        line["peak_mb"] = json!(peak_mb());
        println!("{line}");
    }
    Ok(())
}

/// What is asked of a collection.
struct Asked<'a> {
    collection: &'a Collection,
    queries: &'a [Vector],
    filter: Option<&'a str>,
    k: usize,
    setting: Setting,
}

/// How much effort a query is to make.
#[derive(Clone, Copy)]
enum Setting {
    /// What a query does of itself.
    Default,
    Exact,
    Recall(f32),
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "exact" => Ok(Self::Exact),
            recall => {
                let recall = recall.parse().map_err(|_| format!("setting {recall}"))?;
                Ok(Self::Recall(recall))
            }
        }
    }
}

impl Asked<'_> {
    fn run(&self, query: Vector) -> Outcome<Vec<String>> {
        let mut asked: Query = self.collection.query_vector(query).limit(self.k);
        if let Some(filter) = self.filter {
            asked = asked.filter(filter);
        }
        let asked = match self.setting {
            Setting::Default => asked,
            Setting::Exact => asked.exact(),
            Setting::Recall(recall) => asked.target_recall(recall),
        };
        Ok(asked.scores()?.into_iter().map(|hit| hit.id).collect())
    }

    /// The hits of every query, by row.
    fn first_pass(&self) -> Outcome<Vec<Vec<u32>>> {
        let hits = |query: &Vector| -> Outcome<Vec<u32>> {
            let ids = self.run(query.clone())?;
            Ok(ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
        };
        self.queries.iter().map(hits).collect()
    }

    /// One query after the other, whole passes, for at least so long.
    fn one_thread(&self, at_least: Duration) -> Outcome<serde_json::Value> {
        for query in self.queries.iter().cycle().take(WARM_UP) {
            self.run(query.clone())?;
        }
        let mut latencies = Vec::new();
        let clock = Instant::now();
        while clock.elapsed() < at_least {
            for query in self.queries {
                let query = query.clone();
                let clock = Instant::now();
                let hits = self.run(query)?;
                latencies.push(clock.elapsed().as_secs_f64());
                drop(hits);
            }
        }
        latencies.sort_by(f64::total_cmp);
        let at = |part: f64| 1e6 * latencies[(latencies.len() as f64 * part) as usize];
        let qps = latencies.len() as f64 / latencies.iter().sum::<f64>();
        Ok(json!({ "qps": qps, "p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99) }))
    }

    /// Every thread asks all the queries, from a place of its own on, for so long.
    fn many_threads(&self, threads: usize, seconds: Duration) -> Outcome<serde_json::Value> {
        let barrier = Barrier::new(threads);
        let ask = |thread: usize| -> Result<f64, String> {
            let first = self.queries.len() * thread / threads;
            let mut queries = self.queries.iter().cycle().skip(first);
            barrier.wait();
            let clock = Instant::now();
            let mut asked = 0_u64;
            while clock.elapsed() < seconds {
                for query in queries.by_ref().take(WARM_UP) {
                    self.run(query.clone()).map_err(|error| error.to_string())?;
                    asked += 1;
                }
            }
            Ok(asked as f64 / clock.elapsed().as_secs_f64())
        };
        let rates = std::thread::scope(|scope| {
            let ask = &ask;
            let running: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || ask(thread)))
                .collect();
            let ended = running.into_iter().map(|thread| thread.join());
            ended
                .map(|rate| rate.map_err(|_| "a thread panicked".to_owned())?)
                .collect::<Result<Vec<f64>, String>>()
        })?;
        Ok(json!({ "qps": rates.iter().sum::<f64>(), "threads": threads }))
    }
}

/// The most memory that this process held at once, shared and mapped pages included; Linux only.
fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}
