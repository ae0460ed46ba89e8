//! CellPLM's reconstruction losses.
//!
//! Source: reference/scformer-scgpt-cellplm.md C3.

use burn::tensor::{Int, Tensor, TensorData};
use sc_data::CsrMatrix;
use sc_models::cellplm::NegativeBinomial;
use sc_models::layers::nb::{Scope, scaled_nll};
use std::sync::Arc;

/// Masked entries: the genes of every cell, ascending; empty for unmasked cells.
pub type Masked = Vec<Arc<Vec<u32>>>;

/// The two halves of the denoising loss, scalars.
#[derive(Clone, Debug)]
pub struct Denoise {
    /// Likelihood over all genes, mean over masked cells.
    pub all_genes: Tensor<1>,
    /// Likelihood over the masked entries, rescaled to their totals, mean over masked cells.
    pub masked_entries: Tensor<1>,
}

/// Denoising: cells with at least one masked entry, all genes plus masked entries.
///
/// With no masked entry at all both halves are 0.
pub fn denoise(decoded: &NegativeBinomial, counts: &Arc<CsrMatrix>, masked: &Masked) -> Denoise {
    let hidden = masked.iter().filter(|m| !m.is_empty()).count().max(1) as f64;
    let scope = |f: fn(&Arc<Vec<u32>>) -> Scope| {
        let scopes = masked
            .iter()
            .map(|m| if m.is_empty() { Scope::Skip } else { f(m) });
        Arc::new(scopes.collect::<Vec<_>>())
    };
    let nll = |scope| {
        scaled_nll(
            decoded.mean.clone(),
            decoded.dispersion.clone(),
            counts,
            &scope,
        )
        .sum()
            / hidden
    };
    Denoise {
        all_genes: nll(scope(|_| Scope::All)),
        masked_entries: nll(scope(|m| Scope::Only(m.clone()))),
    }
}

/// Imputation: the input genes' means rescaled to the cell's total over `measured`, likelihood over
/// these genes; mean over cells.
///
/// `genes` are the vocabulary rows of the columns of `counts`, `measured` columns of `counts`.
pub fn impute(
    decoded: &NegativeBinomial,
    genes: &[u32],
    counts: &Arc<CsrMatrix>,
    measured: &Arc<Vec<u32>>,
) -> Tensor<1> {
    let [cells, _] = decoded.mean.dims();
    let rows: Vec<i64> = genes.iter().map(|&g| i64::from(g)).collect();
    let rows = TensorData::new(rows, [genes.len()]);
    let rows = Tensor::<1, Int>::from_data(rows, &decoded.mean.device());
    let mean = decoded.mean.clone().select(1, rows.clone());
    let dispersion = decoded.dispersion.clone().select(1, rows);
    let scope = Arc::new(vec![Scope::Only(measured.clone()); cells]);
    scaled_nll(mean, dispersion, counts, &scope).mean()
}
