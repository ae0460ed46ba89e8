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

/// Compares, for every tensor, the slope of `loss` along a fixed direction with the difference of two
/// values: one by one, so that a small gradient does not hide behind a large one. Half of the direction is
/// random and half is the gradient itself, so that a slope is small only where the gradient is.
///
/// A tensor without a gradient must not change the loss, unless its name contains one of `untrained`.
/// Of three steps the best counts: long ones cross kinks, and in short ones an `f32` has too few digits.
/// Slopes below a twentieth of the largest are held to the error that a twentieth may have.
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
    // A frozen tensor has no gradient; one that has is looked at, whatever the caller says.
    let frozen =
        |name: &String| !grads.contains_key(name) && untrained.iter().any(|u| name.contains(u));
    let trained = |name: &String| !frozen(name);
    let directions: Vec<(&String, f64, Vec<f32>)> = (tensors.iter())
        .filter(|(name, _)| trained(name))
        .map(|(name, tensor)| {
            let none = vec![0.0; tensor.data.len()];
            let grad = grads.get(name).map_or(none, |g| g.data.clone());
            let direction = direction(name, &grad);
            let products = grad.iter().zip(&direction);
            let slope = products.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            (name, slope, direction)
        })
        .collect();
    let largest = directions.iter().fold(0f64, |m, (_, s, _)| m.max(s.abs()));
    assert!(largest > 0.0, "nothing has a gradient");
    for (name, slope, direction) in directions {
        let steps = [1.0, 2.0, 4.0].map(|k| step * k);
        let found = steps.map(|s| difference(module, names, (name, &direction), &loss, s));
        let nearest = |a: &f64, b: &f64| (a - slope).abs().total_cmp(&(b - slope).abs());
        let difference = found.into_iter().min_by(nearest).unwrap_or(f64::NAN);
        let size = slope.abs().max(difference.abs()).max(0.05 * largest);
        assert!(
            (slope - difference).abs() < tolerance * size,
            "{name}: slope {slope}, by difference {difference}; the largest slope is {largest}"
        );
    }
}

/// Random numbers between −1 and 1 without a pattern, plus the gradient at the same scale.
fn direction(name: &str, grad: &[f32]) -> Vec<f32> {
    let largest = grad
        .iter()
        .fold(0f32, |m, g| m.max(g.abs()))
        .max(f32::MIN_POSITIVE);
    let random = |i: usize| {
        let hash = name.bytes().fold(i as u32 + 1, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        (hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let mixed = grad
        .iter()
        .enumerate()
        .map(|(i, g)| random(i) + g / largest);
    mixed.map(|d| d / 2.0).collect()
}

/// The slope by moving one tensor by `step` in both directions.
fn difference<M: Module>(
    module: &M,
    names: &Names,
    (moved, direction): (&String, &[f32]),
    loss: &impl Fn(&M) -> Tensor<1>,
    step: f32,
) -> f64 {
    let at = |by: f32| {
        let mut tensors = weights::tensors(module, names);
        let tensor = tensors.get_mut(moved).into_iter();
        let values = tensor.flat_map(|t| &mut t.data).zip(direction);
        values.for_each(|(v, d)| *v += by * d);
        match weights::load(module.clone(), tensors, names) {
            Ok(module) => f64::from(loss(&module).into_scalar::<f32>()),
            Err(_) => f64::NAN,
        }
    };
    let central = |step: f32| (at(step) - at(-step)) / (2.0 * f64::from(step));
    // Richardson's extrapolation: the error of a central difference grows with the square of the step.
    (4.0 * central(step) - central(2.0 * step)) / 3.0
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
