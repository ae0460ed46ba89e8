//! Flow attention (Flowformer, Wu et al., ICML 2022) as used by CellPLM: linear in the number of
//! tokens, so that a whole sample is one sentence of cells.

use super::dropout::Dropout;
use super::gelu::gelu;
use super::layernorm::LayerNorm;
use super::linear::Linear;
use super::observe::Observer;
use crate::operations;
use burn::module::Module;
use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Bool, Device, Tensor};

/// Added inside every inner product, as in the original.
const EPSILON: f64 = 1e-6;
/// Dropout inside the attention, fixed in the original.
const INNER_DROPOUT: f64 = 0.01;

/// Flow attention over one sentence.
///
/// With `q, k = σ(W x)`, `v = W x` and sums over the sentence's cells, per head:
///
/// - incoming and outgoing flow: `I_i = 1/⟨q_i, Σ_j k_j⟩`, `O_j = 1/⟨k_j, Σ_i q_i⟩`
/// - conserved: `Î_i = ⟨q_i, Σ_j k_j O_j⟩`, `Ô_j = clamp(⟨k_j, Σ_i q_i I_i⟩, −1, 1)`
/// - `out_i = σ(Î_i) · q_i I_i · Σ_j k_jᵀ (v_j · n · softmax_j(Ô))`
///
/// Source: reference/scformer-scgpt-cellplm.md C2.
#[derive(Module, Debug)]
pub struct FlowAttention {
    query_projection: Linear,
    key_projection: Linear,
    value_projection: Linear,
    out_projection: Linear,
    dropout: Dropout,
    heads: usize,
}

impl FlowAttention {
    /// A layer of `heads` heads over `d` channels; `dropout` scales the inner dropout on or off.
    pub fn new(d: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        let linear = || Linear::new(d, d, device);
        Self {
            query_projection: linear(),
            key_projection: linear(),
            value_projection: linear(),
            out_projection: linear(),
            dropout: Dropout::new(if dropout > 0.0 { INNER_DROPOUT } else { 0.0 }),
            heads,
        }
    }

    /// Attends within one sentence.
    ///
    /// # Shapes
    /// - input, output: `[cells, d]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.forward_observed(input, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, input: Tensor<2>, seen: &mut impl Observer) -> Tensor<2> {
        self.attend_observed(input.unsqueeze_dim::<3>(0), None, seen)
            .squeeze_dim::<2>(0)
    }

    /// Attends within every sentence; padding, true in `padding` `[sentences, n]`, is ignored, and
    /// its output is meaningless.
    ///
    /// # Shapes
    /// - input, output: `[sentences, n, d]`
    pub fn attend(&self, input: Tensor<3>, padding: Option<&Tensor<2, Bool>>) -> Tensor<3> {
        self.attend_observed(input, padding, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn attend_observed(
        &self,
        input: Tensor<3>,
        padding: Option<&Tensor<2, Bool>>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        let [b, n, d] = input.dims();
        let h = self.heads;
        let split = |t: Tensor<3>| {
            let parts = t.reshape([b, n, h, d / h]).swap_dims(1, 2);
            parts.reshape([b * h, n, d / h])
        };
        let padding = padding.map(|p| {
            let heads = p.clone().reshape([b, 1, n, 1]).expand([b, h, n, 1]);
            heads.reshape([b * h, n, 1])
        });
        // Padding neither sends nor receives.
        let unpadded = |t: Tensor<3>| match &padding {
            Some(p) => t.clone().mask_fill(p.clone().expand(t.dims()), 0.0),
            None => t,
        };
        let q = unpadded(split(sigmoid(self.query_projection.forward(input.clone()))));
        let k = unpadded(split(sigmoid(self.key_projection.forward(input.clone()))));
        let v = split(self.value_projection.forward(input));

        let (qe, ke) = (q.clone() + EPSILON, k.clone() + EPSILON);
        let dot = |a: &Tensor<3>, b: Tensor<3>| (a.clone() * b).sum_dim(2);
        let sink_incoming = dot(&qe, k.clone().sum_dim(1) + EPSILON).recip();
        let source_outgoing = dot(&ke, q.clone().sum_dim(1) + EPSILON).recip();
        let conserved_sink = dot(
            &qe,
            (k.clone() * source_outgoing.clone()).sum_dim(1) + EPSILON,
        );
        let conserved_source = dot(
            &ke,
            (q.clone() * sink_incoming.clone()).sum_dim(1) + EPSILON,
        );
        seen.see("attn.q", &q);
        seen.see("attn.k", &k);
        seen.see("attn.v", &v);
        seen.see("attn.sink_incoming", &sink_incoming);
        seen.see("attn.source_outgoing", &source_outgoing);
        seen.see("attn.conserved_sink", &conserved_sink);
        seen.see("attn.conserved_source_unclamped", &conserved_source);
        // Queries and keys are the same cells, so the original's factor n_queries / n_keys is 1.
        let allocation = sigmoid(conserved_sink);
        let source = conserved_source.clamp(-1.0, 1.0);
        let competition = match &padding {
            Some(p) => {
                let cells = p.clone().bool_not().float().sum_dim(1);
                softmax(source.mask_fill(p.clone(), f32::NEG_INFINITY), 1) * cells
            }
            None => softmax(source, 1) * n as f64,
        };
        seen.see("attn.sink_allocation", &allocation);
        seen.see("attn.source_competition", &competition);

        operations::count_product(2 * b * n, d, d / h);
        let context = k.swap_dims(1, 2).matmul(v * competition);
        let context = (q * sink_incoming).matmul(context) * allocation;
        seen.see("attn.context", &context);
        let context = context.reshape([b, h, n, d / h]).swap_dims(1, 2);
        let context = self.dropout.forward(context.reshape([b, n, d]));
        self.out_projection.forward(context)
    }
}

/// A pre-norm Flowformer block: attention and feed-forward, each added to its input.
#[derive(Module, Debug)]
pub struct FlowformerLayer {
    self_attn: FlowAttention,
    ff_in: Linear,
    ff_out: Linear,
    norm1: LayerNorm,
    norm2: LayerNorm,
    dropout: Dropout,
}

impl FlowformerLayer {
    /// A block of `heads` heads over `d` channels, feed-forward `2 d` wide.
    pub fn new(d: usize, heads: usize, dropout: f64, device: &Device) -> Self {
        Self {
            self_attn: FlowAttention::new(d, heads, dropout, device),
            ff_in: Linear::new(d, 2 * d, device),
            ff_out: Linear::new(2 * d, d, device),
            norm1: LayerNorm::new(d, device),
            norm2: LayerNorm::new(d, device),
            dropout: Dropout::new(dropout),
        }
    }

    /// Runs the block over one sentence.
    ///
    /// # Shapes
    /// - input, output: `[cells, d]`
    pub fn forward(&self, input: Tensor<2>) -> Tensor<2> {
        self.forward_observed(input, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, input: Tensor<2>, seen: &mut impl Observer) -> Tensor<2> {
        let x = self.norm1.forward(input.clone());
        seen.see("norm1", &x);
        let x = self.self_attn.forward_observed(x, seen);
        seen.see("attn_out", &x);
        let x = input + self.dropout.forward(x);
        let y = self.norm2.forward(x.clone());
        seen.see("norm2", &y);
        let y = self.dropout.forward(gelu(self.ff_in.forward(y)));
        let y = self.dropout.forward(self.ff_out.forward(y));
        seen.see("ff_out", &y);
        x + y
    }

    /// Published names of the tensors of one layer, without prefix.
    pub(crate) fn rename(path: &str) -> String {
        path.replace("ff_in.", "_ff_block.0.")
            .replace("ff_out.", "_ff_block.3.")
    }
}

/// Names of a [`FlowformerLayer`] on its own.
pub const NAMES: crate::weights::Names = crate::weights::Names {
    rename: FlowformerLayer::rename,
    alias: str::to_string,
    unused: &[],
};

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::testing::{PLAIN, bent, slopes_agree, spread};
    use crate::weights::host;

    #[test]
    fn padding_is_not_seen_and_gradients_agree_with_differences() {
        let device = Device::flex().autodiff();
        let layer = initialise(FlowAttention::new(8, 2, 0.0, &device), 1, |_| None);
        let x = spread([2, 5, 8], &device);
        let mask = [[false; 5], [false, false, false, true, true]];
        let padding = Tensor::<2, Bool>::from_data(mask, &device);
        let both = layer.attend(x.clone(), Some(&padding));
        let alone = |i: usize, n: usize| {
            let own = x.clone().narrow(0, i, 1).narrow(1, 0, n).reshape([n, 8]);
            host(layer.forward(own))
        };
        for (i, n) in [(0, 5), (1, 3)] {
            let padded = host(both.clone().narrow(0, i, 1).narrow(1, 0, n));
            for (a, b) in padded.iter().zip(alone(i, n)) {
                assert!((a - b).abs() < 1e-6, "{a} {b}");
            }
        }
        let loss = |m: &FlowAttention| {
            let y = m.attend(x.clone(), Some(&padding));
            bent(y.clone().narrow(1, 0, 3)) + bent(y.narrow(0, 0, 1))
        };
        slopes_agree(&layer, &PLAIN, &[], loss, 1e-3, 2e-2);
    }
}
