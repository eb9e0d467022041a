//! How the targets that read segments change them: section by section, so that the file around it stays whole.

use libfuzzer_sys::fuzzer_mutate;

/// Of so many changes one may change a section's length, which the header mostly gives away.
const LENGTH_CHANGES: u32 = 8;
/// Bytes that a section can grow by at once.
const ROOM: usize = 64;

/// Changes one section of the segment file in `data`, of `size` bytes, and makes all checksums right. Returns the new size.
/// `of_text` chooses among the sections that tantivy reads, otherwise among ours.
pub fn mutate_section(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    of_text: bool,
) -> usize {
    let choice = seed as usize / 16;
    let changed = vecdb::fuzzing::change_section(&data[..size], of_text, choice, |section| {
        let length = section.len();
        // An empty section can only grow.
        let keeps_length = length > 0 && !seed.is_multiple_of(LENGTH_CHANGES);
        let most = if keeps_length { length } else { length + ROOM };
        section.resize(most, 0);
        let now = fuzzer_mutate(section, length, most);
        section.resize(if keeps_length { length } else { now }, 0);
    });
    match changed {
        Some(bytes) if bytes.len() <= max_size => {
            data[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        Some(_) => size,
        // No segment file: without seeds this finds the way to none.
        None => fuzzer_mutate(data, size, max_size),
    }
}
