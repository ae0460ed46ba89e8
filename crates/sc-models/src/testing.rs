//! Checks shared by the tests of the architectures.

use crate::weights::{self, Names};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Compares the slope of `loss` along a fixed random direction of all trained parameters with the
/// difference of two values.
pub(crate) fn slope_agrees<M: Module>(
    module: &M,
    names: &Names,
    loss: impl Fn(&M) -> Tensor<1>,
    step: f32,
    tolerance: f64,
) {
    let grads = GradientsParams::from_grads(loss(module).backward(), module);
    let grads = weights::gradients(module, &grads, names);
    assert!(!grads.is_empty());
    let direction = |name: &str, i: usize| {
        let hash = name.bytes().fold(i as u32 + 1, |h, b| {
            (h ^ u32::from(b)).wrapping_mul(0x0100_0193)
        });
        (hash >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let mut slope = 0f64;
    for (name, grad) in &grads {
        for (i, g) in grad.data.iter().enumerate() {
            slope += f64::from(*g) * f64::from(direction(name, i));
        }
    }
    let moved = |by: f32| {
        let mut tensors = weights::tensors(module, names);
        for name in grads.keys() {
            let tensor = tensors.get_mut(name).unwrap();
            for (i, v) in tensor.data.iter_mut().enumerate() {
                *v += by * direction(name, i);
            }
        }
        let module = weights::load(module.clone(), tensors, names).unwrap();
        f64::from(loss(&module).into_scalar::<f32>())
    };
    let difference = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
    let error = (slope - difference).abs() / slope.abs().max(difference.abs()).max(1e-6);
    assert!(
        error < tolerance,
        "slope {slope}, by difference {difference}"
    );
}
