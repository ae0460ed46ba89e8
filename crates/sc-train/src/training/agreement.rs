//! Whether two devices compute the same: a few steps on one minibatch, and how far apart they end.

use crate::error::Result;
use crate::task::Task;
use crate::training::adamw::AdamW;
use crate::training::step::{Step, step};
use crate::training::timing::Timing;
use burn::optim::GradientsParams;
use sc_models::device::reads;
use sc_models::weights::{self, Tensors, host};

/// Seed of the steps.
const SEED: u64 = 7;

/// What a device computed.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Initial weights, the same on every device.
    pub initial: Tensors,
    /// Embeddings with initial weights, row-major `[cells, dims]`.
    pub embeddings: Vec<f32>,
    /// Gradient of every parameter in the first step.
    pub gradients: Tensors,
    /// Loss terms of every step; the first is the total.
    pub losses: Vec<Vec<(&'static str, f64)>>,
    /// Weights after the last step.
    pub weights: Tensors,
    /// How often the host waited for a tensor, in every step.
    pub reads: Vec<u64>,
}

/// How far apart two devices are, each as a share of the second one's values; NaN where a value is
/// not finite, or is there on one device only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Of all embeddings: norm of the difference over the norm.
    pub embeddings: f64,
    /// Of any loss term in any step, at most.
    pub losses: f64,
    /// Of all gradients in the first step: norm of the difference over the norm.
    pub gradients: f64,
    /// Of the change of all weights: norm of the difference over the norm.
    pub weights: f64,
}

/// Embeds the minibatch and trains on it for [`Timing::steps`] steps.
///
/// # Errors
/// A configuration that cannot be built, or cells that cannot be read.
pub fn trace<T: Task>(task: &T, timing: &Timing<'_>) -> Result<Trace> {
    let read = || timing.corpus.read(&timing.corpus.rows);
    let plain = task.build(timing.device)?;
    let (cells, precision) = (read()?, timing.config.precision);
    let embed = || task.embed(&plain, cells, timing.device);
    let embeddings = host(precision.during(embed)?);
    let device = timing.device.clone().autodiff();
    let mut model = task.build(&device)?;
    let at = |number| Step {
        number,
        seed: SEED,
        config: timing.config,
        device: &device,
    };
    let first = at(1);
    first.begin();
    let input = task.prepare(read()?, 0)?;
    let losses = precision.during(|| task.losses(&model, input, 1, &device));
    let grads = GradientsParams::from_grads(losses.total.backward(), &model);
    let gradients = weights::gradients(&model, &grads, &task.names());
    let initial = weights::tensors(&model, &task.names());
    let mut optimiser = AdamW::default();
    let (mut losses, mut waits) = (Vec::new(), Vec::new());
    for number in 1..=timing.steps {
        let input = task.prepare(read()?, 0)?;
        let before = reads();
        let stepped = step(task, model, &mut optimiser, input, &at(number))?;
        model = stepped.model;
        let numbers = stepped.unread.read();
        waits.push(reads() - before);
        losses.push(numbers.losses);
    }
    Ok(Trace {
        initial,
        embeddings,
        gradients,
        losses,
        weights: weights::tensors(&model, &task.names()),
        reads: waits,
    })
}

impl Trace {
    /// How far this is from `other`.
    pub fn difference(&self, other: &Self) -> Difference {
        let terms = |of: &Self| of.losses.concat();
        let (ours, theirs) = (terms(self), terms(other));
        Difference {
            embeddings: apart(self.embeddings.iter(), other.embeddings.iter()),
            losses: most(&ours, &theirs),
            gradients: apart(values(&self.gradients), values(&other.gradients)),
            weights: apart(self.changes().iter(), other.changes().iter()),
        }
    }

    /// How the weights changed.
    fn changes(&self) -> Vec<f32> {
        let both = values(&self.weights).zip(values(&self.initial));
        both.map(|(now, before)| now - before).collect()
    }
}

/// The largest difference of two lists of loss terms, as a share of the second.
fn most(ours: &[(&str, f64)], theirs: &[(&str, f64)]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::NAN;
    }
    let share = |(a, b): (&(&str, f64), &(&str, f64))| match a.0 == b.0 {
        true => (a.1 - b.1).abs() / b.1.abs().max(f64::MIN_POSITIVE),
        false => f64::NAN,
    };
    // `f64::max` would pass over NaN.
    let larger = |most: f64, share: f64| match most.is_nan() || share <= most {
        true => most,
        false => share,
    };
    ours.iter().zip(theirs).map(share).fold(0.0, larger)
}

fn values(tensors: &Tensors) -> impl Iterator<Item = &f32> {
    tensors.values().flat_map(|t| &t.data)
}

/// Norm of the difference over the norm of the second; NaN where lengths differ.
fn apart<'a>(ours: impl Iterator<Item = &'a f32>, theirs: impl Iterator<Item = &'a f32>) -> f64 {
    let (ours, theirs): (Vec<f32>, Vec<f32>) = (ours.copied().collect(), theirs.copied().collect());
    if ours.len() != theirs.len() {
        return f64::NAN;
    }
    let square = |sum: f64, v: f64| sum + v * v;
    let norm = theirs.iter().map(|&v| f64::from(v)).fold(0.0, square);
    let both = ours.iter().zip(&theirs);
    let difference = both
        .map(|(&a, &b)| f64::from(a) - f64::from(b))
        .fold(0.0, square);
    match difference == 0.0 {
        true => 0.0,
        false => (difference / norm).sqrt(),
    }
}

#[cfg(test)]
mod tests {
    use super::{apart, most};

    #[test]
    fn what_is_not_finite_or_not_there_is_a_difference() {
        let term = |v: f64| vec![("total", 1.0), ("mse", v)];
        assert!((most(&term(2.2), &term(2.0)) - 0.1).abs() < 1e-12);
        assert!(most(&term(f64::NAN), &term(2.0)).is_nan());
        assert!(most(&[("total", f64::NAN), ("mse", 3.0)], &term(2.0)).is_nan());
        assert!(most(&term(2.0)[..1], &term(2.0)).is_nan());
        assert!(most(&[("total", 1.0), ("nll", 2.0)], &term(2.0)).is_nan());
        assert!(apart([f32::NAN].iter(), [1.0].iter()).is_nan());
        assert!(apart([1.0].iter(), [1.0, 2.0].iter()).is_nan());
        assert_eq!(apart([1.0].iter(), [1.0].iter()), 0.0);
    }
}
