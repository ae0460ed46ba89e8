//! Two-dimensional UMAP layouts of cells.
//!
//! McInnes, Healy and Melville 2018 with negative sampling, one edge after another, so that the
//! layout depends on the seed only. For display, never for metrics.

use crate::eigen;
use crate::error::Undefined;
use crate::graph::fuzzy;
use crate::neighbors::Neighbors;
use ndarray::{Array2, ArrayView2};
use rand::RngExt as _;

/// Curve `1/(1 + a d^(2b))` of umap-learn for `min_dist` 0.5 and `spread` 1.
const A: f64 = 0.583;
/// See [`A`].
const B: f64 = 1.334;
/// Neighbours of the fuzzy graph.
const NEIGHBORS: usize = 15;
/// Negative samples for every positive edge.
const NEGATIVE: usize = 5;
/// Extent to which the initial coordinates are scaled.
const EXTENT: f32 = 10.0;

/// UMAP coordinates of every cell, started from the first two columns of `init` `[cells, ≥ 2]`
/// (principal components, or the embedding itself); missing columns start at 0.
///
/// 500 epochs up to 10,000 cells, 200 above, learning rate 1 falling to 0.
pub fn umap2d(neighbors: &Neighbors, init: ArrayView2<'_, f32>, seed: u64) -> Vec<[f32; 2]> {
    let n = neighbors.cells().min(init.nrows());
    let mut at = start(init, n, seed);
    if n < 3 {
        return at;
    }
    let graph = fuzzy(neighbors, NEIGHBORS);
    let epochs = if n <= 10_000 { 500 } else { 200 };
    let strongest = graph.weights.iter().fold(0f32, |m, &w| m.max(w));
    // An edge is sampled every epoch or every few, in proportion to its weight.
    let mut edges: Vec<(usize, usize, f32, f32)> = Vec::new();
    for i in 0..n {
        let (indices, weights) = graph.row(i);
        for (&j, &w) in indices.iter().zip(weights) {
            let every = strongest / w;
            if every <= epochs as f32 {
                edges.push((i, j as usize, every, every));
            }
        }
    }
    let mut rng = sc_data::rng::stream(seed, "umap", 0, 0);
    for epoch in 0..epochs {
        let rate = 1.0 - epoch as f64 / epochs as f64;
        for (i, j, every, next) in &mut edges {
            if *next > (epoch + 1) as f32 {
                continue;
            }
            *next += *every;
            let (x, y) = (at[*i], at[*j]);
            let d2 = squared(x, y);
            if d2 > 0.0 {
                let pull = -2.0 * A * B * d2.powf(B - 1.0) / (1.0 + A * d2.powf(B));
                for c in 0..2 {
                    let g = (pull * f64::from(x[c] - y[c])).clamp(-4.0, 4.0) * rate;
                    at[*i][c] += g as f32;
                    at[*j][c] -= g as f32;
                }
            }
            for _ in 0..NEGATIVE {
                let other = rng.random_range(0..n);
                if other == *i {
                    continue;
                }
                let (x, y) = (at[*i], at[other]);
                let d2 = squared(x, y);
                let push = 2.0 * B / ((0.001 + d2) * (1.0 + A * d2.powf(B)));
                for c in 0..2 {
                    let g = if d2 > 0.0 {
                        (push * f64::from(x[c] - y[c])).clamp(-4.0, 4.0)
                    } else {
                        4.0
                    };
                    at[*i][c] += (g * rate) as f32;
                }
            }
        }
    }
    at
}

fn squared(x: [f32; 2], y: [f32; 2]) -> f64 {
    f64::from(x[0] - y[0]).powi(2) + f64::from(x[1] - y[1]).powi(2)
}

/// The first two columns, scaled to the extent, with a little noise that separates equal cells.
fn start(init: ArrayView2<'_, f32>, n: usize, seed: u64) -> Vec<[f32; 2]> {
    let mut rng = sc_data::rng::stream(seed, "umap-start", 0, 0);
    let mut at = vec![[0f32; 2]; n];
    for c in 0..init.ncols().min(2) {
        let column = init.column(c);
        let mean = column.iter().map(|&v| f64::from(v)).sum::<f64>() / n.max(1) as f64;
        let largest = column
            .iter()
            .fold(0f64, |m, &v| m.max((f64::from(v) - mean).abs()));
        if largest > 0.0 {
            for (p, &v) in at.iter_mut().zip(&column) {
                p[c] = ((f64::from(v) - mean) / largest) as f32 * EXTENT;
            }
        }
    }
    for p in &mut at {
        p.iter_mut()
            .for_each(|v| *v += 0.001 * (rng.random::<f32>() - 0.5));
    }
    at
}

/// The first two principal component scores `[cells, 2]` of an embedding, signs arbitrary.
///
/// # Errors
/// [`Undefined::NotConverged`].
pub fn principal_plane(x: ArrayView2<'_, f32>) -> Result<Array2<f32>, Undefined> {
    let (n, dims) = x.dim();
    let mean: Vec<f64> = x
        .columns()
        .into_iter()
        .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / n.max(1) as f64)
        .collect();
    let project = |v: &[f64]| -> Vec<f64> {
        let term = |((&a, m), b): ((&f32, &f64), &f64)| (f64::from(a) - m) * b;
        x.outer_iter()
            .map(|row| row.iter().zip(&mean).zip(v).map(term).sum())
            .collect()
    };
    let found = eigen::leading(dims, 2, 0, |v, out| {
        out.fill(0.0);
        for (row, s) in x.outer_iter().zip(project(v)) {
            out.iter_mut()
                .zip(row.iter().zip(&mean))
                .for_each(|(o, (&a, m))| {
                    *o += s * (f64::from(a) - m);
                });
        }
    })?;
    let mut out = Array2::zeros((n, 2));
    for (c, vector) in found.vectors.iter().enumerate() {
        out.column_mut(c)
            .iter_mut()
            .zip(project(vector))
            .for_each(|(o, s)| *o = s as f32);
    }
    Ok(out)
}
