//! Published weight files, read tensor by tensor: PyTorch checkpoints and safetensors.
//!
//! A pickle is parsed, never executed: objects of unknown classes are skipped, and nothing in the
//! file can request more memory than the file holds.

use super::{NamedTensor, Tensors, read_safetensors, to_f32};
use crate::error::{ModelError, Result};
use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::Dtype;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where training frameworks store the weights inside a checkpoint.
const KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// An open weight file: names and shapes are known, values are read lazily.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

enum Stored {
    Torch(pytorch_reader::Tensor),
    Read(NamedTensor),
}

impl Checkpoint {
    /// Opens a `.pt`, `.pth`, `.ckpt`, `.torch` or `.safetensors` file, detected by its first
    /// bytes.
    ///
    /// # Errors
    /// [`ModelError::File`] when it is none of them, damaged, or has no tensor.
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
            return Err(ModelError::file(path, "holds no tensors"));
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

    /// Shape of a tensor; `None` when it is missing.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(match self.tensors.get(name)? {
            Stored::Torch(t) => t.shape(),
            Stored::Read(t) => &t.shape,
        })
    }

    /// Rows of a tensor, 0 when it is missing.
    pub fn rows(&self, name: &str) -> usize {
        self.shape(name).and_then(|s| s.first()).map_or(0, |&n| n)
    }

    /// Number of names that begin with `{prefix}N.` for `N` = 0, 1, …
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
    /// [`ModelError::File`] when it is missing, of a non-numeric type, or cannot be read.
    pub fn take(&mut self, name: &str) -> Result<NamedTensor> {
        match self.tensors.remove(name) {
            Some(stored) => value(&self.path, stored),
            None => Err(ModelError::file(
                &self.path,
                format!("tensor {name} is missing"),
            )),
        }
    }

    /// Takes a matrix out, of which only these rows are converted: a large table is held once, as
    /// stored in the file.
    ///
    /// # Errors
    /// As [`Self::take`], and when it is not a matrix or has no such row.
    pub fn take_rows(&mut self, name: &str, rows: &[usize]) -> Result<NamedTensor> {
        let path = self.path.clone();
        let fail = |what: String| ModelError::file(&path, format!("tensor {name} {what}"));
        let &[total, width] = self.shape(name).ok_or_else(|| fail("is missing".into()))? else {
            return Err(fail("is not a matrix".into()));
        };
        if let Some(row) = rows.iter().find(|r| **r >= total) {
            return Err(fail(format!("has {total} rows, but row {row} is needed")));
        }
        let gather = |data: &[f32]| {
            let row = |&r: &usize| &data[r * width..(r + 1) * width];
            rows.iter().flat_map(row).copied().collect()
        };
        let data = match self.tensors.remove(name) {
            Some(Stored::Torch(tensor)) => {
                let all = bytes(&path, &tensor)?;
                let size = all.len() / total.max(1);
                let row = |&r: &usize| &all[r * size..(r + 1) * size];
                let some: Vec<u8> = rows.iter().flat_map(row).copied().collect();
                numbers(&path, &tensor, &some)?
            }
            Some(Stored::Read(tensor)) => gather(&tensor.data),
            None => Vec::new(),
        };
        Ok(NamedTensor {
            shape: vec![rows.len(), width],
            data,
        })
    }

    /// All remaining tensors, with `prefix` removed from names that have it.
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
            format!("not a readable weight file, or truncated: {e}"),
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
    match stored {
        Stored::Read(tensor) => Ok(tensor),
        Stored::Torch(tensor) => Ok(NamedTensor {
            shape: tensor.shape().to_vec(),
            data: numbers(path, &tensor, &bytes(path, &tensor)?)?,
        }),
    }
}

fn bytes(path: &Path, tensor: &pytorch_reader::Tensor) -> Result<Vec<u8>> {
    tensor.read().map_err(|e| ModelError::file(path, e))
}

/// Bytes of `tensor`, or of some of its rows, as numbers.
fn numbers(path: &Path, tensor: &pytorch_reader::Tensor, bytes: &[u8]) -> Result<Vec<f32>> {
    let found = same_type(tensor.dtype()).and_then(|dtype| to_f32(dtype, bytes));
    found.ok_or_else(|| {
        let what = format!(
            "tensor {}: type {:?} is not supported",
            tensor.name,
            tensor.dtype()
        );
        ModelError::file(path, what)
    })
}

/// The corresponding safetensors type; `None` for non-numeric types, and on machines
/// with another byte order than the file.
fn same_type(dtype: DType) -> Option<Dtype> {
    if cfg!(target_endian = "big") {
        return None;
    }
    Some(match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
        _ => return None,
    })
}

/// The record of a checkpoint under `key` (Lightning's `hyper_parameters`) on its training; values
/// of unsupported types become null.
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
