//! The per-batch coordinates a consensus is built from.

use super::MIN_BATCH;
use crate::categories::Groups;
use crate::eigen;
use crate::error::{EvalError, Undefined};
use ndarray::Array2;
use rayon::prelude::*;
use sc_data::LogNormalized;
use sc_data::sparse::CsrMatrix;

/// Highly variable genes of a batch.
const GENES: usize = 1000;
/// Principal components of a batch.
const COMPONENTS: usize = 10;
/// Bins of mean expression within which dispersions are compared.
const BINS: usize = 20;

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
/// [`EvalError`] when lengths differ; [`Undefined::NotConverged`].
pub fn reference_batches(
    values: &LogNormalized,
    batches: &[u32],
    rows: &[usize],
) -> Result<Vec<BatchGeometry>, Undefined> {
    EvalError::check("batches", values.matrix().rows(), batches.len())?;
    if let Some(row) = rows.iter().find(|&&r| r >= batches.len()) {
        return Err(EvalError::invalid(format!(
            "row {row} lies outside the {} cells",
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
            let sub = values.matrix().select_rows(&rows);
            let genes = variable_genes(&sub, GENES);
            let coordinates = components(&sub.select_cols(&genes), COMPONENTS)?;
            Ok(BatchGeometry { rows, coordinates })
        })
        .collect()
}

/// The `count` genes of largest normalised dispersion (Satija et al. 2015), ascending.
///
/// Means and variances of `exp(x) − 1`; `ln(variance/mean)` standardised within 20 bins of
/// `ln(1 + mean)`, where a bin of one gene takes its own value as spread.
fn variable_genes(values: &CsrMatrix, count: usize) -> Vec<usize> {
    let (cells, genes) = (values.rows() as f64, values.cols());
    let (mut sum, mut square) = (vec![0f64; genes], vec![0f64; genes]);
    for (indices, v) in values.iter_rows() {
        for (&j, &v) in indices.iter().zip(v) {
            let v = f64::from(v).exp_m1();
            sum[j as usize] += v;
            square[j as usize] += v * v;
        }
    }
    let mut mean = vec![0f64; genes];
    let mut dispersion = vec![f64::NAN; genes];
    for j in 0..genes {
        let m = sum[j] / cells;
        let variance = (square[j] / cells - m * m) * cells / (cells - 1.0);
        let ratio = variance / if m == 0.0 { 1e-12 } else { m };
        if ratio > 0.0 {
            dispersion[j] = ratio.ln();
        }
        mean[j] = m.ln_1p();
    }
    let (low, high) = mean
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &m| {
            (l.min(m), h.max(m))
        });
    let width = (high - low) / BINS as f64;
    // Bins are open below, as pandas.cut; the lowest mean belongs to the first.
    let bin = |m: f64| {
        if width > 0.0 {
            (((m - low) / width).ceil() as usize).clamp(1, BINS) - 1
        } else {
            0
        }
    };
    let mut inside: Vec<Vec<f64>> = vec![Vec::new(); BINS];
    for (&m, &d) in mean.iter().zip(&dispersion) {
        if !d.is_nan() {
            inside[bin(m)].push(d);
        }
    }
    let centre: Vec<(f64, f64)> = inside
        .iter()
        .map(|v| {
            let m = v.iter().sum::<f64>() / v.len().max(1) as f64;
            if v.len() < 2 {
                return (0.0, m);
            }
            let s = v.iter().map(|d| (d - m).powi(2)).sum::<f64>() / (v.len() - 1) as f64;
            (m, s.sqrt())
        })
        .collect();
    let score: Vec<f64> = mean
        .iter()
        .zip(&dispersion)
        .map(|(&m, &d)| {
            let (c, s) = centre[bin(m)];
            let v = (d - c) / s;
            if v.is_nan() { f64::NEG_INFINITY } else { v }
        })
        .collect();
    let mut order: Vec<usize> = (0..genes).collect();
    order.sort_by(|&a, &b| score[b].total_cmp(&score[a]).then(a.cmp(&b)));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// Principal component scores `[cells, count]` of a sparse matrix, never centred in memory.
fn components(x: &CsrMatrix, count: usize) -> Result<Array2<f64>, Undefined> {
    let (cells, genes) = (x.rows(), x.cols());
    let mut mean = vec![0f64; genes];
    for (indices, values) in x.iter_rows() {
        for (&j, &v) in indices.iter().zip(values) {
            mean[j as usize] += f64::from(v) / cells as f64;
        }
    }
    let project = |v: &[f64]| -> Vec<f64> {
        let shift: f64 = mean.iter().zip(v).map(|(m, v)| m * v).sum();
        x.iter_rows()
            .map(|(indices, values)| {
                indices
                    .iter()
                    .zip(values)
                    .map(|(&j, &a)| f64::from(a) * v[j as usize])
                    .sum::<f64>()
                    - shift
            })
            .collect()
    };
    let count = count.min(genes).min(cells.saturating_sub(1));
    let found = eigen::leading(genes, count, 0, |v, out| {
        let scores = project(v);
        out.fill(0.0);
        for ((indices, values), s) in x.iter_rows().zip(&scores) {
            for (&j, &a) in indices.iter().zip(values) {
                out[j as usize] += f64::from(a) * s;
            }
        }
        let total: f64 = scores.iter().sum();
        out.iter_mut().zip(&mean).for_each(|(o, m)| *o -= m * total);
    })?;
    let mut out = Array2::zeros((cells, count));
    for (c, vector) in found.vectors.iter().enumerate() {
        for (i, s) in project(vector).into_iter().enumerate() {
            out[[i, c]] = s;
        }
    }
    Ok(out)
}
