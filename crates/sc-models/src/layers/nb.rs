//! Negative-binomial likelihood of sparse counts.
//!
//! Most counts are zero, and the likelihood of a zero needs one logarithm instead of three
//! log-gammas: the host kernel computes the latter only for non-zeros.

use super::gamma::ln_gamma_tensor;
use super::sparse::dense;
use burn::tensor::{Tensor, TensorData};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// Guard of the original against division by zero.
const EPS: f64 = 1e-10;

/// Genes of a cell in the loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// None: the cell's loss is 0.
    Skip,
    /// Every gene.
    All,
    /// The given genes, in ascending order.
    Only(Arc<Vec<u32>>),
}

/// Negative log-likelihood of every cell, after scaling its means to its own total.
///
/// With `m = s μ`, `s = Σ x / Σ μ` over the genes in scope, summed over these genes:
///
/// `lnΓ(θ+ε) + lnΓ(x+1) − lnΓ(x+θ+ε) + (θ+x) ln(1 + m/(θ+ε)) + x (ln(θ+ε) − ln(m+ε))`
///
/// Source: reference/scformer-scgpt-cellplm.md C3.
///
/// # Shapes
/// - `mean`: `[cells, genes]`, positive
/// - `dispersion` θ: `[1, genes]`, positive
/// - `counts`: `[cells, genes]`
/// - output: `[cells]`
pub fn scaled_nll(
    mean: Tensor<2>,
    dispersion: Tensor<2>,
    counts: &Arc<CsrMatrix>,
    scope: &Arc<Vec<Scope>>,
) -> Tensor<1> {
    #[cfg(feature = "flex")]
    {
        use super::host;
        let [cells, _] = mean.dims();
        let op = kernel::ScaledNll {
            counts: counts.clone(),
            scope: scope.clone(),
        };
        let inputs = [
            host::Input::new(mean.clone()),
            host::Input::new(dispersion.clone()),
        ];
        if let Some(output) = host::apply(op, inputs, [cells]) {
            return output;
        }
    }
    composed(mean, dispersion, counts, scope)
}

/// The same with burn operations, for other devices.
fn composed(
    mean: Tensor<2>,
    dispersion: Tensor<2>,
    counts: &CsrMatrix,
    scope: &[Scope],
) -> Tensor<1> {
    let [cells, genes] = mean.dims();
    let device = mean.device();
    let mut weight = vec![0f32; cells * genes];
    for (row, scope) in weight.chunks_exact_mut(genes.max(1)).zip(scope) {
        match scope {
            Scope::Skip => {}
            Scope::All => row.fill(1.0),
            Scope::Only(list) => list.iter().for_each(|&g| row[g as usize] = 1.0),
        }
    }
    let tensor = |v: Vec<f32>| Tensor::<2>::from_data(TensorData::new(v, [cells, genes]), &device);
    let weight = tensor(weight);
    let x = dense(counts, &device) * weight.clone();
    let mean = mean * weight.clone();
    let scale = x.clone().sum_dim(1) / mean.clone().sum_dim(1).clamp_min(1e-30);
    let m = mean * scale;
    let theta = dispersion.expand([cells, genes]);
    let te = theta.clone() + EPS;
    let nll = ln_gamma_tensor(te.clone()) + ln_gamma_tensor(x.clone() + 1.0)
        - ln_gamma_tensor(x.clone() + te.clone())
        + (theta + x.clone()) * (m.clone() / te.clone()).log1p()
        + x * (te.log() - (m + EPS).log());
    (nll * weight).sum_dim(1).squeeze_dim::<1>(1)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::{EPS, Scope};
    use crate::layers::gamma::{digamma_difference, ln_choose};
    use crate::layers::host::HostOp;
    use rayon::prelude::*;
    use sc_data::CsrMatrix;
    use std::sync::Arc;

    /// Cells whose gradients of θ are summed before they are joined; fixed, so that the sum does
    /// not depend on the number of threads.
    const CHUNK: usize = 32;

    #[derive(Clone, Debug)]
    pub(super) struct ScaledNll {
        pub(super) counts: Arc<CsrMatrix>,
        pub(super) scope: Arc<Vec<Scope>>,
    }

    /// The genes of one cell in scope: calls `zero` for all of them and `count` for non-zeros.
    fn walk(scope: &Scope, genes: usize, row: (&[u32], &[f32]), mut each: impl FnMut(usize, f32)) {
        let (indices, values) = row;
        let mut k = 0;
        let mut visit = |g: usize| {
            while k < indices.len() && (indices[k] as usize) < g {
                k += 1;
            }
            let hit = k < indices.len() && indices[k] as usize == g;
            each(g, if hit { values[k] } else { 0.0 });
        };
        match scope {
            Scope::Skip => {}
            Scope::All => (0..genes).for_each(&mut visit),
            Scope::Only(list) => list.iter().for_each(|&g| visit(g as usize)),
        }
    }

    fn totals(scope: &Scope, mean: &[f32], row: (&[u32], &[f32])) -> (f64, f64) {
        let (mut x_sum, mut m_sum) = (0f64, 0f64);
        walk(scope, mean.len(), row, |g, x| {
            x_sum += f64::from(x);
            m_sum += f64::from(mean[g]);
        });
        (x_sum, m_sum)
    }

    impl HostOp<2> for ScaledNll {
        fn forward(&self, [mean, theta]: [&[f32]; 2]) -> Vec<f32> {
            let genes = theta.len();
            mean.par_chunks(genes)
                .enumerate()
                .map(|(cell, mean)| {
                    let (row, scope) = (self.counts.row(cell), &self.scope[cell]);
                    let (x_sum, m_sum) = totals(scope, mean, row);
                    if m_sum <= 0.0 {
                        return 0.0;
                    }
                    let scale = x_sum / m_sum;
                    let mut nll = 0f64;
                    walk(scope, genes, row, |g, x| {
                        let t = f64::from(theta[g]) + EPS;
                        let m = f64::from(mean[g]) * scale;
                        if x == 0.0 {
                            nll += (t - EPS) * f64::from(((m / t) as f32).ln_1p());
                        } else {
                            nll += full(f64::from(x), m, t);
                        }
                    });
                    nll as f32
                })
                .collect()
        }

        fn backward(
            &self,
            [mean, theta]: [&[f32]; 2],
            grad: &[f32],
            wanted: [bool; 2],
        ) -> [Option<Vec<f32>>; 2] {
            let genes = theta.len();
            let mut d_mean = vec![0f32; mean.len()];
            let partial: Vec<Vec<f64>> = d_mean
                .par_chunks_mut(CHUNK * genes)
                .enumerate()
                .map(|(chunk, d_mean)| {
                    let mut d_theta = vec![0f64; genes];
                    for (k, d_mean) in d_mean.chunks_exact_mut(genes).enumerate() {
                        let cell = chunk * CHUNK + k;
                        let mean = &mean[cell * genes..(cell + 1) * genes];
                        self.backward_cell(cell, mean, theta, grad[cell], d_mean, &mut d_theta);
                    }
                    d_theta
                })
                .collect();
            let d_theta = wanted[1].then(|| {
                (0..genes)
                    .map(|g| partial.iter().map(|p| p[g]).sum::<f64>() as f32)
                    .collect()
            });
            [wanted[0].then_some(d_mean), d_theta]
        }
    }

    impl ScaledNll {
        fn backward_cell(
            &self,
            cell: usize,
            mean: &[f32],
            theta: &[f32],
            grad: f32,
            d_mean: &mut [f32],
            d_theta: &mut [f64],
        ) {
            let (row, scope) = (self.counts.row(cell), &self.scope[cell]);
            let (x_sum, m_sum) = totals(scope, mean, row);
            if m_sum <= 0.0 || grad == 0.0 {
                return;
            }
            let (scale, grad) = (x_sum / m_sum, f64::from(grad));
            let mut through_scale = 0f64;
            walk(scope, mean.len(), row, |g, x| {
                let t = f64::from(theta[g]) + EPS;
                let (mu, x) = (f64::from(mean[g]), f64::from(x));
                let m = mu * scale;
                let mut d_m = (t + x) / (t + m);
                let mut d_t = f64::from(((m / t) as f32).ln_1p()) - (t + x) * m / (t * (t + m));
                if x > 0.0 {
                    d_m -= x / (m + EPS);
                    d_t += digamma_difference(t, x) + x / t;
                }
                through_scale += d_m * mu;
                d_mean[g] = d_m as f32;
                d_theta[g] += grad * d_t;
            });
            let shift = through_scale / m_sum;
            walk(scope, mean.len(), row, |g, _| {
                d_mean[g] = ((f64::from(d_mean[g]) - shift) * scale * grad) as f32;
            });
        }
    }

    fn full(x: f64, m: f64, t: f64) -> f64 {
        let theta = t - EPS;
        -ln_choose(t, x) + (theta + x) * (m / t).ln_1p() + x * (t.ln() - (m + EPS).ln())
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;
    use burn::tensor::Device;

    #[test]
    fn the_kernel_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        let counts = [0.0, 3.0, 0.0, 1.0, 120.0, 0.0, 7.0, 0.0, 0.0, 2.0, 0.0, 5.0];
        let counts = Arc::new(CsrMatrix::from_dense(4, &counts));
        let mean: Vec<f32> = (1..13).map(|i| 0.3 * i as f32).collect();
        let leaf = |v: Vec<f32>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(v, shape), &device).require_grad()
        };
        let mean = leaf(mean, [3, 4]);
        let theta = leaf(vec![0.5, 1.5, 4.0, 0.01], [1, 4]);
        let only = Scope::Only(Arc::new(vec![1, 3]));
        let scope = Arc::new(vec![Scope::All, only, Scope::Skip]);
        let ours = scaled_nll(mean.clone(), theta.clone(), &counts, &scope);
        let reference = composed(mean.clone(), theta.clone(), &counts, &scope);
        let close = |a: Vec<f32>, b: Vec<f32>| {
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() <= 2e-4 * b.abs().max(0.1), "{a} {b}");
            }
        };
        close(host(ours.clone()), host(reference.clone()));
        let (g, h) = (ours.sum().backward(), reference.sum().backward());
        for leaf in [&mean, &theta] {
            close(host(leaf.grad(&g).unwrap()), host(leaf.grad(&h).unwrap()));
        }
    }
}
