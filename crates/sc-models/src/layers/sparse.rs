//! Linear maps of sparse rows: `X · W`, using only the non-zeros of `X`.
//!
//! A cell expresses 5–10 % of the genes, so the dense product would be 10–20 times the work.

use super::simd::{Body, vectorised};
use crate::operations;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use sc_data::CsrMatrix;
use std::ops::Range;
use std::sync::Arc;

/// `X · W` for sparse `X`.
///
/// On the `flex` device only non-zeros are used, forward and backward; other devices multiply the
/// [`dense`] minibatch.
///
/// # Shapes
/// - `rows`: `[cells, genes]`
/// - `weight`: `[genes, d]`
/// - output: `[cells, d]`
pub fn sparse_linear(rows: &Arc<CsrMatrix>, weight: Tensor<2>) -> Tensor<2> {
    let [genes, d] = weight.dims();
    assert_eq!(
        rows.cols(),
        genes,
        "sparse_linear: columns of the rows and rows of the weight"
    );
    operations::count_product(rows.nnz(), d, 1);
    #[cfg(feature = "flex")]
    {
        use super::host;
        let op = SparseLinear {
            rows: rows.clone(),
            d,
        };
        let input = host::Input::new(weight.clone());
        if let Some(output) = host::apply(op, [input], [rows.rows(), d]) {
            return output;
        }
    }
    dense(rows, &weight.device()).matmul(weight)
}

/// The rows as a tensor with zeros, `[cells, genes]`.
pub fn dense(rows: &CsrMatrix, device: &Device) -> Tensor<2> {
    // Not by putting non-zeros in their places with burn's `select_assign`: on software Vulkan the
    // losses of a minibatch of 2,000 genes were then 3 % off.
    let shape = [rows.rows(), rows.cols()];
    Tensor::from_data(TensorData::new(rows.to_dense(), shape), device)
}

/// Columns held in registers while a row's non-zeros are processed.
const COLUMNS: usize = 128;
/// Rows per task.
const ROWS: usize = 16;
/// Genes whose weights in [`COLUMNS`] columns, half a megabyte, stay in the second cache while all
/// rows use them.
const GENES: usize = 1024;
/// From this many uses of a weight on it is copied next to the others of its tile.
const USES: usize = 4;

/// `X · W` on host memory, `W` row-major `[genes, d]`.
///
/// Every output row is summed in ascending gene order by one thread, so the result does not depend
/// on the number of threads.
pub fn spmm(rows: &CsrMatrix, weight: &[f32], d: usize) -> Vec<f32> {
    let mut out = vec![0f32; rows.rows() * d];
    if out.is_empty() {
        return out;
    }
    let large = weight.len() > 2 * GENES * COLUMNS;
    if large && rows.nnz() >= USES * rows.cols() {
        tiled(rows, weight, d, &mut out);
        return out;
    }
    let tasks = out.par_chunks_mut(ROWS * d).enumerate();
    tasks.for_each(|(task, out)| {
        let first = task * ROWS;
        for start in (0..d).step_by(COLUMNS) {
            vectorised(Sums {
                rows,
                first,
                genes: 0..rows.cols(),
                weight: (&weight[start..], d),
                next: &mut [0; ROWS],
                out: (out, d, start..d.min(start + COLUMNS)),
            });
        }
    });
    out
}

/// The same for a table that no cache holds, of whose rows each is used by several cells: tiles of
/// it are copied together once, because rows of a wide table begin at the same places of a cache
/// and push each other out of it.
fn tiled(rows: &CsrMatrix, weight: &[f32], d: usize, out: &mut [f32]) {
    let strips = d.div_ceil(COLUMNS);
    let parts = (2 * rayon::current_num_threads()).div_ceil(strips);
    let each = rows.rows().div_ceil(parts);
    let of = |task: usize| {
        let (first, start) = (task / strips * each, task % strips * COLUMNS);
        let count = each.min(rows.rows().saturating_sub(first));
        strip(
            rows,
            weight,
            d,
            (first, count),
            start..d.min(start + COLUMNS),
        )
    };
    let tasks = (0..parts * strips).into_par_iter();
    let sums: Vec<Vec<f32>> = tasks.map(of).collect();
    let rows = out.par_chunks_mut(d).enumerate();
    rows.for_each(|(row, out)| {
        let sums = &sums[row / each * strips..][..strips];
        for (out, sums) in out.chunks_mut(COLUMNS).zip(sums) {
            let at = row % each * out.len();
            out.copy_from_slice(&sums[at..at + out.len()]);
        }
    });
}

/// These columns of `count` rows, `[count, columns]`.
fn strip(
    rows: &CsrMatrix,
    weight: &[f32],
    d: usize,
    (first, count): (usize, usize),
    columns: Range<usize>,
) -> Vec<f32> {
    let (genes, width) = (rows.cols(), columns.len());
    let mut out = vec![0f32; count * width];
    let mut next = vec![0; count];
    let mut tile = vec![0f32; GENES.min(genes) * width];
    for low in (0..genes).step_by(GENES) {
        let high = (low + GENES).min(genes);
        let weights = weight[low * d..high * d].chunks_exact(d);
        for (to, from) in tile.chunks_exact_mut(width).zip(weights) {
            to.copy_from_slice(&from[columns.clone()]);
        }
        vectorised(Sums {
            rows,
            first,
            genes: low..high,
            weight: (&tile, width),
            next: &mut next,
            out: (&mut out, width, 0..width),
        });
    }
    out
}

/// Adds to rows of the output what `genes` contribute.
struct Sums<'a> {
    rows: &'a CsrMatrix,
    /// The row of the input that the output begins with.
    first: usize,
    genes: Range<usize>,
    /// Weights of the first gene, and how far the next gene's are.
    weight: (&'a [f32], usize),
    /// The next non-zero of every row.
    next: &'a mut [usize],
    /// Rows of the output, their length, and the columns that are added to.
    out: (&'a mut [f32], usize, Range<usize>),
}

impl Body for Sums<'_> {
    #[inline(always)]
    fn run(self) {
        let (weight, stride) = self.weight;
        let of = |g: u32| &weight[(g as usize - self.genes.start) * stride..];
        let (out, length, columns) = self.out;
        let out = out.chunks_exact_mut(length);
        for (k, (out, next)) in out.zip(self.next).enumerate() {
            let (genes, values) = self.rows.row(self.first + k);
            let (genes, values) = (&genes[*next..], &values[*next..]);
            let n = genes.partition_point(|&g| (g as usize) < self.genes.end);
            *next += n;
            let used = genes[..n].iter().zip(&values[..n]);
            let out = &mut out[columns.clone()];
            if let Ok(out) = <&mut [f32; COLUMNS]>::try_from(&mut *out) {
                let mut sum = *out;
                for (&g, &v) in used {
                    for (s, w) in sum.iter_mut().zip(&of(g)[..COLUMNS]) {
                        *s += v * w;
                    }
                }
                *out = sum;
            } else {
                for (&g, &v) in used {
                    for (s, w) in out.iter_mut().zip(of(g)) {
                        *s += v * w;
                    }
                }
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
