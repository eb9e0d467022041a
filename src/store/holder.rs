//! Who holds the lock, as LOCK tells it to the next one.
//!
//! One line: `pid 4711, since 2026-01-31 08:00:00 UTC, command: vecdb ingest notes.jsonl`. It is for people. A program reads
//! of it only the pid, to tell whether that process still runs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a writer that closed in good order, with nothing left unsealed, leaves in LOCK.
pub(super) const CLOSED: &str = "closed\n";
/// A command line is cut to so many characters.
const COMMAND_CHARS: usize = 300;
const MAX_BYTES: u64 = 4096;
/// A writer that has just taken the lock has not yet written who it is. It does so at once, so who finds none waits so often,
const TRIES: u32 = 20;
/// so long.
const PAUSE: Duration = Duration::from_millis(5);

/// This process, from now on.
pub(super) fn this_process() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let command: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    format!(
        "pid {}, since {} UTC, command: {}\n",
        std::process::id(),
        date_and_time(now.map_or(0, |since| since.as_secs())),
        one_line(&command.join(" "), COMMAND_CHARS)
    )
}

/// The process that has the lock of this file, as far as is known.
pub(super) fn read(path: &Path) -> String {
    let mut told = None;
    for _ in 0..TRIES {
        let text = text(path);
        let runs = pid(&text).and_then(is_running);
        if !text.is_empty() {
            told = Some((text, runs));
        }
        // One that ended has left its name, and its successor has not yet written over it.
        if matches!(&told, Some((_, Some(true) | None))) {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    match told {
        Some((text, Some(false))) => format!(
            "{text}; that one no longer runs here, so a process forked from it, or one in another container, holds the lock"
        ),
        Some((text, _)) => text,
        None => "which one is not known".to_owned(),
    }
}

/// The pid in a line of [`this_process`].
pub(super) fn pid(text: &str) -> Option<u32> {
    text.strip_prefix("pid ")?.split_once(',')?.0.parse().ok()
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    match read {
        Ok(_) if text != CLOSED => one_line(text.trim(), usize::MAX),
        _ => String::new(),
    }
}

/// `None` where the system does not tell.
fn is_running(pid: u32) -> Option<bool> {
    let processes = Path::new("/proc");
    processes
        .join("self")
        .exists()
        .then(|| processes.join(pid.to_string()).exists())
}

/// At most so many characters, without those that would break the line.
fn one_line(text: &str, most: usize) -> String {
    let shown = text.chars().take(most);
    let mut line: String = shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

/// Seconds since 1970 as `2026-01-31 08:00:00`, by the proleptic Gregorian calendar (Hinnant, `civil_from_days`).
fn date_and_time(seconds: u64) -> String {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_IN_ERA: u64 = 146_097;
    let days = seconds / 86_400 + DAYS_TO_1970;
    let (era, day_of_era) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Years of this reckoning begin in March.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_the_calendar() {
        // As `date -u -d @N` gives them.
        for (seconds, told) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_200, "2024-03-01 00:00:00"),
            (1_767_225_599, "2025-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date_and_time(seconds), told);
        }
    }

    #[test]
    fn this_process_tells_its_pid_and_its_whole_command_on_one_line() {
        let line = this_process();
        assert_eq!(pid(&line), Some(std::process::id()));
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        let command = format!("command: {}\n", one_line(&command, COMMAND_CHARS));
        assert!(line.ends_with(&command), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(one_line("a\nb\u{1b}c", 5), "a b c");
        assert_eq!(one_line("héllo", 3), "hél…");
        for other in ["", "pid", "pid 12", "pid x, ", CLOSED] {
            assert_eq!(pid(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_holder_that_has_ended_is_not_said_to_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("LOCK");
        assert_eq!(read(&path), "which one is not known");
        std::fs::write(&path, CLOSED).expect("writes");
        assert_eq!(read(&path), "which one is not known");
        let own = this_process();
        std::fs::write(&path, &own).expect("writes");
        assert_eq!(read(&path), own.trim());
        if is_running(std::process::id()).is_some() {
            // No system gives a pid so large.
            std::fs::write(&path, "pid 4294967295, since then, command: x\n").expect("writes");
            assert!(
                read(&path).contains("no longer runs here"),
                "{}",
                read(&path)
            );
        }
    }
}
