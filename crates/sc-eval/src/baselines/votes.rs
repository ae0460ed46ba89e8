//! Classifiers without fitting: nearest neighbours and the majority class.

use crate::baselines::Features;
use crate::baselines::logistic::check;
use crate::categories::Groups;
use crate::error::EvalError;
use crate::neighbors::{Ties, cross_knn};
use crate::protocol::Predictions;
use ndarray::{Array2, ArrayView2};

/// Unweighted vote of the `k` nearest training cells (Euclidean, exact).
///
/// Ties in distance go to the lower training index, ties in votes to the lowest code (as
/// scikit-learn); probabilities are shares of votes. `k` is capped at the number of training cells.
///
/// # Errors
/// [`EvalError`] when shapes do not match, values are not finite, or there is no training cell.
pub fn knn_classify(
    train: ArrayView2<'_, f32>,
    labels: &[u32],
    test: ArrayView2<'_, f32>,
    k: usize,
) -> Result<Predictions, EvalError> {
    check(Features::Dense(train), labels)?;
    if k == 0 {
        return Err(EvalError::invalid("a kNN classifier needs k of at least 1"));
    }
    let near = cross_knn(test, train, k, Ties::Index)?;
    let groups = Groups::new(labels);
    let mut votes = Array2::zeros((test.nrows(), groups.len()));
    let mut predicted = Vec::with_capacity(test.nrows());
    for (i, row) in near.indices.outer_iter().enumerate() {
        let mut counts = votes.row_mut(i);
        for &j in row {
            counts[groups.of_cell[j as usize] as usize] += 1.0;
        }
        let mut best = 0;
        for (c, &v) in counts.iter().enumerate() {
            if v > counts[best] {
                best = c;
            }
        }
        predicted.push(groups.codes[best]);
        counts.mapv_inplace(|v: f64| v / near.k() as f64);
    }
    Ok(Predictions {
        classes: groups.codes,
        predicted,
        probabilities: Some(votes),
    })
}

/// The most frequent training label for each of `cells` cells (ties go to the lowest code), with
/// the training frequencies as probabilities.
///
/// # Errors
/// [`EvalError::Invalid`] without training cells.
pub fn majority(labels: &[u32], cells: usize) -> Result<Predictions, EvalError> {
    let groups = Groups::new(labels);
    let mut best = 0;
    for (c, m) in groups.members.iter().enumerate() {
        if m.len() > groups.members[best].len() {
            best = c;
        }
    }
    let Some(&code) = groups.codes.get(best) else {
        return Err(EvalError::invalid(
            "a classifier needs at least one training cell",
        ));
    };
    let mut shares = Array2::zeros((cells, groups.len()));
    for mut row in shares.outer_iter_mut() {
        for (v, m) in row.iter_mut().zip(&groups.members) {
            *v = m.len() as f64 / labels.len() as f64;
        }
    }
    Ok(Predictions {
        classes: groups.codes,
        predicted: vec![code; cells],
        probabilities: Some(shares),
    })
}
