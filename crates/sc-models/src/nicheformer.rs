//! Nicheformer (Tejada-Lapuerta et al., Nature Methods 2025): a cell is its genes by rank, after
//! tokens for the organism, the assay and the modality.
//!
//! A post-norm transformer with learned positions predicts masked tokens; heads on the pooled output
//! predict what surrounds the cell. Coordinates never enter, they only make labels. Source:
//! reference/saturn-uce-scprint-nicheformer.md part D.

mod config;
mod heads;
mod model;

pub use config::{Combine, Context, HeadConfig, NicheformerConfig, Pooling};
pub use heads::{NicheConfig, NicheHead};
pub use model::{INIT, NAMES, Nicheformer, PAD, Tokens};

#[cfg(all(test, feature = "flex"))]
mod tests;
