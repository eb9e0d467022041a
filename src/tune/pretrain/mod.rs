//! Pre-training: a network learns a language from texts alone (Devlin et al. 2018, arXiv:1810.04805).
//!
//! In: documents, and a model to go on from or the shape of a new one. Out: a model folder, if held-out documents' words are
//! guessed better beyond chance; else the report alone. What comes out knows words in their context; to find answers it is
//! tuned next, by [`Tuning`](super::Tuning).
//!
//! ```text
//! documents ┬ train ── (vocabulary) ─ sentences ─ gaps, pairs ─ steps ─→ weights ┐
//!           └ held out ────────────── sentences ─ gaps, pairs ───────────────────┴ judged ─→ report
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `options.rs` | what can be asked for |
//! | `run.rs` | all of it in order |
//! | `gaps.rs` | sentences → texts with gaps |
//! | `report.rs` | what is told of it |

mod gaps;
mod options;
mod report;
mod run;
#[cfg(test)]
mod tests;

pub use options::Pretraining;
pub use report::{Guesses, Pretrained};
