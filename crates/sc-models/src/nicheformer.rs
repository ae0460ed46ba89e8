//! Nicheformer (Tejada-Lapuerta et al., Nature Methods 2025): a cell is a sequence of its genes by
//! rank, after tokens for the organism, the assay and the modality.
//!
//! A post-norm transformer with learned positions predicts masked tokens; heads on the pooled output
//! predict the spatial neighbourhood of the cell. Coordinates are never inputs, only labels.
//! Source: reference/saturn-uce-scprint-nicheformer.md part D.

mod config;
mod heads;
mod model;

pub use config::{Combine, Context, HeadConfig, NicheformerConfig, Pooling};
pub use heads::{NicheConfig, NicheHead};
pub use model::{INIT, NAMES, Nicheformer, PAD, Tokens};

#[cfg(all(test, feature = "flex"))]
mod tests;
