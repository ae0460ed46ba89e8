//! Agreement of a clustering with labels: NMI and ARI.

use crate::categories::Groups;
use crate::cluster::kmeans::kmeans;
use crate::cluster::leiden::leiden;
use crate::error::{EvalError, Undefined};
use crate::graph::Graph;
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Cells by (label, cluster).
#[derive(Clone, Debug)]
pub struct Contingency {
    /// Label, cluster and cells of every occurring pair.
    joint: Vec<(u32, u32, f64)>,
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
        let mut joint: BTreeMap<(u32, u32), f64> = BTreeMap::new();
        for pair in rows
            .of_cell
            .iter()
            .copied()
            .zip(cols.of_cell.iter().copied())
        {
            *joint.entry(pair).or_default() += 1.0;
        }
        let sizes = |g: &Groups| g.members.iter().map(|m| m.len() as f64).collect();
        Ok(Self {
            joint: joint.into_iter().map(|((a, b), n)| (a, b, n)).collect(),
            labels: sizes(&rows),
            clusters: sizes(&cols),
            total: labels.len() as f64,
        })
    }

    /// Normalised mutual information, arithmetic mean of the entropies; 1 when both sides are one
    /// group (as scikit-learn). `None` without cells.
    pub fn nmi(&self) -> Option<f64> {
        if self.total == 0.0 {
            return None;
        }
        if self.labels.len() <= 1 && self.clusters.len() <= 1 {
            return Some(1.0);
        }
        let entropy = |v: &[f64]| -> f64 {
            v.iter()
                .map(|&x| -(x / self.total) * (x / self.total).ln())
                .sum()
        };
        let information: f64 = self
            .joint
            .iter()
            .map(|&(a, b, n)| {
                let expected = self.labels[a as usize] * self.clusters[b as usize] / self.total;
                n / self.total * (n / expected).ln()
            })
            .sum();
        let mean = f64::midpoint(entropy(&self.labels), entropy(&self.clusters));
        Some(if information <= f64::EPSILON {
            0.0
        } else {
            information / mean
        })
    }

    /// Adjusted Rand index by pairs of cells; 1 when both sides make no pair differ. `None`
    /// without cells.
    pub fn ari(&self) -> Option<f64> {
        if self.total == 0.0 {
            return None;
        }
        let squares = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let joint = self.joint.iter().map(|p| p.2 * p.2).sum::<f64>();
        let (rows, cols) = (squares(&self.labels), squares(&self.clusters));
        // Pair confusion: together in both, in clusters only, in labels only, in neither.
        let tp = joint - self.total;
        let fp = cols - joint;
        let fn_ = rows - joint;
        let tn = self.total * self.total - joint - fp - fn_;
        if fp == 0.0 && fn_ == 0.0 {
            return Some(1.0);
        }
        let denominator = (tp + fn_) * (fn_ + tn) + (tp + fp) * (fp + tn);
        Some(2.0 * (tp * tn - fn_ * fp) / denominator)
    }
}

/// NMI and ARI of `clusters` against `labels`, in that order.
///
/// # Errors
/// [`Undefined::TooFewCells`] without cells; [`EvalError`] when lengths differ.
pub fn nmi_ari(labels: &[u32], clusters: &[u32]) -> Result<(f64, f64), Undefined> {
    let table = Contingency::new(labels, clusters)?;
    table.nmi().zip(table.ari()).ok_or(Undefined::TooFewCells {
        needed: 1,
        found: 0,
    })
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
) -> Result<(f64, f64), Undefined> {
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
/// The choice uses the labels, as in scib-metrics: it measures how well *some* resolution can
/// recover them.
///
/// # Errors
/// [`EvalError`] when lengths differ.
pub fn best_leiden(graph: &Graph, labels: &[u32], seed: u64) -> Result<(Vec<u32>, f64), EvalError> {
    EvalError::check("labels", graph.nodes(), labels.len())?;
    let runs: Vec<(Vec<u32>, f64, f64)> = RESOLUTIONS
        .into_par_iter()
        .map(|r| {
            let clusters = leiden(graph, r, 2, seed);
            let nmi = Contingency::new(labels, &clusters)?.nmi().unwrap_or(0.0);
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
        .ok_or_else(|| EvalError::invalid("no resolution was given"))
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
) -> Result<(f64, f64), Undefined> {
    if labels.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    nmi_ari(labels, &best_leiden(graph, labels, seed)?.0)
}
