//! Quality metrics of cells and genes, as scanpy's `calculate_qc_metrics` defines them.

use serde::Serialize;

use crate::counts::RawCounts;
use crate::error::{DataError, Result};

/// Metrics of one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CellQc {
    /// Genes with counts.
    pub n_genes_by_counts: usize,
    /// Sum of the counts.
    pub total_counts: f64,
    /// Percent of the counts in the most expressed genes of the cell, for each asked-for number.
    pub pct_counts_in_top_genes: Vec<f64>,
    /// Sum of the counts of the marked genes (mitochondrial, as a rule).
    pub total_counts_marked: f64,
    /// Percent of the counts in the marked genes; NaN for a cell without counts, as in scanpy.
    pub pct_counts_marked: f64,
}

/// Metrics of one gene.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct GeneQc {
    /// Cells with counts of it.
    pub n_cells_by_counts: usize,
    /// Mean count over all cells.
    pub mean_counts: f64,
    /// Percent of the cells without counts of it.
    pub pct_dropout_by_counts: f64,
    /// Sum of the counts.
    pub total_counts: f64,
}

/// Metrics of every cell; `marked` `[genes]` says which genes are summed apart, `top` for how many of
/// the most expressed genes the share is wanted.
///
/// # Errors
/// [`DataError::Invalid`] when `marked` has another length, or `top` asks for no gene or more than there
/// are.
pub fn cells(counts: &RawCounts, marked: &[bool], top: &[usize]) -> Result<Vec<CellQc>> {
    let matrix = counts.matrix();
    if marked.len() != matrix.cols() {
        return Err(DataError::invalid(format!(
            "{} marks for {} genes",
            marked.len(),
            matrix.cols()
        )));
    }
    if let Some(bad) = top.iter().find(|n| **n == 0 || **n > matrix.cols()) {
        return Err(DataError::invalid(format!(
            "the share of the top {bad} of {} genes cannot be computed",
            matrix.cols()
        )));
    }
    let rows = matrix.iter_rows().map(|(genes, values)| {
        let total: f64 = values.iter().map(|&v| f64::from(v)).sum();
        let of_marked = genes
            .iter()
            .zip(values)
            .filter(|(j, _)| marked[**j as usize]);
        let of_marked: f64 = of_marked.map(|(_, &v)| f64::from(v)).sum();
        let mut sorted: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let in_top = |n: &usize| 100.0 * sorted.iter().take(*n).sum::<f64>() / total;
        CellQc {
            n_genes_by_counts: values.len(),
            total_counts: total,
            pct_counts_in_top_genes: top.iter().map(in_top).collect(),
            total_counts_marked: of_marked,
            pct_counts_marked: 100.0 * of_marked / total,
        }
    });
    Ok(rows.collect())
}

/// Metrics of every gene.
pub fn genes(counts: &RawCounts) -> Vec<GeneQc> {
    let matrix = counts.matrix();
    let mut out = vec![GeneQc::default(); matrix.cols()];
    for (genes, values) in matrix.iter_rows() {
        for (&j, &v) in genes.iter().zip(values) {
            let gene = &mut out[j as usize];
            gene.n_cells_by_counts += 1;
            gene.total_counts += f64::from(v);
        }
    }
    let cells = matrix.rows() as f64;
    for gene in &mut out {
        gene.mean_counts = gene.total_counts / cells;
        gene.pct_dropout_by_counts = 100.0 * (1.0 - gene.n_cells_by_counts as f64 / cells);
    }
    out
}

/// Marks mitochondrial genes by their symbols: `MT-` (human) and `mt-` (mouse).
pub fn mitochondrial(symbols: &[String]) -> Vec<bool> {
    let is = |s: &String| s.starts_with("MT-") || s.starts_with("mt-");
    symbols.iter().map(is).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sparse::CsrMatrix;

    #[test]
    fn metrics_are_scanpys() {
        // Values of scanpy 1.11.5's calculate_qc_metrics(qc_vars=["mt"], percent_top=[1, 2]).
        let dense = [5.0, 0.0, 1.0, 4.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0];
        let counts = RawCounts::new(CsrMatrix::from_dense(4, &dense)).unwrap();
        let names = ["A", "MT-CO1", "B", "mt-Nd1"].map(str::to_owned);
        let found = cells(&counts, &mitochondrial(&names), &[1, 2]).unwrap();
        assert_eq!(found[0].pct_counts_in_top_genes, [50.0, 90.0]);
        assert_eq!(
            (found[0].n_genes_by_counts, found[0].pct_counts_marked),
            (3, 40.0)
        );
        assert!(found[1].pct_counts_marked.is_nan() && found[1].total_counts == 0.0);
        assert_eq!(found[2].pct_counts_in_top_genes, [25.0, 50.0]);
        let genes = genes(&counts);
        assert_eq!(genes[0].n_cells_by_counts, 2);
        assert!((genes[0].mean_counts - 7.0 / 3.0).abs() < 1e-12);
        assert!((genes[1].pct_dropout_by_counts - 200.0 / 3.0).abs() < 1e-12);
        assert!(cells(&counts, &[true], &[]).is_err());
        assert!(cells(&counts, &[true; 4], &[5]).is_err());
    }
}
