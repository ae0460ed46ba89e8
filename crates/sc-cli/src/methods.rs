//! The methods that are judged side by side: models, baselines, controls.

use crate::error::{Error, Result, message};
use crate::manifest::peak_memory;
use crate::options::Options as MethodOptions;
use crate::study::{Study, most_variable, sample};
use ndarray::{Array2, ArrayView2};
use sc_data::CsrMatrix;
use sc_data::pca::pca;
use sc_eval::baselines::Features;
use sc_eval::categories::Categories;
use sc_eval::controls;
use sc_eval::protocol::{
    Dataset, Judgement, Options, References, ScgraphReferences, judge_embedding, judge_linear,
    judge_predictions, map2d, scgraph_references,
};
use sc_eval::results::{Cost, CurvePoint, Exposure, Family, Map2d, RunResult};
use sc_train::registry::{self, Kind};
use std::time::Instant;

/// Components of the PCA baseline.
const COMPONENTS: usize = 50;
/// Variable genes of the HVG and PCA baselines.
const VARIABLE: usize = 2000;
/// Dimensions of the random embedding.
const RANDOM_DIMS: usize = 50;
/// Neighbours of the kNN baseline.
const NEIGHBOURS: usize = 15;

/// Baselines and controls, with the sentence the report prints.
pub(crate) const SIMPLE: &[(&str, Family, &str)] = &[
    (
        "hvg",
        Family::Baseline,
        "log-normalised values of 2,000 highly variable genes, as they are",
    ),
    (
        "pca",
        Family::Baseline,
        "50 principal components of the same genes, fitted on training donors",
    ),
    (
        "lr-counts",
        Family::Baseline,
        "L2 logistic regression on log-normalised counts of all genes, scaling and penalty chosen like every probe's",
    ),
    (
        "knn",
        Family::Baseline,
        "15 nearest neighbours on the principal components, majority vote",
    ),
    (
        "shuffled-labels",
        Family::Control,
        "principal components judged with shuffled labels: chance",
    ),
    (
        "one-hot",
        Family::Control,
        "the labels themselves as the embedding: perfect and worthless",
    ),
    (
        "random-embedding",
        Family::Control,
        "50 random numbers per cell: nothing to find",
    ),
];

/// How maps are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    /// UMAP of at most so many cells.
    Umap(usize),
    /// No picture.
    None,
}

/// What every method of a study is judged with.
pub(crate) struct Bench<'a> {
    pub(crate) study: &'a Study,
    pub(crate) options: Options,
    pub(crate) picture: Picture,
    /// Variable genes `[cells, genes]`, and the seconds of choosing them.
    variable: (CsrMatrix, f64),
    /// Principal components of all cells, and the seconds of fitting them on the variable genes.
    pca: (Array2<f32>, f64),
    /// Components of the same number for every row, which metrics compare with.
    reference: Array2<f32>,
    scgraph: ScgraphReferences,
    asked: MethodOptions,
}

/// Who is judged.
pub(crate) struct Who {
    pub(crate) method: String,
    pub(crate) family: Family,
    pub(crate) description: String,
    pub(crate) preset: Option<String>,
    pub(crate) same_size_as: Option<String>,
    pub(crate) exposure: Exposure,
    pub(crate) objective: Option<String>,
    pub(crate) seed: u64,
    pub(crate) device: String,
}

impl<'a> Bench<'a> {
    /// Fits what is shared: principal components and the reference geometry of the labels. `asked`
    /// are the options of the one baseline that will run, if it has any.
    pub(crate) fn new(
        study: &'a Study,
        options: Options,
        picture: Picture,
        asked: MethodOptions,
    ) -> Result<Self> {
        let started = Instant::now();
        let genes = variable_genes(study, VARIABLE)?;
        let variable = (genes, seconds(started));
        let started = Instant::now();
        let pca = principal_components(study, &variable.0, COMPONENTS)?;
        let pca = (pca, seconds(started));
        let reference = pca.0.clone();
        let (variable, pca) = match (asked.genes, asked.components) {
            (None, None) => (variable, pca),
            (genes, components) => {
                let started = Instant::now();
                let genes = variable_genes(study, genes.unwrap_or(VARIABLE))?;
                let variable = (genes, seconds(started));
                let started = Instant::now();
                let components = components.unwrap_or(COMPONENTS);
                let pca = principal_components(study, &variable.0, components)?;
                (variable, (pca, seconds(started)))
            }
        };
        let scgraph = scgraph_references(&study.values, &study.dataset)?;
        Ok(Self {
            study,
            options,
            picture,
            asked,
            variable,
            pca,
            reference,
            scgraph,
        })
    }

    /// Judges the baseline or control called `method`. Work that several methods share is charged to
    /// each: it is what a user of that method alone would wait for.
    pub(crate) fn simple(&self, who: Who, method: &str) -> Result<RunResult> {
        let started = Instant::now();
        let dataset = &self.study.dataset;
        let labels = dataset.labels.codes();
        let (variable, pca) = (self.variable.1, self.variable.1 + self.pca.1);
        match method {
            "hvg" => {
                let embedding = self.variable_values()?;
                let cost = fitted(variable + seconds(started));
                self.embedding(who, embedding.view(), dataset, cost, Vec::new())
            }
            "pca" => self.embedding(who, self.pca.0.view(), dataset, fitted(pca), Vec::new()),
            "shuffled-labels" => {
                let codes = controls::shuffled_labels(labels, who.seed);
                let labels = Categories::new(codes, dataset.labels.names().to_vec())?;
                let shuffled = Dataset {
                    labels,
                    ..dataset.clone()
                };
                self.embedding(who, self.pca.0.view(), &shuffled, fitted(pca), Vec::new())
            }
            "one-hot" => {
                let embedding = controls::one_hot(labels);
                let cost = fitted(seconds(started));
                self.embedding(who, embedding.view(), dataset, cost, Vec::new())
            }
            "random-embedding" => {
                let embedding = controls::random_embedding(
                    labels.len(),
                    self.asked.dimensions.unwrap_or(RANDOM_DIMS),
                    who.seed,
                );
                let cost = fitted(seconds(started));
                self.embedding(who, embedding.view(), dataset, cost, Vec::new())
            }
            "lr-counts" => {
                let features = Features::Sparse(self.study.values.matrix());
                let judged = judge_linear(features, dataset, &self.options)?;
                Ok(self.result(who, judged, fitted(seconds(started)), None, Vec::new()))
            }
            "knn" => {
                let predictions = self.neighbour_votes()?;
                let mut cost = fitted(pca + seconds(started));
                let started = Instant::now();
                let judged = judge_predictions(&predictions, dataset)?;
                cost.eval_seconds = Some(seconds(started));
                Ok(self.result(who, judged, cost, None, Vec::new()))
            }
            other => Err(unknown(other)),
        }
    }

    fn neighbour_votes(&self) -> Result<sc_eval::protocol::Predictions> {
        let dataset = &self.study.dataset;
        let rows = |rows: &[usize]| self.pca.0.select(ndarray::Axis(0), rows);
        let labels = dataset.labels.select(&dataset.train);
        let (train, test) = (rows(&dataset.train), rows(&dataset.test));
        Ok(sc_eval::baselines::knn_classify(
            train.view(),
            labels.codes(),
            test.view(),
            self.asked.neighbors.unwrap_or(NEIGHBOURS),
        )?)
    }

    fn variable_values(&self) -> Result<Array2<f32>> {
        let matrix = &self.variable.0;
        let shape = (matrix.rows(), matrix.cols());
        Ok(Array2::from_shape_vec(shape, matrix.to_dense())?)
    }

    /// Judges an embedding of all cells.
    pub(crate) fn embedding(
        &self,
        who: Who,
        embedding: ArrayView2<'_, f32>,
        dataset: &Dataset,
        mut cost: Cost,
        curve: Vec<CurvePoint>,
    ) -> Result<RunResult> {
        let started = Instant::now();
        let references = References {
            pre_integration: Some(self.reference.view()),
            scgraph: Some(&self.scgraph),
        };
        let judged = judge_embedding(embedding, dataset, &references, &self.options)?;
        cost.eval_seconds = Some(seconds(started));
        let map = self.map(embedding, dataset)?;
        Ok(self.result(who, judged, cost, map, curve))
    }

    /// A picture of the held-out cells.
    fn map(&self, embedding: ArrayView2<'_, f32>, dataset: &Dataset) -> Result<Option<Map2d>> {
        let Picture::Umap(most) = self.picture else {
            return Ok(None);
        };
        let step = dataset.test.len().div_ceil(most.max(1)).max(1);
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
        who: Who,
        judged: Judgement,
        cost: Cost,
        map: Option<Map2d>,
        curve: Vec<CurvePoint>,
    ) -> RunResult {
        RunResult {
            schema: sc_eval::report::SCHEMA,
            method: who.method,
            family: who.family,
            description: who.description,
            preset: who.preset,
            same_size_as: who.same_size_as,
            objective: who.objective,
            seed: who.seed,
            device: who.device,
            data: self.study.card.clone(),
            metrics: judged.records,
            exposure: who.exposure,
            probe: judged.probe,
            cost: Cost {
                peak_memory_bytes: Some(peak_memory()).filter(|b| *b > 0),
                ..cost
            },
            curve,
            map,
        }
    }
}

/// The cost of a method that only fits.
fn fitted(seconds: f64) -> Cost {
    Cost {
        train_seconds: Some(seconds),
        ..Cost::default()
    }
}

fn seconds(started: Instant) -> f64 {
    started.elapsed().as_secs_f64()
}

/// The sentence about a baseline or control, and its family.
pub(crate) fn describe(method: &str) -> Option<(Family, &'static str)> {
    SIMPLE.iter().find(|s| s.0 == method).map(|s| (s.1, s.2))
}

/// The refusal of a name that no baseline or control has.
pub(crate) fn unknown(method: &str) -> Error {
    message(format!(
        "there is no baseline or control '{method}'; there are: {}",
        names().join(", ")
    ))
}

/// Names of all baselines and controls.
pub(crate) fn names() -> Vec<&'static str> {
    SIMPLE.iter().map(|s| s.0).collect()
}

/// What kind of thing a trained architecture is.
pub(crate) fn family(architecture: &str) -> Family {
    match registry::find(architecture).map(|a| a.kind) {
        Some(Kind::NeuralBaseline) => Family::Neural,
        // An architecture of another version is held to what is asked of a foundation model.
        Some(Kind::FoundationModel) | None => Family::Model,
    }
}

/// Values of variable genes, chosen on the training donors.
fn variable_genes(study: &Study, genes: usize) -> Result<CsrMatrix> {
    let dataset = &study.dataset;
    let codes = dataset.batches.codes();
    let rows = sample(&dataset.train, codes);
    let chosen = most_variable(&study.values.select_rows(&rows), &rows, codes, genes)?;
    Ok(study.values.matrix().select_cols(&chosen))
}

/// Principal components of all cells, fitted on the training donors.
fn principal_components(
    study: &Study,
    variable: &CsrMatrix,
    components: usize,
) -> Result<Array2<f32>> {
    let train = variable.select_rows(&study.dataset.train);
    let most = train.rows().saturating_sub(1).min(train.cols());
    Ok(pca(&train, components.min(most))?.transform(variable)?)
}
