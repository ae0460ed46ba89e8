//! The latent of a cell and its loss.

use super::config::LatentConfig;
use crate::layers::linear::Linear;
use crate::layers::norm::Phase;
use crate::layers::observe::Observer;
use burn::module::Module;
use burn::tensor::activation::{log_softmax, relu, softmax, softplus};
use burn::tensor::{Device, Tensor};

/// Width of the hidden layer of the mixture's posterior, fixed in the original.
const POSTERIOR_HIDDEN: usize = 512;
/// Added to variances and probabilities, as in the original.
const TINY: f64 = 1e-8;

/// Random numbers of one pass, drawn by the caller so that the noise depends on the cell only.
#[derive(Clone, Debug)]
pub struct LatentNoise {
    /// Standard normal, `[cells, latent_dim]`.
    pub normal: Tensor<2>,
    /// Uniform on `[0, 1)`, `[cells, clusters]`; only mixtures use it.
    pub uniform: Option<Tensor<2>>,
}

/// Output of a latent.
#[derive(Clone, Debug)]
pub struct LatentOutput {
    /// The latent, `[cells, latent_dim]`; the mean in evaluation.
    pub z: Tensor<2>,
    /// The weighted latent loss, a scalar; absent where there is none.
    pub loss: Option<Tensor<1>>,
    /// Named parts of the loss before weights and free bits.
    pub terms: Vec<(&'static str, Tensor<1>)>,
}

/// One of the three latents.
#[derive(Module, Debug)]
pub enum Latent {
    /// A linear map.
    Ae(LinearLatent),
    /// Standard normal prior.
    Vae(VaeLatent),
    /// Gaussian-mixture prior.
    Gmvae(GmvaeLatent),
}

/// See [`LatentConfig::Ae`].
#[derive(Module, Debug)]
pub struct LinearLatent {
    lat_2lat: Linear,
}

/// See [`LatentConfig::Vae`].
#[derive(Module, Debug)]
pub struct VaeLatent {
    hid_2mu: Linear,
    hid_2sigma: Linear,
    free_nats: f64,
}

/// See [`LatentConfig::Gmvae`].
#[derive(Module, Debug)]
pub struct GmvaeLatent {
    logits: Linear,
    posterior: Linear,
    mu: Linear,
    var: Linear,
    y_mu: Linear,
    y_var: Linear,
    position_weight: f64,
    cluster_weight: f64,
    free_nats: f64,
}

impl Latent {
    /// A latent from `hidden` to `d` dimensions.
    pub fn new(config: &LatentConfig, hidden: usize, d: usize, device: &Device) -> Self {
        let linear = |i, o| Linear::new(i, o, device);
        match *config {
            LatentConfig::Ae => Self::Ae(LinearLatent {
                lat_2lat: linear(hidden, d),
            }),
            LatentConfig::Vae { free_nats } => Self::Vae(VaeLatent {
                hid_2mu: linear(hidden, d),
                hid_2sigma: linear(hidden, d),
                free_nats,
            }),
            LatentConfig::Gmvae {
                clusters,
                position_weight,
                cluster_weight,
                free_nats,
            } => Self::Gmvae(GmvaeLatent {
                logits: linear(hidden, clusters),
                posterior: linear(hidden + clusters, POSTERIOR_HIDDEN),
                mu: linear(POSTERIOR_HIDDEN, d),
                var: linear(POSTERIOR_HIDDEN, d),
                y_mu: linear(clusters, d),
                y_var: linear(clusters, d),
                position_weight,
                cluster_weight,
                free_nats,
            }),
        }
    }

    /// Maps `[cells, hidden]` to the latent.
    ///
    /// Without `noise` the mean is returned, and a mixture assigns the most probable cluster. With
    /// `noise` in [`Phase::Eval`] a mixture samples a hard cluster, as the original does.
    pub fn forward(
        &self,
        x: Tensor<2>,
        noise: Option<&LatentNoise>,
        kl_weight: f64,
        phase: Phase,
    ) -> LatentOutput {
        self.forward_observed(x, noise, kl_weight, phase, &mut ())
    }

    /// The same, with every intermediate shown to `seen`.
    pub fn forward_observed(
        &self,
        x: Tensor<2>,
        noise: Option<&LatentNoise>,
        kl_weight: f64,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> LatentOutput {
        let output = match self {
            Self::Ae(l) => LatentOutput {
                z: l.lat_2lat.forward(x),
                loss: None,
                terms: Vec::new(),
            },
            Self::Vae(l) => l.forward_observed(x, noise, kl_weight, phase, seen),
            Self::Gmvae(l) => l.forward_observed(x, noise, phase, seen),
        };
        seen.see("latent.out", &output.z);
        output
    }
}

impl VaeLatent {
    fn forward_observed(
        &self,
        x: Tensor<2>,
        noise: Option<&LatentNoise>,
        kl_weight: f64,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> LatentOutput {
        let mu = self.hid_2mu.forward(x.clone());
        let raw = self.hid_2sigma.forward(x);
        seen.see("latent.mu", &mu);
        seen.see("latent.log_var_raw", &raw);
        let (Phase::Train, Some(noise)) = (phase, noise) else {
            return LatentOutput {
                z: mu,
                loss: None,
                terms: Vec::new(),
            };
        };
        let var = raw.clamp(-5.0, 5.0).exp() + 1e-4;
        let z = mu.clone() + var.clone().sqrt() * noise.normal.clone();
        let kl = (var.clone().log() + 1.0 - mu.square() - var)
            .sum_dim(1)
            .mean()
            * -0.5;
        let weighted = kl.clone() * kl_weight;
        // Below the free nats the term is dropped, not clamped: it gets a gradient only above them.
        let active = weighted
            .clone()
            .detach()
            .greater_equal_scalar(self.free_nats)
            .float();
        LatentOutput {
            z,
            loss: Some(weighted * active),
            terms: vec![("kl", kl)],
        }
    }
}

impl GmvaeLatent {
    fn forward_observed(
        &self,
        x: Tensor<2>,
        noise: Option<&LatentNoise>,
        phase: Phase,
        seen: &mut impl Observer,
    ) -> LatentOutput {
        let logits = self.logits.forward(x.clone());
        let prob = softmax(logits.clone(), 1);
        let y = assignment(&logits, noise.and_then(|n| n.uniform.clone()), phase);
        let h = relu(self.posterior.forward(Tensor::cat(vec![x, y.clone()], 1)));
        let mu = self.mu.forward(h.clone());
        let var = softplus(self.var.forward(h), 1.0);
        let y_mu = self.y_mu.forward(y.clone());
        let y_var = softplus(self.y_var.forward(y.clone()), 1.0);
        seen.see("latent.logits", &logits);
        seen.see("latent.prob", &prob);
        seen.see("latent.y", &y);
        seen.see("latent.mu", &mu);
        seen.see("latent.var", &var);
        seen.see("latent.y_mu", &y_mu);
        seen.see("latent.y_var", &y_var);
        let Some(noise) = noise else {
            return LatentOutput {
                z: mu,
                loss: None,
                terms: Vec::new(),
            };
        };
        let z = mu.clone() + (var.clone() + 1e-10).sqrt() * noise.normal.clone();
        seen.see("latent.z", &z);
        let density = |mu: &Tensor<2>, var: &Tensor<2>| {
            let var = var.clone() + TINY;
            let deviation = (z.clone() - mu.clone()).square() / var.clone();
            (deviation + var.log() + (2.0 * std::f64::consts::PI).ln()).sum_dim(1) * -0.5
        };
        let kl_z = (density(&mu, &var) - density(&y_mu, &y_var)).mean();
        let clusters = prob.dims()[1] as f64;
        let kl_y = (prob * log_softmax(logits, 1)).sum_dim(1).mean() + clusters.ln();
        let floored = |t: &Tensor<1>| t.clone().clamp_min(self.free_nats);
        let loss = floored(&kl_z) * self.position_weight + floored(&kl_y) * self.cluster_weight;
        let z = if phase == Phase::Train { z } else { mu };
        LatentOutput {
            z,
            loss: Some(loss),
            terms: vec![("kl_z_raw", kl_z), ("kl_y_raw", kl_y)],
        }
    }
}

/// The cluster of every cell: soft Gumbel-softmax in training, one-hot in evaluation.
fn assignment(logits: &Tensor<2>, uniform: Option<Tensor<2>>, phase: Phase) -> Tensor<2> {
    let perturbed = match uniform {
        Some(u) => {
            let gumbel = ((u + 1e-20).log().neg() + 1e-20).log().neg();
            logits.clone() + gumbel
        }
        None => logits.clone(),
    };
    let soft = softmax(perturbed.clone(), 1);
    match phase {
        Phase::Train => soft,
        Phase::Eval => {
            let [_, clusters] = logits.dims();
            let index = perturbed.argmax(1).squeeze_dim::<1>(1);
            index.one_hot::<2>(clusters).float()
        }
    }
}
