//! The flavour `seurat_v3`: variance of clipped, standardised counts.

use super::{HvgConfig, HvgTable, batch_rows, loess, mean_variance, select_rows};
use crate::error::Result;
use crate::preprocess::quantile::median;
use crate::sparse::CsrMatrix;

pub(super) fn table(
    matrix: &CsrMatrix,
    batches: Option<&[u32]>,
    config: &HvgConfig,
) -> Result<HvgTable> {
    let cols = matrix.cols();
    let (means, dispersions) = mean_variance(matrix.iter_rows(), cols);
    let groups = match batches {
        Some(codes) => batch_rows(codes)?,
        None => vec![(0..matrix.rows()).collect()],
    };
    let mut normalized = vec![0f64; cols];
    let mut ranks: Vec<Vec<f32>> = vec![Vec::new(); cols];
    for rows in &groups {
        let variances = standardised(matrix, rows, config.span)?;
        let mut order: Vec<usize> = (0..cols).collect();
        // Rare genes with equal counts tie exactly; the stable sort orders them deterministically,
        // unlike the reference.
        order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]));
        for (rank, &gene) in order.iter().take(config.n_top).enumerate() {
            ranks[gene].push(rank as f32);
        }
        for (sum, v) in normalized.iter_mut().zip(&variances) {
            *sum += v;
        }
    }
    normalized
        .iter_mut()
        .for_each(|v| *v /= groups.len() as f64);
    let n_batches: Vec<u32> = ranks.iter().map(|r| r.len() as u32).collect();
    let rank = |of: Vec<f32>| {
        let of = of.into_iter().map(f64::from).collect();
        median(of).map_or(f64::NAN, |m| f64::from(m as f32))
    };
    let rank: Vec<f64> = ranks.into_iter().map(rank).collect();
    let mut order: Vec<usize> = (0..cols).filter(|&g| !rank[g].is_nan()).collect();
    order.sort_by(|&a, &b| {
        rank[a]
            .total_cmp(&rank[b])
            .then(n_batches[b].cmp(&n_batches[a]))
    });
    // Fewer ranked genes than requested: the rest follows in the order of the table, as in the
    // reference.
    order.extend((0..cols).filter(|&g| rank[g].is_nan()));
    let mut selected = vec![false; cols];
    for &gene in order.iter().take(config.n_top) {
        selected[gene] = true;
    }
    Ok(HvgTable {
        means,
        dispersions,
        normalized,
        rank,
        n_batches,
        selected,
    })
}

/// Variance of every gene after division by the loess standard deviation and clipping.
fn standardised(matrix: &CsrMatrix, rows: &[usize], span: f64) -> Result<Vec<f64>> {
    let cols = matrix.cols();
    let n = rows.len() as f64;
    let (mean, variance) = mean_variance(select_rows(matrix, rows), cols);
    let fitted: Vec<usize> = (0..cols).filter(|&g| variance[g] > 0.0).collect();
    let x: Vec<f64> = fitted.iter().map(|&g| mean[g].log10()).collect();
    let y: Vec<f64> = fitted.iter().map(|&g| variance[g].log10()).collect();
    let smooth = loess::fit(&x, &y, span)?;
    let mut sd = vec![1f64; cols];
    for (&gene, &estimate) in fitted.iter().zip(&smooth) {
        sd[gene] = 10f64.powf(estimate).sqrt();
    }
    let clip: Vec<f64> = sd
        .iter()
        .zip(&mean)
        .map(|(s, m)| s * n.sqrt() + m)
        .collect();
    let mut sum = vec![0f64; cols];
    let mut squares = vec![0f64; cols];
    for (indices, values) in select_rows(matrix, rows) {
        for (&j, &v) in indices.iter().zip(values) {
            let v = f64::from(v).min(clip[j as usize]);
            sum[j as usize] += v;
            squares[j as usize] += v * v;
        }
    }
    Ok((0..cols)
        .map(|g| {
            let m = mean[g];
            (n * m * m + squares[g] - 2.0 * sum[g] * m) / ((n - 1.0) * sd[g] * sd[g])
        })
        .collect())
}
