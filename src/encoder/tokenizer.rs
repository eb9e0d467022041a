//! Text → token ids and where they stand in the text.

use std::path::Path;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::fixed_length::FixedLength;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{NormalizedString, Normalizer, Tokenizer as Inner, TokenizerImpl};

use super::model::{Model, Source, unusable};
use crate::error::{Error, Result};

/// The file's name in a model folder.
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";

/// A token and its bytes in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub id: u32,
    pub start: usize,
    pub end: usize,
    /// It is the first token of a word.
    pub starts_word: bool,
}

/// A tokenizer that is known to be WordPiece's before its file is read.
type OfWordPiece = TokenizerImpl<
    WordPiece,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// What `Inner::from_bytes` gives. That copies the vocabulary into a tree, twice, before it knows the kind of tokenizer: on
/// 30,000 words most of what opening an encoder takes. A file of another kind is refused as
/// soon as that is read.
pub(super) fn parse(bytes: &[u8]) -> tokenizers::Result<Inner> {
    match serde_json::from_slice::<OfWordPiece>(bytes) {
        Ok(tokenizer) => Ok(tokenizer.into()),
        Err(_) => Inner::from_bytes(bytes),
    }
}

/// The model's own tokenizer, without the padding and truncation that its file may ask for.
pub(super) struct Tokenizer {
    inner: Inner,
    /// What stands before a text: `[CLS]`.
    before: Vec<u32>,
    /// What stands after it: `[SEP]`.
    after: Vec<u32>,
    /// Tokens that the model embeds.
    rows: u32,
}

impl Tokenizer {
    /// Takes the bytes of a `tokenizer.json`.
    pub fn new(model: &Model, bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| unusable(&model.folder, format!("{TOKENIZER_FILE}: {what}"));
        let mut inner = parse(bytes).map_err(|e| wrong(e.to_string()))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| wrong(e.to_string()))?;
        cut_long_words(&mut inner);
        // Ids are 0, 1, 2, … in every vocabulary seen; one with gaps is caught by `check` when a text meets its far ids.
        let tokens = inner.get_vocab_size(true);
        let rows = match &model.source {
            Source::Weights(config) => config.vocabulary,
            // Its graph knows; an id beyond its table is an error when it runs.
            Source::Onnx(_) => usize::MAX,
        };
        if tokens > rows {
            return Err(wrong(format!(
                "it has {tokens} tokens, and the model embeds {rows}"
            )));
        }
        if model.lower_case && !lowers_case(&inner) {
            return Err(wrong(
                "it keeps upper case, and sentence_bert_config.json asks for lower case; set do_lower_case to false \
                 there, or let the tokenizer's normalizer do it"
                    .into(),
            ));
        }
        let (before, after) = special_tokens(&inner)
            .ok_or_else(|| wrong("its special tokens do not enclose a text".into()))?;
        Ok(Self {
            inner,
            before,
            after,
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
        })
    }

    /// Special tokens before a text.
    pub fn before(&self) -> &[u32] {
        &self.before
    }

    /// Special tokens after it.
    pub fn after(&self) -> &[u32] {
        &self.after
    }

    /// A token as the vocabulary has it.
    pub fn name(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// The id of a token.
    #[cfg(feature = "tune")]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// How many tokens there are.
    #[cfg(feature = "tune")]
    pub fn count(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Token ids without special tokens, for a text that need not be cut.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        self.check(encoding.get_ids())?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Every id has a row in the model's embedding table.
    fn check(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|&&id| id >= self.rows) {
            None => Ok(()),
            Some(id) => Err(Error::Encode {
                what: format!(
                    "{TOKENIZER_FILE} gives the token id {id}, and the model embeds {} tokens",
                    self.rows
                ),
            }),
        }
    }

    /// Appends the tokens of `text`, which stands `offset` bytes into the whole, without special tokens.
    ///
    /// Places never run backwards and stay inside the text, whatever the tokenizer says.
    pub fn tokens(&self, text: &str, offset: usize, out: &mut Vec<Token>) -> Result<()> {
        let encoding = self.inner.encode(text, false).map_err(failed)?;
        self.check(encoding.get_ids())?;
        let mut last_start = 0;
        let mut last_word = None;
        let places = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_offsets())
            .zip(encoding.get_word_ids());
        for ((&id, &(start, end)), &word) in places {
            let start = start.clamp(last_start, text.len());
            let end = end.clamp(start, text.len());
            let starts_word = word.is_none() || word != last_word;
            out.push(Token {
                id,
                start: offset + start,
                end: offset + end,
                starts_word,
            });
            last_start = start;
            last_word = word;
        }
        Ok(())
    }
}

/// WordPiece takes a word of over 100 characters for one unknown token, so nothing of it would reach its vector: such a word,
/// a path, a key, a line without a space, is cut into words of 100. The tokens of all others stay, so that this is the same
/// encoder under the same fingerprint.
fn cut_long_words(inner: &mut Inner) {
    let ModelWrapper::WordPiece(model) = inner.get_model() else {
        return;
    };
    let cut = FixedLength::new(model.max_input_chars_per_word.max(1));
    let words = inner.get_pre_tokenizer().cloned();
    let steps = words
        .into_iter()
        .chain([PreTokenizerWrapper::FixedLength(cut)]);
    inner.with_pre_tokenizer(Some(Sequence::new(steps.collect())));
}

/// Does the normalizer make no difference between upper and lower case?
fn lowers_case(inner: &Inner) -> bool {
    let normalized = |text: &str| {
        let mut text = NormalizedString::from(text);
        let done = inner.get_normalizer()?.normalize(&mut text);
        done.ok().map(|()| text.get().to_owned())
    };
    matches!((normalized("ABC É Ж"), normalized("abc é ж")), (Some(a), Some(b)) if a == b)
}

/// What the post-processor puts before and after a text.
fn special_tokens(inner: &Inner) -> Option<(Vec<u32>, Vec<u32>)> {
    let bare = inner.encode("a", false).ok()?;
    let full = inner.encode("a", true).ok()?;
    let (bare, full) = (bare.get_ids(), full.get_ids());
    if bare.is_empty() {
        return None;
    }
    let at = full.windows(bare.len()).position(|window| window == bare)?;
    Some((full[..at].to_vec(), full[at + bare.len()..].to_vec()))
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Encode {
        what: format!("the tokenizer failed: {error}"),
    }
}

/// The bytes of a model folder's `tokenizer.json`.
pub(super) fn read(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join(TOKENIZER_FILE);
    std::fs::read(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => unusable(folder, format!("{TOKENIZER_FILE} is missing")),
        _ => Error::io("read", &path)(e),
    })
}
