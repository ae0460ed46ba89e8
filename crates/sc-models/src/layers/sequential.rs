//! Layers one after another, numbered as in `torch.nn.Sequential`.

use super::dropout::Dropout;
use super::linear::Linear;
use super::norm::{Affine, BatchNorm, Phase};
use super::observe::Observer;
use super::sparse::sparse_linear;
use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use sc_data::CsrMatrix;
use std::sync::Arc;

/// A layer of a [`Sequential`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// `x W + b`.
    Linear {
        /// Inputs.
        from: usize,
        /// Outputs.
        to: usize,
    },
    /// Batch norm with learned scale.
    BatchNorm {
        /// Channels.
        channels: usize,
        /// Epsilon.
        epsilon: f64,
        /// Weight of the new value in the running statistics.
        momentum: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// Dropout.
    Dropout(f64),
}

/// See the module.
#[derive(Module, Debug)]
pub struct Sequential {
    slots: Vec<Slot>,
}

/// One position; activations store nothing.
#[derive(Module, Debug)]
struct Slot {
    linear: Option<Linear>,
    norm: Option<BatchNorm>,
    dropout: Option<Dropout>,
}

impl Sequential {
    /// These layers on `device`.
    pub fn new(layers: &[Layer], device: &Device) -> Self {
        let slot = |layer: &Layer| {
            let mut slot = Slot {
                linear: None,
                norm: None,
                dropout: None,
            };
            match *layer {
                Layer::Linear { from, to } => {
                    slot.linear = Some(Linear::new(from, to, device));
                }
                Layer::BatchNorm {
                    channels,
                    epsilon,
                    momentum,
                } => {
                    let norm = BatchNorm::new(channels, epsilon, momentum, Affine::Learned, device);
                    slot.norm = Some(norm);
                }
                Layer::Dropout(p) => slot.dropout = Some(Dropout::new(p)),
                Layer::Relu => {}
            }
            slot
        };
        Self {
            slots: layers.iter().map(slot).collect(),
        }
    }

    /// Runs all layers on `[cells, features]`; reports the output of layer `i` as `{name}.{i}`.
    pub fn forward(&self, x: Tensor<2>, phase: Phase, name: &str) -> Tensor<2> {
        self.forward_observed(x, phase, name, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        x: Tensor<2>,
        phase: Phase,
        name: &str,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        self.from(0, x, phase, name, seen)
    }

    /// The same for sparse cells, whose zeros are skipped; the first layer is linear.
    pub fn forward_sparse(&self, x: &Arc<CsrMatrix>, phase: Phase, name: &str) -> Tensor<2> {
        self.forward_sparse_observed(x, phase, name, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_sparse_observed(
        &self,
        x: &Arc<CsrMatrix>,
        phase: Phase,
        name: &str,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        let Some(linear) = self.slots.first().and_then(|s| s.linear.as_ref()) else {
            unreachable!("a network on sparse cells begins with a linear layer")
        };
        let x = sparse_linear(x, linear.weight.val());
        let x = match &linear.bias {
            Some(bias) => x + bias.val().unsqueeze::<2>(),
            None => x,
        };
        seen.see(&format!("{name}.0"), &x);
        self.from(1, x, phase, name, seen)
    }

    fn from(
        &self,
        first: usize,
        mut x: Tensor<2>,
        phase: Phase,
        name: &str,
        seen: &mut impl Observer,
    ) -> Tensor<2> {
        for (i, slot) in self.slots.iter().enumerate().skip(first) {
            x = match (&slot.linear, &slot.norm, &slot.dropout) {
                (Some(linear), ..) => linear.forward(x),
                (_, Some(norm), _) => {
                    let shape = x.dims();
                    norm.forward(x.unsqueeze_dim::<3>(1), phase).reshape(shape)
                }
                (.., Some(dropout)) => dropout.forward(x),
                _ => relu(x),
            };
            seen.see(&format!("{name}.{i}"), &x);
        }
        x
    }
}

/// The published name of a tensor inside a [`Sequential`]: numbers only.
pub fn torch_names(path: &str) -> String {
    path.split('.')
        .filter(|p| !matches!(*p, "slots" | "linear" | "norm"))
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::init::initialise;
    use crate::testing::{PLAIN, bent, slopes_agree};
    use crate::weights::host;
    use burn::tensor::TensorData;

    const CELLS: usize = 7;
    const GENES: usize = 6;

    fn layers() -> Vec<Layer> {
        let norm = Layer::BatchNorm {
            channels: 5,
            epsilon: 1e-3,
            momentum: 0.1,
        };
        let linear = |from, to| Layer::Linear { from, to };
        vec![linear(GENES, 5), norm, Layer::Relu, linear(5, 3)]
    }

    fn cells() -> Arc<CsrMatrix> {
        let value = |i: usize| ((i * 7919 + i * i) % 7).saturating_sub(2) as f32;
        let dense: Vec<f32> = (0..CELLS * GENES).map(value).collect();
        Arc::new(CsrMatrix::from_dense(GENES, &dense))
    }

    #[test]
    fn gradients_agree_with_differences() {
        let device = Device::flex().autodiff();
        let model = initialise(Sequential::new(&layers(), &device), 2, |_| None);
        let cells = cells();
        for phase in [Phase::Train, Phase::Eval] {
            let loss = |m: &Sequential| bent(m.forward_sparse(&cells, phase, ""));
            // Running statistics are not parameters, but matter in evaluation.
            let untrained = ["slots.1.norm.running"];
            slopes_agree(&model, &PLAIN, &untrained, loss, 1e-3, 2e-2);
        }
    }

    #[test]
    fn sparse_cells_give_what_dense_ones_give() {
        let device = Device::flex();
        let model = initialise(Sequential::new(&layers(), &device), 1, |_| None);
        let cells = cells();
        let dense = TensorData::new(cells.to_dense(), [CELLS, GENES]);
        let dense = Tensor::<2>::from_data(dense, &device);
        let a = host(model.forward(dense, Phase::Eval, ""));
        let b = host(model.forward_sparse(&cells, Phase::Eval, ""));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
