//! Values in sled: one version byte, xxh3-64 of the rest (little-endian), bincode.
//!
//! The checksum is verified before anything is decoded, so bincode only ever sees bytes that we wrote.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
pub(super) const HEAD: usize = 9;
const LIMIT: usize = 1 << 30;

fn config() -> Configuration<LittleEndian, Varint, Limit<LIMIT>> {
    bincode::config::standard().with_limit::<LIMIT>()
}

/// The bytes to store for `value`.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let body = bincode::serde::encode_to_vec(value, config()).map_err(|e| e.to_string())?;
    // bincode keeps its limit only when it decodes: what could not be read back must not be written.
    if body.len() > LIMIT {
        return Err(format!(
            "a value has {} bytes; at most {LIMIT} are stored",
            body.len()
        ));
    }
    Ok(sealed(&body))
}

/// The body behind its head.
pub(super) fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&xxh3_64(body).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The value that `encode` stored; a sentence about what is wrong for any other bytes.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Some((&[version, ref sum @ ..], body)) = bytes.split_first_chunk::<HEAD>() else {
        return Err(format!(
            "a value has {} bytes, fewer than its head",
            bytes.len()
        ));
    };
    if version != VERSION {
        return Err(format!(
            "a value has version {version}, and this vecdb reads {VERSION}"
        ));
    }
    if u64::from_le_bytes(*sum) != xxh3_64(body) {
        return Err("a value's checksum does not match".into());
    }
    let (value, read) =
        bincode::serde::decode_from_slice(body, config()).map_err(|e| e.to_string())?;
    if read != body.len() {
        return Err(format!("a value has {} bytes too many", body.len() - read));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_any_changed_byte_is_an_error() {
        let value = (7_u32, "text".to_owned(), vec![1.5_f32, -2.0]);
        let bytes = encode(&value).expect("encodes");
        assert_eq!(decode::<(u32, String, Vec<f32>)>(&bytes), Ok(value));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(
                decode::<(u32, String, Vec<f32>)>(&changed).is_err(),
                "byte {at}"
            );
            assert!(
                decode::<(u32, String, Vec<f32>)>(&bytes[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_value_of_another_type_is_an_error_and_not_a_panic() {
        let bytes = encode(&vec![u64::MAX; 4]).expect("encodes");
        assert!(decode::<(String, String)>(&bytes).is_err());
        assert!(decode::<u8>(&bytes).is_err(), "trailing bytes");
    }
}
