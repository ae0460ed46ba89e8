//! The chunks of an array: found, decompressed, cached for the next read, and assembled.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

use super::codec;
use super::layout::{place, position, product, swap, untransposed};
use super::meta::{Endian, Kind, Meta, Place, Shard};
use super::store::Store;
use crate::io::h5::ElementType;

/// Decompressed chunks cached between reads: those of `indices` and `data` that consecutive reads
/// share.
const KEPT_BYTES: usize = 256 << 20;

/// Offset and length of every part of a shard.
type ShardIndex = Arc<Vec<[u64; 2]>>;

/// Cached chunks and shard indices.
#[derive(Default)]
pub(super) struct Kept {
    chunks: Mutex<Chunks>,
    shards: Mutex<HashMap<String, ShardIndex>>,
}

/// Decompressed chunks by array and position; the oldest are evicted first.
#[derive(Default)]
struct Chunks {
    by_key: HashMap<String, Arc<Vec<u8>>>,
    order: VecDeque<String>,
    bytes: usize,
}

impl Chunks {
    fn put(&mut self, key: String, chunk: &Arc<Vec<u8>>) {
        // Two threads may have decompressed the same chunk.
        if self.by_key.insert(key.clone(), Arc::clone(chunk)).is_some() {
            return;
        }
        self.order.push_back(key);
        self.bytes += chunk.len();
        // The newest two are kept whatever their size: `indices` and `data` are read in turn.
        while self.bytes > KEPT_BYTES && self.order.len() > 2 {
            let oldest = self.order.pop_front().and_then(|k| self.by_key.remove(&k));
            self.bytes -= oldest.map_or(0, |c| c.len());
        }
    }
}

/// An array of a store; nothing decompresses to more than `limit` bytes.
#[derive(Clone, Copy)]
pub(super) struct Array<'a> {
    pub(super) store: &'a Store,
    pub(super) node: &'a str,
    pub(super) meta: &'a Meta,
    pub(super) kept: &'a Kept,
    pub(super) limit: u64,
}

impl Array<'_> {
    /// Elements of the box `ranges`, row-major, little-endian.
    pub(super) fn bytes(self, ranges: &[Range<u64>]) -> Result<Vec<u8>, String> {
        let width = self.meta.kind.width();
        let extents: Vec<u64> = ranges.iter().map(|r| r.end - r.start).collect();
        let wanted = product(&extents);
        if wanted.saturating_mul(width as u64) > self.limit {
            return Err(format!(
                "{wanted} elements are more than the store can hold"
            ));
        }
        let mut out = fill(self.meta)?.repeat(wanted as usize);
        if wanted == 0 {
            return Ok(out);
        }
        let grid: Vec<Range<u64>> = ranges
            .iter()
            .zip(&self.meta.chunk)
            .map(|(r, &c)| r.start / c..r.end.div_ceil(c))
            .collect();
        let counts: Vec<u64> = grid.iter().map(|g| g.end - g.start).collect();
        // Enough at a time for every thread, and no more in memory.
        let step = rayon::current_num_threads().max(1) as u64;
        let total = product(&counts);
        let mut first = 0;
        while first < total {
            let last = (first + step).min(total);
            let read: Vec<_> = (first..last)
                .into_par_iter()
                .map(|k| {
                    let at = position(k, &grid, &counts);
                    let chunk = self.chunk(&at)?;
                    Ok((at, chunk))
                })
                .collect::<Result<_, String>>()?;
            for (at, chunk) in read {
                if let Some(chunk) = chunk {
                    place(&mut out, ranges, &chunk, &at, &self.meta.chunk, width);
                }
            }
            first = last;
        }
        Ok(out)
    }

    /// Strings of a one-dimensional or empty array.
    pub(super) fn texts(self) -> Result<Vec<String>, String> {
        let meta = self.meta;
        let (length, chunk) = match (&meta.shape[..], &meta.chunk[..]) {
            ([], _) => (1, 1),
            (&[length], &[chunk]) => (length, chunk),
            (other, _) => return Err(format!("strings of shape {other:?} cannot be read")),
        };
        // A string takes at least four bytes before compression.
        if length.saturating_mul(4) > self.limit {
            return Err(format!("{length} strings are more than the store can hold"));
        }
        let scalar = meta.shape.is_empty();
        let mut out = Vec::new();
        for at in 0..length.div_ceil(chunk) {
            let due = (length - at * chunk).min(chunk) as usize;
            let position = if scalar { &[][..] } else { &[at][..] };
            let Some(bytes) = self.chunk(position)? else {
                let filled = meta.fill.as_str().unwrap_or_default();
                out.extend(std::iter::repeat_n(filled.to_owned(), due));
                continue;
            };
            let texts = match meta.kind {
                Kind::Texts => codec::texts(&bytes)?,
                Kind::Bytes(n) => bytes.chunks_exact(n.max(1)).map(trimmed).collect(),
                Kind::Utf32(n) => bytes.chunks_exact(4 * n.max(1)).map(utf32).collect(),
                _ => return Err("does not hold strings".into()),
            };
            if texts.len() < due {
                return Err(format!(
                    "chunk {at} has {} strings instead of {due}",
                    texts.len()
                ));
            }
            out.extend(texts.into_iter().take(due));
        }
        Ok(out)
    }

    /// A chunk, row-major and little-endian; `None` where none is stored.
    fn chunk(self, at: &[u64]) -> Result<Option<Arc<Vec<u8>>>, String> {
        let key = format!("{}:{at:?}", self.node);
        let kept = || {
            self.kept
                .chunks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(chunk) = kept().by_key.get(&key) {
            return Ok(Some(Arc::clone(chunk)));
        }
        let fail = |e: String| format!("chunk {at:?}: {e}");
        let width = self.meta.kind.width();
        let size = self.meta.chunk_len().saturating_mul(width.max(4) as u64);
        if size > self.limit {
            return Err(fail(format!(
                "{size} bytes are more than the store can hold"
            )));
        }
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let packed = match &self.meta.shard {
            None => self.store.get(&self.key(at)).map_err(fail)?,
            Some(shard) => self.part(shard, at).map_err(fail)?.map(Arc::new),
        };
        let Some(packed) = packed else {
            return Ok(None);
        };
        let mut bytes = codec::undo(&self.meta.codecs, &packed, limit).map_err(fail)?;
        if width > 0 {
            let due = self.meta.chunk_len() as usize * width;
            if bytes.len() != due {
                return Err(fail(format!("has {} bytes instead of {due}", bytes.len())));
            }
            if self.meta.endian == Endian::Big {
                swap(&mut bytes, &self.meta.kind);
            }
            if !self.meta.order.iter().copied().eq(0..self.meta.order.len()) {
                bytes = untransposed(&bytes, self.meta, width);
            }
        }
        let bytes = Arc::new(bytes);
        kept().put(key, &bytes);
        Ok(Some(bytes))
    }

    /// File name of a chunk or shard.
    fn key(self, at: &[u64]) -> String {
        let (prefix, separator) = self.meta.key;
        let mut parts: Vec<String> = at.iter().map(u64::to_string).collect();
        if !prefix.is_empty() {
            parts.insert(0, prefix.to_owned());
        } else if parts.is_empty() {
            parts.push("0".into());
        }
        let name = parts.join(&separator.to_string());
        match self.node {
            "" => name,
            node => format!("{node}/{name}"),
        }
    }

    /// The compressed bytes of a part of a shard.
    fn part(self, shard: &Shard, at: &[u64]) -> Result<Option<Vec<u8>>, String> {
        let per: Vec<u64> = shard
            .shape
            .iter()
            .zip(&self.meta.chunk)
            .map(|(s, c)| s / c)
            .collect();
        let whole: Vec<u64> = at.iter().zip(&per).map(|(a, p)| a / p).collect();
        let key = self.key(&whole);
        let shards = || {
            self.kept
                .shards
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = shards().get(&key).cloned();
        let index = match known {
            Some(index) => index,
            None => {
                let Some(index) = self.index(shard, &key, product(&per))? else {
                    return Ok(None);
                };
                let index = Arc::new(index);
                shards().insert(key.clone(), Arc::clone(&index));
                index
            }
        };
        let inside = at.iter().zip(&per).fold(0, |k, (a, p)| k * p + a % p);
        match index.get(inside as usize) {
            None | Some(&[u64::MAX, u64::MAX]) => Ok(None),
            Some(&[offset, length]) => {
                let end = offset.checked_add(length).ok_or("its index is damaged")?;
                self.store.part(&key, offset..end).map(Some)
            }
        }
    }

    fn index(self, shard: &Shard, key: &str, parts: u64) -> Result<Option<Vec<[u64; 2]>>, String> {
        let Some(size) = self.store.size(key)? else {
            return Ok(None);
        };
        let length = parts.saturating_mul(16) + 4 * shard.index.len() as u64;
        if length > size {
            return Err(format!(
                "is truncated: {size} bytes, and an index of {length}"
            ));
        }
        let range = match shard.place {
            Place::Start => 0..length,
            Place::End => size - length..size,
        };
        let bytes = self.store.part(key, range)?;
        let bytes = codec::undo(&shard.index, &bytes, bytes.len())?;
        let word = |b: &[u8; 8]| u64::from_le_bytes(*b);
        let words = bytes.as_chunks::<8>().0.as_chunks::<2>().0;
        Ok(Some(
            words.iter().map(|[a, b]| [word(a), word(b)]).collect(),
        ))
    }
}

fn trimmed(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |p| p + 1);
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn utf32(bytes: &[u8]) -> String {
    let words = bytes.as_chunks::<4>().0.iter();
    let codes: Vec<u32> = words.map(|w| u32::from_le_bytes(*w)).collect();
    let end = codes.iter().rposition(|&c| c != 0).map_or(0, |p| p + 1);
    codes[..end]
        .iter()
        .map(|&c| char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The bytes of a missing element.
fn fill(meta: &Meta) -> Result<Vec<u8>, String> {
    let width = meta.kind.width();
    let Kind::Number(element) = &meta.kind else {
        return Ok(vec![0; width]);
    };
    let odd = || format!("fill value {} is unknown", meta.fill);
    let float = match &meta.fill {
        Value::Null => 0.0,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::String(s) => match &s[..] {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(odd()),
        },
        other => other.as_f64().ok_or_else(odd)?,
    };
    let bytes = match element {
        ElementType::Float { size: 2 } if float == 0.0 => vec![0; 2],
        ElementType::Float { size: 2 } if float.is_nan() => vec![0, 0x7e],
        ElementType::Float { size: 2 } => return Err(odd()),
        ElementType::Float { size: 4 } => (float as f32).to_le_bytes().to_vec(),
        ElementType::Float { .. } => float.to_le_bytes().to_vec(),
        _ => {
            let int = meta.fill.as_i64().unwrap_or(float as i64);
            int.to_le_bytes()[..width.min(8)].to_vec()
        }
    };
    Ok(bytes)
}
