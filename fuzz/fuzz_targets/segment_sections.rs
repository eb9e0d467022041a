//! A segment's sections, searched.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vecdb::fuzzing::segment_sections(bytes));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    vecdb_fuzz::mutate_section(data, size, max_size, seed, false)
});
