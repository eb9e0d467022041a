//! `vecdb doctor`: does everything that the encoder stands on work?

use vecdb::setup;

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

pub const AFTER_HELP: &str = "\
Shows the data folder, the processor, ONNX Runtime with its execution providers, the model with its fingerprint, and a \
self-test of about a second. Changes nothing.

Examples:
  vecdb doctor
  vecdb doctor --model ./my-model --json | jq .self_test

With --json, one object: \"version\", \"home\", \"free_bytes\", \"cpu\", \"runtime\", \"model\" and \"self_test\" (null where \
missing), and \"problems\", a list of sentences that is empty when all is well.

Exit codes: 0 all is well, 2 something is missing or does not work.";

/// Prints the report.
pub fn run(global: &Global, output: &mut Output) -> Result<Outcome, Failure> {
    let report = setup::doctor(&global.encoder_options());
    if output.json {
        output.object(&report)?;
    } else {
        output.line(&report)?;
    }
    Ok(if report.is_healthy() {
        Outcome::Done
    } else {
        Outcome::Bad
    })
}
