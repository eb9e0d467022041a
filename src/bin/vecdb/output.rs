//! stdout: lines for people, objects for programs. stderr: notes.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::args::Global;

/// Columns where stdout is no terminal.
const DEFAULT_WIDTH: usize = 100;

/// Where results and notes go.
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    /// One JSON object a line?
    pub json: bool,
    quiet: bool,
    colour: bool,
    width: usize,
}

impl Output {
    /// For these options and this terminal.
    pub fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            stdout: BufWriter::new(io::stdout().lock()),
            json: global.json,
            quiet: global.quiet,
            colour: terminal && colour_is_wanted(),
            width: if terminal {
                terminal_width()
            } else {
                DEFAULT_WIDTH
            },
        }
    }

    /// Columns of the terminal.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Something is printed for people to look at while it happens.
    pub fn progress_is_wanted(&self) -> bool {
        !self.quiet
    }

    /// A line on stdout.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.stdout, "{line}")
    }

    /// Text on stdout exactly as it is.
    pub fn raw(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())
    }

    /// One JSON object on a line of its own.
    pub fn object(&mut self, object: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, object)?;
        self.stdout.write_all(b"\n")
    }

    /// Pushes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// A line on stderr: what was done, not what was found. `-q` silences it.
    pub fn note(&self, note: impl Display) {
        if !self.quiet {
            // A closed stderr is no reason to stop working.
            let _ = writeln!(io::stderr().lock(), "{note}");
        }
    }

    /// The text in bold on a terminal.
    pub fn bold(&self, text: &str) -> String {
        self.styled(Style::new().bold(), text)
    }

    /// The text in the colour of scores on a terminal.
    pub fn accent(&self, text: &str) -> String {
        self.styled(AnsiColor::Green.on_default(), text)
    }

    /// The text in the background on a terminal.
    pub fn dim(&self, text: &str) -> String {
        self.styled(Style::new().dimmed(), text)
    }

    fn styled(&self, style: Style, text: &str) -> String {
        if self.colour {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// Neither `NO_COLOR` (<https://no-color.org>: any value but the empty one) nor a dumb terminal.
fn colour_is_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0).max(40))
}
