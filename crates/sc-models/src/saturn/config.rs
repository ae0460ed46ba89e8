//! Hyperparameters of the network.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// One species: its name in the weight file and the number of its genes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Species {
    /// Name; it becomes part of tensor names.
    pub name: String,
    /// Genes of this species. The genes of all species are concatenated in this order.
    pub genes: usize,
}

/// Output of the encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latent {
    /// A vector: the output of a second block.
    #[default]
    Point,
    /// Mean and variance of a normal distribution.
    Normal,
}

/// When dropout of macrogenes is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacrogeneDropout {
    /// In training only.
    #[default]
    Training,
    /// Always, as published: the output in evaluation is random too.
    Always,
}

/// Species and batch covariates of the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conditioning {
    /// The same for every cell, as published: the code always sets the first column of each.
    #[default]
    Constant,
    /// The cell's own species and batch.
    Own,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SaturnConfig {
    /// Species in the order of their genes; set from the data.
    pub species: Vec<Species>,
    /// Macrogenes.
    pub macrogenes: usize,
    /// Width of the hidden layers.
    pub hidden: usize,
    /// Dimension of the embedding.
    pub embedding: usize,
    /// Output of the encoder.
    pub latent: Latent,
    /// Sequencing batches the decoder is conditioned on; 0 for none.
    pub batches: usize,
    /// Covariates of the decoder.
    pub conditioning: Conditioning,
    /// Dropout.
    pub dropout: f64,
    /// Dropout of the layer of macrogene scales; it is separate in the original.
    pub scale_dropout: f64,
    /// When dropout of macrogenes is active.
    pub macrogene_dropout: MacrogeneDropout,
}

impl Default for SaturnConfig {
    fn default() -> Self {
        Self {
            species: Vec::new(),
            macrogenes: 2000,
            hidden: 256,
            embedding: 256,
            latent: Latent::Point,
            batches: 0,
            conditioning: Conditioning::Constant,
            dropout: 0.1,
            scale_dropout: 0.1,
            macrogene_dropout: MacrogeneDropout::Training,
        }
    }
}

impl SaturnConfig {
    /// Genes of all species.
    pub fn genes(&self) -> usize {
        self.species.iter().map(|s| s.genes).sum()
    }

    /// Index of the first gene of the species at `index` among those of all.
    pub fn first_gene(&self, index: usize) -> usize {
        self.species.iter().take(index).map(|s| s.genes).sum()
    }

    /// Checks whether the network can be built.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the name of the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(ModelError::Config(message));
        const OF: &str = "saturn: network.";
        ranges::sizes(
            OF,
            &[
                ("macrogenes", self.macrogenes),
                ("species", self.species.len()),
            ],
        )?;
        ranges::widths(
            OF,
            &[("hidden", self.hidden), ("embedding", self.embedding)],
        )?;
        ranges::counts(OF, &[("batches", self.batches)])?;
        for (i, species) in self.species.iter().enumerate() {
            if species.name.is_empty() || species.name.contains('.') {
                return refuse(format!(
                    "saturn: a species is named '{}': the name becomes part of tensor names, so \
                     it must not be empty or contain a dot",
                    species.name
                ));
            }
            if self.species[..i].iter().any(|s| s.name == species.name) {
                return refuse(format!("saturn: species '{}' is given twice", species.name));
            }
            if species.genes == 0 {
                return refuse(format!(
                    "saturn: species '{}' has no genes with a protein embedding",
                    species.name
                ));
            }
        }
        ranges::below_one(
            OF,
            &[
                ("dropout", self.dropout),
                ("scale_dropout", self.scale_dropout),
            ],
        )
    }
}
