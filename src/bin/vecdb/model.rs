//! `vecdb model`: the encoder for other programs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::Global;
use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::text;

pub const AFTER_HELP: &str = "\
The folder gets model.onnx (standard operators of opset 20, weights inside) beside
the tokenizer and the settings, as sentence encoders lie on model hubs. Inputs are
input_ids, attention_mask and token_type_ids, output is last_hidden_state.

Examples:
  vecdb model export minilm-onnx
  vecdb model export tuned-onnx --model ./my-model

With --json, one object:
  {\"model\": \"all-MiniLM-L6-v2\", \"folder\": \"minilm-onnx\"}

Exit codes: 0 done, 2 error.";

/// What to do with the model.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write it as a folder with an ONNX file
    Export {
        /// The folder; made if absent, and may hold no model.onnx yet
        folder: PathBuf,
    },
}

/// Does it.
pub fn run(
    arguments: &Arguments,
    global: &Global,
    output: &mut Output,
) -> Result<Outcome, Failure> {
    let What::Export { folder } = &arguments.what;
    let encoder = global.encoder()?;
    encoder.export_onnx(folder)?;
    if output.json {
        output.object(&serde_json::json!({ "model": encoder.name(), "folder": folder }))?;
    } else {
        output.note(format_args!(
            "wrote {} as an ONNX model into {}",
            text::plain(encoder.name()),
            text::plain(&folder.to_string_lossy())
        ));
    }
    Ok(Outcome::Done)
}
