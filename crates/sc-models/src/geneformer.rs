//! Geneformer (Theodoris et al., Nature 2023): a cell is a sequence of its genes by rank, the
//! input of BERT.
//!
//! Word, position and token-type embeddings are summed and normalised; post-norm blocks follow; a head
//! with the transposed word table predicts masked genes. The embedding of a cell is the mean over
//! its genes of the output of a block, in the paper's zero-shot use the second to last. Checked
//! against `BertForMaskedLM` of Hugging Face's transformers with the same weights.

mod config;
mod model;

pub use config::{Activation, GeneformerConfig};
pub use model::{Geneformer, INIT, NAMES, Tokens};

#[cfg(all(test, feature = "flex"))]
mod tests;
