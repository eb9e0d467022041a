//! A graph that a model folder brings: what it takes, what it gives, and how that is pooled.

use super::batch::Padded;
use crate::error::{Error, Result};

/// Inputs and output of an encoder, as exports on the Hugging Face hub have them.
pub(super) struct Interface {
    pub inputs: Vec<Input>,
    /// The output that is read.
    pub output: String,
    /// Components of the output's vectors, where the graph says so.
    pub width: Option<usize>,
}

/// One input, `[batch, tokens]` integers.
pub(super) struct Input {
    pub name: String,
    kind: Kind,
    /// i32 instead of i64.
    pub narrow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ids,
    Mask,
    Segments,
}

const INPUTS: &[(&str, Kind)] = &[
    ("input_ids", Kind::Ids),
    ("attention_mask", Kind::Mask),
    ("token_type_ids", Kind::Segments),
];
/// The first of these that the graph has is read; else its first output.
const OUTPUTS: &[&str] = &[
    "last_hidden_state",
    "token_embeddings",
    "sentence_embedding",
];

impl Interface {
    /// Understands a graph by its inputs (name; whether i32, `None` for what is no integer) and outputs (name; shape, -1
    /// where it is open); what it has that is not understood is the error.
    pub fn of(
        inputs: Vec<(String, Option<bool>)>,
        outputs: Vec<(String, Vec<i64>)>,
    ) -> Result<Self, String> {
        let mut known = Vec::new();
        for (name, narrow) in inputs {
            let kind = INPUTS.iter().find(|(known, _)| *known == name);
            let (Some(&(_, kind)), Some(narrow)) = (kind, narrow) else {
                let what = format!(
                    "its input {name:?} is not supported (input_ids, attention_mask, token_type_ids, i64 or i32)"
                );
                return Err(what);
            };
            known.push(Input { name, kind, narrow });
        }
        if known.iter().all(|input| input.kind != Kind::Ids) {
            return Err("it has no input \"input_ids\"".into());
        }
        let named = OUTPUTS
            .iter()
            .find_map(|name| outputs.iter().find(|(output, _)| output == name));
        let Some((output, shape)) = named.or(outputs.first()) else {
            return Err("it has no output".into());
        };
        if !matches!(shape.len(), 2 | 3) {
            return Err(format!(
                "its output {output:?} has {} dimensions; [batch, tokens, hidden] and [batch, hidden] are supported",
                shape.len()
            ));
        }
        let width = shape.last().and_then(|&n| usize::try_from(n).ok());
        Ok(Self {
            inputs: known,
            output: output.clone(),
            width: width.filter(|n| *n > 0),
        })
    }

    /// Appends the batch's vectors to `out`: those that the graph pooled, or its token vectors' weighted sums.
    pub fn pool(
        &self,
        shape: &[i64],
        numbers: &[f32],
        batch: &Padded,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let sizes: Vec<usize> = shape
            .iter()
            .map(|&n| usize::try_from(n).unwrap_or(0))
            .collect();
        match sizes[..] {
            [rows, _] if rows == batch.rows => {
                out.extend_from_slice(numbers);
                Ok(())
            }
            [rows, tokens, hidden] if (rows, tokens) == (batch.rows, batch.width) && hidden > 0 => {
                let texts = numbers.chunks_exact(tokens * hidden);
                for (text, weights) in texts.zip(batch.pooling.chunks_exact(tokens)) {
                    let start = out.len();
                    out.resize(start + hidden, 0.0);
                    for (token, weight) in text.chunks_exact(hidden).zip(weights) {
                        // Padding may hold anything, also what is no number.
                        if *weight != 0.0 {
                            for (sum, x) in out[start..].iter_mut().zip(token) {
                                *sum += weight * x;
                            }
                        }
                    }
                }
                Ok(())
            }
            _ => Err(Error::Encode {
                what: format!(
                    "the model's output {:?} has shape {shape:?} for {} texts of {} tokens",
                    self.output, batch.rows, batch.width
                ),
            }),
        }
    }
}

impl Input {
    /// What the input takes for a batch.
    pub fn numbers(&self, batch: &Padded) -> Vec<i64> {
        match self.kind {
            Kind::Ids => batch.ids.clone(),
            Kind::Mask => batch.mask.iter().map(|&on| on as i64).collect(),
            Kind::Segments => vec![0; batch.ids.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(names: &[(&str, Option<bool>)]) -> Vec<(String, Option<bool>)> {
        names
            .iter()
            .map(|&(name, narrow)| (name.to_owned(), narrow))
            .collect()
    }

    #[test]
    fn what_a_graph_takes_and_gives_is_understood_or_named() {
        let usual = inputs(&[("input_ids", Some(false)), ("attention_mask", Some(true))]);
        let outputs = vec![
            ("x".to_owned(), vec![-1, 8]),
            ("last_hidden_state".to_owned(), vec![-1, -1, 32]),
        ];
        let found = Interface::of(usual.clone(), outputs).expect("understood");
        assert_eq!(
            (found.output.as_str(), found.width),
            ("last_hidden_state", Some(32))
        );
        assert!(!found.inputs[0].narrow && found.inputs[1].narrow);

        let refused = |inputs, outputs| Interface::of(inputs, outputs).err().expect("refused");
        let vectors = || vec![("v".to_owned(), vec![-1, 8])];
        let words = refused(
            inputs(&[("input_ids", Some(false)), ("position_ids", Some(false))]),
            vectors(),
        );
        assert!(words.contains("\"position_ids\""), "{words}");
        let words = refused(inputs(&[("input_ids", None)]), vectors());
        assert!(words.contains("\"input_ids\" is not supported"), "{words}");
        let words = refused(inputs(&[("attention_mask", Some(false))]), vectors());
        assert!(words.contains("no input \"input_ids\""), "{words}");
        assert!(refused(usual.clone(), Vec::new()).contains("no output"));
        let words = refused(usual, vec![("v".to_owned(), vec![4])]);
        assert!(words.contains("has 1 dimensions"), "{words}");
    }
}
