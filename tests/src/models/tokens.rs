//! Tokenisers of UCE, SATURN and Nicheformer: integers must be exact, numbers within the noise floor.

use crate::case::{Array, Case, HALF_ULP, MULTIPLE};
use crate::row::Row;

pub mod nicheformer;
pub mod saturn;
pub mod uce;

/// Compares an output entry by entry.
pub(super) fn exact(case: &Case, name: &str, ours: &[f64]) -> Row {
    match case.outputs.get(name) {
        Some(expected) if expected.data.len() == ours.len() => {
            let wrong = expected.data.iter().zip(ours).filter(|(a, b)| a != b);
            Row::check(
                format!("{name} [{}]", ours.len()),
                wrong.count() as f64,
                0.0,
            )
        }
        Some(expected) => {
            let name = format!("{name} (shape {:?}, ours {})", expected.shape, ours.len());
            Row::check(name, f64::INFINITY, 0.0)
        }
        None => Row::check(format!("{name} (missing)"), f64::INFINITY, 0.0),
    }
}

/// Compares numbers, relative to the largest finite one; infinities must meet.
fn close(case: &Case, name: &str, ours: &[f64]) -> Row {
    let expected = match case.outputs.get(name) {
        Some(expected) if expected.data.len() == ours.len() => &expected.data,
        _ => return exact(case, name, ours),
    };
    let largest = expected.iter().filter(|v| v.is_finite());
    let largest = largest.fold(0f64, |m, v| m.max(v.abs()));
    let pairs = expected.iter().zip(ours);
    let error = pairs.map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
    let error = error.fold(
        0f64,
        |m, e| if e.is_nan() { f64::INFINITY } else { m.max(e) },
    );
    let floor = case.f64("/noise_floor_f32_vs_f64/outputs/max_rel_to_tensor_max", 0.0);
    let scale = if largest > 0.0 { largest } else { 1.0 };
    Row::check(name, error / scale, MULTIPLE * floor.max(HALF_ULP))
}

/// One row of a matrix.
pub(super) fn row(array: &Array, at: usize) -> &[f64] {
    let width = array.shape.get(1).copied().unwrap_or(1);
    array
        .data
        .get(at * width..(at + 1) * width)
        .unwrap_or_default()
}

/// The entries of a row before its padding of −1.
pub(super) fn filled(array: &Array, at: usize) -> Vec<u32> {
    let values = row(array, at).iter().take_while(|v| **v >= 0.0);
    values.map(|&v| v as u32).collect()
}

/// Positions and values of the non-zeros of a dense row.
fn sparse(dense: &[f64]) -> (Vec<u32>, Vec<f32>) {
    let entries = (0u32..)
        .zip(dense)
        .filter(|(_, v)| **v != 0.0 && !v.is_nan());
    entries.map(|(j, &v)| (j, v as f32)).unzip()
}

fn rows_of(case: &Case, input: &str) -> Result<usize, String> {
    Ok(case.input(input)?.shape.first().copied().unwrap_or(0))
}
