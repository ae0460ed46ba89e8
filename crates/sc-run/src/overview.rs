//! What people look at first in an embedding: a UMAP, and clusters.

use crate::error::Result;
use ndarray::{Array2, ArrayView2};
use sc_eval::cluster::leiden::leiden;
use sc_eval::graph::fuzzy;
use sc_eval::neighbors::{Ties, knn};
use sc_eval::protocol::map2d;

/// Neighbours of the graph, as in scanpy.
const NEIGHBORS: usize = 15;
/// Passes of the Leiden algorithm, as in scanpy's advice for igraph.
const PASSES: usize = 2;

/// The vectors of cells that come minibatch by minibatch, `[cells, dims]`.
#[derive(Clone, Debug)]
pub struct Vectors(Array2<f32>);

impl Vectors {
    /// Of so many cells and dimensions, all 0.
    pub fn new(cells: usize, dims: usize) -> Self {
        Self(Array2::zeros((cells, dims)))
    }

    /// Takes the `values` of a minibatch of `rows`.
    pub fn put(&mut self, rows: &[usize], values: &[f32]) {
        sc_train::embed::put(&mut self.0, rows, values);
    }

    /// All of them.
    pub fn view(&self) -> ArrayView2<'_, f32> {
        self.0.view()
    }
}

/// UMAP coordinates `[cells, 2]` of an embedding `[cells, dims]`; for display, never for scores.
///
/// # Errors
/// [`crate::RunError`] for an embedding that is not finite.
pub fn umap(vectors: ArrayView2<'_, f32>, seed: u64) -> Result<Array2<f32>> {
    let rows: Vec<usize> = (0..vectors.nrows()).collect();
    let at = map2d(vectors, &rows, seed)?;
    Ok(Array2::from_shape_fn((at.len(), 2), |(cell, axis)| {
        at[cell][axis]
    }))
}

/// Leiden clusters of an embedding `[cells, dims]`, the largest first.
///
/// # Errors
/// [`crate::RunError`] for an embedding that is not finite.
pub fn clusters(vectors: ArrayView2<'_, f32>, resolution: f64, seed: u64) -> Result<Vec<u32>> {
    let graph = fuzzy(&knn(vectors, NEIGHBORS, Ties::Index)?, NEIGHBORS);
    let found = leiden(&graph, resolution, PASSES, seed);
    let count = found.iter().max().map_or(0, |c| *c as usize + 1);
    let mut sizes = vec![0usize; count];
    found.iter().for_each(|&c| sizes[c as usize] += 1);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&c| std::cmp::Reverse(sizes[c]));
    let mut rank = vec![0u32; count];
    (0u32..).zip(&order).for_each(|(place, &c)| rank[c] = place);
    Ok(found.into_iter().map(|c| rank[c as usize]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_numbered_by_size_and_keep_groups_apart() {
        // A group of 60 cells and one of 30, far from each other.
        let at = |cell: usize, axis: usize| {
            let group = if cell < 30 { 0.0 } else { 50.0 };
            group + ((cell * 31 + axis * 17) as f32).sin()
        };
        let vectors = Array2::from_shape_fn((90, 3), |(cell, axis)| at(cell, axis));
        let found = clusters(vectors.view(), 0.1, 0).unwrap();
        assert_eq!(found[..30], [1; 30]);
        assert_eq!(found[30..], [0; 60]);
        let plane = umap(vectors.view(), 0).unwrap();
        assert_eq!(plane.dim(), (90, 2));
        assert_eq!(plane, umap(vectors.view(), 0).unwrap());
    }
}
