//! UCE (Rosen et al., bioRxiv 2023): a cell is a sentence of its genes, sampled by expression, in
//! the order of the chromosomes; a gene is its protein's embedding, so that any species can be
//! embedded.
//!
//! Source: reference/saturn-uce-scprint-nicheformer.md part B.

mod blocks;
mod config;
mod model;
mod state0;

pub use config::{PaddingMode, UceConfig};
pub use model::{INIT, NAMES, Sentences, Uce};
pub use state0::{STATE0_NAMES, State0, State0Config};

#[cfg(all(test, feature = "flex"))]
mod tests;
