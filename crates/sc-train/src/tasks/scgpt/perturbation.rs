//! Prediction of perturbed cells: input are values of a control cell and flags of the perturbed
//! genes, output are values of a perturbed cell.
//!
//! Source: reference/scformer-scgpt-cellplm.md A2.3, A5.

mod conditions;
mod effects;

pub use conditions::{Condition, PerturbationConfig, Unknown};
pub(super) use effects::perturbs;

use super::{Place, ScGptTask};
use crate::error::{Result, TrainError};
use crate::inputs::corpus::{CellBatch, Corpus, Order};
use crate::inputs::data_spec::{DataSpec, Role};
use crate::losses::Losses;
use crate::losses::tokens::mean_squared_error;
use crate::spec::ModelSpec;
use crate::task::{Pass, Task};
use burn::tensor::{Device, Int, Tensor, TensorData};
use conditions::WAY_OUT;
use rand::RngExt as _;
use sc_data::CsrMatrix;
use sc_data::counts::log_normalize;
use sc_data::rng::stream;
use sc_data::sampling::sampler;
use sc_data::tokens::Tokenizer;
use sc_models::configured::Configured as _;
use sc_models::layers::lookup::unit;
use sc_models::scgpt::{
    InputNorm, NOT_PERTURBED, Perturb, ScGptConfig, Tokens, ValueEncoderConfig,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Flag of a perturbed gene.
const PERTURBED: i64 = 1;

/// `TransformerGenerator` as a task.
#[derive(Clone, Debug, PartialEq)]
pub struct PerturbationTask {
    scgpt: ScGptTask,
    /// Meaning of every value of the column.
    conditions: Arc<Vec<Condition>>,
}

impl PerturbationTask {
    /// The task of a configuration, for predictions.
    ///
    /// # Errors
    /// An invalid setting, or data without controls or perturbations.
    pub fn of(spec: &ModelSpec, data: &DataSpec) -> Result<Self> {
        let place = Place {
            architecture: &spec.architecture,
            objective: "perturbation",
        };
        Self::new(super::base(spec, data)?, data, place)
    }

    /// The task for the perturbations of the data.
    pub(super) fn new(scgpt: ScGptTask, data: &DataSpec, place: Place<'_>) -> Result<Self> {
        data.count(Role::Perturbation, &place.name())?;
        if scgpt.network.input_norm != InputNorm::None {
            return place.refuse("it does not support network.input_norm; remove it".into());
        }
        if matches!(
            scgpt.network.value_encoder,
            ValueEncoderConfig::Category { .. }
        ) {
            return place.refuse(
                "its values are not bins, so they cannot be rows of a table; remove network.value_encoder \
                 out"
                .into(),
            );
        }
        let levels = &data.levels[&Role::Perturbation];
        let config = &scgpt.input.perturbation;
        let conditions = conditions::read(levels, &data.genes, config, place)?;
        Ok(Self {
            scgpt,
            conditions: Arc::new(conditions),
        })
    }

    /// Meaning of every value of the column, in the order of its codes.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Conditions of cells with these codes.
    fn conditions_of(&self, codes: Vec<u32>) -> impl Iterator<Item = Option<&Condition>> {
        (codes.into_iter()).map(|code| self.conditions.get(code as usize))
    }

    /// Input genes, ascending: those of `wanted`, and a random sample of the others up to the
    /// maximum length.
    ///
    /// The original samples all equally, so that a perturbed gene may be missing from its own cell.
    pub fn input_genes(&self, wanted: &BTreeSet<u32>, cell: u64, epoch: u64) -> Vec<u32> {
        let others: Vec<u32> = (0..self.scgpt.genes as u32)
            .filter(|g| !wanted.contains(g))
            .collect();
        let rest = self.scgpt.input.length.saturating_sub(wanted.len());
        let mut rng = stream(self.scgpt.seed, "genes", cell, epoch);
        let drawn = rand::seq::index::sample(&mut rng, others.len(), rest.min(others.len()));
        let mut shown: Vec<u32> = wanted.iter().copied().collect();
        shown.extend(drawn.into_iter().map(|i| others[i]));
        shown.sort_unstable();
        shown
    }

    /// `ln(1 + x)` of counts scaled to the settings' total, of the input genes, `[cells,
    /// genes]` row-major.
    ///
    /// # Shapes
    /// - counts: `[cells, genes]`
    pub fn values(&self, counts: CsrMatrix, shown: &[u32]) -> Vec<f32> {
        let values = log_normalize(counts, self.scgpt.input.perturbation.total);
        let mut out = Vec::with_capacity(values.rows() * shown.len());
        let mut dense = vec![0.0; values.cols()];
        for (genes, found) in values.iter_rows() {
            dense.fill(0.0);
            (genes.iter().zip(found)).for_each(|(&g, &v)| dense[g as usize] = v);
            out.extend(shown.iter().map(|&g| dense[g as usize]));
        }
        out
    }

    /// Predicted values of `controls` after a perturbation, `[cells, genes]`.
    pub fn predict(&self, model: &Perturb, controls: &Controls, device: &Device) -> Tensor<2> {
        let (tokens, flags) = controls.on_device(device);
        model.forward(&tokens, flags)
    }
}

/// Control cells and their perturbations, on the host.
#[derive(Clone, Debug)]
pub struct Controls {
    /// The input genes.
    pub genes: Vec<u32>,
    /// Values of control cells, `[cells, genes]` row-major.
    pub values: Vec<f32>,
    /// Perturbed genes of every cell.
    pub perturbed: Vec<Vec<u32>>,
}

impl Controls {
    fn on_device(&self, device: &Device) -> (Tokens, Tensor<2, Int>) {
        let cells = self.perturbed.len();
        let shape = [cells, self.genes.len()];
        let genes: Vec<i64> = self.genes.iter().map(|&g| i64::from(g)).collect();
        let flag = |of: &[u32], gene: &u32| match of.contains(gene) {
            true => PERTURBED,
            false => NOT_PERTURBED as i64,
        };
        let flags: Vec<i64> = (self.perturbed.iter())
            .flat_map(|of| self.genes.iter().map(move |g| flag(of, g)))
            .collect();
        let whole = |v: Vec<i64>| Tensor::<2, Int>::from_data(TensorData::new(v, shape), device);
        let tokens = Tokens {
            genes: whole(genes.repeat(cells)),
            values: Tensor::from_data(TensorData::new(self.values.clone(), shape), device),
            padding: None,
            frozen: None,
            batches: None,
            modalities: None,
            domain: 0,
        };
        (tokens, whole(flags))
    }
}

/// Perturbed cells and a control for each, on the host.
pub struct PerturbationInput {
    controls: Controls,
    targets: Vec<f32>,
}

impl Task for PerturbationTask {
    type Model = Perturb;
    type Input = PerturbationInput;
    type Cells = Controls;

    fn network(&self) -> &ScGptConfig {
        &self.scgpt.network
    }

    fn seed(&self) -> u64 {
        self.scgpt.seed
    }

    fn build(&self, device: &Device) -> Result<Perturb> {
        let model = Perturb::initial(&self.scgpt.network, self.scgpt.seed, device)?;
        Ok(model.without_padding_vector())
    }

    /// Every perturbed cell once, followed by a control for each, drawn anew in every epoch.
    fn minibatches(&self, corpus: &Corpus, size: usize, epoch: u64) -> Result<Vec<Vec<usize>>> {
        let codes = corpus.obs.codes(Role::Perturbation, &corpus.rows);
        let (mut controls, mut perturbed) = (Vec::new(), Vec::new());
        for (at, condition) in self.conditions_of(codes).enumerate() {
            match condition {
                Some(Condition::Control) => controls.push(corpus.rows[at]),
                Some(Condition::Perturbed(_)) => perturbed.push(at),
                Some(Condition::LeftOut) | None => {}
            }
        }
        controls.sort_by_key(|&row| corpus.key(row));
        if controls.is_empty() || perturbed.is_empty() {
            return Err(TrainError::Config(format!(
                "among the {} training cells are {} controls and {} perturbed cells, but both are \
                 needed: {WAY_OUT}",
                corpus.rows.len(),
                controls.len(),
                perturbed.len()
            )));
        }
        let order = match &corpus.order {
            Order::Weighted(weights) => {
                Order::Weighted(Arc::new(perturbed.iter().map(|&at| weights[at]).collect()))
            }
            other => other.clone(),
        };
        let targets = Corpus {
            rows: Arc::new(perturbed.iter().map(|&at| corpus.rows[at]).collect()),
            order,
            ..corpus.clone()
        };
        let mut minibatches = targets.minibatches(size, self.scgpt.seed, epoch)?;
        for rows in &mut minibatches {
            let drawn = rows.iter().map(|&row| {
                let mut rng = stream(self.scgpt.seed, "control", corpus.key(row), epoch);
                controls[rng.random_range(0..controls.len())]
            });
            let drawn: Vec<usize> = drawn.collect();
            rows.extend(drawn);
        }
        Ok(minibatches)
    }

    fn prepare(&self, cells: CellBatch, epoch: u64) -> Result<PerturbationInput> {
        let pairs = cells.rows.len() / 2;
        let codes = cells.obs.codes(Role::Perturbation, &cells.rows[..pairs]);
        let perturbed: Vec<Vec<u32>> = (self.conditions_of(codes))
            .map(|condition| match condition {
                Some(Condition::Perturbed(genes)) => genes.clone(),
                _ => Vec::new(),
            })
            .collect();
        // One choice per minibatch, as published, named by its first cell.
        let wanted = perturbed.iter().flatten().copied().collect();
        let genes = self.input_genes(&wanted, cells.first_key(), epoch);
        let mut targets = self.values(cells.counts, &genes);
        let values = targets.split_off(pairs * genes.len());
        Ok(PerturbationInput {
            targets,
            controls: Controls {
                genes,
                values,
                perturbed,
            },
        })
    }

    fn losses(&self, model: &Perturb, input: PerturbationInput, _: u64, device: &Device) -> Losses {
        let predicted = self.predict(model, &input.controls, device);
        let target = TensorData::new(input.targets, predicted.dims());
        let mse = mean_squared_error(predicted, Tensor::from_data(target, device));
        Losses::weighted(Tensor::zeros([1], device), vec![("mse", mse, 1.0)])
    }

    fn embed_minibatches(&self, corpus: &Corpus) -> Vec<Vec<usize>> {
        sampler::sequential(&corpus.rows, |_| 0, self.scgpt.input.embed_minibatch)
    }

    /// The mean of the outputs of the input genes, the same for all cells, none flagged.
    fn cells(&self, cells: CellBatch) -> Result<Controls> {
        let count = cells.rows.len();
        let genes = self.input_genes(&BTreeSet::new(), 0, Pass::Embedding.epoch());
        Ok(Controls {
            values: self.values(cells.counts, &genes),
            genes,
            perturbed: vec![Vec::new(); count],
        })
    }

    fn encode(&self, model: &Perturb, controls: Controls, device: &Device) -> Tensor<2> {
        let (tokens, flags) = controls.on_device(device);
        let outputs = model.encode(&tokens, flags);
        unit(outputs.mean_dim(1).squeeze_dim::<2>(1))
    }

    fn reads(&self) -> Vec<Role> {
        vec![Role::Perturbation]
    }

    fn dims(&self) -> usize {
        self.scgpt.network.width
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::Log1p {
            target: Some(self.scgpt.input.perturbation.total),
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests;
