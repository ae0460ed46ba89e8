//! Methods side by side on one data set: embeddings, baselines and controls, each evaluated by the
//! same protocol, with its cost.
//!
//! [`Benchmark::new`] fits what all methods share (variable genes, principal components, the
//! geometry of the labels); [`Benchmark::embedding`] evaluates an embedding,
//! [`Benchmark::baseline`] a baseline or control by name.

#[cfg(feature = "files")]
mod open;
mod options;
mod reference;

#[cfg(feature = "files")]
pub use open::{Design, MIN_CELLS_PER_DONOR};
pub use options::MethodOptions;
pub use reference::{COMPONENTS, Reference, VARIABLE_GENES};

use crate::baselines::Features;
use crate::categories::Categories;
use crate::controls;
use crate::error::EvalError;
use crate::protocol::{
    Annotations, Evaluation, Options, Predictions, References, evaluate_embedding, evaluate_linear,
    evaluate_predictions, map2d,
};
use crate::results::{Cost, CurvePoint, DataCard, Exposure, Family, Map2d, RunResult};
use ndarray::{Array2, ArrayView2};
use reference::{principal_components, variable_genes};
use sc_data::identity::CellKeys;
use sc_data::{CsrMatrix, DataError, LogNormalized};
use std::time::Instant;

/// Any error of a benchmark.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchmarkError {
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// What is evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Result of a benchmark.
pub type Result<T, E = BenchmarkError> = std::result::Result<T, E>;

/// Dimensions of the random embedding.
const RANDOM_DIMS: usize = 50;
/// Neighbours of the kNN baseline.
const NEIGHBOURS: usize = 15;

/// Baselines and controls, each with its family and description in the report.
pub const METHODS: &[(&str, Family, &str)] = &[
    (
        "hvg",
        Family::Baseline,
        "log-normalised values of 2,000 highly variable genes, no embedding",
    ),
    (
        "pca",
        Family::Baseline,
        "50 principal components of the same genes, fitted on training donors",
    ),
    (
        "lr-counts",
        Family::Baseline,
        "L2 logistic regression on log-normalised counts of all genes, scaling and penalty chosen as for every probe",
    ),
    (
        "knn",
        Family::Baseline,
        "15 nearest neighbours on the principal components, majority vote",
    ),
    (
        "shuffled-labels",
        Family::Control,
        "principal components evaluated with shuffled labels: chance level",
    ),
    (
        "one-hot",
        Family::Control,
        "the labels themselves as the embedding: perfect and worthless",
    ),
    (
        "random-embedding",
        Family::Control,
        "50 random numbers per cell: no signal",
    ),
];

/// A data set ready for evaluation.
pub struct EvalData {
    /// Labels, batches, donors and split.
    pub annotations: Annotations,
    /// Identity of the cells.
    pub keys: CellKeys,
    /// Log-normalised values of all cells and genes.
    pub values: LogNormalized,
    /// Description of the data in a report.
    pub card: DataCard,
}

/// What every method on a data set is evaluated with.
pub struct Benchmark<'a> {
    data: &'a EvalData,
    options: Options,
    /// Cells of a UMAP of the scored cells; 0 for none.
    map_cells: usize,
    /// What every method is compared on.
    reference: Reference,
    /// Variable genes `[cells, genes]`, and the seconds of choosing them.
    variable: (CsrMatrix, f64),
    /// Principal components of all cells, and the seconds of fitting them on the variable genes.
    pca: (Array2<f32>, f64),
    method_options: MethodOptions,
}

/// Description of a row of the report.
#[derive(Clone, Debug)]
pub struct MethodInfo {
    /// Name of the row.
    pub method: String,
    /// Role in comparisons.
    pub family: Family,
    /// One-sentence description.
    pub description: String,
    /// Preset of the model, if it is one.
    pub preset: Option<String>,
    /// The model whose number of parameters it matches.
    pub same_size_as: Option<String>,
    /// Which scored cells it was trained on.
    pub exposure: Exposure,
    /// Training objective.
    pub objective: Option<String>,
    /// Seed of its random draws.
    pub seed: u64,
    /// Device it ran on.
    pub device: String,
}

impl MethodInfo {
    /// A method computed here, fitted on training donors only.
    pub fn new(method: &str, family: Family, description: &str, seed: u64) -> Self {
        Self {
            method: method.to_owned(),
            family,
            description: description.to_owned(),
            preset: None,
            same_size_as: None,
            exposure: Exposure::Nothing,
            objective: None,
            seed,
            device: "cpu".to_owned(),
        }
    }
}

impl<'a> Benchmark<'a> {
    /// Fits what is shared ([`Reference::fit`]).
    /// `method_options` are those of the one baseline that will run, if it has any; a UMAP of at most
    /// `map_cells` scored cells is drawn for every embedding.
    ///
    /// # Errors
    /// [`BenchmarkError`] when shapes do not match.
    pub fn new(
        data: &'a EvalData,
        options: Options,
        map_cells: usize,
        method_options: MethodOptions,
    ) -> Result<Self> {
        let reference = Reference::fit(data)?;
        Self::with_reference(data, reference, options, map_cells, method_options)
    }

    /// The same with a reference that was fitted before.
    ///
    /// # Errors
    /// [`BenchmarkError`] when shapes do not fit.
    pub fn with_reference(
        data: &'a EvalData,
        reference: Reference,
        options: Options,
        map_cells: usize,
        method_options: MethodOptions,
    ) -> Result<Self> {
        let started = Instant::now();
        let (genes, gene_seconds) = match method_options.genes {
            None => (reference.genes.clone(), reference.gene_seconds),
            Some(genes) => (variable_genes(data, genes)?, seconds(started)),
        };
        let values = data.values.matrix().select_cols(&genes);
        let started = Instant::now();
        let pca = match (method_options.genes, method_options.components) {
            (None, None) => (reference.components.clone(), reference.component_seconds),
            (_, components) => {
                let components = components.unwrap_or(COMPONENTS);
                let fitted = principal_components(data, &values, components)?;
                (fitted, seconds(started))
            }
        };
        Ok(Self {
            data,
            options,
            map_cells,
            method_options,
            reference,
            variable: (values, gene_seconds),
            pca,
        })
    }

    /// The data.
    pub fn data(&self) -> &'a EvalData {
        self.data
    }

    /// Evaluates the baseline or control called `method`. Work that several methods share counts
    /// towards each: it is the time that method alone would take.
    ///
    /// # Errors
    /// [`EvalError::Invalid`] for an unknown baseline or control.
    pub fn baseline(&self, info: MethodInfo, method: &str) -> Result<RunResult> {
        let started = Instant::now();
        let cells = &self.data.annotations;
        let labels = cells.labels.codes();
        let (variable, pca) = (self.variable.1, self.variable.1 + self.pca.1);
        let embedding = |vectors: ArrayView2<'_, f32>, seconds: f64| {
            self.embedding(info.clone(), vectors, fitted(seconds), Vec::new())
        };
        match method {
            "hvg" => {
                let values = self.variable_values();
                embedding(values.view(), variable + seconds(started))
            }
            "pca" => embedding(self.pca.0.view(), pca),
            "shuffled-labels" => {
                let codes = controls::shuffled_labels(labels, info.seed);
                let labels = Categories::new(codes, cells.labels.names().to_vec())?;
                let shuffled = Annotations {
                    labels,
                    ..cells.clone()
                };
                let vectors = self.pca.0.view();
                self.evaluated(info, vectors, &shuffled, fitted(pca), Vec::new())
            }
            "one-hot" => {
                let vectors = controls::one_hot(labels);
                embedding(vectors.view(), seconds(started))
            }
            "random-embedding" => {
                let dimensions = self.method_options.dimensions.unwrap_or(RANDOM_DIMS);
                let vectors = controls::random_embedding(labels.len(), dimensions, info.seed);
                embedding(vectors.view(), seconds(started))
            }
            "lr-counts" => {
                let features = Features::Sparse(self.data.values.matrix());
                let evaluated = evaluate_linear(features, cells, &self.options)?;
                Ok(self.result(info, evaluated, fitted(seconds(started)), None, Vec::new()))
            }
            "knn" => {
                let predictions = self.neighbour_votes()?;
                let mut cost = fitted(pca + seconds(started));
                let started = Instant::now();
                let evaluated = evaluate_predictions(&predictions, cells)?;
                cost.eval_seconds = Some(seconds(started));
                Ok(self.result(info, evaluated, cost, None, Vec::new()))
            }
            other => Err(unknown(other).into()),
        }
    }

    /// Evaluates an embedding of all cells, `[cells, dims]`; `cost` is what it took to compute.
    ///
    /// # Errors
    /// [`EvalError`] for vectors of another number of cells, or that are not finite.
    pub fn embedding(
        &self,
        info: MethodInfo,
        vectors: ArrayView2<'_, f32>,
        cost: Cost,
        curve: Vec<CurvePoint>,
    ) -> Result<RunResult> {
        self.evaluated(info, vectors, &self.data.annotations, cost, curve)
    }

    fn neighbour_votes(&self) -> Result<Predictions> {
        let dataset = &self.data.annotations;
        let rows = |rows: &[usize]| self.pca.0.select(ndarray::Axis(0), rows);
        let labels = dataset.labels.select(&dataset.train);
        let (train, test) = (rows(&dataset.train), rows(&dataset.test));
        Ok(crate::baselines::knn_classify(
            train.view(),
            labels.codes(),
            test.view(),
            self.method_options.neighbors.unwrap_or(NEIGHBOURS),
        )?)
    }

    fn variable_values(&self) -> Array2<f32> {
        let matrix = &self.variable.0;
        let shape = (matrix.rows(), matrix.cols());
        Array2::from_shape_vec(shape, matrix.to_dense()).expect("invariant: rows times columns")
    }

    fn evaluated(
        &self,
        info: MethodInfo,
        embedding: ArrayView2<'_, f32>,
        dataset: &Annotations,
        mut cost: Cost,
        curve: Vec<CurvePoint>,
    ) -> Result<RunResult> {
        let started = Instant::now();
        let references = References {
            pre_integration: Some(self.reference.components.view()),
            scgraph: Some(&self.reference.scgraph),
        };
        let evaluated = evaluate_embedding(embedding, dataset, &references, &self.options)?;
        cost.eval_seconds = Some(seconds(started));
        let map = self.map(embedding, dataset)?;
        Ok(self.result(info, evaluated, cost, map, curve))
    }

    /// A UMAP of the held-out cells.
    fn map(&self, embedding: ArrayView2<'_, f32>, dataset: &Annotations) -> Result<Option<Map2d>> {
        if self.map_cells == 0 {
            return Ok(None);
        }
        let step = dataset.test.len().div_ceil(self.map_cells).max(1);
        let rows: Vec<usize> = dataset.test.iter().step_by(step).copied().collect();
        if rows.len() < 3 {
            return Ok(None);
        }
        let (labels, batches) = (dataset.labels.select(&rows), dataset.batches.select(&rows));
        Ok(Some(Map2d {
            xy: map2d(embedding, &rows, self.options.seed)?,
            labels: labels.codes().to_vec(),
            batches: batches.codes().to_vec(),
            label_names: labels.names().to_vec(),
            batch_names: batches.names().to_vec(),
        }))
    }

    fn result(
        &self,
        info: MethodInfo,
        evaluated: Evaluation,
        cost: Cost,
        map: Option<Map2d>,
        curve: Vec<CurvePoint>,
    ) -> RunResult {
        tracing::info!(method = %info.method, seconds = cost.eval_seconds, "evaluated");
        RunResult {
            schema: crate::report::SCHEMA,
            method: info.method,
            family: info.family,
            description: info.description,
            preset: info.preset,
            same_size_as: info.same_size_as,
            objective: info.objective,
            seed: info.seed,
            device: info.device,
            data: self.data.card.clone(),
            metrics: evaluated.records,
            exposure: info.exposure,
            probe: evaluated.probe,
            cost: Cost {
                // A reference that another process fitted has cost its memory there.
                peak_memory_bytes: Some(sc_data::memory::peak().max(self.reference.peak_memory))
                    .filter(|b| *b > 0),
                ..cost
            },
            curve,
            map,
        }
    }
}

/// The cost of a method that is only fitted.
fn fitted(seconds: f64) -> Cost {
    Cost {
        train_seconds: Some(seconds),
        ..Cost::default()
    }
}

fn seconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

/// Family and description of a baseline or control.
pub fn describe(method: &str) -> Option<(Family, &'static str)> {
    METHODS.iter().find(|s| s.0 == method).map(|s| (s.1, s.2))
}

/// The error for an unknown baseline or control.
pub fn unknown(method: &str) -> EvalError {
    let names: Vec<&str> = METHODS.iter().map(|m| m.0).collect();
    EvalError::invalid(format!(
        "unknown baseline or control '{method}'; available: {}",
        names.join(", ")
    ))
}
