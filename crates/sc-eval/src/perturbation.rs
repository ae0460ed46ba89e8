//! How well predicted profiles of perturbed cells match the measured ones.

/// Scores of the mean profile of one perturbation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerturbationScore {
    /// Mean squared error over genes.
    pub squared_error: f64,
    /// Pearson correlation of the changes from control; 0 where nothing changes.
    pub change_correlation: f64,
}

/// Scores a predicted mean profile `[genes]` against the measured one; changes are relative to the
/// mean profile of control cells.
///
/// ```
/// use sc_eval::perturbation::score;
///
/// let (control, measured) = ([1.0, 2.0, 3.0], [2.0, 2.0, 1.0]);
/// assert_eq!(score(&measured, &measured, &control).squared_error, 0.0);
/// assert!((score(&measured, &measured, &control).change_correlation - 1.0).abs() < 1e-12);
/// assert_eq!(score(&control, &measured, &control).change_correlation, 0.0);
/// ```
pub fn score(predicted: &[f64], measured: &[f64], control: &[f64]) -> PerturbationScore {
    let n = measured.len() as f64;
    let squares = predicted.iter().zip(measured).map(|(p, t)| (p - t).powi(2));
    let centred = |x: &[f64]| -> Vec<f64> {
        let change: Vec<f64> = x.iter().zip(control).map(|(x, c)| x - c).collect();
        let mean = change.iter().sum::<f64>() / n;
        change.into_iter().map(|v| v - mean).collect()
    };
    let (a, b) = (centred(predicted), centred(measured));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let scale = (dot(&a, &a) * dot(&b, &b)).sqrt();
    PerturbationScore {
        squared_error: squares.sum::<f64>() / n,
        change_correlation: match scale > 0.0 {
            true => dot(&a, &b) / scale,
            false => 0.0,
        },
    }
}

/// Mean of every column of a row-major matrix, `[columns]`.
pub fn mean_profile(values: &[f32], columns: usize) -> Vec<f64> {
    let rows = (values.len() / columns) as f64;
    let column = |k: usize| values.iter().skip(k).step_by(columns);
    (0..columns)
        .map(|k| column(k).map(|&v| f64::from(v)).sum::<f64>() / rows)
        .collect()
}
