//! Puts an encoder together; what can be read at the same time is.

use std::path::PathBuf;
use std::thread::{self, Scope, ScopedJoinHandle};

use xxhash_rust::xxh3::xxh3_128;

use super::adapter::Adapter;
use super::device::{self, Provider, Wanted};
use super::export::EXPORTER_VERSION;
use super::head::Head;
use super::model::{Architecture, Model, Prompts, Source, unusable};
use super::network::{self, Network};
use super::pool::Pool;
use super::session::{Runtime, Session};
use super::tokenizer::{self, Tokenizer};
use super::{EncoderOptions, Inner, Precision};
use crate::error::{Error, Result};
use crate::home;

/// The fewest tokens of a text that a window must have room for beside prompt and special tokens.
const MIN_ROOM: usize = 8;

pub(super) fn open(options: &EncoderOptions) -> Result<Inner> {
    let folder = model_folder(options)?;
    let model = Model::read(&folder, options)?;
    let threads = options
        .threads
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));

    // Parsing the tokenizer and hashing the weights take about as long as opening the session.
    let read_tokenizer = || {
        let bytes = tokenizer::read(&folder)?;
        Ok((Tokenizer::new(&model, &bytes)?, xxh3_128(&bytes)))
    };
    let files = network::files(&model)?;
    let hash = || network::describe(&files);
    let (tokenizer, network_line, pool) = thread::scope(|scope| {
        let tokenizer = aside(scope, &read_tokenizer);
        let line = aside(scope, &hash);
        let pool = Runtime::start(options.runtime.as_deref())
            .and_then(|runtime| open_pool(options, &model, &runtime, threads.max(1)));
        (
            joined(tokenizer, read_tokenizer).flatten(),
            joined(line, hash),
            pool,
        )
    });
    let (pool, device_note) = pool?;
    let (tokenizer, tokenizer_hash) = tokenizer?;
    let fingerprint = fingerprint(&model, &pool, &network_line?, tokenizer_hash);
    let prompt = |text: &str| -> Result<Vec<u32>> {
        let ids = if text.is_empty() {
            Vec::new()
        } else {
            tokenizer.ids(text)?
        };
        if ids.len() > model.max_tokens / 2 {
            return Err(unusable(
                &folder,
                format!("its prompt {text:?} takes more than half of a window"),
            ));
        }
        let fixed = tokenizer.before().len() + ids.len() + tokenizer.after().len();
        if fixed + MIN_ROOM > model.max_tokens {
            let what = format!(
                "prompt and special tokens take {fixed} of the {} tokens of a window, which leaves no room for text",
                model.max_tokens
            );
            return Err(unusable(&folder, what));
        }
        Ok(ids)
    };
    let (query_prompt, passage_prompt) = (
        prompt(&model.prompts.query)?,
        prompt(&model.prompts.passage)?,
    );
    let adapter = Adapter::read(&folder, pool.head().dimension())?;
    Ok(Inner {
        adapter,
        fingerprint,
        tokenizer,
        query_prompt,
        passage_prompt,
        pool,
        device_note,
        model,
    })
}

/// The pool on the first device that works, and why a better one does not.
fn open_pool(
    options: &EncoderOptions,
    model: &Model,
    runtime: &Runtime,
    threads: usize,
) -> Result<(Pool, Option<String>)> {
    let wanted = Wanted {
        device: options.device,
        id: options.device_id,
        memory_bytes: options.device_memory,
        half: options.precision == Precision::F16,
        max_tokens: model.max_tokens,
    };
    device::choose(&wanted, runtime, |provider| {
        let precision = options.precision.on(&provider)?;
        let network = Network::open(model, &provider, precision)?;
        let mut shape = provider.shape(threads);
        if network.config().is_none() && provider == Provider::Cpu {
            shape = shape.for_own_graph(threads);
        }
        let first = if precision == Precision::Int8 {
            // Unpacked it is another computation, with other rounding, and slow.
            shape.mapped_runs = 0;
            None
        } else {
            let threads = if shape.sessions == 1 {
                shape.wide_threads
            } else {
                1
            };
            Some(network.session(runtime, &provider, threads, None)?)
        };
        let inputs = network.config().map(|config| config.hidden);
        let inputs = inputs.or(first.as_ref().and_then(Session::width));
        let inputs = inputs.ok_or_else(|| {
            unusable(
                &model.folder,
                "its ONNX file does not say how many components its output has",
            )
        })?;
        let head = Head::open(model, inputs)?;
        let pool = Pool::new(runtime.clone(), network, head, provider, shape, first);
        pool.try_out()?;
        Ok(pool)
    })
}

/// The caller's folder, the variable's, or the data folder's model.
fn model_folder(options: &EncoderOptions) -> Result<PathBuf> {
    options
        .model
        .clone()
        .or_else(home::model_folder)
        .ok_or_else(|| Error::Model {
            path: home::DEFAULT_MODEL.into(),
            what: format!(
                "the system names no data folder; set {} to a model folder",
                home::MODEL_VARIABLE
            ),
        })
}

/// Starts `work` on a thread of its own; `None` where the system refuses one.
fn aside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: &'scope (impl Fn() -> T + Sync),
) -> Option<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().spawn_scoped(scope, work).ok()
}

/// The result of what [`aside`] started; where it could not, the work is done here.
fn joined<T>(handle: Option<ScopedJoinHandle<'_, T>>, work: impl Fn() -> T) -> Result<T> {
    let result = handle.map_or_else(|| Ok(work()), ScopedJoinHandle::join);
    result.map_err(|_| Error::Encode {
        what: "a thread panicked while the model was opened".into(),
    })
}

/// Everything that can change a vector, hashed. The order and the words are part of it. What other models than the first
/// ones have stands in lines that these lack, so that theirs is what it always was.
fn fingerprint(model: &Model, pool: &Pool, network: &str, tokenizer: u128) -> String {
    let Model {
        source,
        modules,
        max_tokens,
        prompts,
        kept,
        overlap,
        ..
    } = model;
    let mut settings =
        format!("exporter {EXPORTER_VERSION}\n{network}\ntokenizer {tokenizer:032x}\n");
    if let Source::Weights(config) = source {
        settings += &format!(
            "layers {}\nheads {}\nepsilon {:e}\nactivation {:?}\n",
            config.layers, config.heads, config.epsilon, config.activation
        );
        if config.architecture != Architecture::Bert {
            settings += &format!(
                "architecture {:?} {} {}\n",
                config.architecture, config.first_position, config.distance_buckets
            );
        }
    }
    settings += &format!(
        "pooling {:?}\nunit\nmax_tokens {max_tokens}\nquery {:?}\npassage {:?}\n",
        modules.pooling, prompts.query, prompts.passage
    );
    if !modules.prompt_is_pooled && *prompts != Prompts::default() {
        settings += "prompt is not pooled\n";
    }
    settings += &pool.head().describe_dense();
    if kept.is_some() {
        settings += &format!("kept {}\n", pool.head().dimension());
    }
    if let Some(overlap) = overlap {
        settings += &format!("overlap {overlap}\n");
    }
    format!("{:032x}", xxh3_128(settings.as_bytes()))
}
