//! Silhouettes: of labels, of batches inside labels, BRAS, and of isolated labels.
//!
//! Rousseeuw 1987; scib-metrics 0.5.10 `metrics/_silhouette.py`, `_isolated_labels.py`; BRAS after
//! Rautenstrauch and Ohler 2025. Every pair of cells is visited once per metric family in tiles,
//! the matrix of distances never exists.

use crate::categories::Groups;
use crate::error::{EvalError, Undefined};
use crate::pairs::{self, Distance};
use crate::results::Mode;
use crate::scored::{Outcome, Scored, mean_of_group_means, weighted_mean};
use ndarray::{Array2, ArrayView2, Axis};

/// Silhouette `s ∈ [−1, 1]` of every cell: `(b − a)/max(a, b)` with `a` the mean distance to the
/// other cells of its label and `b` the smallest mean distance to another label.
///
/// 0 for the only cell of a label, for one label alone, and where `a = b = 0` (as scikit-learn).
///
/// # Errors
/// [`EvalError`] when shapes do not fit or values are not finite.
pub fn per_cell(x: ArrayView2<'_, f32>, labels: &[u32]) -> Result<Vec<f64>, EvalError> {
    EvalError::check("labels", x.nrows(), labels.len())?;
    pairs::check_finite("embedding", x)?;
    Ok(nested(
        x,
        &Groups::new(labels),
        Distance::Euclidean,
        Between::Nearest,
    ))
}

/// How the other groups enter a silhouette.
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
fn nested(
    x: ArrayView2<'_, f32>,
    groups: &Groups,
    distance: Distance,
    between: Between,
) -> Vec<f64> {
    let sizes: Vec<f64> = groups.members.iter().map(|m| m.len() as f64).collect();
    // A zero vector has no direction; the reference sets its cosine distances to 0, which is the
    // same as leaving it out of all sums but not out of the counts.
    let counts =
        |&i: &u32| distance == Distance::Euclidean || x.row(i as usize).iter().any(|&v| v != 0.0);
    let mut order: Vec<u32> = Vec::with_capacity(groups.of_cell.len());
    let mut bounds = vec![0];
    for m in &groups.members {
        order.extend(m.iter().copied().filter(counts));
        bounds.push(order.len());
    }
    let n = groups.of_cell.len() as f64;
    let sorted = pairs::segment_sums(x, &order, &bounds, distance, |row, sums| {
        let own = groups.of_cell[row as usize] as usize;
        if sizes[own] < 2.0 || sizes.len() < 2 {
            return 0.0;
        }
        let a = sums[own] / (sizes[own] - 1.0);
        let others = (0..sizes.len()).filter(|&g| g != own);
        let b = match between {
            Between::Nearest => others
                .map(|g| sums[g] / sizes[g])
                .fold(f64::INFINITY, f64::min),
            Between::Furthest => others.map(|g| sums[g] / sizes[g]).fold(0.0, f64::max),
            Between::MeanOther => others.map(|g| sums[g]).sum::<f64>() / (n - sizes[own]),
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
/// One label alone gives 0.5 in compat mode. Resampling weighs the cells.
pub fn silhouette_label(x: ArrayView2<'_, f32>, labels: &[u32], mode: Mode) -> Outcome {
    label_from_per_cell(per_cell(x, labels)?, labels, mode)
}

/// [`silhouette_label`] from the silhouettes of [`per_cell`].
pub fn label_from_per_cell(per_cell: Vec<f64>, labels: &[u32], mode: Mode) -> Outcome {
    check_label(&per_cell, labels, mode)?;
    Scored::from_resample(
        labels.len(),
        Undefined::TooFewCells {
            needed: 1,
            found: 0,
        },
        move |w| weighted_mean(&per_cell, w).map(|m| f64::midpoint(m, 1.0)),
    )
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
    /// Those in as few batches as the label in fewest: scib-metrics. When every label is in every
    /// batch these are all labels.
    Fewest,
    /// The same, without labels that are in every batch: theislab's scib, and strict mode.
    FewestNotAll,
    /// Those in at most so many batches (`iso_threshold` of scib 1.1.7).
    AtMost(usize),
}

/// `isolated_labels`: mean over isolated labels of the mean of `(s + 1)/2` inside the label.
///
/// Compat uses [`Isolated::Fewest`], strict [`Isolated::FewestNotAll`]. Resampling weighs the
/// cells; which labels are isolated stays as it is.
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
    Scored::from_resample(labels.len(), Undefined::NoIsolatedLabel, move |w| {
        mean_of_group_means(&per_cell, &isolated, w).map(|m| f64::midpoint(m, 1.0))
    })
}

/// `1 − |s|` of every cell for the batches inside its label, `None` where the label is skipped
/// because it lies in one batch or has as many batches as cells.
///
/// # Errors
/// [`EvalError`] when shapes do not fit or values are not finite.
pub fn batch_per_cell(
    x: ArrayView2<'_, f32>,
    labels: &[u32],
    batches: &[u32],
    kind: BatchSilhouette,
) -> Result<Vec<Option<f64>>, EvalError> {
    EvalError::check("labels", x.nrows(), labels.len())?;
    EvalError::check("batches", x.nrows(), batches.len())?;
    pairs::check_finite("embedding", x)?;
    let (distance, between) = match kind {
        BatchSilhouette::Euclidean => (Distance::Euclidean, Between::Nearest),
        BatchSilhouette::Bras(between) => (Distance::HalfSquared, between),
    };
    let mut out = vec![None; x.nrows()];
    for members in Groups::new(labels).members {
        let codes: Vec<u32> = members.iter().map(|&i| batches[i as usize]).collect();
        let groups = Groups::new(&codes);
        if groups.len() < 2 || groups.len() == members.len() {
            continue;
        }
        let rows: Vec<usize> = members.iter().map(|&i| i as usize).collect();
        let mut sub = x.select(Axis(0), &rows);
        if distance == Distance::HalfSquared {
            normalise(&mut sub);
        }
        let s = nested(sub.view(), &groups, distance, between);
        for (row, s) in rows.into_iter().zip(s) {
            out[row] = Some(1.0 - s.abs());
        }
    }
    Ok(out)
}

/// Brings every row to length 1; a zero row stays zero.
fn normalise(x: &mut Array2<f32>) {
    for mut row in x.outer_iter_mut() {
        let length = row
            .iter()
            .map(|&v| f64::from(v).powi(2))
            .sum::<f64>()
            .sqrt();
        if length > 0.0 {
            row.iter_mut()
                .for_each(|v| *v = (f64::from(*v) / length) as f32);
        }
    }
}

/// The two families of batch silhouettes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSilhouette {
    /// Euclidean distance, nearest other batch: `silhouette_batch`.
    Euclidean,
    /// Cosine distance and a way to sum up the other batches: `bras`.
    Bras(Between),
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
/// other batches summed up by `between` (`MeanOther` is the default of the paper).
pub fn bras(x: ArrayView2<'_, f32>, labels: &[u32], batches: &[u32], between: Between) -> Outcome {
    batch_score(x, labels, batches, BatchSilhouette::Bras(between))
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
    Scored::from_resample(labels.len(), Undefined::NoLabelInSeveralBatches, move |w| {
        mean_of_group_means(&values, &members, w)
    })
}
