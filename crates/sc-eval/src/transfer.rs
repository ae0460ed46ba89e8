//! Labels of query cells from the nearest reference cells of an embedding, and which query cells are too
//! far away to have one.

use crate::baselines::knn_classify;
use crate::categories::Groups;
use crate::error::EvalError;
use crate::neighbors::{Ties, cross_knn};
use ndarray::{ArrayView2, Axis};
use sc_data::preprocess::quantile::interpolated;

/// Share of the reference cells that are near enough to the others.
pub const NEAR: f64 = 0.95;

/// Labelled cells in an embedding.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// Vectors, `[cells, dims]`.
    pub vectors: ArrayView2<'a, f32>,
    /// Label of every cell.
    pub labels: &'a [u32],
    /// Donor of every cell, where donors are known: how far a cell may be is learnt from cells of others.
    pub donors: Option<&'a [u32]>,
}

/// Labels of query cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Transferred {
    /// The most frequent label among the neighbours.
    pub labels: Vec<u32>,
    /// Its share of the neighbours.
    pub share: Vec<f64>,
    /// Mean distance to the neighbours.
    pub distance: Vec<f64>,
    /// Largest distance of a cell that has a label.
    pub threshold: f64,
}

impl Transferred {
    /// The label of a query cell; `None` where it is too far from the reference.
    pub fn get(&self, cell: usize) -> Option<u32> {
        (self.distance[cell] <= self.threshold).then(|| self.labels[cell])
    }
}

/// Transfers labels to `query` `[cells, dims]` by the vote of the `k` nearest reference cells.
///
/// The threshold is the quantile [`NEAR`] of the mean distances of reference cells to their `k` nearest
/// cells of other donors; of other cells, where donors are unknown or there is only one.
///
/// # Errors
/// [`EvalError`] when shapes do not match, values are not finite, or there is no reference cell.
pub fn transfer(
    reference: &Reference<'_>,
    query: ArrayView2<'_, f32>,
    k: usize,
) -> Result<Transferred, EvalError> {
    let Reference {
        vectors, labels, ..
    } = *reference;
    let votes = knn_classify(vectors, labels, query, k)?;
    let share = match &votes.probabilities {
        Some(p) => p
            .outer_iter()
            .map(|row| row.fold(0f64, |m, v| m.max(*v)))
            .collect(),
        None => vec![1.0; query.nrows()],
    };
    let mut own = own_distances(reference, k)?;
    own.sort_by(f64::total_cmp);
    Ok(Transferred {
        labels: votes.predicted,
        share,
        distance: mean_distances(query, vectors, k)?,
        threshold: interpolated(&own, NEAR * (own.len() - 1) as f64),
    })
}

fn mean_distances(
    query: ArrayView2<'_, f32>,
    reference: ArrayView2<'_, f32>,
    k: usize,
) -> Result<Vec<f64>, EvalError> {
    let near = cross_knn(query, reference, k, Ties::Index)?;
    let rows = near.distances.outer_iter();
    Ok(rows
        .map(|row| row.iter().map(|d| f64::from(*d)).sum::<f64>() / row.len().max(1) as f64)
        .collect())
}

/// Mean distance of every reference cell to its nearest cells of other donors.
fn own_distances(reference: &Reference<'_>, k: usize) -> Result<Vec<f64>, EvalError> {
    let vectors = reference.vectors;
    let groups = match reference.donors.map(Groups::new) {
        Some(groups) if groups.len() > 1 => groups,
        _ => {
            // The nearest of all is the cell itself, or a copy of it.
            let near = cross_knn(vectors, vectors, k + 1, Ties::Index)?;
            let rows = near.distances.outer_iter();
            let mean = |sum: f64, n: usize| sum / n.max(1) as f64;
            return Ok(rows
                .map(|row| mean(row.iter().map(|d| f64::from(*d)).sum(), row.len() - 1))
                .collect());
        }
    };
    let mut out = Vec::with_capacity(vectors.nrows());
    for members in &groups.members {
        let own: Vec<usize> = members.iter().map(|&m| m as usize).collect();
        let is_own = |row: &usize| own.binary_search(row).is_ok();
        let others: Vec<usize> = (0..vectors.nrows()).filter(|r| !is_own(r)).collect();
        let (own, others) = (
            vectors.select(Axis(0), &own),
            vectors.select(Axis(0), &others),
        );
        out.extend(mean_distances(own.view(), others.view(), k)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// Two labels, at 0 and 10, in two donors.
    fn reference() -> (Array2<f32>, Vec<u32>, Vec<u32>) {
        let at = |cell: usize| (cell % 2) as f32 * 10.0 + (cell as f32 * 0.37).sin() * 0.5;
        let vectors = Array2::from_shape_fn((40, 1), |(cell, _)| at(cell));
        let labels = (0..40).map(|c| c % 2).collect();
        let donors = (0..40).map(|c| c / 20).collect();
        (vectors, labels, donors)
    }

    #[test]
    fn near_cells_get_labels_and_far_ones_none() {
        let (vectors, labels, donors) = reference();
        let query = Array2::from_shape_vec((3, 1), vec![0.1, 10.2, 5.0]).unwrap();
        for donors in [None, Some(&donors[..])] {
            let reference = Reference {
                vectors: vectors.view(),
                labels: &labels,
                donors,
            };
            let found = transfer(&reference, query.view(), 5).unwrap();
            let labels: Vec<_> = (0..3).map(|c| found.get(c)).collect();
            assert_eq!(labels, [Some(0), Some(1), None]);
            assert_eq!(found.share[..2], [1.0, 1.0]);
        }
    }

    #[test]
    fn most_reference_cells_are_near_enough() {
        let (vectors, labels, donors) = reference();
        let reference = Reference {
            vectors: vectors.view(),
            labels: &labels,
            donors: Some(&donors),
        };
        let own = own_distances(&reference, 5).unwrap();
        let found = transfer(&reference, vectors.view(), 5).unwrap();
        let near = own.iter().filter(|d| **d <= found.threshold).count();
        assert!((37..=39).contains(&near), "{near}");
    }
}
