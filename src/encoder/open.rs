//! Puts an encoder together; what can be read at the same time is.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};

use xxhash_rust::xxh3::xxh3_128;

use super::device::{self, Wanted};
use super::export::{EXPORTER_VERSION, export};
use super::model::{Model, unusable};
use super::pool::Pool;
use super::session::Runtime;
use super::tokenizer::{self, Tokenizer};
use super::weights::Weights;
use super::{EncoderOptions, Inner};
use crate::error::{Error, Result};
use crate::home;

/// The fewest tokens of a text that a window must have room for beside prompt and special tokens.
const MIN_ROOM: usize = 8;

pub(super) fn open(options: &EncoderOptions) -> Result<Inner> {
    let folder = model_folder(options)?;
    let model = Model::read(&folder)?;
    let weights = Arc::new(Weights::open(&folder)?);
    let threads = options
        .threads
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));

    // Parsing the tokenizer and hashing the weights take about as long as opening the session.
    let read_tokenizer = || {
        let bytes = tokenizer::read(&folder)?;
        Ok((Tokenizer::new(&model, &bytes)?, xxh3_128(&bytes)))
    };
    let hash_weights = || weights.hash();
    let (tokenizer, weights_hash, pool) = thread::scope(|scope| {
        let tokenizer = aside(scope, &read_tokenizer);
        let hash = aside(scope, &hash_weights);
        let pool = Runtime::start(options.runtime.as_deref())
            .and_then(|runtime| open_pool(options, &model, &weights, runtime, threads));
        (
            joined(tokenizer, read_tokenizer).flatten(),
            joined(hash, hash_weights),
            pool,
        )
    });
    let (pool, device_note) = pool?;
    let (tokenizer, tokenizer_hash) = tokenizer?;
    let fingerprint = fingerprint(&model, weights_hash?, tokenizer_hash);
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
    Ok(Inner {
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
    weights: &Arc<Weights>,
    runtime: Runtime,
    threads: usize,
) -> Result<(Pool, Option<String>)> {
    let wanted = Wanted {
        device: options.device,
        id: options.device_id,
        memory_bytes: options.device_memory,
        half: false,
        max_tokens: model.max_tokens,
    };
    device::choose(&wanted, &runtime, |provider| {
        Pool::open(
            runtime.clone(),
            export(model, weights)?,
            Arc::clone(weights),
            model.config.hidden,
            provider,
            threads,
        )
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

/// Everything that can change a vector, hashed. The order and the words are part of it.
fn fingerprint(model: &Model, weights: u128, tokenizer: u128) -> String {
    let Model {
        config,
        pooling,
        max_tokens,
        prompts,
        ..
    } = model;
    let settings = format!(
        "exporter {EXPORTER_VERSION}\nweights {weights:032x}\ntokenizer {tokenizer:032x}\nlayers {}\nheads {}\n\
         epsilon {:e}\nactivation {:?}\npooling {pooling:?}\nunit\nmax_tokens {max_tokens}\nquery {:?}\npassage {:?}\n",
        config.layers,
        config.heads,
        config.epsilon,
        config.activation,
        prompts.query,
        prompts.passage
    );
    format!("{:032x}", xxh3_128(settings.as_bytes()))
}
