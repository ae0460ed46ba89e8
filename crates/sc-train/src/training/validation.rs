//! The loss on validation cells, and the step at which it was lowest.

use crate::error::{Result, TrainError};
use crate::inputs::corpus::Corpus;
use crate::task::Task;
use crate::training::checkpoint::{self, Best};
use crate::training::config::ValidationConfig;
use crate::training::trainer::Run;
use burn::tensor::{Device, Tensor};
use sc_models::weights::{self, Tensors, host};
use std::path::Path;

/// The epoch in the random streams of validation: masks and noise are the same every time.
const EPOCH: u64 = u64::MAX - 1;

/// Losses on the validation cells after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Validated {
    /// The step; 0 before training.
    pub step: u64,
    /// Loss terms, means over the cells; the first is the total.
    pub losses: Vec<(&'static str, f64)>,
    /// The term by which the best step is chosen, see [`Task::criterion`].
    pub criterion: &'static str,
}

impl Validated {
    /// The loss by which the best step is chosen.
    pub fn loss(&self) -> f64 {
        let found = self.losses.iter().find(|(name, _)| *name == self.criterion);
        found.map_or(f64::NAN, |(_, loss)| *loss)
    }
}

/// The search for the best step.
pub(crate) struct Search<'a> {
    corpus: &'a Corpus,
    config: ValidationConfig,
    checkpoints: &'a Path,
    fingerprint: &'a str,
    /// The best step so far, with its weights.
    pub(crate) best: Option<(Best, Tensors)>,
}

impl<'a> Search<'a> {
    /// The search of `run`, with what was found up to step `done`; `None` without validation cells.
    pub(crate) fn resume(run: &'a Run<'_>, checkpoints: &'a Path, done: u64) -> Option<Self> {
        Some(Self {
            corpus: run.validation?,
            config: run.config.validation(),
            checkpoints,
            fingerprint: run.fingerprint,
            best: checkpoint::best(checkpoints, run.fingerprint, done),
        })
    }

    /// Whether losses are due after `step` of `steps`.
    pub(crate) fn due(&self, step: u64, steps: u64) -> bool {
        step.is_multiple_of(self.config.every) || step == steps
    }

    /// Whether training stops early after `step`.
    pub(crate) fn over(&self, step: u64) -> bool {
        let wait = self.config.patience.saturating_mul(self.config.every);
        let best = self.best.as_ref().map_or(step, |(best, _)| best.step);
        self.config.patience > 0 && step.saturating_sub(best) >= wait
    }

    /// The losses of `model` after `step`; its weights are kept where they are the best so far.
    pub(crate) fn validate<T: Task>(
        &mut self,
        task: &T,
        model: &T::Model,
        run: &Run<'_>,
        step: u64,
    ) -> Result<Validated> {
        let device = run.device.clone().without_autodiff();
        let tensors = weights::tensors(model, &task.names());
        let model = weights::load(task.empty(&device)?, tensors.clone(), &task.names())?;
        let losses = losses(task, &model, self.corpus, run, (step, &device))?;
        let criterion = task.criterion().unwrap_or("total");
        let now = Validated {
            step,
            losses,
            criterion,
        };
        let loss = now.loss();
        if !loss.is_finite() {
            return Err(TrainError::Diverged {
                step,
                term: "validation".into(),
                value: loss,
                learning_rate: run.config.learning_rate,
                checkpoint: checkpoint::newest(self.checkpoints),
            });
        }
        tracing::info!(step, loss, "validated");
        if self.best.as_ref().is_none_or(|(best, _)| loss < best.loss) {
            let best = Best {
                step,
                loss,
                fingerprint: self.fingerprint.to_owned(),
            };
            checkpoint::save_best(self.checkpoints, &best, &tensors)?;
            self.best = Some((best, tensors));
        }
        Ok(now)
    }
}

/// Mean losses over the cells of `corpus`; dropout is off, as on any device without autodiff.
fn losses<T: Task>(
    task: &T,
    model: &T::Model,
    corpus: &Corpus,
    run: &Run<'_>,
    (step, device): (u64, &Device),
) -> Result<Vec<(&'static str, f64)>> {
    let minibatches = task.minibatches(corpus, run.config.minibatch, EPOCH)?;
    let mut sums: Vec<(&'static str, f64)> = Vec::new();
    let mut cells = 0.0;
    for (rows, read) in minibatches.iter().zip(corpus.stream(&minibatches, None)) {
        let input = task.prepare(read?, EPOCH)?;
        let losses = run
            .config
            .precision
            .during(|| task.losses(model, input, step, device));
        let names = std::iter::once("total").chain(losses.terms.iter().map(|(name, _)| *name));
        let names: Vec<&'static str> = names.collect();
        let values = losses.terms.into_iter().map(|(_, term)| term);
        let values: Vec<Tensor<1>> = std::iter::once(losses.total).chain(values).collect();
        for (name, value) in names.into_iter().zip(host(Tensor::cat(values, 0))) {
            let value = f64::from(value) * rows.len() as f64;
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += value,
                None => sums.push((name, value)),
            }
        }
        cells += rows.len() as f64;
    }
    sums.iter_mut().for_each(|(_, sum)| *sum /= cells);
    Ok(sums)
}
