//! Means over metrics, with the number of metrics behind them.

use crate::error::Undefined;
use crate::halves::Estimate;

/// Names of the bio metrics of the aggregate, as scib-metrics' Benchmarker.
pub const BIO: [&str; 5] = [
    "isolated_labels",
    "nmi_ari_cluster_labels_kmeans_nmi",
    "nmi_ari_cluster_labels_kmeans_ari",
    "silhouette_label",
    "clisi_knn",
];

/// Names of the batch metrics of the aggregate.
pub const BATCH: [&str; 5] = [
    "bras",
    "ilisi_knn",
    "kbet_per_label",
    "graph_connectivity",
    "pcr_comparison",
];

/// Share of an aggregate's metrics that must be defined. Below, it would be another score under
/// the same name: one batch metric alone is not batch correction.
pub const LEAST_SHARE: f64 = 0.8;

/// A mean over the defined metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// The mean, or why there is none.
    pub estimate: Result<Estimate, Undefined>,
    /// Names of the metrics behind it.
    pub of: Vec<String>,
    /// Metrics of a complete aggregate.
    pub expected: usize,
}

impl Mean {
    /// Mean of the `defined` metrics of `expected`.
    pub fn of(expected: usize, defined: Vec<(String, Estimate)>) -> Self {
        let (of, estimates): (Vec<String>, Vec<Estimate>) = defined.into_iter().unzip();
        let enough = of.len() as f64 >= LEAST_SHARE * expected as f64;
        let least = LEAST_SHARE * expected as f64 / of.len().max(1) as f64;
        let estimate = match Estimate::mean(&estimates, least) {
            Some(mean) if enough => Ok(mean),
            _ => Err(Undefined::TooFewMetrics {
                defined: of.len(),
                expected,
            }),
        };
        Self {
            estimate,
            of,
            expected,
        }
    }

    /// Note of an aggregate with fewer metrics than expected.
    pub fn note(&self) -> Option<String> {
        let defined = self.of.len();
        (defined < self.expected).then(|| format!("mean of {defined} of {} metrics", self.expected))
    }
}

/// `0.6 · bio + 0.4 · batch`; undefined unless both are defined.
pub fn total(bio: &Mean, batch: &Mean) -> Mean {
    let estimate = match (&bio.estimate, &batch.estimate) {
        (Ok(b), Ok(t)) => {
            let sum = |b: f64, t: f64| 0.6 * b + 0.4 * t;
            let pairs = b.differences.iter().zip(&t.differences);
            let changes = b.changes.iter().zip(&t.changes);
            Ok(Estimate {
                value: sum(b.value, t.value),
                differences: pairs.map(|(b, t)| sum(*b, *t)).collect(),
                changes: changes.map(|(b, t)| sum(*b, *t)).collect(),
                degrees: b.degrees.min(t.degrees),
                resolution: b.resolution.max(t.resolution),
            })
        }
        (Err(why), _) | (_, Err(why)) => Err(why.clone()),
    };
    Mean {
        estimate,
        of: bio.of.iter().chain(&batch.of).cloned().collect(),
        expected: bio.expected + batch.expected,
    }
}

/// The reason why a metric is undefined, as the note of its record.
pub fn reason(undefined: &Undefined) -> String {
    format!("undefined: {undefined}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[f64]) -> Mean {
        let named = |v: &f64| {
            (
                format!("{v}"),
                Estimate {
                    value: *v,
                    ..Estimate::default()
                },
            )
        };
        Mean::of(5, values.iter().map(named).collect())
    }

    #[test]
    fn a_mean_of_few_metrics_is_none() {
        let four = mean(&[0.1, 0.2, 0.3, 0.4]);
        assert_eq!(four.estimate.as_ref().unwrap().value, 0.25);
        assert_eq!(four.note().unwrap(), "mean of 4 of 5 metrics");
        let one = mean(&[1.0]);
        assert_eq!(
            one.estimate,
            Err(Undefined::TooFewMetrics {
                defined: 1,
                expected: 5
            })
        );
        assert!(total(&four, &one).estimate.is_err());
    }

    #[test]
    fn the_total_weighs_six_to_four() {
        let total = total(&mean(&[0.5; 5]), &mean(&[1.0; 5]));
        assert!((total.estimate.unwrap().value - 0.7).abs() < 1e-12);
        assert_eq!((total.of.len(), total.expected), (10, 10));
    }
}
