//! A segment's header and footer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vecdb::fuzzing::segment_frame(bytes));
