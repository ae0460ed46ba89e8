//! Selection of variable genes, on a sample of the cells where there are many.

use super::{Flavor, HvgConfig, HvgInput, highly_variable_genes};
use crate::error::Result;
use std::collections::BTreeMap;

/// Maximum number of cells used to select variable genes.
const CELLS: usize = 20_000;

/// At most 20,000 of `rows`, evenly spaced, from batches that keep two cells.
pub fn sample(rows: &[usize], batches: &[u32]) -> Vec<usize> {
    let step = rows.len().div_ceil(CELLS).max(1);
    let mut per_batch: BTreeMap<u32, usize> = BTreeMap::new();
    for &r in rows.iter().step_by(step) {
        *per_batch.entry(batches[r]).or_default() += 1;
    }
    let kept = rows.iter().step_by(step).copied();
    kept.filter(|&r| per_batch[&batches[r]] >= 2).collect()
}

/// The `n` most variable genes of `values`, by `flavor` within every batch; its cells are `rows` of the
/// data set with these `batches`.
///
/// # Errors
/// Those of [`highly_variable_genes`].
pub fn most_variable(
    values: HvgInput<'_>,
    flavor: Flavor,
    rows: &[usize],
    batches: &[u32],
    n: usize,
) -> Result<Vec<usize>> {
    let genes = match values {
        HvgInput::Counts(counts) => counts.matrix().cols(),
        HvgInput::LogNormalized(values) => values.matrix().cols(),
    };
    if n >= genes || rows.len() < 2 {
        return Ok((0..n.min(genes)).collect());
    }
    let codes: Vec<u32> = rows.iter().map(|&r| batches[r]).collect();
    let config = HvgConfig {
        flavor,
        n_top: n,
        ..Default::default()
    };
    let table = highly_variable_genes(values, Some(&codes), &config)?;
    Ok(table.selected_genes())
}
