//! Compressed sparse rows: the format of cells in scfm.

use rayon::prelude::*;

use crate::error::{DataError, Result};

/// A sparse matrix `[rows, cols]`, row by row, column indices ascending within a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsrMatrix {
    cols: usize,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl CsrMatrix {
    /// Builds a matrix from its three arrays.
    ///
    /// Rows with unsorted indices are sorted; a duplicate column in a row is an error.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the arrays are inconsistent or an index is out of range.
    pub fn new(
        cols: usize,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Result<Self> {
        if indptr.first() != Some(&0) {
            return Err(DataError::invalid(
                "sparse matrix: indptr must start with 0",
            ));
        }
        if indptr.windows(2).any(|w| w[1] < w[0]) {
            return Err(DataError::invalid(
                "sparse matrix: indptr must not decrease",
            ));
        }
        if indptr.last() != Some(&indices.len()) || indices.len() != values.len() {
            return Err(DataError::invalid(format!(
                "sparse matrix: indptr ends at {}, but there are {} indices and {} values",
                indptr.last().copied().unwrap_or(0),
                indices.len(),
                values.len()
            )));
        }
        let mut matrix = Self {
            cols,
            indptr,
            indices,
            values,
        };
        for row in 0..matrix.rows() {
            matrix.check_row(row)?;
        }
        Ok(matrix)
    }

    /// A matrix of validated arrays: as [`Self::new`] would accept without sorting.
    pub(crate) fn from_clean(
        cols: usize,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Self {
        debug_assert!(indptr.last() == Some(&indices.len()) && indices.len() == values.len());
        Self {
            cols,
            indptr,
            indices,
            values,
        }
    }

    /// Row boundaries, columns and values.
    pub(crate) fn into_parts(self) -> (Vec<usize>, Vec<u32>, Vec<f32>) {
        (self.indptr, self.indices, self.values)
    }

    fn check_row(&mut self, row: usize) -> Result<()> {
        let range = self.indptr[row]..self.indptr[row + 1];
        let indices = &mut self.indices[range.clone()];
        if !indices.windows(2).all(|w| w[0] < w[1]) {
            let values = &mut self.values[range];
            let mut pairs: Vec<(u32, f32)> = indices
                .iter()
                .copied()
                .zip(values.iter().copied())
                .collect();
            pairs.sort_by_key(|p| p.0);
            for (k, (index, value)) in pairs.into_iter().enumerate() {
                indices[k] = index;
                values[k] = value;
            }
            if let Some(w) = indices.windows(2).find(|w| w[0] == w[1]) {
                return Err(DataError::invalid(format!(
                    "sparse matrix: row {row} has column {} twice; sum the duplicates first \
                     (scipy: X.sum_duplicates())",
                    w[0]
                )));
            }
        }
        match indices.last() {
            Some(&last) if last as usize >= self.cols => Err(DataError::invalid(format!(
                "sparse matrix: row {row} refers to column {last}, but there are {} columns",
                self.cols
            ))),
            _ => Ok(()),
        }
    }

    /// A matrix of `rows` empty rows.
    pub fn empty(rows: usize, cols: usize) -> Self {
        Self {
            cols,
            indptr: vec![0; rows + 1],
            indices: Vec::new(),
            values: Vec::new(),
        }
    }

    /// The non-zeros of a dense row-major matrix `[values.len() / cols, cols]`.
    pub fn from_dense(cols: usize, dense: &[f32]) -> Self {
        let mut matrix = Self::empty(0, cols);
        if cols == 0 {
            return matrix;
        }
        for row in dense.chunks_exact(cols) {
            for (j, &v) in row.iter().enumerate() {
                if v != 0.0 {
                    matrix.indices.push(j as u32);
                    matrix.values.push(v);
                }
            }
            matrix.indptr.push(matrix.indices.len());
        }
        matrix
    }

    /// Number of rows (cells).
    pub fn rows(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Number of columns (genes).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of stored entries.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Row boundaries, `rows + 1` entries.
    pub fn indptr(&self) -> &[usize] {
        &self.indptr
    }

    /// Column of every stored entry.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Value of every stored entry.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Columns and values of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[row]..self.indptr[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Every row in turn.
    pub fn iter_rows(&self) -> impl Iterator<Item = (&[u32], &[f32])> {
        (0..self.rows()).map(|i| self.row(i))
    }

    /// Appends a row; `indices` must be ascending and below [`Self::cols`].
    pub fn push_row(&mut self, indices: &[u32], values: &[f32]) {
        debug_assert!(indices.windows(2).all(|w| w[0] < w[1]) && indices.len() == values.len());
        debug_assert!(indices.last().is_none_or(|&j| (j as usize) < self.cols));
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        if self.indptr.is_empty() {
            self.indptr.push(0);
        }
        self.indptr.push(self.indices.len());
    }

    /// Resizes to rows with these numbers of entries, reusing the memory; the entries are
    /// unspecified, and the caller fills them in.
    pub(crate) fn reshape(
        &mut self,
        cols: usize,
        counts: impl Iterator<Item = usize>,
    ) -> (&mut [u32], &mut [f32]) {
        self.cols = cols;
        self.indptr.clear();
        self.indptr.push(0);
        let mut total = 0;
        self.indptr.extend(counts.map(|n| {
            total += n;
            total
        }));
        self.indices.resize(total, 0);
        self.values.resize(total, 0.0);
        (&mut self.indices, &mut self.values)
    }

    /// The rows at `rows`, in that order.
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let mut out = Self::empty(0, self.cols);
        for &row in rows {
            let (indices, values) = self.row(row);
            out.push_row(indices, values);
        }
        out
    }

    /// The same into a matrix whose memory is reused, on all threads of the current pool.
    pub(crate) fn gather(&self, rows: &[usize], out: &mut Self) {
        let counts = rows.iter().map(|&r| self.indptr[r + 1] - self.indptr[r]);
        let (mut indices, mut values) = out.reshape(self.cols, counts);
        let mut work = Vec::with_capacity(rows.len() / 64 + 1);
        for part in rows.chunks(64) {
            let n = part
                .iter()
                .map(|&r| self.indptr[r + 1] - self.indptr[r])
                .sum();
            let (i, more_indices) = indices.split_at_mut(n);
            let (v, more_values) = values.split_at_mut(n);
            (indices, values) = (more_indices, more_values);
            work.push((part, i, v));
        }
        work.into_par_iter().for_each(|(part, i, v)| {
            let mut at = 0;
            for &row in part {
                let (from_indices, from_values) = self.row(row);
                let to = at + from_indices.len();
                i[at..to].copy_from_slice(from_indices);
                v[at..to].copy_from_slice(from_values);
                at = to;
            }
        });
    }

    /// The columns at `cols` (each at most once), in that order, renumbered from 0.
    pub fn select_cols(&self, cols: &[usize]) -> Self {
        let mut map = vec![None; self.cols];
        for (new, &old) in cols.iter().enumerate() {
            map[old] = Some(new as u32);
        }
        self.remap_cols(&map, cols.len())
    }

    /// Moves column `j` to `map[j]`, dropping it where that is `None`; the result has `cols`
    /// columns.
    pub fn remap_cols(&self, map: &[Option<u32>], cols: usize) -> Self {
        let mut out = Self::empty(0, cols);
        let mut pairs: Vec<(u32, f32)> = Vec::new();
        for (indices, values) in self.iter_rows() {
            pairs.clear();
            pairs.extend(
                indices
                    .iter()
                    .zip(values)
                    .filter_map(|(&j, &v)| map[j as usize].map(|n| (n, v))),
            );
            pairs.sort_unstable_by_key(|p| p.0);
            out.indices.extend(pairs.iter().map(|p| p.0));
            out.values.extend(pairs.iter().map(|p| p.1));
            out.indptr.push(out.indices.len());
        }
        out
    }

    /// Moves column `j` to `map[j]` of `cols` columns, dropping it where that is `None`; values
    /// mapped to the same column are summed.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the map has another number of columns.
    pub(crate) fn sum_cols(&self, map: &[Option<u32>], cols: usize) -> Result<Self> {
        if self.cols != map.len() {
            return Err(DataError::invalid(format!(
                "found {} genes, expected {}",
                self.cols,
                map.len()
            )));
        }
        let mut out = Self::empty(0, cols);
        let mut row: Vec<(u32, f32)> = Vec::new();
        for (indices, values) in self.iter_rows() {
            row.clear();
            let pairs = indices.iter().zip(values);
            row.extend(pairs.filter_map(|(&j, &v)| map[j as usize].map(|to| (to, v))));
            row.sort_by_key(|p| p.0);
            row.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1 += later.1;
                }
                same
            });
            out.indices.extend(row.iter().map(|p| p.0));
            out.values.extend(row.iter().map(|p| p.1));
            out.indptr.push(out.indices.len());
        }
        Ok(out)
    }

    /// Replaces every stored value, keeping the pattern.
    pub fn map_values(mut self, f: impl Fn(f32) -> f32) -> Self {
        self.values.iter_mut().for_each(|v| *v = f(*v));
        self
    }

    /// The matrix with every column multiplied by its factor, keeping the pattern.
    ///
    /// # Panics
    /// When there are fewer factors than columns.
    pub fn scale_columns(&self, factors: &[f64]) -> Self {
        let mut out = self.clone();
        for (v, &j) in out.values.iter_mut().zip(&self.indices) {
            *v = (f64::from(*v) * factors[j as usize]) as f32;
        }
        out
    }

    /// Mutable values of one row, for in-place scaling.
    pub fn row_values_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[self.indptr[row]..self.indptr[row + 1]]
    }

    /// Sum of each row.
    pub fn row_sums(&self) -> Vec<f64> {
        self.iter_rows()
            // Not with sum, which makes -0 of nothing.
            .map(|(_, v)| v.iter().fold(0.0, |sum, &x| sum + f64::from(x)))
            .collect()
    }

    /// The same matrix, column by column: a CSR matrix of the transpose `[cols, rows]`.
    pub fn transpose(&self) -> Self {
        let mut indptr = vec![0usize; self.cols + 1];
        for &j in &self.indices {
            indptr[j as usize + 1] += 1;
        }
        for j in 0..self.cols {
            indptr[j + 1] += indptr[j];
        }
        let mut next = indptr.clone();
        let mut indices = vec![0u32; self.nnz()];
        let mut values = vec![0f32; self.nnz()];
        for i in 0..self.rows() {
            let (cols, vals) = self.row(i);
            for (&j, &v) in cols.iter().zip(vals) {
                let at = next[j as usize];
                indices[at] = i as u32;
                values[at] = v;
                next[j as usize] += 1;
            }
        }
        Self {
            cols: self.rows(),
            indptr,
            indices,
            values,
        }
    }

    /// Stacks `other` below; both must have the same number of columns.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the numbers of columns differ.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        if self.cols != other.cols {
            return Err(DataError::invalid(format!(
                "cannot stack {} columns on {}",
                other.cols, self.cols
            )));
        }
        let base = self.indices.len();
        if self.indptr.is_empty() {
            self.indptr.push(0);
        }
        self.indptr
            .extend(other.indptr.iter().skip(1).map(|p| p + base));
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        Ok(())
    }

    /// A dense row-major copy, for tests and for small blocks only.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.rows() * self.cols];
        for i in 0..self.rows() {
            let (indices, values) = self.row(i);
            for (&j, &v) in indices.iter().zip(values) {
                dense[i * self.cols + j as usize] = v;
            }
        }
        dense
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transpose_twice_is_identity() {
        let m = CsrMatrix::from_dense(3, &[0.0, 1.0, 2.0, 3.0, 0.0, 0.0]);
        assert_eq!(m.transpose().transpose(), m);
        assert_eq!(m.transpose().to_dense(), vec![0.0, 3.0, 1.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn new_sorts_rows_and_refuses_duplicates() {
        let m = CsrMatrix::new(3, vec![0, 2], vec![2, 0], vec![5.0, 4.0]).unwrap();
        assert_eq!(m.row(0), (&[0u32, 2][..], &[4.0f32, 5.0][..]));
        let e = CsrMatrix::new(3, vec![0, 2], vec![1, 1], vec![5.0, 4.0]).unwrap_err();
        assert!(e.to_string().contains("column 1 twice"), "{e}");
        assert!(CsrMatrix::new(2, vec![0, 1], vec![2], vec![1.0]).is_err());
    }

    #[test]
    fn select_cols_renumbers_and_sorts() {
        let m = CsrMatrix::from_dense(3, &[1.0, 0.0, 2.0]);
        assert_eq!(
            m.select_cols(&[2, 0]).row(0),
            (&[0u32, 1][..], &[2.0f32, 1.0][..])
        );
    }
}
