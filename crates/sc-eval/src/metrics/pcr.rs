//! Principal component regression: how much of an embedding's variance batch explains.
//!
//! scib-metrics regresses every principal component on one-hot batches and averages R² by
//! variance. Summed over all components this is the share of scatter between batches,
//! `tr(S_between)/tr(S_total)`, which needs no decomposition.

use crate::categories::Groups;
use crate::error::{EvalError, Outcome, Undefined};
use crate::pairs::check_finite;
use ndarray::{ArrayView2, Axis};

/// `tr(S_between)/tr(S_total)`; `None` without variance.
fn share(x: ArrayView2<'_, f32>, batches: &[u32]) -> Result<Option<f64>, Undefined> {
    EvalError::check("batches", x.nrows(), batches.len())?;
    check_finite("embedding", x)?;
    let groups = Groups::new(batches);
    if groups.len() < 2 {
        return Err(Undefined::OneBatch);
    }
    // Centred dimensions, so that sums of squares do not cancel.
    let cells = x.nrows() as f64;
    let means: Vec<f64> = x
        .axis_iter(Axis(1))
        .map(|c| c.iter().map(|&v| f64::from(v)).sum::<f64>() / cells)
        .collect();
    let (mut all, mut squares, mut between) = (vec![0f64; x.ncols()], 0f64, 0f64);
    let mut sum = vec![0f64; x.ncols()];
    for members in &groups.members {
        sum.fill(0.0);
        for &i in members {
            for ((s, &v), m) in sum.iter_mut().zip(x.row(i as usize)).zip(&means) {
                let v = f64::from((f64::from(v) - m) as f32);
                *s += v;
                squares += v * v;
            }
        }
        between += sum.iter().map(|s| s * s).sum::<f64>() / members.len() as f64;
        all.iter_mut().zip(&sum).for_each(|(a, s)| *a += s);
    }
    let mean = all.iter().map(|s| s * s).sum::<f64>() / cells;
    let total = squares - mean;
    // What is left of equal numbers after centring in f32 is rounding, not variance.
    let varies = total > 1e-13 * squares && squares > 0.0;
    Ok(varies.then(|| ((between - mean) / total).clamp(0.0, 1.0)))
}

/// `pcr`: share of the embedding's variance explained by batch, in `[0, 1]`.
///
/// # Errors
/// As [`pcr_comparison`].
pub fn pcr(x: ArrayView2<'_, f32>, batches: &[u32]) -> Outcome {
    share(x, batches)?.ok_or(Undefined::NoVariance)
}

/// `pcr_comparison`: `(pre − post)/pre` of [`pcr`], negative values set to 0.
///
/// `pre` and `post` are `[cells, dims]` of any dims.
///
/// # Errors
/// [`Undefined::OneBatch`], [`Undefined::NoVariance`], [`Undefined::NoBatchEffectBefore`] where
/// scib-metrics returns rounding noise or NaN.
pub fn pcr_comparison(
    pre: ArrayView2<'_, f32>,
    post: ArrayView2<'_, f32>,
    batches: &[u32],
) -> Outcome {
    match (share(pre, batches)?, share(post, batches)?) {
        (Some(before), Some(after)) if before > 0.0 => Ok(((before - after) / before).max(0.0)),
        (Some(_), Some(_)) => Err(Undefined::NoBatchEffectBefore),
        _ => Err(Undefined::NoVariance),
    }
}
