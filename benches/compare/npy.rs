//! NumPy's `.npy` files, row by row: two dimensions, little-endian float32, int8 or int32.
//!
//! The format is numpy's `numpy.lib.format`: a magic, a version, the header's length, a Python dictionary, the numbers.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// An open file, read from the front.
pub struct Npy {
    reader: BufReader<File>,
    number: Number,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Number {
    Float32,
    Int8,
    Int32,
}

impl Npy {
    /// Opens the file and reads its header.
    pub fn open(path: &Path) -> Result<Self, Box<dyn Error>> {
        let refuse = |what: &str| format!("{}: {what}", path.display());
        let file = File::open(path).map_err(|error| refuse(&error.to_string()))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut start = [0; 8];
        reader.read_exact(&mut start)?;
        if &start[..6] != b"\x93NUMPY" {
            return Err(refuse("not a .npy file").into());
        }
        let length = if start[6] == 1 {
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            u64::from(u16::from_le_bytes(length))
        } else {
            let mut length = [0; 4];
            reader.read_exact(&mut length)?;
            u64::from(u32::from_le_bytes(length))
        };
        let mut header = String::new();
        reader.by_ref().take(length).read_to_string(&mut header)?;
        let number = match value(&header, "'descr'").trim_matches([' ', '\'']) {
            "<f4" => Number::Float32,
            "|i1" => Number::Int8,
            "<i4" => Number::Int32,
            other => return Err(refuse(&format!("numbers of type {other}")).into()),
        };
        if !value(&header, "'fortran_order'").contains("False") {
            return Err(refuse("columns come first").into());
        }
        let shape = header
            .split_once("'shape'")
            .and_then(|(_, rest)| rest.split_once('('))
            .and_then(|(_, rest)| rest.split_once(')'))
            .map_or("", |(shape, _)| shape);
        let shape: Vec<usize> = shape.split(',').flat_map(|n| n.trim().parse()).collect();
        let &[rows, columns] = shape.as_slice() else {
            return Err(refuse("not an array of two dimensions").into());
        };
        Ok(Self {
            reader,
            number,
            rows,
            columns,
            bytes: Vec::new(),
        })
    }

    /// Rows in the file.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The next row, as floats.
    pub fn row(&mut self) -> Result<Vec<f32>, Box<dyn Error>> {
        let size = match self.number {
            Number::Int8 => 1,
            Number::Float32 | Number::Int32 => 4,
        };
        self.bytes.resize(self.columns * size, 0);
        self.reader.read_exact(&mut self.bytes)?;
        let words = || self.bytes.as_chunks::<4>().0.iter();
        Ok(match self.number {
            Number::Int8 => self.bytes.iter().map(|&b| f32::from(b as i8)).collect(),
            Number::Float32 => words().map(|&word| f32::from_le_bytes(word)).collect(),
            Number::Int32 => words()
                .map(|&word| i32::from_le_bytes(word) as f32)
                .collect(),
        })
    }
}

/// What stands between the key's colon and the next comma.
fn value<'a>(header: &'a str, key: &str) -> &'a str {
    let rest = header.split_once(key).map_or("", |(_, rest)| rest);
    let rest = rest.trim_start_matches([':', ' ']);
    rest.split(',').next().unwrap_or("")
}
