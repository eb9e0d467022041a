//! A training's state in a file, so that it goes on after a kill.
//!
//! ```text
//! xxh3-128 of the rest (16 bytes, little-endian) | safetensors: parameters, means, squares; in its metadata all else as JSON
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};
use xxhash_rust::xxh3::xxh3_128;

use super::train::{Course, State};
use crate::encoder::trunk::Numbers;
use crate::error::{Error, Result};

const SUM: usize = 16;
const NAME: &str = "name";
const COURSE: &str = "course";
/// The parts of the state that are numbers, by what stands before their names.
const PARTS: [&str; 3] = ["parameter ", "mean ", "square "];

struct Tensor<'a>(&'a [f32], [usize; 1]);

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        4 * self.0.len()
    }
}

/// Replaces the checkpoint; a kill leaves the old one or the new one.
pub(super) fn write(path: &Path, name: &str, state: &State) -> Result<()> {
    let numbers = [
        &state.parameters,
        &state.optimiser.means,
        &state.optimiser.squares,
    ];
    let tensors = PARTS.iter().zip(numbers).flat_map(|(part, numbers)| {
        numbers
            .iter()
            .map(move |(name, numbers)| (format!("{part}{name}"), Tensor(numbers, [numbers.len()])))
    });
    let failed = |what: String| Error::Tune {
        what: format!("its state cannot be written: {what}"),
    };
    let course = serde_json::to_string(&state.course).map_err(|e| failed(e.to_string()))?;
    let words = HashMap::from([
        (NAME.to_owned(), name.to_owned()),
        (COURSE.to_owned(), course),
    ]);
    let body = safetensors::serialize(tensors, Some(words)).map_err(|e| failed(e.to_string()))?;
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(Error::io("create", &new))?;
    file.write_all(&xxh3_128(&body).to_le_bytes())
        .and_then(|()| file.write_all(&body))
        .and_then(|()| file.sync_all())
        .map_err(Error::io("write", &new))?;
    fs::rename(&new, path).map_err(Error::io("rename", &new))
}

/// The state of a training of that name. `None` where there is none, or where the file is not what was written: a training
/// begins again then.
pub(super) fn read(path: &Path, name: &str) -> Result<Option<State>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    Ok(parse(&bytes, name))
}

fn parse(bytes: &[u8], name: &str) -> Option<State> {
    let (sum, body) = bytes.split_at_checked(SUM)?;
    if sum != xxh3_128(body).to_le_bytes() {
        return None;
    }
    let (_, header) = SafeTensors::read_metadata(body).ok()?;
    let words = header.metadata().as_ref()?;
    if words.get(NAME)? != name {
        return None;
    }
    let course: Course = serde_json::from_str(words.get(COURSE)?).ok()?;
    let tensors = SafeTensors::deserialize(body).ok()?;
    let part = |part: &str| -> Numbers {
        let tensors = tensors.iter().filter_map(|(name, tensor)| {
            let numbers = tensor
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Some((name.strip_prefix(part)?.to_owned(), numbers.collect()))
        });
        tensors.collect()
    };
    let mut state = State {
        parameters: part(PARTS[0]),
        course,
        ..State::default()
    };
    state.optimiser.steps = u32::try_from(state.course.steps).ok()?;
    state.optimiser.means = part(PARTS[1]);
    state.optimiser.squares = part(PARTS[2]);
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("checkpoint");
        assert!(read(&path, "a").expect("read").is_none());
        let numbers =
            |x: f32| Numbers::from([("w".to_owned(), vec![x, -x]), ("b".to_owned(), vec![x])]);
        let mut state = State {
            parameters: numbers(1.5),
            ..State::default()
        };
        state.course.steps = 3;
        state.course.losses = vec![(3, 0.25)];
        state.optimiser.steps = 3;
        state.optimiser.means = numbers(0.1);
        state.optimiser.squares = numbers(0.01);
        write(&path, "a", &state).expect("written");
        let again = read(&path, "a").expect("read").expect("there");
        assert_eq!(
            (&again.parameters, &again.optimiser),
            (&state.parameters, &state.optimiser)
        );
        assert_eq!(again.course.losses, state.course.losses);
        assert!(read(&path, "b").expect("read").is_none());
        let mut bytes = fs::read(&path).expect("read");
        for at in [0, 20, bytes.len() - 1] {
            bytes[at] ^= 1;
            fs::write(&path, &bytes).expect("written");
            assert!(read(&path, "a").expect("read").is_none());
            bytes[at] ^= 1;
        }
        fs::write(&path, &bytes[..10]).expect("written");
        assert!(read(&path, "a").expect("read").is_none());
    }
}
