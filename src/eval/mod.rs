//! Judged queries → how well a ranking answers them.
//!
//!   queries.jsonl → queries.rs → Query ─(asked by the caller)→ run.rs Run ┐
//!   qrels/test.tsv → qrels.rs → Qrels ────────────────────────────────────┴→ measure.rs → Evaluation
//!
//! | file | subject |
//! |---|---|
//! | `beir.rs` | a folder in BEIR's layout |
//! | `queries.rs` | queries with their ids |
//! | `qrels.rs` | which documents are relevant to which query |
//! | `run.rs` | the ranked answers, and TREC's file of them |
//! | `measure.rs` | nDCG, MRR and recall |
//!
//! ```
//! use vecdb::eval::{evaluate, Measure, Qrels, Run};
//!
//! let qrels = Qrels::parse("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t1\n", "test.tsv")?;
//! let mut run = Run::default();
//! run.insert("q1", [("d9", 0.8), ("d1", 0.7)]);
//!
//! let evaluation = evaluate(&run, &qrels, &[Measure::Mrr(10), Measure::Recall(100)]);
//! assert_eq!(evaluation.means, [0.5, 0.5]);
//! assert_eq!(evaluation.queries, 1);
//! # Ok::<(), vecdb::Error>(())
//! ```

mod beir;
mod measure;
mod qrels;
mod queries;
mod run;

pub use beir::BeirFolder;
pub use measure::{Evaluation, Measure, QueryValues, evaluate};
pub use qrels::Qrels;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use queries::parse as parse_queries;
pub use queries::{Query, read_queries};
pub use run::Run;

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// A file's text, without a byte order mark.
fn read_utf8(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count();
        Error::Input {
            place: format!("{}:{line}", path.display()),
            what: format!("byte {at} is not UTF-8"),
        }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}
