//! Tests of losses scprint.

use super::*;
use burn::tensor::Device;
use sc_models::weights::host;

fn values(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37 + 11) % 23) as f32 / 8.0 - 1.3)
        .collect()
}

fn leaf(v: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::<2>::from_data(TensorData::new(v, shape), device).require_grad()
}

/// The gradient of `loss` of a matrix against differences, entry by entry.
fn slopes(shape: [usize; 2], loss: impl Fn(Tensor<2>) -> Tensor<1>) {
    let device = Device::flex().autodiff();
    let start = values(shape[0] * shape[1]);
    let x = leaf(start.clone(), shape, &device);
    let grads = loss(x.clone()).backward();
    let exact = host(x.grad(&grads).unwrap());
    for i in 0..start.len() {
        let at = |by: f32| {
            let mut moved = start.clone();
            moved[i] += by;
            f64::from(loss(leaf(moved, shape, &device)).into_scalar::<f32>())
        };
        let slope = (at(5e-3) - at(-5e-3)) / 1e-2;
        assert!(
            (slope - f64::from(exact[i])).abs() < 2e-3,
            "{i}: {slope} {}",
            exact[i]
        );
    }
}

fn hierarchy() -> Hierarchy {
    Hierarchy {
        leaves: 4,
        inner: vec![vec![0, 1], vec![0, 1, 2, 3]],
    }
}

#[test]
fn gradients_agree_with_differences() {
    let labels = [Some(2), Some(4), None, Some(5), Some(9)];
    slopes([5, 4], |x| classification(x, &labels, &hierarchy()));
    slopes([6, 4], |x| token_similarity(x.reshape([2, 3, 4])));
    let other = |x: &Tensor<2>| {
        Tensor::<2>::from_data(
            TensorData::new(values(24).into_iter().rev().collect(), [4, 6]),
            &x.device(),
        )
    };
    slopes([4, 6], |x| {
        contrast(x.clone(), other(&x), 0.5, Contrast::Strict)
    });
    slopes([4, 6], |x| contrast(other(&x), x, 0.5, Contrast::Published));
}

#[test]
fn a_label_above_the_leaves_asks_for_one_of_its_own() {
    let device = Device::flex();
    let row = [0.3f32, -1.2, 0.8, 2.0];
    let logits = Tensor::<2>::from_data(TensorData::new(row.to_vec(), [1, 4]), &device);
    let found = classification(logits.clone(), &[Some(4)], &hierarchy()).into_scalar::<f32>();
    let softplus = |x: f64| x.exp().ln_1p();
    let one = (0.3f64.exp() + (-1.2f64).exp()).ln();
    let expected = (softplus(0.8) + softplus(2.0) + softplus(-one)) / 5.0;
    assert!(
        (f64::from(found) - expected).abs() < 1e-6,
        "{found} {expected}"
    );
    // Unknown labels, and those that no hierarchy has, ask for nothing.
    for label in [None, Some(17)] {
        let nothing = classification(logits.clone(), &[label], &hierarchy());
        assert_eq!(nothing.into_scalar::<f32>(), 0.0);
    }
    let leaf = classification(logits, &[Some(3)], &hierarchy()).into_scalar::<f32>();
    let expected = [0.3, -1.2, 0.8].map(softplus).iter().sum::<f64>() + softplus(-2.0);
    assert!((f64::from(leaf) - expected / 4.0).abs() < 1e-6);
}

#[test]
fn noise_takes_counts_and_genes() {
    let noisy = downsample(
        &[5.0, 2.0, 9.0],
        &[2.0, 3.0, 0.0],
        &[0.9, 0.9, 0.1],
        noise_share(0.6),
    );
    assert_eq!(noisy, [3.0, 0.0, 0.0]);
}

#[test]
fn a_mean_alone_has_a_squared_error() {
    let device = Device::flex();
    let mean = Tensor::<2>::from_data(TensorData::new(vec![1.0f32, 3.0], [1, 2]), &device);
    let counts = Arc::new(CsrMatrix::from_dense(2, &[1.0, 3.0]));
    let same = Prediction { mean, spread: None };
    assert_eq!(expression(&same, &counts).into_scalar::<f32>(), 0.0);
}
