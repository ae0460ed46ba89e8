//! Names of metrics as readers know them, and what each says.

use crate::results::Group;

/// The metric that decides.
pub(super) const PRIMARY: &str = "probe_lr_macro_f1";
/// scIB's weighted mean of bio conservation and batch correction.
pub(super) const TOTAL: &str = "total";
/// The geometry metric.
pub(super) const GEOMETRY: &str = "scgraph_corr_weighted";

/// Machine name, name in tables, what it says in one sentence.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        crate::protocol::SHUFFLED,
        "Shuffled labels − chance",
        "Balanced accuracy of the linear probe on shuffled labels, above one over the number of labels.",
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
        "Distance to the nearest other label against distance inside the own label.",
    ),
    (
        "clisi_knn",
        "cLISI",
        "How few labels a cell's neighbourhood holds.",
    ),
    (
        "bras",
        "BRAS",
        "Batch removal silhouette, against all other batches instead of the nearest.",
    ),
    (
        "bras_furthest",
        "BRAS furthest",
        "The same against the furthest batch.",
    ),
    (
        "silhouette_batch",
        "Silhouette batch",
        "How little batches separate inside a label; superseded by BRAS.",
    ),
    (
        "ilisi_knn",
        "iLISI",
        "How many batches a cell's neighbourhood holds.",
    ),
    (
        "kbet_per_label",
        "kBET",
        "Share of neighbourhoods whose batches are distributed as in their label.",
    ),
    (
        "graph_connectivity",
        "Graph connectivity",
        "Share of a label's cells in one connected piece of the neighbour graph.",
    ),
    (
        "pcr_comparison",
        "PCR comparison",
        "Share of the variance owed to batch in PCA that the embedding removed.",
    ),
    (
        "pcr",
        "PCR",
        "Share of the embedding's variance that is owed to batch.",
    ),
    (
        "scgraph_corr_weighted",
        "scGraph",
        "Do labels keep the distances they have inside single batches? Near labels count more.",
    ),
    (
        "scgraph_corr",
        "scGraph corr",
        "The same by plain correlation of distances.",
    ),
    (
        "scgraph_rank",
        "scGraph rank",
        "The same by ranks of distances.",
    ),
    (
        "probe_lr_macro_f1",
        "LR macro-F1",
        "Mean over labels of the F1 of the linear probe on held-out cells. Decides the verdict.",
    ),
    (
        "probe_lr_macro_f1_true_classes",
        "LR macro-F1, true classes",
        "The same over the labels that occur among the held-out cells only.",
    ),
    (
        "probe_lr_accuracy",
        "LR accuracy",
        "Held-out cells that the linear probe labels rightly.",
    ),
    (
        "probe_lr_balanced_accuracy",
        "LR balanced accuracy",
        "Mean over labels of the share labelled rightly by the linear probe.",
    ),
    (
        "probe_lr_mcc",
        "LR MCC",
        "Matthews correlation of the linear probe.",
    ),
    (
        "probe_lr_auroc_macro_ovr",
        "LR AUROC",
        "Area under the ROC curve of the linear probe, mean of one label against the rest.",
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
        "Mean over labels of the F1 of nearest training cells.",
    ),
    (
        "probe_knn_macro_f1_true_classes",
        "kNN macro-F1, true classes",
        "The same over the labels that occur among the held-out cells only.",
    ),
    (
        "probe_knn_accuracy",
        "kNN accuracy",
        "Held-out cells that their nearest training cells label rightly.",
    ),
    (
        "probe_knn_balanced_accuracy",
        "kNN balanced accuracy",
        "Mean over labels of the share labelled rightly by nearest training cells.",
    ),
    (
        "probe_knn_mcc",
        "kNN MCC",
        "Matthews correlation of nearest training cells.",
    ),
    (
        "probe_knn_auroc_macro_ovr",
        "kNN AUROC",
        "Area under the ROC curve of nearest training cells, mean of one label against the rest.",
    ),
    (
        "probe_knn_ece15",
        "kNN calibration error",
        "Gap between confidence and accuracy of nearest training cells, in 15 bins.",
    ),
    (
        "probe_knn_log_loss",
        "kNN log loss",
        "Log loss of nearest training cells.",
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

/// Whether more of it is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// Whether more of a metric is better.
pub(super) fn direction(name: &str) -> Direction {
    if name == "pcr" || name.ends_with("_ece15") || name.ends_with("_log_loss") {
        Direction::Down
    } else {
        Direction::Up
    }
}

/// Name of a metric in tables.
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

/// What a metric says; empty for names this program does not know.
pub(super) fn meaning(name: &str) -> &'static str {
    KNOWN.iter().find(|k| k.0 == name).map_or("", |k| k.2)
}

/// Place of a metric in tables: known ones first, in the order above.
pub(super) fn rank(name: &str) -> usize {
    KNOWN
        .iter()
        .position(|k| k.0 == name)
        .unwrap_or(KNOWN.len())
}

/// Heading of a group and the question it answers.
pub(super) fn group_title(group: Group) -> (&'static str, &'static str) {
    match group {
        Group::Bio => ("Bio conservation", "Are cell types kept apart?"),
        Group::Batch => ("Batch correction", "Are batches mixed inside cell types?"),
        Group::Geometry => (
            "Geometry",
            "Do cell types keep their distances from each other?",
        ),
        Group::Probe => (
            "Linear probe",
            "Can a simple classifier read the label of held-out cells?",
        ),
        Group::Aggregate => ("Aggregates", "Means over the metrics above."),
        Group::Control => (
            "Control in every row",
            "The linear probe on shuffled labels: 0 unless something leaks.",
        ),
    }
}

/// What the known baselines and controls are for; empty for other names.
pub(super) fn purpose(method: &str) -> &'static str {
    match method {
        "hvg" => {
            "The values of highly variable genes themselves. An embedding that loses to its own input has not helped."
        }
        "pca" => "The linear summary everybody has for free.",
        "lr-counts" => {
            "Logistic regression on log-normalised genes, without any embedding: the hardest simple opponent on labels."
        }
        "knn" => "Nearest training cells in gene space.",
        "shuffled-labels" => {
            "The probe learns labels in random order. Anything above chance means that information leaks."
        }
        "one-hot" => {
            "The label itself as embedding. scIB must rate it high, since scIB looks at labels; a geometry metric must not."
        }
        "random-embedding" => "Noise. Shows what each metric pays for nothing.",
        name if name.ends_with("-random") => {
            "The same architecture with untrained weights. What it scores is not owed to training."
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
