//! The mean of counts: a softmax over genes times the counts of the cell.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

/// `softmax(x) · total` of every row.
///
/// # Shapes
/// - logits, output: `[cells, genes]`
/// - totals: `[cells]`, without gradient
pub fn scaled_softmax(logits: Tensor<2>, totals: &[f32]) -> Tensor<2> {
    let shape = logits.dims();
    assert_eq!(shape[0], totals.len(), "scaled_softmax: one total per row");
    #[cfg(feature = "flex")]
    {
        use super::host;
        let op = fused::ScaledSoftmax {
            totals: totals.into(),
            genes: shape[1],
        };
        if let Some(output) = host::apply(op, [host::Input::new(logits.clone())], shape) {
            return output;
        }
    }
    let totals = Tensor::<1>::from_data(totals, &logits.device());
    softmax(logits, 1) * totals.unsqueeze_dim::<2>(1)
}

#[cfg(feature = "flex")]
mod fused {
    use crate::layers::host::HostOp;
    use crate::layers::simd::{Body, dot, softmax_row, vectorised};
    use rayon::prelude::*;
    use std::sync::Arc;

    /// See [`super::scaled_softmax`].
    #[derive(Clone, Debug)]
    pub(super) struct ScaledSoftmax {
        pub(super) totals: Arc<[f32]>,
        pub(super) genes: usize,
    }

    /// Softmax of a row in place, times a factor.
    struct Row<'a> {
        values: &'a mut [f32],
        total: f32,
    }

    impl Body for Row<'_> {
        #[inline(always)]
        fn run(self) {
            softmax_row(self.values);
            for v in self.values.iter_mut() {
                *v *= self.total;
            }
        }
    }

    /// From the gradient of the output to that of the logits: `s t (g − Σ s g)`.
    struct Gradient<'a> {
        row: Row<'a>,
        grad: &'a [f32],
    }

    impl Body for Gradient<'_> {
        #[inline(always)]
        fn run(self) {
            let Row { values, total } = self.row;
            softmax_row(values);
            let inner = dot(values, self.grad);
            for (v, g) in values.iter_mut().zip(self.grad) {
                *v *= total * (g - inner);
            }
        }
    }

    impl HostOp<1> for ScaledSoftmax {
        fn forward(&self, [logits]: [&[f32]; 1]) -> Vec<f32> {
            let mut out = logits.to_vec();
            let rows = out.par_chunks_mut(self.genes.max(1));
            rows.zip(&*self.totals).for_each(|(values, &total)| {
                vectorised(Row { values, total });
            });
            out
        }

        fn backward(
            &self,
            [logits]: [&[f32]; 1],
            grad: &[f32],
            _: [bool; 1],
        ) -> [Option<Vec<f32>>; 1] {
            let mut out = logits.to_vec();
            let genes = self.genes.max(1);
            let rows = out.par_chunks_mut(genes).zip(grad.par_chunks(genes));
            rows.zip(&*self.totals)
                .for_each(|((values, grad), &total)| {
                    let row = Row { values, total };
                    vectorised(Gradient { row, grad });
                });
            [Some(out)]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::{bent, spread};
    use crate::weights::host;
    use burn::tensor::Device;

    #[test]
    fn agrees_with_burn_forward_and_backward() {
        let device = Device::flex().autodiff();
        let x = (spread([7, 45], &device) * 4.0).require_grad();
        let totals: Vec<f32> = (0..7).map(|i| i as f32 * 10.0).collect();
        let ours = scaled_softmax(x.clone(), &totals);
        let column = Tensor::<1>::from_data(totals.as_slice(), &device).unsqueeze_dim::<2>(1);
        let theirs = softmax(x.clone(), 1) * column;
        let close = |a: Tensor<2>, b: Tensor<2>| {
            let b = host(b);
            let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
            for (a, b) in host(a).iter().zip(b) {
                assert!((a - b).abs() < 2e-6 * largest, "{a} {b}");
            }
        };
        close(ours.clone(), theirs.clone());
        let grad = |y: Tensor<2>| x.grad(&bent(y).backward()).unwrap();
        close(grad(ours), grad(theirs));
    }
}
