//! The whole judgement of one method on one data set: held-out donors, metrics, probes, intervals.

mod recorder;
mod suite;

use crate::baselines::{Features, LogisticOptions, knn_classify, logistic_l2};
use crate::categories::Categories;
use crate::error::{EvalError, Undefined};
use crate::layout;
use crate::metrics::scgraph::{self, Consensus};
use crate::neighbors::{Ties, knn};
use crate::results::{MetricRecord, Mode};
use ndarray::{Array2, ArrayView2, Axis};
use recorder::Recorder;
use sc_data::LogNormalized;

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
    /// Geometry of labels, from [`scgraph_references`].
    pub scgraph: Option<&'a ScgraphReferences>,
}

/// The two reference geometries of scGraph, or why there is none.
#[derive(Clone, Debug)]
pub struct ScgraphReferences {
    /// From the training donors, so that no scored cell shapes its own reference.
    pub strict: Result<Consensus, Undefined>,
    /// From the scored cells themselves, as the published package does.
    pub compat: Result<Consensus, Undefined>,
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

impl Dataset {
    /// Refuses columns of different lengths, rows that do not exist and an empty test set.
    ///
    /// # Errors
    /// [`EvalError`] saying which.
    pub fn check(&self) -> Result<(), EvalError> {
        let cells = self.labels.len();
        EvalError::check("batches", cells, self.batches.len())?;
        EvalError::check("donors", cells, self.donors.len())?;
        if let Some(row) = self.train.iter().chain(&self.test).find(|&&r| r >= cells) {
            return Err(EvalError::invalid(format!(
                "the split names cell {row}, but there are {cells} cells"
            )));
        }
        if self.test.is_empty() {
            return Err(EvalError::invalid(
                "no cell is held out, so nothing can be scored; hold out at least one donor",
            ));
        }
        Ok(())
    }
}

/// Builds both geometries from log-normalised values of all cells and genes; once per data set.
///
/// # Errors
/// [`EvalError`] when shapes do not fit. A geometry that cannot be built is a reason inside.
pub fn scgraph_references(
    values: &LogNormalized,
    dataset: &Dataset,
) -> Result<ScgraphReferences, EvalError> {
    dataset.check()?;
    EvalError::check(
        "log-normalised values",
        dataset.labels.len(),
        values.matrix().rows(),
    )?;
    let build = |rows: &[usize], mode| {
        let labels = dataset.labels.select(rows);
        let batches = dataset.batches.select(rows);
        let all: Vec<usize> = (0..rows.len()).collect();
        let sub = values.select_rows(rows);
        let parts = scgraph::reference_batches(&sub, batches.codes(), &all)?;
        Consensus::new(&parts, labels.codes(), mode)
    };
    Ok(ScgraphReferences {
        strict: build(&dataset.train, Mode::Strict),
        compat: build(&dataset.test, Mode::Compat),
    })
}

/// Judges an embedding `[all cells, dims]`: metrics on the held-out donors' cells (strict, and
/// compat where its definition differs), and linear and kNN probes fitted on the training donors.
///
/// Neighbours for strict metrics break ties by a hash of the cell's position, so that one-hot and
/// other tied embeddings are not rewarded or punished by the order of cells in the file; compat
/// breaks them by position. Aggregates are means over the metrics named in
/// [`crate::metrics::aggregate`], over those that are defined, and say how many these were.
///
/// # Errors
/// [`EvalError`] when shapes do not fit or the embedding is not finite.
pub fn judge_embedding(
    embedding: ArrayView2<'_, f32>,
    dataset: &Dataset,
    references: &References<'_>,
    options: &Options,
) -> Result<Judgement, EvalError> {
    dataset.check()?;
    EvalError::check("embedding", dataset.labels.len(), embedding.nrows())?;
    if let Some(pre) = references.pre_integration {
        EvalError::check(
            "pre-integration embedding",
            dataset.labels.len(),
            pre.nrows(),
        )?;
    }
    crate::pairs::check_finite("embedding", embedding)?;
    let mut recorder = Recorder::new(dataset, options);
    suite::metrics(embedding, dataset, references, options, &mut recorder)?;
    let truth = dataset.labels.select(&dataset.test);
    recorder.part("probes");
    if dataset.train.is_empty() {
        recorder
            .judgement
            .records
            .push(recorder.missing("probe_lr_accuracy"));
        recorder
            .judgement
            .records
            .push(recorder.missing("probe_knn_accuracy"));
    } else {
        let linear = linear_predictions(Features::Dense(embedding), dataset, options)?;
        recorder.probe("probe_lr_", &linear, truth.codes());
        let train = embedding.select(Axis(0), &dataset.train);
        let test = embedding.select(Axis(0), &dataset.test);
        let votes = knn_classify(
            train.view(),
            dataset.labels.select(&dataset.train).codes(),
            test.view(),
            options.probe_neighbors,
        )?;
        recorder.probe("probe_knn_", &votes, truth.codes());
    }
    Ok(recorder.finish())
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
    dataset.check()?;
    EvalError::check(
        "predictions",
        dataset.test.len(),
        predictions.predicted.len(),
    )?;
    let mut recorder = Recorder::new(dataset, options);
    recorder.part("probes");
    recorder.probe(
        "probe_lr_",
        predictions,
        dataset.labels.select(&dataset.test).codes(),
    );
    Ok(recorder.finish())
}

/// Fits the linear probe (multinomial L2 logistic regression, `C = 1`) on the training rows of
/// features of all cells and predicts the held-out rows.
///
/// Dense features follow [`Options::probe_features`]; sparse ones (counts, log-normalised values of
/// all genes) are taken as they are.
///
/// # Errors
/// [`EvalError`] when shapes do not fit, values are not finite or there is no training cell.
pub fn linear_predictions(
    features: Features<'_>,
    dataset: &Dataset,
    options: &Options,
) -> Result<Predictions, EvalError> {
    dataset.check()?;
    EvalError::check("features", dataset.labels.len(), features.cells())?;
    let labels = dataset.labels.select(&dataset.train);
    let fit = LogisticOptions::default();
    match features {
        Features::Dense(x) => {
            let mut train = x.select(Axis(0), &dataset.train);
            let mut test = x.select(Axis(0), &dataset.test);
            if options.probe_features == ProbeFeatures::Standardized {
                standardise(&mut train, &mut test);
            }
            logistic_l2(Features::Dense(train.view()), labels.codes(), &fit)?
                .predict(Features::Dense(test.view()))
        }
        Features::Sparse(x) => {
            let (train, test) = (x.select_rows(&dataset.train), x.select_rows(&dataset.test));
            logistic_l2(Features::Sparse(&train), labels.codes(), &fit)?
                .predict(Features::Sparse(&test))
        }
    }
}

/// Mean 0 and standard deviation 1 on `train`; a constant column becomes 0.
fn standardise(train: &mut Array2<f32>, test: &mut Array2<f32>) {
    let n = train.nrows().max(1) as f64;
    for (mut a, mut b) in train.columns_mut().into_iter().zip(test.columns_mut()) {
        let mean = a.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let spread = (a
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / n)
            .sqrt();
        let factor = if spread > 1e-7 * mean.abs() {
            1.0 / spread
        } else {
            0.0
        };
        a.mapv_inplace(|v| ((f64::from(v) - mean) * factor) as f32);
        b.mapv_inplace(|v| ((f64::from(v) - mean) * factor) as f32);
    }
}

/// A UMAP picture of the cells at `rows` of an embedding `[all cells, dims]`, started from its
/// first two principal components.
///
/// # Errors
/// [`EvalError`] when a row does not exist or the embedding is not finite.
pub fn map2d(
    embedding: ArrayView2<'_, f32>,
    rows: &[usize],
    seed: u64,
) -> Result<Vec<[f32; 2]>, EvalError> {
    if let Some(row) = rows.iter().find(|&&r| r >= embedding.nrows()) {
        return Err(EvalError::invalid(format!(
            "the picture wants cell {row}, but there are {} cells",
            embedding.nrows()
        )));
    }
    let x = embedding.select(Axis(0), rows);
    let near = knn(x.view(), suite::GRAPH_NEIGHBORS, Ties::Hashed(seed))?;
    let init = layout::principal_plane(x.view()).unwrap_or_else(|_| x.clone());
    Ok(layout::umap2d(&near, init.view(), seed))
}
