//! Nameless files: room on disk for what waits for its turn. Such a file is gone when it is closed, also by a kill.

use std::fmt;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

/// A file that is written, and read again by the one who wrote it.
pub(crate) trait ScratchFile: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> ScratchFile for T {}

type Make = dyn Fn() -> io::Result<Box<dyn ScratchFile>> + Send + Sync;

/// Makes nameless files.
#[derive(Clone)]
pub(crate) struct Scratch(Arc<Make>);

impl Scratch {
    pub fn new(
        make: impl Fn() -> io::Result<Box<dyn ScratchFile>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }

    /// A new, empty one.
    pub fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        (self.0)()
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}
