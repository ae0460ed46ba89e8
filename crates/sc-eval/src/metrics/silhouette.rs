//! Silhouettes: of labels, of batches inside labels, BRAS, and of isolated labels.
//!
//! Rousseeuw 1987; scib-metrics 0.5.10 `metrics/_silhouette.py`, `_isolated_labels.py`; BRAS after
//! Rautenstrauch and Ohler 2025. Every pair of cells is visited once per metric family in tiles,
//! the distance matrix is never stored.

use super::mean_of_group_means;
use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::pairs::{self, Distance};
use crate::results::Mode;
use ndarray::{Array2, ArrayView2, Axis};

/// Silhouette `s ∈ [−1, 1]` of every cell: `(b − a)/max(a, b)` with `a` the mean distance to the
/// other cells of its label and `b` the smallest mean distance to another label.
///
/// 0 for the only cell of a label, for one label alone, and where `a = b = 0` (as scikit-learn).
///
/// # Errors
/// [`EvalError`] when shapes do not match or values are not finite.
pub fn per_cell(x: ArrayView2<'_, f32>, labels: &[u32]) -> Result<Vec<f64>, EvalError> {
    EvalError::check("labels", x.nrows(), labels.len())?;
    pairs::check_finite("embedding", x)?;
    Ok(nested(
        x,
        &Groups::new(labels),
        (Distance::Euclidean, Between::Nearest),
        &[],
    ))
}

/// Which distance to other groups a silhouette uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The group with the smallest mean distance: the classical silhouette.
    Nearest,
    /// The mean over all cells of all other groups: BRAS.
    MeanOther,
    /// The group with the largest mean distance: BRAS "furthest".
    Furthest,
}

/// Silhouettes of all rows of `x` for the given groups.
///
/// Rows marked in `lost` have no distance to anything: every sum they would enter is NaN. This is
/// how the reference treats zero vectors, see [`bras`].
fn nested(
    x: ArrayView2<'_, f32>,
    groups: &Groups,
    (distance, between): (Distance, Between),
    lost: &[bool],
) -> Vec<f64> {
    let sizes: Vec<f64> = groups.members.iter().map(|m| m.len() as f64).collect();
    let is_lost = |i: &u32| lost.get(*i as usize).copied().unwrap_or(false);
    let tainted: Vec<bool> = groups
        .members
        .iter()
        .map(|m| m.iter().any(is_lost))
        .collect();
    let mut order: Vec<u32> = Vec::with_capacity(groups.of_cell.len());
    let mut bounds = vec![0];
    for m in &groups.members {
        order.extend(m.iter().copied().filter(|i| !is_lost(i)));
        bounds.push(order.len());
    }
    let n = groups.of_cell.len() as f64;
    let sorted = pairs::segment_sums(x, &order, &bounds, distance, |row, sums| {
        let own = groups.of_cell[row as usize] as usize;
        if sizes[own] < 2.0 || sizes.len() < 2 || tainted[own] {
            return 0.0;
        }
        let a = sums[own] / (sizes[own] - 1.0);
        let others = || (0..sizes.len()).filter(|&g| g != own);
        let b = match between {
            // Groups with NaN drop out of the sum of sums, but not out of the count.
            Between::MeanOther => {
                others()
                    .filter(|&g| !tainted[g])
                    .map(|g| sums[g])
                    .sum::<f64>()
                    / (n - sizes[own])
            }
            _ if others().any(|g| tainted[g]) => return 0.0,
            Between::Nearest => others()
                .map(|g| sums[g] / sizes[g])
                .fold(f64::INFINITY, f64::min),
            Between::Furthest => others().map(|g| sums[g] / sizes[g]).fold(0.0, f64::max),
        };
        let scale = a.max(b);
        if scale > 0.0 { (b - a) / scale } else { 0.0 }
    });
    let mut out = vec![0.0; groups.of_cell.len()];
    for (&row, s) in order.iter().zip(sorted) {
        out[row as usize] = s;
    }
    out
}

/// `silhouette_label`: `(mean s + 1)/2`.
///
/// One label alone gives 0.5 in compat mode.
pub fn silhouette_label(x: ArrayView2<'_, f32>, labels: &[u32], mode: Mode) -> Outcome {
    label_from_per_cell(per_cell(x, labels)?, labels, mode)
}

/// [`silhouette_label`] from the silhouettes of [`per_cell`].
pub fn label_from_per_cell(per_cell: Vec<f64>, labels: &[u32], mode: Mode) -> Outcome {
    check_label(&per_cell, labels, mode)?;
    let mean = per_cell.iter().sum::<f64>() / per_cell.len() as f64;
    Ok(f64::midpoint(mean, 1.0))
}

fn check_label(per_cell: &[f64], labels: &[u32], mode: Mode) -> Result<(), Undefined> {
    EvalError::check("labels", per_cell.len(), labels.len())?;
    if per_cell.is_empty() {
        return Err(Undefined::TooFewCells {
            needed: 1,
            found: 0,
        });
    }
    if mode == Mode::Strict && labels.iter().all(|&l| l == labels[0]) {
        return Err(Undefined::OneLabel);
    }
    Ok(())
}

/// Which labels count as isolated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolated {
    /// Those in as few batches as the label in the fewest: scib-metrics. When every label is in
    /// every batch these are all labels.
    Fewest,
    /// The same, without labels that are in every batch: theislab's scib, and strict mode.
    FewestNotAll,
    /// Those in at most this many batches (`iso_threshold` of scib 1.1.7).
    AtMost(usize),
}

/// `isolated_labels`: mean over isolated labels of the mean of `(s + 1)/2` inside the label.
///
/// Compat uses [`Isolated::Fewest`], strict [`Isolated::FewestNotAll`].
pub fn isolated_labels(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    batches: &[u32],
    mode: Mode,
) -> Outcome {
    let rule = match mode {
        Mode::Compat => Isolated::Fewest,
        Mode::Strict => Isolated::FewestNotAll,
    };
    isolated_from_per_cell(per_cell(x, labels)?, labels, batches, rule, mode)
}

/// [`isolated_labels`] from the silhouettes of [`per_cell`], under any rule.
pub fn isolated_from_per_cell(
    per_cell: Vec<f64>,
    labels: &[u32],
    batches: &[u32],
    rule: Isolated,
    mode: Mode,
) -> Outcome {
    check_label(&per_cell, labels, mode)?;
    EvalError::check("batches", labels.len(), batches.len())?;
    let groups = Groups::new(labels);
    let all = Groups::new(batches).len();
    let spread: Vec<usize> = groups
        .members
        .iter()
        .map(|m| {
            let codes: Vec<u32> = m.iter().map(|&i| batches[i as usize]).collect();
            Groups::new(&codes).len()
        })
        .collect();
    let fewest = spread.iter().copied().min().unwrap_or(0);
    let isolated: Vec<Vec<u32>> = groups
        .members
        .into_iter()
        .zip(&spread)
        .filter(|&(_, &s)| match rule {
            Isolated::Fewest => s <= fewest,
            Isolated::FewestNotAll => s <= fewest && s < all,
            Isolated::AtMost(limit) => s <= limit,
        })
        .map(|(m, _)| m)
        .collect();
    mean_of_group_means(&per_cell, &isolated)
        .map(|m| f64::midpoint(m, 1.0))
        .ok_or(Undefined::NoIsolatedLabel)
}

/// `1 − |s|` of every cell for the batches inside its label, `None` where the label is skipped
/// because it lies in one batch or has as many batches as cells.
///
/// # Errors
/// [`EvalError`] when shapes do not match or values are not finite.
pub fn batch_per_cell(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    batches: &[u32],
    kind: BatchSilhouette,
) -> Result<Vec<Option<f64>>, EvalError> {
    EvalError::check("labels", x.nrows(), labels.len())?;
    EvalError::check("batches", x.nrows(), batches.len())?;
    pairs::check_finite("embedding", x)?;
    let mut out = vec![None; x.nrows()];
    for members in Groups::new(labels).members {
        let codes: Vec<u32> = members.iter().map(|&i| batches[i as usize]).collect();
        let groups = Groups::new(&codes);
        if groups.len() < 2 || groups.len() == members.len() {
            continue;
        }
        let rows: Vec<usize> = members.iter().map(|&i| i as usize).collect();
        let sub = x.select(Axis(0), &rows);
        let s = match kind {
            BatchSilhouette::Euclidean => nested(
                sub.view(),
                &groups,
                (Distance::Euclidean, Between::Nearest),
                &[],
            ),
            BatchSilhouette::Bras(between, mode) => {
                let (unit, zero) = normalised(sub.view());
                let lost: &[bool] = if mode == Mode::Compat { &zero } else { &[] };
                nested(unit.view(), &groups, (Distance::HalfSquared, between), lost)
            }
        };
        for (row, s) in rows.into_iter().zip(s) {
            out[row] = Some(1.0 - s.abs());
        }
    }
    Ok(out)
}

/// Rows at length 1, and which rows are zero.
/// A zero row gets a direction of its own (an added dimension), so that its cosine distance to
/// every other row is 1.
fn normalised(x: ArrayView2<'_, f32>) -> (Array2<f32>, Vec<bool>) {
    let mut out = Array2::zeros((x.nrows(), x.ncols() + 1));
    let mut zero = vec![false; x.nrows()];
    for ((row, mut unit), zero) in x.outer_iter().zip(out.outer_iter_mut()).zip(&mut zero) {
        let length = row
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt();
        *zero = length == 0.0;
        if *zero {
            unit[x.ncols()] = 1.0;
        } else {
            unit.iter_mut()
                .zip(row)
                .for_each(|(u, &v)| *u = (f64::from(v) / length) as f32);
        }
    }
    (out, zero)
}

/// The two families of batch silhouettes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSilhouette {
    /// Euclidean distance, nearest other batch: `silhouette_batch`.
    Euclidean,
    /// Cosine distance and a way to summarise the other batches: [`bras`].
    Bras(Between, Mode),
}

/// `silhouette_batch`: mean over labels of the mean of `1 − |s|` over the label's cells, `s` being
/// the silhouette of the batches inside the label.
///
/// Labels in one batch, or with as many batches as cells, are left out. Both modes agree; where
/// scib-metrics raises there is [`Undefined::NoLabelInSeveralBatches`].
pub fn silhouette_batch(x: ArrayView2<'_, f32>, labels: &[u32], batches: &[u32]) -> Outcome {
    batch_score(x, labels, batches, BatchSilhouette::Euclidean)
}

/// `bras`: batch-removal-adapted silhouette, [`silhouette_batch`] with cosine distance and the
/// other batches summarised by `between` (`MeanOther` is the default of the paper).
///
/// The modes differ for zero vectors only. Strict puts one at distance 1 from everything. In the
/// reference its distances are NaN: every cell of its label and batch then scores 1, and for other
/// cells that batch drops out of the sum over other batches but not out of the count.
pub fn bras(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    batches: &[u32],
    between: Between,
    mode: Mode,
) -> Outcome {
    batch_score(x, labels, batches, BatchSilhouette::Bras(between, mode))
}

fn batch_score(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    batches: &[u32],
    kind: BatchSilhouette,
) -> Outcome {
    let per_cell = batch_per_cell(x, labels, batches, kind)?;
    let members: Vec<Vec<u32>> = Groups::new(labels)
        .members
        .into_iter()
        .filter(|m| m.first().is_some_and(|&i| per_cell[i as usize].is_some()))
        .collect();
    let values: Vec<f64> = per_cell.into_iter().map(|v| v.unwrap_or(0.0)).collect();
    mean_of_group_means(&values, &members).ok_or(Undefined::NoLabelInSeveralBatches)
}
