//! Attention block by block of queries with burn operations, for GPUs: the scores of a block are
//! recomputed in the backward pass, so memory does not grow with the square of the length.

use crate::layers::dropout::Mask;
use crate::precision::Precision;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, Tensor};

/// Values in the scores of a block: 64 MB.
const VALUES: usize = 1 << 24;

/// Attention without its inputs.
#[derive(Clone, Debug)]
pub(super) struct Blockwise {
    pub(super) heads: usize,
    /// True at padding, `[sequences, length]`, and what is added to its scores.
    pub(super) padding: Option<(Tensor<2, Bool>, f32)>,
    pub(super) dropout: Option<Mask>,
    precision: Precision,
    /// Values in the scores of a block, at most.
    pub(super) values: usize,
}

/// Queries, keys and values, `[sequences · heads, length, head]` each.
struct Parts {
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
}

/// A block of queries.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    rows: usize,
}

impl Blockwise {
    pub(super) fn new(
        heads: usize,
        padding: Option<(Tensor<2, Bool>, f32)>,
        dropout: Option<Mask>,
    ) -> Self {
        Self {
            heads,
            padding,
            dropout,
            precision: Precision::current(),
            values: VALUES,
        }
    }

    fn blocks(&self, parts: &Parts) -> impl Iterator<Item = Block> + use<> {
        let [heads, length, _] = parts.q.dims();
        let rows = (self.values / (heads * length).max(1)).clamp(1, length.max(1));
        (0..length).step_by(rows).map(move |first| Block {
            first,
            rows: rows.min(length - first),
        })
    }

    fn parts(&self, projected: Tensor<3>) -> Parts {
        let [b, l, three_d] = projected.dims();
        let (h, d) = (self.heads, three_d / 3);
        let projected = projected.reshape([b, l, 3 * h, d / h]).swap_dims(1, 2);
        let part = |i: usize| {
            let part = projected.clone().narrow(1, i * h, h);
            part.reshape([b * h, l, d / h])
        };
        Parts {
            q: part(0),
            k: part(1),
            v: part(2),
        }
    }

    /// Back to `[sequences, length, heads · head]`.
    fn joined(&self, x: Tensor<3>) -> Tensor<3> {
        let [heads, l, width] = x.dims();
        let b = heads / self.heads;
        let x = x.reshape([b, self.heads, l, width]).swap_dims(1, 2);
        x.reshape([b, l, self.heads * width])
    }

    /// What is added to the scores, `[sequences · heads, 1, length]`.
    fn bias(&self) -> Option<Tensor<3>> {
        let (mask, bias) = self.padding.as_ref()?;
        let [b, l] = mask.dims();
        let zeros = Tensor::<2>::zeros([b, l], &mask.device());
        let bias = zeros.mask_fill(mask.clone(), *bias);
        let bias = bias.reshape([b, 1, l]).expand([b, self.heads, l]);
        Some(bias.reshape([b * self.heads, 1, l]))
    }

    /// Softmax weights of a block against all keys, `[sequences · heads, rows, length]`.
    fn weights(&self, parts: &Parts, bias: Option<&Tensor<3>>, block: Block) -> Tensor<3> {
        let queries = parts.q.clone().narrow(1, block.first, block.rows);
        let scale = 1.0 / (queries.dims()[2] as f64).sqrt();
        let keys = parts.k.clone().swap_dims(1, 2);
        let scores = self.precision.matmul(queries * scale, keys);
        let scores = match bias {
            Some(bias) => scores + bias.clone(),
            None => scores,
        };
        softmax(scores, 2)
    }

    /// Dropout factors of a block.
    fn factors(&self, weights: &Tensor<3>, block: Block) -> Option<Tensor<3>> {
        let [heads, rows, l] = weights.dims();
        let range = block.first * l..(block.first + rows) * l;
        let mask = self.dropout?;
        let factors = mask.factors_of_parts(heads, range, &weights.device());
        Some(factors.reshape([heads, rows, l]))
    }

    /// The context, `[sequences, length, d]`, of a projection `[sequences, length, 3 d]`.
    pub(super) fn forward(&self, projected: Tensor<3>) -> Tensor<3> {
        let parts = self.parts(projected);
        let bias = self.bias();
        let context = self.blocks(&parts).map(|block| {
            let weights = self.weights(&parts, bias.as_ref(), block);
            let weights = match self.factors(&weights, block) {
                Some(factors) => weights * factors,
                None => weights,
            };
            self.precision.matmul(weights, parts.v.clone())
        });
        self.joined(Tensor::cat(context.collect(), 1))
    }

    /// The gradient of the projection, from that of the context.
    pub(super) fn backward(&self, projected: Tensor<3>, grad: Tensor<3>) -> Tensor<3> {
        let parts = self.parts(projected);
        let [b, l, d] = grad.dims();
        let (h, width) = (self.heads, d / self.heads);
        let grad = grad.reshape([b, l, h, width]).swap_dims(1, 2);
        let grad = grad.reshape([b * h, l, width]);
        let scale = 1.0 / (width as f64).sqrt();
        let bias = self.bias();
        let product = |a: Tensor<3>, b: Tensor<3>| self.precision.matmul(a, b);
        let mut d_queries = Vec::new();
        let (mut d_keys, mut d_values) = (parts.k.zeros_like(), parts.v.zeros_like());
        for block in self.blocks(&parts) {
            let weights = self.weights(&parts, bias.as_ref(), block);
            let factors = self.factors(&weights, block);
            let dropped = |x: Tensor<3>| match &factors {
                Some(factors) => x * factors.clone(),
                None => x,
            };
            let d_out = grad.clone().narrow(1, block.first, block.rows);
            let used = dropped(weights.clone());
            d_values = d_values + product(used.swap_dims(1, 2), d_out.clone());
            let values = parts.v.clone().swap_dims(1, 2);
            let d_weights = dropped(product(d_out, values));
            let inner = (d_weights.clone() * weights.clone()).sum_dim(2);
            let d_scores = weights * (d_weights - inner) * scale;
            d_queries.push(product(d_scores.clone(), parts.k.clone()));
            let queries = parts.q.clone().narrow(1, block.first, block.rows);
            d_keys = d_keys + product(d_scores.swap_dims(1, 2), queries);
        }
        let all = [Tensor::cat(d_queries, 1), d_keys, d_values];
        Tensor::cat(all.map(|part| self.joined(part)).to_vec(), 2)
    }
}

#[cfg(feature = "gpu")]
pub(super) use gpu::on_gpu;

#[cfg(feature = "gpu")]
mod gpu {
    use super::Blockwise;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
    use burn::backend::tensor::FloatTensor;
    use burn::backend::{Autodiff, Cube};
    use burn::tensor::Tensor;

    /// Attention on a GPU, with the gradient above; `None` for other devices.
    pub(in crate::layers::attention) fn on_gpu(
        op: Blockwise,
        projected: Tensor<3>,
    ) -> Option<Tensor<3>> {
        if !projected.device().is_autodiff() {
            return Some(op.forward(projected));
        }
        let input = projected.try_into_primitive::<Autodiff<Cube>>().ok()?;
        let (primitive, node) = input.into_parts();
        let output = op.forward(Tensor::from_primitive::<Cube>(primitive.clone()));
        let output = output.try_into_primitive::<Cube>().ok()?;
        let prepared = Backward::<Cube, 1>::prepare::<NoCheckpointing>(Recorded, [node])
            .compute_bound()
            .stateful();
        let output = match prepared {
            OpsKind::Tracked(prep) => prep.finish((op, primitive), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        };
        Some(Tensor::from_primitive::<Autodiff<Cube>>(output))
    }

    /// The backward pass; its state is the operation and its input.
    #[derive(Debug)]
    struct Recorded;

    impl Backward<Cube, 1> for Recorded {
        type State = (Blockwise, FloatTensor<Cube>);

        fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
            let grad = grads.consume::<Cube>(&ops.node);
            let (op, input) = ops.state;
            let [parent] = ops.parents;
            if let Some(node) = parent {
                let [input, grad] = [input, grad].map(Tensor::<3>::from_primitive::<Cube>);
                let grad = op.backward(input, grad);
                let grad = grad.try_into_primitive::<Cube>();
                let grad = grad.expect("invariant: computed on the device of its inputs");
                grads.register::<Cube>(node.id, grad);
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::super::composed;
    use super::*;
    use crate::draws;
    use crate::layers::dropout::Dropout;
    use crate::testing::spread;
    use crate::weights::host;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn blocks_give_the_context_and_the_gradient_of_the_whole() {
        let device = Device::flex().autodiff();
        let (b, l, heads, d) = (2, 7, 2, 6);
        let mut mask = vec![false; b * l];
        mask[l + 5..].fill(true);
        let mask = Tensor::<2, Bool>::from_data(TensorData::new(mask, [b, l]), &Device::flex());
        draws::begin(4);
        let dropout = Dropout::new(0.3).mask(&device);
        let x = spread([b, l, 3 * d], &device).require_grad();
        for bias in [f32::NEG_INFINITY, 0.7] {
            let padding = super::super::Padding {
                mask: mask.clone(),
                bias,
            };
            let whole = composed(x.clone(), heads, dropout, Some(&padding));
            let grad = spread([b, l, d], &device);
            let expected = x.grad(&(whole.clone() * grad.clone()).sum().backward());
            // Blocks of two queries, the last of one.
            let op = Blockwise {
                values: 2 * b * heads * l,
                ..Blockwise::new(heads, Some((mask.clone(), bias)), dropout)
            };
            let (plain, grad) = (x.clone().inner(), grad.inner());
            let pairs = [
                (op.forward(plain.clone()), whole.inner()),
                (op.backward(plain, grad), expected.unwrap()),
            ];
            for (ours, theirs) in pairs {
                for (a, b) in host(ours).iter().zip(host(theirs)) {
                    assert!((a - b).abs() < 2e-6, "{a} {b}");
                }
            }
        }
    }
}
