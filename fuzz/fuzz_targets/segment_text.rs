//! A segment's sections that tantivy reads. Its panics are to be caught, so here they do not end the run; ours do.
#![no_main]

use std::sync::Once;

static HOOK: Once = Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // In the place of libFuzzer's, which ends the process. What leaves the target as a panic still does.
    HOOK.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    vecdb::fuzzing::segment_sections(bytes);
});
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    vecdb_fuzz::mutate_section(data, size, max_size, seed, true)
});
