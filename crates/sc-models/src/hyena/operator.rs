//! The Hyena operator: gates and long convolutions in place of attention.

use super::config::{Activation, Direction, OperatorConfig};
use super::filter::HyenaFilter;
use super::longconv::{causal, centred, long_conv, two_sided};
use super::shortconv::ShortFilter;
use crate::error::Result;
use crate::layers::dropout::Dropout;
use crate::layers::gelu::gelu;
use crate::layers::linear::Linear;
use crate::layers::observe::Observer;
use burn::module::{Module, Param};
use burn::tensor::activation::{relu, sigmoid, silu};
use burn::tensor::{Device, Tensor};

/// `y = W (x₀ ⊙ (h₁ ∗ (x₁ ⊙ (h₂ ∗ (x₂ ⊙ … v)))))` (Poli et al. 2023, definition 3.1), where
/// `x₀, x₁, …, v` are projections of the input, each through a short filter.
#[derive(Module, Debug)]
pub struct HyenaOperator {
    in_proj: Linear,
    out_proj: Linear,
    short_filter: ShortFilter,
    filter_fn: HyenaFilter,
    ord_proj_w: Option<Param<Tensor<3>>>,
    dropout: Dropout,
    width: usize,
    length: usize,
    order: usize,
    blocks: usize,
    #[module(skip)]
    direction: Direction,
    #[module(skip)]
    activation: Activation,
}

/// Inputs of the recurrence: `x₀, x₁, …, v`, each `[minibatch, length, width]`.
pub type Projections = Vec<Tensor<3>>;

impl HyenaOperator {
    /// Builds the operator on `device`; weights are set by [`crate::init::initialise`].
    ///
    /// # Errors
    /// [`crate::ModelError::Config`] for an invalid configuration.
    pub fn new(config: &OperatorConfig, device: &Device) -> Result<Self> {
        config.check()?;
        let (d, order) = (config.width, config.order);
        let channels = (order + 1) * d;
        Ok(Self {
            in_proj: Linear::new(d, channels, device),
            out_proj: Linear::new(d, d, device),
            short_filter: ShortFilter::new(channels, config.short_filter, config.padding(), device),
            filter_fn: HyenaFilter::new(config, device),
            ord_proj_w: config
                .factors
                .then(|| Param::from_tensor(Tensor::ones([order, 1, 1], device))),
            dropout: Dropout::new(config.dropout),
            width: d,
            length: config.length,
            order,
            blocks: config.blocks,
            direction: config.direction,
            activation: config.activation,
        })
    }

    /// The short filter, to inspect its whole output.
    pub fn short_filter(&self) -> &ShortFilter {
        &self.short_filter
    }

    /// The filter for sequences of `length`, `[rows, channels]`.
    pub fn filter(&self, length: usize) -> Tensor<2> {
        self.filter_observed(length, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn filter_observed(&self, length: usize, seen: &mut impl Observer) -> Tensor<2> {
        let rows = match self.direction {
            Direction::CellPainTr => (2 * length).saturating_sub(1),
            Direction::Causal | Direction::Both => length,
        };
        self.filter_fn.forward_observed(rows, seen)
    }

    /// `x₀, x₁, …, v` of the input; positions beyond the operator's length are cut.
    ///
    /// # Shapes
    /// - u: `[minibatch, L, width]`
    pub fn project(&self, u: Tensor<3>) -> Projections {
        self.project_observed(u, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn project_observed(&self, u: Tensor<3>, seen: &mut impl Observer) -> Projections {
        let [_, l, _] = u.dims();
        let x = self.in_proj.forward(u);
        seen.see("in_proj", &x);
        let x = self.short_filter.forward(x, l.min(self.length));
        seen.see("short_filter", &x.clone().swap_dims(1, 2));
        (0..=self.order)
            .map(|i| x.clone().narrow(2, i * self.width, self.width))
            .collect()
    }

    /// The filter of step `step` in circular layout, and the weight of its input.
    fn kernel(&self, filter: &Tensor<2>, length: usize, step: usize) -> (Tensor<2>, Tensor<1>) {
        let (d, steps) = (self.width, self.order - 1);
        // safari has the step as the fast axis of the channels, CellPainTR as the slow one.
        let part = |x: Tensor<2>| match (steps, self.direction) {
            (1, _) => x,
            (_, Direction::CellPainTr) => x.narrow(1, step * d, d),
            _ => {
                let [rows, _] = x.dims();
                x.reshape([rows, d, steps])
                    .narrow(2, step, 1)
                    .reshape([rows, d])
            }
        };
        let channels = d * steps;
        let kernel = match self.direction {
            Direction::Both => two_sided(
                part(filter.clone().narrow(1, 0, channels)),
                part(filter.clone().narrow(1, channels, channels)),
            ),
            Direction::CellPainTr => centred(part(filter.clone())),
            Direction::Causal if self.blocks == 1 => causal(part(filter.clone())),
            // A circular transform of twice the block covers this much of the filter, and its
            // second half as lags to the future.
            Direction::Causal => part(filter.clone()).narrow(0, 0, 2 * length / self.blocks),
        };
        let bias = self.filter_fn.bias();
        let bias = part(bias.reshape([1, channels])).reshape([d]);
        (kernel, bias)
    }

    /// The long convolution of step `step`, from and to `[minibatch, length, width]`.
    pub fn convolve(&self, v: Tensor<3>, filter: &Tensor<2>, step: usize) -> Tensor<3> {
        let [b, l, d] = v.dims();
        let (kernel, bias) = self.kernel(filter, l, step);
        let z = self.blocks;
        let y = long_conv(v.reshape([b * z, l / z, d]), kernel, bias).reshape([b, l, d]);
        match &self.ord_proj_w {
            Some(w) => y * w.val().narrow(0, step, 1),
            None => y,
        }
    }

    /// The last gate and the output projection.
    pub fn output(&self, v: Tensor<3>, x0: Tensor<3>) -> Tensor<3> {
        self.output_observed(v, x0, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn output_observed(
        &self,
        v: Tensor<3>,
        x0: Tensor<3>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        let y = v * x0;
        let y = match self.activation {
            Activation::Identity => y,
            Activation::Tanh => y.tanh(),
            Activation::Relu => relu(y),
            Activation::Gelu => gelu(y),
            Activation::Silu => silu(y),
            Activation::Sigmoid => sigmoid(y),
        };
        seen.see("gated", &y);
        let y = self.out_proj.forward(y);
        seen.see("out", &y);
        y
    }

    /// The operator with a precomputed filter.
    pub fn forward_with(&self, u: Tensor<3>, filter: &Tensor<2>) -> Tensor<3> {
        self.forward_with_observed(u, filter, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_with_observed(
        &self,
        u: Tensor<3>,
        filter: &Tensor<2>,
        seen: &mut impl Observer,
    ) -> Tensor<3> {
        let x = self.project_observed(u, seen);
        let mut v = x[self.order].clone();
        for (step, x) in x[1..self.order].iter().rev().enumerate() {
            v = self.dropout.forward(v * x.clone());
            seen.see(&format!("conv.{step}.input"), &v.clone().swap_dims(1, 2));
            v = self.convolve(v, filter, step);
            seen.see(&format!("conv.{step}.output"), &v.clone().swap_dims(1, 2));
        }
        self.output_observed(v, x[0].clone(), seen)
    }

    /// Mixes the tokens of every sequence.
    ///
    /// # Shapes
    /// - u: `[minibatch, L, width]`
    /// - output: `[minibatch, min(L, length), width]`
    pub fn forward(&self, u: Tensor<3>) -> Tensor<3> {
        self.forward_observed(u, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(&self, u: Tensor<3>, seen: &mut impl Observer) -> Tensor<3> {
        let [_, l, _] = u.dims();
        let filter = self.filter_observed(l.min(self.length), seen);
        self.forward_with_observed(u, &filter, seen)
    }
}
