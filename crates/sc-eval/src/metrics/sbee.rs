//! sBEE: whether the cells of a type are as near to those of other batches as to their own, and whether
//! the batches around a cell are those of its type (Myradov 2026).
//!
//! scib-metrics 0.6.0 `metrics/_sbee.py`, off by default there. Not part of reports: it serves to
//! compare with the original.

use crate::categories::Groups;
use crate::neighbors::Neighbors;
use crate::results::Mode;
use ndarray::ArrayView2;
use rayon::prelude::*;
use sc_data::preprocess::quantile::median;
use std::collections::BTreeMap;

/// Minimum share of a batch in a distribution.
const FLOOR: f64 = 1e-10;
/// Exponent of the penalty for ratios of distances below 1.
const SENSITIVITY: f64 = 0.15;

/// sBEE: the mean over types of the mean over their batches of the mean over cells.
///
/// The published code gives 0 to a cell whose distances are uninformative (alone in its type and
/// batch, or among copies of itself), where its text promises a perfect score; compat keeps the 0.
/// Strict leaves out such cells, and those of types in a single batch, for which mixing is
/// undefined. `None` where no cell is left.
///
/// # Shapes
/// - x: `[cells, dims]`
pub fn sbee(
    x: ArrayView2<'_, f32>,
    near: &Neighbors,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
) -> Option<f64> {
    let cells = per_cell(x, near, labels, batches, mode);
    let mut groups: BTreeMap<u32, BTreeMap<u32, Vec<f64>>> = BTreeMap::new();
    for (cell, score) in cells.into_iter().enumerate() {
        if let Some(score) = score {
            let of = groups.entry(labels[cell]).or_default();
            of.entry(batches[cell]).or_default().push(score);
        }
    }
    let per_type = groups
        .values()
        .map(|of| mean(of.values().map(|v| mean(v.iter().copied()))));
    (!groups.is_empty()).then(|| mean(per_type))
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    sum / n
}

/// The score of every cell; `None` where it is left out.
pub fn per_cell(
    x: ArrayView2<'_, f32>,
    near: &Neighbors,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
) -> Vec<Option<f64>> {
    let types = Groups::new(labels);
    let members: BTreeMap<u32, &[u32]> = types
        .codes
        .iter()
        .zip(&types.members)
        .map(|(code, m)| (*code, m.as_slice()))
        .collect();
    let levels = batches.iter().max().map_or(0, |&b| b as usize + 1);
    let score = |cell: usize| {
        let own = members[&labels[cell]];
        let same = |other: usize| labels[other] == labels[cell];
        let mut global = vec![0.0; levels];
        own.iter()
            .for_each(|&c| global[batches[c as usize] as usize] += 1.0);
        let mut local = vec![0.0; levels];
        let around = near.indices.row(cell);
        for &other in around.iter().take(near.k().min(own.len())) {
            if same(other as usize) {
                local[batches[other as usize] as usize] += 1.0;
            }
        }
        let mixed = 1.0 - jensen_shannon(local, global);
        let ratio = ratio(x, own, batches, cell, mode);
        match (ratio, mode) {
            (None, Mode::Compat) => Some(0.0),
            (None, Mode::Strict) => None,
            (Some(ratio), _) => {
                let near = (-(1.0 - ratio.min(1.0)).abs() / SENSITIVITY).exp();
                let both = mixed + near;
                Some(if both > 0.0 {
                    2.0 * mixed * near / both
                } else {
                    0.0
                })
            }
        }
    };
    (0..labels.len()).into_par_iter().map(score).collect()
}

/// Median distance to the cells of the type in the own batch over that to those of other batches.
fn ratio(
    x: ArrayView2<'_, f32>,
    own: &[u32],
    batches: &[u32],
    cell: usize,
    mode: Mode,
) -> Option<f64> {
    let here = x.row(cell);
    let (mut within, mut across) = (Vec::new(), Vec::new());
    for &other in own.iter().filter(|&&c| c as usize != cell) {
        let there = x.row(other as usize);
        let pairs = here.iter().zip(there);
        let squared: f64 = pairs
            .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
            .sum();
        match batches[other as usize] == batches[cell] {
            true => within.push(squared.sqrt()),
            false => across.push(squared.sqrt()),
        }
    }
    let within = median(within)?;
    let across = match (median(across), mode) {
        (None, Mode::Compat) => within,
        (found, _) => found?,
    };
    (within > 0.0 && across > 0.0).then(|| within / across)
}

/// Root of the Jensen-Shannon divergence in bits.
fn jensen_shannon(p: Vec<f64>, q: Vec<f64>) -> f64 {
    let normed = |v: Vec<f64>| {
        let v: Vec<f64> = v.into_iter().map(|x| x.max(FLOOR)).collect();
        let sum: f64 = v.iter().sum();
        v.into_iter().map(|x| x / sum).collect::<Vec<f64>>()
    };
    let (p, q) = (normed(p), normed(q));
    let towards = |a: &[f64], b: &[f64]| {
        let pairs = a.iter().zip(b);
        pairs
            .map(|(a, b)| a * (2.0 * a / (a + b)).ln())
            .sum::<f64>()
    };
    let nats = (towards(&p, &q) + towards(&q, &p)) / 2.0;
    (nats.max(0.0) / std::f64::consts::LN_2).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbors::{Ties, knn};
    use ndarray::Array2;

    fn score(x: &[[f32; 1]], batches: &[u32], mode: Mode) -> Option<f64> {
        let x = Array2::from_shape_fn((x.len(), 1), |(i, j)| x[i][j]);
        let near = knn(x.view(), 90, Ties::Index).unwrap();
        let labels = vec![0; batches.len()];
        sbee(x.view(), &near, &labels, batches, mode)
    }

    #[test]
    fn batches_that_alternate_score_high_and_batches_apart_low() {
        let mixed: Vec<[f32; 1]> = (0..20).map(|i| [i as f32]).collect();
        let alternate: Vec<u32> = (0..20).map(|i| i % 2).collect();
        let high = score(&mixed, &alternate, Mode::Compat).unwrap();
        let apart: Vec<[f32; 1]> = (0..20).map(|i| [(i + 1000 * (i % 2)) as f32]).collect();
        let low = score(&apart, &alternate, Mode::Compat).unwrap();
        assert!(high > 0.9 && low < 0.01, "{high} {low}");
    }

    #[test]
    fn cells_whose_distances_say_nothing_are_zero_as_published_or_left_out() {
        let x = [[0.0], [1.0], [0.5], [2.0]];
        let compat = score(&x, &[0, 0, 0, 1], Mode::Compat).unwrap();
        let strict = score(&x, &[0, 0, 0, 1], Mode::Strict).unwrap();
        assert!((strict - 2.0 * compat).abs() < 1e-12, "{strict} {compat}");
        assert_eq!(score(&x, &[0, 0, 0, 0], Mode::Strict), None);
        assert!(score(&x, &[0, 0, 0, 0], Mode::Compat).unwrap() > 0.99);
    }
}
