//! Tests of hyena longconv.

use super::*;
use crate::weights::host;
use burn::tensor::Device;

fn tensor<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let n = shape.iter().product::<usize>();
    let data: Vec<f32> = (0..n)
        .map(|i| (((i + seed) * 7919 + i * i) % 1009) as f32 / 500.0 - 1.0)
        .collect();
    let tensor = Tensor::from_data(TensorData::new(data, shape), device);
    if device.is_autodiff() {
        tensor.require_grad()
    } else {
        tensor
    }
}

/// The definition in `f64`, with the gradients for the cotangent `g`.
fn dense([b, l, d]: [usize; 3], [u, h, bias, g]: [&[f32]; 4]) -> [Vec<f64>; 4] {
    let mut out = [b * l * d, b * l * d, 2 * l * d, d].map(|n| vec![0f64; n]);
    let f = f64::from;
    for s in 0..b {
        for c in 0..d {
            for t in 0..l {
                let y = (s * l + t) * d + c;
                out[0][y] += f(bias[c]) * f(u[y]);
                out[1][y] += f(bias[c]) * f(g[y]);
                out[3][c] += f(u[y]) * f(g[y]);
                for j in 0..l {
                    let row = ((2 * l + t - j) % (2 * l)) * d + c;
                    let x = (s * l + j) * d + c;
                    out[0][y] += f(h[row]) * f(u[x]);
                    out[1][x] += f(h[row]) * f(g[y]);
                    out[2][row] += f(u[x]) * f(g[y]);
                }
            }
        }
    }
    out
}

fn close(found: &[f32], expected: &[f64], what: &str) {
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs())).max(1e-3);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!(
            (f64::from(*a) - b).abs() <= 2e-6 * largest,
            "{what}: {a} {b}"
        );
    }
}

#[test]
fn both_forms_agree_with_the_definition_forward_and_backward() {
    let device = Device::flex().autodiff();
    for shape in [
        [1, 1, 1],
        [2, 2, 3],
        [3, 7, 16],
        [2, 27, 12],
        [1, 64, 35],
        [2, 129, 17],
    ] {
        let [_, l, d] = shape;
        let (u, h) = (tensor(shape, 1, &device), tensor([2 * l, d], 5, &device));
        let (bias, g) = (tensor([d], 9, &device), tensor(shape, 3, &device));
        let values = [
            host(u.clone()),
            host(h.clone()),
            host(bias.clone()),
            host(g.clone()),
        ];
        let expected = dense(shape, [&values[0], &values[1], &values[2], &values[3]]);
        for form in [long_conv, composed] {
            let y = form(u.clone(), h.clone(), bias.clone());
            let grads = (y.clone() * g.clone().detach()).sum().backward();
            close(&host(y), &expected[0], "output");
            close(&host(u.grad(&grads).unwrap()), &expected[1], "input");
            close(&host(h.grad(&grads).unwrap()), &expected[2], "filter");
            close(&host(bias.grad(&grads).unwrap()), &expected[3], "bias");
        }
    }
}

#[test]
fn layouts_hold_their_lags() {
    let device = Device::flex();
    let rows =
        |v: &[f32]| Tensor::<2>::from_data(TensorData::new(v.to_vec(), [v.len(), 1]), &device);
    assert_eq!(host(causal(rows(&[1.0, 2.0]))), [1.0, 2.0, 0.0, 0.0]);
    let both = two_sided(rows(&[1.0, 2.0, 3.0]), rows(&[4.0, 5.0, 6.0]));
    assert_eq!(host(both), [1.0, 2.0, 3.0, 6.0, 5.0, 4.0]);
    let one = centred(rows(&[1.0, 2.0, 3.0, 4.0, 5.0]));
    assert_eq!(host(one), [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
    assert_eq!(host(centred(rows(&[7.0]))), [7.0, 0.0]);
}

#[test]
fn a_sequence_has_the_same_output_alone_and_among_others() {
    let device = Device::flex();
    let (u, h) = (
        tensor([3, 50, 20], 1, &device),
        tensor([100, 20], 2, &device),
    );
    let bias = tensor([20], 3, &device);
    let all = host(long_conv(u.clone(), h.clone(), bias.clone()));
    let one = host(long_conv(u.narrow(0, 1, 1), h, bias));
    assert_eq!(one, all[1000..2000]);
}
