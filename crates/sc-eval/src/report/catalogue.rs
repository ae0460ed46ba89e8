//! Titles and explanations of metrics.

use crate::results::Group;

/// The primary metric, which decides the verdict.
pub(super) const PRIMARY: &str = "probe_lr_macro_f1";
/// scIB's weighted mean of bio conservation and batch correction.
pub(super) const TOTAL: &str = "total";
/// The geometry metric.
pub(super) const GEOMETRY: &str = "scgraph_corr_weighted";

/// Machine name, title in tables, explanation in one sentence.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        crate::protocol::SHUFFLED,
        "Shuffled labels − chance",
        "Balanced accuracy of the linear probe on shuffled labels, minus one over the number of labels.",
    ),
    (
        "isolated_labels",
        "Isolated labels",
        "Silhouette of the labels that occur in the fewest batches.",
    ),
    (
        "nmi_ari_cluster_labels_kmeans_nmi",
        "KMeans NMI",
        "Agreement of k-means clusters with labels.",
    ),
    (
        "nmi_ari_cluster_labels_kmeans_ari",
        "KMeans ARI",
        "Pairs of cells on which k-means clusters and labels agree, adjusted for chance.",
    ),
    (
        "nmi_ari_cluster_labels_leiden_nmi",
        "Leiden NMI",
        "Agreement of Leiden clusters with labels.",
    ),
    (
        "nmi_ari_cluster_labels_leiden_ari",
        "Leiden ARI",
        "Pairs of cells on which Leiden clusters and labels agree, adjusted for chance.",
    ),
    (
        "silhouette_label",
        "Silhouette label",
        "Mean distance to the nearest other label, compared with that within the label.",
    ),
    (
        "clisi_knn",
        "cLISI",
        "Purity of labels in a cell's neighbourhood.",
    ),
    (
        "bras",
        "BRAS",
        "Batch removal adapted silhouette: against the mean of all other batches, not the nearest.",
    ),
    (
        "bras_furthest",
        "BRAS furthest",
        "BRAS against the furthest batch.",
    ),
    (
        "silhouette_batch",
        "Silhouette batch",
        "How little batches separate within a label; superseded by BRAS.",
    ),
    (
        "ilisi_knn",
        "iLISI",
        "Mixing of batches in a cell's neighbourhood.",
    ),
    (
        "kbet_per_label",
        "kBET",
        "Share of neighbourhoods with the same batch composition as their label.",
    ),
    (
        "graph_connectivity",
        "Graph connectivity",
        "Share of a label's cells in its largest connected component of the neighbour graph.",
    ),
    (
        "pcr_comparison",
        "PCR comparison",
        "Share of the batch variance in PCA that the embedding removed.",
    ),
    (
        "pcr",
        "PCR",
        "Share of the embedding's variance explained by batch.",
    ),
    (
        "scgraph_corr_weighted",
        "scGraph",
        "Do labels keep the distances they have within single batches? Close labels count more.",
    ),
    (
        "scgraph_corr",
        "scGraph corr",
        "scGraph by unweighted correlation of distances.",
    ),
    (
        "scgraph_rank",
        "scGraph rank",
        "scGraph by rank correlation of distances.",
    ),
    (
        "probe_lr_macro_f1",
        "LR macro-F1",
        "Mean F1 over labels of the linear probe on held-out cells. Decides the verdict.",
    ),
    (
        "probe_lr_macro_f1_true_classes",
        "LR macro-F1, true classes",
        "The same, only over labels among the held-out cells.",
    ),
    (
        "probe_lr_accuracy",
        "LR accuracy",
        "Share of held-out cells that the linear probe labels correctly.",
    ),
    (
        "probe_lr_balanced_accuracy",
        "LR balanced accuracy",
        "Mean recall over labels of the linear probe.",
    ),
    (
        "probe_lr_mcc",
        "LR MCC",
        "Matthews correlation coefficient of the linear probe.",
    ),
    (
        "probe_lr_auroc_macro_ovr",
        "LR AUROC",
        "Area under the ROC curve of the linear probe, one label against the rest, mean over labels.",
    ),
    (
        "probe_lr_ece15",
        "LR calibration error",
        "Gap between confidence and accuracy of the linear probe, in 15 bins.",
    ),
    (
        "probe_lr_log_loss",
        "LR log loss",
        "Log loss of the linear probe.",
    ),
    (
        "probe_knn_macro_f1",
        "kNN macro-F1",
        "Mean F1 over labels of the kNN probe.",
    ),
    (
        "probe_knn_macro_f1_true_classes",
        "kNN macro-F1, true classes",
        "The same, only over labels among the held-out cells.",
    ),
    (
        "probe_knn_accuracy",
        "kNN accuracy",
        "Share of held-out cells that the kNN probe labels correctly.",
    ),
    (
        "probe_knn_balanced_accuracy",
        "kNN balanced accuracy",
        "Mean recall over labels of the kNN probe.",
    ),
    (
        "probe_knn_mcc",
        "kNN MCC",
        "Matthews correlation coefficient of the kNN probe.",
    ),
    (
        "probe_knn_auroc_macro_ovr",
        "kNN AUROC",
        "Area under the ROC curve of the kNN probe, one label against the rest, mean over labels.",
    ),
    (
        "probe_knn_ece15",
        "kNN calibration error",
        "Gap between confidence and accuracy of the kNN probe, in 15 bins.",
    ),
    (
        "probe_knn_log_loss",
        "kNN log loss",
        "Log loss of the kNN probe.",
    ),
    (
        "bio_conservation",
        "Bio conservation",
        "Mean of the bio metrics that are defined.",
    ),
    (
        "batch_correction",
        "Batch correction",
        "Mean of the batch metrics that are defined.",
    ),
    (
        "total",
        "scIB total",
        "0.6 × bio conservation + 0.4 × batch correction.",
    ),
];

/// Whether higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// Whether higher values of a metric are better.
pub(super) fn direction(name: &str) -> Direction {
    if name == "pcr" || name.ends_with("_ece15") || name.ends_with("_log_loss") {
        Direction::Down
    } else {
        Direction::Up
    }
}

/// Title of a metric in tables.
pub(super) fn title(name: &str) -> String {
    match KNOWN.iter().find(|k| k.0 == name) {
        Some(known) => known.1.to_owned(),
        None => {
            let words = name.replace('_', " ");
            let mut chars = words.chars();
            chars
                .next()
                .map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
        }
    }
}

/// Explanation of a metric; empty for unknown names.
pub(super) fn meaning(name: &str) -> &'static str {
    KNOWN.iter().find(|k| k.0 == name).map_or("", |k| k.2)
}

/// Position of a metric in tables: known ones first, in the order above.
pub(super) fn rank(name: &str) -> usize {
    KNOWN
        .iter()
        .position(|k| k.0 == name)
        .unwrap_or(KNOWN.len())
}

/// Heading of a group and the question it answers.
pub(super) fn group_title(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Bio => ("Bio conservation", "Are cell types separated?"),
        Group::Batch => ("Batch correction", "Are batches mixed within cell types?"),
        Group::Geometry => (
            "Geometry",
            "Do cell types keep their distances from each other?",
        ),
        Group::Probe => (
            "Linear probe",
            "Can a simple classifier predict the labels of held-out cells?",
        ),
        Group::Aggregate => ("Aggregates", "Means over the metrics above."),
        Group::Control => (
            "Control in every row",
            "The linear probe on shuffled labels: 0 unless information leaks.",
        ),
    }
}

/// Purpose of the known baselines and controls; empty for other names.
pub(super) fn purpose(method: &str) -> &'static str {
    match method {
        "hvg" => {
            "The values of highly variable genes. An embedding that does worse than its input has not helped."
        }
        "pca" => "The standard linear embedding.",
        "lr-counts" => {
            "Logistic regression on log-normalised genes, without an embedding: the strongest simple baseline for labels."
        }
        "knn" => "Nearest training cells in gene space.",
        "shuffled-labels" => {
            "The probe is trained on permuted labels. A score above chance means that information leaks."
        }
        "one-hot" => {
            "The label itself as embedding. scIB scores it high, since scIB uses labels; a geometry metric must not."
        }
        "random-embedding" => "Noise: the score of each metric without any information.",
        name if name.ends_with("-random") => {
            "The same architecture with untrained weights. Its score is not due to training."
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_raw_pcr_are_better_small() {
        for name in ["pcr", "probe_lr_log_loss", "probe_knn_ece15"] {
            assert_eq!(direction(name), Direction::Down, "{name}");
        }
        for name in [PRIMARY, TOTAL, GEOMETRY, "pcr_comparison"] {
            assert_eq!(direction(name), Direction::Up, "{name}");
            assert!(rank(name) < KNOWN.len(), "{name} has a title and a meaning");
        }
    }

    #[test]
    fn unknown_names_are_readable_and_last() {
        assert_eq!(title("some_new_metric"), "Some new metric");
        assert_eq!(title("bras"), "BRAS");
        assert!(rank("some_new_metric") > rank("total"));
    }
}
