//! Checks shared by the tests of the architectures.

use crate::weights::{self, Names};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

/// Names of a standalone module.
pub(crate) const PLAIN: Names = Names {
    rename: str::to_string,
    alias: str::to_string,
    unused: &[],
};

/// Compares, for every tensor, the slope of `loss` along a fixed random direction with the difference of
/// two values: one by one, so that a small gradient does not hide behind a large one.
///
/// A tensor without a gradient must not move the loss, unless its name begins as one of `untrained`.
/// The smaller a slope, the longer the step, up to ten times: a difference of two `f32` has few digits.
/// Slopes below a hundredth of the largest are held to the error that a hundredth may have.
pub(crate) fn slopes_agree<M: Module>(
    module: &M,
    names: &Names,
    untrained: &[&str],
    loss: impl Fn(&M) -> Tensor<1>,
    step: f32,
    tolerance: f64,
) {
    let grads = GradientsParams::from_grads(loss(module).backward(), module);
    let grads = weights::gradients(module, &grads, names);
    let tensors = weights::tensors(module, names);
    let trained = |name: &&String| !untrained.iter().any(|u| name.starts_with(u));
    let slopes: Vec<(&String, f64)> = tensors
        .keys()
        .filter(trained)
        .map(|name| (name, grads.get(name).map_or(0.0, |g| along(name, &g.data))))
        .collect();
    let largest = slopes.iter().fold(0f64, |m, (_, s)| m.max(s.abs()));
    assert!(largest > 0.0, "nothing has a gradient");
    for (name, slope) in slopes {
        let longer = (0.3 * largest / slope.abs()).clamp(1.0, 10.0);
        let step = step * longer as f32;
        let difference = difference(module, names, &[name], &loss, step);
        let size = slope.abs().max(difference.abs()).max(0.01 * largest);
        assert!(
            (slope - difference).abs() < tolerance * size,
            "{name}: slope {slope}, by difference {difference}; the largest slope is {largest}"
        );
    }
}

/// The slope along the direction of the tensor `name`.
fn along(name: &str, grad: &[f32]) -> f64 {
    let each = grad.iter().enumerate();
    each.map(|(i, g)| f64::from(*g) * f64::from(direction(name, i)))
        .sum()
}

fn direction(name: &str, i: usize) -> f32 {
    let hash = name.bytes().fold(i as u32 + 1, |h, b| {
        (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
    });
    (hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

/// The slope by moving the tensors `moved` by `step` in both directions.
fn difference<M: Module>(
    module: &M,
    names: &Names,
    moved: &[&String],
    loss: &impl Fn(&M) -> Tensor<1>,
    step: f32,
) -> f64 {
    let at = |by: f32| {
        let mut tensors = weights::tensors(module, names);
        for &name in moved {
            let tensor = tensors.get_mut(name).into_iter();
            for (i, v) in tensor.flat_map(|t| &mut t.data).enumerate() {
                *v += by * direction(name, i);
            }
        }
        match weights::load(module.clone(), tensors, names) {
            Ok(module) => f64::from(loss(&module).into_scalar::<f32>()),
            Err(_) => f64::NAN,
        }
    };
    (at(step) - at(-step)) / (2.0 * f64::from(step))
}

/// Values between −1 and 1 without a pattern.
pub(crate) fn spread<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let n = shape.iter().product::<usize>();
    let value = |i: usize| ((i * 7919 + i * i) % 503) as f32 / 250.0 - 1.0;
    Tensor::from_data(TensorData::new((0..n).map(value).collect(), shape), device)
}

/// A non-linear function with a different weight for every value of `x`: a plain sum is constant
/// after a norm or a softmax.
pub(crate) fn bent<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let weights = spread(x.dims(), &x.device());
    (x * weights).tanh().sum()
}
