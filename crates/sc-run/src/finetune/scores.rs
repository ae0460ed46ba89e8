//! Macro-F1 of a fine-tuned model beside what is simpler.

use super::{Base, Plan};
use crate::error::Result;
use ndarray::Array2;
use sc_data::categories::MISSING;
use sc_data::dataset::{NO_COLUMN, Validation};
use sc_data::io::atomic::write_bytes_atomic;
use sc_data::{CsrMatrix, Dataset};
use sc_eval::baselines::{Features, tuned_linear};
use sc_eval::probe::{accuracy, macro_f1};
use sc_models::device::Device;
use sc_train::embed::put;
use sc_train::inputs::corpus::Corpus;
use sc_train::training::trainer::read_validation;
use sc_train::{Model, TrainError};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most training cells of the simple models; more would not change the picture.
const MOST_CELLS: usize = 20_000;

/// Scores of one method on validation and held-out cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The method.
    pub name: String,
    /// Macro-F1 on the validation cells.
    pub validation_macro_f1: Option<f64>,
    /// Accuracy on the validation cells.
    pub validation_accuracy: Option<f64>,
    /// Macro-F1 on the held-out cells.
    pub test_macro_f1: Option<f64>,
    /// Accuracy on the held-out cells.
    pub test_accuracy: Option<f64>,
}

/// Scores of a fine-tuned model and of what is simpler; `scores.json` in its folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// The fine-tuned model first.
    pub scores: Vec<Score>,
    /// Validation cells with a label.
    pub validation_cells: usize,
    /// Held-out cells with a label.
    pub test_cells: usize,
    /// Loss on the validation cells by step.
    pub validation_loss: Vec<(u64, f64)>,
}

impl Scores {
    /// Without labels the loss on validation cells is all there is.
    pub(super) fn of_losses(folder: &Path) -> Result<Self> {
        Ok(Self {
            scores: Vec::new(),
            validation_cells: 0,
            test_cells: 0,
            validation_loss: read_validation(&folder.join("train.jsonl"))?,
        })
    }

    /// The loss before the first step, and the step with the lowest loss, where losses were taken from the
    /// start on.
    pub fn gain(&self) -> Option<(f64, (u64, f64))> {
        let (first, before) = *self.validation_loss.first()?;
        let best = self
            .validation_loss
            .iter()
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        (first == 0).then_some((before, *best))
    }

    /// Writes them into `folder`.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("scores.json");
        let json = serde_json::to_vec_pretty(self).map_err(|e| TrainError::file(&path, e))?;
        Ok(write_bytes_atomic(&path, &json)?)
    }

    /// The method that scores above the fine-tuned model, where one does: on the held-out cells, or on
    /// the validation cells where none are held out.
    pub fn better(&self) -> Option<&Score> {
        let of = |s: &Score| s.test_macro_f1.or(s.validation_macro_f1);
        let (own, others) = self.scores.split_first()?;
        let own = of(own)?;
        let above = others.iter().filter(|s| of(s).is_some_and(|f1| f1 > own));
        above.max_by(|a, b| {
            of(a)
                .partial_cmp(&of(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

/// What scores are computed from.
pub(super) struct Judging<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) base: &'a Base,
    pub(super) plan: &'a Plan,
    pub(super) cells: &'a Validation,
    /// Labels that training has, of every cell of the data set.
    pub(super) codes: &'a [u32],
    pub(super) validation: &'a [usize],
    pub(super) test: &'a [usize],
    pub(super) device: &'a Device,
    /// Set from outside to stop; the model is saved, and the same command goes on with the scores.
    pub(super) stop: &'a AtomicBool,
    /// Steps of the training.
    pub(super) steps: u64,
}

impl Judging<'_> {
    /// Scores of `finetuned`, predictions for validation and held-out cells, and of the simple models.
    pub(super) fn scores(
        &self,
        finetuned: &[u32],
        mut corpus: Corpus,
        folder: &Path,
    ) -> Result<Scores> {
        let step = self.cells.train.len().div_ceil(MOST_CELLS).max(1);
        let train: Vec<usize> = self.cells.train.iter().step_by(step).copied().collect();
        let mut scores = vec![self.score("fine-tuned", finetuned)];
        let mut rows = [&train[..], self.validation, self.test].concat();
        rows.sort_unstable();
        rows.dedup();
        self.go_on()?;
        if let Some(model) = self.base.pretrained(self.plan.from) {
            corpus.rows = Arc::new(rows.clone());
            let vectors = self.embed(model, &corpus, &rows)?;
            let name = "before fine-tuning, logistic regression";
            scores.push(self.linear(name, Features::Dense(vectors.view()), &rows, &train)?);
        }
        let counts = self.dataset.counts().read(&rows)?;
        let values = self.dataset.log_normalized(counts)?;
        let values: &CsrMatrix = values.matrix();
        let name = "counts, logistic regression";
        scores.push(self.linear(name, Features::Sparse(values), &rows, &train)?);
        Ok(Scores {
            scores,
            validation_cells: self.validation.len(),
            test_cells: self.test.len(),
            validation_loss: read_validation(&folder.join("train.jsonl"))?,
        })
    }

    fn go_on(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(TrainError::Stopped {
                step: self.steps,
                steps: self.steps,
            }
            .into()),
        }
    }

    /// Embeddings `[rows, dims]` by the weights that training started from.
    fn embed(&self, model: &Model, corpus: &Corpus, rows: &[usize]) -> Result<Array2<f32>> {
        let task = model.task()?;
        let mut vectors = Array2::zeros((rows.len(), task.dims()));
        let weights = model.weights.clone();
        task.embed(weights, corpus, self.device, &mut |read, values| {
            let place = |row: &usize| {
                rows.binary_search(row)
                    .expect("invariant: it is one of them")
            };
            let places: Vec<usize> = read.iter().map(place).collect();
            put(&mut vectors, &places, values);
            Ok(())
        })?;
        Ok(vectors)
    }

    /// Scores of a logistic regression on `features` of the cells at `rows`, fitted on those of `train`.
    fn linear(
        &self,
        name: &str,
        features: Features<'_>,
        rows: &[usize],
        train: &[usize],
    ) -> Result<Score> {
        self.go_on()?;
        let place = |row: &usize| {
            rows.binary_search(row)
                .expect("invariant: it is one of them")
        };
        let places = |of: &[usize]| of.iter().map(place).collect::<Vec<usize>>();
        let labels: Vec<u32> = train.iter().map(|&r| self.codes[r]).collect();
        let donors = match self.plan.donor.as_str() {
            NO_COLUMN => None,
            column => Some(self.dataset.shared_categories(column)?),
        };
        let donors = donors.map(|d| train.iter().map(|&r| d.codes()[r]).collect::<Vec<u32>>());
        let model = tuned_linear(features, &places(train), &labels, donors.as_deref())?;
        let judged = [self.validation, self.test].concat();
        let predicted = model.predict(features, &places(&judged))?.predicted;
        Ok(self.score(name, &predicted))
    }

    fn score(&self, name: &str, predicted: &[u32]) -> Score {
        let (validation, test) = predicted.split_at(self.validation.len());
        // A label that training has not is none that can be predicted.
        let truth = |rows: &[usize]| rows.iter().map(|&r| self.codes[r]).collect::<Vec<u32>>();
        debug_assert!(!truth(self.validation).contains(&MISSING));
        let of = |rows: &[usize], predicted: &[u32]| {
            let truth = truth(rows);
            let f1 = macro_f1(predicted, &truth).ok();
            (f1, accuracy(predicted, &truth).ok())
        };
        let (validation_macro_f1, validation_accuracy) = of(self.validation, validation);
        let (test_macro_f1, test_accuracy) = of(self.test, test);
        Score {
            name: name.to_owned(),
            validation_macro_f1,
            validation_accuracy,
            test_macro_f1,
            test_accuracy,
        }
    }
}
