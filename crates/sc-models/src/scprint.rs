//! scPRINT (Kalfon et al., Nature Communications 2025), first generation: a bidirectional transformer
//! over gene tokens and cell tokens that denoises counts, classifies cells, and whose attention is
//! interpreted as a gene network.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md C.

mod config;
mod heads;
mod inputs;
mod model;
pub mod network;
mod stack;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod transformer;

pub use config::{
    CellDecoder, Class, GeneEmbeddings, Likelihood, Normalisation, Positions, ScPrintConfig,
};
pub use heads::Prediction;
pub use inputs::{genome_positions, pool_embeddings};
pub use model::{INIT, NAMES, Output, ScPrint, Tokens};
