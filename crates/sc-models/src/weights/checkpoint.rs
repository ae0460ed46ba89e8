//! Weight files of others, read tensor by tensor: PyTorch checkpoints and safetensors.
//!
//! A pickle is parsed, never executed: objects of unknown classes are passed over, and nothing in the
//! file decides how much memory is asked for beyond what the file holds.

use super::{NamedTensor, Tensors, read_safetensors};
use crate::error::{ModelError, Result};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where training frameworks put the weights inside a checkpoint.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// An open weight file: names and shapes are known, values are read when asked for.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

enum Stored {
    Torch(pytorch_reader::Tensor),
    Read(NamedTensor),
}

impl Checkpoint {
    /// Opens a `.pt`, `.pth`, `.ckpt`, `.torch` or `.safetensors` file, told apart by its first bytes.
    ///
    /// # Errors
    /// [`ModelError::File`] when it is none of them, damaged, or holds no tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let mut magic = [0; 9];
        let file = std::fs::File::open(path).map_err(|e| ModelError::file(path, e))?;
        let read = file.take(9).read(&mut magic);
        read.map_err(|e| ModelError::file(path, e))?;
        // Safetensors begin with the length of a JSON object.
        let tensors: BTreeMap<String, Stored> = if magic[8] == b'{' {
            let tensors = read_safetensors(path)?.into_iter();
            tensors.map(|(n, t)| (n, Stored::Read(t))).collect()
        } else {
            let tensors = torch(path)?.into_tensors().into_iter();
            tensors.map(|(n, t)| (n, Stored::Torch(t))).collect()
        };
        if tensors.is_empty() {
            return Err(ModelError::file(path, "holds no tensor"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            tensors,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor; `None` when it is not there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(match self.tensors.get(name)? {
            Stored::Torch(t) => t.shape(),
            Stored::Read(t) => &t.shape,
        })
    }

    /// Rows of a tensor, 0 when it is not there.
    pub fn rows(&self, name: &str) -> usize {
        self.shape(name).and_then(|s| s.first()).map_or(0, |&n| n)
    }

    /// How many names begin with `{prefix}N.` for `N` = 0, 1, …
    pub fn count(&self, prefix: &str) -> usize {
        let numbers = self.names().filter_map(|n| {
            let rest = n.strip_prefix(prefix)?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |n| n + 1)
    }

    /// Takes a tensor out.
    ///
    /// # Errors
    /// [`ModelError::File`] when it is not there, of a type that is no number, or cannot be read.
    pub fn take(&mut self, name: &str) -> Result<NamedTensor> {
        match self.tensors.remove(name) {
            Some(stored) => value(&self.path, stored),
            None => Err(ModelError::file(
                &self.path,
                format!("tensor {name} is missing"),
            )),
        }
    }

    /// All tensors that are left, under names without `prefix` where they have it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn into_tensors(self, prefix: &str) -> Result<Tensors> {
        let path = self.path;
        self.tensors
            .into_iter()
            .map(|(name, stored)| {
                let short = name.strip_prefix(prefix).unwrap_or(&name);
                Ok((short.to_string(), value(&path, stored)?))
            })
            .collect()
    }
}

fn torch(path: &Path) -> Result<PytorchReader> {
    let fail = |e: &dyn std::fmt::Display| {
        ModelError::file(
            path,
            format!("not a weight file that can be read, or cut short: {e}"),
        )
    };
    for key in KEYS {
        if let Ok(found) = PytorchReader::with_top_level_key(path, key)
            && !found.is_empty()
        {
            return Ok(found);
        }
    }
    PytorchReader::new(path).map_err(|e| fail(&e))
}

fn value(path: &Path, stored: Stored) -> Result<NamedTensor> {
    let tensor = match stored {
        Stored::Read(tensor) => return Ok(tensor),
        Stored::Torch(tensor) => tensor,
    };
    let shape = tensor.shape().to_vec();
    let bytes = tensor.read().map_err(|e| ModelError::file(path, e))?;
    let data = to_f32(tensor.dtype(), bytes).ok_or_else(|| {
        ModelError::file(
            path,
            format!(
                "tensor {}: type {:?} is not read",
                tensor.name,
                tensor.dtype()
            ),
        )
    })?;
    Ok(NamedTensor { shape, data })
}

/// Native-endian bytes as numbers.
fn to_f32(dtype: DType, bytes: Vec<u8>) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    Some(match dtype {
        DType::F32 => each::<4>(&bytes, f32::from_ne_bytes),
        DType::F64 => each::<8>(&bytes, |b| f64::from_ne_bytes(b) as f32),
        DType::F16 => each::<2>(&bytes, |b| half(u16::from_ne_bytes(b))),
        DType::BF16 => each::<2>(&bytes, |b| {
            f32::from_bits(u32::from(u16::from_ne_bytes(b)) << 16)
        }),
        DType::I64 => each::<8>(&bytes, |b| i64::from_ne_bytes(b) as f32),
        DType::I32 => each::<4>(&bytes, |b| i32::from_ne_bytes(b) as f32),
        DType::I16 => each::<2>(&bytes, |b| f32::from(i16::from_ne_bytes(b))),
        DType::I8 => each::<1>(&bytes, |b| f32::from(i8::from_ne_bytes(b))),
        DType::U8 | DType::Bool => bytes.iter().map(|&b| f32::from(b)).collect(),
        _ => return None,
    })
}

/// IEEE half precision.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, mantissa) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    match exponent {
        // Subnormals are multiples of 2⁻²⁴.
        0 => f32::from_bits(sign | (mantissa as f32 * 2f32.powi(-24)).to_bits()),
        0x1f => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        e => f32::from_bits(sign | (e + 112) << 23 | mantissa << 13),
    }
}

/// What a checkpoint says of how it was made, under `key` (Lightning's `hyper_parameters`); what is no
/// plain value becomes null.
///
/// # Errors
/// [`ModelError::File`] when the file cannot be read or has no such key.
pub fn parameters(path: &Path, key: &str) -> Result<Value> {
    let found = PytorchReader::read_pickle_data(path, Some(key));
    let found = found.map_err(|e| ModelError::file(path, format!("{key}: {e}")))?;
    Ok(json(found))
}

fn json(value: PickleValue) -> Value {
    match value {
        PickleValue::Bool(b) => b.into(),
        PickleValue::Int(i) => i.into(),
        PickleValue::Float(f) => f.into(),
        PickleValue::String(s) => s.into(),
        PickleValue::List(list) => list.into_iter().map(json).collect(),
        PickleValue::Dict(dict) => {
            let entries = dict.into_iter().map(|(k, v)| (k, json(v)));
            Value::Object(entries.collect())
        }
        PickleValue::None | PickleValue::Bytes(_) | PickleValue::Unsupported(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn half_precision_is_what_the_standard_says() {
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 2f32.powi(-24)),
            (0x83ff, -1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(super::half(bits), value, "{bits:x}");
        }
        assert!(super::half(0x7e00).is_nan());
    }
}
