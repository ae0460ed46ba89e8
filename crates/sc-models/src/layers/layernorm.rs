//! Layer norm in one pass forward and one backward on the host, together with the residual that
//! many blocks add before it.

use super::dropout::{Dropout, Mask};
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// `(x − mean) / √(variance + ε) · γ + β` over the last axis, as `torch.nn.LayerNorm`.
#[derive(Module, Debug)]
pub struct LayerNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// A norm of `d` channels with ε = 1e-5.
    pub fn new(d: usize, device: &Device) -> Self {
        Self {
            gamma: Initializer::Ones.init([d], device),
            beta: Initializer::Zeros.init([d], device),
            epsilon: 1e-5,
        }
    }

    /// The same with another ε.
    pub fn with_epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Normalises every row of `[..., d]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        #[cfg(feature = "flex")]
        {
            use super::host::{self, Input};
            let shape = x.dims();
            let op = fused::Norm {
                epsilon: self.epsilon,
                dropped: None,
            };
            let inputs = [
                Input::new(x.clone()),
                Input::new(gamma.clone()),
                Input::new(beta.clone()),
            ];
            if let Some(output) = host::apply(op, inputs, shape) {
                return output;
            }
        }
        burn::tensor::module::layer_norm(x, gamma, Some(beta), self.epsilon)
    }

    /// Normalises `x + dropout(y)`, the end of a block whose norm comes last.
    ///
    /// # Shapes
    /// - `x`, `y`, output: `[..., d]`
    pub fn of_sum<const D: usize>(
        &self,
        x: Tensor<D>,
        y: Tensor<D>,
        dropout: &Dropout,
    ) -> Tensor<D> {
        let mask = dropout.mask(&x.device());
        #[cfg(feature = "flex")]
        {
            use super::host::{self, Input};
            let shape = x.dims();
            let op = fused::Norm {
                epsilon: self.epsilon,
                dropped: mask,
            };
            let inputs = [
                Input::new(x.clone()),
                Input::new(y.clone()),
                Input::new(self.gamma.val()),
                Input::new(self.beta.val()),
            ];
            if let Some(output) = host::apply(op, inputs, shape) {
                return output;
            }
        }
        self.forward(x + Mask::apply(mask, y))
    }
}

#[cfg(feature = "flex")]
mod fused {
    use crate::layers::dropout::Mask;
    use crate::layers::host::HostOp;
    use crate::layers::simd::{Body, vectorised};
    use rayon::prelude::*;

    /// Rows whose gradients of γ and β are summed before they are joined; fixed, so that the sum
    /// does not depend on the number of threads.
    const ROWS: usize = 64;

    /// See [`super::LayerNorm`].
    #[derive(Clone, Debug)]
    pub(super) struct Norm {
        pub(super) epsilon: f64,
        pub(super) dropped: Option<Mask>,
    }

    /// What is normalised: rows of `x`, or of `x + dropout(y)`.
    #[derive(Clone, Copy)]
    struct Rows<'a> {
        x: &'a [f32],
        y: Option<&'a [f32]>,
        mask: Option<Mask>,
        /// Position of the first value, for the mask.
        first: usize,
    }

    impl<'a> Rows<'a> {
        /// The rows `task · ROWS` to `(task + 1) · ROWS`.
        fn part(self, task: usize, d: usize) -> Self {
            let from = task * ROWS * d;
            let to = (from + ROWS * d).min(self.x.len());
            Self {
                x: &self.x[from..to],
                y: self.y.map(|y| &y[from..to]),
                first: from,
                ..self
            }
        }

        /// Writes row `i` to `out`.
        #[inline(always)]
        fn read(&self, i: usize, out: &mut [f32]) {
            let at = i * out.len()..(i + 1) * out.len();
            let x = &self.x[at.clone()];
            let Some(y) = self.y else {
                out.copy_from_slice(x);
                return;
            };
            let y = &y[at.clone()];
            let Some(mask) = self.mask else {
                for (o, (x, y)) in out.iter_mut().zip(x.iter().zip(y)) {
                    *o = x + y;
                }
                return;
            };
            let first = (self.first + at.start) as u32;
            for (k, (o, (x, y))) in out.iter_mut().zip(x.iter().zip(y)).enumerate() {
                *o = x + y * mask.factor(first.wrapping_add(k as u32));
            }
        }
    }

    /// `Σ f(v)` in sixteen interleaved sums, which is what vector registers do.
    #[inline(always)]
    fn sum(values: &[f32], f: impl Fn(usize, f32) -> f32) -> f32 {
        let mut sums = [0f32; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for (c, chunk) in chunks.iter().enumerate() {
            for k in 0..16 {
                sums[k] += f(c * 16 + k, chunk[k]);
            }
        }
        let done = chunks.len() * 16;
        let rest = (rest.iter().enumerate()).map(|(k, &v)| f(done + k, v));
        sums.iter().sum::<f32>() + rest.sum::<f32>()
    }

    /// Subtracts the mean of a row and returns `1 / √(variance + ε)`.
    #[inline(always)]
    fn centre(row: &mut [f32], epsilon: f64) -> f32 {
        let n = row.len() as f32;
        let mean = sum(row, |_, v| v) / n;
        for v in row.iter_mut() {
            *v -= mean;
        }
        let variance = sum(row, |_, v| v * v) / n;
        (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32
    }

    struct Forward<'a> {
        rows: Rows<'a>,
        gamma: &'a [f32],
        beta: &'a [f32],
        epsilon: f64,
        out: &'a mut [f32],
    }

    impl Body for Forward<'_> {
        #[inline(always)]
        fn run(self) {
            let d = self.gamma.len();
            for (i, out) in self.out.chunks_exact_mut(d).enumerate() {
                self.rows.read(i, out);
                let scale = centre(out, self.epsilon);
                for (o, (g, b)) in out.iter_mut().zip(self.gamma.iter().zip(self.beta)) {
                    *o = *o * scale * g + b;
                }
            }
        }
    }

    struct Backward<'a> {
        rows: Rows<'a>,
        gamma: &'a [f32],
        epsilon: f64,
        grad: &'a [f32],
        /// Gradients of the rows, of γ and of β.
        out: [&'a mut [f32]; 3],
    }

    impl Body for Backward<'_> {
        #[inline(always)]
        fn run(self) {
            let d = self.gamma.len();
            let [out, d_gamma, d_beta] = self.out;
            let mut row = vec![0f32; d];
            let grads = self.grad.chunks_exact(d);
            for (i, (out, grad)) in out.chunks_exact_mut(d).zip(grads).enumerate() {
                self.rows.read(i, &mut row);
                let scale = centre(&mut row, self.epsilon);
                for (v, (g, sum)) in row.iter_mut().zip(grad.iter().zip(&mut *d_gamma)) {
                    *v *= scale;
                    *sum += g * *v;
                }
                for (sum, g) in d_beta.iter_mut().zip(grad) {
                    *sum += g;
                }
                for (o, (g, w)) in out.iter_mut().zip(grad.iter().zip(self.gamma)) {
                    *o = g * w;
                }
                let mean = sum(out, |_, h| h) / d as f32;
                let along = sum(out, |k, h| h * row[k]) / d as f32;
                for (o, v) in out.iter_mut().zip(&row) {
                    *o = scale * (*o - mean - v * along);
                }
            }
        }
    }

    impl Norm {
        fn rows<'a>(&self, x: &'a [f32], y: Option<&'a [f32]>) -> Rows<'a> {
            let mask = self.dropped;
            let first = 0;
            Rows { x, y, mask, first }
        }

        fn normalise(&self, rows: Rows<'_>, gamma: &[f32], beta: &[f32]) -> Vec<f32> {
            let d = gamma.len();
            let mut out = vec![0f32; rows.x.len()];
            let tasks = out.par_chunks_mut((ROWS * d).max(1)).enumerate();
            tasks.for_each(|(task, out)| {
                vectorised(Forward {
                    rows: rows.part(task, d),
                    gamma,
                    beta,
                    epsilon: self.epsilon,
                    out,
                });
            });
            out
        }

        /// Gradients of the rows, of γ and of β.
        fn gradients(&self, rows: Rows<'_>, gamma: &[f32], grad: &[f32]) -> [Vec<f32>; 3] {
            let d = gamma.len();
            let size = (ROWS * d).max(1);
            let mut out = vec![0f32; grad.len()];
            let tasks = out.par_chunks_mut(size).zip(grad.par_chunks(size));
            let partial: Vec<[Vec<f32>; 2]> = (tasks.enumerate())
                .map(|(task, (out, grad))| {
                    let mut sums = [0; 2].map(|_| vec![0f32; d]);
                    let [d_gamma, d_beta] = &mut sums;
                    vectorised(Backward {
                        rows: rows.part(task, d),
                        gamma,
                        epsilon: self.epsilon,
                        grad,
                        out: [out, d_gamma, d_beta],
                    });
                    sums
                })
                .collect();
            let mut sums = [0; 2].map(|_| vec![0f32; d]);
            for (sums, k) in sums.iter_mut().zip(0..2) {
                for part in &partial {
                    sums.iter_mut().zip(&part[k]).for_each(|(s, p)| *s += p);
                }
            }
            let [d_gamma, d_beta] = sums;
            [out, d_gamma, d_beta]
        }
    }

    impl HostOp<3> for Norm {
        fn forward(&self, [x, gamma, beta]: [&[f32]; 3]) -> Vec<f32> {
            self.normalise(self.rows(x, None), gamma, beta)
        }

        fn backward(
            &self,
            [x, gamma, _]: [&[f32]; 3],
            grad: &[f32],
            _: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            self.gradients(self.rows(x, None), gamma, grad).map(Some)
        }
    }

    impl HostOp<4> for Norm {
        fn forward(&self, [x, y, gamma, beta]: [&[f32]; 4]) -> Vec<f32> {
            self.normalise(self.rows(x, Some(y)), gamma, beta)
        }

        fn backward(
            &self,
            [x, y, gamma, _]: [&[f32]; 4],
            grad: &[f32],
            _: [bool; 4],
        ) -> [Option<Vec<f32>>; 4] {
            let rows = self.rows(x, Some(y));
            let [d_sum, d_gamma, d_beta] = self.gradients(rows, gamma, grad);
            let d_y = match self.dropped {
                Some(mask) => mask.times(&d_sum),
                None => d_sum.clone(),
            };
            [Some(d_sum), Some(d_y), Some(d_gamma), Some(d_beta)]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::{Init, initialise};
    use crate::testing::{PLAIN, bent, slopes_agree, spread};
    use crate::weights::host;

    fn norm(d: usize, device: &Device) -> LayerNorm {
        initialise(LayerNorm::new(d, device).with_epsilon(1e-3), 1, |_| {
            Some(Init::Normal(0.7))
        })
    }

    fn close(a: Tensor<2>, b: Tensor<2>) {
        for (a, b) in host(a).iter().zip(host(b)) {
            assert!((a - b).abs() < 3e-6, "{a} {b}");
        }
    }

    #[test]
    fn agrees_with_burn_forward_and_backward() {
        let device = Device::flex().autodiff();
        // More rows than a task has, and a width that no register divides.
        let (rows, d) = (150, 37);
        let x = spread([rows, d], &device).require_grad();
        let norm = norm(d, &device);
        let ours = norm.forward(x.clone());
        let (gamma, beta) = (norm.gamma.val(), norm.beta.val());
        let theirs = burn::tensor::module::layer_norm(x.clone(), gamma, Some(beta), 1e-3);
        close(ours.clone(), theirs.clone());
        let grad = |y: Tensor<2>| x.grad(&bent(y).backward()).unwrap();
        close(grad(ours), grad(theirs));
    }

    #[test]
    fn a_sum_is_dropped_as_by_a_layer_of_dropout() {
        let device = Device::flex().autodiff();
        let [x, y] = [0.7, -0.4].map(|f| (spread([70, 24], &device) * f).require_grad());
        let norm = norm(24, &device);
        for prob in [0.0, 0.3] {
            let dropout = Dropout::new(prob);
            crate::draws::begin(4);
            let ours = norm.of_sum(x.clone(), y.clone(), &dropout);
            crate::draws::begin(4);
            let apart = norm.forward(x.clone() + dropout.forward(y.clone()));
            assert_eq!(host(ours.clone()), host(apart.clone()));
            let [ours, apart] = [ours, apart].map(|z| bent(z).backward());
            for t in [&x, &y] {
                close(t.grad(&ours).unwrap(), t.grad(&apart).unwrap());
            }
        }
    }

    #[test]
    fn gradients_agree_with_differences() {
        let device = Device::flex().autodiff();
        let x = spread([5, 9], &device);
        let loss = |m: &LayerNorm| bent(m.forward(x.clone()));
        slopes_agree(&norm(9, &device), &PLAIN, &[], loss, 1e-3, 2e-2);
    }
}
