//! AdamW with a gradient clipped by its norm over all parameters.
//!
//! burn's optimiser clips every tensor separately, restores its state on the default device
//! whatever device trains, and on a CPU makes a dozen passes over memory where one is enough. The
//! update is PyTorch's: decay the weights, correct the bias of both moments.

use crate::training::config::TrainConfig;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use sc_models::precision::Precision;
use sc_models::weights::{NamedTensor, Tensors, host};
use std::collections::BTreeMap;

/// Epsilon, added to the root of the second moment.
const EPSILON: f64 = 1e-8;

/// Both moments of every parameter, by parameter id.
#[derive(Clone, Debug, Default)]
pub struct AdamW {
    moments: BTreeMap<u64, [Tensor<1>; 2]>,
    scaling: Scaling,
}

/// The factor of the loss that keeps gradients of 16 bits in their range.
#[derive(Clone, Copy, Debug)]
struct Scaling {
    factor: f64,
    /// Steps since it changed.
    steps: u64,
}

/// Steps without an overflow after which the factor doubles, as in PyTorch's gradient scaler.
const GROWTH: u64 = 2000;

impl Default for Scaling {
    fn default() -> Self {
        Self {
            factor: 1024.0,
            steps: 0,
        }
    }
}

impl Scaling {
    /// The factor for the next step.
    fn after(self, overflowed: bool) -> Self {
        let (factor, steps) = match overflowed {
            true => (self.factor / 2.0, 0),
            false if self.steps + 1 == GROWTH => (self.factor * 2.0, 0),
            false => (self.factor, self.steps + 1),
        };
        Self { factor, steps }
    }
}

/// The coefficients of one step.
#[derive(Clone, Debug)]
struct Step {
    beta: [f64; 2],
    /// `lr / (1 − β₁ᵗ)`
    rate: f64,
    /// `√(1 − β₂ᵗ)`
    correction: f64,
    /// `1 − lr · weight decay`
    keep: f64,
    /// Factor of the gradient.
    scale: Scale,
}

/// The factor that clips a gradient.
#[derive(Clone, Debug)]
enum Scale {
    /// Known here.
    Number(f64),
    /// Known to the device only, `[1]`.
    OnDevice(Tensor<1>),
}

impl AdamW {
    /// What the loss of the next step is multiplied by before its gradient is taken; 1 but for
    /// [`Precision::F16`].
    pub fn loss_scale(&self, config: &TrainConfig) -> f64 {
        match config.precision {
            Precision::F16 => self.scaling.factor,
            Precision::F32 | Precision::Bf16 => 1.0,
        }
    }

    /// Updates every parameter of `model` that has a gradient, which is that of the loss times
    /// [`Self::loss_scale`]; returns the model and the norm of
    /// the gradient before clipping, on its device: reading it is left to the caller, since a GPU
    /// stops for every read.
    pub fn step<M: Module>(
        &mut self,
        model: M,
        grads: GradientsParams,
        config: &TrainConfig,
        step: u64,
    ) -> (M, Tensor<1>) {
        let mut squares = SquaredNorm {
            grads: &grads,
            host: 0.0,
            on_device: None,
            device: model
                .devices()
                .first()
                .cloned()
                .unwrap_or_default()
                .without_autodiff(),
        };
        model.visit(&mut squares);
        let (norm, scale) = squares.finish(config.clip, self.loss_scale(config));
        if config.precision == Precision::F16 {
            let overflowed = !host(norm.clone()).iter().all(|n| n.is_finite());
            self.scaling = self.scaling.after(overflowed);
            if overflowed {
                return (model, norm);
            }
        }
        let rate = config.learning_rate_at(step);
        let t = step as i32;
        let step = Step {
            beta: [config.beta1, config.beta2],
            rate: rate / (1.0 - config.beta1.powi(t)),
            correction: (1.0 - config.beta2.powi(t)).sqrt(),
            keep: 1.0 - rate * config.weight_decay,
            scale,
        };
        let model = model.map(&mut Update {
            grads,
            moments: &mut self.moments,
            step,
        });
        (model, norm)
    }

    /// The state as tensors `m.<id>` and `v.<id>`, and `loss_scale` with its steps.
    pub fn tensors(&self) -> Tensors {
        let mut out = Tensors::new();
        let Scaling { factor, steps } = self.scaling;
        let scaling = NamedTensor {
            shape: vec![2],
            data: vec![factor as f32, steps as f32],
        };
        out.insert(LOSS_SCALE.to_owned(), scaling);
        for (id, pair) in &self.moments {
            for (name, tensor) in ["m", "v"].iter().zip(pair) {
                let data = host(tensor.clone());
                let shape = vec![data.len()];
                out.insert(format!("{name}.{id:016x}"), NamedTensor { shape, data });
            }
        }
        out
    }

    /// Restores the state of [`Self::tensors`] on `device`. Unpaired tensors are left out.
    pub fn from_tensors(mut tensors: Tensors, device: &Device) -> Self {
        let ids: Vec<String> = tensors
            .keys()
            .filter_map(|k| k.strip_prefix("m.").map(str::to_string))
            .collect();
        let mut moments = BTreeMap::new();
        for id in ids {
            let mut take = |prefix: &str| tensors.remove(&format!("{prefix}.{id}"));
            if let (Some(m), Some(v), Ok(key)) =
                (take("m"), take("v"), u64::from_str_radix(&id, 16))
            {
                let put = |t: NamedTensor| {
                    Tensor::<1>::from_data(TensorData::new(t.data, t.shape), device)
                };
                moments.insert(key, [put(m), put(v)]);
            }
        }
        let scaling = match tensors.remove(LOSS_SCALE).as_ref().map(|t| &t.data[..]) {
            Some(&[factor, steps]) => Scaling {
                factor: f64::from(factor),
                steps: steps as u64,
            },
            _ => Scaling::default(),
        };
        Self { moments, scaling }
    }
}

/// Name of the factor of the loss among the tensors of the state.
const LOSS_SCALE: &str = "loss_scale";

/// Sums the squares of all gradients, in double precision where the memory is ours.
struct SquaredNorm<'a> {
    grads: &'a GradientsParams,
    host: f64,
    on_device: Option<Tensor<1>>,
    /// That of the parameters.
    device: Device,
}

impl SquaredNorm<'_> {
    /// The norm, and the factor that limits it to `clip`, where 0 is no limit; both for the
    /// gradient of a loss that was `scaled`.
    fn finish(self, clip: f64, scaled: f64) -> (Tensor<1>, Scale) {
        if let Some(squares) = self.on_device {
            let norm = squares.sqrt() * (1.0 / scaled);
            let limit = |norm: Tensor<1>| (norm.recip() * clip).clamp_max(1.0) * (1.0 / scaled);
            let scale = match clip > 0.0 {
                true => Scale::OnDevice(limit(norm.clone())),
                false => Scale::Number(1.0 / scaled),
            };
            return (norm, scale);
        }
        let norm = self.host.sqrt() / scaled;
        let scale = match clip > 0.0 && norm > clip {
            true => clip / norm / scaled,
            false => 1.0 / scaled,
        };
        let norm = TensorData::new(vec![norm as f32], [1]);
        let norm = Tensor::from_data(norm, &self.device);
        (norm, Scale::Number(scale))
    }
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else {
            return;
        };
        let grad = flatten(grad);
        #[cfg(feature = "flex")]
        if let Some(squares) = flex::squared_norm(&grad) {
            self.host += squares;
            return;
        }
        let squares = grad.square().sum();
        self.on_device = Some(match self.on_device.take() {
            Some(sum) => sum + squares,
            None => squares,
        });
    }
}

struct Update<'a> {
    grads: GradientsParams,
    moments: &'a mut BTreeMap<u64, [Tensor<1>; 2]>,
    step: Step,
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = self.grads.remove::<D>(param.id) else {
            return param;
        };
        let key = param.id.val();
        let shape = grad.dims();
        let grad = flatten(grad);
        let [m, v] = self
            .moments
            .remove(&key)
            .unwrap_or_else(|| [grad.zeros_like(), grad.zeros_like()]);
        let moments = &mut *self.moments;
        let step = &self.step;
        param.map(|old| {
            let weight = flatten(old.inner());
            let (weight, m, v) = update(weight, grad, m, v, step);
            moments.insert(key, [m, v]);
            Tensor::from_inner(weight.reshape(shape)).require_grad()
        })
    }
}

fn flatten<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let n = tensor.shape().num_elements();
    tensor.reshape([n])
}

fn update(
    w: Tensor<1>,
    g: Tensor<1>,
    m: Tensor<1>,
    v: Tensor<1>,
    s: &Step,
) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
    #[cfg(feature = "flex")]
    if let (Scale::Number(scale), true) = (&s.scale, w.device() == Device::flex()) {
        return flex::update([w, g, m, v], s, *scale);
    }
    let g = match &s.scale {
        Scale::Number(scale) => g * *scale,
        Scale::OnDevice(scale) => g * scale.clone(),
    };
    let m = m * s.beta[0] + g.clone() * (1.0 - s.beta[0]);
    let v = v * s.beta[1] + g.square() * (1.0 - s.beta[1]);
    let denominator = v.clone().sqrt() / s.correction + EPSILON;
    (w * s.keep - m.clone() / denominator * s.rate, m, v)
}

#[cfg(feature = "flex")]
mod flex {
    use super::{EPSILON, Step};
    use burn::backend::Flex;
    use burn::backend::flex::{FlexTensor, Layout};
    use burn::tensor::{Bytes, DType, Shape, Tensor};
    use rayon::prelude::*;

    /// Elements per task; fixed, so that sums do not depend on the number of threads.
    const CHUNK: usize = 1 << 16;

    fn primitive(tensor: &Tensor<1>) -> Option<FlexTensor> {
        let tensor = tensor.clone().try_into_primitive::<Flex>().ok()?;
        (tensor.dtype() == DType::F32).then(|| tensor.to_contiguous())
    }

    pub(super) fn squared_norm(x: &Tensor<1>) -> Option<f64> {
        let x = primitive(x)?;
        let x = x.as_slice::<f32>()?;
        let sums: Vec<f64> = x
            .par_chunks(CHUNK)
            .map(|c| c.iter().map(|&v| f64::from(v) * f64::from(v)).sum())
            .collect();
        Some(sums.iter().sum())
    }

    /// Overwrites weights and moments where nothing else holds them.
    pub(super) fn update(
        inputs: [Tensor<1>; 4],
        s: &Step,
        scale: f64,
    ) -> (Tensor<1>, Tensor<1>, Tensor<1>) {
        let [mut w, g, mut m, mut v] = inputs.map(whole);
        let [b1, b2] = s.beta.map(|b| b as f32);
        let [c1, c2] = s.beta.map(|b| (1.0 - b) as f32);
        let (scale, keep, rate) = (scale as f32, s.keep as f32, s.rate as f32);
        let (inverse, epsilon) = ((1.0 / s.correction) as f32, EPSILON as f32);
        let written = [&mut w, &mut m, &mut v].map(|t| t.storage_mut::<f32>());
        let [w_values, m_values, v_values] = written;
        w_values
            .par_chunks_mut(CHUNK)
            .zip(m_values.par_chunks_mut(CHUNK))
            .zip(v_values.par_chunks_mut(CHUNK))
            .zip(g.storage::<f32>().par_chunks(CHUNK))
            .for_each(|(((w, m), v), g)| {
                for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                    let g = g * scale;
                    *m = *m * b1 + g * c1;
                    *v = *v * b2 + g * g * c2;
                    *w = *w * keep - *m / (v.sqrt() * inverse + epsilon) * rate;
                }
            });
        let [w, m, v] = [w, m, v].map(Tensor::from_primitive::<Flex>);
        (w, m, v)
    }

    /// A tensor whose storage holds its values in order, and nothing else.
    fn whole(tensor: Tensor<1>) -> FlexTensor {
        let n = tensor.dims()[0];
        let tensor = tensor.try_into_primitive::<Flex>();
        let tensor = tensor.expect("invariant: a plain tensor of the flex device");
        match tensor.is_contiguous() && tensor.bytes().len() == n * size_of::<f32>() {
            true => tensor,
            false => {
                let values = tensor.to_contiguous();
                let values = values.as_slice::<f32>();
                let values = values.expect("invariant: weights are f32").to_vec();
                let layout = Layout::contiguous(Shape::from(vec![n]));
                FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
            }
        }
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_scaled_less_after_an_overflow_and_the_scale_is_kept() {
        let mut scaling = Scaling::default().after(false);
        assert_eq!((scaling.factor, scaling.steps), (1024.0, 1));
        scaling = scaling.after(true);
        assert_eq!((scaling.factor, scaling.steps), (512.0, 0));
        for _ in 0..GROWTH {
            scaling = scaling.after(false);
        }
        assert_eq!((scaling.factor, scaling.steps), (1024.0, 0));
        let scaling = scaling.after(true).after(false);
        let saved = AdamW {
            scaling,
            ..AdamW::default()
        };
        let restored = AdamW::from_tensors(saved.tensors(), &Device::flex()).scaling;
        assert_eq!((restored.factor, restored.steps), (512.0, 1));
    }
}
