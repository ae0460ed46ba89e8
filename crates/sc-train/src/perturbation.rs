//! Expression of control cells after a perturbation, as a trained model predicts it.

use crate::error::Result;
use crate::inputs::corpus::CellBatch;
use burn::tensor::Device;
use sc_models::weights::Tensors;

/// What a model predicts for control cells; values are `ln(1 + counts scaled to a common total)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Mean of the control cells, `[genes]`.
    pub control: Vec<f64>,
    /// Mean of the predictions after each perturbation, `[perturbations][genes]`.
    pub perturbed: Vec<Vec<f64>>,
}

/// A model that predicts perturbed cells from control cells.
pub trait Perturbs: Send + Sync {
    /// The values of the column of `obs` that mean a control.
    fn controls(&self) -> &[String];

    /// Mean values of `cells`, `[genes]`.
    fn mean(&self, cells: &CellBatch) -> Vec<f64>;

    /// Predicts the `cells`, controls, after each of `perturbations`, which are genes of the vocabulary;
    /// `done` is called after each.
    ///
    /// # Errors
    /// Weights that do not fit.
    fn effects(
        &self,
        weights: Tensors,
        cells: &CellBatch,
        perturbations: &[Vec<u32>],
        device: &Device,
        done: &mut dyn FnMut(),
    ) -> Result<Effects>;
}
