//! One golden case on disk, and the comparison with it.

use crate::row::Row;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many times the reference's own rounding error (float32 against float64) ours may be.
pub const MULTIPLE: f64 = 8.0;

/// Half a unit in the last place of float32: a stored float32 number says no more than this, even
/// where the reference's rounding errors happened to cancel to less.
pub const HALF_ULP: f64 = 1.0 / (1u64 << 24) as f64;

/// A tensor of any stored type, as f64.
#[derive(Clone, Debug)]
pub struct Array {
    /// Length of every axis.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub data: Vec<f64>,
}

impl Array {
    /// The values as f32.
    pub fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|&v| v as f32).collect()
    }

    /// The values as whole numbers.
    pub fn ints(&self) -> Vec<i64> {
        self.data.iter().map(|&v| v as i64).collect()
    }
}

/// Which rounding error.
#[derive(Clone, Copy)]
enum Floor {
    Absolute,
    Relative,
}

/// A case: configuration, inputs and expected outputs.
#[derive(Debug)]
pub struct Case {
    /// Its folder.
    pub dir: PathBuf,
    /// `config.json`.
    pub config: Value,
    /// `inputs.safetensors`.
    pub inputs: BTreeMap<String, Array>,
    /// `outputs.safetensors`.
    pub outputs: BTreeMap<String, Array>,
}

/// Reads a safetensors file.
pub fn read(path: &Path) -> Result<BTreeMap<String, Array>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    file.iter()
        .map(|(name, view)| {
            let data = values(view.dtype(), view.data())
                .ok_or_else(|| format!("{name}: type {:?} not read", view.dtype()))?;
            Ok((
                name.to_string(),
                Array {
                    shape: view.shape().to_vec(),
                    data,
                },
            ))
        })
        .collect()
}

fn values(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => each(bytes, |b| f64::from(i32::from_le_bytes(b))),
        Dtype::I16 => each(bytes, |b| f64::from(i16::from_le_bytes(b))),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
        _ => return None,
    })
}

impl Case {
    /// Reads the case in `dir`.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let config = dir.join("config.json");
        let config =
            std::fs::read_to_string(&config).map_err(|e| format!("{}: {e}", config.display()))?;
        Ok(Self {
            dir: dir.to_path_buf(),
            config: serde_json::from_str(&config).map_err(|e| e.to_string())?,
            inputs: read(&dir.join("inputs.safetensors"))?,
            outputs: read(&dir.join("outputs.safetensors"))?,
        })
    }

    /// An input that must be there.
    pub fn input(&self, name: &str) -> Result<&Array, String> {
        self.inputs
            .get(name)
            .ok_or_else(|| format!("input {name} is missing"))
    }

    /// A whole-number setting, or `default`.
    pub fn usize(&self, path: &str, default: usize) -> usize {
        self.config
            .pointer(path)
            .and_then(Value::as_u64)
            .map_or(default, |v| v as usize)
    }

    /// A number setting, or `default`.
    pub fn f64(&self, path: &str, default: f64) -> f64 {
        self.config
            .pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or(default)
    }

    /// A text setting, or `default`.
    pub fn str(&self, path: &str, default: &'static str) -> &str {
        self.config
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or(default)
    }

    /// A switch, off when absent.
    pub fn flag(&self, path: &str) -> bool {
        self.config
            .pointer(path)
            .is_some_and(|v| v.as_bool().unwrap_or(!v.is_null()))
    }

    /// Compares every expected output with `ours`; what is missing fails.
    pub fn compare(&self, ours: &BTreeMap<String, Vec<f32>>) -> Vec<Row> {
        self.outputs
            .iter()
            .map(|(name, expected)| match ours.get(name) {
                Some(found) => self.compare_one(name, expected, found),
                None => Row::check(format!("{name} (missing)"), f64::INFINITY, 0.0),
            })
            .collect()
    }

    /// The reference's own rounding error for outputs of the kind of `name`.
    fn floor(&self, name: &str, which: Floor) -> f64 {
        let mut parts = name.split('.');
        let kind = if name
            .split('.')
            .any(|p| p == "grad" || p.starts_with("grad_"))
        {
            "grad"
        } else if parts.any(|p| p.starts_with("loss") || p == "metric") {
            "loss"
        } else if name.starts_with("buffer_after.") {
            "buffer_after"
        } else {
            "forward"
        };
        // The sets of cases were made by two hands.
        let (key, other) = match which {
            Floor::Absolute => ("max_abs", "max_abs"),
            Floor::Relative => ("max_rel", "max_rel_to_tensor_max"),
        };
        let group = if kind == "grad" { "grads" } else { "outputs" };
        let at = |path: String| self.config.pointer(&path).and_then(Value::as_f64);
        at(format!("/noise_floor/{kind}/{key}"))
            .or_else(|| at(format!("/noise_floor/forward/{key}")))
            .or_else(|| at(format!("/noise_floor_f32_vs_f64/{group}/{other}")))
            .unwrap_or(1e-6)
    }

    fn compare_one(&self, name: &str, expected: &Array, found: &[f32]) -> Row {
        if expected.data.len() != found.len() {
            let name = format!(
                "{name} (shape {:?}, ours has {} values)",
                expected.shape,
                found.len()
            );
            return Row::check(name, f64::INFINITY, 0.0);
        }
        let floor = |which| self.floor(name, which);
        let largest = expected.data.iter().fold(0f64, |m, v| m.max(v.abs()));
        let error = expected
            .data
            .iter()
            .zip(found)
            .map(|(a, &b)| {
                if a.is_nan() && b.is_nan() {
                    0.0
                } else {
                    (a - f64::from(b)).abs()
                }
            })
            .fold(
                0f64,
                |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) },
            );
        let zero = |list: &str| {
            let names = self.config.get(list).and_then(Value::as_array);
            names.is_some_and(|l| {
                let is = |n: &&str| Some(*n) == name.strip_prefix("grad.") || *n == name;
                l.iter().filter_map(Value::as_str).any(|n| is(&n))
            })
        };
        let zero = zero("zero_gradient") || zero("zero_gradient_in_f64");
        // Where the true value is 0 the reference shows noise only; compare in absolute terms.
        if largest == 0.0 || zero {
            return Row::check(name, error, MULTIPLE * floor(Floor::Absolute));
        }
        Row::check(
            name,
            error / largest,
            MULTIPLE * floor(Floor::Relative).max(HALF_ULP),
        )
    }
}
