//! Puts an encoder together; what can be read at the same time is.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use xxhash_rust::xxh3::xxh3_128;

use super::export::{EXPORTER_VERSION, export};
use super::model::{Model, unusable};
use super::pool::Pool;
use super::session::Runtime;
use super::tokenizer::{self, Tokenizer};
use super::weights::Weights;
use super::{EncoderOptions, Inner};
use crate::error::{Error, Result};
use crate::home;

pub(super) fn open(options: &EncoderOptions) -> Result<Inner> {
    let folder = model_folder(options)?;
    let model = Model::read(&folder)?;
    let weights = Arc::new(Weights::open(&folder)?);
    let threads = options
        .threads
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));

    // Parsing the tokenizer and hashing the weights take about as long as opening the session.
    let (tokenizer, weights_hash, pool) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| {
            let bytes = tokenizer::read(&folder)?;
            Ok((Tokenizer::new(&model, &bytes)?, xxh3_128(&bytes)))
        });
        let hash = scope.spawn(|| weights.hash());
        let pool = Runtime::start(options.runtime.as_deref()).and_then(|runtime| {
            Pool::open(
                runtime,
                export(&model, &weights)?,
                Arc::clone(&weights),
                model.config.hidden,
                threads,
            )
        });
        (
            joined(tokenizer.join()).flatten(),
            joined(hash.join()),
            pool,
        )
    });
    let pool = pool?;
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
        model,
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

fn joined<T>(result: thread::Result<T>) -> Result<T> {
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
