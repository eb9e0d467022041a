//! `vecdb completions`: a shell's completion script.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

pub const AFTER_HELP: &str = "\
Examples:
  vecdb completions bash > ~/.local/share/bash-completion/completions/vecdb
  vecdb completions zsh > ~/.zfunc/_vecdb
  vecdb completions fish > ~/.config/fish/completions/vecdb.fish";

/// For which shell.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments, output: &mut Output) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "vecdb", &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
