//! Sets of keys, as text in JSON and as a numpy array.

use crate::error::{DataError, Result};
use crate::io::atomic::write_bytes_atomic;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::path::Path;

/// A set of keys; in JSON base64 of its little-endian 64-bit integers, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<u64>);

impl KeySet {
    /// The distinct keys of `keys`.
    pub fn new(keys: impl IntoIterator<Item = u64>) -> Self {
        let mut keys: Vec<u64> = keys.into_iter().collect();
        keys.sort_unstable();
        keys.dedup();
        Self(keys)
    }

    /// Whether `key` is in the set.
    pub fn contains(&self, key: u64) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for KeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|k| k.to_le_bytes()).collect();
        serializer.serialize_str(&encode(&bytes))
    }
}

impl<'de> Deserialize<'de> for KeySet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = decode(&text).filter(|b| b.len() % 8 == 0);
        let bytes = bytes.ok_or_else(|| {
            serde::de::Error::custom("cell keys are not base64 of 64-bit integers")
        })?;
        Ok(Self::new(
            bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| u64::from_le_bytes(*b)),
        ))
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let at = |i: usize| u32::from(part.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for k in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * k) & 63) as usize];
            out.push(if k <= part.len() { letter as char } else { '=' });
        }
    }
    out
}

/// Decodes base64 with padding; `None` for any other text.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let letters = text.get(..text.len().checked_sub(padding.min(2))?)?;
    let mut out = Vec::with_capacity(letters.len() * 3 / 4);
    for part in letters.chunks(4) {
        let mut bits = 0u32;
        for &letter in part {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - part.len());
        let bytes = bits.to_be_bytes();
        out.extend_from_slice(&bytes[1..part.len()]);
    }
    Some(out)
}

/// Writes pairs of keys as a numpy array, uint64 `[pairs, 2]`, and returns the bytes written.
pub(super) fn write_pairs(path: &Path, pairs: &[[u64; 2]]) -> Result<Vec<u8>> {
    let shape = format!("({}, 2)", pairs.len());
    let mut header = format!("{{'descr': '<u8', 'fortran_order': False, 'shape': {shape}, }}");
    // numpy requires the data to begin at a multiple of 64 bytes.
    let before = 10 + header.len() + 1;
    header.push_str(&" ".repeat(before.next_multiple_of(64) - before));
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(pairs.iter().flatten().flat_map(|k| k.to_le_bytes()));
    write_bytes_atomic(path, &bytes)?;
    Ok(bytes)
}

/// Reads the output of [`write_pairs`].
pub(super) fn read_pairs(path: &Path, bytes: &[u8]) -> Result<Vec<[u64; 2]>> {
    let damaged = || {
        DataError::file(
            path,
            "is not an array of cell keys (uint64, two columns); use the file that training wrote",
        )
    };
    let rest = bytes
        .strip_prefix(b"\x93NUMPY\x01\x00")
        .ok_or_else(damaged)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (header, data) = rest.split_at_checked(length).ok_or_else(damaged)?;
    let header = String::from_utf8_lossy(header);
    let (pairs, left) = data.as_chunks::<16>();
    let shape = format!("'shape': ({}, 2)", pairs.len());
    if !left.is_empty() || !header.contains("'<u8'") || !header.contains(&shape) {
        return Err(damaged());
    }
    let pair = |b: &[u8; 16]| {
        let halves = b.as_chunks::<8>().0;
        [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])]
    };
    Ok(pairs.iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_that_of_everyone() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
        for wrong in ["Zg=", "Z g=", "====", "Zm9v!"] {
            assert_ne!(decode(wrong).as_deref(), Some(&b"f"[..]), "{wrong}");
        }
        assert!(serde_json::from_str::<KeySet>("\"Zm9v\"").is_err());
    }

    proptest! {
        #[test]
        fn sets_survive_json(keys in prop::collection::vec(any::<u64>(), 0..40)) {
            let set = KeySet::new(keys.iter().copied());
            let text = serde_json::to_string(&set).unwrap();
            prop_assert_eq!(serde_json::from_str::<KeySet>(&text).unwrap(), set.clone());
            prop_assert!(keys.iter().all(|k| set.contains(*k)));
        }
    }
}
