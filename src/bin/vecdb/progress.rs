//! How far a long call is: a bar on a terminal, a line now and then elsewhere, nothing under `-q`. Always on stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;
use crate::text;

/// Time between two lines where stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows work done out of work to do, in any unit that is steady in time (bytes of text rather than documents).
pub struct Meter {
    start: Instant,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { last: Instant },
    Nothing,
}

impl Meter {
    /// Starts the clock.
    pub fn start(total: u64, output: &Output) -> Self {
        let start = Instant::now();
        let shown = if !output.progress_is_wanted() {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(total))
        } else {
            Shown::Lines { last: start }
        };
        Self { start, shown }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Shows where the work stands: `done` of `total`, and in words.
    pub fn update(&mut self, done: u64, total: u64, words: impl Display) {
        let left = time_left(done, total, self.elapsed());
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(format!("{words}{left}"));
            }
            Shown::Lines { last } if last.elapsed() >= LINE_EVERY => {
                *last = Instant::now();
                let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
                // A closed stderr is no reason to stop working.
                let _ = writeln!(io::stderr().lock(), "{percent:>3} %  {words}{left}");
            }
            Shown::Lines { .. } | Shown::Nothing => {}
        }
    }

    /// Prints a line that is not to be missed, above the bar if there is one.
    pub fn line(&self, words: impl Display) {
        let print = || {
            let _ = writeln!(io::stderr().lock(), "{words}");
        };
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(print),
            Shown::Lines { .. } | Shown::Nothing => print(),
        }
    }

    /// Takes the bar away, so that what is printed next stands alone.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // No colours: nothing to take away under NO_COLOR.
    if let Ok(style) = ProgressStyle::with_template("{bar:12} {percent:>3} %  {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// `, 2 min 05 s left`, once enough is done to tell.
fn time_left(done: u64, total: u64, elapsed: Duration) -> String {
    if done == 0 || done > total || elapsed < Duration::from_millis(500) {
        return String::new();
    }
    let left = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
    format!(
        ", {} left",
        text::whole_seconds(Duration::from_secs_f64(left))
    )
}

#[cfg(test)]
mod tests {
    use super::time_left;
    use std::time::Duration;

    #[test]
    fn the_time_left_is_told_from_the_work_done() {
        assert_eq!(time_left(25, 100, Duration::from_secs(10)), ", 30 s left");
        assert_eq!(
            time_left(1, 100, Duration::from_secs(10)),
            ", 16 min 30 s left"
        );
        assert_eq!(time_left(0, 100, Duration::from_secs(10)), "");
        assert_eq!(time_left(50, 100, Duration::from_millis(10)), "");
    }
}
