//! The encoder as a whole, with the real model and runtime.
//!
//! | file | subject |
//! |---|---|
//! | `vectors.rs` | what vectors are equal to, and what they do not depend on |
//! | `windows.rs` | how texts are cut |
//! | `models.rs` | every architecture beside the reference |
//! | `running.rs` | devices, sessions, cancelling |
//! | `gradients.rs` | training: the same vectors, and true gradients |
//! | `folders.rs` | model folders, good and bad |

mod folders;
#[cfg(feature = "tune")]
mod gradients;
mod models;
mod running;
mod vectors;
mod windows;

use std::path::PathBuf;
use std::sync::OnceLock;

use super::*;
use crate::setup;

pub(super) fn encoder() -> &'static Encoder {
    static ENCODER: OnceLock<Encoder> = OnceLock::new();
    ENCODER.get_or_init(|| {
        setup::ensure().expect("the model and the runtime are set up");
        Encoder::open(&EncoderOptions::default()).expect("the default encoder opens")
    })
}

/// The folder of the tiny models.
#[cfg(feature = "tune")]
pub(crate) fn models() -> &'static Path {
    models::models().root.path()
}

pub(super) fn cosine(a: &Vector, b: &Vector) -> f32 {
    a.as_slice()
        .iter()
        .zip(b.as_slice())
        .map(|(a, b)| a * b)
        .sum()
}

pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
