//! Functions that act on gradients.

use burn::tensor::Tensor;

/// The identity forward, minus the gradient backward (Ganin et al., 2016, λ = 1).
pub fn reverse_gradient<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().detach() * 2.0 - x
}
