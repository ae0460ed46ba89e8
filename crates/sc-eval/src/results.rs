//! What one judged method leaves behind: the file `result.json` of a run.
//!
//! Written by `scfm`, read by the report and by `cargo xtask experiment`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What kind of thing was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A trained foundation model.
    Model,
    /// A simple method a model must beat: HVG, PCA, logistic regression, kNN.
    Baseline,
    /// Something whose score is known in advance: random initialisation, shuffled or one-hot labels.
    Control,
}

/// Which definition a metric follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What an honest evaluation should compute.
    Strict,
    /// The published implementation, bugs included.
    Compat,
}

/// The aspect a metric speaks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Are cell types kept apart?
    Bio,
    /// Are batches mixed?
    Batch,
    /// Do cell types keep their distances (scGraph)?
    Geometry,
    /// Can a simple classifier read the label on donors it has not seen?
    Probe,
    /// Means over other metrics.
    Aggregate,
}

/// One number with its uncertainty.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MetricRecord {
    /// Machine name, scib-metrics' own where it has one (`silhouette_label`, `ilisi_knn`, …).
    pub name: String,
    /// The aspect it speaks about.
    pub group: Group,
    /// Which definition it follows.
    pub mode: Mode,
    /// The score; absent when undefined on these data.
    pub value: Option<f64>,
    /// 2.5 % point of the donor bootstrap.
    pub low: Option<f64>,
    /// 97.5 % point of the donor bootstrap.
    pub high: Option<f64>,
    /// Cells behind the number.
    pub cells: usize,
    /// Donors behind the number.
    pub donors: usize,
    /// Why it is undefined, or what to know about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// One value per bootstrap replicate; replicate `r` resamples the same donors for every method
    /// of an experiment, so differences between methods are paired. NaN is stored as null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicates: Vec<Option<f32>>,
}

/// Time, memory and size.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds of training or fitting.
    pub train_seconds: f64,
    /// Seconds of embedding every cell.
    pub embed_seconds: f64,
    /// Seconds of metrics and probes.
    pub eval_seconds: f64,
    /// Peak resident memory of the whole process, bytes.
    pub peak_memory_bytes: u64,
    /// Trainable parameters.
    pub parameters: u64,
    /// Training steps taken.
    pub steps: u64,
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
    /// Median counts of a cell.
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
    /// Things the reader should know.
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

/// A two-dimensional picture of the scored cells.
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

/// Everything one judged method leaves behind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of this file's layout.
    pub schema: u32,
    /// Method, as rows are named in a report: `cellplm`, `pca`, `lr-counts`, …
    pub method: String,
    /// What kind of thing was judged.
    pub family: Family,
    /// One sentence: what the method is.
    pub description: String,
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
    /// What it cost.
    pub cost: Cost,
    /// Training curve, thinned to a few hundred points.
    #[serde(default)]
    pub curve: Vec<CurvePoint>,
    /// Picture of the scored cells.
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
