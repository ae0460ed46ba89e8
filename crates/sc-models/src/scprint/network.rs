//! Gene networks from attention.
//!
//! Queries and keys of every gene are averaged over cells first, and one attention matrix per head
//! is computed from the averages: that is not the average of the cells' attention matrices. Rows
//! are attending genes; columns are attended genes.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md C5.

mod select;

pub use select::{PairSplit, Selection, select_heads};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Sums of queries and keys of every token over cells.
#[derive(Clone, Debug)]
pub struct QueriesKeys {
    shape: Shape,
    /// `[layers, cell tokens + genes, 2, heads, head width]`.
    sums: Vec<f32>,
    seen: Vec<u32>,
}

/// Shape of an attention stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of layers used.
    pub layers: usize,
    /// Heads of a layer.
    pub heads: usize,
    /// Width of a head.
    pub head: usize,
    /// Tokens of a cell that are not genes; they come first.
    pub cell_tokens: usize,
    /// Genes of the vocabulary.
    pub genes: usize,
}

impl Shape {
    /// Numbers per token in one layer.
    fn width(&self) -> usize {
        2 * self.heads * self.head
    }

    fn tokens(&self) -> usize {
        self.cell_tokens + self.genes
    }
}

impl QueriesKeys {
    /// Without cells.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            sums: vec![0.0; shape.layers * shape.tokens() * shape.width()],
            seen: vec![0; shape.tokens()],
        }
    }

    /// Adds one cell: for every layer its queries and keys `[cell tokens + genes, 2, heads, head]`,
    /// row-major; `genes` are those of the context, in order. Genes outside the vocabulary and layers
    /// beyond those used are left out.
    pub fn add(&mut self, layers: &[&[f32]], genes: &[usize]) {
        let (shape, width) = (self.shape, self.shape.width());
        let tokens: Vec<usize> = (0..shape.cell_tokens)
            .chain(genes.iter().map(|g| shape.cell_tokens + g))
            .collect();
        for (layer, values) in layers.iter().enumerate().take(shape.layers) {
            for (row, &token) in values.chunks_exact(width).zip(&tokens) {
                if token < shape.tokens() {
                    let at = (layer * shape.tokens() + token) * width;
                    let sum = self.sums[at..at + width].iter_mut();
                    sum.zip(row).for_each(|(s, v)| *s += v);
                }
            }
        }
        for token in tokens.into_iter().filter(|t| *t < shape.tokens()) {
            self.seen[token] += 1;
        }
    }

    /// Averages of all tokens that occurred at least once.
    pub fn average(&self) -> Averages {
        let (shape, width) = (self.shape, self.shape.width());
        let kept: Vec<usize> = (0..shape.tokens()).filter(|&t| self.seen[t] > 0).collect();
        let mut values = Vec::with_capacity(shape.layers * kept.len() * width);
        for layer in 0..shape.layers {
            for &token in &kept {
                let at = (layer * shape.tokens() + token) * width;
                let n = self.seen[token] as f32;
                values.extend(self.sums[at..at + width].iter().map(|s| s / n));
            }
        }
        let genes = kept.iter().filter_map(|t| t.checked_sub(shape.cell_tokens));
        Averages {
            shape,
            cell_tokens: kept.iter().filter(|t| **t < shape.cell_tokens).count(),
            genes: genes.collect(),
            values,
        }
    }
}

/// Average queries and keys of the tokens that occurred.
#[derive(Clone, Debug)]
pub struct Averages {
    shape: Shape,
    /// Cell tokens among them; they come first.
    pub cell_tokens: usize,
    /// Genes among them, ascending.
    pub genes: Vec<usize>,
    /// `[layers, tokens, 2, heads, head width]`.
    pub values: Vec<f32>,
}

/// Normalisation of the scores of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scores {
    /// Softmax over all tokens, including cell tokens.
    #[default]
    Softmax,
    /// `Q Kᵀ / √d`, not normalised.
    Raw,
    /// Softmax, then the mean with its transpose.
    Symmetric,
}

/// A square matrix of weights between tokens, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Rows and columns.
    pub size: usize,
    /// `[size, size]`.
    pub weights: Vec<f32>,
}

impl Averages {
    /// Number of tokens with averages.
    pub fn tokens(&self) -> usize {
        self.cell_tokens + self.genes.len()
    }

    /// Number of heads in all layers.
    pub fn heads(&self) -> usize {
        self.shape.layers * self.shape.heads
    }

    /// Layer of head `index`, and its number there.
    pub fn place(&self, index: usize) -> [usize; 2] {
        [index / self.shape.heads, index % self.shape.heads]
    }

    /// Attention of head `index`, numbered layer by layer.
    pub fn head(&self, index: usize, scores: Scores) -> Network {
        let (n, shape) = (self.tokens(), self.shape);
        let [layer, head] = self.place(index);
        let part = |which: usize| -> Vec<f32> {
            let of = |token: usize| {
                let at = (layer * n + token) * shape.width();
                at + (which * shape.heads + head) * shape.head
            };
            (0..n)
                .flat_map(|t| self.values[of(t)..of(t) + shape.head].iter().copied())
                .collect()
        };
        let (queries, keys) = (part(0), part(1));
        let mut weights = vec![0f32; n * n];
        let scale = 1.0 / (shape.head as f32).sqrt();
        weights
            .par_chunks_mut(n.max(1))
            .zip(queries.par_chunks(shape.head.max(1)))
            .for_each(|(row, query)| {
                matmul(
                    MatMut::from_row_major_slice_mut(row, 1, n),
                    Accum::Replace,
                    MatRef::from_row_major_slice(query, 1, shape.head),
                    MatRef::from_row_major_slice(&keys, n, shape.head).transpose(),
                    scale,
                    Par::Seq,
                );
                if scores != Scores::Raw {
                    softmax(row);
                }
            });
        let network = Network { size: n, weights };
        match scores {
            Scores::Symmetric => network.symmetric(),
            _ => network,
        }
    }

    /// Mean of all heads, or of those in `heads`.
    pub fn mean(&self, heads: Option<&[usize]>, scores: Scores) -> Network {
        let all: Vec<usize> = (0..self.heads()).collect();
        let heads = heads.unwrap_or(&all);
        let mut sum = self.joined(heads, scores, |a, b| a + b);
        let n = heads.len().max(1) as f32;
        sum.weights.iter_mut().for_each(|w| *w /= n);
        sum
    }

    /// Element-wise maximum over all heads.
    pub fn max(&self, scores: Scores) -> Network {
        let all: Vec<usize> = (0..self.heads()).collect();
        self.joined(&all, scores, f32::max)
    }

    fn joined(&self, heads: &[usize], scores: Scores, join: fn(f32, f32) -> f32) -> Network {
        let size = self.tokens();
        let nothing = Network {
            size,
            weights: vec![0.0; size * size],
        };
        let mut networks = heads.iter().map(|&h| self.head(h, scores));
        let Some(mut out) = networks.next() else {
            return nothing;
        };
        for network in networks {
            let pairs = out.weights.iter_mut().zip(network.weights);
            pairs.for_each(|(w, v)| *w = join(*w, v));
        }
        out
    }
}

/// `exp(xᵢ − max) / Σ`, in place.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0f64;
    for w in row.iter_mut() {
        *w = (*w - largest).exp();
        sum += f64::from(*w);
    }
    row.iter_mut()
        .for_each(|w| *w = (f64::from(*w) / sum) as f32);
}

impl Network {
    /// The mean of the matrix and its transpose.
    pub fn symmetric(&self) -> Self {
        let transposed = self.transpose();
        let pairs = self.weights.iter().zip(&transposed.weights);
        Self {
            size: self.size,
            weights: pairs.map(|(a, b)| (a + b) / 2.0).collect(),
        }
    }

    /// The transpose: from attended gene to attending gene, the direction of networks derived from
    /// perturbations.
    pub fn transpose(&self) -> Self {
        let n = self.size;
        Self {
            size: n,
            weights: (0..n * n)
                .map(|i| self.weights[i % n * n + i / n])
                .collect(),
        }
    }

    /// Sets entries to zero below uniform attention, one over the number of tokens.
    pub fn above_even(mut self) -> Self {
        let least = (1.0 / self.size.max(1) as f64) as f32;
        let below = self.weights.iter_mut().filter(|w| **w < least);
        below.for_each(|w| *w = 0.0);
        self
    }

    /// Keeps the `k` largest entries of every row; among ties the later ones.
    pub fn strongest(mut self, k: usize) -> Self {
        for row in self.weights.chunks_mut(self.size.max(1)) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
            let cut = row.len().saturating_sub(k);
            order[..cut].iter().for_each(|&j| row[j] = 0.0);
        }
        self
    }

    /// Without the first `tokens` rows and columns: genes only.
    pub fn without_first(&self, tokens: usize) -> Self {
        let n = self.size.saturating_sub(tokens);
        let rows = self.weights.chunks(self.size.max(1)).skip(tokens);
        Self {
            size: n,
            weights: rows.flat_map(|r| r[tokens..].iter().copied()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn averages() -> Averages {
        let shape = Shape {
            layers: 2,
            heads: 2,
            head: 3,
            cell_tokens: 1,
            genes: 5,
        };
        let mut sums = QueriesKeys::new(shape);
        for cell in 0..3usize {
            let genes = [cell, 3];
            let layer = |l: usize| -> Vec<f32> {
                (0..3 * 12)
                    .map(|i| ((i * 31 + cell * 7 + l * 13) % 17) as f32 / 8.0 - 1.0)
                    .collect()
            };
            let (a, b) = (layer(0), layer(1));
            sums.add(&[&a, &b], &genes);
        }
        sums.average()
    }

    #[test]
    fn genes_never_seen_are_left_out_and_rows_sum_to_one() {
        let averages = averages();
        assert_eq!(averages.genes, [0, 1, 2, 3]);
        assert_eq!((averages.tokens(), averages.heads()), (5, 4));
        for h in 0..4 {
            for row in averages.head(h, Scores::Softmax).weights.chunks(5) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
        let symmetric = averages.head(1, Scores::Symmetric);
        assert_eq!(symmetric, symmetric.transpose());
    }

    #[test]
    fn filters_keep_what_they_say() {
        let network = averages().mean(None, Scores::Softmax);
        let strong = network.clone().strongest(2);
        for row in strong.weights.chunks(5) {
            assert_eq!(row.iter().filter(|w| **w > 0.0).count(), 2);
        }
        let genes = network.clone().above_even().without_first(1);
        assert_eq!(genes.size, 4);
        assert!(genes.weights.iter().all(|w| *w == 0.0 || *w >= 0.2));
        assert_eq!(network.without_first(1).weights[0], network.weights[6]);
    }
}
