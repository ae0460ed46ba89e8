//! SATURN (Rosen et al., Nature Methods 2024): cells of several species in the space of macrogenes,
//! groups of genes whose proteins are alike.
//!
//! Two networks: [`Saturn`] is an autoencoder that learns how much every gene belongs to every
//! macrogene, [`SaturnMetric`] keeps its encoder and pulls corresponding cells of different species
//! together.
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
