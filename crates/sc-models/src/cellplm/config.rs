//! Hyperparameters of a CellPLM.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Hyperparameters of a [`CellPlm`](super::CellPlm).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellPlmConfig {
    /// Genes of the vocabulary, rows of the gene embedding.
    #[serde(default)]
    pub genes: usize,
    /// Width of the encoder.
    #[serde(default = "hidden")]
    pub hidden: usize,
    /// Flowformer layers.
    #[serde(default = "layers")]
    pub layers: usize,
    /// Attention heads; divides `hidden`.
    #[serde(default = "heads")]
    pub heads: usize,
    /// Norm of the embedder and the decoder.
    #[serde(default)]
    pub norm: NormConfig,
    /// Dropout, everywhere but inside the attention.
    #[serde(default = "dropout")]
    pub dropout: f64,
    /// Dimension of the latent, which is the embedding.
    #[serde(default = "latent_dim")]
    pub latent_dim: usize,
    /// The latent.
    #[serde(default)]
    pub latent: LatentConfig,
    /// Head on the latent.
    #[serde(default)]
    pub head: HeadConfig,
}

fn hidden() -> usize {
    1024
}
fn layers() -> usize {
    4
}
fn heads() -> usize {
    8
}
fn dropout() -> f64 {
    0.2
}
fn latent_dim() -> usize {
    512
}

/// Norm of a cell's embedding in the embedder and the decoder; the encoder always has layer norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormConfig {
    /// Group norm of four groups (the published checkpoints).
    #[default]
    Group,
    /// Layer norm.
    Layer,
}

/// The latent and its loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LatentConfig {
    /// A linear map without a loss.
    Ae,
    /// Gaussian posterior against a standard normal prior.
    Vae {
        /// The KL term is dropped below this value.
        free_nats: f64,
    },
    /// Gaussian mixture: soft cluster assignment, posterior and prior given the cluster.
    Gmvae {
        /// Number of clusters.
        clusters: usize,
        /// Weight of the KL of the position.
        position_weight: f64,
        /// Weight of the KL of the cluster.
        cluster_weight: f64,
        /// Both KL terms count at least this much (and get a gradient only above it).
        ///
        /// The published 5 exceeds ln 16, so there the cluster term never trains.
        free_nats: f64,
    },
}

impl Default for LatentConfig {
    fn default() -> Self {
        Self::Gmvae {
            clusters: 16,
            position_weight: 5.0,
            cluster_weight: 5.0,
            free_nats: 5.0,
        }
    }
}

/// Targets of a negative-binomial decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// All genes plus the masked entries, for cells with masked entries.
    #[default]
    Denoise,
    /// The measured genes, rescaled to the cell's total over them.
    Impute,
}

/// Head on the latent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum HeadConfig {
    /// None: embeddings only.
    Embed,
    /// A negative-binomial decoder over the vocabulary.
    Decode {
        /// Width of the decoder.
        hidden: usize,
        /// Layers, the output layer included.
        layers: usize,
        /// Levels of the first covariate (sequencing batch); 0 for none.
        batches: usize,
        /// Levels of the second covariate (dataset); 0 for none.
        datasets: usize,
        /// Its targets.
        #[serde(default)]
        objective: Objective,
    },
    /// A plain multilayer perceptron: class logits, or a regression.
    Mlp {
        /// Outputs (classes).
        outputs: usize,
        /// Width of hidden layers.
        hidden: usize,
        /// Layers, the output layer included.
        layers: usize,
    },
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self::Decode {
            hidden: 1024,
            layers: 2,
            batches: 0,
            datasets: 0,
            objective: Objective::Denoise,
        }
    }
}

impl CellPlmConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`ModelError::Config`] names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "cellplm: network.";
        ranges::sizes(OF, &[("genes", self.genes)])?;
        ranges::widths(
            OF,
            &[("hidden", self.hidden), ("latent_dim", self.latent_dim)],
        )?;
        ranges::layers(OF, &[("layers", self.layers)])?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        ranges::divides(OF, ("hidden", self.hidden), self.heads)?;
        self.check_latent(OF)?;
        let head = self.check_head(OF)?;
        let groups = if self.norm == NormConfig::Group { 4 } else { 1 };
        let widths = [("hidden", Some(self.hidden)), ("head.hidden", head)];
        for (name, d) in widths {
            if let Some(d) = d.filter(|d| !d.is_multiple_of(groups)) {
                return Err(ModelError::Config(format!(
                    "{OF}{name} = {d}; its group norm needs a multiple of 4"
                )));
            }
        }
        Ok(())
    }

    fn check_latent(&self, of: &str) -> Result<()> {
        match self.latent {
            LatentConfig::Ae => Ok(()),
            LatentConfig::Vae { free_nats } => {
                ranges::not_negative(of, &[("latent.free_nats", free_nats)])
            }
            LatentConfig::Gmvae {
                clusters,
                position_weight,
                cluster_weight,
                free_nats,
            } => {
                ranges::sizes(of, &[("latent.clusters", clusters)])?;
                if clusters == 1 {
                    return Err(ModelError::Config(format!(
                        "{of}latent.clusters = 1; must be at least 2, one cluster is latent.kind = 'vae'"
                    )));
                }
                ranges::not_negative(
                    of,
                    &[
                        ("latent.position_weight", position_weight),
                        ("latent.cluster_weight", cluster_weight),
                        ("latent.free_nats", free_nats),
                    ],
                )
            }
        }
    }

    /// Checks the head; returns the width of its hidden layers, where it has any.
    fn check_head(&self, of: &str) -> Result<Option<usize>> {
        let check = |hidden: usize, layers: usize| {
            ranges::widths(of, &[("head.hidden", hidden)])?;
            ranges::layers(of, &[("head.layers", layers)])?;
            Ok((layers > 1).then_some(hidden))
        };
        match self.head {
            HeadConfig::Embed => Ok(None),
            HeadConfig::Decode {
                hidden,
                layers,
                batches,
                datasets,
                ..
            } => {
                ranges::counts(
                    of,
                    &[("head.batches", batches), ("head.datasets", datasets)],
                )?;
                check(hidden, layers)
            }
            HeadConfig::Mlp {
                outputs,
                hidden,
                layers,
            } => {
                ranges::widths(of, &[("head.outputs", outputs)])?;
                check(hidden, layers)?;
                // Its layers have no group norm.
                Ok(None)
            }
        }
    }
}
