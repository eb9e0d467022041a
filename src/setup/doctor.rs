//! The state of the encoder's parts, each looked at on its own: a part that is missing is a line, not an end.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::encoder::runtime::{self, Library};
use crate::encoder::{Device, Encoder, EncoderOptions, Window};
use crate::error::{Error, Result};
use crate::home;

/// Below this, set-up does not fit.
const LOW_SPACE_BYTES: u64 = 300 << 20;
/// How long the self-test encodes.
const SELF_TEST: Duration = Duration::from_millis(800);
/// Differences of rounding between processors stay far below this.
const PARITY_LIMIT: f32 = 1e-4;
/// The sentence whose vector is known.
const KNOWN_TEXT: &str = "Sled is an embedded store.";
/// The first components of its vector by the default model, from `tests/golden/make_minilm.py`.
const KNOWN_VECTOR: [f32; 8] = [
    -0.0992308, -0.0042031, -0.0116906, 0.0418515, 0.0174384, 0.0259550, -0.0141984, 0.0480361,
];
/// The default model's weights, tokenizer and settings.
const KNOWN_FINGERPRINT: &str = "6afd3221e3b68233c0ac235ce597636f";

/// Looks at everything the encoder stands on. Never fails: what is missing is in [`Doctor::problems`].
pub fn doctor(options: &EncoderOptions) -> Doctor {
    let home = home::home();
    let mut report = Doctor {
        version: env!("CARGO_PKG_VERSION").into(),
        free_bytes: home.as_deref().and_then(free_bytes),
        home,
        cpu: cpu(),
        ..Doctor::default()
    };
    match (&report.home, report.free_bytes) {
        (None, _) => report.problem(format!(
            "the system names no data folder; set {} to a folder",
            home::HOME_VARIABLE
        )),
        (Some(home), Some(free)) if free < LOW_SPACE_BYTES => {
            let what = format!(
                "only {} MB are free at {}; set-up takes 130 MB",
                free >> 20,
                home.display()
            );
            report.problem(what);
        }
        _ => {}
    }
    let library = match runtime::find(options.runtime.as_deref()) {
        Ok(library) => library,
        Err(error) => {
            report.problem(error.to_string());
            return report;
        }
    };
    let start = Instant::now();
    let encoder = Encoder::open(options);
    let open_ms = milliseconds(start.elapsed());
    report.runtime = Some(runtime_state(
        &library,
        options.device,
        encoder.as_ref().ok(),
    ));
    match encoder {
        Ok(encoder) => report.examine(&encoder, open_ms),
        Err(error @ Error::Model { .. }) => {
            report.problem(format!(
                "{error}; `vecdb setup` fetches the default model, --model names another"
            ));
        }
        Err(error) => report.problem(error.to_string()),
    }
    report
}

/// The state of the encoder's parts; `Display` is for people, `Serialize` for programs.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Doctor {
    /// vecdb's own version.
    pub version: String,
    /// The data folder.
    pub home: Option<PathBuf>,
    /// Free bytes on its file system.
    pub free_bytes: Option<u64>,
    /// The processor.
    pub cpu: Cpu,
    /// The ONNX Runtime library, if one loads.
    pub runtime: Option<RuntimeState>,
    /// The model, if it loads.
    pub model: Option<ModelState>,
    /// The self-test, if both load.
    pub self_test: Option<SelfTest>,
    /// What is wrong, each with the way out. Empty: all is well.
    pub problems: Vec<String>,
}

/// The processor, as far as it decides the encoder's speed.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Cpu {
    /// Processor family: "x86_64", "aarch64".
    pub architecture: String,
    /// Threads that run at once.
    pub threads: usize,
    /// Instruction sets found, of those that ONNX Runtime uses: "avx2", "avx512f", "avx512vnni", "neon".
    pub features: Vec<String>,
}

/// The ONNX Runtime library.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct RuntimeState {
    /// The library file.
    pub path: PathBuf,
    /// Its version.
    pub version: String,
    /// The execution providers it was built with, of those that vecdb knows; empty if no model loads.
    pub providers_available: Vec<String>,
    /// The device that was asked for: "auto", "cpu", "cuda", "tensorrt".
    pub device_asked: String,
    /// The execution provider that runs the model, with its device; `None` if no model loads.
    pub provider_used: Option<String>,
    /// Why "auto" took no GPU, where this build could have.
    pub device_note: Option<String>,
}

/// The model.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ModelState {
    /// The model folder.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// 32 hex digits; see [`Encoder::fingerprint`].
    pub fingerprint: String,
    /// Components of a vector.
    pub dimension: usize,
    /// Tokens of a window.
    pub max_tokens: usize,
}

/// What about one second of encoding showed.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct SelfTest {
    /// Opening the model, in milliseconds.
    pub open_ms: f64,
    /// The first short query, in milliseconds.
    pub query_ms: f64,
    /// Throughput on passages of mixed length.
    pub tokens_per_second: f64,
    /// The largest difference from the known vector of one sentence; `None` for another model than the default.
    pub parity: Option<f32>,
}

impl Doctor {
    /// Nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    fn examine(&mut self, encoder: &Encoder, open_ms: f64) {
        self.model = Some(ModelState {
            folder: encoder.folder().to_path_buf(),
            name: encoder.name().into(),
            fingerprint: encoder.fingerprint().into(),
            dimension: encoder.dimension(),
            max_tokens: encoder.max_tokens(),
        });
        match self_test(encoder, open_ms) {
            Ok(test) => {
                if let Some(difference) =
                    test.parity.filter(|difference| *difference > PARITY_LIMIT)
                {
                    self.problem(format!(
                        "a known sentence's vector differs by {difference:.1e}: the runtime library computes wrongly on \
                         this processor; try another with `vecdb setup --runtime FILE`"
                    ));
                }
                self.self_test = Some(test);
            }
            Err(error) => self.problem(format!("the self-test failed: {error}")),
        }
    }
}

fn runtime_state(library: &Library, asked: Device, encoder: Option<&Encoder>) -> RuntimeState {
    let providers = encoder
        .map(Encoder::providers_available)
        .unwrap_or_default();
    RuntimeState {
        path: encoder.map_or(library.path.clone(), |encoder| {
            encoder.runtime_path().to_path_buf()
        }),
        version: encoder.map_or(library.version.clone(), |encoder| {
            encoder.runtime_version().to_owned()
        }),
        providers_available: providers.into_iter().map(str::to_owned).collect(),
        device_asked: asked.to_string(),
        provider_used: encoder.map(Encoder::provider),
        device_note: encoder.and_then(Encoder::device_note).map(str::to_owned),
    }
}

fn self_test(encoder: &Encoder, open_ms: f64) -> Result<SelfTest> {
    let start = Instant::now();
    let known = encoder.encode_passage(KNOWN_TEXT)?;
    let query_ms = milliseconds(start.elapsed());
    let differences = known
        .as_slice()
        .iter()
        .zip(KNOWN_VECTOR)
        .map(|(x, known)| (x - known).abs());
    let parity =
        (encoder.fingerprint() == KNOWN_FINGERPRINT).then(|| differences.fold(0.0, f32::max));

    // Once before the clock runs: the first large call repacks the weights.
    encoder.encode(&passages(encoder, 0)?)?;
    let (start, mut tokens, mut round) = (Instant::now(), 0, 1);
    while start.elapsed() < SELF_TEST {
        let windows = passages(encoder, round)?;
        tokens += windows.iter().map(Window::token_count).sum::<usize>();
        encoder.encode(&windows)?;
        round += 1;
    }
    let tokens_per_second = tokens as f64 / start.elapsed().as_secs_f64();
    Ok(SelfTest {
        open_ms,
        query_ms,
        tokens_per_second,
        parity,
    })
}

/// Distinct passages of 20 to about 150 tokens.
fn passages(encoder: &Encoder, round: usize) -> Result<Vec<Window>> {
    let mut windows = Vec::new();
    for at in 0..16 {
        let text = format!("Note {round}.{at}: ")
            + &"a passage about storage, search and vectors. ".repeat(1 + at);
        windows.extend(encoder.windows(None, &text)?);
    }
    Ok(windows)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn cpu() -> Cpu {
    Cpu {
        architecture: std::env::consts::ARCH.into(),
        threads: thread::available_parallelism().map_or(1, usize::from),
        features: features()
            .into_iter()
            .filter(|(_, found)| *found)
            .map(|(name, _)| name.to_owned())
            .collect(),
    }
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
    ]
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        (
            "dotprod",
            std::arch::is_aarch64_feature_detected!("dotprod"),
        ),
        ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
    ]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}

/// Free bytes where the folder is, or will be.
fn free_bytes(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|folder| folder.exists())?;
    fs4::available_space(existing).ok()
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cpu {
            architecture,
            threads,
            features,
        } = &self.cpu;
        writeln!(f, "vecdb      {}", self.version)?;
        writeln!(
            f,
            "processor  {architecture}, {threads} threads, {}",
            list(features)
        )?;
        match &self.home {
            Some(home) => {
                write!(f, "data       {}", home.display())?;
                match self.free_bytes {
                    Some(free) => writeln!(f, " ({:.1} GB free)", free as f64 / 1e9)?,
                    None => writeln!(f)?,
                }
            }
            None => writeln!(f, "data       no folder")?,
        }
        match &self.runtime {
            Some(RuntimeState {
                path,
                version,
                providers_available,
                device_asked,
                provider_used,
                device_note,
            }) => {
                writeln!(f, "runtime    ONNX Runtime {version}, {}", path.display())?;
                let used = provider_used.as_deref().unwrap_or("none yet");
                writeln!(
                    f,
                    "providers  in use: {used} (asked for: {device_asked}); in the library: {}",
                    list(providers_available)
                )?;
                if let Some(note) = device_note {
                    writeln!(f, "           {note}")?;
                }
            }
            None => writeln!(f, "runtime    none that can be used")?,
        }
        match &self.model {
            Some(ModelState {
                folder,
                name,
                fingerprint,
                dimension,
                max_tokens,
            }) => {
                writeln!(
                    f,
                    "model      {name}, {dimension} dimensions, windows of {max_tokens} tokens"
                )?;
                writeln!(f, "           {}", folder.display())?;
                writeln!(f, "           fingerprint {fingerprint}")?;
            }
            None => writeln!(f, "model      none that can be used")?,
        }
        if let Some(SelfTest {
            open_ms,
            query_ms,
            tokens_per_second,
            parity,
        }) = self.self_test
        {
            writeln!(
                f,
                "self-test  opened in {open_ms:.0} ms, first query {query_ms:.1} ms, {tokens_per_second:.0} tokens/s"
            )?;
            match parity {
                Some(difference) => {
                    writeln!(f, "           known vector differs by {difference:.1e}")?
                }
                None => writeln!(f, "           no known vector for this model")?,
            }
        }
        match &self.problems[..] {
            [] => write!(f, "all is well"),
            problems => {
                write!(f, "problems")?;
                problems
                    .iter()
                    .try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "none known".into()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup;

    #[test]
    fn a_machine_that_is_set_up_is_healthy() {
        setup::ensure().expect("set up");
        let report = doctor(&EncoderOptions::default());
        assert!(report.is_healthy(), "{report}");
        let test = report.self_test.expect("a self-test");
        assert!(test.tokens_per_second > 10.0);
        assert!(test.parity.expect("the default model's vector is known") < 1e-5);
        let words = report.to_string();
        for part in [
            "ONNX Runtime 1.",
            "in use: CPU",
            "all-MiniLM-L6-v2, 384 dimensions",
            "all is well",
        ] {
            assert!(words.contains(part), "{words}");
        }
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["model"]["dimension"], 384);
    }

    #[test]
    fn what_is_missing_is_told_with_the_way_out() {
        setup::ensure().expect("set up");
        let nowhere = || Some(PathBuf::from("/nowhere/at/all"));
        let report = doctor(&EncoderOptions {
            runtime: nowhere(),
            ..EncoderOptions::default()
        });
        assert!(report.runtime.is_none() && report.model.is_none());
        assert_eq!(report.problems.len(), 1, "{report}");
        assert!(report.to_string().contains("vecdb setup"), "{report}");
        let report = doctor(&EncoderOptions {
            model: nowhere(),
            ..EncoderOptions::default()
        });
        assert!(report.runtime.is_some() && report.model.is_none());
        assert!(report.problems[0].contains("/nowhere/at/all"), "{report}");
        assert!(report.to_string().contains("vecdb setup"), "{report}");
    }
}
