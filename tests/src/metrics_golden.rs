//! Parity of metrics, classifiers and preprocessing with the packages they are named after.
//!
//! A folder holds `expected.json` and arrays. Two layouts are known by their files: a data set with
//! `embeddings.safetensors`, and degenerate cases in `cases.safetensors`. Names, sizes and
//! tolerances all come from the folder.

#[path = "metrics_golden/baselines.rs"]
mod baselines;
#[path = "metrics_golden/edge_cases.rs"]
mod edge_cases;
#[path = "metrics_golden/geometry.rs"]
mod geometry;
#[path = "metrics_golden/integration.rs"]
mod integration;
#[path = "metrics_golden/per_cell.rs"]
mod per_cell;
#[path = "metrics_golden/preprocess.rs"]
mod preprocess;

use crate::case::{Array, read};
use crate::row::Row;
use ndarray::Array2;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Arrays of one file, by name.
type Arrays = BTreeMap<String, Array>;

/// Compares every entry of the folder that is computed here.
///
/// # Errors
/// What could not be read.
pub fn run_case(dir: &Path) -> Result<Vec<Row>, String> {
    let path = dir.join("expected.json");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let expected: Value =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if dir.join("cases.safetensors").is_file() {
        return edge_cases::run(&expected, &arrays(dir, "cases")?);
    }
    let mut rows = Vec::new();
    if dir.join("embeddings.safetensors").is_file() {
        rows.extend(whole("integration", integration::run(dir, &expected)));
        rows.extend(whole("scgraph", geometry::run(dir, &expected)));
    }
    if expected.get("baselines").is_some() {
        rows.extend(whole("baselines", baselines::run(dir, &expected)));
    }
    if expected.get("preprocess").is_some() {
        rows.extend(whole("preprocess", preprocess::run(dir, &expected)));
    }
    Ok(rows)
}

/// The rows of a part; what keeps it from being compared is a row that fails, and does not end the
/// others.
fn whole(part: &str, rows: Result<Vec<Row>, String>) -> Vec<Row> {
    rows.unwrap_or_else(|e| vec![Row::check(format!("{part}: {e}"), f64::INFINITY, 0.0)])
}

fn arrays(dir: &Path, name: &str) -> Result<Arrays, String> {
    read(&dir.join(format!("{name}.safetensors")))
}

/// The arrays of a file that a folder may lack.
fn optional(dir: &Path, name: &str) -> Result<Arrays, String> {
    if dir.join(format!("{name}.safetensors")).is_file() {
        arrays(dir, name)
    } else {
        Ok(Arrays::new())
    }
}

fn need<'a>(arrays: &'a Arrays, name: &str) -> Result<&'a Array, String> {
    arrays
        .get(name)
        .ok_or_else(|| format!("array {name} is missing"))
}

fn codes(array: &Array) -> Vec<u32> {
    array.data.iter().map(|&v| v as u32).collect()
}

fn positions(array: &Array) -> Vec<usize> {
    array.data.iter().map(|&v| v as usize).collect()
}

fn matrix<T: Clone>(array: &Array, data: Vec<T>) -> Result<Array2<T>, String> {
    match array.shape[..] {
        [rows, cols] => Array2::from_shape_vec((rows, cols), data).map_err(|e| e.to_string()),
        _ => Err(format!(
            "a matrix was expected, the array has shape {:?}",
            array.shape
        )),
    }
}

fn matrix32(array: &Array) -> Result<Array2<f32>, String> {
    matrix(array, array.f32())
}

fn matrix64(array: &Array) -> Result<Array2<f64>, String> {
    matrix(array, array.data.clone())
}

fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

fn names(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// Difference of two numbers; two NaN agree.
fn gap(ours: f64, theirs: f64) -> f64 {
    if ours.is_nan() && theirs.is_nan() {
        0.0
    } else {
        let d = (ours - theirs).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    }
}

/// Compares a number with `entry.value` (`null` means undefined) at `entry.abs_tol`; where the
/// reference number is marked as rounding noise, with `entry.value_f64`.
fn scalar(name: String, ours: Option<f64>, entry: &Value) -> Row {
    let noise = entry
        .get("float32_ill_conditioned")
        .is_some_and(|v| v.as_bool().unwrap_or(!v.is_null()));
    let theirs = number(entry, if noise { "value_f64" } else { "value" }).unwrap_or(f64::NAN);
    let tolerance = number(entry, "abs_tol").unwrap_or(0.0);
    Row::check(name, gap(ours.unwrap_or(f64::NAN), theirs), tolerance)
}

/// Largest difference of two lists; a difference in length is infinite.
fn largest(ours: &[f64], theirs: &[f64]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    ours.iter()
        .zip(theirs)
        .map(|(&a, &b)| gap(a, b))
        .fold(0.0, f64::max)
}
