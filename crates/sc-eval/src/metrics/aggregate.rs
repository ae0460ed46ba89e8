//! Means over metrics, which say how many metrics they rest on.

use crate::error::Undefined;

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

/// A mean over those metrics that are defined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean; absent when no metric is defined.
    pub value: Option<f64>,
    /// Metrics that are defined.
    pub defined: usize,
    /// Metrics that should be.
    pub expected: usize,
}

/// Mean of the defined `values`.
pub fn mean(values: &[Option<f64>]) -> Mean {
    let defined: Vec<f64> = values
        .iter()
        .copied()
        .flatten()
        .filter(|v| !v.is_nan())
        .collect();
    let value = (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64);
    Mean {
        value,
        defined: defined.len(),
        expected: values.len(),
    }
}

/// `0.6 · bio + 0.4 · batch`; absent unless both are.
pub fn total(bio: Mean, batch: Mean) -> Mean {
    let value = bio.value.zip(batch.value).map(|(b, t)| 0.6 * b + 0.4 * t);
    Mean {
        value,
        defined: bio.defined + batch.defined,
        expected: bio.expected + batch.expected,
    }
}

/// What a table says beside an aggregate that rests on fewer metrics than it should.
pub fn note(mean: &Mean) -> Option<String> {
    (mean.defined < mean.expected)
        .then(|| format!("mean of {} of {} metrics", mean.defined, mean.expected))
}

/// The reason of a metric that is not defined, as the note of its record.
pub fn reason(undefined: &Undefined) -> String {
    format!("undefined: {undefined}")
}
