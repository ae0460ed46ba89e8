//! Attention between genes of a trained model.

use crate::error::Result;
use crate::inputs::corpus::Corpus;
use burn::tensor::Device;
use sc_models::scprint::network::Averages;
use sc_models::weights::Tensors;

/// Queries and keys averaged over the cells of a corpus, and their genes.
#[derive(Clone, Debug)]
pub struct AverageAttention {
    /// Averages; their genes are indexed as in `genes`.
    pub averages: Averages,
    /// For every gene of the averages its index in the vocabulary.
    pub genes: Vec<usize>,
}

/// A model in which genes attend to genes.
pub trait Attention: Send + Sync {
    /// Averages attention over the cells of `corpus`.
    ///
    /// # Errors
    /// Weights that do not fit, or unreadable data.
    fn average(
        &self,
        weights: Tensors,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<AverageAttention>;
}
