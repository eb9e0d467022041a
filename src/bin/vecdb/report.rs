//! `vecdb ingest --report`: what became of each file, for programs.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use vecdb::ingest::{FileRead, Format, Sources};

use crate::failure::Failure;

#[derive(Serialize)]
struct FileObject<'a> {
    path: &'a str,
    format: Option<&'static str>,
    bytes: u64,
    documents: u64,
    failed: u64,
    failures: Vec<FailureObject<'a>>,
}

#[derive(Serialize)]
struct FailureObject<'a> {
    place: &'a str,
    what: &'a str,
}

/// What became of each file, one line of JSON after another. Written by the thread that reads.
pub struct Report {
    path: PathBuf,
    out: Arc<Mutex<io::Result<BufWriter<File>>>>,
}

impl Report {
    /// Makes the file, so that it is known at once if it cannot be.
    pub fn new(path: &Path) -> Result<Self, Failure> {
        let out = File::create(path).map_err(|error| Self::failed(path, &error))?;
        Ok(Self {
            path: path.to_path_buf(),
            out: Arc::new(Mutex::new(Ok(BufWriter::new(out)))),
        })
    }

    fn failed(path: &Path, error: &io::Error) -> Failure {
        Failure::Usage(format!("cannot write {}: {error}", path.display()))
    }

    /// Is told of the files that `sources` reads.
    pub fn hear(&self, sources: Sources) -> Sources {
        let out = Arc::clone(&self.out);
        sources.on_file(move |file| {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            if let Ok(writer) = &mut *out
                && let Err(error) = write(writer, file)
            {
                *out = Err(error);
            }
            ControlFlow::Continue(())
        })
    }

    /// Writes what is left to write.
    pub fn finish(&self) -> Result<(), Failure> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = match &mut *out {
            Ok(writer) => writer.flush(),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        written.map_err(|error| Self::failed(&self.path, &error))
    }
}

fn write(out: &mut impl io::Write, file: &FileRead) -> io::Result<()> {
    let failures = file.failures.iter().map(|failure| FailureObject {
        place: &failure.place,
        what: &failure.what,
    });
    let object = FileObject {
        path: &file.path,
        format: file.format.map(Format::name),
        bytes: file.bytes,
        documents: file.documents,
        failed: file.failed,
        failures: failures.collect(),
    };
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}
