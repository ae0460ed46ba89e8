//! Medians and quantiles, as in numpy.

/// The median; for an even number of values, the mean of the two in the middle; `None` if empty.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let n = values.len();
    let middle = |of: &[f64]| (of[(n - 1) / 2] + of[n / 2]) / 2.0;
    (n > 0).then(|| middle(&values))
}

/// The value at `position`, counted from 0, of ascending values: linear interpolation with numpy's
/// rounding.
///
/// # Panics
/// Without values.
pub fn interpolated(sorted: &[f64], position: f64) -> f64 {
    let last = sorted
        .len()
        .checked_sub(1)
        .expect("invariant: there are values");
    let at = (position.floor() as usize).min(last);
    let (a, b) = (sorted[at], sorted[(at + 1).min(last)]);
    let t = position - at as f64;
    if t >= 0.5 {
        b - (b - a) * (1.0 - t)
    } else {
        a + (b - a) * t
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_numpy() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(
            [0.0, 0.5, 1.75, 2.0].map(|p| interpolated(&sorted, p)),
            [1.0, 1.5, 3.5, 4.0]
        );
    }
}
