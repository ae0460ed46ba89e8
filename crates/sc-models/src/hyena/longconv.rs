//! Convolution of a sequence with a filter as long as itself, per channel, both directions.
//!
//! `y[t] = Σ_j h[t − j] u[j] + D u[t]`, exact for any length: the circular transform is long enough
//! that no lag wraps. Filters are stored circularly as `[2 L, d]`: row `n` is lag `n`, row `2 L −
//! m` is lag `−m`, row `L` has no effect. A causal filter has zeros in its second half.

use burn::tensor::{Tensor, TensorData};

#[cfg(feature = "flex")]
use super::fft;

/// The causal filter `k` `[L, d]` in circular layout.
pub(super) fn causal(k: Tensor<2>) -> Tensor<2> {
    let zeros = k.zeros_like();
    Tensor::cat(vec![k, zeros], 0)
}

/// Past and self `k0` (lags 0, 1, …) and future `k1` (lags −1, −2, …), `[L, d]` each.
pub(super) fn two_sided(k0: Tensor<2>, k1: Tensor<2>) -> Tensor<2> {
    Tensor::cat(vec![k0, k1.flip([0])], 0)
}

/// One filter `[2 L − 1, d]` that runs from lag `1 − L` to `L − 1`.
pub(super) fn centred(k: Tensor<2>) -> Tensor<2> {
    let [rows, d] = k.dims();
    let l = rows.div_ceil(2);
    let past = k.clone().narrow(0, l - 1, l);
    let none = Tensor::zeros([1, d], &k.device());
    if l == 1 {
        return Tensor::cat(vec![past, none], 0);
    }
    Tensor::cat(vec![past, none, k.narrow(0, 0, l - 1)], 0)
}

/// Convolves every channel.
///
/// # Shapes
/// - u, output: `[minibatch, L, d]`
/// - kernel: `[2 L, d]`, circular
/// - bias: `[d]`, the weight of `u` itself
pub fn long_conv(u: Tensor<3>, kernel: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    #[cfg(feature = "flex")]
    {
        use crate::layers::host;
        let [b, l, d] = u.dims();
        let op = fused::LongConv::new(b, l, d);
        let inputs = [
            host::Input::new(u.clone()),
            host::Input::new(kernel.clone()),
            host::Input::new(bias.clone()),
        ];
        if let Some(output) = host::apply(op, inputs, [b, l, d]) {
            return output;
        }
    }
    composed(u, kernel, bias)
}

/// The same with burn operations: the transform as two products with small dense matrices
/// (a Bailey decomposition), which are fast on accelerators.
fn composed(u: Tensor<3>, kernel: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let [b, l, d] = u.dims();
    let device = u.device();
    let n1 = ((2 * l) as f64).sqrt().ceil() as usize;
    let n2 = (2 * l).div_ceil(n1);
    let n = n1 * n2;
    let zeros = |rows: usize| Tensor::<2>::zeros([rows, d], &device);
    let mut parts = vec![kernel.clone().narrow(0, 0, l), zeros(n - 2 * l + 1)];
    if l > 1 {
        parts.push(kernel.narrow(0, l + 1, l - 1));
    }
    let kernel = Tensor::cat(parts, 0).unsqueeze_dim::<3>(0);
    let padded = Tensor::cat(vec![u.clone(), Tensor::zeros([b, n - l, d], &device)], 1);
    let table = |rows: usize, cols: usize, period: usize, part: fn(f64) -> f64| {
        let data: Vec<f32> = (0..rows * cols)
            .map(|i| {
                let turns = ((i / cols) * (i % cols)) % period;
                part(std::f64::consts::TAU * turns as f64 / period as f64) as f32
            })
            .collect();
        Tensor::<2>::from_data(TensorData::new(data, [rows, cols]), &device)
    };
    let square =
        |m: usize| [f64::cos, f64::sin].map(|part| table(m, m, m, part).unsqueeze_dim::<3>(0));
    let ([c1, s1], [c2, s2]) = (square(n1), square(n2));
    let [tc, ts] = [f64::cos, f64::sin].map(|part| table(n1, n2, n, part).reshape([1, n1, n2, 1]));
    let transform = |x: Tensor<3>| {
        let [b, _, _] = x.dims();
        let x = x.reshape([b, n1, n2 * d]);
        let re = c1.clone().matmul(x.clone()).reshape([b, n1, n2, d]);
        let im = s1.clone().matmul(x).neg().reshape([b, n1, n2, d]);
        let (re, im) = (
            re.clone() * tc.clone() + im.clone() * ts.clone(),
            im * tc.clone() - re * ts.clone(),
        );
        let (re, im) = (re.reshape([b * n1, n2, d]), im.reshape([b * n1, n2, d]));
        (
            (c2.clone().matmul(re.clone()) + s2.clone().matmul(im.clone())).reshape([b, n1, n2, d]),
            (c2.clone().matmul(im) - s2.clone().matmul(re)).reshape([b, n1, n2, d]),
        )
    };
    let ((ur, ui), (kr, ki)) = (transform(padded), transform(kernel));
    let re = ur.clone() * kr.clone() - ui.clone() * ki.clone();
    let im = ur * ki + ui * kr;
    let (re, im) = (re.reshape([b * n1, n2, d]), im.reshape([b * n1, n2, d]));
    let (re, im) = (
        (c2.clone().matmul(re.clone()) - s2.clone().matmul(im.clone())).reshape([b, n1, n2, d]),
        (c2.matmul(im) + s2.matmul(re)).reshape([b, n1, n2, d]),
    );
    let (re, im) = (
        re.clone() * tc.clone() - im.clone() * ts.clone(),
        im * tc + re * ts,
    );
    let y = c1.matmul(re.reshape([b, n1, n2 * d])) - s1.matmul(im.reshape([b, n1, n2 * d]));
    let y = y.reshape([b, n, d]).narrow(1, 0, l) / n as f64;
    y + u * bias.reshape([1, 1, d])
}

#[cfg(feature = "flex")]
mod fused;

#[cfg(all(test, feature = "flex"))]
mod tests;
