//! kBET per label: do the batches of a label mix within it?
//!
//! Büttner et al. 2019 as in scib-metrics 0.5.10 (`metrics/_kbet.py`, `utils/_diffusion_nn.py`),
//! with exact neighbours in diffusion space.

use crate::categories::Groups;
use crate::eigen;
use crate::error::{EvalError, Outcome, Undefined};
use crate::graph::{Graph, fuzzy};
use crate::neighbors::{self, Neighbors, Ties, knn};
use crate::results::Mode;
use ndarray::Array2;
use rayon::prelude::*;
use statrs::function::gamma::gamma_ur;

/// Level of the χ² test.
const ALPHA: f64 = 0.05;
/// Diffusion components.
const COMPONENTS: usize = 100;
/// Smallest label that is tested, in cells.
const MIN_CELLS: usize = 10;

/// kBET of one label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelKbet {
    /// Code of the label.
    pub label: u32,
    /// Share of accepted cells; `None` when the label has fewer than 10 cells or one batch.
    pub score: Option<f64>,
    /// Cells that were tested (those in large enough components of the label's graph).
    pub tested: Vec<u32>,
    /// Whether each of them was accepted.
    pub accepted: Vec<bool>,
}

/// Weight of the leading eigenvector (`λ = 1`) in diffusion space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leading {
    /// Unscaled: what the reference intends, and what both modes use.
    Unit,
    /// Scaled until it dominates: what the reference does, from run to run, whenever its solver
    /// returns a number close to 1 in f32. Neighbours are then cells of equal degree.
    Stretched,
}

/// The graph of one label, reduced to what can be tested.
struct Plan {
    label: u32,
    /// `None`: skipped. Otherwise the cells to test, by component; empty when too few remain.
    components: Option<Vec<Vec<u32>>>,
    k0: usize,
    /// Eigenvectors in strict mode.
    strict: usize,
    /// Eigenvectors in compat mode.
    compat: usize,
}

/// kBET of every label, in ascending order of the codes.
///
/// On the fuzzy graph of the first `k` neighbours (50 by convention, the cell itself counted).
/// Inside a label: `k0 = min(70, max(10, ⌊mean batch size/4⌋))`; a graph in several pieces keeps
/// those of at least `3·k0` cells if they hold 75 % of the label, and scores 0 otherwise; cells are
/// embedded by the leading eigenvectors of the density-normalised diffusion operator, scaled by
/// `λ/(1 − λ)` (1 where `λ ≥ 1 − 1e-6`); the batches among the `k0 + 1` nearest cells are compared
/// with those of the label by a χ² test at 5 %.
///
/// Compat keeps a quirk of the reference: the number of eigenvectors (100) shrinks at a small label
/// and stays small for all later ones. Strict uses 100 (or all) for every label, and drops the
/// first one where the graph is connected, because it encodes only the degree of a cell.
///
/// # Errors
/// [`EvalError`] when lengths differ; [`Undefined::NotConverged`].
pub fn per_label(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
) -> Result<Vec<LabelKbet>, Undefined> {
    per_label_with(neighbors, k, labels, batches, mode, Leading::Unit)
}

/// [`per_label`] with a choice of the leading eigenvector's weight; anything but
/// [`Leading::Unit`] serves to reproduce numbers of the reference.
///
/// # Errors
/// Those of [`per_label`].
pub fn per_label_with(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
    leading: Leading,
) -> Result<Vec<LabelKbet>, Undefined> {
    let results = run(neighbors, k, labels, batches, &[(mode, leading)])?;
    Ok(results.into_iter().flatten().collect())
}

/// [`per_label`] in strict and in compat mode, in that order, with one decomposition for both.
///
/// # Errors
/// Those of [`per_label`].
pub fn per_label_both(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    batches: &[u32],
) -> Result<(Vec<LabelKbet>, Vec<LabelKbet>), Undefined> {
    let rules = [(Mode::Strict, Leading::Unit), (Mode::Compat, Leading::Unit)];
    let (mut strict, mut compat) = (Vec::new(), Vec::new());
    for both in run(neighbors, k, labels, batches, &rules)? {
        let mut both = both.into_iter();
        strict.extend(both.next());
        compat.extend(both.next());
    }
    Ok((strict, compat))
}

/// Tests every label under each of `rules`.
fn run(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    batches: &[u32],
    rules: &[(Mode, Leading)],
) -> Result<Vec<Vec<LabelKbet>>, Undefined> {
    neighbors::check(neighbors, labels.len())?;
    EvalError::check("labels", neighbors.cells(), labels.len())?;
    EvalError::check("batches", neighbors.cells(), batches.len())?;
    let graph = fuzzy(neighbors, k);
    let groups = Groups::new(labels);
    let mut left = COMPONENTS;
    let mut plans = Vec::with_capacity(groups.len());
    for (&label, members) in groups.codes.iter().zip(&groups.members) {
        let mut plan = plan(&graph, label, members, batches);
        let cells: usize = plan.components.iter().flatten().map(Vec::len).sum();
        if cells > 0 {
            left = left.min(cells - 1);
            plan.strict = COMPONENTS.min(cells - 1);
            plan.compat = left;
        }
        plans.push(plan);
    }
    plans
        .into_par_iter()
        .map(|plan| test(&graph, &plan, batches, rules))
        .collect()
}

fn plan(graph: &Graph, label: u32, members: &[u32], batches: &[u32]) -> Plan {
    let own: Vec<u32> = members.iter().map(|&i| batches[i as usize]).collect();
    let count = Groups::new(&own).len();
    if members.len() < MIN_CELLS || count < 2 {
        return Plan {
            label,
            components: None,
            k0: 0,
            strict: 0,
            compat: 0,
        };
    }
    let k0 = (members.len() / count / 4).clamp(10, 70);
    let parts = Groups::new(&graph.induced(members).components()).members;
    let global = |part: &Vec<u32>| {
        part.iter()
            .map(|&p| members[p as usize])
            .collect::<Vec<u32>>()
    };
    let kept: Vec<Vec<u32>> = if parts.len() == 1 {
        vec![members.to_vec()]
    } else {
        let large: Vec<Vec<u32>> = parts
            .iter()
            .filter(|p| p.len() >= 3 * k0)
            .map(global)
            .collect();
        let cells: usize = large.iter().map(Vec::len).sum();
        if cells as f64 >= 0.75 * members.len() as f64 {
            large
        } else {
            Vec::new()
        }
    };
    Plan {
        label,
        components: Some(kept),
        k0,
        strict: 0,
        compat: 0,
    }
}

fn test(
    graph: &Graph,
    plan: &Plan,
    batches: &[u32],
    rules: &[(Mode, Leading)],
) -> Result<Vec<LabelKbet>, Undefined> {
    let empty = LabelKbet {
        label: plan.label,
        score: plan.components.as_ref().map(|_| 0.0),
        tested: Vec::new(),
        accepted: Vec::new(),
    };
    let parts = match &plan.components {
        Some(parts) if !parts.is_empty() => parts,
        // Skipped, or too fragmented to test.
        _ => return Ok(vec![empty; rules.len()]),
    };
    let count = |mode| {
        if mode == Mode::Strict {
            plan.strict
        } else {
            plan.compat
        }
    };
    let most = rules.iter().map(|r| count(r.0)).max().unwrap_or(0);
    let pairs = diffusion_pairs(graph, parts, most)?;
    let cells = parts.concat();
    let own: Vec<u32> = cells.iter().map(|&i| batches[i as usize]).collect();
    rules
        .iter()
        .map(|&(mode, leading)| {
            let mut kept = &pairs[..count(mode).min(pairs.len())];
            if mode == Mode::Strict && parts.len() == 1 && kept.len() > 1 {
                kept = &kept[1..];
            }
            let near = knn(
                coordinates(kept, cells.len(), leading).view(),
                plan.k0 + 1,
                Ties::Index,
            )?;
            let accepted = accept(&near, &own);
            let share = accepted.iter().filter(|a| **a).count() as f64 / cells.len() as f64;
            Ok(LabelKbet {
                label: plan.label,
                score: Some(share),
                tested: cells.clone(),
                accepted,
            })
        })
        .collect()
}

/// An eigenpair of one part: value, first position of the part, vector.
type PartPair = (f64, usize, Vec<f64>);

/// The leading eigenpairs of the diffusion operator on the cells of `parts`, largest first.
///
/// The operator is block-diagonal over the parts, so each is solved alone and the leading pairs
/// of all are merged; this finds the repeated eigenvalue 1, which Lanczos on the whole would not.
fn diffusion_pairs(
    graph: &Graph,
    parts: &[Vec<u32>],
    count: usize,
) -> Result<Vec<PartPair>, Undefined> {
    let mut pairs = Vec::new();
    let mut offset = 0;
    for part in parts {
        let block = graph.induced(part);
        let values = transition(&block);
        let found = eigen::leading(part.len(), count, 0, |v, out| {
            for (i, o) in out.iter_mut().enumerate() {
                let range = block.indptr[i]..block.indptr[i + 1];
                *o = range
                    .map(|e| values[e] * v[block.indices[e] as usize])
                    .sum();
            }
        })?;
        for (value, vector) in found.values.into_iter().zip(found.vectors) {
            pairs.push((value, offset, vector));
        }
        offset += part.len();
    }
    pairs.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(&b.1)));
    pairs.truncate(count);
    Ok(pairs)
}

/// Coordinates `[cells, components]` in diffusion space.
fn coordinates(pairs: &[PartPair], cells: usize, leading: Leading) -> Array2<f32> {
    let mut out = Array2::zeros((cells, pairs.len()));
    for (c, (value, start, vector)) in pairs.iter().enumerate() {
        let value = value + 1e-8;
        let scale = match leading {
            _ if value < 1.0 - 1e-6 => value / (1.0 - value),
            Leading::Unit => 1.0,
            Leading::Stretched => f64::from(1.0 / f32::EPSILON),
        };
        for (i, v) in vector.iter().enumerate() {
            out[[start + i, c]] = (v * scale) as f32;
        }
    }
    out
}

/// Entries of `T = Z K Z`, `K = Q X Q`, `Q = 1/colsum(X)`, `Z = 1/√colsum(K)`.
fn transition(graph: &Graph) -> Vec<f64> {
    let n = graph.nodes();
    let mut values: Vec<f64> = graph.weights.iter().map(|&w| f64::from(w)).collect();
    let sums = |values: &[f64]| -> Vec<f64> {
        (0..n)
            .map(|i| values[graph.indptr[i]..graph.indptr[i + 1]].iter().sum())
            .collect()
    };
    let scale = |values: &mut [f64], by: &[f64]| {
        for i in 0..n {
            for e in graph.indptr[i]..graph.indptr[i + 1] {
                values[e] /= by[i] * by[graph.indices[e] as usize];
            }
        }
    };
    let degrees = sums(&values);
    scale(&mut values, &degrees);
    let roots: Vec<f64> = sums(&values).into_iter().map(f64::sqrt).collect();
    scale(&mut values, &roots);
    values
}

/// Whether the batches around each cell pass the χ² test.
fn accept(near: &Neighbors, batches: &[u32]) -> Vec<bool> {
    let groups = Groups::new(batches);
    let (n, k) = (batches.len() as f64, near.k() as f64);
    let expected: Vec<f64> = groups
        .members
        .iter()
        .map(|m| m.len() as f64 / n * k)
        .collect();
    let freedom = (groups.len() as f64 - 1.0).max(1.0);
    let mut observed = vec![0f64; groups.len()];
    near.indices
        .outer_iter()
        .map(|row| {
            observed.fill(0.0);
            for &j in row {
                observed[groups.of_cell[j as usize] as usize] += 1.0;
            }
            let statistic: f64 = observed
                .iter()
                .zip(&expected)
                .map(|(o, e)| (o - e).powi(2) / e)
                .sum();
            let p = if statistic > 0.0 {
                gamma_ur(freedom / 2.0, statistic / 2.0)
            } else {
                1.0
            };
            p >= ALPHA
        })
        .collect()
}

/// `kbet_per_label`: mean over testable labels of the share of accepted cells, see [`per_label`].
/// A label too fragmented to test counts as 0.
///
/// # Errors
/// [`Undefined::NoLabelInSeveralBatches`] when no label can be tested; those of [`per_label`].
pub fn kbet_per_label(
    neighbors: &Neighbors,
    k: usize,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
) -> Outcome {
    let results = per_label(neighbors, k, labels, batches, mode)?;
    from_labels(&results)
}

/// The score over labels already tested by [`per_label`].
pub fn from_labels(results: &[LabelKbet]) -> Outcome {
    let scores: Vec<f64> = results.iter().filter_map(|r| r.score).collect();
    if scores.is_empty() {
        return Err(Undefined::NoLabelInSeveralBatches);
    }
    Ok(scores.iter().sum::<f64>() / scores.len() as f64)
}
