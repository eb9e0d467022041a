//! vecdb's side of the comparison with other encoders; `encoders.py` runs it and tells what it found.
//!
//!     encoders --texts TEXTS.jsonl --queries QUERIES.jsonl [--model FOLDER] [--threads 2] [--precision f32] [--vectors OUT.f32]
//!     encoders --peak [--threads 2]
//!
//! Only the public interface is used. The files hold a JSON string a line. Prints one JSON object: rates over real tokens
//! (no padding), tokenising included; the latency of a query of ten tokens; the peak of the process's memory. `--peak`
//! measures what the machine could do at most.
//!
//! | file | subject |
//! |---|---|
//! | `main.rs` | measures the encoder |
//! | `machine.rs` | the machine's multiply-adds and memory |
//! | `encoders.py` | all encoders in turn, the table |
//! | `peers.py` | the peers' side |

mod machine;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vecdb::encoder::{Encoder, EncoderOptions, Window};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs before the clock starts: enough for the sessions to be those that stay.
const WARM_UP: usize = 40;
const QUERIES: usize = 60;

fn main() -> Outcome<()> {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = typed.iter().position(|word| word == name)?;
        typed.get(at + 1).cloned()
    };
    let threads = match value("--threads") {
        Some(threads) => threads.parse()?,
        None => available_parallelism()?.get(),
    };
    if typed.iter().any(|word| word == "--peak") {
        println!("{}", machine::measured(threads));
        return Ok(());
    }
    let (Some(texts), Some(queries)) = (value("--texts"), value("--queries")) else {
        // `cargo bench` runs every bench, this one too.
        println!("run by benches/encoders/encoders.py");
        return Ok(());
    };
    let (texts, queries) = (strings(&texts)?, strings(&queries)?);
    let options = EncoderOptions {
        model: value("--model").map(PathBuf::from),
        threads: Some(threads),
        ..EncoderOptions::default()
    };
    println!(
        "{}",
        measure(&options, &texts, &queries, value("--vectors"))?
    );
    Ok(())
}

fn strings(path: &str) -> Outcome<Vec<String>> {
    let text = fs::read_to_string(path)?;
    let strings = text.lines().map(serde_json::from_str);
    Ok(strings.collect::<Result<_, _>>()?)
}

fn measure(
    options: &EncoderOptions,
    texts: &[String],
    queries: &[String],
    vectors: Option<String>,
) -> Outcome<Value> {
    let start = Instant::now();
    let encoder = Encoder::open(options)?;
    encoder.encode_query(queries.first().ok_or("no queries")?)?;
    let ready = start.elapsed();

    for text in texts.iter().take(WARM_UP) {
        encoder.encode_passage(text)?;
    }
    let start = Instant::now();
    let mut windows: Vec<Window> = Vec::new();
    for text in texts {
        windows.extend(encoder.windows(None, text)?);
    }
    let cut = start.elapsed();
    let rows = encoder.encode(&windows)?;
    let took = start.elapsed();
    if windows.len() != texts.len() {
        return Err("a text is longer than a window: the peers would see less of it".into());
    }
    let tokens: usize = windows.iter().map(Window::token_count).sum();
    let flops: f64 = windows
        .iter()
        .map(Window::token_count)
        .map(flops(encoder.folder())?)
        .sum();

    let mut waits: Vec<Duration> = Vec::new();
    for query in queries.iter().cycle().take(QUERIES) {
        let start = Instant::now();
        encoder.encode_query(query)?;
        waits.push(start.elapsed());
    }
    waits.sort();
    if let Some(path) = vectors {
        let bytes = rows
            .iter()
            .flat_map(|row| row.as_slice())
            .flat_map(|x| x.to_le_bytes());
        fs::write(path, bytes.collect::<Vec<u8>>())?;
    }
    Ok(json!({
        "passages": texts.len(),
        "tokens": tokens,
        "tokens_per_s": tokens as f64 / took.as_secs_f64(),
        "gflops": flops / took.as_secs_f64() / 1e9,
        "cutting_part": cut.as_secs_f64() / took.as_secs_f64(),
        "ready_ms": ready.as_secs_f64() * 1e3,
        "query_ms": waits[QUERIES / 2].as_secs_f64() * 1e3,
        "peak_mib": machine::peak_memory_bytes().map(|bytes| bytes >> 20),
    }))
}

/// Multiplications and additions of a text of so many tokens: the matrix products of a BERT, nothing else.
fn flops(folder: &Path) -> Outcome<impl Fn(usize) -> f64> {
    let config: Value = serde_json::from_str(&fs::read_to_string(folder.join("config.json"))?)?;
    let size = |name: &str| {
        config[name]
            .as_f64()
            .ok_or(format!("config.json has no {name}"))
    };
    let (hidden, layers, inner) = (
        size("hidden_size")?,
        size("num_hidden_layers")?,
        size("intermediate_size")?,
    );
    let a_token = 2.0 * layers * (4.0 * hidden * hidden + 2.0 * hidden * inner);
    Ok(move |tokens: usize| {
        let tokens = tokens as f64;
        tokens * a_token + 4.0 * layers * hidden * tokens * tokens
    })
}
