//! Agreement of a clustering with labels: NMI and ARI.

use crate::categories::Groups;
use crate::cluster::kmeans::kmeans;
use crate::cluster::leiden::leiden;
use crate::error::{EvalError, Undefined};
use crate::graph::Graph;
use crate::scored::{Outcome, Scored};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Cell counts by (label, cluster), ready to be recounted under any weights.
#[derive(Clone, Debug)]
pub struct Contingency {
    /// Position in the list of occurring pairs, per cell.
    pair_of_cell: Vec<u32>,
    /// Label and cluster of every occurring pair.
    pairs: Vec<(u32, u32)>,
    labels: usize,
    clusters: usize,
}

/// Weighted counts of a [`Contingency`].
struct Counts {
    joint: Vec<f64>,
    labels: Vec<f64>,
    clusters: Vec<f64>,
    total: f64,
}

impl Contingency {
    /// Counts pairs of `labels` and `clusters`.
    ///
    /// # Errors
    /// [`EvalError::Shape`] when lengths differ.
    pub fn new(labels: &[u32], clusters: &[u32]) -> Result<Self, EvalError> {
        EvalError::check("clusters", labels.len(), clusters.len())?;
        let (rows, cols) = (Groups::new(labels), Groups::new(clusters));
        let mut index: BTreeMap<(u32, u32), u32> = rows
            .of_cell
            .iter()
            .copied()
            .zip(cols.of_cell.iter().copied())
            .map(|p| (p, 0))
            .collect();
        for (k, v) in index.values_mut().enumerate() {
            *v = k as u32;
        }
        let pair_of_cell = rows
            .of_cell
            .iter()
            .zip(&cols.of_cell)
            .map(|(&a, &b)| index[&(a, b)])
            .collect();
        Ok(Self {
            pair_of_cell,
            pairs: index.into_keys().collect(),
            labels: rows.len(),
            clusters: cols.len(),
        })
    }

    fn count(&self, weights: &[u32]) -> Counts {
        let mut joint = vec![0f64; self.pairs.len()];
        for (&p, &w) in self.pair_of_cell.iter().zip(weights) {
            joint[p as usize] += f64::from(w);
        }
        let (mut labels, mut clusters) = (vec![0f64; self.labels], vec![0f64; self.clusters]);
        for (&(a, b), &v) in self.pairs.iter().zip(&joint) {
            labels[a as usize] += v;
            clusters[b as usize] += v;
        }
        let total = joint.iter().sum();
        Counts {
            joint,
            labels,
            clusters,
            total,
        }
    }

    /// Normalised mutual information, arithmetic mean of the entropies; 1 when both sides are one
    /// group (as scikit-learn). `None` without weight.
    pub fn nmi(&self, weights: &[u32]) -> Option<f64> {
        let c = self.count(weights);
        if c.total == 0.0 {
            return None;
        }
        let occupied = |v: &[f64]| v.iter().filter(|&&x| x > 0.0).count();
        if occupied(&c.labels) <= 1 && occupied(&c.clusters) <= 1 {
            return Some(1.0);
        }
        let entropy = |v: &[f64]| -> f64 {
            v.iter()
                .filter(|&&x| x > 0.0)
                .map(|&x| -(x / c.total) * (x / c.total).ln())
                .sum()
        };
        let information: f64 = self
            .pairs
            .iter()
            .zip(&c.joint)
            .filter(|(_, v)| **v > 0.0)
            .map(|(&(a, b), &v)| {
                let expected = c.labels[a as usize] * c.clusters[b as usize] / c.total;
                v / c.total * (v / expected).ln()
            })
            .sum();
        let mean = f64::midpoint(entropy(&c.labels), entropy(&c.clusters));
        Some(if information <= f64::EPSILON {
            0.0
        } else {
            information / mean
        })
    }

    /// Adjusted Rand index by pairs of cells; 1 when both sides make no pair differ. `None`
    /// without weight. A cell counted twice forms a pair with itself.
    pub fn ari(&self, weights: &[u32]) -> Option<f64> {
        let c = self.count(weights);
        if c.total == 0.0 {
            return None;
        }
        let squares = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let (joint, rows, cols) = (squares(&c.joint), squares(&c.labels), squares(&c.clusters));
        // Pair confusion: together in both, in clusters only, in labels only, in neither.
        let tp = joint - c.total;
        let fp = cols - joint;
        let fn_ = rows - joint;
        let tn = c.total * c.total - joint - fp - fn_;
        if fp == 0.0 && fn_ == 0.0 {
            return Some(1.0);
        }
        let denominator = (tp + fn_) * (fn_ + tn) + (tp + fp) * (fp + tn);
        Some(2.0 * (tp * tn - fn_ * fp) / denominator)
    }
}

/// NMI and ARI of `clusters` against `labels`, in that order.
///
/// Resampling recounts the contingency table; the clustering stays.
///
/// # Errors
/// [`Undefined::TooFewCells`] without cells; [`EvalError`] when lengths differ.
pub fn nmi_ari(labels: &[u32], clusters: &[u32]) -> Result<(Scored, Scored), Undefined> {
    let table = Contingency::new(labels, clusters)?;
    let none = || Undefined::TooFewCells {
        needed: 1,
        found: 0,
    };
    let other = table.clone();
    let nmi: Outcome = Scored::from_resample(labels.len(), none(), move |w| table.nmi(w));
    let ari: Outcome = Scored::from_resample(labels.len(), none(), move |w| other.ari(w));
    Ok((nmi?, ari?))
}

/// `nmi_ari_cluster_labels_kmeans`: NMI and ARI of [k-means](kmeans) with as many clusters as
/// labels.
///
/// # Errors
/// Those of [`kmeans`] and [`nmi_ari`].
pub fn nmi_ari_cluster_labels_kmeans(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    seed: u64,
) -> Result<(Scored, Scored), Undefined> {
    EvalError::check("labels", x.nrows(), labels.len())?;
    if labels.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    nmi_ari(labels, &kmeans(x, Groups::new(labels).len(), seed)?.labels)
}

/// Resolutions of the Leiden metrics.
pub const RESOLUTIONS: [f64; 10] = [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0];

/// The Leiden clustering of `graph` whose NMI with `labels` is the highest over
/// [`RESOLUTIONS`] (the lowest resolution among equals), and that resolution.
///
/// The choice looks at the labels, as in scib-metrics: it measures how well *some* resolution can
/// recover them.
///
/// # Errors
/// [`EvalError`] when lengths differ.
pub fn best_leiden(graph: &Graph, labels: &[u32], seed: u64) -> Result<(Vec<u32>, f64), EvalError> {
    EvalError::check("labels", graph.nodes(), labels.len())?;
    let ones = vec![1; labels.len()];
    let runs: Vec<(Vec<u32>, f64, f64)> = RESOLUTIONS
        .into_par_iter()
        .map(|r| {
            let clusters = leiden(graph, r, 2, seed);
            let nmi = Contingency::new(labels, &clusters)?
                .nmi(&ones)
                .unwrap_or(0.0);
            Ok((clusters, r, nmi))
        })
        .collect::<Result<_, EvalError>>()?;
    let mut best: Option<(Vec<u32>, f64, f64)> = None;
    for run in runs {
        if best.as_ref().is_none_or(|b| run.2 > b.2) {
            best = Some(run);
        }
    }
    best.map(|b| (b.0, b.1))
        .ok_or_else(|| EvalError::invalid("no resolution was tried"))
}

/// `nmi_ari_cluster_labels_leiden`: NMI and ARI of [`best_leiden`] on the fuzzy graph of the first
/// 15 neighbours.
///
/// # Errors
/// Those of [`best_leiden`] and [`nmi_ari`].
pub fn nmi_ari_cluster_labels_leiden(
    graph: &Graph,
    labels: &[u32],
    seed: u64,
) -> Result<(Scored, Scored), Undefined> {
    if labels.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    nmi_ari(labels, &best_leiden(graph, labels, seed)?.0)
}
