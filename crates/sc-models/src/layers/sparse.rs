//! Linear maps of sparse rows: `X · W`, using only the non-zeros of `X`.
//!
//! A cell expresses 5–10 % of the genes, so the dense product would be 10–20 times the work.

use super::simd::{Body, vectorised};
use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use sc_data::CsrMatrix;
use std::sync::Arc;

/// `X · W` for sparse `X`.
///
/// On the `flex` device only non-zeros are used, forward and backward; other devices use the
/// minibatch as a dense tensor.
///
/// # Shapes
/// - `rows`: `[cells, genes]`
/// - `weight`: `[genes, d]`
/// - output: `[cells, d]`
pub fn sparse_linear(rows: &Arc<CsrMatrix>, weight: Tensor<2>) -> Tensor<2> {
    let [genes, _] = weight.dims();
    assert_eq!(
        rows.cols(),
        genes,
        "sparse_linear: columns of the rows and rows of the weight"
    );
    #[cfg(feature = "flex")]
    {
        use super::host;
        let op = SparseLinear {
            rows: rows.clone(),
            d: weight.dims()[1],
        };
        let input = host::Input::new(weight.clone());
        if let Some(output) = host::apply(op, [input], [rows.rows(), weight.dims()[1]]) {
            return output;
        }
    }
    let dense = TensorData::new(rows.to_dense(), [rows.rows(), genes]);
    Tensor::<2>::from_data(dense, &weight.device()).matmul(weight)
}

/// Columns held in registers while a row's non-zeros are processed.
const BLOCK: usize = 64;
/// Rows per task.
const ROWS: usize = 16;

/// `X · W` on host memory, `W` row-major `[genes, d]`.
///
/// Every output row is summed in ascending gene order by one thread, so the result does not depend
/// on the number of threads.
pub fn spmm(rows: &CsrMatrix, weight: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0f32; rows.rows() * d];
    if d > 0 {
        let tasks = out.par_chunks_mut(ROWS * d).enumerate();
        tasks.for_each(|(task, out)| {
            vectorised(Rows {
                rows,
                first: task * ROWS,
                weight,
                d,
                out,
            })
        });
    }
    out
}

/// The rows of one task.
struct Rows<'a> {
    rows: &'a CsrMatrix,
    first: usize,
    weight: &'a [f32],
    d: usize,
    out: &'a mut [f32],
}

impl Body for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        for start in (0..self.d).step_by(BLOCK) {
            let width = BLOCK.min(self.d - start);
            for (k, out) in self.out.chunks_exact_mut(self.d).enumerate() {
                let (genes, values) = self.rows.row(self.first + k);
                let out = &mut out[start..start + width];
                if width < BLOCK {
                    for (&g, &v) in genes.iter().zip(values) {
                        let at = g as usize * self.d + start;
                        for (s, w) in out.iter_mut().zip(&self.weight[at..at + width]) {
                            *s += v * w;
                        }
                    }
                    continue;
                }
                let mut sum = [0f32; BLOCK];
                for (&g, &v) in genes.iter().zip(values) {
                    let at = g as usize * self.d + start;
                    for (s, w) in sum.iter_mut().zip(&self.weight[at..at + BLOCK]) {
                        *s += v * w;
                    }
                }
                out.copy_from_slice(&sum);
            }
        }
    }
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
struct SparseLinear {
    rows: Arc<CsrMatrix>,
    d: usize,
}

#[cfg(feature = "flex")]
impl super::host::HostOp<1> for SparseLinear {
    fn forward(&self, [weight]: [&[f32]; 1]) -> Vec<f32> {
        spmm(&self.rows, weight, self.d)
    }

    fn backward(&self, _: [&[f32]; 1], grad: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
        [Some(spmm(&self.rows.transpose(), grad, self.d))]
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;
    use burn::tensor::Device;

    #[test]
    fn agrees_with_the_dense_product_and_its_gradient() {
        let device = Device::flex().autodiff();
        let dense: Vec<f32> = (0..40)
            .map(|i| if i % 3 == 0 { i as f32 * 0.1 } else { 0.0 })
            .collect();
        let rows = Arc::new(CsrMatrix::from_dense(10, &dense));
        let weight: Vec<f32> = (0..700).map(|i| ((i * 37) % 11) as f32 - 5.0).collect();
        let w = Tensor::<2>::from_data(TensorData::new(weight, [10, 70]), &device).require_grad();
        let x = Tensor::<2>::from_data(TensorData::new(dense, [4, 10]), &device);
        let ours = sparse_linear(&rows, w.clone());
        let reference = x.matmul(w.clone());
        let difference = (ours.clone() - reference.clone())
            .abs()
            .max()
            .into_scalar::<f32>();
        assert!(difference < 1e-5, "{difference}");
        let ours = w.grad(&(ours.clone() * ours).sum().backward()).unwrap();
        let reference = w
            .grad(&(reference.clone() * reference).sum().backward())
            .unwrap();
        for (a, b) in host(ours).iter().zip(host(reference)) {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{a} {b}");
        }
    }
}
