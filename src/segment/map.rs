//! A segment's bytes: mapped from its file, or copied into memory. One of the two files with unsafe code.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};
use stable_deref_trait::StableDeref;

use crate::error::{Error, Result};

#[cfg(target_endian = "big")]
compile_error!(
    "segments are little-endian and are read where they lie; a big-endian reader would have to convert"
);

/// Read-only bytes that start on a page boundary, so that a multiple of 64 is 64-byte aligned in memory too.
pub(super) struct Map {
    bytes: Mmap,
    /// The file that is mapped.
    file: Option<File>,
}

impl Map {
    /// Maps a file whole.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("open", path))?.len();
        if length == 0 {
            return Err(Error::damaged(path, 0, "the file is empty"));
        }
        // SAFETY: a segment file is written once under another name, renamed and never written again, so the bytes under
        // the map do not change. A foreign process that rewrites or truncates it breaks this, as with every mapped file;
        // ids and offsets that are followed later were checked at open and are followed with bounds checks besides.
        let map = unsafe { Mmap::map(&file) };
        let bytes = map.map_err(Error::io("map", path))?;
        let file = Some(file);
        Ok(Self { bytes, file })
    }

    /// Copies bytes into anonymous memory. `name` stands for the path in errors.
    pub fn copy(bytes: &[u8], name: &Path) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::damaged(name, 0, "there are no bytes"));
        }
        let mut map = MmapMut::map_anon(bytes.len()).map_err(Error::io("take memory for", name))?;
        map.copy_from_slice(bytes);
        Self::anonymous(map, name)
    }

    /// Copies bytes into anonymous memory, in huge pages where the system has them: a walk jumps about, and each jump to
    /// another page of the usual 4 KiB costs a look-up of its place.
    pub fn pin(bytes: &[u8], name: &Path) -> Result<Self> {
        let failed = Error::io("take memory for", name);
        let mut map = MmapMut::map_anon(bytes.len().max(1)).map_err(failed)?;
        #[cfg(target_os = "linux")]
        // Only an advice: a system without huge pages goes on with small ones.
        let _ = map.advise(memmap2::Advice::HugePage);
        map[..bytes.len()].copy_from_slice(bytes);
        Self::anonymous(map, name)
    }

    fn anonymous(map: MmapMut, name: &Path) -> Result<Self> {
        let bytes = map.make_read_only().map_err(Error::io("map", name))?;
        Ok(Self { bytes, file: None })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads bytes at a place of the file, which need not become resident for it, or copies them where there is no file.
    pub fn read_at(&self, start: usize, bytes: &mut [u8]) -> io::Result<()> {
        match &self.file {
            #[cfg(unix)]
            Some(file) => std::os::unix::fs::FileExt::read_exact_at(file, bytes, start as u64),
            #[cfg(windows)]
            Some(file) => {
                let mut done = 0;
                while done < bytes.len() {
                    let at = (start + done) as u64;
                    match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], at)? {
                        0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                        read => done += read,
                    }
                }
                Ok(())
            }
            _ => {
                bytes.copy_from_slice(&self.bytes[start..start + bytes.len()]);
                Ok(())
            }
        }
    }
}

/// A part of a map that keeps the map alive.
pub(super) struct MapSlice {
    map: Arc<Map>,
    range: Range<usize>,
}

impl MapSlice {
    /// The part `range`, which must lie inside the map.
    pub fn new(map: Arc<Map>, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= map.bytes().len(),
            "a slice lies inside its map"
        );
        Self { map, range }
    }
}

impl Deref for MapSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map.bytes()[self.range.clone()]
    }
}

// SAFETY: the bytes are owned by a map behind an `Arc`: moving a `MapSlice` moves neither, and both of its fields are
// private and never changed.
unsafe impl StableDeref for MapSlice {}

/// Bytes as `f32`. Empty if they do not start on a multiple of 4; a rest of fewer than 4 bytes is left out.
pub(super) fn as_f32(bytes: &[u8]) -> &[f32] {
    // SAFETY: every bit pattern is an `f32`, and `align_to` only returns what is aligned.
    let (before, whole, _) = unsafe { bytes.align_to::<f32>() };
    if before.is_empty() { whole } else { &[] }
}

/// Bytes as `u32`. Empty if they do not start on a multiple of 4; a rest of fewer than 4 bytes is left out.
pub(super) fn as_u32(bytes: &[u8]) -> &[u32] {
    // SAFETY: every bit pattern is a `u32`, and `align_to` only returns what is aligned.
    let (before, whole, _) = unsafe { bytes.align_to::<u32>() };
    if before.is_empty() { whole } else { &[] }
}

/// Bytes as `i8`.
pub(super) fn as_i8(bytes: &[u8]) -> &[i8] {
    // SAFETY: `u8` and `i8` have the same size and alignment, and every bit pattern is valid for both.
    let (_, whole, _) = unsafe { bytes.align_to::<i8>() };
    whole
}
