//! Highly variable genes in the three flavours of scanpy 1.11, each with or without batches.
//!
//! `seurat` (Satija et al. 2015) and `cell_ranger` (Zheng et al. 2017) normalise the dispersion of
//! log-normalised values within bins of the mean; `seurat_v3` (Stuart et al. 2019) standardises
//! counts by a loess fit of variance on mean.

use serde::{Deserialize, Serialize};

use crate::counts::{LogNormalized, RawCounts};
use crate::error::{DataError, Result};
use crate::sparse::CsrMatrix;

mod choose;
mod dispersion;
pub mod loess;
mod vst;

pub use choose::{most_variable, sample};

/// Which definition of variability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavor {
    /// Log dispersion of log-normalised values, z-scored in 20 bins of equal width.
    Seurat,
    /// Dispersion of log-normalised values, by median and MAD in bins of equal size.
    CellRanger,
    /// Variance of counts standardised by loess and clipped.
    #[default]
    SeuratV3,
}

/// Settings of the selection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HvgConfig {
    /// Which definition of variability.
    pub flavor: Flavor,
    /// Number of genes to select.
    pub n_top: usize,
    /// Bins of the mean, for [`Flavor::Seurat`].
    pub n_bins: usize,
    /// Share of the genes in a loess neighbourhood, for [`Flavor::SeuratV3`].
    pub span: f64,
}

impl Default for HvgConfig {
    fn default() -> Self {
        Self {
            flavor: Flavor::SeuratV3,
            n_top: 2000,
            n_bins: 20,
            span: 0.3,
        }
    }
}

/// The values on which variability is computed.
#[derive(Clone, Copy, Debug)]
pub enum HvgInput<'a> {
    /// Raw counts, for [`Flavor::SeuratV3`].
    Counts(&'a RawCounts),
    /// Log-normalised values, for the other two.
    LogNormalized(&'a LogNormalized),
}

/// One value per gene in every column; names as in scanpy's table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HvgTable {
    /// Mean (of `ln(1 + mean)` type for [`Flavor::Seurat`]).
    pub means: Vec<f64>,
    /// Dispersion, or variance for [`Flavor::SeuratV3`].
    pub dispersions: Vec<f64>,
    /// Normalised dispersion or variance; NaN where undefined.
    pub normalized: Vec<f64>,
    /// Rank among the selected genes, 0 first; NaN for the others and, in the dispersion flavours,
    /// derived from the order of selection.
    pub rank: Vec<f64>,
    /// Number of batches in which the gene is variable.
    pub n_batches: Vec<u32>,
    /// Whether the gene is selected.
    pub selected: Vec<bool>,
}

impl HvgTable {
    /// Positions of the selected genes, ascending.
    pub fn selected_genes(&self) -> Vec<usize> {
        self.selected
            .iter()
            .enumerate()
            .filter(|s| *s.1)
            .map(|s| s.0)
            .collect()
    }
}

/// Finds highly variable genes. `batches` holds a code for every cell, or is `None`.
///
/// # Errors
/// [`DataError::Invalid`] when the input does not match the flavour, codes do not match the cells,
/// a batch has fewer than two cells, or there are too few genes to fit.
pub fn highly_variable_genes(
    input: HvgInput<'_>,
    batches: Option<&[u32]>,
    config: &HvgConfig,
) -> Result<HvgTable> {
    let matrix = match input {
        HvgInput::Counts(counts) => counts.matrix(),
        HvgInput::LogNormalized(values) => values.matrix(),
    };
    if let Some(batches) = batches
        && batches.len() != matrix.rows()
    {
        return Err(DataError::invalid(format!(
            "highly variable genes: {} batch codes for {} cells",
            batches.len(),
            matrix.rows()
        )));
    }
    if matrix.rows() < 2 || config.n_top == 0 {
        return Err(DataError::invalid(format!(
            "highly variable genes: {} genes and {} cells; at least 1 gene and 2 cells are needed",
            config.n_top,
            matrix.rows()
        )));
    }
    match (config.flavor, input) {
        (Flavor::SeuratV3, HvgInput::Counts(_)) => vst::table(matrix, batches, config),
        (Flavor::Seurat | Flavor::CellRanger, HvgInput::LogNormalized(_)) => {
            dispersion::table(matrix, batches, config)
        }
        (Flavor::SeuratV3, _) => Err(DataError::invalid(
            "highly variable genes: seurat_v3 needs raw counts; use seurat or cell_ranger for \
             log-normalised values",
        )),
        _ => Err(DataError::invalid(
            "highly variable genes: seurat and cell_ranger need log-normalised values; use seurat_v3 \
             for counts",
        )),
    }
}

/// Mean and variance (ddof 1) of every column, over `rows` rows of which only non-zeros are stored.
///
/// Squares are rounded to float32 before they are summed in float64, as in the reference.
fn mean_variance<'a>(
    matrix_rows: impl Iterator<Item = (&'a [u32], &'a [f32])>,
    cols: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut mean = vec![0f64; cols];
    let mut variance = vec![0f64; cols];
    let mut rows = 0usize;
    for (indices, values) in matrix_rows {
        rows += 1;
        for (&j, &v) in indices.iter().zip(values) {
            mean[j as usize] += f64::from(v);
            variance[j as usize] += f64::from(v * v);
        }
    }
    let n = rows as f64;
    let unbiased = if rows == 1 { 1.0 } else { n / (n - 1.0) };
    for (m, v) in mean.iter_mut().zip(&mut variance) {
        *m /= n;
        *v = (*v / n - *m * *m) * unbiased;
    }
    (mean, variance)
}

/// Rows of every batch, batches in ascending order of their codes.
fn batch_rows(batches: &[u32]) -> Result<Vec<Vec<usize>>> {
    let mut codes: Vec<u32> = batches.to_vec();
    codes.sort_unstable();
    codes.dedup();
    let mut rows = vec![Vec::new(); codes.len()];
    for (row, code) in batches.iter().enumerate() {
        if let Ok(at) = codes.binary_search(code) {
            rows[at].push(row);
        }
    }
    match codes.iter().zip(&rows).find(|(_, r)| r.len() < 2) {
        Some((code, r)) => Err(DataError::invalid(format!(
            "highly variable genes: batch {code} has {} cell, but at least 2 are needed; merge or drop it",
            r.len()
        ))),
        None => Ok(rows),
    }
}

fn select_rows<'a>(
    matrix: &'a CsrMatrix,
    rows: &'a [usize],
) -> impl Iterator<Item = (&'a [u32], &'a [f32])> + 'a {
    rows.iter().map(|&r| matrix.row(r))
}
