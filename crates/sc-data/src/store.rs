//! Rows of one matrix of one file, read as they are asked for.
//!
//! CSR and dense matrices stay on disk: memory is what a read returns plus one row pointer a cell.
//! A CSC matrix has no rows to read, so the first read turns it in memory, in two passes over the
//! file (count the entries of each row, then place them): 8 bytes an entry.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{DataError, Result};
use crate::h5ad::{H5ad, Layout, MatrixInfo, MatrixSlot};
use crate::sparse::CsrMatrix;

mod csc;
mod find;

pub use find::{CountsPolicy, CountsReader, FoundCounts, ValueKind, find_counts};
pub(crate) use find::{sample, value_kind};

/// Elements of a dense matrix read at a time (16 MiB of float32).
const DENSE_BLOCK: usize = 4 << 20;

/// Entries between two wanted rows that are cheaper to read over than to skip.
const GAP_ENTRIES: u64 = 8192;

/// The rows (cells) of one matrix of an AnnData file.
#[derive(Debug)]
pub struct CellStore {
    file: H5ad,
    slot: MatrixSlot,
    info: MatrixInfo,
    /// Row boundaries of a CSR matrix.
    indptr: Vec<u64>,
    /// A CSC matrix once turned.
    turned: OnceLock<CsrMatrix>,
}

impl CellStore {
    /// Opens a matrix of a file.
    ///
    /// # Errors
    /// As [`H5ad::open`] and [`H5ad::matrix`]; [`DataError::File`] when the row pointers are damaged.
    pub fn open(path: &Path, slot: MatrixSlot) -> Result<Self> {
        Self::of(&H5ad::open(path)?, slot)
    }

    /// Opens a matrix of a file that is open already.
    ///
    /// # Errors
    /// As [`CellStore::open`].
    pub fn of(file: &H5ad, slot: MatrixSlot) -> Result<Self> {
        let info = file.matrix(&slot)?;
        let indptr = match info.layout {
            Layout::Csr => row_pointers(file, &info)?,
            _ => Vec::new(),
        };
        Ok(Self {
            file: file.clone(),
            slot,
            info,
            indptr,
            turned: OnceLock::new(),
        })
    }

    /// Number of cells.
    pub fn rows(&self) -> usize {
        self.info.rows
    }

    /// Number of genes.
    pub fn cols(&self) -> usize {
        self.info.cols
    }

    /// The file.
    pub fn file(&self) -> &H5ad {
        &self.file
    }

    /// Which matrix of the file.
    pub fn slot(&self) -> &MatrixSlot {
        &self.slot
    }

    /// Layout and shape.
    pub fn info(&self) -> &MatrixInfo {
        &self.info
    }

    /// Names of the genes.
    ///
    /// # Errors
    /// As [`H5ad::gene_names`].
    pub fn gene_names(&self) -> Result<Vec<String>> {
        self.file.gene_names(&self.slot)
    }

    /// The rows at `rows`, in that order; repeats are allowed. Stored zeros are dropped.
    ///
    /// Neighbouring rows are read together, so sorted or block-wise orders are fast.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a row does not exist; [`DataError::File`] when the file is damaged.
    pub fn read_rows(&self, rows: &[usize]) -> Result<CsrMatrix> {
        if let Some(&bad) = rows.iter().find(|&&r| r >= self.rows()) {
            return Err(DataError::invalid(format!(
                "{}: {}: there is no cell {bad}, only {} cells",
                self.file.path().display(),
                self.slot,
                self.rows()
            )));
        }
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut block = CsrMatrix::empty(0, self.cols());
        let mut at = 0;
        while at < sorted.len() {
            let mut end = at + 1;
            while end < sorted.len() && self.gap(sorted[end - 1] + 1, sorted[end]) <= GAP_ENTRIES {
                end += 1;
            }
            let (first, last) = (sorted[at], sorted[end - 1]);
            let span = self.read_range(first..last + 1)?;
            if span.rows() == end - at {
                block.append(&span)?;
            } else {
                for &row in &sorted[at..end] {
                    let (indices, values) = span.row(row - first);
                    block.push_row(indices, values);
                }
            }
            at = end;
        }
        if sorted == rows {
            return Ok(block);
        }
        // Every row asked for is in `sorted`, so the search finds it.
        let order: Vec<usize> = rows
            .iter()
            .map(|r| sorted.binary_search(r).unwrap_or_default())
            .collect();
        Ok(block.select_rows(&order))
    }

    /// A run of rows.
    ///
    /// # Errors
    /// As [`CellStore::read_rows`].
    pub fn read_range(&self, rows: Range<usize>) -> Result<CsrMatrix> {
        if rows.end > self.rows() || rows.start > rows.end {
            return Err(DataError::invalid(format!(
                "{}: {}: there are no cells {}..{}, only {} cells",
                self.file.path().display(),
                self.slot,
                rows.start,
                rows.end,
                self.rows()
            )));
        }
        match self.info.layout {
            Layout::Csr => self.read_csr(rows),
            Layout::Dense => self.read_dense(rows),
            Layout::Csc => {
                let rows: Vec<usize> = rows.collect();
                Ok(self.turned()?.select_rows(&rows))
            }
        }
    }

    /// Every row in turn, `rows_per_chunk` at a time, with the number of the first row of each chunk.
    pub fn chunks(
        &self,
        rows_per_chunk: usize,
    ) -> impl Iterator<Item = Result<(usize, CsrMatrix)>> + '_ {
        let step = rows_per_chunk.max(1);
        (0..self.rows()).step_by(step).map(move |first| {
            let last = first.saturating_add(step).min(self.rows());
            Ok((first, self.read_range(first..last)?))
        })
    }

    /// A chunk size whose rows hold about `bytes` in memory, for [`CellStore::chunks`].
    pub fn rows_for_bytes(&self, bytes: usize) -> usize {
        let per_row = (self.info.stored as usize / self.rows().max(1)).max(1) * 8;
        (bytes / per_row).clamp(1, 1 << 16)
    }

    fn gap(&self, from: usize, to: usize) -> u64 {
        match self.info.layout {
            Layout::Csr => self.indptr[to] - self.indptr[from],
            Layout::Dense => (to - from) as u64 * self.cols() as u64,
            Layout::Csc => 0,
        }
    }

    fn turned(&self) -> Result<&CsrMatrix> {
        if let Some(matrix) = self.turned.get() {
            return Ok(matrix);
        }
        let matrix = csc::turn(&**self.file.source(), &self.info)?;
        Ok(self.turned.get_or_init(|| matrix))
    }

    fn read_csr(&self, rows: Range<usize>) -> Result<CsrMatrix> {
        let base = self.indptr[rows.start];
        let range = base..self.indptr[rows.end];
        let source = &**self.file.source();
        let indices = read_indices(source, &self.info, range.clone())?;
        let values = source
            .numbers(&format!("{}/data", self.info.node), &[range])?
            .into_f32();
        let indptr: Vec<usize> = self.indptr[rows.start..=rows.end]
            .iter()
            .map(|&p| (p - base) as usize)
            .collect();
        assemble(self, rows.start, &indptr, indices, values)
    }

    fn read_dense(&self, rows: Range<usize>) -> Result<CsrMatrix> {
        let cols = self.cols();
        let mut out = CsrMatrix::empty(0, cols);
        if cols == 0 {
            return Ok(CsrMatrix::empty(rows.len(), 0));
        }
        let step = (DENSE_BLOCK / cols).max(1);
        for first in rows.clone().step_by(step) {
            let last = (first + step).min(rows.end);
            let values = self
                .file
                .source()
                .numbers(
                    &self.info.node,
                    &[first as u64..last as u64, 0..cols as u64],
                )?
                .into_f32();
            out.append(&CsrMatrix::from_dense(cols, &values))?;
        }
        Ok(out)
    }
}

/// Column numbers of a run of entries.
fn read_indices(
    source: &dyn crate::h5::H5Source,
    info: &MatrixInfo,
    range: Range<u64>,
) -> Result<Vec<u32>> {
    let node = format!("{}/indices", info.node);
    let base = range.start;
    source.numbers(&node, &[range])?.into_u32().map_err(|at| {
        DataError::file(
            source.path(),
            format!(
                "{node}: entry {} is no position; the file is damaged",
                base + at as u64
            ),
        )
    })
}

/// Reads and checks the pointers of a compressed matrix: they start at 0, do not fall, and end at the
/// number of entries.
fn row_pointers(file: &H5ad, info: &MatrixInfo) -> Result<Vec<u64>> {
    let node = format!("{}/indptr", info.node);
    let numbers = crate::h5::vector(&**file.source(), &node)?;
    let pointers: Vec<u64> = numbers.into_i64().into_iter().map(|p| p as u64).collect();
    let falls = pointers.windows(2).position(|w| w[1] < w[0]);
    if pointers.first() != Some(&0) || pointers.last() != Some(&info.stored) || falls.is_some() {
        return Err(DataError::file(
            file.path(),
            format!(
                "{node}: row pointers must rise from 0 to {}{}; the file is damaged",
                info.stored,
                falls.map_or(String::new(), |r| format!(", but fall after row {r}"))
            ),
        ));
    }
    Ok(pointers)
}

/// Checks and sorts rows that were read, dropping stored zeros.
fn assemble(
    store: &CellStore,
    first: usize,
    indptr: &[usize],
    mut indices: Vec<u32>,
    mut values: Vec<f32>,
) -> Result<CsrMatrix> {
    let cols = store.cols();
    let mut kept = vec![0usize];
    let mut write = 0;
    let mut pairs: Vec<(u32, f32)> = Vec::new();
    for (k, w) in indptr.windows(2).enumerate() {
        let row = w[0]..w[1];
        let fault = |message: String| {
            DataError::file(
                store.file.path(),
                format!("{}: cell {}: {message}", store.slot, first + k),
            )
        };
        if let Some(&bad) = indices[row.clone()].iter().find(|&&j| j as usize >= cols) {
            return Err(fault(format!(
                "names gene {bad}, but there are {cols} genes; the file is damaged"
            )));
        }
        if !indices[row.clone()].windows(2).all(|w| w[0] < w[1]) {
            pairs.clear();
            pairs.extend(row.clone().map(|e| (indices[e], values[e])));
            pairs.sort_by_key(|p| p.0);
            if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
                return Err(fault(format!(
                    "names gene {} twice; sum the duplicates first (adata.X.sum_duplicates())",
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
    CsrMatrix::new(cols, kept, indices, values)
}
