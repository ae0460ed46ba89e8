//! What the genes of a trained model attend to.

use sc_models::scprint::network::Averages;

/// Queries and keys averaged over the cells of a corpus, and which genes they are of.
#[derive(Clone, Debug)]
pub struct AverageAttention {
    /// Averages; their genes are numbered as in `genes`.
    pub averages: Averages,
    /// For every gene of the averages its place in the vocabulary.
    pub genes: Vec<usize>,
}
