//! What can be typed. Help, completions and the parser come from this one definition.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use vecdb::encoder::{Device, Precision};

use crate::{
    check, compact, completions, delete, demo, doctor, eval, export, get, import, ingest, list,
    migrate, model, pretrain, query, read_documents, setup, snapshot, stats, text, tune,
};

/// The collection that is meant where none is named.
pub const DEFAULT_COLLECTION: &str = "default";

const AFTER_HELP: &str = "\
Examples:
  vecdb demo                                       set up, and see it work
  vecdb ingest notes/ --db notes.vecdb             put a folder's texts in
  vecdb query 'store on one machine' --db notes.vecdb
  export VECDB_DB=notes.vecdb
  vecdb query 'tree that stays balanced' --filter \"year >= 1970\" --json

Exit codes: 0 done or found, 1 nothing found, 2 error, 130 ended by a signal.
Environment: VECDB_DB, VECDB_MODEL_DIR, VECDB_HOME (the data folder), ORT_DYLIB_PATH, NO_COLOR.";

/// Embedded vector database with a built-in BERT encoder: text in, similarity search out
#[derive(Debug, Parser)]
#[command(name = "vecdb", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses what was typed; prints help or a usage error and exits where that is all there is to do.
    pub fn from_command_line() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        cli.global.db_from_environment =
            matches.value_source("db") == Some(ValueSource::EnvVariable);
        cli
    }
}

/// Options that stand before or after the command's name.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The database, a folder
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "VECDB_DB",
        hide_env_values = true
    )]
    pub db: Option<PathBuf>,
    /// `db` was not typed: it comes from the environment.
    #[arg(skip)]
    pub db_from_environment: bool,
    /// The collection in it [default: default]
    #[arg(long, short = 'c', global = true, value_name = "NAME")]
    pub collection: Option<String>,
    /// One JSON object a line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Nothing on stderr but errors
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// The encoder's model folder, instead of VECDB_MODEL_DIR and the data folder
    #[arg(long, global = true, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
    /// The ONNX Runtime library, instead of ORT_DYLIB_PATH and the places searched
    #[arg(long, global = true, value_name = "FILE")]
    pub runtime: Option<PathBuf>,
    /// Where the model runs: auto, cpu, cuda, tensorrt
    #[arg(long, global = true, value_name = "DEVICE", default_value_t = Device::Auto, hide_default_value = true)]
    pub device: Device,
    /// Which GPU, from 0
    #[arg(
        long,
        global = true,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub device_id: u32,
    /// Numbers that matrices are multiplied in: f32, int8; f16 on TensorRT
    #[arg(long, global = true, value_name = "NUMBERS", default_value_t = Precision::F32, hide_default_value = true)]
    pub precision: Precision,
    /// Tokens of a window, instead of what the model's folder says
    #[arg(long, global = true, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Tokens that neighbouring windows of a long text share [default: an eighth]
    #[arg(long, global = true, value_name = "N")]
    pub overlap: Option<usize>,
    /// Components kept of a vector, for models that were trained so (Matryoshka)
    #[arg(long, global = true, value_name = "N")]
    pub dimension: Option<usize>,
    /// What may be taken of the GPU's memory, such as 4G
    #[arg(long, global = true, value_name = "SIZE", value_parser = text::parse_bytes)]
    pub device_memory: Option<u64>,
}

/// The commands, in the order a newcomer meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fetch or register what the encoder needs: ONNX Runtime and a model
    #[command(after_help = setup::AFTER_HELP)]
    Setup(setup::Arguments),
    /// Write the encoder as an ONNX file for other programs
    #[command(after_help = model::AFTER_HELP)]
    Model(model::Arguments),
    /// Show what is installed and whether it works
    #[command(after_help = doctor::AFTER_HELP)]
    Doctor,
    /// Set up, ingest the sample collection and run real queries
    #[command(after_help = demo::AFTER_HELP)]
    Demo,
    /// Reads documents for `ingest`, in a process of its own
    #[command(hide = true)]
    ReadDocuments(read_documents::Arguments),
    /// Add files to a collection
    #[command(after_help = ingest::AFTER_HELP)]
    Ingest(ingest::Arguments),
    /// Find the documents nearest to a text
    #[command(after_help = query::AFTER_HELP)]
    Query(query::Arguments),
    /// Print documents by id
    #[command(after_help = get::AFTER_HELP)]
    Get(get::Arguments),
    /// Delete documents
    #[command(after_help = delete::AFTER_HELP)]
    Delete(delete::Arguments),
    /// List documents, or collections
    #[command(after_help = list::AFTER_HELP)]
    List(list::Arguments),
    /// Show what the collections hold and take
    #[command(after_help = stats::AFTER_HELP)]
    Stats(stats::Arguments),
    /// Verify every checksum; list what is damaged, and repair it
    #[command(after_help = check::AFTER_HELP)]
    Check(check::Arguments),
    /// Merge segments, and free the space of what is deleted
    #[command(after_help = compact::AFTER_HELP)]
    Compact(compact::Arguments),
    /// Write a collection to a file that other programs read
    #[command(after_help = export::AFTER_HELP)]
    Export(export::Arguments),
    /// Add the documents of an exported file, with their vectors
    #[command(after_help = import::AFTER_HELP)]
    Import(import::Arguments),
    /// Make a copy of the database while it is in use
    #[command(after_help = snapshot::AFTER_HELP)]
    Snapshot(snapshot::Arguments),
    /// Bring a database that an older vecdb made to this one's format
    #[command(after_help = migrate::AFTER_HELP)]
    Migrate(migrate::Arguments),
    /// Measure retrieval on queries with known answers
    #[command(after_help = eval::AFTER_HELP)]
    Eval(eval::Arguments),
    /// Teach the encoder a corpus, and prove that it got better
    #[command(after_help = tune::AFTER_HELP)]
    Tune(tune::Arguments),
    /// Teach a network a language from texts alone
    #[command(after_help = pretrain::AFTER_HELP)]
    Pretrain(pretrain::Arguments),
    /// Print a shell's completion script
    #[command(after_help = completions::AFTER_HELP)]
    Completions(completions::Arguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_and_its_json() {
        let all = Cli::command();
        for command in all
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Example"),
                "{} has no example",
                command.get_name()
            );
            let mute = ["completions"].contains(&command.get_name());
            assert!(
                mute || help.contains("With --json"),
                "{} does not describe its JSON",
                command.get_name()
            );
        }
    }

    #[test]
    fn examples_and_objects_fit_80_columns() {
        let mut all = Cli::command();
        let commands =
            std::iter::once(all.clone()).chain(all.get_subcommands_mut().map(|c| c.clone()));
        for command in commands {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            // Lines of prose are wrapped to the terminal; indented ones should stay as they are.
            for line in help.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= 80, "{}: {line}", command.get_name());
            }
        }
    }
}
