//! Normalisation layers that burn lacks, or lacks with PyTorch's running statistics.

use burn::module::{Module, Param, RunningState};
use burn::tensor::{Device, Tensor};

/// Whether a forward pass is for training (statistics of the minibatch, dropout) or evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Minibatch statistics, running statistics updated.
    Train,
    /// Running statistics, nothing updated.
    Eval,
}

impl Phase {
    /// Training on a device with autodiff, where dropout is active too, evaluation on others.
    pub fn on(device: &Device) -> Self {
        match device.is_autodiff() {
            true => Self::Train,
            false => Self::Eval,
        }
    }
}

/// Batch normalisation over the last axis of `[minibatch, length, d]`, as `torch.nn.BatchNorm1d`
/// on the transposed tensor: biased variance to normalise, unbiased variance in the running
/// statistics.
#[derive(Module, Debug)]
pub struct BatchNorm {
    gamma: Option<Param<Tensor<1>>>,
    beta: Option<Param<Tensor<1>>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    num_batches_tracked: RunningState<Tensor<1>>,
    epsilon: f64,
    momentum: f64,
}

/// Whether a norm has a learned scale and shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affine {
    /// It has.
    Learned,
    /// It has not.
    None,
}

impl BatchNorm {
    /// A layer for `d` channels; `momentum` is PyTorch's (weight of the new value).
    pub fn new(d: usize, epsilon: f64, momentum: f64, affine: Affine, device: &Device) -> Self {
        let learned = affine == Affine::Learned;
        Self {
            gamma: learned.then(|| Param::from_tensor(Tensor::ones([d], device))),
            beta: learned.then(|| Param::from_tensor(Tensor::zeros([d], device))),
            running_mean: RunningState::new(Tensor::zeros([d], device)),
            running_var: RunningState::new(Tensor::ones([d], device)),
            num_batches_tracked: RunningState::new(Tensor::zeros([1], device)),
            epsilon,
            momentum,
        }
    }

    /// Normalises every channel.
    ///
    /// # Shapes
    /// - input, output: `[minibatch, length, d]`; padding counts like any other position.
    pub fn forward(&self, input: Tensor<3>, phase: Phase) -> Tensor<3> {
        let [n, l, d] = input.dims();
        let (mean, var) = match phase {
            Phase::Train => {
                let flat = input.clone().reshape([n * l, d]);
                let mean = flat.clone().mean_dim(0);
                let var = (flat - mean.clone()).square().mean_dim(0);
                self.update(&mean, &var, n * l);
                (mean, var)
            }
            Phase::Eval => {
                let to_row = |t: Tensor<1>| t.reshape([1, d]);
                (
                    to_row(self.running_mean.value()),
                    to_row(self.running_var.value()),
                )
            }
        };
        let scale = (var + self.epsilon).sqrt().recip().reshape([1, 1, d]);
        let output = (input - mean.reshape([1, 1, d])) * scale;
        match (&self.gamma, &self.beta) {
            (Some(gamma), Some(beta)) => {
                output * gamma.val().reshape([1, 1, d]) + beta.val().reshape([1, 1, d])
            }
            _ => output,
        }
    }

    fn update(&self, mean: &Tensor<2>, var: &Tensor<2>, count: usize) {
        let unbiased = count as f64 / (count as f64 - 1.0).max(1.0);
        let [_, d] = mean.dims();
        let blend = |old: Tensor<1>, new: Tensor<1>| {
            old * (1.0 - self.momentum) + new.detach() * self.momentum
        };
        let mean = mean.clone().reshape([d]);
        let var = var.clone().reshape([d]) * unbiased;
        set(&self.running_mean, blend(self.running_mean.value(), mean));
        set(&self.running_var, blend(self.running_var.value(), var));
        set(
            &self.num_batches_tracked,
            self.num_batches_tracked.value() + 1.0,
        );
    }
}

/// Sets a running state immediately; burn would defer the update to the next one, and a
/// checkpoint in between would miss it.
fn set(state: &RunningState<Tensor<1>>, value: Tensor<1>) {
    state.update(value);
    state.value_sync();
}
