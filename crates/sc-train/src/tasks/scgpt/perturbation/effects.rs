//! Predictions for control cells, all genes of the vocabulary at once.

use super::{Controls, PerturbationTask};
use crate::error::Result;
use crate::inputs::corpus::CellBatch;
use crate::inputs::data_spec::DataSpec;
use crate::perturbation::{Effects, Perturbs};
use crate::spec::ModelSpec;
use crate::task::Task as _;
use burn::tensor::Device;
use sc_models::weights::{self, Tensors, host};

/// Tokens in one forward pass, over its cells.
const TOKENS: usize = 1 << 15;

/// The perturbations of a model, for the registry; `None` for one with another objective.
pub(in crate::tasks::scgpt) fn perturbs(
    spec: &ModelSpec,
    data: &DataSpec,
) -> Result<Option<Box<dyn Perturbs>>> {
    match spec.objective()? {
        "perturbation" => Ok(Some(Box::new(PerturbationTask::of(spec, data)?))),
        _ => Ok(None),
    }
}

impl PerturbationTask {
    fn genes(&self) -> Vec<u32> {
        (0..self.scgpt.genes as u32).collect()
    }
}

/// Adds the rows of `values` `[cells, genes]` to `sums`.
fn add(sums: &mut [f64], values: &[f32]) {
    for row in values.chunks_exact(sums.len().max(1)) {
        sums.iter_mut()
            .zip(row)
            .for_each(|(s, v)| *s += f64::from(*v));
    }
}

fn over(mut sums: Vec<f64>, cells: usize) -> Vec<f64> {
    sums.iter_mut().for_each(|s| *s /= cells.max(1) as f64);
    sums
}

impl Perturbs for PerturbationTask {
    fn controls(&self) -> &[String] {
        &self.scgpt.input.perturbation.control
    }

    fn mean(&self, cells: &CellBatch) -> Vec<f64> {
        let genes = self.genes();
        let mut sums = vec![0.0; genes.len()];
        add(&mut sums, &self.values(cells.counts.clone(), &genes));
        over(sums, cells.rows.len())
    }

    fn effects(
        &self,
        weights: Tensors,
        cells: &CellBatch,
        perturbations: &[Vec<u32>],
        device: &Device,
        done: &mut dyn FnMut(),
    ) -> Result<Effects> {
        let model = weights::load(self.empty(device)?, weights, &self.names())?;
        let genes = self.genes();
        let values = self.values(cells.counts.clone(), &genes);
        let at_once = (TOKENS / genes.len().max(1)).max(1) * genes.len();
        let mut perturbed = Vec::with_capacity(perturbations.len());
        for wanted in perturbations {
            let mut sums = vec![0.0; genes.len()];
            for part in values.chunks(at_once) {
                let controls = Controls {
                    genes: genes.clone(),
                    values: part.to_vec(),
                    perturbed: vec![wanted.clone(); part.len() / genes.len()],
                };
                add(&mut sums, &host(self.predict(&model, &controls, device)));
            }
            perturbed.push(over(sums, cells.rows.len()));
            done();
        }
        Ok(Effects {
            control: self.mean(cells),
            perturbed,
        })
    }
}
