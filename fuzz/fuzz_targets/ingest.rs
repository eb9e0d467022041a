//! Files to ingest: JSON Lines, CSV, Markdown, text.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vecdb::fuzzing::ingest(bytes));
