//! One step: losses, gradients, clipping and update.

use crate::error::Result;
use crate::task::Task;
use crate::training::adamw::AdamW;
use crate::training::config::TrainConfig;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use rand::Rng as _;
use sc_data::rng::stream;
use sc_models::draws;
use sc_models::precision::Precision;
use sc_models::weights::host;

/// A network after a step.
pub(crate) struct Stepped<M> {
    /// With its new weights.
    pub(crate) model: M,
    /// Its numbers.
    pub(crate) unread: Unread,
}

/// Numbers of a step that are still on its device.
pub(crate) struct Unread {
    names: Vec<&'static str>,
    values: Tensor<1>,
    /// Whether a gradient that is not finite was left out, for the next step to scale its loss less.
    left_out: bool,
}

/// Numbers of a step.
pub(crate) struct Numbers {
    /// Loss terms before the step; the first is the total.
    pub(crate) losses: Vec<(&'static str, f64)>,
    /// Norm of the gradient before clipping.
    pub(crate) gradient_norm: f64,
    /// See [`Unread`].
    pub(crate) left_out: bool,
}

impl Unread {
    /// Waits for the step and reads them.
    pub(crate) fn read(self) -> Numbers {
        let mut values = host(self.values).into_iter().map(f64::from);
        Numbers {
            losses: self.names.into_iter().zip(&mut values).collect(),
            gradient_norm: values.next().expect("invariant: the norm is last"),
            left_out: self.left_out,
        }
    }
}

/// What one step is made of.
pub(crate) struct Step<'a> {
    /// Its number, from 1.
    pub(crate) number: u64,
    /// Seed of the run.
    pub(crate) seed: u64,
    /// Learning rate, clipping and moments.
    pub(crate) config: &'a TrainConfig,
    /// Device, with autodiff.
    pub(crate) device: &'a Device,
}

/// Does a step on `input`.
///
/// Losses and norm are read together, once, and by the caller: a GPU stops for every read.
pub(crate) fn step<T: Task>(
    task: &T,
    model: T::Model,
    optimiser: &mut AdamW,
    input: T::Input,
    step: &Step<'_>,
) -> Result<Stepped<T::Model>> {
    step.begin();
    let precision = step.config.precision;
    let losses = precision.during(|| task.losses(&model, input, step.number, step.device));
    let names = losses.terms.iter().map(|(name, _)| *name);
    let names: Vec<&'static str> = std::iter::once("total").chain(names).collect();
    let total = losses.total.clone();
    let values = losses.terms.into_iter().map(|(_, term)| term);
    let mut values: Vec<Tensor<1>> = std::iter::once(total)
        .chain(values)
        .map(Tensor::without_autodiff)
        .collect();
    let scaled = losses.total * optimiser.loss_scale(step.config);
    let grads = GradientsParams::from_grads(scaled.backward(), &model);
    let (model, norm) = optimiser.step(model, grads, step.config, step.number);
    values.push(norm);
    let values = Tensor::cat(values, 0);
    Ok(Stepped {
        model,
        unread: Unread {
            names,
            values,
            // A smaller factor than 1 would not help.
            left_out: step.config.precision == Precision::F16
                && optimiser.loss_scale(step.config) >= 1.0,
        },
    })
}

impl Step<'_> {
    /// Seeds what the network draws in this step.
    pub(crate) fn begin(&self) {
        draws::begin(stream(self.seed, "dropout", 0, self.number).next_u64());
    }
}
