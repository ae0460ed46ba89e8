//! SATURN (Rosen et al., Nature Methods 2024): cells of several species in the space of macrogenes,
//! groups of genes with similar proteins.
//!
//! Two networks: [`Saturn`] is an autoencoder that learns the weight of every gene in every
//! macrogene, [`SaturnMetric`] keeps its encoder and aligns corresponding cells of different
//! species.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md A.

mod config;
mod metric;
mod model;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use config::{Conditioning, Latent, MacrogeneDropout, SaturnConfig, Species};
pub use metric::SaturnMetric;
pub use model::{Cells, INIT, NAMES, Output, Saturn};
