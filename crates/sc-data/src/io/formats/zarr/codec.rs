//! Decoding the bytes of a chunk.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};
use serde_json::Value;

use crate::io::h5::filters;

/// A step from bytes to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zlib,
    Zstd,
    Blosc,
    /// Checksum at the end.
    Crc32c,
}

impl Codec {
    /// The codec of this name in either version of the format.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name.strip_prefix("numcodecs.").unwrap_or(name) {
            "gzip" => Self::Gzip,
            "zlib" => Self::Zlib,
            "zstd" => Self::Zstd,
            "blosc" => Self::Blosc,
            "crc32c" => Self::Crc32c,
            other => {
                return Err(format!(
                    "is compressed with {other}, which is not supported; write it again with the \
                     default compression (adata.write_zarr(path))"
                ));
            }
        })
    }
}

/// Name of a codec in the metadata, under `name` or `id`, or as a plain string.
pub(super) fn name(codec: &Value) -> &str {
    codec
        .as_str()
        .or_else(|| codec.get("name")?.as_str())
        .or_else(|| codec.get("id")?.as_str())
        .unwrap_or_default()
}

/// Applies `codecs` in reverse; no step may yield more than `limit` bytes.
pub(super) fn undo(codecs: &[Codec], packed: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let mut bytes: Option<Vec<u8>> = None;
    for codec in codecs.iter().rev() {
        let data = bytes.as_deref().unwrap_or(packed);
        bytes = Some(match codec {
            Codec::Gzip => inflate(MultiGzDecoder::new(data), limit)?,
            Codec::Zlib => inflate(ZlibDecoder::new(data), limit)?,
            Codec::Zstd => filters::zstd(data, limit)?,
            // An empty chunk is stored as a frame that declares it.
            Codec::Blosc => filters::blosc(data, limit)?,
            Codec::Crc32c => checked(data)?.to_vec(),
        });
    }
    Ok(bytes.unwrap_or_else(|| packed.to_vec()))
}

fn inflate(reader: impl Read, limit: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    reader
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|e| e.to_string())?;
    match out.len() > limit {
        true => Err(format!("decompresses to more than {limit} bytes")),
        false => Ok(out),
    }
}

/// The bytes before a little-endian CRC-32C, which must match.
pub(super) fn checked(data: &[u8]) -> Result<&[u8], String> {
    let (bytes, sum) = data
        .split_last_chunk::<4>()
        .ok_or("is too short for its checksum")?;
    match crc32c::crc32c(bytes) == u32::from_le_bytes(*sum) {
        true => Ok(bytes),
        false => Err("does not match its checksum".into()),
    }
}

/// Strings as stored by `vlen-utf8`: their number, then each with its length.
pub(super) fn texts(bytes: &[u8]) -> Result<Vec<String>, String> {
    let cut = || "strings are truncated".to_owned();
    let length = |bytes: &[u8]| -> Option<(usize, usize)> {
        let (length, _) = bytes.split_first_chunk::<4>()?;
        Some((u32::from_le_bytes(*length) as usize, 4))
    };
    let (count, mut at) = length(bytes).ok_or_else(cut)?;
    // Each takes four bytes at least, so more is damage.
    let mut out = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let rest = bytes.get(at..).ok_or_else(cut)?;
        let (long, skip) = length(rest).ok_or_else(cut)?;
        let text = rest.get(skip..skip + long).ok_or_else(cut)?;
        let text = std::str::from_utf8(text).map_err(|e| format!("string {}: {e}", out.len()))?;
        out.push(text.to_owned());
        at += skip + long;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_is_castagnolis() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(checked(b"123456789\x83\x92\x06\xe3"), Ok(&b"123456789"[..]));
        assert!(checked(b"123456788\x83\x92\x06\xe3").is_err());
        assert!(checked(b"12").is_err());
    }

    #[test]
    fn texts_that_promise_more_than_there_is_are_refused() {
        let good = b"\x02\0\0\0\x01\0\0\0a\x02\0\0\0bc";
        assert_eq!(texts(good).unwrap(), ["a", "bc"]);
        for end in 0..good.len() {
            assert!(texts(&good[..end]).is_err(), "{end}");
        }
        assert!(texts(b"\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn unpacking_stops_at_the_limit() {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&[0; 100_000]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(
            undo(&[Codec::Gzip], &packed, 100_000).unwrap().len(),
            100_000
        );
        assert!(undo(&[Codec::Gzip], &packed, 99_999).is_err());
    }
}
