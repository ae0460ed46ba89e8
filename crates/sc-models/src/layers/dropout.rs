//! Dropout with a mask that is a hash of the position, so that it needs one pass and no memory, and
//! is the same on every device.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use std::ops::Range;

/// Zeroes a share of the values in training and scales the rest; active only on autodiff devices,
/// as burn's.
#[derive(Module, Debug)]
pub struct Dropout {
    prob: f64,
}

impl Dropout {
    /// A layer that drops values with probability `prob`.
    pub fn new(prob: f64) -> Self {
        Self { prob }
    }

    /// Drops values of a tensor of any shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        Mask::apply(self.mask(&x.device()), x)
    }

    /// The mask of one pass, for kernels that drop values inside; `None` when nothing is dropped.
    pub(crate) fn mask(&self, device: &Device) -> Option<Mask> {
        (self.prob > 0.0 && device.is_autodiff()).then(|| Mask::new(self.prob))
    }
}

/// Which values are kept: a hash of a seed and the position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    seed: u32,
    /// Values with a hash below it are dropped.
    threshold: u32,
    scale: f32,
}

impl Mask {
    fn new(prob: f64) -> Self {
        Self {
            seed: crate::draws::next(),
            threshold: (prob * f64::from(u32::MAX)) as u32,
            scale: (1.0 / (1.0 - prob)) as f32,
        }
    }

    /// Drops values of a tensor of any shape, where there is a mask.
    pub(crate) fn apply<const D: usize>(this: Option<Self>, x: Tensor<D>) -> Tensor<D> {
        let Some(mask) = this else { return x };
        let shape = x.dims();
        #[cfg(feature = "flex")]
        {
            use super::host;
            let input = host::Input::new(x.clone());
            if let Some(output) = host::apply(kernel::Drop(mask), [input], shape) {
                return output;
            }
        }
        let n = shape.iter().product();
        let factors = mask.factors(&[mask.seed], 0..n, &x.device());
        x * factors.reshape(shape)
    }

    /// The mask of one part of a larger tensor.
    pub(crate) fn part(self, part: u32) -> Self {
        Self {
            seed: hash(self.seed ^ part.wrapping_mul(0x9e37_79b9)),
            ..self
        }
    }

    /// The factor of the value at `index`: 0, or the scale that keeps the mean.
    #[inline(always)]
    pub(crate) fn factor(self, index: u32) -> f32 {
        if hash(index ^ self.seed) < self.threshold {
            0.0
        } else {
            self.scale
        }
    }

    /// The factors of the values at `range` of each of `count` parts, `[count, range]`.
    pub(crate) fn factors_of_parts(
        self,
        count: usize,
        range: Range<usize>,
        device: &Device,
    ) -> Tensor<2> {
        let seeds: Vec<u32> = (0..count as u32).map(|p| self.part(p).seed).collect();
        self.factors(&seeds, range, device)
    }

    /// The factors of the values at `range` for every seed, `[seeds, range]`.
    fn factors(self, seeds: &[u32], range: Range<usize>, device: &Device) -> Tensor<2> {
        let shape = [seeds.len(), range.len()];
        if crate::device::is_host(device) {
            let (first, end) = (range.start as u32, range.end as u32);
            let of = |seed: u32| (first..end).map(move |i| Self { seed, ..self }.factor(i));
            let factors: Vec<f32> = seeds.iter().copied().flat_map(of).collect();
            return Tensor::from_data(TensorData::new(factors, shape), device);
        }
        let signed: Vec<i32> = seeds.iter().map(|&s| s as i32).collect();
        let seeds = TensorData::new(signed, [shape[0], 1]);
        let seeds = Tensor::<2, Int>::from_data(seeds, (device, DType::I32)).expand(shape);
        let range = range.start as i64..range.end as i64;
        let index = Tensor::<1, Int>::arange(range, (device, DType::I32));
        let index = index.reshape([1, shape[1]]).expand(shape);
        let hashes = hash_on_device(index.bitwise_xor(seeds));
        // Signed numbers are compared: with the first bit turned they are in the unsigned order.
        let dropped = hashes
            .bitwise_xor_scalar(i32::MIN)
            .lower_elem((self.threshold ^ (1 << 31)) as i32);
        (dropped.float() - 1.0) * -self.scale
    }
}

/// [`hash`] of every value, which are 32 bits whatever their sign.
fn hash_on_device(x: Tensor<2, Int>) -> Tensor<2, Int> {
    // The device shifts copies of the sign in, where the hash has zeros.
    let folded = |x: Tensor<2, Int>, by: i32| {
        let shifted = x.clone().bitwise_right_shift_scalar(by);
        x.bitwise_xor(shifted.bitwise_and_scalar((1i32 << (32 - by)) - 1))
    };
    let x = folded(x, 16) * MULTIPLIERS[0] as i32;
    let x = folded(x, 15) * MULTIPLIERS[1] as i32;
    folded(x, 16)
}

/// Odd numbers that spread every bit over the hash.
const MULTIPLIERS: [u32; 2] = [0x7feb_352d, 0x846c_a68b];

/// A 32-bit integer hash with full avalanche (multiply-xorshift, constants of C. Wellons, public
/// domain).
#[inline(always)]
fn hash(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(MULTIPLIERS[0]);
    x = (x ^ (x >> 15)).wrapping_mul(MULTIPLIERS[1]);
    x ^ (x >> 16)
}

#[cfg(feature = "flex")]
mod kernel {
    use super::Mask;
    use crate::layers::host::HostOp;
    use crate::layers::simd::{Body, vectorised};
    use rayon::prelude::*;

    /// Values per task.
    const CHUNK: usize = 1 << 15;

    #[derive(Clone, Debug)]
    pub(super) struct Drop(pub(super) Mask);

    impl Mask {
        /// `x` times its factors.
        pub(crate) fn times(self, x: &[f32]) -> Vec<f32> {
            let mut out = vec![0f32; x.len()];
            let parts = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            parts.enumerate().for_each(|(part, (out, x))| {
                vectorised(Part {
                    mask: self,
                    first: (part * CHUNK) as u32,
                    x,
                    out,
                });
            });
            out
        }
    }

    struct Part<'a> {
        mask: Mask,
        /// Position of the first value.
        first: u32,
        x: &'a [f32],
        out: &'a mut [f32],
    }

    impl Body for Part<'_> {
        #[inline(always)]
        fn run(self) {
            for (i, (o, &v)) in self.out.iter_mut().zip(self.x).enumerate() {
                *o = v * self.mask.factor(self.first.wrapping_add(i as u32));
            }
        }
    }

    impl HostOp<1> for Drop {
        fn forward(&self, [x]: [&[f32]; 1]) -> Vec<f32> {
            self.0.times(x)
        }

        fn backward(&self, _: [&[f32]; 1], grad: &[f32], _: [bool; 1]) -> [Option<Vec<f32>>; 1] {
            [Some(self.0.times(grad))]
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::weights::host;

    #[test]
    fn keeps_the_mean_and_drops_the_share_and_the_same_in_the_gradient() {
        let device = Device::flex().autodiff();
        crate::draws::begin(3);
        let x = Tensor::<2>::ones([200, 500], &device).require_grad();
        let y = Dropout::new(0.3).forward(x.clone());
        let values = host(y.clone());
        let dropped = values.iter().filter(|v| **v == 0.0).count() as f64 / values.len() as f64;
        assert!((dropped - 0.3).abs() < 0.01, "{dropped}");
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let grad = host(x.grad(&y.sum().backward()).unwrap());
        assert_eq!(grad, values);
        let plain = Tensor::<2>::ones([2, 2], &Device::flex());
        assert_eq!(host(Dropout::new(0.3).forward(plain)), vec![1.0; 4]);
    }

    #[test]
    fn masks_of_two_passes_and_of_neighbours_are_independent() {
        let device = Device::flex().autodiff();
        crate::draws::begin(5);
        let (rows, cols) = (400, 500);
        let x = Tensor::<2>::ones([rows, cols], &device);
        let layer = Dropout::new(0.3);
        let [a, b] = [0; 2].map(|_| host(layer.forward(x.clone())));
        let both = |pairs: &mut dyn Iterator<Item = (f32, f32)>| {
            let (mut n, mut hits) = (0f64, 0f64);
            for (p, q) in pairs {
                n += 1.0;
                hits += f64::from(u8::from(p == 0.0 && q == 0.0));
            }
            hits / n
        };
        let passes = both(&mut a.iter().copied().zip(b.iter().copied()));
        let across = both(&mut a.iter().copied().zip(a[1..].iter().copied()));
        let down = both(&mut a.iter().copied().zip(a[cols..].iter().copied()));
        for share in [passes, across, down] {
            assert!((share - 0.09).abs() < 0.004, "{passes} {across} {down}");
        }
    }
}
