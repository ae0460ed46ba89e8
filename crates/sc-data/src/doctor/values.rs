//! Sums and extremes of a matrix, read once from end to end.

use serde::Serialize;

use crate::counts::is_count;
use crate::error::Result;
use crate::io::store::CellStore;
use crate::preprocess::qc::{mitochondrial, percent_marked};
use crate::preprocess::quantile::median;

/// Bytes of values in memory while a file is read.
const CHUNK_BYTES: usize = 32 << 20;

/// Sums over one matrix, read once from end to end.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ValuesReport {
    /// Share of non-zero values.
    pub density: f64,
    /// Median sum per cell.
    pub median_counts: f64,
    /// Median number of genes per cell.
    pub median_genes: f64,
    /// Mitochondrial genes (`MT-…`, `mt-…`), and the median percent of a cell's counts in them; `None`
    /// where no gene is named like one.
    pub mitochondrial: Option<(usize, f64)>,
    /// Largest value.
    pub largest: f32,
    /// Cells without counts.
    pub empty_cells: usize,
    /// Genes without counts.
    pub empty_genes: usize,
    /// Values that are NaN or infinite.
    pub not_finite: u64,
    /// Values below 0.
    pub negative: u64,
    /// Values that are not counts.
    pub not_counts: u64,
    /// Number of non-zero values.
    #[serde(skip)]
    pub stored: u64,
    /// Sum of every gene.
    #[serde(skip)]
    pub gene_totals: Vec<f64>,
}

/// Reads a matrix with genes of these symbols through.
pub(super) fn read(store: &CellStore, symbols: &[String]) -> Result<ValuesReport> {
    let mut report = ValuesReport {
        gene_totals: vec![0.0; store.cols()],
        ..ValuesReport::default()
    };
    let mut sums = Vec::with_capacity(store.rows());
    let mut genes = Vec::with_capacity(store.rows());
    let mut seen = vec![false; store.cols()];
    let marked = mitochondrial(symbols);
    let mut percents = Vec::new();
    for chunk in store.chunks(store.rows_for_bytes(CHUNK_BYTES)) {
        let (_, matrix) = chunk?;
        for (indices, values) in matrix.iter_rows() {
            // Not with sum, which makes -0 of nothing.
            sums.push(values.iter().fold(0.0, |sum, &v| sum + f64::from(v)));
            genes.push(values.len() as f64);
            report.stored += values.len() as u64;
            report.empty_cells += usize::from(values.is_empty());
            percents.extend(percent_marked(indices, values, &marked));
            for (&j, &v) in indices.iter().zip(values) {
                seen[j as usize] = true;
                report.gene_totals[j as usize] += f64::from(v);
                report.largest = report.largest.max(v);
                report.not_finite += u64::from(!v.is_finite());
                report.negative += u64::from(v < 0.0);
                report.not_counts += u64::from(!is_count(v));
            }
        }
    }
    let all = (store.rows() as f64 * store.cols() as f64).max(1.0);
    report.density = report.stored as f64 / all;
    report.median_counts = median(sums).unwrap_or_default();
    report.median_genes = median(genes).unwrap_or_default();
    let genes_marked = marked.iter().filter(|m| **m).count();
    // Shares of logarithms say nothing.
    let are_counts = report.not_counts == 0;
    report.mitochondrial = median(percents)
        .filter(|_| genes_marked > 0 && are_counts)
        .map(|percent| (genes_marked, percent));
    report.empty_genes = seen.iter().filter(|s| !**s).count();
    Ok(report)
}

/// The largest value of a matrix.
pub(super) fn largest(store: &CellStore) -> Result<f32> {
    let (mut largest, mut stored) = (f32::NEG_INFINITY, 0);
    for chunk in store.chunks(store.rows_for_bytes(CHUNK_BYTES)) {
        let (_, matrix) = chunk?;
        stored += matrix.nnz();
        largest = matrix.values().iter().copied().fold(largest, f32::max);
    }
    // Unstored values are 0.
    let has_zeros = stored < store.rows() * store.cols() || stored == 0;
    Ok(if has_zeros { largest.max(0.0) } else { largest })
}
