//! The model that a version is by, kept with the data.

use xxhash_rust::xxh3::Xxh3Default;

use super::bytes;
use crate::database::collection::Collection;
use crate::database::inner::{State, Writer};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::store::EncoderRecord;

/// Characters of a model's own name that are kept in the name of its copy.
const MAX_NAME_CHARS: usize = 40;

impl Collection {
    /// Is there room for both versions?
    pub(super) fn check_room(
        &self,
        writer: &Writer,
        encoder: &Encoder,
        target: &EncoderRecord,
        known: Option<&State>,
    ) -> Result<()> {
        let snapshot = self.state.snapshot();
        let rows: u64 = snapshot.parts.iter().map(|p| u64::from(p.rows())).sum();
        let live = rows - snapshot.parts.iter().map(|p| p.dead.len()).sum::<u64>();
        let mut needed = bytes(&snapshot.record) / rows.max(1) * live;
        // Rows and their codes; text, words and graph stay what they are.
        let dimension = snapshot.record.dimension.unwrap_or_default();
        let wider = encoder.dimension().saturating_sub(dimension);
        needed += live * 5 * wider as u64;
        // A merge writes before it removes.
        needed += needed / 4;
        needed = needed.saturating_sub(known.map_or(0, |known| bytes(&known.snapshot().record)));
        if !writer.store.keeps_model(&target.name) {
            let size = |file| std::fs::metadata(encoder.folder().join(file)).map_or(0, |m| m.len());
            needed += encoder.files_to_copy().iter().map(size).sum::<u64>();
        }
        let folder = writer.store.layout().root();
        match fs4::available_space(folder) {
            Ok(free) if free < needed => {
                let what = format!(
                    "re-embedding takes about {} MB beside what is there, and {} MB are free",
                    needed / 1_000_000,
                    free / 1_000_000
                );
                let full = std::io::Error::new(std::io::ErrorKind::StorageFull, what);
                Err(Error::io("write to", folder)(full))
            }
            _ => Ok(()),
        }
    }
}

/// What a collection's record says of an encoder that is kept: its name ends with a hash over all that makes vectors, of
/// queries too.
pub(super) fn kept_record(encoder: &Encoder) -> Result<EncoderRecord> {
    let name = encoder.name().chars();
    let name = name.map(|c| {
        if c.is_control() || "/\\".contains(c) {
            '_'
        } else {
            c
        }
    });
    let name: String = name.collect();
    let mut hash = Xxh3Default::new();
    hash.update(encoder.fingerprint().as_bytes());
    hash.update(&encoder.adapter_bytes()?);
    let ending = format!("-{:08x}", hash.digest() as u32);
    let name = match name.ends_with(&ending) {
        true => name,
        false => name.chars().take(MAX_NAME_CHARS).collect::<String>() + &ending,
    };
    Ok(EncoderRecord {
        name,
        fingerprint: encoder.fingerprint().to_owned(),
    })
}
