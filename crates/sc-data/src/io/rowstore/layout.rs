//! Header, table and description of a store, and their hash.

use std::path::Path;

use super::PackedFrom;
use crate::error::{DataError, Result};

pub(super) const MAGIC: &[u8; 8] = b"scfmrows";
/// Raised whenever the bytes of a row or of this layout change.
pub(super) const VERSION: u32 = 1;
/// Bytes of the header: where the first row begins.
pub(super) const HEADER: usize = 64;
/// Bytes of the hash at the end.
const HASH: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) rows: u64,
    pub(super) cols: u64,
    pub(super) entries: u64,
    pub(super) table: u64,
    pub(super) description: u64,
    pub(super) end: u64,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let fields = [
            self.rows,
            self.cols,
            self.entries,
            self.table,
            self.description,
            self.end,
        ];
        for (slot, field) in out[16..].as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *slot = field.to_le_bytes();
        }
        out
    }

    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let fail = |message: String| Err(DataError::file(path, message));
        let Some(head) = bytes.get(..HEADER).filter(|h| h.starts_with(MAGIC)) else {
            return fail("is not a row-packed store of scfm".into());
        };
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let version = word(8);
        if version != VERSION {
            return fail(format!(
                "is a store of version {version}, but this scfm reads version {VERSION}; build it \
                 again (scfm convert FILE --to store)"
            ));
        }
        let mut fields = head[16..]
            .as_chunks::<8>()
            .0
            .iter()
            .map(|f| u64::from_le_bytes(*f));
        let mut field = || fields.next().unwrap_or(0);
        let header = Self {
            rows: field(),
            cols: field(),
            entries: field(),
            table: field(),
            description: field(),
            end: field(),
        };
        let table = header.rows.checked_mul(12).and_then(|n| n.checked_add(8));
        let fits = table.and_then(|n| n.checked_add(header.table)) == Some(header.description)
            && header.table >= HEADER as u64
            && header.description <= header.end
            && header.end.checked_add(HASH as u64) == Some(bytes.len() as u64)
            && header.cols <= u64::from(u32::MAX);
        if !fits {
            return fail("is truncated or damaged; delete the store, and it is rebuilt".into());
        }
        Ok(header)
    }
}

/// Hash over everything but the rows, which have their own checksums.
pub(super) fn hash(header: &[u8], tail: &[u8]) -> [u8; HASH] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header);
    hasher.update(tail);
    *hasher.finalize().as_bytes()
}

type Tail = (Vec<u64>, Vec<u32>, PackedFrom);

/// Reads table and description; the header has been checked against the length of `bytes`.
pub(super) fn tail(path: &Path, bytes: &[u8], header: &Header) -> Result<Tail> {
    let damaged = || {
        DataError::file(
            path,
            "its table does not match its hash; delete the store, and it is rebuilt",
        )
    };
    let part = |from: u64, to: u64| bytes.get(from as usize..to as usize).ok_or_else(damaged);
    let tail = part(header.table, header.end)?;
    if bytes[header.end as usize..] != hash(&bytes[..HEADER], tail) {
        return Err(damaged());
    }
    let offsets = header.table + 8 * (header.rows + 1);
    let offsets_bytes = part(header.table, offsets)?.as_chunks::<8>().0;
    let checksums = part(offsets, header.description)?.as_chunks::<4>().0;
    let from = serde_json::from_slice(part(header.description, header.end)?)
        .map_err(|e| DataError::file(path, format!("its description cannot be read: {e}")))?;
    Ok((
        offsets_bytes
            .iter()
            .map(|b| u64::from_le_bytes(*b))
            .collect(),
        checksums.iter().map(|b| u32::from_le_bytes(*b)).collect(),
        from,
    ))
}
