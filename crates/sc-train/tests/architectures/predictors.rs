//! What can be predicted without looking at the cell: a model that does no better has learned nothing of
//! it. In the units of the losses.

use crate::common::CELLS;
use burn::tensor::{Device, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::layers::zinb::nb_nll;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Negative log-likelihood per cell, summed over genes, of the mean of every gene in a cell of that
/// total, each gene with the dispersion that suits it best.
pub(crate) fn by_gene_means(counts: &CsrMatrix) -> f64 {
    let totals = counts.row_sums();
    let all: f64 = totals.iter().sum();
    let columns = counts.transpose();
    let of_gene = |(_, values): (&[u32], &[f32]), gene: usize| {
        let share = values.iter().map(|&v| f64::from(v)).sum::<f64>() / all;
        let mean: Vec<f32> = totals.iter().map(|t| (t * share) as f32).collect();
        let own = Arc::new(counts.select_cols(&[gene]));
        let nll = |exponent: i32| {
            let device = Device::flex();
            let mean = TensorData::new(mean.clone(), [mean.len(), 1]);
            let dispersion = TensorData::new(vec![2f32.powi(exponent)], [1, 1]);
            let [mean, dispersion] = [mean, dispersion].map(|d| Tensor::<2>::from_data(d, &device));
            f64::from(nb_nll(mean, dispersion, &own).mean().into_scalar::<f32>())
        };
        (-6..12).map(nll).fold(f64::INFINITY, f64::min)
    };
    let genes = columns.iter_rows().enumerate();
    genes.map(|(g, column)| of_gene(column, g)).sum()
}

/// Cross-entropy of a predictor that says of every token how often it occurs.
pub(crate) fn by_token_frequency(cells: &[Vec<u32>]) -> f64 {
    let mut found: BTreeMap<u32, f64> = BTreeMap::new();
    for token in cells.iter().flatten() {
        *found.entry(*token).or_default() += 1.0;
    }
    let all: f64 = found.values().sum();
    found.values().map(|n| -n / all * (n / all).ln()).sum()
}

/// Binary cross-entropy of a predictor that says of every gene how often it is expressed, where a cell
/// is asked for as many genes that it expresses as of those that it does not.
pub(crate) fn by_detection_rate(counts: &CsrMatrix) -> f64 {
    let columns = counts.transpose();
    let rates: Vec<f64> = (columns.iter_rows())
        .map(|(cells, _)| cells.len() as f64 / CELLS as f64)
        .collect();
    let expressed: f64 = rates.iter().sum();
    let silent: f64 = rates.iter().map(|r| 1.0 - r).sum();
    let of_gene = |rate: &f64| {
        let (a, b) = (0.5 * rate / expressed, 0.5 * (1.0 - rate) / silent);
        let term = |x: f64| {
            if x > 0.0 {
                -x * (x / (a + b)).ln()
            } else {
                0.0
            }
        };
        term(a) + term(b)
    };
    rates.iter().map(of_gene).sum()
}

#[test]
fn predictors_that_see_no_cell_say_what_they_should() {
    // Every cell alike: the mean is all there is to know, and tokens are as good as drawn from four.
    let alike = CsrMatrix::from_dense(2, &[5.0, 5.0].repeat(CELLS));
    let apart = CsrMatrix::from_dense(2, &[10.0, 0.0, 0.0, 10.0].repeat(CELLS / 2));
    assert!(by_gene_means(&alike) < 4.0 && by_gene_means(&apart) > 5.0);
    assert!((by_token_frequency(&[vec![1, 2], vec![3, 4]]) - 4f64.ln()).abs() < 1e-12);
    assert!((by_detection_rate(&apart) - 2f64.ln()).abs() < 1e-12);
}

/// Binary cross entropy of every label against its share among the cells, mean over labels.
pub(crate) fn by_label_share(labels: &[u32]) -> f64 {
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for label in labels {
        *counts.entry(*label).or_default() += 1.0 / labels.len() as f64;
    }
    let entropy = |p: &f64| -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
    counts.values().map(entropy).sum::<f64>() / counts.len() as f64
}
