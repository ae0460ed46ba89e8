//! Zero-inflated and plain negative-binomial likelihood of counts, in the form of scvi-tools.
//!
//! Everything is computed in double precision on the host, with an explicit gradient: three
//! log-gammas per entry are computed only for non-zeros.

use super::gamma::ln_gamma_tensor;
use super::sparse::dense;
use burn::tensor::Tensor;
use burn::tensor::activation::softplus;
use sc_data::CsrMatrix;
use std::sync::Arc;

/// Epsilon of means and dispersions inside logarithms, as in scvi-tools.
const EPS: f64 = 1e-8;

/// Negative log-likelihood of every cell under a zero-inflated negative binomial.
///
/// With `z = θ (ln(θ+ε) − ln(θ+μ+ε)) − π`, summed over genes:
///
/// - `x = 0`: `softplus(−π) − softplus(z)`
/// - `x > 0`: `softplus(−π) − z − x (ln(μ+ε) − ln(θ+μ+ε)) − lnΓ(x+θ) + lnΓ(θ) + lnΓ(x+1)`
///
/// # Shapes
/// - `mean` μ: `[cells, genes]`, positive
/// - `dispersion` θ: `[cells, genes]`, or `[1, genes]` when every gene has one; positive
/// - `zero_logits` π: `[cells, genes]`, the logit of zero inflation
/// - `counts`: `[cells, genes]`
/// - output: `[cells]`
pub fn zinb_nll(
    mean: Tensor<2>,
    dispersion: Tensor<2>,
    zero_logits: Tensor<2>,
    counts: &Arc<CsrMatrix>,
) -> Tensor<1> {
    #[cfg(feature = "flex")]
    {
        use super::host;
        let [cells, _] = mean.dims();
        let inputs = [
            host::Input::new(mean.clone()),
            host::Input::new(dispersion.clone()),
            host::Input::new(zero_logits.clone()),
        ];
        if let Some(output) = host::apply(kernel::Zinb(counts.clone()), inputs, [cells]) {
            return output;
        }
    }
    composed(mean, dispersion, Some(zero_logits), counts)
}

/// Negative log-likelihood of every cell under a negative binomial:
/// [`zinb_nll`] without the inflation, `−z` in place of both first terms with `π = 0`.
///
/// # Shapes
/// As [`zinb_nll`].
pub fn nb_nll(mean: Tensor<2>, dispersion: Tensor<2>, counts: &Arc<CsrMatrix>) -> Tensor<1> {
    #[cfg(feature = "flex")]
    {
        use super::host;
        let [cells, _] = mean.dims();
        let inputs = [
            host::Input::new(mean.clone()),
            host::Input::new(dispersion.clone()),
        ];
        if let Some(output) = host::apply(kernel::Nb(counts.clone()), inputs, [cells]) {
            return output;
        }
    }
    composed(mean, dispersion, None, counts)
}

/// The same with burn operations, for other devices.
fn composed(
    mean: Tensor<2>,
    dispersion: Tensor<2>,
    zero_logits: Option<Tensor<2>>,
    counts: &CsrMatrix,
) -> Tensor<1> {
    let [cells, genes] = mean.dims();
    let x = dense(counts, &mean.device());
    let theta = dispersion.expand([cells, genes]);
    let total = (theta.clone() + mean.clone() + EPS).log();
    let stay = theta.clone() * ((theta.clone() + EPS).log() - total.clone());
    let rest = x.clone() * ((mean + EPS).log() - total)
        + ln_gamma_tensor(x.clone() + theta.clone())
        - ln_gamma_tensor(theta)
        - ln_gamma_tensor(x.clone() + 1.0);
    let log_p = match zero_logits {
        None => stay + rest,
        Some(pi) => {
            let z = stay - pi.clone();
            let is_zero = x.lower_equal_scalar(0.0).float();
            let zero = softplus(z.clone(), 1.0);
            let more = z + rest;
            zero * is_zero.clone() + more * (is_zero.neg() + 1.0) - softplus(pi.neg(), 1.0)
        }
    };
    log_p.neg().sum_dim(1).squeeze_dim::<1>(1)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::EPS;
    use crate::layers::gamma::{digamma_difference, ln_choose};
    use crate::layers::host::HostOp;
    use crate::layers::simd::{Body, exp64, ln64, vectorised};
    use rayon::prelude::*;
    use sc_data::CsrMatrix;
    use std::sync::Arc;

    /// Cells whose gradients of a shared θ are summed before they are joined; fixed, so that the
    /// sum does not depend on the number of threads.
    const CHUNK: usize = 32;

    #[derive(Clone, Debug)]
    pub(super) struct Zinb(pub(super) Arc<CsrMatrix>);

    #[derive(Clone, Debug)]
    pub(super) struct Nb(pub(super) Arc<CsrMatrix>);

    impl HostOp<3> for Zinb {
        fn forward(&self, [mean, theta, pi]: [&[f32]; 3]) -> Vec<f32> {
            forward(&self.0, mean, theta, Some(pi))
        }

        fn backward(
            &self,
            [mean, theta, pi]: [&[f32]; 3],
            grad: &[f32],
            wanted: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            let found = backward(&self.0, mean, theta, Some(pi), grad);
            let [a, b, c] = wanted;
            [
                a.then_some(found.mean),
                b.then_some(found.theta),
                c.then_some(found.pi),
            ]
        }
    }

    impl HostOp<2> for Nb {
        fn forward(&self, [mean, theta]: [&[f32]; 2]) -> Vec<f32> {
            forward(&self.0, mean, theta, None)
        }

        fn backward(
            &self,
            [mean, theta]: [&[f32]; 2],
            grad: &[f32],
            wanted: [bool; 2],
        ) -> [Option<Vec<f32>>; 2] {
            let found = backward(&self.0, mean, theta, None, grad);
            let [a, b] = wanted;
            [a.then_some(found.mean), b.then_some(found.theta)]
        }
    }

    /// Gradients in the shapes of the inputs; `pi` is empty without inflation.
    struct Gradients {
        mean: Vec<f32>,
        theta: Vec<f32>,
        pi: Vec<f32>,
    }

    /// The part of a matrix, or of the one row all cells share, that belongs to a cell.
    fn row(values: &[f32], shared: bool, cell: usize, genes: usize) -> &[f32] {
        let first = if shared { 0 } else { cell * genes };
        &values[first..first + genes]
    }

    fn softplus(x: f64) -> f64 {
        x.max(0.0) + (-x.abs()).exp().ln_1p()
    }

    fn forward(counts: &CsrMatrix, mean: &[f32], theta: &[f32], pi: Option<&[f32]>) -> Vec<f32> {
        let genes = counts.cols();
        let shared = theta.len() == genes;
        mean.par_chunks(genes.max(1))
            .enumerate()
            .map_init(
                || (vec![0f64; genes], Logs::new(theta, shared, genes)),
                |(zeros, logs), (cell, mean)| {
                    let theta = row(theta, shared, cell, genes);
                    let log_theta = logs.of(theta, shared);
                    let pi = pi.map(|p| row(p, false, cell, genes));
                    // Most counts are 0: all are treated so first, and the others corrected after.
                    vectorised(Zeros {
                        mean,
                        theta,
                        log_theta,
                        pi,
                        out: zeros,
                    });
                    let (indices, values) = counts.row(cell);
                    let cell: f64 = zeros.iter().sum();
                    let rest = indices.iter().zip(values).filter(|(_, x)| **x != 0.0);
                    let more = rest.map(|(&g, &x)| {
                        let g = g as usize;
                        let [x, m, t] = [x, mean[g], theta[g]].map(f64::from);
                        nll(x, m, t, pi.map(|p| f64::from(p[g]))) - zeros[g]
                    });
                    (cell + more.sum::<f64>()) as f32
                },
            )
            .collect()
    }

    /// `ln(t + ε)` of every gene, computed once where all cells share it.
    struct Logs(Vec<f64>);

    impl Logs {
        fn new(theta: &[f32], shared: bool, genes: usize) -> Self {
            let mut new = Self(vec![0f64; genes]);
            if shared {
                new.fill(theta);
            }
            new
        }

        fn of(&mut self, theta: &[f32], shared: bool) -> &[f64] {
            if !shared {
                self.fill(theta);
            }
            &self.0
        }

        fn fill(&mut self, theta: &[f32]) {
            struct Fill<'a>(&'a [f32], &'a mut [f64]);
            impl Body for Fill<'_> {
                #[inline(always)]
                fn run(self) {
                    for (o, &t) in self.1.iter_mut().zip(self.0) {
                        *o = ln64(f64::from(t) + EPS);
                    }
                }
            }
            vectorised(Fill(theta, &mut self.0));
        }
    }

    /// [`nll`] of counts that are 0.
    struct Zeros<'a> {
        mean: &'a [f32],
        theta: &'a [f32],
        log_theta: &'a [f64],
        pi: Option<&'a [f32]>,
        out: &'a mut [f64],
    }

    impl Body for Zeros<'_> {
        #[inline(always)]
        fn run(self) {
            let n = self.out.len();
            let (mean, theta) = (&self.mean[..n], &self.theta[..n]);
            let log_theta = &self.log_theta[..n];
            // Loops over indices, not `for_each`, which would not be inlined.
            match self.pi {
                None => {
                    for g in 0..n {
                        self.out[g] = -stay(mean[g], theta[g], log_theta[g]);
                    }
                }
                Some(pi) => {
                    let pi = &pi[..n];
                    for g in 0..n {
                        let pi = f64::from(pi[g]);
                        let z = stay(mean[g], theta[g], log_theta[g]) - pi;
                        // softplus(−π) − softplus(z), of which both logarithms are one.
                        let ratio = (1.0 + exp64(-pi.abs())) / (1.0 + exp64(-z.abs()));
                        self.out[g] = (-pi).max(0.0) - z.max(0.0) + ln64(ratio);
                    }
                }
            }
        }
    }

    /// `t ln(t / (t + m))`: the logarithm of the binomial's share of zeros.
    #[inline(always)]
    fn stay(m: f32, t: f32, log_theta: f64) -> f64 {
        let (m, t) = (f64::from(m), f64::from(t));
        t * (log_theta - ln64(t + m + EPS))
    }

    /// The logistic function.
    #[inline(always)]
    fn logistic(x: f64) -> f64 {
        let e = exp64(-x.abs());
        let above = 1.0 / (1.0 + e);
        if x < 0.0 { e * above } else { above }
    }

    /// The likelihood of a count that is not 0.
    fn nll(x: f64, m: f64, t: f64, pi: Option<f64>) -> f64 {
        let total = (t + m + EPS).ln();
        let stay = t * ((t + EPS).ln() - total);
        let zero = match pi {
            Some(pi) => softplus(-pi) + pi - stay,
            None => -stay,
        };
        zero - x * ((m + EPS).ln() - total) - ln_choose(t, x)
    }

    /// Chunks of `size`; empty ones for an absent slice, so that all three can be iterated
    /// together.
    fn pieces(values: &mut [f32], size: usize, chunks: usize) -> Vec<&mut [f32]> {
        let mut out: Vec<_> = values.chunks_mut(size).collect();
        out.resize_with(chunks, Default::default);
        out
    }

    /// Derivatives of [`nll`] by `m`, `t` and `pi`.
    fn slopes(x: f64, m: f64, t: f64, pi: Option<f64>) -> [f64; 3] {
        let (te, all) = (t + EPS, t + m + EPS);
        let d_stay = te.ln() - all.ln() + t * (1.0 / te - 1.0 / all);
        let d_m = t / all - x * (1.0 / (m + EPS) - 1.0 / all);
        let d_t = x / all + digamma_difference(t, x) - d_stay;
        [d_m, d_t, pi.map_or(0.0, |pi| 1.0 - logistic(-pi))]
    }

    /// The same for counts that are 0, times the weight of the cell.
    struct ZeroSlopes<'a> {
        mean: &'a [f32],
        theta: &'a [f32],
        log_theta: &'a [f64],
        pi: Option<&'a [f32]>,
        weight: f64,
        d_mean: &'a mut [f32],
        d_theta: &'a mut [f64],
        d_pi: &'a mut [f32],
    }

    impl Body for ZeroSlopes<'_> {
        #[inline(always)]
        fn run(self) {
            let n = self.d_mean.len();
            let (mean, theta) = (&self.mean[..n], &self.theta[..n]);
            let (d_mean, d_theta) = (&mut self.d_mean[..n], &mut self.d_theta[..n]);
            let log_theta = &self.log_theta[..n];
            let weight = self.weight;
            let Some(pi) = self.pi else {
                for g in 0..n {
                    let (_, by_mean, by_theta) = binomial(mean[g], theta[g], log_theta[g]);
                    d_mean[g] = (by_mean * weight) as f32;
                    d_theta[g] = -by_theta * weight;
                }
                return;
            };
            let (pi, d_pi) = (&pi[..n], &mut self.d_pi[..n]);
            for g in 0..n {
                let pi = f64::from(pi[g]);
                let (stay, by_mean, by_theta) = binomial(mean[g], theta[g], log_theta[g]);
                // A zero may be inflated; the binomial part counts for its share.
                let share = logistic(stay - pi);
                d_mean[g] = (share * by_mean * weight) as f32;
                d_theta[g] = -share * by_theta * weight;
                d_pi[g] = ((share - logistic(-pi)) * weight) as f32;
            }
        }
    }

    /// [`stay`], the negative of its derivative by `m`, and its derivative by `t`.
    #[inline(always)]
    fn binomial(m: f32, t: f32, log_theta: f64) -> (f64, f64, f64) {
        let (m, t) = (f64::from(m), f64::from(t));
        let (te, all) = (t + EPS, t + m + EPS);
        let log = log_theta - ln64(all);
        (t * log, t / all, log + t * (1.0 / te - 1.0 / all))
    }

    fn backward(
        counts: &CsrMatrix,
        mean: &[f32],
        theta: &[f32],
        pi: Option<&[f32]>,
        grad: &[f32],
    ) -> Gradients {
        let genes = counts.cols();
        let shared = theta.len() == genes;
        let entries = mean.len();
        let mut out = Gradients {
            mean: vec![0f32; entries],
            theta: vec![0f32; if shared { 0 } else { entries }],
            pi: vec![0f32; if pi.is_some() { entries } else { 0 }],
        };
        let size = (CHUNK * genes).max(1);
        let chunks = entries.div_ceil(size);
        let Gradients {
            mean: d_mean,
            theta: d_theta,
            pi: d_pi,
        } = &mut out;
        let work: Vec<_> = pieces(d_mean, size, chunks)
            .into_iter()
            .zip(pieces(d_theta, size, chunks))
            .zip(pieces(d_pi, size, chunks))
            .collect();
        let partial: Vec<Vec<f64>> = work
            .into_par_iter()
            .enumerate()
            .map(|(chunk, ((d_mean, d_theta), d_pi))| {
                let mut sums = vec![0f64; if shared { genes } else { 0 }];
                let mut d_t = vec![0f64; genes];
                let mut logs = Logs::new(theta, shared, genes);
                for k in 0..d_mean.len() / genes.max(1) {
                    let cell = chunk * CHUNK + k;
                    let here = k * genes..(k + 1) * genes;
                    let mean = row(mean, false, cell, genes);
                    let theta = row(theta, shared, cell, genes);
                    let pi = pi.map(|p| row(p, false, cell, genes));
                    let weight = f64::from(grad[cell]);
                    let d_m = &mut d_mean[here.clone()];
                    let d_p = d_pi.get_mut(here.clone()).unwrap_or_default();
                    vectorised(ZeroSlopes {
                        mean,
                        theta,
                        log_theta: logs.of(theta, shared),
                        pi,
                        weight,
                        d_mean: &mut *d_m,
                        d_theta: &mut d_t,
                        d_pi: &mut *d_p,
                    });
                    let (indices, values) = counts.row(cell);
                    for (&g, &x) in indices.iter().zip(values).filter(|(_, x)| **x != 0.0) {
                        let g = g as usize;
                        let [x, m, t] = [x, mean[g], theta[g]].map(f64::from);
                        let [m, t, p] =
                            slopes(x, m, t, pi.map(|p| f64::from(p[g]))).map(|d| d * weight);
                        d_m[g] = m as f32;
                        d_t[g] = t;
                        if let Some(slot) = d_p.get_mut(g) {
                            *slot = p as f32;
                        }
                    }
                    match shared {
                        true => sums.iter_mut().zip(&d_t).for_each(|(s, d)| *s += d),
                        false => {
                            let slots = d_theta[here].iter_mut().zip(&d_t);
                            slots.for_each(|(s, d)| *s = *d as f32);
                        }
                    }
                }
                sums
            })
            .collect();
        if shared {
            out.theta = (0..genes)
                .map(|g| partial.iter().map(|p| p[g]).sum::<f64>() as f32)
                .collect();
        }
        out
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;
    use burn::tensor::{Device, TensorData};

    fn leaf(v: &[f32], shape: [usize; 2], device: &Device) -> Tensor<2> {
        Tensor::<2>::from_data(TensorData::new(v.to_vec(), shape), device).require_grad()
    }

    fn close(a: &[f32], b: &[f32], tolerance: f32) {
        assert_eq!(a.len(), b.len());
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= tolerance * b.abs().max(0.1), "{a} {b}");
        }
    }

    const COUNTS: [f32; 12] = [
        0.0, 3.0, 0.0, 1.0, 120.0, 0.0, 7.0, 0.0, 0.0, 2.0, 0.0, 700.0,
    ];
    const LOGITS: [f32; 12] = [
        -3.0, 0.5, 2.0, -0.1, 1.0, -6.0, 0.0, 9.0, -1.0, 3.0, 0.2, -0.7,
    ];

    fn means() -> Vec<f32> {
        (1..13).map(|i| 0.3 * i as f32).collect()
    }

    #[test]
    fn the_kernel_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        let counts = Arc::new(CsrMatrix::from_dense(4, &COUNTS));
        let full: Vec<f32> = (0..12).map(|i| 0.02 + 0.4 * i as f32).collect();
        for (theta, rows) in [(&[0.5, 1.5, 4.0, 0.01][..], 1), (&full[..], 3)] {
            let [mean, pi] = [means(), LOGITS.to_vec()].map(|v| leaf(&v, [3, 4], &device));
            let theta = leaf(theta, [rows, 4], &device);
            for inflated in [true, false] {
                let [mean, theta, pi] = [&mean, &theta, &pi].map(Tensor::clone);
                let ours = match inflated {
                    true => zinb_nll(mean.clone(), theta.clone(), pi.clone(), &counts),
                    false => nb_nll(mean.clone(), theta.clone(), &counts),
                };
                let reference = composed(
                    mean.clone(),
                    theta.clone(),
                    inflated.then(|| pi.clone()),
                    &counts,
                );
                close(&host(ours.clone()), &host(reference.clone()), 2e-4);
                let (g, h) = (ours.sum().backward(), reference.sum().backward());
                for leaf in [&mean, &theta, &pi] {
                    let grads = [&g, &h].map(|g| leaf.grad(g).map(host).unwrap_or_default());
                    close(&grads[0], &grads[1], 2e-3);
                }
            }
        }
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let device = Device::flex().autodiff();
        let counts: Vec<f32> = COUNTS.iter().map(|c| c.min(120.0)).collect();
        let counts = Arc::new(CsrMatrix::from_dense(4, &counts));
        let theta = [0.5f32, 1.5, 4.0, 0.2];
        let run = |values: [&[f32]; 3]| {
            let leaves = [
                leaf(values[0], [3, 4], &device),
                leaf(values[1], [1, 4], &device),
                leaf(values[2], [3, 4], &device),
            ];
            let [m, t, p] = leaves.clone();
            (zinb_nll(m, t, p, &counts), leaves)
        };
        let start = [means(), theta.to_vec(), LOGITS.to_vec()];
        let (loss, leaves) = run([&start[0], &start[1], &start[2]]);
        let grads = loss.sum().backward();
        for (which, leaf) in leaves.iter().enumerate() {
            let exact = host(leaf.grad(&grads).unwrap());
            for i in 0..start[which].len() {
                let step = 2e-2 * start[which][i].abs().max(0.1);
                let at = |sign: f32| {
                    let mut moved = start.clone();
                    moved[which][i] += sign * step;
                    let (loss, _) = run([&moved[0], &moved[1], &moved[2]]);
                    host(loss).iter().map(|&v| f64::from(v)).sum::<f64>()
                };
                let slope = ((at(1.0) - at(-1.0)) / f64::from(2.0 * step)) as f32;
                let (a, b) = (exact[i], slope);
                assert!(
                    (a - b).abs() <= 0.01 * b.abs().max(0.2),
                    "{which} {i}: {a} {b}"
                );
            }
        }
    }
}
