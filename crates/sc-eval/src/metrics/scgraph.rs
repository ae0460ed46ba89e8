//! scGraph: do labels keep their distances?
//!
//! Wang, Leskovec and Regev 2025; compat is scgraph-eval 0.1.2. The reference geometry is the
//! consensus over batches of distances between label centroids in each batch's own PCA; an
//! embedding is scored by correlating its distances with it, label by label.

mod reference;

pub use reference::{BatchGeometry, reference_batches};

use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::pairs::check_finite;
use crate::results::Mode;
use ndarray::{Array2, ArrayView2};
use std::collections::BTreeMap;

/// Share of cells trimmed from each side of a centroid's coordinate.
const TRIM: f64 = 0.05;
/// Cells a batch needs to contribute to the reference.
pub const MIN_BATCH: usize = 100;
/// Cells a label needs: in the whole data set (compat), in every batch and in the scored cells
/// (strict).
pub const MIN_CELLS: usize = 10;
/// Labels that strict mode needs: three distances per correlation.
const MIN_LABELS: usize = 4;

/// Reference geometry of the labels of a data set; built once, used for every method.
#[derive(Clone, Debug, PartialEq)]
pub struct Consensus {
    labels: Vec<u32>,
    /// Column-normalised mean distances `[labels, labels]`; NaN where two labels share no batch.
    distances: Array2<f64>,
    mode: Mode,
}

impl Consensus {
    /// Averages the batches' distances between label centroids.
    ///
    /// Every batch gives trimmed-mean centroids (5 % cut from each side of every coordinate),
    /// Euclidean distances, and columns divided by their largest entry; the mean over batches that
    /// hold both labels is divided by its columns' maxima again. Compat takes every label with 10
    /// cells in the whole data set, even where a batch holds one cell of it; strict requires 10
    /// cells in the batch.
    ///
    /// # Errors
    /// [`Undefined::NoBatchLargeEnough`] without batches; [`EvalError`] when shapes do not match.
    pub fn new(batches: &[BatchGeometry], labels: &[u32], mode: Mode) -> Result<Self, Undefined> {
        if batches.is_empty() {
            return Err(Undefined::NoBatchLargeEnough { needed: MIN_BATCH });
        }
        let counts = Groups::new(labels);
        let known: Vec<u32> = (counts.codes.iter().zip(&counts.members))
            .filter(|(_, m)| m.len() >= MIN_CELLS)
            .map(|(&c, _)| c)
            .collect();
        let mut sums: BTreeMap<(u32, u32), (f64, u32)> = BTreeMap::new();
        for batch in batches {
            let (codes, distances) = batch_distances(batch, labels, &known, mode)?;
            for (r, &row) in codes.iter().enumerate() {
                for (c, &column) in codes.iter().enumerate() {
                    let v = distances[[r, c]];
                    let entry = sums.entry((row, column)).or_default();
                    if !v.is_nan() {
                        entry.0 += v;
                        entry.1 += 1;
                    }
                }
            }
        }
        let mut codes: Vec<u32> = sums.keys().map(|k| k.0).collect();
        codes.dedup();
        let mut distances = Array2::from_elem((codes.len(), codes.len()), f64::NAN);
        for (r, row) in codes.iter().enumerate() {
            for (c, column) in codes.iter().enumerate() {
                if let Some(&(sum, count)) = sums.get(&(*row, *column))
                    && count > 0
                {
                    distances[[r, c]] = sum / f64::from(count);
                }
            }
        }
        normalise_columns(&mut distances);
        Ok(Self {
            labels: codes,
            distances,
            mode,
        })
    }

    /// A consensus that was built before; none where the matrix is not `[labels, labels]`.
    pub(crate) fn restored(labels: Vec<u32>, distances: Array2<f64>, mode: Mode) -> Option<Self> {
        (distances.dim() == (labels.len(), labels.len())).then_some(Self {
            labels,
            distances,
            mode,
        })
    }

    /// Codes of the labels, in the order of rows and columns.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The matrix `[labels, labels]`; column `c` is the reference of label `c`.
    pub fn distances(&self) -> ArrayView2<'_, f64> {
        self.distances.view()
    }
}

/// Labels of one batch and their column-normalised distances, rows and columns in that order.
///
/// # Errors
/// [`EvalError`] when shapes do not match.
pub fn batch_distances(
    batch: &BatchGeometry,
    labels: &[u32],
    known: &[u32],
    mode: Mode,
) -> Result<(Vec<u32>, Array2<f64>), EvalError> {
    EvalError::check(
        "cells of a reference batch",
        batch.coordinates.nrows(),
        batch.rows.len(),
    )?;
    if let Some(row) = batch.rows.iter().find(|&&r| r >= labels.len()) {
        return Err(EvalError::invalid(format!(
            "a reference batch names cell {row}, but there are {} cells",
            labels.len()
        )));
    }
    let own: Vec<u32> = batch.rows.iter().map(|&r| labels[r]).collect();
    let groups = Groups::new(&own);
    let least = if mode == Mode::Strict { MIN_CELLS } else { 1 };
    let (mut codes, mut members) = (Vec::new(), Vec::new());
    for (code, m) in groups.codes.into_iter().zip(groups.members) {
        if known.binary_search(&code).is_ok() && m.len() >= least {
            codes.push(code);
            members.push(m);
        }
    }
    let mut distances = distances(&trimmed_means(batch.coordinates.view(), &members));
    normalise_columns(&mut distances);
    Ok((codes, distances))
}

/// Trimmed mean of every coordinate, one row per label.
///
/// As `scipy.stats.trim_mean`: `⌊0.05 n⌋` values are cut on each side. `members` are not empty.
fn trimmed_means<T: Copy + Into<f64>>(x: ArrayView2<'_, T>, members: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let of_label = |m: &Vec<u32>| {
        let cut = (TRIM * m.len() as f64) as usize;
        (0..x.ncols())
            .map(|j| {
                let mut column: Vec<f32> = m
                    .iter()
                    .map(|&i| x[[i as usize, j]].into() as f32)
                    .collect();
                column.sort_by(f32::total_cmp);
                let kept = &column[cut..m.len() - cut];
                kept.iter().map(|&v| f64::from(v)).sum::<f64>() / kept.len() as f64
            })
            .collect()
    };
    members.iter().map(of_label).collect()
}

/// Euclidean distances between centroids.
fn distances(centroids: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_fn((centroids.len(), centroids.len()), |(a, b)| {
        let squares = centroids[a].iter().zip(&centroids[b]);
        squares.map(|(p, q)| (p - q).powi(2)).sum::<f64>().sqrt()
    })
}

/// Divides every column by its largest entry; a column without one becomes NaN.
fn normalise_columns(m: &mut Array2<f64>) {
    for mut column in m.columns_mut() {
        let max = column
            .iter()
            .copied()
            .filter(|v| !v.is_nan())
            .fold(0f64, f64::max);
        column.mapv_inplace(|v| v / max);
    }
}

/// The three correlations of scGraph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correlation {
    /// Spearman's.
    Rank,
    /// Pearson's.
    Plain,
    /// Pearson's with weights `1/reference distance`: the headline score.
    Weighted,
}

/// An embedding's label centroids with the consensus.
struct Comparison {
    centroids: Vec<Vec<f64>>,
    /// Codes of the compared labels.
    codes: Vec<u32>,
    /// Reference distances among them.
    reference: Array2<f64>,
    mode: Mode,
}

impl Comparison {
    fn new(
        x: ArrayView2<'_, f32>,
        labels: &[u32],
        consensus: &Consensus,
    ) -> Result<Self, Undefined> {
        EvalError::check("labels", x.nrows(), labels.len())?;
        check_finite("embedding", x)?;
        let groups = Groups::new(labels);
        let (mut codes, mut members, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (code, m) in groups.codes.into_iter().zip(groups.members) {
            if m.len() < MIN_CELLS {
                continue;
            }
            match consensus.labels.binary_search(&code) {
                Ok(place) => {
                    codes.push(code);
                    members.push(m);
                    places.push(place);
                }
                // The published package stops with a KeyError here.
                Err(_) if consensus.mode == Mode::Compat => {
                    return Err(Undefined::LabelWithoutReference { label: code });
                }
                Err(_) => {}
            }
        }
        let needed = if consensus.mode == Mode::Strict {
            MIN_LABELS
        } else {
            2
        };
        if codes.len() < needed {
            return Err(Undefined::TooFewLabels {
                needed,
                found: codes.len(),
            });
        }
        let reference = Array2::from_shape_fn((codes.len(), codes.len()), |(a, b)| {
            consensus.distances[[places[a], places[b]]]
        });
        Ok(Self {
            centroids: trimmed_means(x, &members),
            codes,
            reference,
            mode: consensus.mode,
        })
    }

    /// One correlation per label; NaN where it is not defined.
    fn per_label(&self, kind: Correlation) -> Vec<f64> {
        let mut own = distances(&self.centroids);
        normalise_columns(&mut own);
        (0..self.codes.len())
            .map(|c| {
                let (mut x, mut y) = (Vec::new(), Vec::new());
                for r in 0..self.codes.len() {
                    let (a, b) = (own[[r, c]], self.reference[[r, c]]);
                    let own_entry = r == c && self.mode == Mode::Strict;
                    if !own_entry && !a.is_nan() && !b.is_nan() {
                        x.push(a);
                        y.push(b);
                    }
                }
                if self.mode == Mode::Strict && x.len() < MIN_LABELS - 1 {
                    return f64::NAN;
                }
                match kind {
                    Correlation::Rank => correlate(&ranks(&x), &ranks(&y), &vec![1.0; x.len()]),
                    Correlation::Plain => correlate(&x, &y, &vec![1.0; x.len()]),
                    Correlation::Weighted => {
                        let w: Vec<f64> = y
                            .iter()
                            .map(|&v| if v == 0.0 { 0.0 } else { 1.0 / v })
                            .collect();
                        correlate(&x, &y, &w)
                    }
                }
            })
            .collect()
    }
}

/// Weighted Pearson correlation; NaN when either side is constant up to rounding.
fn correlate(x: &[f64], y: &[f64], w: &[f64]) -> f64 {
    let total: f64 = w.iter().sum();
    let mean = |v: &[f64]| v.iter().zip(w).map(|(v, w)| v * w).sum::<f64>() / total;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy, mut size) = (0.0, 0.0, 0.0, (0.0, 0.0));
    for ((&a, &b), &w) in x.iter().zip(y).zip(w) {
        xy += w * (a - mx) * (b - my);
        xx += w * (a - mx).powi(2);
        yy += w * (b - my).powi(2);
        size.0 += w * a * a;
        size.1 += w * b * b;
    }
    // Equal distances differ in their last bits; a correlation of rounding errors is meaningless.
    if xx > 1e-13 * size.0 && yy > 1e-13 * size.1 {
        xy / (xx * yy).sqrt()
    } else {
        f64::NAN
    }
}

/// Ranks from 1, equal values sharing their mean rank.
fn ranks(v: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..v.len()).collect();
    order.sort_by(|&a, &b| v[a].total_cmp(&v[b]));
    let mut out = vec![0f64; v.len()];
    let mut from = 0;
    for to in 1..=order.len() {
        if to == order.len() || v[order[to]] != v[order[from]] {
            for &i in &order[from..to] {
                out[i] = (from + to + 1) as f64 / 2.0;
            }
            from = to;
        }
    }
    out
}

/// Rank, plain and weighted scores of one embedding.
#[derive(Debug)]
pub struct ScGraph {
    /// Mean Spearman correlation.
    pub rank: Outcome,
    /// Mean Pearson correlation; inflated by the self-distances in compat mode.
    pub corr: Outcome,
    /// Mean weighted Pearson correlation: "scGraph" in the paper.
    pub corr_weighted: Outcome,
}

/// `scgraph`: scores an embedding `[cells, dims]` against a consensus, in the consensus's mode.
///
/// Trimmed-mean centroids over all scored cells of a label (labels below 10 cells are left out),
/// Euclidean distances, columns divided by their maxima; the score is the mean over labels of the
/// correlation of its column with the consensus column. Strict leaves out the distance of a label
/// to itself, labels missing from the reference, and labels with fewer than three distances; it
/// needs four labels.
pub fn scgraph(x: ArrayView2<'_, f32>, labels: &[u32], consensus: &Consensus) -> ScGraph {
    match Comparison::new(x, labels, consensus) {
        Err(e) => ScGraph {
            rank: Err(e.clone()),
            corr: Err(e.clone()),
            corr_weighted: Err(e),
        },
        Ok(comparison) => {
            let score = |kind| {
                let values = comparison.per_label(kind);
                let defined: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
                if defined.is_empty() {
                    return Err(Undefined::ConstantDistances);
                }
                Ok(defined.iter().sum::<f64>() / defined.len() as f64)
            };
            ScGraph {
                rank: score(Correlation::Rank),
                corr: score(Correlation::Plain),
                corr_weighted: score(Correlation::Weighted),
            }
        }
    }
}

/// The correlation of every compared label, by ascending code; NaN where it is not defined.
///
/// # Errors
/// Those of [`scgraph`].
pub fn per_label(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    consensus: &Consensus,
    kind: Correlation,
) -> Result<Vec<(u32, f64)>, Undefined> {
    let comparison = Comparison::new(x, labels, consensus)?;
    let values = comparison.per_label(kind);
    Ok(comparison.codes.iter().copied().zip(values).collect())
}
