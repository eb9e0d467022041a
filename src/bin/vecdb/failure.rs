//! How a command ends: an exit code, and at most one message on stderr.

use std::error::Error as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// What a command that did not fail says to the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: no hit, an unknown id, an empty list.
    Nothing,
    /// Exit code 2: the result is printed, and it is bad news (`vecdb check` on a damaged database).
    Bad,
    /// Exit code 130: a signal ended it; what was acknowledged stays.
    Interrupted,
}

impl Outcome {
    /// 130 if a signal ended it, else 0.
    pub fn unless_interrupted(interrupted: bool) -> Self {
        if interrupted {
            Self::Interrupted
        } else {
            Self::Done
        }
    }

    /// 0 if something was found, else 1.
    pub fn found(something: bool) -> Self {
        if something { Self::Done } else { Self::Nothing }
    }

    /// The code the shell sees.
    pub fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Nothing => 1,
            Self::Bad => 2,
            Self::Interrupted => 130,
        })
    }
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// The library's error.
    Library(vecdb::Error),
    /// What was typed cannot be carried out.
    Usage(String),
    /// stdout does not take what is written.
    Output(io::Error),
}

impl From<vecdb::Error> for Failure {
    fn from(error: vecdb::Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Prints the message, if there is one to print, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let message = match self {
            // `vecdb list | head` has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Self::Output(error) => format!("cannot write to stdout: {error}"),
            Self::Usage(message) => message.clone(),
            Self::Library(error) => with_sources(error),
        };
        // Where stderr is closed too there is nobody left to tell.
        let _ = writeln!(io::stderr().lock(), "vecdb: {message}");
        ExitCode::from(2)
    }
}

/// The message, and after it each cause that it does not quote itself.
fn with_sources(error: &vecdb::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        if !message.contains(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        cause = source.source();
    }
    message
}
