//! The `vecdb` command: the library for the shell.
//!
//!   argv → args.rs → one file a command → output.rs → stdout
//!                         │                └ progress.rs → stderr
//!                         └ open.rs → vecdb::Database
//!
//! Results go to stdout and everything else to stderr. The exit code is 0 for done or found, 1 for nothing found, 2 for an
//! error, 130 when a signal ended an ingestion. A reader that closes the pipe early is no error. Only the library's public
//! interface is used.
//!
//! | file | subject |
//! |---|---|
//! | `args.rs` | what can be typed, and what all commands share |
//! | `open.rs` | which database and collection is meant |
//! | `failure.rs` | how a command ends: exit codes and error messages |
//! | `output.rs` | lines for people, objects for programs |
//! | `text.rs` | numbers, durations and passages as people read them |
//! | `load.rs` | files into a collection, for `ingest` and `demo` |
//! | `dry_run.rs`, `report.rs`, `watch.rs` | what `ingest` does for its flags of these names |
//! | `progress.rs` | how far a long call is |
//! | `interrupt.rs` | Ctrl-C |
//! | `tidy.rs` | merges at the end of commands that write |
//! | `purge.rs` | what `compact --purge` does |
//! | the rest | one command each: its arguments, its help, what it does |

mod apply;
mod args;
mod check;
mod compact;
mod completions;
mod delete;
mod demo;
mod doctor;
mod dry_run;
mod eval;
mod export;
mod failure;
mod get;
mod import;
mod ingest;
mod interrupt;
mod list;
mod load;
mod migrate;
mod model;
mod open;
mod output;
mod pretrain;
mod progress;
mod purge;
mod query;
mod read_documents;
mod report;
mod setup;
mod snapshot;
mod stats;
mod text;
mod tidy;
mod tune;
mod watch;

use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::failure::{Failure, Outcome};
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let mut output = Output::new(&cli.global);
    let result = run(&cli, &mut output).and_then(|outcome| {
        output.flush()?;
        Ok(outcome)
    });
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(failure) => failure.report(),
    }
}

fn run(cli: &Cli, output: &mut Output) -> Result<Outcome, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::ReadDocuments(arguments) => read_documents::run(arguments),
        Command::Ingest(arguments) => ingest::run(arguments, global, output),
        Command::Query(arguments) => query::run(arguments, global, output),
        Command::Get(arguments) => get::run(arguments, global, output),
        Command::Delete(arguments) => delete::run(arguments, global, output),
        Command::List(arguments) => list::run(arguments, global, output),
        Command::Stats(arguments) => stats::run(arguments, global, output),
        Command::Check(arguments) => check::run(arguments, global, output),
        Command::Compact(arguments) => compact::run(arguments, global, output),
        Command::Export(arguments) => export::run(arguments, global, output),
        Command::Import(arguments) => import::run(arguments, global, output),
        Command::Snapshot(arguments) => snapshot::run(arguments, global, output),
        Command::Migrate(arguments) => migrate::run(arguments, global, output),
        Command::Eval(arguments) => eval::run(arguments, global, output),
        Command::Pretrain(arguments) => pretrain::run(arguments, global, output),
        Command::Tune(arguments) => tune::run(arguments, global, output),
        Command::Model(arguments) => model::run(arguments, global, output),
        Command::Setup(arguments) => setup::run(arguments, global, output),
        Command::Doctor => doctor::run(global, output),
        Command::Demo => demo::run(global, output),
        Command::Completions(arguments) => completions::run(arguments, output),
    }
}
