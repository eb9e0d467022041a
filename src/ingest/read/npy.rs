//! Vectors in a NumPy file, a row for each record, by `npyz`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use npyz::{NpyFile, NpyReader, Order};

use crate::error::{Error, Result};

/// The rows of an array of shape `[records, dimension]`, one after another.
pub(in crate::ingest) struct Rows {
    path: PathBuf,
    components: Components,
    dimension: usize,
    left: u64,
}

enum Components {
    Single(NpyReader<f32, BufReader<File>>),
    Double(NpyReader<f64, BufReader<File>>),
}

impl Rows {
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::Input {
            place: path.display().to_string(),
            what,
        };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let array = NpyFile::new(BufReader::with_capacity(1 << 20, file))
            .map_err(|error| wrong(format!("this is no NumPy file: {error}")))?;
        let shape = array.shape().to_vec();
        let [rows, dimension] = shape[..] else {
            return Err(wrong(format!(
                "its shape is {shape:?}, and must be [vectors, dimension]"
            )));
        };
        if array.order() != Order::C && rows > 1 && dimension > 1 {
            return Err(wrong(
                "its array is in Fortran's order; save it in C's".into(),
            ));
        }
        let kind = array.dtype().descr();
        let components = match array.try_data::<f32>() {
            Ok(components) => Components::Single(components),
            Err(array) => Components::Double(array.data::<f64>().map_err(|_| {
                wrong(format!(
                    "its numbers are of the type {kind}, and must be f4 or f8"
                ))
            })?),
        };
        Ok(Self {
            path: path.to_path_buf(),
            components,
            dimension: usize::try_from(dimension).unwrap_or(usize::MAX),
            left: rows,
        })
    }

    /// The next row; `None` behind the last.
    pub fn next(&mut self) -> Result<Option<Vec<f32>>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let row: std::io::Result<Vec<f32>> = match &mut self.components {
            Components::Single(all) => all.take(self.dimension).collect(),
            Components::Double(all) => {
                let row = all.take(self.dimension);
                row.map(|x| x.map(|x| x as f32)).collect()
            }
        };
        row.map(Some).map_err(Error::io("read", &self.path))
    }

    /// How many rows were not taken.
    pub fn left(&self) -> u64 {
        self.left
    }
}
