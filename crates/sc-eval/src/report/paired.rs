//! Differences between two methods, replicate by replicate.

use super::summary::Score;

/// Fewer replicates than this give no interval: its ends would be single draws.
const MIN_REPLICATES: usize = 40;

/// The 2.5 % and 97.5 % points of the finite values, by linear interpolation.
pub(super) fn percentile_interval(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    if sorted.len() < MIN_REPLICATES {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    Some((percentile(&sorted, 0.025), percentile(&sorted, 0.975)))
}

fn percentile(sorted: &[f64], p: f64) -> f64 {
    let at = p * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The whole interval lies above zero.
    Better,
    /// The whole interval lies below zero.
    Worse,
    /// The interval holds zero.
    Undetected,
    /// There are too few paired replicates for an interval.
    NoInterval,
}

/// `a − b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) value: f64,
    pub(super) interval: Option<(f64, f64)>,
}

impl Difference {
    /// Difference of two scores, with the interval of paired replicates.
    pub(super) fn between(a: &Score, b: &Score) -> Self {
        let paired: Vec<f64> = a
            .replicates
            .iter()
            .zip(&b.replicates)
            .map(|(x, y)| x - y)
            .collect();
        Self {
            value: a.value - b.value,
            interval: percentile_interval(&paired),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.interval {
            None => Outcome::NoInterval,
            Some((low, _)) if low > 0.0 => Outcome::Better,
            Some((_, high)) if high < 0.0 => Outcome::Worse,
            Some(_) => Outcome::Undetected,
        }
    }
}

impl Outcome {
    /// In words, to be followed by "than …".
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undetected => "no detectable difference",
            Self::NoInterval => "no interval",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f64, replicates: Vec<f64>) -> Score {
        Score {
            value,
            interval: None,
            by_seed: vec![value],
            replicates,
            cells: 1,
            donors: 1,
            note: None,
        }
    }

    #[test]
    fn pairing_sees_what_single_intervals_hide() {
        // Both wander by 0.2, together: the difference is steady.
        let wander: Vec<f64> = (0..100).map(|i| 0.5 + 0.002 * f64::from(i)).collect();
        let a = score(0.62, wander.iter().map(|v| v + 0.02).collect());
        let b = score(0.6, wander);
        let d = Difference::between(&a, &b);
        assert_eq!(d.outcome(), Outcome::Better);
        assert_eq!(Difference::between(&b, &a).outcome(), Outcome::Worse);
        assert_eq!(Difference::between(&a, &a).outcome(), Outcome::Undetected);
    }

    #[test]
    fn few_replicates_give_no_interval() {
        let a = score(0.6, vec![0.6; 10]);
        assert_eq!(Difference::between(&a, &a).outcome(), Outcome::NoInterval);
        assert_eq!(percentile_interval(&[f64::NAN; 100]), None);
    }

    #[test]
    fn percentiles_interpolate() {
        let values: Vec<f64> = (0..=1000).map(f64::from).collect();
        assert_eq!(percentile_interval(&values), Some((25.0, 975.0)));
    }
}
