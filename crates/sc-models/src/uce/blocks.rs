//! Parts that UCE's two generations share.

use crate::layers::dropout::Dropout;
use crate::layers::gelu::gelu;
use crate::layers::layernorm::LayerNorm;
use crate::layers::linear::Linear;
use crate::layers::lookup::sinusoid;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

/// `LN(f(W x))` from proteins to tokens; the names of the parts follow the original and are set by
/// the name maps.
#[derive(Module, Debug)]
pub(super) struct Projection {
    pub(super) proj: Linear,
    pub(super) norm: LayerNorm,
}

impl Projection {
    pub(super) fn new(from: usize, to: usize, device: &Device) -> Self {
        Self {
            proj: Linear::new(from, to, device),
            norm: LayerNorm::new(to, device),
        }
    }

    /// `LN(GELU(W x))`.
    pub(super) fn gelu_norm<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.norm.forward(gelu(self.proj.forward(x)))
    }
}

/// The table of positions `[max_length, 1, d]`: stored, never trained.
#[derive(Module, Debug)]
pub(super) struct Positions {
    pe: Param<Tensor<3>>,
}

impl Positions {
    pub(super) fn new(max_length: usize, d: usize, device: &Device) -> Self {
        let data = TensorData::new(sinusoid(max_length, d), [max_length, 1, d]);
        Self {
            pe: Param::from_tensor(Tensor::from_data(data, device)).set_require_grad(false),
        }
    }

    /// The first `n` positions, `[n, 1, d]`.
    pub(super) fn first(&self, n: usize) -> Tensor<3> {
        self.pe.val().narrow(0, 0, n)
    }
}

/// `Dropout(GELU(LN(W x)))` per block, then a linear layer.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    blocks: Vec<Projection>,
    last: Linear,
    dropout: Dropout,
}

impl Decoder {
    /// Layers of these widths, input first, output last; all but the last are blocks.
    pub(super) fn new(widths: &[usize], dropout: f64, device: &Device) -> Self {
        let pairs: Vec<[usize; 2]> = widths.array_windows().copied().collect();
        let (last, blocks) = match pairs.split_last() {
            Some((last, blocks)) => (*last, blocks),
            None => ([1, 1], &pairs[..]),
        };
        Self {
            blocks: blocks
                .iter()
                .map(|&[from, to]| Projection::new(from, to, device))
                .collect(),
            last: Linear::new(last[0], last[1], device),
            dropout: Dropout::new(dropout),
        }
    }

    pub(super) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.blocks.iter().fold(x, |x, block| {
            let x = gelu(block.norm.forward(block.proj.forward(x)));
            self.dropout.forward(x)
        });
        self.last.forward(x)
    }
}
