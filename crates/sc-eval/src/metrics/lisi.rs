//! Local inverse Simpson's index: the effective number of labels, or batches, in a neighbourhood.
//!
//! Korsunsky et al. 2019 as in scib-metrics 0.5.10 (`utils/_lisi.py`, `metrics/_lisi.py`).

use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::neighbors::{self, Neighbors};
use rayon::prelude::*;

/// Minimum number of neighbours (the cell itself counted) of a neighbourhood.
const MIN_NEIGHBORS: usize = 6;

/// Effective number of codes in the neighbourhood of every cell; NaN where undefined.
///
/// The neighbours, without the cell itself, are weighted by `exp(−β d)` with β such that the
/// entropy is the logarithm of the perplexity `⌊k/3⌋` (bisection to 1e-5, at most 50 tries);
/// LISI is `1/Σ p²` over the summed weights of every code.
///
/// # Errors
/// [`Undefined::TooFewCells`] below 6 neighbours; [`EvalError`] when lengths differ.
pub fn per_cell(neighbors: &Neighbors, codes: &[u32]) -> Result<Vec<f64>, Undefined> {
    neighbors::check(neighbors, codes.len())?;
    if neighbors.k() < MIN_NEIGHBORS {
        return Err(Undefined::TooFewCells {
            needed: MIN_NEIGHBORS,
            found: neighbors.k(),
        });
    }
    let groups = Groups::new(codes);
    let perplexity = (neighbors.k() / 3) as f64;
    Ok((0..codes.len())
        .into_par_iter()
        .map(|i| {
            let (mut d, mut c) = (Vec::new(), Vec::new());
            for (&j, &dist) in neighbors
                .indices
                .row(i)
                .iter()
                .zip(neighbors.distances.row(i))
            {
                if j as usize != i {
                    d.push(f64::from(dist));
                    c.push(groups.of_cell[j as usize]);
                }
            }
            1.0 / simpson(&d, &c, perplexity.ln())
        })
        .collect())
}

/// Entropy of the weights at `beta`, and the normalised weights.
fn entropy(d: &[f64], beta: f64, p: &mut Vec<f64>) -> f64 {
    p.clear();
    p.extend(d.iter().map(|&v| (-v * beta).exp()));
    let sum: f64 = p.iter().sum();
    if sum == 0.0 {
        p.iter_mut().for_each(|v| *v = 0.0);
        return 0.0;
    }
    let weighted: f64 = p.iter().zip(d).map(|(w, v)| w * v).sum();
    p.iter_mut().for_each(|v| *v /= sum);
    sum.ln() + beta * weighted / sum
}

fn simpson(d: &[f64], codes: &[u32], target: f64) -> f64 {
    let (mut beta, mut low, mut high) = (1.0f64, f64::NEG_INFINITY, f64::INFINITY);
    let mut p = Vec::with_capacity(d.len());
    let mut h = entropy(d, beta, &mut p);
    for _ in 0..50 {
        let diff = h - target;
        if diff.abs() < 1e-5 {
            break;
        }
        if diff > 0.0 {
            low = beta;
            beta = if high.is_infinite() {
                beta * 2.0
            } else {
                f64::midpoint(beta, high)
            };
        } else {
            high = beta;
            beta = if low.is_infinite() {
                beta / 2.0
            } else {
                f64::midpoint(beta, low)
            };
        }
        h = entropy(d, beta, &mut p);
    }
    if h == 0.0 {
        return -1.0;
    }
    let mut pairs: Vec<(u32, f64)> = codes.iter().copied().zip(p).collect();
    // Stable, so that weights of one code are summed from the nearest to the farthest.
    pairs.sort_by_key(|e| e.0);
    pairs
        .chunk_by(|a, b| a.0 == b.0)
        .map(|c| c.iter().map(|e| e.1).sum::<f64>().powi(2))
        .sum()
}

/// `clisi_knn`: `(L − median LISI of labels)/(L − 1)`; 1 when neighbourhoods are pure.
pub fn clisi_knn(neighbors: &Neighbors, labels: &[u32]) -> Outcome {
    let count = Groups::new(labels).len() as f64;
    if count < 2.0 {
        EvalError::check("labels", neighbors.cells(), labels.len())?;
        return Err(Undefined::OneLabel);
    }
    Ok((count - median(neighbors, labels)?) / (count - 1.0))
}

/// `ilisi_knn`: `(median LISI of batches − 1)/(B − 1)`; 1 when batches are mixed.
pub fn ilisi_knn(neighbors: &Neighbors, batches: &[u32]) -> Outcome {
    let count = Groups::new(batches).len() as f64;
    if count < 2.0 {
        EvalError::check("batches", neighbors.cells(), batches.len())?;
        return Err(Undefined::OneBatch);
    }
    Ok((median(neighbors, batches)? - 1.0) / (count - 1.0))
}

/// The median over cells (mean of the two middle values of an even number, as numpy).
fn median(neighbors: &Neighbors, codes: &[u32]) -> Outcome {
    let mut values = per_cell(neighbors, codes)?;
    if values.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    if values.iter().any(|v| !v.is_finite() || *v < 1.0 - 1e-9) {
        return Err(Undefined::NeighbourhoodsCollapse);
    }
    values.sort_by(f64::total_cmp);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    Ok(if low == high { low } else { (low + high) / 2.0 })
}
