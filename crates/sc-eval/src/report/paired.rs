//! Differences between two methods, on the same halves of the donors.

use super::summary::Score;
use crate::halves::{Interval, LEVEL, NoInterval, holm};

/// Result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Better than what it was compared with.
    Better,
    /// Worse than what it was compared with.
    Worse,
    /// The interval of the difference contains zero.
    Undetected,
    /// Not testable, with the reason.
    Untestable(String),
}

/// `a − b`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) value: f64,
    pub(super) interval: Result<Interval, String>,
}

impl Difference {
    /// Difference of two scores on the same cells, with its interval over donors.
    pub(super) fn between(a: &Score, b: &Score) -> Self {
        let interval = if a.of != b.of {
            Err("the two are means of different metrics".to_owned())
        } else {
            match a.estimate.minus(&b.estimate) {
                Ok(d) if d.value.abs() < 1e-12 => Err("the two scores are equal".to_owned()),
                Ok(d) => d.interval().map_err(|why: NoInterval| why.to_string()),
                Err(_) => Err("the two were not scored on the same donors".to_owned()),
            }
        };
        Self {
            value: a.estimate.value - b.estimate.value,
            interval,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match &self.interval {
            Err(why) => Outcome::Untestable(why.clone()),
            Ok(i) if i.p >= LEVEL => Outcome::Undetected,
            Ok(_) if self.value > 0.0 => Outcome::Better,
            Ok(_) => Outcome::Worse,
        }
    }

    pub(super) fn ends(&self) -> Option<(f64, f64)> {
        self.interval.as_ref().ok().map(|i| (i.low, i.high))
    }
}

/// One method against several baselines: better when it beats each of them, worse when any beats it
/// after Holm's correction; and the p-value.
///
/// "Better than all" needs no correction, since every single test must reject; choosing the best
/// baseline first and testing against it alone would call "worse" far too often.
pub(super) fn against_all(differences: &[Difference]) -> (Outcome, f64) {
    let mut known = Vec::new();
    for d in differences {
        match &d.interval {
            Ok(i) => known.push((d.value, i.p)),
            // A comparison that cannot be tested rules out "better than all", but not "worse".
            Err(_) if d.value > 0.0 => {}
            Err(_) => known.push((0.0, 1.0)),
        }
    }
    let tested = differences.iter().any(|d| d.interval.is_ok());
    if !tested {
        let why = differences
            .iter()
            .find_map(|d| d.interval.as_ref().err().cloned());
        return (
            Outcome::Untestable(
                why.unwrap_or_else(|| "there is no baseline to compare with".to_owned()),
            ),
            1.0,
        );
    }
    let p: Vec<f64> = known.iter().map(|k| k.1).collect();
    let worst = known.iter().zip(holm(&p)).filter(|(k, _)| k.0 < 0.0);
    let worse = worst.map(|(_, p)| p).fold(1.0, f64::min);
    let all_above = differences
        .iter()
        .all(|d| d.interval.is_ok() && d.value > 0.0);
    let better = if all_above {
        p.iter().copied().fold(0.0, f64::max)
    } else {
        1.0
    };
    if better < LEVEL {
        (Outcome::Better, better)
    } else if worse < LEVEL {
        (Outcome::Worse, worse)
    } else {
        (Outcome::Undetected, better.min(worse))
    }
}

impl Outcome {
    /// In words, to be followed by "than …".
    pub(super) fn words(&self) -> &str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Undetected => "no detectable difference",
            Self::Untestable(_) => "not testable",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halves::Estimate;

    fn score(by_donor: &[f64]) -> Score {
        let estimate = Estimate::of_donors(by_donor);
        Score {
            by_seed: vec![estimate.value],
            estimate,
            of: Vec::new(),
            range: (f64::NEG_INFINITY, f64::INFINITY),
            cells: 1,
            donors: by_donor.len(),
            note: None,
        }
    }

    const BASE: [f64; 6] = [0.5, 0.8, 0.6, 0.4, 0.7, 0.55];

    fn shifted(by: f64, wobble: f64) -> Score {
        let signs = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let values = BASE.iter().zip(signs).map(|(v, s)| v + by + wobble * s);
        score(&values.collect::<Vec<_>>())
    }

    #[test]
    fn pairs_are_compared_donor_by_donor() {
        let (a, b) = (shifted(0.05, 0.01), shifted(0.0, 0.0));
        assert_eq!(Difference::between(&a, &b).outcome(), Outcome::Better);
        assert_eq!(Difference::between(&b, &a).outcome(), Outcome::Worse);
        let same = Difference::between(&a, &a).outcome();
        assert_eq!(same, Outcome::Untestable("the two scores are equal".into()));
        let two = Difference::between(&score(&[0.1, 0.2]), &score(&[0.4, 0.5])).outcome();
        assert!(matches!(two, Outcome::Untestable(why) if why == "fewer than 5 donors are scored"));
    }

    #[test]
    fn means_of_other_metrics_are_not_compared() {
        let mut a = shifted(0.1, 0.01);
        a.of = vec!["bras".into()];
        let d = Difference::between(&a, &shifted(0.0, 0.0));
        assert!(matches!(d.outcome(), Outcome::Untestable(_)));
    }

    #[test]
    fn better_means_better_than_each() {
        let own = shifted(0.05, 0.01);
        let (weak, equal) = (shifted(0.0, 0.0), shifted(0.05, 0.1));
        let against = |others: &[&Score]| {
            let d: Vec<_> = others
                .iter()
                .map(|o| Difference::between(&own, o))
                .collect();
            against_all(&d).0
        };
        assert_eq!(against(&[&weak]), Outcome::Better);
        assert_eq!(against(&[&weak, &equal]), Outcome::Undetected);
        let strong = shifted(0.2, 0.0);
        assert_eq!(against(&[&weak, &strong]), Outcome::Worse);
        assert!(matches!(against(&[]), Outcome::Untestable(_)));
    }
}
