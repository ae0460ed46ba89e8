//! Time per step: one minibatch repeated, without reading, logs and checkpoints, which in training
//! run in parallel to the step. Used to compare with other implementations.

use crate::error::Result;
use crate::inputs::corpus::Corpus;
use crate::task::Task;
use crate::training::adamw::AdamW;
use crate::training::config::TrainConfig;
use crate::training::step::Step;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use sc_models::weights::host;
use std::time::Instant;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Forward pass with losses, backward pass, clipping and update.
    Train,
    /// The embedding of the cells, without gradients.
    Embed,
}

/// The minibatch and the number of repeats.
pub struct Timing<'a> {
    /// Its rows are the minibatch.
    pub corpus: &'a Corpus,
    /// Learning rate and clipping.
    pub config: &'a TrainConfig,
    /// Number of steps, the first of which warms caches and allocators.
    pub steps: u64,
    /// Device, without autodiff.
    pub device: &'a Device,
}

/// Seconds of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepSeconds {
    /// Forward pass and losses, or the embedding.
    pub forward: f64,
    /// Backward pass.
    pub backward: f64,
    /// Clipping and update.
    pub update: f64,
}

impl StepSeconds {
    /// Their sum.
    pub fn total(&self) -> f64 {
        self.forward + self.backward + self.update
    }
}

/// Result of a timing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timed {
    /// Parameters that are trained; frozen tables and running statistics are not.
    pub trained: usize,
    /// All steps in order.
    pub steps: Vec<StepSeconds>,
}

/// Times `work` on a minibatch.
///
/// # Errors
/// A configuration that cannot be built, or cells that cannot be read.
pub fn time<T: Task>(task: &T, work: Work, timing: &Timing<'_>) -> Result<Timed> {
    match work {
        Work::Train => train(task, timing),
        Work::Embed => embed(task, timing),
    }
}

fn train<T: Task>(task: &T, timing: &Timing<'_>) -> Result<Timed> {
    let device = timing.device.clone().autodiff();
    let mut model = task.build(&device)?;
    let mut optimiser = AdamW::default();
    let mut out = Timed {
        trained: trained(&model),
        steps: Vec::new(),
    };
    for step in 1..=timing.steps {
        let input = task.prepare(timing.corpus.read(&timing.corpus.rows)?, step)?;
        let started = Instant::now();
        let this = Step {
            number: step,
            seed: 0,
            config: timing.config,
            device: &device,
        };
        this.begin();
        let precision = timing.config.precision;
        let losses = precision.during(|| task.losses(&model, input, step, &device));
        // Forward and backward are told apart, so the device is waited for in between.
        host(losses.total.clone());
        let forward = started.elapsed().as_secs_f64();
        let scaled = losses.total * optimiser.loss_scale(timing.config);
        let grads = GradientsParams::from_grads(scaled.backward(), &model);
        let backward = started.elapsed().as_secs_f64() - forward;
        let (updated, norm) = optimiser.step(model, grads, timing.config, step);
        model = updated;
        // The device has finished its work when the norm is there.
        host(norm);
        let update = started.elapsed().as_secs_f64() - forward - backward;
        out.steps.push(StepSeconds {
            forward,
            backward,
            update,
        });
    }
    Ok(out)
}

fn embed<T: Task>(task: &T, timing: &Timing<'_>) -> Result<Timed> {
    let model = task.build(timing.device)?;
    let mut out = Timed::default();
    for _ in 0..timing.steps {
        let cells = timing.corpus.read(&timing.corpus.rows)?;
        let started = Instant::now();
        let embed = || task.embed(&model, cells, timing.device);
        host(timing.config.precision.during(embed)?);
        out.steps.push(StepSeconds {
            forward: started.elapsed().as_secs_f64(),
            ..StepSeconds::default()
        });
    }
    Ok(out)
}

/// Number of parameters with a gradient.
fn trained<M: Module>(model: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}
