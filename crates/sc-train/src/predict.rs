//! What a trained model says of cells, beside their embedding.
//!
//! [`labels`] gives every cell a label, or none where the model is not sure enough;
//! [`Embedder::predict`] is the same in steps, for programs that show progress.

mod calibration;
mod expression;

pub use calibration::{Calibration, KEPT};
pub use expression::decoders;

use crate::embed::{Embedder, Matching, put};
use crate::error::{Result, TrainError};
use crate::inputs::data_spec::Role;
use crate::model::Model;
use burn::tensor::Device;
use ndarray::Array2;
use sc_data::dataset::Dataset;
use serde::{Deserialize, Serialize};

/// What a model predicts of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Logits of the labels it was trained on, `[cells, labels]`, in the order of
    /// [`levels`](crate::DataSpec::levels).
    Labels,
    /// Expected expression of every gene, `[cells, genes]`, in the order of the vocabulary: not negative,
    /// and up to a factor of the cell.
    Expression,
}

impl Quantity {
    /// The name in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::Expression => "expression",
        }
    }
}

/// The labels of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The labels that the model was trained on.
    pub names: Vec<String>,
    /// The most probable label of every cell.
    pub best: Vec<u32>,
    /// Its probability.
    pub probability: Vec<f32>,
    /// Least probability of a label that is given.
    pub threshold: f64,
    /// Whether the cell has counts; a cell without any has no label.
    pub counted: Vec<bool>,
}

impl Labels {
    /// Labels from `logits` `[cells, labels]`, calibrated, for a model that knows `names`.
    pub fn new(names: Vec<String>, logits: &Array2<f32>, how: &Calibration) -> Self {
        let found = logits.outer_iter().map(|row| how.best(row));
        let (best, probability) = found.unzip();
        Self {
            names,
            best,
            probability,
            threshold: how.threshold,
            counted: vec![true; logits.nrows()],
        }
    }

    /// The label of the cell at `row`; `None` where it is unknown.
    pub fn get(&self, row: usize) -> Option<&str> {
        let sure = f64::from(self.probability[row]) >= self.threshold && self.counted[row];
        sure.then(|| self.names[self.best[row] as usize].as_str())
    }
}

impl Model {
    /// The labels it can give; empty for a model that gives none.
    ///
    /// # Errors
    /// [`TrainError::Config`] for invalid settings.
    pub fn labels(&self) -> Result<Vec<String>> {
        let tells = self.task()?.predicts().contains(&Quantity::Labels);
        let names = self.data.levels.get(&Role::Label).filter(|_| tells);
        Ok(names.cloned().unwrap_or_default())
    }
}

/// The label of every cell of `dataset` by `model`, which was trained to tell them.
///
/// # Errors
/// [`TrainError::Config`] for a model without labels; those of [`Embedder`].
pub fn labels(model: &Model, dataset: &Dataset, how: &Matching, device: &Device) -> Result<Labels> {
    let calibration = model.calibration.clone().unwrap_or_default();
    let embedder = Embedder::new(model.clone(), dataset, how)?;
    let mut embedder = embedder.identified()?;
    embedder.labels(&calibration, device, &mut |_| {})
}

impl Embedder<'_> {
    /// The label of every cell, see [`labels`]; `done` is called with the number of cells of every
    /// minibatch.
    ///
    /// # Errors
    /// Those of [`labels`].
    pub fn labels(
        &mut self,
        calibration: &Calibration,
        device: &Device,
        done: &mut dyn FnMut(usize),
    ) -> Result<Labels> {
        let names = self.model.labels()?;
        if names.is_empty() {
            return Err(no_labels(&self.model));
        }
        let mut logits = Array2::zeros((self.corpus.rows.len(), names.len()));
        self.predict(Quantity::Labels, device, &mut |rows, values| {
            done(rows.len());
            put(&mut logits, rows, values);
            Ok(())
        })?;
        let labels = Labels::new(names, &logits, calibration);
        Ok(Labels {
            counted: self.counted(),
            ..labels
        })
    }
}

/// The error of a model that gives no labels.
pub fn no_labels(model: &Model) -> TrainError {
    let objective = model.spec.objective().unwrap_or_default();
    TrainError::Config(format!(
        "{} with objective = '{objective}' was not trained on labels, so it cannot annotate; fine-tune it: \
         scfm finetune MODEL cells.h5ad --label COLUMN -o DIR",
        model.spec.architecture
    ))
}
