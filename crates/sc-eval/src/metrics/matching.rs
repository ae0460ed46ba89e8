//! Matching: how well two embeddings of the same cells match cell by cell.
//!
//! Row `i` of both embeddings is the same cell in two modalities. Everything is computed on the
//! embeddings themselves, never on a two-dimensional layout, over all cells at once, and once per
//! direction: nearest neighbours are not symmetric between embeddings. The published scCLIP
//! compared both directions with the same diagonal.

use crate::error::{EvalError, Outcome, Undefined};
use crate::pairs::check_finite;
use crate::results::Mode;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

/// Similarity of two cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The cosine between them.
    Cosine,
    /// Their inner product.
    Product,
    /// The negative squared distance.
    Euclidean,
}

/// Rank of every query's own cell among its candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Candidates more similar to the query than its own cell.
    pub better: Vec<u32>,
    /// Other candidates with exactly the same similarity.
    pub ties: Vec<u32>,
    /// Candidates other than the own cell.
    pub others: Vec<u32>,
}

/// Ranks in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// Queries from the first embedding, candidates from the second.
    pub forward: Ranks,
    /// The reverse.
    pub backward: Ranks,
}

/// Ranks of `first` against `second` and the reverse; with `within`, only among cells of the same
/// code, so that separating cell types does not help.
///
/// # Errors
/// [`EvalError`] when shapes differ or values are not finite; [`Undefined::TooFewCells`] below 2.
///
/// # Shapes
/// - first, second: `[cells, dims]`
pub fn matching(
    first: ArrayView2<'_, f32>,
    second: ArrayView2<'_, f32>,
    likeness: Likeness,
    within: Option<&[u32]>,
) -> Result<Matching, Undefined> {
    EvalError::check(
        "cells of the second embedding",
        first.nrows(),
        second.nrows(),
    )?;
    EvalError::check(
        "dimensions of the second embedding",
        first.ncols(),
        second.ncols(),
    )?;
    if let Some(codes) = within {
        EvalError::check("codes of the cells", first.nrows(), codes.len())?;
    }
    check_finite("the first embedding", first)?;
    check_finite("the second embedding", second)?;
    let (a, b) = (rows(first, likeness), rows(second, likeness));
    let alike = |x: &[f32], y: &[f32]| match likeness {
        Likeness::Cosine | Likeness::Product => x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>(),
        Likeness::Euclidean => -x.iter().zip(y).map(|(x, y)| (x - y) * (x - y)).sum::<f32>(),
    };
    Ok(Matching {
        forward: ranks(a.len(), within, |i, j| alike(&a[i], &b[j]))?,
        backward: ranks(a.len(), within, |i, j| alike(&b[i], &a[j]))?,
    })
}

/// Ranks from a matrix of similarities, the first embedding's cells in its rows.
///
/// # Errors
/// [`EvalError`] when it is not square; [`Undefined::TooFewCells`] below 2.
pub fn matching_of(similarity: ArrayView2<'_, f32>) -> Result<Matching, Undefined> {
    let n = similarity.nrows();
    EvalError::check("columns of the similarities", n, similarity.ncols())?;
    check_finite("the similarities", similarity)?;
    Ok(Matching {
        forward: ranks(n, None, |i, j| similarity[[i, j]])?,
        backward: ranks(n, None, |i, j| similarity[[j, i]])?,
    })
}

/// Rows normalised to length 1 for the cosine; zero rows are kept.
fn rows(x: ArrayView2<'_, f32>, likeness: Likeness) -> Vec<Vec<f32>> {
    let scale = |row: ArrayView1<'_, f32>| match likeness {
        Likeness::Cosine => {
            let norm = row
                .iter()
                .map(|&v| f64::from(v).powi(2))
                .sum::<f64>()
                .sqrt();
            if norm > 0.0 { 1.0 / norm } else { 1.0 }
        }
        Likeness::Product | Likeness::Euclidean => 1.0,
    };
    x.outer_iter()
        .map(|row| {
            let scale = scale(row);
            row.iter().map(|&v| (f64::from(v) * scale) as f32).collect()
        })
        .collect()
}

fn ranks(
    cells: usize,
    within: Option<&[u32]>,
    alike: impl Fn(usize, usize) -> f32 + Sync,
) -> Result<Ranks, Undefined> {
    if cells < 2 {
        return Err(Undefined::TooFewCells {
            needed: 2,
            found: cells,
        });
    }
    let counts: Vec<[u32; 3]> = (0..cells)
        .into_par_iter()
        .map(|i| {
            let own = alike(i, i);
            let mut counts = [0; 3];
            for j in (0..cells).filter(|&j| j != i) {
                if within.is_some_and(|codes| codes[i] != codes[j]) {
                    continue;
                }
                let other = alike(i, j);
                counts[0] += u32::from(other > own);
                counts[1] += u32::from(other == own);
                counts[2] += 1;
            }
            counts
        })
        .collect();
    let column = |k: usize| counts.iter().map(|c| c[k]).collect();
    Ok(Ranks {
        better: column(0),
        ties: column(1),
        others: column(2),
    })
}

impl Ranks {
    fn per_cell(&self, f: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
        let cells = self.better.iter().zip(&self.ties).zip(&self.others);
        cells
            .map(|((&b, &t), &o)| f(f64::from(b), f64::from(t), f64::from(o)))
            .collect()
    }

    fn mean(values: Vec<f64>) -> Outcome {
        if values.is_empty() {
            return Err(Undefined::TooFewCells {
                needed: 2,
                found: 0,
            });
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// Fraction of samples closer than the true match: 0 when every cell matches itself, one half
    /// by chance.
    ///
    /// Strict: of the other candidates, ties count half; a cell without other candidates counts 0.
    /// Compat: of all candidates, ties not counted, as scCLIP (with the direction corrected).
    ///
    /// # Errors
    /// Never for ranks of two or more cells.
    pub fn foscttm(&self, mode: Mode) -> Outcome {
        Self::mean(self.per_cell(|better, ties, others| match mode {
            Mode::Strict => (better + ties / 2.0) / others.max(1.0),
            Mode::Compat => better / (others + 1.0),
        }))
    }

    /// Share of the cells that are among the `k` candidates most like their query; a tie counts by the
    /// chance that it falls within.
    ///
    /// # Errors
    /// Never for ranks of two or more cells.
    pub fn recall(&self, k: usize) -> Outcome {
        let k = k as f64;
        Self::mean(self.per_cell(|better, ties, _| ((k - better) / (ties + 1.0)).clamp(0.0, 1.0)))
    }

    /// Mean of `1 / rank`, of the middle rank among ties.
    ///
    /// # Errors
    /// Never for ranks of two or more cells.
    pub fn reciprocal_rank(&self) -> Outcome {
        Self::mean(self.per_cell(|better, ties, _| 1.0 / (1.0 + better + ties / 2.0)))
    }

    /// scCLIP's match score: the share of a query's hits that is its own cell, ties shared. Equal to
    /// [`Ranks::recall`] of 1.
    ///
    /// # Errors
    /// Never for ranks of two or more cells.
    pub fn match_score(&self) -> Outcome {
        self.recall(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn value(outcome: Outcome) -> f64 {
        outcome.unwrap()
    }

    #[test]
    fn directions_differ_and_each_compares_with_its_own_cell() {
        let s = array![[0.9, 0.8, 0.1], [0.2, 0.3, 0.4], [0.95, 0.1, 0.5]];
        let m = matching_of(s.view()).unwrap();
        assert_eq!(m.forward.better, [0, 1, 1]);
        assert_eq!(m.backward.better, [1, 1, 0]);
        assert!((value(m.forward.foscttm(Mode::Strict)) - 1.0 / 3.0).abs() < 1e-12);
        assert!((value(m.forward.foscttm(Mode::Compat)) - 2.0 / 9.0).abs() < 1e-12);
        assert!((value(m.forward.recall(1)) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(value(m.forward.recall(2)), 1.0);
        assert!((value(m.forward.reciprocal_rank()) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn equal_embeddings_match_and_collapsed_ones_are_chance() {
        let x = Array2::from_shape_fn((20, 4), |(i, j)| ((i * 7 + j * 3) % 11) as f32 - i as f32);
        for likeness in [Likeness::Cosine, Likeness::Euclidean] {
            let m = matching(x.view(), x.view(), likeness, None).unwrap();
            assert!(value(m.forward.recall(1)) > 0.8, "{likeness:?}");
        }
        let flat = Array2::<f32>::ones((20, 4));
        let m = matching(flat.view(), flat.view(), Likeness::Cosine, None).unwrap();
        assert_eq!(value(m.forward.foscttm(Mode::Strict)), 0.5);
        assert!((value(m.backward.recall(5)) - 0.25).abs() < 1e-12);
        assert!((value(m.forward.match_score()) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn within_a_type_only_its_cells_are_candidates() {
        let a = array![[0.0f32], [1.0], [10.0], [11.0]];
        let b = array![[1.0f32], [0.0], [10.2], [11.2]];
        let m = matching(a.view(), b.view(), Likeness::Euclidean, Some(&[0, 0, 1, 1])).unwrap();
        assert_eq!(m.forward.others, [1; 4]);
        assert_eq!(m.forward.better, [1, 1, 0, 0]);
        assert_eq!(value(m.forward.foscttm(Mode::Strict)), 0.5);
    }

    #[test]
    fn wrong_input_is_refused_with_its_reason() {
        let x = Array2::<f32>::zeros((3, 2));
        let y = Array2::<f32>::zeros((2, 2));
        assert!(matching(x.view(), y.view(), Likeness::Cosine, None).is_err());
        let one = Array2::<f32>::zeros((1, 2));
        assert_eq!(
            matching(one.view(), one.view(), Likeness::Cosine, None).unwrap_err(),
            Undefined::TooFewCells {
                needed: 2,
                found: 1
            }
        );
        let bad = array![[f32::NAN, 0.0], [1.0, 1.0], [0.0, 1.0]];
        assert!(matching(bad.view(), x.view(), Likeness::Cosine, None).is_err());
        assert!(matching_of(x.view()).is_err());
    }
}
