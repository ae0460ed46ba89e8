//! The methods that are judged side by side: models, baselines, controls.

use crate::error::{Result, message};
use crate::manifest::peak_memory;
use crate::study::{Study, most_variable, sample};
use ndarray::{Array2, ArrayView2};
use sc_data::pca::pca;
use sc_eval::baselines::Features;
use sc_eval::categories::Categories;
use sc_eval::controls;
use sc_eval::protocol::{
    Dataset, Judgement, Options, References, ScgraphReferences, judge_embedding, judge_predictions,
    linear_predictions, map2d, scgraph_references,
};
use sc_eval::results::{Cost, CurvePoint, Family, Map2d, RunResult};
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
        "L2 logistic regression on log-normalised counts of all genes",
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
        "50 random numbers a cell: nothing to find",
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
    pca: Array2<f32>,
    scgraph: ScgraphReferences,
}

/// Who is judged.
pub(crate) struct Who {
    pub(crate) method: String,
    pub(crate) family: Family,
    pub(crate) description: String,
    pub(crate) objective: Option<String>,
    pub(crate) seed: u64,
    pub(crate) device: String,
}

impl<'a> Bench<'a> {
    /// Fits what is shared: principal components and the reference geometry of the labels.
    pub(crate) fn new(study: &'a Study, options: Options, picture: Picture) -> Result<Self> {
        let pca = principal_components(study)?;
        let scgraph = scgraph_references(&study.values, &study.dataset)?;
        Ok(Self {
            study,
            options,
            picture,
            pca,
            scgraph,
        })
    }

    /// Judges the baseline or control called `method`.
    pub(crate) fn simple(&self, who: Who, method: &str) -> Result<RunResult> {
        let started = Instant::now();
        let dataset = &self.study.dataset;
        let labels = dataset.labels.codes();
        let embedding = match method {
            "hvg" => variable_values(self.study)?,
            "pca" | "shuffled-labels" => self.pca.clone(),
            "one-hot" => controls::one_hot(labels),
            "random-embedding" => controls::random_embedding(labels.len(), RANDOM_DIMS, who.seed),
            "lr-counts" => {
                let features = Features::Sparse(self.study.values.matrix());
                let predictions = linear_predictions(features, dataset, &self.options)?;
                let fit = started.elapsed().as_secs_f64();
                let started = Instant::now();
                let judged = judge_predictions(&predictions, dataset, &self.options)?;
                let cost = cost(fit, 0.0, started.elapsed().as_secs_f64(), 0, 0);
                return Ok(self.result(who, judged, cost, None, Vec::new()));
            }
            "knn" => {
                let predictions = self.neighbour_votes()?;
                let fit = started.elapsed().as_secs_f64();
                let judged = judge_predictions(&predictions, dataset, &self.options)?;
                return Ok(self.result(who, judged, cost(fit, 0.0, 0.0, 0, 0), None, Vec::new()));
            }
            other => {
                let known: Vec<&str> = SIMPLE.iter().map(|s| s.0).collect();
                return Err(message(format!(
                    "there is no baseline or control '{other}'; there are: {}",
                    known.join(", ")
                )));
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        if method == "shuffled-labels" {
            let codes = controls::shuffled_labels(labels, who.seed);
            let labels = Categories::new(codes, dataset.labels.names().to_vec())?;
            let shuffled = Dataset {
                labels,
                ..dataset.clone()
            };
            return self.embedding(
                who,
                embedding.view(),
                &shuffled,
                cost(seconds, 0.0, 0.0, 0, 0),
                Vec::new(),
            );
        }
        self.embedding(
            who,
            embedding.view(),
            dataset,
            cost(seconds, 0.0, 0.0, 0, 0),
            Vec::new(),
        )
    }

    fn neighbour_votes(&self) -> Result<sc_eval::protocol::Predictions> {
        let dataset = &self.study.dataset;
        let rows = |rows: &[usize]| self.pca.select(ndarray::Axis(0), rows);
        let labels = dataset.labels.select(&dataset.train);
        let (train, test) = (rows(&dataset.train), rows(&dataset.test));
        Ok(sc_eval::baselines::knn_classify(
            train.view(),
            labels.codes(),
            test.view(),
            NEIGHBOURS,
        )?)
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
            pre_integration: Some(self.pca.view()),
            scgraph: Some(&self.scgraph),
        };
        let judged = judge_embedding(embedding, dataset, &references, &self.options)?;
        cost.eval_seconds = started.elapsed().as_secs_f64();
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
            objective: who.objective,
            seed: who.seed,
            device: who.device,
            data: self.study.card.clone(),
            metrics: judged.records,
            cost: Cost {
                peak_memory_bytes: peak_memory(),
                ..cost
            },
            curve,
            map,
        }
    }
}

/// Seconds and sizes of a method.
pub(crate) fn cost(train: f64, embed: f64, eval: f64, parameters: u64, steps: u64) -> Cost {
    Cost {
        train_seconds: train,
        embed_seconds: embed,
        eval_seconds: eval,
        peak_memory_bytes: 0,
        parameters,
        steps,
    }
}

/// The sentence about a baseline or control, and its family.
pub(crate) fn describe(method: &str) -> Option<(Family, &'static str)> {
    SIMPLE.iter().find(|s| s.0 == method).map(|s| (s.1, s.2))
}

fn variable_matrix(study: &Study) -> Result<sc_data::CsrMatrix> {
    let dataset = &study.dataset;
    let codes = dataset.batches.codes();
    let rows = sample(&dataset.train, codes);
    let chosen = most_variable(&study.values.select_rows(&rows), &rows, codes, VARIABLE)?;
    Ok(study.values.matrix().select_cols(&chosen))
}

fn variable_values(study: &Study) -> Result<Array2<f32>> {
    let matrix = variable_matrix(study)?;
    let shape = (matrix.rows(), matrix.cols());
    Ok(Array2::from_shape_vec(shape, matrix.to_dense())?)
}

/// Principal components of all cells, fitted on the training donors.
fn principal_components(study: &Study) -> Result<Array2<f32>> {
    let matrix = variable_matrix(study)?;
    let train = matrix.select_rows(&study.dataset.train);
    let most = train.rows().saturating_sub(1).min(train.cols());
    Ok(pca(&train, COMPONENTS.min(most))?.transform(&matrix)?)
}
