//! Exact nearest neighbours, shared by all metrics.

use crate::error::{EvalError, Undefined};
use crate::pairs::{self, Panels, TILE};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Order of equally distant cells.
///
/// Order by index is what the golden numbers use and what most packages do by accident; on data
/// with many ties (one-hot embeddings) it makes scores depend on the order of cells in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// The lower index.
    Index,
    /// A pseudo-random order per query, drawn from this seed: tied neighbours are then a random
    /// sample, and no cell becomes a hub.
    Hashed(u64),
}

impl Ties {
    fn key(self, query: u32, index: u32) -> u64 {
        match self {
            Self::Index => u64::from(index),
            // A bijection of the index for every query, so no two cells share a key.
            Self::Hashed(seed) => mix(mix(seed ^ u64::from(query)).wrapping_add(u64::from(index))),
        }
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The nearest cells of every cell.
#[derive(Clone, Debug)]
pub struct Neighbors {
    /// Row numbers `[cells, k]`; in a self-search column 0 is the cell itself.
    pub indices: Array2<u32>,
    /// Euclidean distances `[cells, k]`, ascending in every row.
    pub distances: Array2<f32>,
    /// Whether any choice or order depended on the tie rule.
    pub tied: bool,
}

impl Neighbors {
    /// Neighbours of every cell, the cell itself included where it was searched.
    pub fn k(&self) -> usize {
        self.indices.ncols()
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.indices.nrows()
    }

    /// The first `k` neighbours of every cell.
    pub fn truncate(&self, k: usize) -> Self {
        let k = k.min(self.k());
        Self {
            indices: self.indices.slice(s![.., ..k]).to_owned(),
            distances: self.distances.slice(s![.., ..k]).to_owned(),
            tied: self.tied,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
struct Entry {
    distance: f64,
    key: u64,
    index: u32,
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance
            .total_cmp(&other.distance)
            .then(self.key.cmp(&other.key))
    }
}

/// The best cells so far of one query, the worst of them on top.
struct Best {
    heap: BinaryHeap<Entry>,
    keep: usize,
    /// Largest approximate scaled squared distance that can still matter.
    limit: f32,
    /// Smallest distance at which the tie rule rejected a cell.
    tie: f64,
}

impl Best {
    fn new(keep: usize) -> Self {
        let limit = if keep == 0 {
            f32::NEG_INFINITY
        } else {
            f32::INFINITY
        };
        Self {
            heap: BinaryHeap::with_capacity(keep + 1),
            keep,
            limit,
            tie: f64::INFINITY,
        }
    }

    fn offer(&mut self, entry: Entry, bound: impl Fn(f64) -> f32) {
        if self.heap.len() < self.keep {
            self.heap.push(entry);
        } else if let Some(mut worst) = self.heap.peek_mut() {
            if entry.distance == worst.distance {
                self.tie = self.tie.min(entry.distance);
            }
            if entry < *worst {
                *worst = entry;
            } else {
                return;
            }
        }
        if self.heap.len() == self.keep
            && let Some(worst) = self.heap.peek()
        {
            self.limit = bound(worst.distance);
        }
    }

    fn finish(self) -> (Vec<Entry>, bool) {
        let tie = self.tie;
        let list = self.heap.into_sorted_vec();
        let tied = list.windows(2).any(|w| w[0].distance == w[1].distance)
            || list.last().is_some_and(|e| e.distance == tie);
        (list, tied)
    }
}

/// Exact `k` nearest cells of every cell of `x` `[cells, dims]`, the cell itself included.
///
/// Distances are Euclidean, in f64 on the f32 coordinates. The cell itself comes first with
/// distance 0, then others by ascending `(distance, tie rule)`. `k` is capped at the number of
/// cells. An f32 pass over tiles discards what is certainly farther than the worst kept cell; what
/// remains is decided in f64, so the result is exact and independent of the number of threads.
///
/// # Errors
/// [`EvalError::NotFinite`] for NaN or infinities.
pub fn knn(x: ArrayView2<'_, f32>, k: usize, ties: Ties) -> Result<Neighbors, EvalError> {
    pairs::check_finite("embedding", x)?;
    Ok(search(x, x, k.min(x.nrows()), ties, Search::Own))
}

/// Exact `k` nearest cells of `reference` for every cell of `query`, both `[cells, dims]`.
///
/// # Errors
/// [`EvalError`] when dimensions differ or values are not finite.
pub fn cross_knn(
    query: ArrayView2<'_, f32>,
    reference: ArrayView2<'_, f32>,
    k: usize,
    ties: Ties,
) -> Result<Neighbors, EvalError> {
    EvalError::check("dimensions of the query", reference.ncols(), query.ncols())?;
    pairs::check_finite("query", query)?;
    pairs::check_finite("reference", reference)?;
    Ok(search(
        query,
        reference,
        k.min(reference.nrows()),
        ties,
        Search::Across,
    ))
}

/// Whether queries are the reference cells themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    Own,
    Across,
}

fn search(
    query: ArrayView2<'_, f32>,
    reference: ArrayView2<'_, f32>,
    k: usize,
    ties: Ties,
    kind: Search,
) -> Neighbors {
    let scale = pairs::safe_scale(reference).min(pairs::safe_scale(query));
    let everyone: Vec<u32> = (0..reference.nrows() as u32).collect();
    let panels = Panels::pack(reference, &everyone, scale);
    // Bound of the f32 error: relative (dims + 8) units in the last place, plus what underflows.
    let slack = 1.0 + (reference.ncols() as f64 + 8.0) * f64::from(f32::EPSILON);
    let bound = |d: f64| ((d * f64::from(scale)).powi(2) * slack) as f32 + 1e-30;
    let keep = if kind == Search::Own {
        k.saturating_sub(1)
    } else {
        k
    };
    let rows: Vec<u32> = (0..query.nrows() as u32).collect();
    let parts: Vec<(Vec<u32>, Vec<f32>, bool)> = rows
        .par_chunks(TILE)
        .map(|rows| {
            let mut best: Vec<Best> = rows.iter().map(|_| Best::new(keep)).collect();
            pairs::candidates(
                (query, rows, scale),
                &panels,
                &mut best,
                |best, q| best[q].limit,
                |best, q, position| {
                    let row = rows[q];
                    if kind == Search::Own && row as usize == position {
                        return;
                    }
                    let d = pairs::exact_squared(query.row(row as usize), reference.row(position));
                    let index = position as u32;
                    let entry = Entry {
                        distance: d.sqrt(),
                        key: ties.key(row, index),
                        index,
                    };
                    best[q].offer(entry, bound);
                },
            );
            let mut out = (
                Vec::with_capacity(rows.len() * k),
                Vec::with_capacity(rows.len() * k),
                false,
            );
            for (&row, best) in rows.iter().zip(best) {
                let (list, tied) = best.finish();
                out.2 |= tied;
                if kind == Search::Own && k > 0 {
                    out.0.push(row);
                    out.1.push(0.0);
                }
                out.0.extend(list.iter().map(|e| e.index));
                out.1.extend(list.iter().map(|e| e.distance as f32));
            }
            out
        })
        .collect();
    let mut indices = Vec::with_capacity(query.nrows() * k);
    let mut distances = Vec::with_capacity(query.nrows() * k);
    let mut tied = false;
    for (i, d, t) in parts {
        indices.extend(i);
        distances.extend(d);
        tied |= t;
    }
    let shape = (query.nrows(), k);
    Neighbors {
        // Every row holds exactly k entries, so the shapes always fit.
        indices: Array2::from_shape_vec(shape, indices).expect("invariant: cells times neighbours"),
        distances: Array2::from_shape_vec(shape, distances)
            .expect("invariant: cells times neighbours"),
        tied,
    }
}

/// Refuses neighbour lists that do not belong to `cells` cells.
pub(crate) fn check(neighbors: &Neighbors, cells: usize) -> Result<(), Undefined> {
    EvalError::check("neighbours", cells, neighbors.cells())?;
    match neighbors.indices.iter().find(|&&i| i as usize >= cells) {
        Some(i) => Err(EvalError::invalid(format!(
            "neighbour index {i} is out of range for {cells} cells"
        ))
        .into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::random_embedding;

    #[test]
    fn equals_brute_force() {
        let x = random_embedding(333, 7, 1);
        let got = knn(x.view(), 20, Ties::Index).unwrap();
        for i in 0..x.nrows() {
            let mut all: Vec<(f64, usize)> = (0..x.nrows())
                .filter(|&j| j != i)
                .map(|j| (pairs::exact_squared(x.row(i), x.row(j)).sqrt(), j))
                .collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            assert_eq!(got.indices[[i, 0]] as usize, i);
            for (r, (d, j)) in all.iter().take(19).enumerate() {
                assert_eq!(got.indices[[i, r + 1]] as usize, *j);
                assert_eq!(got.distances[[i, r + 1]], *d as f32);
            }
        }
        assert!(!got.tied);
    }

    #[test]
    fn ties_follow_the_rule_and_are_reported() {
        let x = Array2::from_elem((40, 3), 2.5f32);
        let got = knn(x.view(), 5, Ties::Index).unwrap();
        assert!(got.tied);
        assert_eq!(got.indices.row(7).to_vec(), vec![7, 0, 1, 2, 3]);
        let hashed = knn(x.view(), 5, Ties::Hashed(3)).unwrap();
        assert_ne!(hashed.indices, got.indices);
    }

    #[test]
    fn extreme_scales_do_not_lose_neighbours() {
        let base = random_embedding(100, 4, 2);
        let want = knn(base.view(), 10, Ties::Index).unwrap().indices;
        for factor in [1e-18f32, 1e18] {
            let x = base.mapv(|v| v * factor);
            assert_eq!(
                knn(x.view(), 10, Ties::Index).unwrap().indices,
                want,
                "{factor}"
            );
        }
    }
}
