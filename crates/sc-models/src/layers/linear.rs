//! Linear layers, whose products are cut into tiles that the threads share, with the bias added
//! while a tile is in the cache.

use crate::operations;
use crate::precision::Precision;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// `x W + b` over the last axis, as `torch.nn.Linear` with the weight transposed.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[from, to]`.
    pub weight: Param<Tensor<2>>,
    /// `[to]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A layer from `from` to `to` channels; weights are set by [`crate::init::initialise`].
    pub fn new(from: usize, to: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Zeros.init([from, to], device),
            bias: Some(Initializer::Zeros.init([to], device)),
        }
    }

    /// The same without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// Maps every row.
    ///
    /// # Shapes
    /// - input: `[..., from]`
    /// - output: `[..., to]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        let [from, to] = weight.dims();
        let mut shape = x.dims();
        assert_eq!(shape[D - 1], from, "linear: channels of the input");
        let rows: usize = shape[..D - 1].iter().product();
        operations::count_product(rows, to, from);
        let bias = self.bias.as_ref().map(Param::val);
        let precision = Precision::current();
        shape[D - 1] = to;
        #[cfg(feature = "flex")]
        if precision == Precision::F32 {
            use super::host::{self, Input};
            let op = fused::Affine { from, to };
            let [x, w] = [Input::new(x.clone()), Input::new(weight.clone())];
            let output = match bias.clone() {
                None => host::apply(op, [x, w], shape),
                Some(bias) => host::apply(op, [x, w, Input::new(bias)], shape),
            };
            if let Some(output) = output {
                return output;
            }
        }
        if precision == Precision::F32 {
            return burn::tensor::module::linear(x, weight, bias);
        }
        let product = precision.matmul(x.reshape([rows, from]), weight);
        let output = product.reshape(shape);
        match bias {
            Some(bias) => output + bias.unsqueeze(),
            None => output,
        }
    }
}

#[cfg(feature = "flex")]
mod fused {
    use crate::layers::host::HostOp;
    use crate::layers::products::{Part, multiply, sum_rows};
    use faer::MatRef;

    /// See [`super::Linear`].
    #[derive(Clone, Debug)]
    pub(super) struct Affine {
        pub(super) from: usize,
        pub(super) to: usize,
    }

    impl Affine {
        fn rows(&self, x: &[f32]) -> usize {
            x.len() / self.from.max(1)
        }

        fn map(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
            let rows = self.rows(x);
            let x = MatRef::from_row_major_slice(x, rows, self.from);
            let weight = MatRef::from_row_major_slice(weight, self.from, self.to);
            let mut out = vec![0f32; rows * self.to];
            multiply(&mut out, x, weight, |part: Part<'_>| {
                if let Some(bias) = bias {
                    part.add_to_rows(bias);
                }
            });
            out
        }

        /// Gradients of the input, the weight and the bias, where wanted.
        fn gradients(
            &self,
            [x, weight]: [&[f32]; 2],
            grad: &[f32],
            wanted: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            let rows = self.rows(x);
            let x = MatRef::from_row_major_slice(x, rows, self.from);
            let weight = MatRef::from_row_major_slice(weight, self.from, self.to);
            let grads = MatRef::from_row_major_slice(grad, rows, self.to);
            let product = |a: MatRef<'_, f32>, b: MatRef<'_, f32>| {
                let mut out = vec![0f32; a.nrows() * b.ncols()];
                multiply(&mut out, a, b, |_| {});
                out
            };
            let [by_input, by_weight, by_bias] = wanted;
            [
                by_input.then(|| product(grads, weight.transpose())),
                by_weight.then(|| product(x.transpose(), grads)),
                by_bias.then(|| sum_rows(grad, self.to)),
            ]
        }
    }

    impl HostOp<2> for Affine {
        fn forward(&self, [x, weight]: [&[f32]; 2]) -> Vec<f32> {
            self.map(x, weight, None)
        }

        fn backward(
            &self,
            [x, weight]: [&[f32]; 2],
            grad: &[f32],
            [a, b]: [bool; 2],
        ) -> [Option<Vec<f32>>; 2] {
            let [x, weight, _] = self.gradients([x, weight], grad, [a, b, false]);
            [x, weight]
        }
    }

    impl HostOp<3> for Affine {
        fn forward(&self, [x, weight, bias]: [&[f32]; 3]) -> Vec<f32> {
            self.map(x, weight, Some(bias))
        }

        fn backward(
            &self,
            [x, weight, _]: [&[f32]; 3],
            grad: &[f32],
            wanted: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            self.gradients([x, weight], grad, wanted)
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::{Init, initialise};
    use crate::testing::{bent, spread};
    use crate::weights::host;

    #[test]
    fn agrees_with_burn_forward_and_backward() {
        let device = Device::flex().autodiff();
        // Several tiles in every direction, none of them whole.
        let x = spread([2, 150, 40], &device).require_grad();
        let layer = initialise(Linear::new(40, 530, &device), 1, |_| {
            Some(Init::Normal(0.3))
        });
        let bare = layer.clone().without_bias();
        for layer in [layer, bare] {
            let (weight, bias) = (layer.weight.val(), layer.bias.as_ref().map(Param::val));
            let ours = layer.forward(x.clone());
            let theirs = burn::tensor::module::linear(x.clone(), weight.clone(), bias.clone());
            let close = |a: Vec<f32>, b: Vec<f32>| {
                let largest = b.iter().fold(1f32, |m, v| m.max(v.abs()));
                for (a, b) in a.iter().zip(b) {
                    assert!((a - b).abs() < 3e-6 * largest, "{a} {b}");
                }
            };
            close(host(ours.clone()), host(theirs.clone()));
            let [ours, theirs] = [ours, theirs].map(|y| bent(y).backward());
            let both = |t: &Tensor<3>| [&ours, &theirs].map(|g| host(t.grad(g).unwrap()));
            let [a, b] = both(&x);
            close(a, b);
            let [a, b] = [&ours, &theirs].map(|g| host(weight.grad(g).unwrap()));
            close(a, b);
            if let Some(bias) = bias {
                let [a, b] = [&ours, &theirs].map(|g| host(bias.grad(g).unwrap()));
                close(a, b);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let device = Device::flex();
        let layer = initialise(Linear::new(33, 70, &device), 1, |_| Some(Init::Normal(0.3)));
        let x = spread([300, 33], &device);
        let all = host(layer.forward(x.clone()));
        for (first, count) in [(0, 1), (5, 130), (299, 1)] {
            let some = host(layer.forward(x.clone().narrow(0, first, count)));
            assert_eq!(some, all[first * 70..(first + count) * 70]);
        }
    }
}
