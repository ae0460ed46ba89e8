//! The metadata of a Zarr array, in version 2 (`.zarray`) and 3 (`zarr.json`).

use serde_json::Value;

use super::codec::{Codec, name};
use crate::io::h5::ElementType;

/// Shape, type and storage of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Meta {
    pub(super) shape: Vec<u64>,
    /// Shape of one chunk, or of one part of a shard.
    pub(super) chunk: Vec<u64>,
    pub(super) kind: Kind,
    pub(super) endian: Endian,
    /// Array axis of each axis of a stored chunk.
    pub(super) order: Vec<usize>,
    /// Codecs, in the order of writing.
    pub(super) codecs: Vec<Codec>,
    pub(super) shard: Option<Shard>,
    pub(super) fill: Value,
    /// Prefix of the numbers in a chunk's name, and separator between them.
    pub(super) key: (&'static str, char),
}

/// Byte order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

/// Chunks stored together in one file, with an index.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shard {
    /// Shape of the whole shard.
    pub(super) shape: Vec<u64>,
    /// Codecs of the index.
    pub(super) index: Vec<Codec>,
    pub(super) place: Place,
}

/// Position of the index of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
}

/// Type of the elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number(ElementType),
    /// Strings of any length.
    Texts,
    /// Strings of this many bytes, padded with zeros.
    Bytes(usize),
    /// Strings of this many UTF-32 characters, padded with zeros.
    Utf32(usize),
    /// Anything else, described.
    Other(String),
}

impl Kind {
    /// Bytes of one stored element; 0 where they differ.
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Number(ElementType::Int { size, .. } | ElementType::Float { size }) => {
                usize::from(*size)
            }
            Self::Number(_) => 1,
            Self::Bytes(n) => *n,
            Self::Utf32(n) => n.saturating_mul(4),
            Self::Texts | Self::Other(_) => 0,
        }
    }

    /// The type in the terms of HDF5.
    pub(super) fn element(&self) -> ElementType {
        match self {
            Self::Number(element) => element.clone(),
            Self::Other(name) => ElementType::Other(name.clone()),
            _ => ElementType::String,
        }
    }
}

impl Meta {
    /// Elements of a chunk.
    pub(super) fn chunk_len(&self) -> u64 {
        self.chunk.iter().fold(1, |a, &b| a.saturating_mul(b))
    }

    fn checked(self) -> Result<Self, String> {
        if self.chunk.len() != self.shape.len() || self.chunk.contains(&0) {
            return Err(format!(
                "chunks of {:?} do not match shape {:?}",
                self.chunk, self.shape
            ));
        }
        if let Some(shard) = &self.shard {
            let whole = |(a, b): (&u64, &u64)| a.is_multiple_of(*b);
            let fits = shard.shape.len() == self.chunk.len();
            if !fits || !shard.shape.iter().zip(&self.chunk).all(whole) {
                return Err(format!(
                    "parts of {:?} do not fill shards of {:?}",
                    self.chunk, shard.shape
                ));
            }
        }
        let mut axes = self.order.clone();
        axes.sort_unstable();
        match axes.iter().copied().eq(0..self.shape.len()) {
            true => Ok(self),
            false => Err(format!(
                "order {:?} is not a permutation of its axes",
                self.order
            )),
        }
    }
}

fn extents(meta: &Value, key: &str) -> Result<Vec<u64>, String> {
    let found = meta.get(key).and_then(Value::as_array);
    found
        .and_then(|v| v.iter().map(Value::as_u64).collect())
        .ok_or_else(|| format!("has no {key}"))
}

fn list<'a>(meta: &'a Value, key: &str) -> &'a [Value] {
    meta.get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(meta: &'a Value, key: &str) -> Option<&'a str> {
    meta.get(key)?.as_str()
}

/// Reads a `.zarray`.
pub(super) fn version2(meta: &Value) -> Result<Meta, String> {
    let shape = extents(meta, "shape")?;
    let dtype = meta.get("dtype").cloned().unwrap_or_default();
    let (mut kind, endian) = dtype2(&dtype);
    for filter in list(meta, "filters") {
        kind = match name(filter) {
            "vlen-utf8" => Kind::Texts,
            other => Kind::Other(format!("values with the filter {other}")),
        };
    }
    let axes = 0..shape.len();
    Meta {
        chunk: extents(meta, "chunks")?,
        order: match text(meta, "order") {
            Some("F") => axes.rev().collect(),
            _ => axes.collect(),
        },
        codecs: match meta.get("compressor") {
            None | Some(Value::Null) => Vec::new(),
            Some(compressor) => vec![Codec::named(name(compressor))?],
        },
        shard: None,
        fill: meta.get("fill_value").cloned().unwrap_or_default(),
        key: match text(meta, "dimension_separator") {
            Some("/") => ("", '/'),
            _ => ("", '.'),
        },
        shape,
        kind,
        endian,
    }
    .checked()
}

/// A type as NumPy writes it, `<f4`.
fn dtype2(dtype: &Value) -> (Kind, Endian) {
    let Some(shown) = dtype.as_str() else {
        return (Kind::Other("records".into()), Endian::Little);
    };
    let endian = match shown.starts_with('>') {
        true => Endian::Big,
        false => Endian::Little,
    };
    let plain = shown.trim_start_matches(['<', '>', '|', '=']);
    let mut chars = plain.chars();
    let letter = chars.next().unwrap_or('?');
    let size: usize = chars.as_str().parse().unwrap_or(0);
    let kind = match (letter, size) {
        ('b', 1) => Kind::Number(ElementType::Bool),
        ('i' | 'u', 1 | 2 | 4 | 8) => Kind::Number(ElementType::Int {
            size: size as u8,
            signed: letter == 'i',
        }),
        ('f', 2 | 4 | 8) => Kind::Number(ElementType::Float { size: size as u8 }),
        ('S', 1..) => Kind::Bytes(size),
        ('U', 1..) => Kind::Utf32(size),
        _ => Kind::Other(shown.to_owned()),
    };
    (kind, endian)
}

/// Reads a `zarr.json` of an array.
pub(super) fn version3(meta: &Value) -> Result<Meta, String> {
    let shape = extents(meta, "shape")?;
    let grid = meta.get("chunk_grid").unwrap_or(&Value::Null);
    if name(grid) != "regular" {
        return Err(format!("has a chunk grid '{}', not regular", name(grid)));
    }
    let grid = grid.get("configuration").unwrap_or(&Value::Null);
    let keys = meta.get("chunk_key_encoding").unwrap_or(&Value::Null);
    let separator = keys.get("configuration").and_then(|c| text(c, "separator"));
    let mut out = Meta {
        chunk: extents(grid, "chunk_shape")?,
        kind: dtype3(meta.get("data_type").unwrap_or(&Value::Null)),
        endian: Endian::Little,
        order: (0..shape.len()).collect(),
        codecs: Vec::new(),
        shard: None,
        fill: meta.get("fill_value").cloned().unwrap_or_default(),
        key: match (name(keys), separator) {
            ("v2", Some("/")) => ("", '/'),
            ("v2", _) => ("", '.'),
            (_, Some(".")) => ("c", '.'),
            _ => ("c", '/'),
        },
        shape,
    };
    chain(&mut out, list(meta, "codecs"))?;
    out.checked()
}

fn chain(out: &mut Meta, codecs: &[Value]) -> Result<(), String> {
    for codec in codecs {
        let empty = Value::Null;
        let settings = codec.get("configuration").unwrap_or(&empty);
        match name(codec) {
            "transpose" => {
                let order = extents(settings, "order")?;
                out.order = order.iter().map(|&a| a as usize).collect();
            }
            "bytes" | "endian" => {
                if text(settings, "endian") == Some("big") {
                    out.endian = Endian::Big;
                }
            }
            "vlen-utf8" => out.kind = Kind::Texts,
            "sharding_indexed" if out.shard.is_none() && out.codecs.is_empty() => {
                let mut index = Vec::new();
                for codec in list(settings, "index_codecs") {
                    match name(codec) {
                        "bytes" | "endian" => {}
                        "crc32c" => index.push(Codec::Crc32c),
                        other => return Err(format!("has a shard index compressed with {other}")),
                    }
                }
                out.shard = Some(Shard {
                    shape: std::mem::replace(&mut out.chunk, extents(settings, "chunk_shape")?),
                    index,
                    place: match text(settings, "index_location") {
                        Some("start") => Place::Start,
                        _ => Place::End,
                    },
                });
                chain(out, list(settings, "codecs"))?;
            }
            "sharding_indexed" => return Err("has nested shards".into()),
            other => out.codecs.push(Codec::named(other)?),
        }
    }
    Ok(())
}

fn dtype3(dtype: &Value) -> Kind {
    let shown = name(dtype);
    let bytes = || {
        let settings = dtype.get("configuration")?;
        usize::try_from(settings.get("length_bytes")?.as_u64()?).ok()
    };
    let int = |bits: &str, signed| match bits {
        "8" => Some(ElementType::Int { size: 1, signed }),
        "16" => Some(ElementType::Int { size: 2, signed }),
        "32" => Some(ElementType::Int { size: 4, signed }),
        "64" => Some(ElementType::Int { size: 8, signed }),
        _ => None,
    };
    let number = match shown {
        "bool" => Some(ElementType::Bool),
        "float16" => Some(ElementType::Float { size: 2 }),
        "float32" => Some(ElementType::Float { size: 4 }),
        "float64" => Some(ElementType::Float { size: 8 }),
        other => match (other.strip_prefix("uint"), other.strip_prefix("int")) {
            (Some(bits), _) => int(bits, false),
            (_, Some(bits)) => int(bits, true),
            _ => None,
        },
    };
    match (number, shown) {
        (Some(element), _) => Kind::Number(element),
        (None, "string") => Kind::Texts,
        (None, "fixed_length_utf32") => bytes().map_or(Kind::Texts, |n| Kind::Utf32(n / 4)),
        (None, "null_terminated_bytes") => bytes().map_or(Kind::Texts, Kind::Bytes),
        (None, other) => Kind::Other(other.to_owned()),
    }
}
