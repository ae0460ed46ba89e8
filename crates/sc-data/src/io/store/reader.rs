//! Rows as counts, with every value checked.

use std::ops::Range;

use super::CellStore;
use super::assemble::Seen;
use super::find::{CountsPolicy, find_counts};
use super::values::LARGEST_LOG;
use crate::counts::{LogNormalized, RawCounts, is_count};
use crate::error::{DataError, Result};
use crate::io::h5ad::H5ad;
use crate::io::rowstore::RowStore;
use crate::sampling::loader::Counts;
use crate::sparse::CsrMatrix;

/// Reads rows as counts, checking every value.
#[derive(Debug)]
pub struct CountsReader {
    store: CellStore,
    packed: Option<RowStore>,
    names: std::sync::OnceLock<(Vec<String>, Vec<String>)>,
}

impl CountsReader {
    /// Reads the counts of a file as [`find_counts`] finds them.
    ///
    /// # Errors
    /// As [`find_counts`].
    pub fn open(file: &H5ad, policy: &CountsPolicy) -> Result<Self> {
        let found = find_counts(file, policy)?;
        Ok(Self::new(CellStore::of(file, found.slot)?))
    }

    /// Reads the rows of `store` as counts.
    pub fn new(store: CellStore) -> Self {
        Self {
            store,
            packed: None,
            names: std::sync::OnceLock::new(),
        }
    }

    /// Reads rows from a packed copy from now on. Its values were checked when it was packed.
    ///
    /// # Errors
    /// [`DataError::File`] when the copy differs in the number of cells or genes.
    pub fn with_packed(mut self, packed: RowStore) -> Result<Self> {
        let (ours, theirs) = (
            [self.store.rows(), self.store.cols()],
            [packed.rows(), packed.cols()],
        );
        if ours != theirs {
            return Err(DataError::file(
                packed.path(),
                format!(
                    "holds {} x {} counts, but {} of {} has {} x {}; delete the store, and it is rebuilt",
                    theirs[0],
                    theirs[1],
                    self.store.slot(),
                    self.store.file().path().display(),
                    ours[0],
                    ours[1]
                ),
            ));
        }
        self.packed = Some(packed);
        Ok(self)
    }

    /// The underlying rows.
    pub fn store(&self) -> &CellStore {
        &self.store
    }

    /// The counts of the cells at `rows`, in that order.
    ///
    /// # Errors
    /// As [`CellStore::read_rows`]; [`DataError::File`] names file, matrix, cell, gene and value of the
    /// first value that is not a count.
    pub fn read_rows(&self, rows: &[usize]) -> Result<RawCounts> {
        let mut matrix = CsrMatrix::empty(0, self.store.cols());
        self.read_into(rows, &mut matrix)?;
        Ok(RawCounts::checked_before(matrix))
    }

    /// The counts of a range of cells.
    ///
    /// # Errors
    /// As [`CountsReader::read_rows`].
    pub fn read_range(&self, rows: Range<usize>) -> Result<RawCounts> {
        let first = rows.start;
        let matrix = self.store.read_range(rows)?;
        self.check(&matrix, |k| first + k)?;
        Ok(RawCounts::checked_before(matrix))
    }

    /// All cells, see [`CellStore::chunks`].
    pub fn chunks(
        &self,
        rows_per_chunk: usize,
    ) -> impl Iterator<Item = Result<(usize, RawCounts)>> + '_ {
        self.store.chunks(rows_per_chunk).map(|chunk| {
            let (first, matrix) = chunk?;
            self.check(&matrix, |k| first + k)?;
            Ok((first, RawCounts::checked_before(matrix)))
        })
    }

    /// The values of the cells at `rows`, taken as log-normalised.
    ///
    /// # Errors
    /// As [`CellStore::read_rows`]; [`DataError::File`] when a value is negative, NaN, infinite, or
    /// larger than the logarithm of counts per million can be.
    pub fn read_normalized(&self, rows: &[usize]) -> Result<LogNormalized> {
        let matrix = self.store.read_rows(rows)?;
        // False for NaN, too.
        let is_log = |v: f32| (0.0..=LARGEST_LOG).contains(&v);
        if let Some((k, gene, value)) = first_where(&matrix, |v| !is_log(v)) {
            let why = if value > LARGEST_LOG {
                "cannot be ln(1 + x) of scaled counts, which stays below 14; the matrix was not log-transformed \
                 everywhere: use the raw counts"
            } else {
                "cannot be a log-normalised value"
            };
            return Err(self.fault(rows[k], gene, value, why));
        }
        LogNormalized::assume(matrix)
    }

    fn check(&self, matrix: &CsrMatrix, row: impl Fn(usize) -> usize) -> Result<()> {
        if let Some((k, gene, value)) = first_where(matrix, |v| !is_count(v)) {
            let why = if value < 0.0 {
                "is not a raw count; negative values cannot be used: put the raw counts into \
                 layers/counts"
            } else if value.is_finite() {
                "is not a raw count although the sampled cells hold counts: the matrix is \
                 mixed; put the raw counts of all cells into layers/counts"
            } else {
                "is not a raw count; remove or impute such values first"
            };
            return Err(self.fault(row(k), gene, value, why));
        }
        Ok(())
    }

    fn fault(&self, cell: usize, gene: u32, value: f32, why: &str) -> DataError {
        let file = self.store.file();
        let (cells, genes) = self.names.get_or_init(|| {
            // Names improve the message, but it works without them.
            (
                file.obs_names().unwrap_or_default(),
                self.store.gene_names().unwrap_or_default(),
            )
        });
        let cell_name = cells
            .get(cell)
            .map_or(String::new(), |n| format!(" ('{n}')"));
        let gene_name = genes
            .get(gene as usize)
            .map_or_else(|| gene.to_string(), |n| format!("'{n}'"));
        DataError::file(
            file.path(),
            format!(
                "{}: cell {cell}{cell_name}, gene {gene_name}: {value} {why}",
                self.store.slot()
            ),
        )
    }
}

impl Counts for CountsReader {
    fn cells(&self) -> usize {
        self.store.rows()
    }

    fn genes(&self) -> usize {
        self.store.cols()
    }

    fn read(&self, rows: &[usize]) -> Result<CsrMatrix> {
        self.read_rows(rows).map(RawCounts::into_matrix)
    }

    fn read_into(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<()> {
        match &self.packed {
            Some(packed) => packed.read_rows_into(rows, out),
            None => match self.store.read_seen(rows, out)? {
                Seen::Counts => Ok(()),
                _ => self.check(out, |k| rows[k]),
            },
        }
    }

    fn window(&self) -> usize {
        match &self.packed {
            Some(_) => 1,
            None => self.store.window(),
        }
    }
}

fn first_where(matrix: &CsrMatrix, bad: impl Fn(f32) -> bool) -> Option<(usize, u32, f32)> {
    matrix
        .iter_rows()
        .enumerate()
        .find_map(|(row, (indices, values))| {
            values
                .iter()
                .position(|&v| bad(v))
                .map(|k| (row, indices[k], values[k]))
        })
}
