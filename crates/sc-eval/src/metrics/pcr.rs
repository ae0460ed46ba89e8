//! Principal component regression: how much of an embedding's variance is owed to batch.
//!
//! scib-metrics regresses every principal component on one-hot batches and averages R² by
//! variance. Summed over all components this is the share of scatter between batches,
//! `tr(S_between)/tr(S_total)`, which needs no decomposition.

use crate::categories::Groups;
use crate::error::{EvalError, Undefined};
use crate::pairs::check_finite;
use crate::scored::{Outcome, Scored};
use ndarray::{Array2, ArrayView2};

/// Scatter of an embedding, ready to be summed under any weights.
struct Scatter {
    /// Embedding with every dimension centred, so that sums of squares do not cancel.
    centred: Array2<f32>,
    members: Vec<Vec<u32>>,
}

impl Scatter {
    fn new(x: ArrayView2<'_, f32>, batches: &[u32]) -> Result<Self, Undefined> {
        EvalError::check("batches", x.nrows(), batches.len())?;
        check_finite("embedding", x)?;
        let groups = Groups::new(batches);
        if groups.len() < 2 {
            return Err(Undefined::OneBatch);
        }
        let mut centred = x.as_standard_layout().into_owned();
        for mut column in centred.columns_mut() {
            let mean = column.iter().map(|&v| f64::from(v)).sum::<f64>() / x.nrows() as f64;
            column
                .iter_mut()
                .for_each(|v| *v = (f64::from(*v) - mean) as f32);
        }
        Ok(Self {
            centred,
            members: groups.members,
        })
    }

    /// `tr(S_between)/tr(S_total)`.
    fn share(&self, weights: &[u32]) -> Option<f64> {
        let dims = self.centred.ncols();
        let (mut all, mut total_weight, mut squares) = (vec![0f64; dims], 0f64, 0f64);
        let mut between = 0f64;
        let mut sum = vec![0f64; dims];
        for members in &self.members {
            sum.fill(0.0);
            let mut weight = 0f64;
            for &i in members {
                let w = f64::from(weights[i as usize]);
                if w == 0.0 {
                    continue;
                }
                weight += w;
                for (s, &v) in sum.iter_mut().zip(self.centred.row(i as usize)) {
                    let v = f64::from(v);
                    *s += w * v;
                    squares += w * v * v;
                }
            }
            if weight > 0.0 {
                between += sum.iter().map(|s| s * s).sum::<f64>() / weight;
                total_weight += weight;
                all.iter_mut().zip(&sum).for_each(|(a, s)| *a += s);
            }
        }
        if total_weight == 0.0 {
            return None;
        }
        let mean = all.iter().map(|s| s * s).sum::<f64>() / total_weight;
        let total = squares - mean;
        // What is left of equal numbers after centring in f32 is rounding, not variance.
        (total > 1e-13 * squares && squares > 0.0)
            .then(|| ((between - mean) / total).clamp(0.0, 1.0))
    }
}

/// `pcr`: share of the embedding's variance that is owed to batch, in `[0, 1]`.
///
/// # Errors
/// As [`pcr_comparison`].
pub fn pcr(x: ArrayView2<'_, f32>, batches: &[u32]) -> Outcome {
    let scatter = Scatter::new(x, batches)?;
    Scored::from_resample(batches.len(), Undefined::NoVariance, move |w| {
        scatter.share(w)
    })
}

/// `pcr_comparison`: `(pre − post)/pre` of [`pcr`], negative values set to 0.
///
/// `pre` and `post` are `[cells, dims]` of any dims. Resampling recomputes both scatters.
///
/// # Errors
/// [`Undefined::OneBatch`], [`Undefined::NoVariance`], [`Undefined::NoBatchEffectBefore`] where
/// scib-metrics answers with rounding noise or NaN.
pub fn pcr_comparison(
    pre: ArrayView2<'_, f32>,
    post: ArrayView2<'_, f32>,
    batches: &[u32],
) -> Outcome {
    let (pre, post) = (Scatter::new(pre, batches)?, Scatter::new(post, batches)?);
    let ones = vec![1; batches.len()];
    match (pre.share(&ones), post.share(&ones)) {
        (Some(before), Some(_)) if before > 0.0 => {}
        (Some(_), Some(_)) => return Err(Undefined::NoBatchEffectBefore),
        _ => return Err(Undefined::NoVariance),
    }
    Scored::from_resample(batches.len(), Undefined::NoVariance, move |w| {
        let (before, after) = (pre.share(w)?, post.share(w)?);
        (before > 0.0).then(|| ((before - after) / before).max(0.0))
    })
}
