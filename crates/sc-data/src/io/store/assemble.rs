//! Checks of rows that were read: indices sorted and in range, no stored zeros.

use rayon::prelude::*;

use super::CellStore;
use crate::error::{DataError, Result};
use crate::sparse::CsrMatrix;

/// Rows per task.
const STEP: usize = 256;

/// Checks the rows of a matrix as stored: sorts their entries and drops stored zeros.
/// `cell` gives the cell of row `k` in the file, `seen` what is known of the values.
pub(super) fn tidy(
    store: &CellStore,
    cell: impl Fn(usize) -> usize,
    matrix: &mut CsrMatrix,
    seen: Seen,
) -> Result<Seen> {
    let cols = store.info.width;
    let starts = (0..matrix.rows()).into_par_iter().step_by(STEP);
    let in_order = starts
        .map(|first| first..(first + STEP).min(matrix.rows()))
        .all(|rows| rows.into_iter().all(|r| is_in_order(cols, matrix.row(r).0)));
    if in_order && seen != Seen::Zeros {
        return Ok(seen);
    }
    let (indptr, mut indices, mut values) = std::mem::take(matrix).into_parts();
    let mut kept = vec![0usize];
    let mut write = 0;
    let mut pairs: Vec<(u32, f32)> = Vec::new();
    for (k, w) in indptr.windows(2).enumerate() {
        let row = w[0]..w[1];
        let fault = |message: String| {
            DataError::file(
                store.file.path(),
                format!("{}: cell {}: {message}", store.slot, cell(k)),
            )
        };
        if let Some(&bad) = indices[row.clone()].iter().find(|&&j| j as usize >= cols) {
            return Err(fault(format!(
                "refers to gene {bad}, but there are {cols} genes; the file is damaged"
            )));
        }
        if !indices[row.clone()].windows(2).all(|w| w[0] < w[1]) {
            pairs.clear();
            pairs.extend(row.clone().map(|e| (indices[e], values[e])));
            pairs.sort_by_key(|p| p.0);
            if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
                return Err(fault(format!(
                    "has gene {} twice; sum the duplicates first (adata.X.sum_duplicates())",
                    twice[0].0
                )));
            }
            for (e, pair) in row.clone().zip(&pairs) {
                (indices[e], values[e]) = *pair;
            }
        }
        for e in row {
            if values[e] != 0.0 {
                indices[write] = indices[e];
                values[write] = values[e];
                write += 1;
            }
        }
        kept.push(write);
    }
    indices.truncate(write);
    values.truncate(write);
    *matrix = CsrMatrix::from_clean(cols, kept, indices, values);
    Ok(Seen::NonZero)
}

/// What is known of values that were read; the larger one holds for both of two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    /// All are counts above 0.
    Counts,
    /// None is 0.
    NonZero,
    /// Some are 0.
    Zeros,
}

impl Seen {
    /// Inspects values once.
    pub(super) fn of(values: &[f32]) -> Self {
        // Adding 2^23 leaves no room for a fraction in 24 bits; larger counts are checked again.
        const ROUND: f32 = 8_388_608.0;
        let small_count = |v: f32| (v + ROUND) - ROUND == v && v > 0.0 && v < ROUND / 2.0;
        // Counted, not searched: a loop without an exit is vectorised.
        let others = values
            .iter()
            .fold(0u32, |n, v| n + u32::from(!small_count(*v)));
        match others {
            0 => Self::Counts,
            _ if values.contains(&0.0) => Self::Zeros,
            _ => Self::NonZero,
        }
    }
}

/// Whether indices are strictly ascending and below `cols`.
fn is_in_order(cols: usize, indices: &[u32]) -> bool {
    // All processors have signed vector comparison. An index of 2^31 and more is then negative,
    // and the first one decreases.
    let falls = indices
        .iter()
        .zip(indices.get(1..).unwrap_or_default())
        .fold(0u32, |n, (&a, &b)| n + u32::from(a as i32 >= b as i32));
    let inside = |j: Option<&u32>| j.is_none_or(|&j| (j as usize) < cols && j as i32 >= 0);
    falls == 0 && inside(indices.first()) && inside(indices.last())
}
