//! A BERT that knows nothing yet: a WordPiece vocabulary trained on texts, settings, and weights by chance.
//!
//! The folder is laid out as sentence-transformers has it, with the names that BERT's weights have on the Hugging Face hub.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{
    AddedToken, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Tokenizer, Trainer,
};

use super::tokenizer::TOKENIZER_FILE;
use super::trunk::beginning;
use super::weights::{self, Tensor, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::random::Random;

/// As BERT names them, in the order of their ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
/// What a piece begins with that stands inside of a word.
const INSIDE: &str = "##";
const EPSILON: f32 = 1e-12;
/// More than any network of this kind has.
const MOST: Fresh = Fresh {
    vocabulary: 1 << 20,
    layers: 100,
    hidden: 8_192,
    heads: 256,
    positions: 1 << 16,
    lower_case: true,
};

/// The shape of a new BERT. The default has some 5.3 million weights: what a processor of a few cores trains in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fresh {
    /// Words and pieces of words that the vocabulary has at most, special ones included.
    pub vocabulary: usize,
    /// Layers.
    pub layers: usize,
    /// Components of a token's vector; a multiple of `heads`.
    pub hidden: usize,
    /// Heads of a layer's attention.
    pub heads: usize,
    /// Tokens that a text may have; its windows have as many as the texts that it was trained on.
    pub positions: usize,
    /// Upper and lower case, and accents, make no difference.
    pub lower_case: bool,
}

impl Default for Fresh {
    fn default() -> Self {
        Self {
            vocabulary: 8_000,
            layers: 4,
            hidden: 256,
            heads: 4,
            positions: 512,
            lower_case: true,
        }
    }
}

impl Fresh {
    /// # Errors
    /// [`Error::Tune`] for a shape that no network has.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::Tune { what: what.into() });
        let Self {
            vocabulary,
            layers,
            hidden,
            heads,
            positions,
            ..
        } = *self;
        if layers == 0 || heads == 0 || hidden == 0 || hidden % heads != 0 {
            return refuse(
                "a network has at least one layer, and as many components as are a multiple of its heads",
            );
        }
        if vocabulary > MOST.vocabulary
            || layers > MOST.layers
            || hidden > MOST.hidden
            || heads > MOST.heads
            || positions > MOST.positions
        {
            return refuse(
                "a network has at most 1,048,576 words, 100 layers, 8,192 components, 256 heads and 65,536 positions",
            );
        }
        if vocabulary < 2 * SPECIAL.len() || positions < 16 {
            return refuse("a network has at least 10 words and 16 positions");
        }
        Ok(())
    }

    /// Writes a model folder whose vocabulary is made of these texts, and whose windows have so many tokens: places that no text
    /// of the training reaches stay what chance made of them.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`Error::Io`].
    pub(crate) fn write(
        &self,
        texts: &[&str],
        length: usize,
        seed: u64,
        folder: &Path,
    ) -> Result<()> {
        self.check()?;
        let tokenizer = self.tokenizer(texts)?;
        fs::create_dir_all(folder.join("1_Pooling")).map_err(Error::io("create", folder))?;
        let vocabulary = tokenizer.get_vocab_size(true);
        let written = tokenizer.to_string(true).map_err(failed)?;
        let words =
            (0..vocabulary as u32).map(|id| tokenizer.id_to_token(id).unwrap_or_default() + "\n");
        let settings = self.settings(vocabulary, length);
        let settings = settings.iter().map(|(name, value)| (*name, pretty(value)));
        let files = settings.chain([
            (TOKENIZER_FILE, written),
            ("vocab.txt", words.collect::<String>()),
        ]);
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        let mut random = Random(seed);
        let shapes = self.shapes(vocabulary);
        let numbers: Vec<Vec<f32>> = shapes
            .iter()
            .map(|(name, shape)| beginning(name, shape, &mut random))
            .collect();
        let tensors = shapes.iter().zip(&numbers);
        let tensors: Vec<_> = tensors
            .map(|((name, shape), numbers)| (name.clone(), Tensor::of(numbers, shape)))
            .collect();
        let words = [("format".to_owned(), "pt".to_owned())].into();
        weights::write(&tensors, Some(words), &folder.join(WEIGHTS_FILE))
    }

    /// Bytes of its weights, at most.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = |(_, shape): (String, Vec<usize>)| shape.iter().product::<usize>() as u64;
        4 * self
            .shapes(self.vocabulary)
            .into_iter()
            .map(numbers)
            .sum::<u64>()
    }

    /// A tokenizer with a vocabulary that depends on the texts alone. The library's trainer numbers pieces of words as a hash
    /// map happens to list them, and their numbers break ties between merges; so it is told all single characters before.
    fn tokenizer(&self, texts: &[&str]) -> Result<Tokenizer> {
        let normalizer = BertNormalizer::new(true, true, None, self.lower_case);
        let words = |text: &str| -> tokenizers::Result<Vec<String>> {
            let mut normalized = NormalizedString::from(text);
            normalizer.normalize(&mut normalized)?;
            let mut cut = PreTokenizedString::from(normalized);
            BertPreTokenizer.pre_tokenize(&mut cut)?;
            let words = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
            Ok(words
                .into_iter()
                .map(|(word, ..)| word.to_owned())
                .collect())
        };
        let special = SPECIAL.map(|token| AddedToken::from(token, true));
        let characters = self.characters(texts, words)?;
        let inside = characters.iter().filter(|(_, is_inside)| **is_inside);
        let inside = inside.map(|(c, _)| AddedToken::from(format!("{INSIDE}{c}"), true));
        let mut trainer = WordPieceTrainer::builder()
            .vocab_size(self.vocabulary)
            .initial_alphabet(characters.keys().copied().collect())
            .limit_alphabet(characters.len())
            .min_frequency(2)
            .special_tokens(special.iter().cloned().chain(inside).collect())
            .show_progress(false)
            .build();
        trainer.feed(texts.iter(), words).map_err(failed)?;
        let model = WordPiece::builder().unk_token("[UNK]".into()).build();
        let mut model = model.map_err(failed)?;
        trainer.train(&mut model).map_err(failed)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.add_special_tokens(special).map_err(failed)?;
        let id = |token: &str| tokenizer.token_to_id(token).unwrap_or_default();
        let enclosing =
            BertProcessing::new(("[SEP]".into(), id("[SEP]")), ("[CLS]".into(), id("[CLS]")));
        tokenizer
            .with_normalizer(Some(normalizer))
            .map_err(failed)?
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_decoder(Some(Decoder::default()))
            .with_post_processor(Some(enclosing));
        Ok(tokenizer)
    }

    /// The most frequent characters, and whether each stands inside of words too: as many as leave half of the vocabulary for
    /// what is longer.
    fn characters(
        &self,
        texts: &[&str],
        words: impl Fn(&str) -> tokenizers::Result<Vec<String>> + Sync,
    ) -> Result<BTreeMap<char, bool>> {
        let count = |text: &&str| -> Result<BTreeMap<char, (u64, bool)>> {
            let mut counts = BTreeMap::<_, (u64, bool)>::new();
            for word in words(text).map_err(failed)? {
                for (at, character) in word.chars().enumerate() {
                    let (count, is_inside) = counts.entry(character).or_default();
                    *count += 1;
                    *is_inside |= at > 0;
                }
            }
            Ok(counts)
        };
        let counts = texts.par_iter().map(count);
        let counts = counts.try_reduce(BTreeMap::new, |mut all, more| {
            for (character, (count, is_inside)) in more {
                let (sum, any) = all.entry(character).or_default();
                *sum += count;
                *any |= is_inside;
            }
            Ok(all)
        })?;
        let mut order: Vec<_> = counts.into_iter().collect();
        order.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(&b.0)));
        let mut left = (self.vocabulary - SPECIAL.len()) / 2;
        let mut chosen = BTreeMap::new();
        for (character, (_, is_inside)) in order {
            let Some(rest) = left.checked_sub(1 + usize::from(is_inside)) else {
                break;
            };
            left = rest;
            chosen.insert(character, is_inside);
        }
        Ok(chosen)
    }

    fn settings(&self, vocabulary: usize, length: usize) -> [(&'static str, Value); 6] {
        let named = json!({
            "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"
        });
        let mut of_tokenizer = named.clone();
        of_tokenizer["tokenizer_class"] = json!("BertTokenizer");
        of_tokenizer["do_lower_case"] = json!(self.lower_case);
        of_tokenizer["model_max_length"] = json!(self.positions);
        let module = |at: usize, path: &str, kind: &str| {
            let kind = format!("sentence_transformers.models.{kind}");
            json!({"idx": at, "name": at.to_string(), "path": path, "type": kind})
        };
        [
            (
                "config.json",
                json!({
                    "architectures": ["BertForPreTraining"],
                    "model_type": "bert",
                    "vocab_size": vocabulary,
                    "hidden_size": self.hidden,
                    "num_hidden_layers": self.layers,
                    "num_attention_heads": self.heads,
                    "intermediate_size": 4 * self.hidden,
                    "max_position_embeddings": self.positions,
                    "type_vocab_size": 2,
                    "hidden_act": "gelu",
                    "layer_norm_eps": EPSILON,
                    "pad_token_id": 0
                }),
            ),
            (
                "modules.json",
                json!([
                    module(0, "", "Transformer"),
                    module(1, "1_Pooling", "Pooling")
                ]),
            ),
            (
                "1_Pooling/config.json",
                json!({
                    "word_embedding_dimension": self.hidden,
                    "pooling_mode_cls_token": false,
                    "pooling_mode_mean_tokens": true,
                    "pooling_mode_max_tokens": false,
                    "pooling_mode_mean_sqrt_len_tokens": false
                }),
            ),
            (
                "sentence_bert_config.json",
                json!({"max_seq_length": length.min(self.positions), "do_lower_case": false}),
            ),
            ("special_tokens_map.json", named),
            ("tokenizer_config.json", of_tokenizer),
        ]
    }

    fn shapes(&self, vocabulary: usize) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden, 4 * self.hidden);
        let mut shapes = Vec::new();
        let embeddings = "bert.embeddings";
        for (table, rows) in [
            ("word", vocabulary),
            ("position", self.positions),
            ("token_type", 2),
        ] {
            let name = format!("{embeddings}.{table}_embeddings.weight");
            shapes.push((name, vec![rows, hidden]));
        }
        let mut put = |name: String, shape: &[usize]| {
            shapes.push((format!("{name}.weight"), shape.to_vec()));
            shapes.push((format!("{name}.bias"), shape[..1].to_vec()));
        };
        put(format!("{embeddings}.LayerNorm"), &[hidden]);
        for layer in 0..self.layers {
            let layer = format!("bert.encoder.layer.{layer}");
            for part in ["query", "key", "value"] {
                put(format!("{layer}.attention.self.{part}"), &[hidden, hidden]);
            }
            put(format!("{layer}.attention.output.dense"), &[hidden, hidden]);
            put(format!("{layer}.attention.output.LayerNorm"), &[hidden]);
            put(format!("{layer}.intermediate.dense"), &[inner, hidden]);
            put(format!("{layer}.output.dense"), &[hidden, inner]);
            put(format!("{layer}.output.LayerNorm"), &[hidden]);
        }
        shapes
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Tune {
        what: format!("the vocabulary cannot be made: {error}"),
    }
}
