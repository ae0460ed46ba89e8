//! The whole evaluation of one method on one data set: held-out donors, metrics, probes, intervals.

mod recorder;
mod suite;

use crate::baselines::{Features, Tuned, knn_classify, tuned_linear};
use crate::categories::Categories;
use crate::error::{EvalError, Undefined};
use crate::halves::Halves;
use crate::metrics::scgraph::{self, Consensus};
use crate::neighbors::{Ties, knn};
use crate::results::{ClassDetail, Group, MetricRecord, Mode, ProbeDetail};
use crate::{controls, layout, probe};
use ndarray::{Array2, ArrayView2, Axis};
use recorder::Parts;
use sc_data::LogNormalized;
use std::collections::BTreeSet;
use std::time::Instant;
pub use suite::Score;
pub(crate) use suite::{Cells, strict};

/// Annotations and split of the cells of a data set.
#[derive(Clone, Debug)]
pub struct Annotations {
    /// Cell type of every cell.
    pub labels: Categories,
    /// Sequencing batch of every cell.
    pub batches: Categories,
    /// Donor of every cell; `None` where donors are unknown and cells were held out at random.
    pub donors: Option<Categories>,
    /// Identity of the cells wherever they are in a file (a hash of the barcode); the order of
    /// cells in every computation, so that the order of rows changes nothing. Without, rows are
    /// used.
    pub keys: Option<Vec<u64>>,
    /// Rows on which methods and probes may be fitted.
    pub train: Vec<usize>,
    /// Rows of the held-out donors, on which everything is scored.
    pub test: Vec<usize>,
}

/// Reference of some metrics; the same for every method on a data set.
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

/// Options of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Seed of clustering and of shuffled labels; one per experiment.
    pub seed: u64,
    /// Neighbours of the kNN probe.
    pub probe_neighbors: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            probe_neighbors: 15,
        }
    }
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

impl Predictions {
    /// The predictions for the cells at `rows` of these.
    fn select(&self, rows: &[usize]) -> Self {
        Self {
            classes: self.classes.clone(),
            predicted: rows.iter().map(|&r| self.predicted[r]).collect(),
            probabilities: self.probabilities.as_ref().map(|p| p.select(Axis(0), rows)),
        }
    }
}

/// Result of an evaluation.
#[derive(Clone, Debug, Default)]
pub struct Evaluation {
    /// Every number.
    pub records: Vec<MetricRecord>,
    /// Per-class results of the linear probe.
    pub probe: Option<ProbeDetail>,
    /// Seconds by part, in the order they ran.
    pub seconds: Vec<(&'static str, f64)>,
}

impl Annotations {
    /// Refuses columns of different lengths, rows that do not exist and an empty test set.
    ///
    /// # Errors
    /// [`EvalError`] with the reason.
    pub fn check(&self) -> Result<(), EvalError> {
        let cells = self.labels.len();
        EvalError::check("batches", cells, self.batches.len())?;
        if let Some(donors) = &self.donors {
            EvalError::check("donors", cells, donors.len())?;
        }
        if let Some(keys) = &self.keys {
            EvalError::check("keys", cells, keys.len())?;
        }
        if let Some(row) = self.train.iter().chain(&self.test).find(|&&r| r >= cells) {
            return Err(EvalError::invalid(format!(
                "the split contains cell {row}, but there are only {cells} cells"
            )));
        }
        if self.test.is_empty() {
            return Err(EvalError::invalid(
                "no cell is held out, so nothing can be scored; hold out at least one donor",
            ));
        }
        Ok(())
    }

    /// `rows` in the order of their keys.
    fn ordered(&self, rows: &[usize]) -> Vec<usize> {
        let mut rows = rows.to_vec();
        if let Some(keys) = &self.keys {
            rows.sort_by_key(|&r| (keys[r], r));
        }
        rows
    }

    /// Halves of the donors of the cells at `rows`.
    fn halves(&self, rows: &[usize]) -> Halves {
        match &self.donors {
            Some(donors) => Halves::of_donors(&donors.select(rows)),
            None => Halves::of_cells(rows.len()),
        }
    }

    /// Codes of the donors of `rows`; one per cell where donors are unknown.
    fn donor_codes(&self, rows: &[usize]) -> Option<Vec<u32>> {
        let donors = self.donors.as_ref()?;
        Some(rows.iter().map(|&r| donors.codes()[r]).collect())
    }
}

/// Builds both geometries from log-normalised values of all cells and genes; once per data set.
///
/// # Errors
/// [`EvalError`] when shapes do not match. A geometry that cannot be built is a reason inside.
pub fn scgraph_references(
    values: &LogNormalized,
    dataset: &Annotations,
) -> Result<ScgraphReferences, EvalError> {
    dataset.check()?;
    EvalError::check(
        "log-normalised values",
        dataset.labels.len(),
        values.matrix().rows(),
    )?;
    Ok(ScgraphReferences {
        strict: scgraph_reference(values, dataset, Mode::Strict),
        compat: scgraph_reference(values, dataset, Mode::Compat),
    })
}

/// One of the two: strict from the training donors, compat from the scored cells.
pub(crate) fn scgraph_reference(
    values: &LogNormalized,
    dataset: &Annotations,
    mode: Mode,
) -> Result<Consensus, Undefined> {
    let rows = dataset.ordered(match mode {
        Mode::Strict => &dataset.train,
        Mode::Compat => &dataset.test,
    });
    let labels = dataset.labels.select(&rows);
    let batches = dataset.batches.select(&rows);
    let all: Vec<usize> = (0..rows.len()).collect();
    let sub = values.select_rows(&rows);
    let parts = scgraph::reference_batches(&sub, batches.codes(), &all)?;
    Consensus::new(&parts, labels.codes(), mode)
}

/// Judges an embedding `[all cells, dims]`: metrics on the held-out donors' cells (strict, and
/// compat where its definition differs), and linear and kNN probes fitted on the training donors.
///
/// Every strict number is recomputed on halves of the donors ([`crate::halves`]); compat numbers
/// are as published, without intervals. Neighbours for strict metrics break ties by a hash,
/// so that one-hot and other tied embeddings are not rewarded or penalised by the order of cells in
/// the file; compat breaks them by position.
///
/// # Errors
/// [`EvalError`] when shapes do not match or the embedding is not finite.
pub fn evaluate_embedding(
    embedding: ArrayView2<'_, f32>,
    dataset: &Annotations,
    references: &References<'_>,
    options: &Options,
) -> Result<Evaluation, EvalError> {
    dataset.check()?;
    EvalError::check("embedding", dataset.labels.len(), embedding.nrows())?;
    if let Some(pre) = references.pre_integration {
        let cells = dataset.labels.len();
        EvalError::check("pre-integration embedding", cells, pre.nrows())?;
    }
    crate::pairs::check_finite("embedding", embedding)?;
    let scaled = at_ordinary_scale(embedding);
    let embedding = scaled.as_ref().map_or(embedding, |s| s.view());
    let test = dataset.ordered(&dataset.test);
    let halves = dataset.halves(&test);
    let cells = Cells {
        x: embedding.select(Axis(0), &test),
        pre: references.pre_integration.map(|p| p.select(Axis(0), &test)),
        labels: dataset.labels.select(&test).codes().to_vec(),
        batches: dataset.batches.select(&test).codes().to_vec(),
    };
    let mut evaluation = Evaluation::default();
    let mut clock = Clock::new();
    let all = suite::strict(&cells, references, options.seed)?;
    clock.lap("metrics", &mut evaluation);
    let parts = Parts::score(&halves, |rows| {
        suite::strict(&cells.select(rows), references, options.seed)
    })?;
    clock.lap("metrics on halves of the donors", &mut evaluation);
    let compat = suite::compat(&cells, references)?;
    clock.lap("published definitions", &mut evaluation);
    let mut records = recorder::records(all, &parts, &halves, Mode::Strict, test.len());
    records.extend(recorder::records(
        compat,
        &Parts::default(),
        &halves,
        Mode::Compat,
        test.len(),
    ));
    records.extend(recorder::aggregates(&records, Mode::Strict));
    records.extend(recorder::aggregates(&records, Mode::Compat));
    evaluation.records = records;
    if dataset.train.is_empty() {
        for name in ["probe_lr_accuracy", "probe_knn_accuracy"] {
            let why = Undefined::NoTrainingCell;
            let record = recorder::missing(name, &why, test.len(), halves.donors);
            evaluation.records.push(record);
        }
        return Ok(evaluation);
    }
    linear_probe(
        Features::Dense(embedding),
        dataset,
        options,
        &mut evaluation,
    )?;
    clock.lap("linear probe", &mut evaluation);
    let train = dataset.ordered(&dataset.train);
    let votes = knn_classify(
        embedding.select(Axis(0), &train).view(),
        dataset.labels.select(&train).codes(),
        cells.x.view(),
        options.probe_neighbors,
    )?;
    let scores = probe_records("probe_knn_", &votes, &cells.labels, &halves)?;
    evaluation.records.extend(scores);
    clock.lap("neighbour probe", &mut evaluation);
    Ok(evaluation)
}

/// The embedding times a power of two, where its largest value is so large or small that squared
/// distances would overflow or underflow f32. No metric depends on the scale, and the scaling is
/// exact.
fn at_ordinary_scale(embedding: ArrayView2<'_, f32>) -> Option<Array2<f32>> {
    const ORDINARY: std::ops::RangeInclusive<i32> = -24..=24;
    let largest = embedding.iter().fold(0f32, |m, v| m.max(v.abs()));
    let exponent = f64::from(largest).log2().floor() as i32;
    if largest == 0.0 || ORDINARY.contains(&exponent) {
        return None;
    }
    let factor = f64::from(-exponent).exp2();
    Some(embedding.mapv(|v| (f64::from(v) * factor) as f32))
}

/// Evaluates a linear classifier on `features` of all cells, for a baseline without an embedding.
///
/// # Errors
/// [`EvalError`] when shapes do not match, values are not finite or there is no training cell.
pub fn evaluate_linear(
    features: Features<'_>,
    dataset: &Annotations,
    options: &Options,
) -> Result<Evaluation, EvalError> {
    dataset.check()?;
    let mut evaluation = Evaluation::default();
    let mut clock = Clock::new();
    linear_probe(features, dataset, options, &mut evaluation)?;
    clock.lap("linear probe", &mut evaluation);
    Ok(evaluation)
}

/// Evaluates a method that predicts classes of the held-out cells (in the order of `dataset.test`)
/// directly, under the names of the linear probe (`probe_lr_…`), so that rows are comparable.
///
/// # Errors
/// [`EvalError`] when shapes do not match.
pub fn evaluate_predictions(
    predictions: &Predictions,
    dataset: &Annotations,
) -> Result<Evaluation, EvalError> {
    dataset.check()?;
    let cells = dataset.test.len();
    EvalError::check("predictions", cells, predictions.predicted.len())?;
    // The order of all other evaluations, so that single cells are divided the same way.
    let mut order: Vec<usize> = (0..cells).collect();
    if let Some(keys) = &dataset.keys {
        order.sort_by_key(|&at| (keys[dataset.test[at]], dataset.test[at]));
    }
    let test: Vec<usize> = order.iter().map(|&at| dataset.test[at]).collect();
    let (predictions, halves) = (predictions.select(&order), dataset.halves(&test));
    let targets = dataset.labels.select(&test);
    Ok(Evaluation {
        records: probe_records("probe_lr_", &predictions, targets.codes(), &halves)?,
        probe: Some(detail(&predictions, dataset, &test, None)),
        seconds: Vec::new(),
    })
}

/// Fits the linear probe on the training cells and records its scores on the held-out ones, and
/// the same with shuffled labels, which must be at chance level in every row.
fn linear_probe(
    features: Features<'_>,
    dataset: &Annotations,
    options: &Options,
    evaluation: &mut Evaluation,
) -> Result<(), EvalError> {
    EvalError::check("features", dataset.labels.len(), features.cells())?;
    let (train, test) = (
        dataset.ordered(&dataset.train),
        dataset.ordered(&dataset.test),
    );
    let halves = dataset.halves(&test);
    let labels = dataset.labels.codes();
    let of = |codes: &[u32], rows: &[usize]| rows.iter().map(|&r| codes[r]).collect::<Vec<_>>();
    let donors = dataset.donor_codes(&train);
    let tuned = tuned_linear(features, &train, &of(labels, &train), donors.as_deref())?;
    let predictions = tuned.predict(features, &test)?;
    let targets = of(labels, &test);
    let records = probe_records("probe_lr_", &predictions, &targets, &halves)?;
    evaluation.records.extend(records);
    evaluation.probe = Some(detail(&predictions, dataset, &test, Some(&tuned)));
    let everyone: Vec<usize> = train.iter().chain(&test).copied().collect();
    let shuffled = controls::shuffled_labels(&of(labels, &everyone), options.seed);
    let (own, targets) = shuffled.split_at(train.len());
    let fitted = Tuned::fit(features, &train, own, tuned.setting)?;
    let guesses = fitted.predict(features, &test)?.predicted;
    let score = |rows: &[usize]| {
        let (p, t) = (of(&guesses, rows), of(targets, rows));
        let chance = 1.0 / t.iter().collect::<BTreeSet<_>>().len().max(1) as f64;
        let outcome = probe::balanced_accuracy(&p, &t).map(|v| v - chance);
        vec![Score::new(SHUFFLED, Group::Control, outcome)]
    };
    let all: Vec<usize> = (0..test.len()).collect();
    let parts = Parts::score(&halves, |rows| Ok::<_, EvalError>(score(rows)))?;
    let records = recorder::records(score(&all), &parts, &halves, Mode::Strict, test.len());
    evaluation.records.extend(records);
    Ok(())
}

/// Balanced accuracy above chance of the linear probe on shuffled labels: 0 unless something leaks.
pub const SHUFFLED: &str = "shuffled_above_chance";

/// Every score of predictions.
fn probe_records(
    prefix: &str,
    predictions: &Predictions,
    targets: &[u32],
    halves: &Halves,
) -> Result<Vec<MetricRecord>, EvalError> {
    let learnable = targets.iter().any(|l| predictions.classes.contains(l));
    let score = |predictions: &Predictions, targets: &[u32]| -> Vec<Score> {
        let scores = probe::scores(predictions, targets).into_iter();
        let known = |outcome| match learnable {
            true => outcome,
            false => Err(Undefined::NoCommonLabel),
        };
        scores
            .map(|(name, outcome)| (format!("{prefix}{name}"), known(outcome)))
            .map(|(name, outcome)| Score::new(name, Group::Probe, outcome))
            .collect()
    };
    let parts = Parts::score(halves, |rows| {
        let targets: Vec<u32> = rows.iter().map(|&r| targets[r]).collect();
        Ok::<_, EvalError>(score(&predictions.select(rows), &targets))
    })?;
    let all = score(predictions, targets);
    Ok(recorder::records(
        all,
        &parts,
        halves,
        Mode::Strict,
        targets.len(),
    ))
}

/// Per class: cells, donors and predicted labels.
fn detail(
    predictions: &Predictions,
    dataset: &Annotations,
    test: &[usize],
    tuned: Option<&Tuned>,
) -> ProbeDetail {
    let targets: Vec<u32> = test.iter().map(|&r| dataset.labels.codes()[r]).collect();
    let mut codes: Vec<u32> = targets
        .iter()
        .chain(&predictions.predicted)
        .copied()
        .collect();
    codes.sort_unstable();
    codes.dedup();
    let trained: BTreeSet<u32> = dataset
        .train
        .iter()
        .map(|&r| dataset.labels.codes()[r])
        .collect();
    let classes = codes
        .iter()
        .map(|&code| {
            let own: Vec<usize> = (0..test.len()).filter(|&i| targets[i] == code).collect();
            let donors = dataset.donors.as_ref().map(|d| {
                let codes = own.iter().map(|&i| d.codes()[test[i]]);
                codes.collect::<BTreeSet<_>>().len()
            });
            let taken_for = codes.iter().map(|&other| {
                own.iter()
                    .filter(|&&i| predictions.predicted[i] == other)
                    .count()
            });
            ClassDetail {
                name: dataset.labels.names()[code as usize].clone(),
                cells: own.len(),
                donors,
                trained: trained.contains(&code),
                taken_for: taken_for.collect(),
            }
        })
        .collect();
    ProbeDetail {
        setting: tuned.map(|t| t.to_string()),
        classes,
    }
}

/// Times the parts.
struct Clock(Instant);

impl Clock {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self, part: &'static str, evaluation: &mut Evaluation) {
        let seconds = self.0.elapsed().as_secs_f64();
        evaluation.seconds.push((part, seconds));
        self.0 = Instant::now();
    }
}

/// A UMAP of the cells at `rows` of an embedding `[all cells, dims]`, started from its first two
/// principal components.
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
            "the UMAP needs cell {row}, but there are only {} cells",
            embedding.nrows()
        )));
    }
    let x = embedding.select(Axis(0), rows);
    let near = knn(x.view(), suite::GRAPH_NEIGHBORS, Ties::Hashed(seed))?;
    let init = layout::principal_plane(x.view()).unwrap_or_else(|_| x.clone());
    Ok(layout::umap2d(&near, init.view(), seed))
}
