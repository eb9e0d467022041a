//! FORMAT.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vecdb::fuzzing::stamp(bytes));
