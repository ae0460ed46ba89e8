//! Which cells of other species correspond to a label, and which triplets are informative.
//!
//! Everything here is on the host and a pure function of embeddings, labels and seed.

use rand::RngExt as _;
use rayon::prelude::*;
use sc_data::rng::stream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Cells of a minibatch, of all its species.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Embeddings of length 1, row-major.
    pub embeddings: &'a [f32],
    /// Dimension of an embedding.
    pub dims: usize,
    /// Label of every cell; nearly always of one species only.
    pub labels: &'a [u32],
    /// Species of every cell.
    pub species: &'a [u32],
}

/// Whether a neighbour must be mutual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbours {
    /// The neighbour's own nearest cell in the first species has the label.
    #[default]
    Mutual,
    /// Every nearest cell counts.
    Any,
}

/// Nearest cells across species; `None` where the minibatch has one species only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The nearest cell of any other species.
    pub other: Vec<Option<usize>>,
    /// The cell of the first species that is nearest to that neighbour.
    pub back: Vec<Option<usize>>,
}

/// A label with its cells and the cells of other species that correspond to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The label.
    pub label: u32,
    /// Its own cells, then the accepted neighbours, as often as they were found.
    pub cells: Vec<usize>,
}

/// The semi-hard triplets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Anchor, positive, negative.
    pub triplets: Vec<[usize; 3]>,
    /// Loss of each.
    pub losses: Vec<f64>,
}

impl Batch<'_> {
    fn row(&self, cell: usize) -> &[f32] {
        &self.embeddings[cell * self.dims..(cell + 1) * self.dims]
    }

    /// Cosine of two cells.
    pub fn cosine(&self, a: usize, b: usize) -> f64 {
        f64::from(dot(self.row(a), self.row(b)))
    }

    /// The cell most similar to `cell` among those of allowed species; the first among ties.
    fn nearest(&self, cell: usize, allowed: impl Fn(u32) -> bool) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for other in (0..self.species.len()).filter(|&o| allowed(self.species[o])) {
            let cosine = self.cosine(cell, other);
            if best.is_none_or(|(_, b)| cosine > b) {
                best = Some((other, cosine));
            }
        }
        best.map(|(cell, _)| cell)
    }

    /// Nearest cells across species, of every cell.
    pub fn nearest_across(&self) -> Nearest {
        let pairs: Vec<_> = (0..self.species.len())
            .into_par_iter()
            .map(|cell| {
                let own = self.species[cell];
                let other = self.nearest(cell, |s| s != own);
                let back = other.and_then(|o| self.nearest(o, |s| s == own));
                (other, back)
            })
            .collect();
        let (other, back) = pairs.into_iter().unzip();
        Nearest { other, back }
    }

    /// Whether the nearest neighbour of the nearest neighbour has the same label; for every cell.
    pub fn mutual(&self, nearest: &Nearest) -> Vec<bool> {
        let labels = self.labels;
        let same =
            |(cell, back): (usize, &Option<usize>)| back.is_some_and(|b| labels[b] == labels[cell]);
        nearest.back.iter().enumerate().map(same).collect()
    }

    /// The pool of every label, labels ascending.
    ///
    /// A label that several species share needs no neighbours: its own cells are the pool.
    pub fn pools(&self, nearest: &Nearest, neighbours: Neighbours) -> Vec<Pool> {
        let mutual = self.mutual(nearest);
        let labels: BTreeSet<u32> = self.labels.iter().copied().collect();
        labels
            .into_iter()
            .map(|label| {
                let own = (0..self.labels.len()).filter(|&c| self.labels[c] == label);
                let mut cells: Vec<usize> = own.collect();
                let species: BTreeSet<u32> = cells.iter().map(|&c| self.species[c]).collect();
                if species.len() == 1 {
                    let kept = |c: &&usize| neighbours == Neighbours::Any || mutual[**c];
                    let found = cells.iter().filter(kept).filter_map(|&c| nearest.other[c]);
                    let found: Vec<usize> = found.collect();
                    cells.extend(found);
                }
                Pool { label, cells }
            })
            .collect()
    }

    /// Every possible pair of anchor and positive, in order: species by species, each
    /// anchor of the species with each member of the pool from another one.
    pub fn candidate_pairs(&self, pool: &Pool) -> Vec<[usize; 2]> {
        let mut pairs = Vec::new();
        self.each_species(pool, |anchors, positives| {
            for &a in anchors {
                pairs.extend(positives.iter().map(|&p| [a, p]));
            }
        });
        pairs
    }

    /// Calls `f` with the anchors of each species and their possible positives; a label without
    /// possible triplets is skipped.
    fn each_species(&self, pool: &Pool, mut f: impl FnMut(&[usize], &[usize])) {
        let others = self.labels.iter().any(|&l| l != pool.label);
        if pool.cells.len() < 2 || !others {
            return;
        }
        let species: BTreeSet<u32> = self.species.iter().copied().collect();
        for species in species {
            let (anchors, positives): (Vec<usize>, Vec<usize>) = pool
                .cells
                .iter()
                .partition(|&&c| self.species[c] == species);
            f(&anchors, &positives);
        }
    }

    /// Cells that can be the negative of an anchor with label `a` and a positive with label `p`: of
    /// another label than both and `own`, of the species of one of them.
    pub fn negatives(&self, own: u32, a: u32, p: u32) -> Vec<usize> {
        let species_of = |label: u32| {
            let first = self.labels.iter().position(|&l| l == label);
            first.map(|c| self.species[c])
        };
        let species = [species_of(a), species_of(p)];
        let fits = |c: &usize| {
            let label = self.labels[*c];
            label != own && label != a && label != p && species.contains(&Some(self.species[*c]))
        };
        (0..self.labels.len()).filter(fits).collect()
    }

    /// Draws triplets: for every anchor as many positives as there are candidates, with replacement,
    /// and a negative for each. Pairs of labels without a negative give none.
    pub fn draw(&self, pools: &[Pool], seed: u64, step: u64) -> Vec<[usize; 3]> {
        let mut rng = stream(seed, "triplets", 0, step);
        let mut triplets = Vec::new();
        for pool in pools {
            let mut pairs = Vec::new();
            self.each_species(pool, |anchors, positives| {
                for &a in anchors {
                    for _ in positives {
                        pairs.push([a, positives[rng.random_range(0..positives.len())]]);
                    }
                }
            });
            let mut known = std::collections::BTreeMap::new();
            for [a, p] in pairs {
                let key = (self.labels[a], self.labels[p]);
                let negatives = known
                    .entry(key)
                    .or_insert_with(|| self.negatives(pool.label, key.0, key.1));
                if !negatives.is_empty() {
                    triplets.push([a, p, negatives[rng.random_range(0..negatives.len())]]);
                }
            }
        }
        triplets
    }

    /// By how much the positive of a triplet is closer than its negative.
    pub fn margin(&self, [a, p, n]: [usize; 3]) -> f64 {
        self.cosine(a, p) - self.cosine(a, n)
    }

    /// Keeps triplets whose positive is closer than the negative, but by no more than `margin`.
    pub fn semihard(&self, triplets: &[[usize; 3]], margin: f64) -> Kept {
        let found: Vec<_> = triplets
            .par_iter()
            .filter_map(|&t| {
                let by = self.margin(t);
                (by > 0.0 && by <= margin).then_some((t, (margin - by).max(0.0)))
            })
            .collect();
        let (triplets, losses) = found.into_iter().unzip();
        Kept { triplets, losses }
    }
}

/// `Σ aᵢ bᵢ` in independent partial sums; always in the same order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(all(test, feature = "flex"))]
mod tests;
