//! Rows of one matrix of one file, read lazily.
//!
//! CSR and dense matrices stay on disk: memory is what a read returns plus one row pointer per
//! cell. A CSC matrix has no rows to read, so the first read transposes it in memory, in two
//! passes over the file (count the entries of each row, then place them): 8 bytes per entry.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use crate::error::{DataError, Result};
use crate::io::h5ad::{H5ad, Layout, MatrixInfo, MatrixSlot};
use crate::sparse::CsrMatrix;
use assemble::Seen;
use direct::Direct;

mod assemble;
mod csc;
mod direct;
mod find;
mod reader;
mod values;

pub use find::{CountsPolicy, FoundCounts, find_counts};
pub(crate) use find::{SAMPLE_ROWS, sample};
pub use reader::CountsReader;
pub(crate) use values::Looks;
pub use values::ValueKind;

/// Elements of a dense matrix read at a time (16 MiB of float32).
const DENSE_BLOCK: usize = 4 << 20;

/// Bytes of cells worth reading at once when chunks must be decompressed.
const WINDOW_BYTES: usize = 128 << 20;

/// Entries between two requested rows that are cheaper to read than to skip.
const GAP_ENTRIES: u64 = 8192;

/// The rows (cells) of one matrix of an AnnData file.
#[derive(Debug)]
pub struct CellStore {
    file: H5ad,
    slot: MatrixSlot,
    info: MatrixInfo,
    /// Row boundaries of a CSR matrix.
    indptr: Vec<u64>,
    /// The entries of a CSR matrix, where they can be read without the HDF5 library.
    direct: Option<Direct>,
    /// A transposed CSC matrix.
    turned: OnceLock<CsrMatrix>,
    /// Gene of every stored column, where some are other features.
    genes: Option<Vec<Option<u32>>>,
}

impl CellStore {
    /// Opens a matrix of a file.
    ///
    /// # Errors
    /// As [`H5ad::open`] and [`H5ad::matrix`]; [`DataError::File`] when the row pointers are damaged.
    pub fn open(path: &Path, slot: MatrixSlot) -> Result<Self> {
        Self::of(&H5ad::open(path)?, slot)
    }

    /// Opens a matrix of an open file.
    ///
    /// # Errors
    /// As [`CellStore::open`].
    pub fn of(file: &H5ad, slot: MatrixSlot) -> Result<Self> {
        let info = file.matrix(&slot)?;
        let (indptr, direct) = match info.layout {
            Layout::Csr => (
                row_pointers(file, &info)?,
                Direct::open(&**file.source(), &info.node)?,
            ),
            _ => (Vec::new(), None),
        };
        let genes = file.kept(&slot).map(|kept| {
            let mut genes = vec![None; kept.of];
            for (&place, gene) in kept.places.iter().zip(0..) {
                genes[place] = Some(gene);
            }
            genes
        });
        Ok(Self {
            genes,
            file: file.clone(),
            slot,
            info,
            indptr,
            direct,
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
    /// Adjacent rows are read together, so sorted or block-wise orders are fast.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a row does not exist; [`DataError::File`] when the file is damaged.
    pub fn read_rows(&self, rows: &[usize]) -> Result<CsrMatrix> {
        let mut out = CsrMatrix::empty(0, self.cols());
        self.read_rows_into(rows, &mut out)?;
        Ok(out)
    }

    /// The same into a matrix whose memory is reused; after an error its content is unspecified.
    ///
    /// # Errors
    /// As [`CellStore::read_rows`].
    pub fn read_rows_into(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<()> {
        self.read_seen(rows, out).map(|_| ())
    }

    /// The same, and what is known of the values.
    fn read_seen(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<Seen> {
        let seen = self.read_columns(rows, out)?;
        self.keep_genes(out);
        Ok(seen)
    }

    /// Drops features of other types from stored columns.
    fn keep_genes(&self, rows: &mut CsrMatrix) {
        let Some(genes) = &self.genes else { return };
        let mut kept = CsrMatrix::empty(0, self.info.cols);
        let mut pairs: (Vec<u32>, Vec<f32>) = Default::default();
        for (columns, values) in rows.iter_rows() {
            pairs.0.clear();
            pairs.1.clear();
            let each = columns.iter().zip(values);
            pairs.extend(each.filter_map(|(&c, &v)| Some((genes[c as usize]?, v))));
            kept.push_row(&pairs.0, &pairs.1);
        }
        *rows = kept;
    }

    /// The rows at `rows` in stored columns.
    fn read_columns(&self, rows: &[usize], out: &mut CsrMatrix) -> Result<Seen> {
        if let Some(&bad) = rows.iter().find(|&&r| r >= self.rows()) {
            return Err(DataError::invalid(format!(
                "{}: {}: there is no cell {bad}, only {} cells",
                self.file.path().display(),
                self.slot,
                self.rows()
            )));
        }
        if rows.is_sorted_by(|a, b| a < b) {
            return match &self.direct {
                Some(direct) => self.read_directly(direct, rows, out),
                None => {
                    *out = self.read_sorted(rows)?;
                    Ok(Seen::NonZero)
                }
            };
        }
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut block = CsrMatrix::empty(0, self.info.width);
        let seen = self.read_columns(&sorted, &mut block)?;
        let order: Vec<usize> = rows
            .iter()
            .map(|r| {
                sorted
                    .binary_search(r)
                    .expect("invariant: every row is in `sorted`")
            })
            .collect();
        block.gather(&order, out);
        Ok(seen)
    }

    /// Rows in ascending order, reading over short gaps.
    fn read_sorted(&self, sorted: &[usize]) -> Result<CsrMatrix> {
        let mut block = CsrMatrix::empty(0, self.info.width);
        let mut at = 0;
        while at < sorted.len() {
            let mut end = at + 1;
            while end < sorted.len() && self.gap(sorted[end - 1] + 1, sorted[end]) <= GAP_ENTRIES {
                end += 1;
            }
            let (first, last) = (sorted[at], sorted[end - 1]);
            let span = self.columns(first..last + 1)?;
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
        Ok(block)
    }

    /// Rows of a CSR matrix in ascending order, all chunks at once.
    fn read_directly(
        &self,
        direct: &Direct,
        sorted: &[usize],
        out: &mut CsrMatrix,
    ) -> Result<Seen> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for &row in sorted {
            let entries = self.indptr[row]..self.indptr[row + 1];
            match ranges.last_mut().filter(|r| r.end == entries.start) {
                Some(last) => last.end = entries.end,
                None => ranges.push(entries),
            }
        }
        let counts = sorted
            .iter()
            .map(|&r| (self.indptr[r + 1] - self.indptr[r]) as usize);
        let (indices, values) = out.reshape(self.info.width, counts);
        let seen = direct.read(&ranges, indices, values)?;
        assemble::tidy(self, |k| sorted[k], out, seen)
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
        let mut out = self.columns(rows)?;
        self.keep_genes(&mut out);
        Ok(out)
    }

    /// A range of rows in stored columns.
    fn columns(&self, rows: Range<usize>) -> Result<CsrMatrix> {
        match self.info.layout {
            Layout::Csr => match &self.direct {
                Some(direct) => {
                    let mut out = CsrMatrix::empty(0, self.info.width);
                    self.read_directly(direct, &rows.collect::<Vec<_>>(), &mut out)?;
                    Ok(out)
                }
                None => self.read_csr(rows),
            },
            Layout::Dense => self.read_dense(rows),
            Layout::Csc => {
                let rows: Vec<usize> = rows.collect();
                Ok(self.turned()?.select_rows(&rows))
            }
        }
    }

    /// All rows, `rows_per_chunk` at a time, with the first row number of each chunk.
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

    /// Cells worth reading at once: many where a chunk must be decompressed for one cell.
    pub(crate) fn window(&self) -> usize {
        let alone = match self.info.layout {
            Layout::Csr => self.direct.as_ref().is_some_and(Direct::is_plain),
            Layout::Csc => true,
            Layout::Dense => false,
        };
        if alone {
            1
        } else {
            self.rows_for_bytes(WINDOW_BYTES)
        }
    }

    fn gap(&self, from: usize, to: usize) -> u64 {
        match self.info.layout {
            Layout::Csr => self.indptr[to] - self.indptr[from],
            Layout::Dense => (to - from) as u64 * self.info.width as u64,
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
        let mut out = CsrMatrix::from_clean(self.info.width, indptr, indices, values);
        let seen = Seen::of(out.values());
        assemble::tidy(self, |k| rows.start + k, &mut out, seen)?;
        Ok(out)
    }

    fn read_dense(&self, rows: Range<usize>) -> Result<CsrMatrix> {
        let cols = self.info.width;
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
    source: &dyn crate::io::h5::H5Source,
    info: &MatrixInfo,
    range: Range<u64>,
) -> Result<Vec<u32>> {
    let node = format!("{}/indices", info.node);
    let base = range.start;
    source.numbers(&node, &[range])?.into_u32().map_err(|at| {
        DataError::file(
            source.path(),
            format!(
                "{node}: entry {} is not a valid index; the file is damaged",
                base + at as u64
            ),
        )
    })
}

/// Reads and checks the pointers of a compressed matrix: they start at 0, never decrease, and end
/// at the number of entries.
fn row_pointers(file: &H5ad, info: &MatrixInfo) -> Result<Vec<u64>> {
    let node = format!("{}/indptr", info.node);
    let numbers = crate::io::h5::vector(&**file.source(), &node)?;
    let pointers: Vec<u64> = numbers.into_i64().into_iter().map(|p| p as u64).collect();
    let falls = pointers.windows(2).position(|w| w[1] < w[0]);
    if pointers.first() != Some(&0) || pointers.last() != Some(&info.stored) || falls.is_some() {
        return Err(DataError::file(
            file.path(),
            format!(
                "{node}: row pointers must increase from 0 to {}{}; the file is damaged",
                info.stored,
                falls.map_or(String::new(), |r| format!(", but decrease after row {r}"))
            ),
        ));
    }
    Ok(pointers)
}
