//! Hyperparameters of the network.

use crate::error::{ModelError, Result};
use crate::ranges;
use serde::{Deserialize, Serialize};

/// Transformation of counts to input values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// `x / Σ x` over the genes of the cell's context.
    #[default]
    Sum,
    /// `log₂(1 + x)`.
    Log,
}

/// Whether genes have genomic positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Positions {
    /// They have not.
    None,
    /// Sinusoidal encodings of the position; the table is part of the weights.
    #[default]
    Genome,
}

/// Whether gene embeddings are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneEmbeddings {
    /// Fixed to protein embeddings.
    #[default]
    Frozen,
    /// Trained.
    Learned,
}

/// Predicted distribution of a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Likelihood {
    /// A zero-inflated negative binomial.
    #[default]
    Zinb,
    /// A mean, for a squared error.
    Mean,
}

/// Whether counts are also predicted from the cell embedding alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellDecoder {
    /// They are not.
    #[default]
    None,
    /// By inner products with a query of the gene.
    InnerProduct,
}

/// A class of labels, with its own cell token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Name; it becomes part of tensor names.
    pub name: String,
    /// Number of leaf labels.
    pub leaves: usize,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScPrintConfig {
    /// Genes of the vocabulary; set from the data.
    pub genes: usize,
    /// Dimension of a token.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads; divides the width.
    pub heads: usize,
    /// Dropout of all layers.
    pub dropout: f64,
    /// Transformation of counts to input values.
    pub normalisation: Normalisation,
    /// Number of linear layers that encode a value.
    pub value_layers: usize,
    /// Whether genes have genomic positions.
    pub positions: Positions,
    /// Whether gene embeddings are trained.
    pub gene_embeddings: GeneEmbeddings,
    /// Classes of labels, in the order of their tokens; set from the data.
    pub classes: Vec<Class>,
    /// Widths of the hidden layers of the class decoders.
    pub class_layers: Vec<usize>,
    /// Predicted distribution of a count.
    pub likelihood: Likelihood,
    /// Whether counts are also predicted from the cell embedding alone.
    pub cell_decoder: CellDecoder,
    /// Levels of a batch that an adversary predicts; 0 for no adversary.
    pub adversary_batches: usize,
}

impl Default for ScPrintConfig {
    fn default() -> Self {
        Self {
            genes: 0,
            width: 256,
            layers: 8,
            heads: 4,
            dropout: 0.1,
            normalisation: Normalisation::Sum,
            value_layers: 2,
            positions: Positions::Genome,
            gene_embeddings: GeneEmbeddings::Frozen,
            classes: Vec::new(),
            class_layers: vec![256],
            likelihood: Likelihood::Zinb,
            cell_decoder: CellDecoder::None,
            adversary_batches: 0,
        }
    }
}

impl ScPrintConfig {
    /// Cell tokens: a base token, the depth, and one per class.
    pub fn cell_tokens(&self) -> usize {
        self.classes.len() + 2
    }

    /// Checks whether the network can be built.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the name of the setting.
    pub fn check(&self) -> Result<()> {
        const OF: &str = "scprint: network.";
        let refuse = |message: String| Err(ModelError::Config(format!("{OF}{message}")));
        ranges::sizes(OF, &[("genes", self.genes)])?;
        ranges::widths(OF, &[("width", self.width)])?;
        ranges::layers(
            OF,
            &[("layers", self.layers), ("value_layers", self.value_layers)],
        )?;
        ranges::divides(OF, ("width", self.width), self.heads)?;
        ranges::below_one(OF, &[("dropout", self.dropout)])?;
        let widths: Vec<(&str, usize)> = (self.class_layers.iter())
            .map(|&w| ("class_layers", w))
            .collect();
        ranges::widths(OF, &widths)?;
        ranges::counts(OF, &[("adversary_batches", self.adversary_batches)])?;
        if self.positions == Positions::Genome && !self.width.is_multiple_of(2) {
            return refuse(format!(
                "width = {}; must be even for sinusoidal positions",
                self.width
            ));
        }
        for (i, class) in self.classes.iter().enumerate() {
            if class.name.is_empty() || class.name.contains('.') {
                return refuse(format!(
                    "a class is named '{}': the name becomes part of tensor names, so it must not \
                     be empty or contain a dot",
                    class.name
                ));
            }
            if self.classes[..i].iter().any(|c| c.name == class.name) {
                return refuse(format!("class '{}' is given twice", class.name));
            }
            if class.leaves == 0 {
                return refuse(format!("class '{}' has no labels", class.name));
            }
        }
        Ok(())
    }
}
