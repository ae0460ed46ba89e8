//! Transposing a CSC matrix into rows in two passes.

use crate::error::{DataError, Result};
use crate::io::h5::{self, H5Source};
use crate::io::h5ad::MatrixInfo;
use crate::sparse::CsrMatrix;

/// Entries read at a time.
const BLOCK: u64 = 1 << 20;

/// Reads a whole CSC matrix as rows. Columns are visited in order, so rows are sorted.
pub(super) fn turn(source: &dyn H5Source, info: &MatrixInfo) -> Result<CsrMatrix> {
    let fail =
        |message: String| DataError::file(source.path(), format!("{}: {message}", info.node));
    let pointers = h5::vector(source, &format!("{}/indptr", info.node))?.into_i64();
    let rises = pointers.windows(2).all(|w| w[0] <= w[1]);
    if pointers.first() != Some(&0) || pointers.last() != Some(&(info.stored as i64)) || !rises {
        return Err(fail("column pointers are damaged".into()));
    }
    if info.stored.saturating_mul(8) > h5::allocation_limit(source.size()) {
        return Err(fail(format!(
            "{} entries are more than the file can hold",
            info.stored
        )));
    }
    let mut indptr = vec![0usize; info.rows + 1];
    for range in blocks(info.stored) {
        for row in super::read_indices(source, info, range)? {
            let slot = indptr.get_mut(row as usize + 1).ok_or_else(|| {
                fail(format!(
                    "refers to cell {row}, but there are {} cells",
                    info.rows
                ))
            })?;
            *slot += 1;
        }
    }
    for row in 0..info.rows {
        indptr[row + 1] += indptr[row];
    }
    let mut next = indptr.clone();
    let mut indices = vec![0u32; info.stored as usize];
    let mut values = vec![0f32; info.stored as usize];
    let mut column = 0usize;
    for range in blocks(info.stored) {
        let start = range.start;
        let rows = super::read_indices(source, info, range.clone())?;
        let data = source
            .numbers(&format!("{}/data", info.node), &[range])?
            .into_f32();
        for (k, (&row, &value)) in rows.iter().zip(&data).enumerate() {
            while pointers[column + 1] as u64 <= start + k as u64 {
                column += 1;
            }
            let at = next[row as usize];
            indices[at] = column as u32;
            values[at] = value;
            next[row as usize] += 1;
        }
    }
    let matrix = CsrMatrix::new(info.width, indptr, indices, values)
        .map_err(|e| fail(format!("{e}; the file is damaged")))?;
    Ok(drop_zeros(matrix))
}

fn blocks(total: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..total)
        .step_by(BLOCK as usize)
        .map(move |s| s..(s + BLOCK).min(total))
}

fn drop_zeros(matrix: CsrMatrix) -> CsrMatrix {
    if matrix.values().iter().all(|v| *v != 0.0) {
        return matrix;
    }
    let mut out = CsrMatrix::empty(0, matrix.cols());
    for (indices, values) in matrix.iter_rows() {
        let kept: Vec<(u32, f32)> = indices
            .iter()
            .copied()
            .zip(values.iter().copied())
            .filter(|p| p.1 != 0.0)
            .collect();
        let (i, v): (Vec<u32>, Vec<f32>) = kept.into_iter().unzip();
        out.push_row(&i, &v);
    }
    out
}
