//! The per-batch coordinates of a consensus.

use super::MIN_BATCH;
use crate::categories::Groups;
use crate::error::{EvalError, Undefined};
use ndarray::Array2;
use rayon::prelude::*;
use sc_data::preprocess::hvg::{Flavor, HvgConfig, HvgInput, highly_variable_genes};
use sc_data::preprocess::pca::pca;
use sc_data::{DataError, LogNormalized};

/// Highly variable genes of a batch.
const GENES: usize = 1000;
/// Principal components of a batch.
const COMPONENTS: usize = 10;

/// One batch in its own principal components.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchGeometry {
    /// Row numbers of the batch's cells in the data set.
    pub rows: Vec<usize>,
    /// Their coordinates `[rows, components]`.
    pub coordinates: Array2<f64>,
}

/// The geometry of every batch with at least 100 cells among `rows`: 1,000 genes by scanpy's
/// `seurat` flavour, then 10 principal components.
///
/// # Errors
/// [`Undefined::Input`] when lengths differ or a batch has no variable gene.
pub fn reference_batches(
    values: &LogNormalized,
    batches: &[u32],
    rows: &[usize],
) -> Result<Vec<BatchGeometry>, Undefined> {
    EvalError::check("batches", values.matrix().rows(), batches.len())?;
    if let Some(row) = rows.iter().find(|&&r| r >= batches.len()) {
        return Err(EvalError::invalid(format!(
            "row {row} is out of range for {} cells",
            batches.len()
        ))
        .into());
    }
    let own: Vec<u32> = rows.iter().map(|&r| batches[r]).collect();
    Groups::new(&own)
        .members
        .par_iter()
        .filter(|m| m.len() >= MIN_BATCH)
        .map(|m| {
            let rows: Vec<usize> = m.iter().map(|&i| rows[i as usize]).collect();
            let coordinates = components(&values.select_rows(&rows))
                .map_err(|e| EvalError::invalid(format!("scgraph reference: {e}")))?;
            Ok(BatchGeometry { rows, coordinates })
        })
        .collect()
}

/// Scores `[cells, components]` of one batch.
fn components(values: &LogNormalized) -> Result<Array2<f64>, DataError> {
    let config = HvgConfig {
        flavor: Flavor::Seurat,
        n_top: GENES.min(values.matrix().cols()),
        ..HvgConfig::default()
    };
    let table = highly_variable_genes(HvgInput::LogNormalized(values), None, &config)?;
    let kept = values.matrix().select_cols(&table.selected_genes());
    let count = COMPONENTS
        .min(kept.cols())
        .min(kept.rows().saturating_sub(1));
    Ok(pca(&kept, count)?.transform(&kept)?.mapv(f64::from))
}
