//! The short explicit filter: a few neighbouring positions, per channel.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

/// `torch.nn.Conv1d` with one group per channel, on `[minibatch, length, channels]`:
/// `y[t] = b + Σ_k w[k] u[t + k − padding]`, zero outside.
#[derive(Module, Debug)]
pub struct ShortFilter {
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    padding: usize,
}

impl ShortFilter {
    /// A filter over `order` positions of each of `channels`.
    pub fn new(channels: usize, order: usize, padding: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::zeros([channels, 1, order], device)),
            bias: Param::from_tensor(Tensor::zeros([channels], device)),
            padding,
        }
    }

    /// The first `length` positions of the convolution; at most as many as the input has with its
    /// padding on both sides, minus the filter length.
    ///
    /// # Shapes
    /// - u: `[minibatch, L, channels]`
    /// - output: `[minibatch, length, channels]`
    pub fn forward(&self, u: Tensor<3>, length: usize) -> Tensor<3> {
        #[cfg(feature = "flex")]
        {
            use crate::layers::host;
            let [b, l, d] = u.dims();
            let op = fused::ShortConv {
                from: l,
                to: length,
                d,
                padding: self.padding,
            };
            let inputs = [
                host::Input::new(u.clone()),
                host::Input::new(self.weight.val()),
                host::Input::new(self.bias.val()),
            ];
            if let Some(output) = host::apply(op, inputs, [b, length, d]) {
                return output;
            }
        }
        self.composed(u, length)
    }

    /// The same with burn operations.
    fn composed(&self, u: Tensor<3>, length: usize) -> Tensor<3> {
        let [b, l, d] = u.dims();
        let weight = self.weight.val();
        let [_, _, order] = weight.dims();
        let zeros = |n: usize| Tensor::<3>::zeros([b, n, d], &u.device());
        let mut parts = Vec::with_capacity(3);
        if self.padding > 0 {
            parts.push(zeros(self.padding));
        }
        parts.push(u.clone());
        let behind = (length + order - 1).saturating_sub(self.padding + l);
        if behind > 0 {
            parts.push(zeros(behind));
        }
        let padded = Tensor::cat(parts, 1);
        (0..order).fold(
            self.bias.val().reshape([1, 1, d]).expand([b, length, d]),
            |y, k| {
                let w = weight.clone().narrow(2, k, 1).reshape([1, 1, d]);
                y + padded.clone().narrow(1, k, length) * w
            },
        )
    }
}

#[cfg(feature = "flex")]
mod fused {
    use crate::layers::host::HostOp;
    use crate::layers::simd::{Body, vectorised};
    use rayon::prelude::*;

    /// See [`super::ShortFilter`].
    #[derive(Clone, Debug)]
    pub(super) struct ShortConv {
        pub(super) from: usize,
        pub(super) to: usize,
        pub(super) d: usize,
        pub(super) padding: usize,
    }

    impl ShortConv {
        /// Weights by position of the filter, `[order, d]`.
        fn taps(&self, weight: &[f32]) -> Vec<Vec<f32>> {
            let order = weight.len() / self.d.max(1);
            (0..order)
                .map(|k| weight.iter().skip(k).step_by(order).copied().collect())
                .collect()
        }

        /// The input position of tap `k` for output `t`.
        #[inline(always)]
        fn source(&self, t: usize, k: usize) -> Option<usize> {
            (t + k).checked_sub(self.padding).filter(|&j| j < self.from)
        }
    }

    /// `out += a · b`, value by value.
    struct MultiplyAdd<'a> {
        out: &'a mut [f32],
        a: &'a [f32],
        b: &'a [f32],
    }

    impl Body for MultiplyAdd<'_> {
        #[inline(always)]
        fn run(self) {
            for (o, (a, b)) in self.out.iter_mut().zip(self.a.iter().zip(self.b)) {
                *o += a * b;
            }
        }
    }

    impl HostOp<3> for ShortConv {
        fn forward(&self, [u, weight, bias]: [&[f32]; 3]) -> Vec<f32> {
            let (d, taps) = (self.d, self.taps(weight));
            let sequences = u.len() / (self.from * d).max(1);
            let mut out = vec![0f32; sequences * self.to * d];
            out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
                let (s, t) = (row / self.to, row % self.to);
                out.copy_from_slice(bias);
                for (k, tap) in taps.iter().enumerate() {
                    if let Some(j) = self.source(t, k) {
                        let from = (s * self.from + j) * d;
                        let (a, b) = (&u[from..from + d], &tap[..]);
                        vectorised(MultiplyAdd { out, a, b });
                    }
                }
            });
            out
        }

        fn backward(
            &self,
            [u, weight, _]: [&[f32]; 3],
            grad: &[f32],
            wanted: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            let (d, taps) = (self.d, self.taps(weight));
            let sequences = u.len() / (self.from * d).max(1);
            let d_input = wanted[0].then(|| {
                let mut out = vec![0f32; u.len()];
                out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
                    let (s, j) = (row / self.from, row % self.from);
                    for (k, tap) in taps.iter().enumerate() {
                        let t = (j + self.padding).checked_sub(k);
                        if let Some(t) = t.filter(|&t| t < self.to) {
                            let from = (s * self.to + t) * d;
                            let (a, b) = (&grad[from..from + d], &tap[..]);
                            vectorised(MultiplyAdd { out, a, b });
                        }
                    }
                });
                out
            });
            // One sum per sequence, then over sequences in order: the same with any number of
            // threads.
            let order = taps.len();
            let parts: Vec<Vec<f32>> = (0..sequences)
                .into_par_iter()
                .map(|s| {
                    let mut out = vec![0f32; (order + 1) * d];
                    let ones = vec![1f32; d];
                    for t in 0..self.to {
                        let g = &grad[(s * self.to + t) * d..][..d];
                        for (k, out) in out.chunks_exact_mut(d).enumerate() {
                            let source = if k == order {
                                Some(&ones[..])
                            } else {
                                let j = self.source(t, k);
                                j.map(|j| &u[(s * self.from + j) * d..][..d])
                            };
                            if let Some(b) = source {
                                vectorised(MultiplyAdd { out, a: g, b });
                            }
                        }
                    }
                    out
                })
                .collect();
            let mut sums = vec![0f32; (order + 1) * d];
            for part in &parts {
                sums.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            }
            let d_weight = (0..d * order).map(|i| sums[(i % order) * d + i / order]);
            [
                d_input,
                wanted[1].then(|| d_weight.collect()),
                wanted[2].then(|| sums[order * d..].to_vec()),
            ]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::{Init, initialise};
    use crate::weights::host;
    use burn::tensor::TensorData;

    #[test]
    fn the_kernel_agrees_with_the_composed_form() {
        let device = Device::flex().autodiff();
        for (order, padding, length) in [(3, 2, 9), (3, 1, 9), (3, 2, 11), (1, 0, 9), (4, 3, 5)] {
            let filter = initialise(ShortFilter::new(5, order, padding, &device), 3, |_| {
                Some(Init::Normal(1.0))
            });
            let data: Vec<f32> = (0..90)
                .map(|i| ((i * 37) % 23) as f32 / 9.0 - 1.0)
                .collect();
            let u =
                Tensor::<3>::from_data(TensorData::new(data, [2, 9, 5]), &device).require_grad();
            let forms: [fn(&ShortFilter, Tensor<3>, usize) -> Tensor<3>; 2] =
                [ShortFilter::forward, ShortFilter::composed];
            let [ours, reference] = forms.map(|form| {
                let y = form(&filter, u.clone(), length);
                let grads = (y.clone() * y.clone()).sum().backward();
                [
                    host(y),
                    host(u.grad(&grads).unwrap()),
                    host(filter.weight.val().grad(&grads).unwrap()),
                    host(filter.bias.val().grad(&grads).unwrap()),
                ]
            });
            for (a, b) in ours.iter().flatten().zip(reference.iter().flatten()) {
                assert!(
                    (a - b).abs() <= 2e-5 * b.abs().max(1.0),
                    "{order} {padding}: {a} {b}"
                );
            }
        }
    }
}
