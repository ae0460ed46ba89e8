//! The flavours `seurat` and `cell_ranger`: dispersion within bins of the mean.

use super::{Flavor, HvgConfig, HvgTable, batch_rows, mean_variance, select_rows};
use crate::error::Result;
use crate::preprocess::quantile::{interpolated, median};
use crate::sparse::CsrMatrix;

/// `norm.ppf(3/4)`: makes a median absolute deviation estimate a standard deviation.
const MAD_SCALE: f64 = 0.674_489_750_196_081_7;

pub(super) fn table(
    matrix: &CsrMatrix,
    batches: Option<&[u32]>,
    config: &HvgConfig,
) -> Result<HvgTable> {
    // `seurat` uses normalised counts, not their logarithm.
    let expm1 = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v.exp_m1()).collect() };
    let counts;
    let matrix = if config.flavor == Flavor::Seurat {
        let mut m = matrix.clone();
        for row in 0..m.rows() {
            let values = expm1(m.row(row).1);
            m.row_values_mut(row).copy_from_slice(&values);
        }
        counts = m;
        &counts
    } else {
        matrix
    };
    let all: Vec<usize> = (0..matrix.rows()).collect();
    let Some(batches) = batches else {
        let genes: Vec<usize> = (0..matrix.cols()).collect();
        let mut table = one_batch(matrix, &all, &genes, config);
        table.rank = ranks(&table.selected, &table.normalized);
        return Ok(table);
    };
    let cols = matrix.cols();
    let groups = batch_rows(batches)?;
    let mut sums = [vec![0f64; cols], vec![0f64; cols], vec![0f64; cols]];
    let mut counts = [vec![0u32; cols], vec![0u32; cols], vec![0u32; cols]];
    let mut n_batches = vec![0u32; cols];
    for rows in &groups {
        let mut seen = vec![false; cols];
        for (indices, values) in select_rows(matrix, rows) {
            for (&j, &v) in indices.iter().zip(values) {
                seen[j as usize] |= v > 0.0;
            }
        }
        let genes: Vec<usize> = (0..cols).filter(|&g| seen[g]).collect();
        let part = one_batch(matrix, rows, &genes, config);
        for (which, column) in [&part.means, &part.dispersions, &part.normalized]
            .into_iter()
            .enumerate()
        {
            // Genes absent from a batch count as zeros there; undefined values do not count.
            let mut full = vec![0f64; cols];
            for (&gene, &value) in genes.iter().zip(column) {
                full[gene] = value;
            }
            for (gene, value) in full.into_iter().enumerate().filter(|v| !v.1.is_nan()) {
                sums[which][gene] += value;
                counts[which][gene] += 1;
            }
        }
        for (&gene, &selected) in genes.iter().zip(&part.selected) {
            n_batches[gene] += u32::from(selected);
        }
    }
    let [means, dispersions, normalized] = std::array::from_fn(|which| {
        sums[which]
            .iter()
            .zip(&counts[which])
            .map(|(&s, &n)| if n == 0 { f64::NAN } else { s / f64::from(n) })
            .collect::<Vec<f64>>()
    });
    let mut order: Vec<usize> = (0..cols).collect();
    order.sort_by(|&a, &b| {
        n_batches[b]
            .cmp(&n_batches[a])
            .then_with(|| descending(normalized[a], normalized[b]))
    });
    let mut selected = vec![false; cols];
    let mut rank = vec![f64::NAN; cols];
    for (k, &gene) in order.iter().take(config.n_top).enumerate() {
        selected[gene] = true;
        rank[gene] = k as f64;
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

/// The table of the given genes over the given rows.
fn one_batch(matrix: &CsrMatrix, rows: &[usize], genes: &[usize], config: &HvgConfig) -> HvgTable {
    let (mean, variance) = mean_variance(select_rows(matrix, rows), matrix.cols());
    let mut means: Vec<f64> = genes.iter().map(|&g| mean[g]).collect();
    let mut dispersions: Vec<f64> = Vec::with_capacity(genes.len());
    for (m, &gene) in means.iter_mut().zip(genes) {
        if *m == 0.0 {
            *m = 1e-12;
        }
        let mut dispersion = variance[gene] / *m;
        if config.flavor == Flavor::Seurat {
            dispersion = if dispersion == 0.0 {
                f64::NAN
            } else {
                dispersion.ln()
            };
            *m = m.ln_1p();
        }
        dispersions.push(dispersion);
    }
    let edges = match config.flavor {
        Flavor::Seurat => equal_width(&means, config.n_bins),
        _ => percentiles(&means),
    };
    let bins: Vec<usize> = means
        .iter()
        .map(|&m| edges.partition_point(|&e| e < m))
        .collect();
    let mut members = vec![Vec::new(); edges.len() + 1];
    for (&bin, &dispersion) in bins.iter().zip(&dispersions) {
        if !dispersion.is_nan() {
            members[bin].push(dispersion);
        }
    }
    let stats: Vec<(f64, f64)> = members
        .into_iter()
        .map(|m| {
            if config.flavor == Flavor::Seurat {
                mean_sd(&m)
            } else {
                median_mad(m)
            }
        })
        .collect();
    let normalized: Vec<f64> = bins
        .iter()
        .zip(&dispersions)
        .map(|(&bin, &d)| (d - stats[bin].0) / stats[bin].1)
        .collect();
    let selected = top(&normalized, config.n_top);
    HvgTable {
        n_batches: selected.iter().map(|&s| u32::from(s)).collect(),
        rank: Vec::new(),
        means,
        dispersions,
        normalized,
        selected,
    }
}

/// Edges of `n` bins of equal width, the first a little lower so that the smallest value is inside.
fn equal_width(values: &[f64], n: usize) -> Vec<f64> {
    let n = n.max(1);
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low == high {
        let (a, b) = if low == 0.0 {
            (-0.001, 0.001)
        } else {
            (low - 0.001 * low.abs(), high + 0.001 * high.abs())
        };
        return (0..=n).map(|k| a + (b - a) * k as f64 / n as f64).collect();
    }
    let step = (high - low) / n as f64;
    let mut edges: Vec<f64> = (0..=n).map(|k| low + step * k as f64).collect();
    edges[n] = high;
    edges[0] -= 0.001 * (high - low);
    edges
}

/// The 10th, 15th, … 100th percentiles, without repeats (pandas would refuse those).
fn percentiles(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut edges: Vec<f64> = (2..=20)
        .map(|k| {
            let position = f64::from(k) * 0.05 * last as f64;
            interpolated(&sorted, position)
        })
        .collect();
    edges.dedup();
    edges
}

/// Mean and standard deviation (ddof 1); of a single value 0 and the value, which normalises it to 1.
fn mean_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (0.0, mean);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

fn median_mad(values: Vec<f64>) -> (f64, f64) {
    let centre = median(values.clone()).unwrap_or(f64::NAN);
    let deviations = values.iter().map(|v| (v - centre).abs()).collect();
    let mad = median(deviations).unwrap_or(f64::NAN);
    (centre, mad / MAD_SCALE)
}

/// Every gene whose value is at least the `n`-th highest; ties at the cutoff are all included.
fn top(values: &[f64], n: usize) -> Vec<bool> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let Some(&cut) = sorted.get(n.min(sorted.len()).saturating_sub(1)) else {
        return vec![false; values.len()];
    };
    values.iter().map(|&v| v >= cut).collect()
}

fn ranks(selected: &[bool], normalized: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..selected.len()).filter(|&g| selected[g]).collect();
    order.sort_by(|&a, &b| descending(normalized[a], normalized[b]));
    let mut rank = vec![f64::NAN; selected.len()];
    for (k, gene) in order.into_iter().enumerate() {
        rank[gene] = k as f64;
    }
    rank
}

/// Larger first, NaN last.
fn descending(a: f64, b: f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => b.total_cmp(&a),
        (a, b) => a.cmp(&b),
    }
}
