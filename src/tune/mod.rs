//! Teaches the encoder a corpus, and proves that it got better.
//!
//! In: an encoder, queries and the documents that answer them. Out: a model folder with a report, if held-out queries find their
//! answers better beyond chance and general language is not forgotten; else the report alone.
//!
//! ```text
//! data ─ split ┬ train ─ lessons ─ train ─→ weights ┐
//!              ├ development ─────────────── choose ┴→ folder ─ index ┐
//!              └ test ────────────────────────────────────────────────┴ gate ─→ report
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `options.rs` | what can be asked for |
//! | `data.rs` | queries with their answers |
//! | `split.rs` | train, development, test |
//! | `index.rs` | the collection, searched as users search it |
//! | `lessons.rs` | what the network sees; mined negatives |
//! | `structure.rs` | queries from the documents alone |
//! | `teacher.rs` | a judge for queries without answers |
//! | `loss.rs` | how wrong it is |
//! | `optimise.rs` | AdamW and its schedule |
//! | `lora.rs` | weights, or low-rank additions to them |
//! | `train.rs`, `checkpoint.rs` | the loop, and how it goes on after a kill |
//! | `adapt.rs` | a map of queries' vectors instead |
//! | `choose.rs` | how far to go from the old weights to the new |
//! | `general.rs` | what is not to be forgotten |
//! | `gate.rs` | is the gain one? |
//! | `report.rs` | what is told of it |
//! | `work.rs` | the folder of what is in progress |
//! | `run.rs` | all of it in order |
//! | `pretrain/` | a language is learnt from texts alone |
//!
//! ```no_run
//! use vecdb::encoder::EncoderOptions;
//! use vecdb::eval::BeirFolder;
//! use vecdb::tune::{Examples, Tuning};
//!
//! let folder = BeirFolder::recognise("scifact")?.expect("corpus.jsonl and queries.jsonl");
//! let examples = Examples::from_beir(&folder, Some("train"), Some("test"))?;
//! let report = Tuning::default().run(&EncoderOptions::default(), &examples, "scifact-model")?;
//! println!("{}", report.verdict);
//! # Ok::<(), vecdb::Error>(())
//! ```

mod adapt;
mod checkpoint;
mod choose;
mod data;
mod gate;
mod general;
mod index;
mod lessons;
mod lora;
mod loss;
mod optimise;
mod options;
mod pretrain;
mod report;
mod run;
mod split;
mod structure;
mod teacher;
#[cfg(test)]
mod tests;
mod train;
mod work;

pub use data::{Example, Examples};
pub use gate::Interval;
pub use options::{Method, Progress, Stage, Tuning};
pub use pretrain::{Guesses, Pretrained, Pretraining};
pub use report::{Attempt, General, Report, Sizes, Step, Test, Verdict};
pub use train::Course;
