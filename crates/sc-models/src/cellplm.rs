//! CellPLM (Wen et al., ICLR 2024): cells are the tokens, a sample is the sentence.
//!
//! Counts go through a sparse gene-embedding sum, a linear-attention encoder over the cells of a
//! sentence, a VAE or Gaussian-mixture latent, and a negative-binomial decoder with batch
//! covariates. Kept as published: no depth normalisation, no positional information (the released
//! code adds zero), one-sample KL terms under free bits. Source:
//! reference/scformer-scgpt-cellplm.md part C.

mod config;
mod decoder;
mod embedder;
mod latent;
mod model;
mod norm;

pub use config::{CellPlmConfig, HeadConfig, LatentConfig, NormConfig, Objective};
pub use decoder::{Covariates, Decoder, NegativeBinomial};
pub use latent::{Latent, LatentNoise, LatentOutput};
pub use model::{CellPlm, INIT, NAMES, Output, Sentence};
