//! The result of one evaluated method: the file `result.json` of a run.
//!
//! Written by `scfm`, read by the report and by `cargo xtask experiment`.

use crate::halves::Estimate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of method was evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A foundation model, or an embedding claimed to be one.
    Model,
    /// A small network trained on the same cells: VAE, autoencoder, MLP, Islander.
    Neural,
    /// A classical method: HVG, PCA, logistic regression, kNN.
    Baseline,
    /// A score known in advance: random initialisation, shuffled or one-hot labels.
    Control,
}

/// Exposure of a method to the cells it is scored on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "seen")]
pub enum Exposure {
    /// None of them.
    Nothing,
    /// Some of them, without their labels: the row is transductive.
    Cells {
        /// Scored cells among the training cells.
        cells: usize,
        /// How they were recognised: by counts, or by barcode alone.
        by: Recognised,
    },
    /// Some of them with their labels: the row says nothing about new cells.
    Labels {
        /// Scored cells among the training cells.
        cells: usize,
        /// How they were recognised.
        by: Recognised,
        /// Columns of `obs` used in training.
        columns: Vec<String>,
    },
    /// Unknown: the origin of the embedding was not recorded.
    #[default]
    Unknown,
}

/// How a cell was recognised as a training cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recognised {
    /// By its counts.
    Counts,
    /// By its barcode alone; its counts differ.
    Barcode,
    /// By batch: its label is determined by the batch the model was conditioned on.
    Batch,
}

/// Which definition a metric follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The corrected definition.
    Strict,
    /// The published implementation, bugs included.
    Compat,
}

/// The aspect a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Are cell types separated?
    Bio,
    /// Are batches mixed?
    Batch,
    /// Do cell types keep their distances (scGraph)?
    Geometry,
    /// Can a simple classifier predict the label on held-out donors?
    Probe,
    /// Means over other metrics.
    Aggregate,
    /// Numbers known in advance, which show whether the others can be trusted.
    Control,
}

/// One number with its uncertainty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Machine name, scib-metrics' own where it has one (`silhouette_label`, `ilisi_knn`, …).
    pub name: String,
    /// The aspect it measures.
    pub group: Group,
    /// Which definition it follows.
    pub mode: Mode,
    /// The score; absent when undefined on these data.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval, see [`crate::halves`].
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// Cells behind the number.
    pub cells: usize,
    /// Donors behind the number; 0 where donors are unknown.
    pub donors: usize,
    /// Why it is undefined, or another note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Differences between two halves of the donors, in several divisions that all methods of a
    /// data set share, so that differences are paired; scaled to the standard error, null where
    /// undefined. See
    /// [`Estimate::differences`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub halves: Vec<Option<f64>>,
    /// Changes when one donor is left out, for a few of them; scaled as `halves`. See
    /// [`Estimate::changes`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<Option<f64>>,
    /// Degrees of freedom of Student's t: the effective number of donors, minus one.
    #[serde(default)]
    pub degrees: f64,
    /// Of an aggregate: the metrics behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

impl MetricRecord {
    /// The value with its uncertainty; `None` when undefined.
    pub fn estimate(&self) -> Option<Estimate> {
        let floats = |of: &[Option<f64>]| of.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        Some(Estimate {
            value: self.value.filter(|v| v.is_finite())?,
            differences: floats(&self.halves),
            changes: floats(&self.without),
            degrees: self.degrees,
            resolution: 1.0 / self.cells.max(1) as f64,
        })
    }
}

/// The range of a metric; intervals stay inside it.
pub(crate) fn range(name: &str) -> (f64, f64) {
    let from_minus_one = ["_mcc", "_ari"].iter().any(|e| name.ends_with(e))
        || name.starts_with("scgraph")
        || name == crate::protocol::SHUFFLED;
    if name.ends_with("_log_loss") {
        (0.0, f64::INFINITY)
    } else if from_minus_one {
        (-1.0, 1.0)
    } else {
        (0.0, 1.0)
    }
}

/// Time, memory and size; absent where unknown, as for an embedding that came with the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of training or fitting, including everything the method needs.
    pub train_seconds: Option<f64>,
    /// Seconds of embedding every cell.
    pub embed_seconds: Option<f64>,
    /// Seconds of metrics and probes.
    pub eval_seconds: Option<f64>,
    /// Peak resident memory of the whole process, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Trainable parameters.
    pub parameters: Option<u64>,
    /// Training steps taken.
    pub steps: Option<u64>,
    /// Cells it was trained on.
    pub training_cells: Option<u64>,
}

/// Per-class results of a classifier on the scored cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeDetail {
    /// Setting of the classifier, and how it was chosen; absent for predictions.
    pub setting: Option<String>,
    /// The classes that occur among true and predicted labels.
    pub classes: Vec<ClassDetail>,
}

/// One class of the scored cells: a row of the confusion matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassDetail {
    /// Name of the label.
    pub name: String,
    /// Scored cells with this label.
    pub cells: usize,
    /// Scored donors with such cells; absent where donors are unknown.
    pub donors: Option<usize>,
    /// Whether any training cell has the label.
    pub trained: bool,
    /// Number of cells predicted as each class, in the order of the classes.
    pub taken_for: Vec<usize>,
}

impl ProbeDetail {
    /// Precision, recall and F1 of class `k`; `None` where 0/0.
    pub fn scores(&self, k: usize) -> [Option<f64>; 3] {
        let hits = self.classes[k].taken_for.get(k).copied().unwrap_or(0) as f64;
        let predicted: usize = self.classes.iter().filter_map(|c| c.taken_for.get(k)).sum();
        let actual = self.classes[k].cells as f64;
        let share = |of: f64| (of > 0.0).then(|| hits / of);
        [
            share(predicted as f64),
            share(actual),
            share((predicted as f64 + actual) / 2.0),
        ]
    }
}

/// The data behind a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCard {
    /// File name, without folder.
    pub file: String,
    /// blake3 of the file.
    pub hash: String,
    /// Cells.
    pub cells: usize,
    /// Genes.
    pub genes: usize,
    /// Where the counts were found: `X`, `raw/X` or `layers/<name>`.
    pub counts: String,
    /// Share of stored entries.
    pub density: f64,
    /// Median counts per cell.
    pub median_counts: f64,
    /// The columns of `obs` used: label, batch and donor.
    pub label_column: String,
    /// Column of the sequencing batch.
    pub batch_column: String,
    /// Column of the donor.
    pub donor_column: String,
    /// Cells of every label.
    pub labels: BTreeMap<String, usize>,
    /// Cells of every batch.
    pub batches: BTreeMap<String, usize>,
    /// Donors held out for scoring.
    pub test_donors: Vec<String>,
    /// Donors used for training.
    pub train_donors: Vec<String>,
    /// Cells of the held-out donors.
    pub test_cells: usize,
    /// Warnings for the reader.
    pub warnings: Vec<String>,
}

/// A point of the training curve.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Step, from 1.
    pub step: u64,
    /// Named loss terms; `total` is their weighted sum.
    pub losses: BTreeMap<String, f64>,
}

/// A UMAP of the scored cells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Map2d {
    /// Coordinates, cell by cell.
    pub xy: Vec<[f32; 2]>,
    /// Label of every cell.
    pub labels: Vec<u32>,
    /// Batch of every cell.
    pub batches: Vec<u32>,
    /// Names behind `labels`.
    pub label_names: Vec<String>,
    /// Names behind `batches`.
    pub batch_names: Vec<String>,
}

/// The result of one evaluated method.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Schema version of this file.
    pub schema: u32,
    /// Method, as named in a report: `cellplm`, `pca`, `lr-counts`, …
    pub method: String,
    /// What kind of method was evaluated.
    pub family: Family,
    /// Description in one sentence.
    pub description: String,
    /// Preset or architecture, for trained models.
    #[serde(default)]
    pub preset: Option<String>,
    /// The preset whose number of parameters it matches.
    #[serde(default)]
    pub same_size_as: Option<String>,
    /// Objective, for trained models.
    #[serde(default)]
    pub objective: Option<String>,
    /// Seed of the run.
    pub seed: u64,
    /// Device it ran on.
    pub device: String,
    /// The data behind it.
    pub data: DataCard,
    /// Every number.
    pub metrics: Vec<MetricRecord>,
    /// Its exposure to the scored cells.
    #[serde(default)]
    pub exposure: Exposure,
    /// Per-class results of its linear probe.
    #[serde(default)]
    pub probe: Option<ProbeDetail>,
    /// Its cost.
    pub cost: Cost,
    /// Training curve, thinned to a few hundred points.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    /// UMAP of the scored cells.
    #[serde(default)]
    pub map: Option<Map2d>,
}

impl RunResult {
    /// The record named `name` in `mode`.
    pub fn metric(&self, name: &str, mode: Mode) -> Option<&MetricRecord> {
        self.metrics
            .iter()
            .find(|m| m.name == name && m.mode == mode)
    }
}
