//! Judgements, queries and runs of an evaluation.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vecdb::fuzzing::evaluation(bytes));
