//! Help, usage errors, completions.

use std::process::Command;

use crate::command::{Ran, binary_alone, with_input};

const COMMANDS: [&str; 17] = [
    "setup",
    "doctor",
    "demo",
    "ingest",
    "query",
    "get",
    "delete",
    "list",
    "stats",
    "check",
    "compact",
    "export",
    "import",
    "snapshot",
    "migrate",
    "eval",
    "completions",
];

fn vecdb(arguments: &[&str]) -> Ran {
    binary_alone()
        .args(arguments)
        .output()
        .expect("the binary starts")
        .into()
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in COMMANDS {
        let ran = vecdb(&[command, "--help"]).exits(0);
        assert!(ran.out.contains("Usage: vecdb"), "{}", ran.out);
        assert!(
            ran.out.contains(&format!("  vecdb {command}")),
            "{command} shows no example:\n{}",
            ran.out
        );
        assert_eq!(ran.err, "");
    }
}

#[test]
fn the_first_page_names_every_command_and_the_exit_codes() {
    let ran = vecdb(&["--help"]).exits(0);
    for command in COMMANDS {
        assert!(
            ran.out.contains(&format!("\n  {command} ")),
            "{command} is missing:\n{}",
            ran.out
        );
    }
    assert!(
        ran.out
            .contains("Exit codes: 0 done or found, 1 nothing found, 2 error")
    );
}

#[test]
fn the_version_is_the_package_s() {
    assert_eq!(
        vecdb(&["--version"]).exits(0).out,
        format!("vecdb {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn what_cannot_be_typed_exits_2_with_nothing_on_stdout() {
    for line in [
        "",
        "no-such-command",
        "query",
        "query x --limit many",
        "ingest",
        "get",
        "delete",
        "eval",
        "list --collections --limit 3",
    ] {
        let ran = vecdb(&line.split_whitespace().collect::<Vec<_>>()).exits(2);
        assert_eq!(ran.out, "", "{line}");
        assert!(
            ran.err.starts_with("error: ") || ran.err.contains("Usage:"),
            "{line}: {}",
            ran.err
        );
    }
}

#[test]
fn without_a_database_the_error_names_the_option_and_the_variable() {
    for line in [
        "query x",
        "get x",
        "delete x",
        "list",
        "stats",
        "check",
        "compact",
        "export",
        "import x.jsonl",
        "snapshot x",
        "ingest x.txt",
    ] {
        vecdb(&line.split_whitespace().collect::<Vec<_>>()).fails_saying(&["--db", "VECDB_DB"]);
    }
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = vecdb(&["completions", shell]).exits(0);
        for command in COMMANDS {
            assert!(
                ran.out.contains(command),
                "{shell} does not complete {command}"
            );
        }
    }
    vecdb(&["completions", "no-such-shell"]).exits(2);
}

#[test]
fn the_bash_completions_parse() {
    let script = vecdb(&["completions", "bash"]).exits(0).out;
    if Command::new("bash").arg("--version").output().is_ok() {
        let ran = with_input(Command::new("bash").arg("-n"), script.as_bytes());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    }
}

#[test]
fn the_readme_names_commands_that_exist() {
    let readme = include_str!("../../README.md");
    let typed = readme
        .lines()
        .filter_map(|line| line.strip_prefix("$ vecdb "));
    let quoted = readme
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|word| word.strip_prefix("vecdb "));
    let mut names: Vec<&str> = typed
        .chain(quoted)
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    names.retain(|name| !name.starts_with('-'));
    names.sort_unstable();
    names.dedup();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        crate::command::vecdb_args([name, "--help"]).exits(0);
    }
}
