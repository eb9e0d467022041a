//! The command as a shell sees it: stdout, stderr and exit code apart, with the real binary and the real encoder.
//!
//! | file | subject |
//! |---|---|
//! | `command.rs` | runs the binary; folders and databases to run it on |
//! | `help.rs` | help, usage errors, completions |
//! | `ingest.rs` | files in, good and bad |
//! | `kill.rs` | kill -9 of commands that write |
//! | `memory.rs` | the memory that an ingestion takes |
//! | `query.rs` | hits out |
//! | `documents.rs` | get, list, delete, stats, check, compact |
//! | `moving.rs` | export, import, snapshot, compact --purge |
//! | `opening.rs` | databases that are missing, foreign, newer, locked, or of another encoder |
//! | `migrate.rs` | migrate |
//! | `evaluation.rs` | eval |
//! | `tuning.rs` | tune |
//! | `setting_up.rs` | setup, doctor, demo |

#![cfg(feature = "cli")]

mod command;
mod documents;
mod evaluation;
mod help;
mod ingest;
mod kill;
#[cfg(target_os = "linux")]
mod memory;
mod migrate;
mod moving;
mod opening;
mod query;
mod setting_up;
mod tuning;
