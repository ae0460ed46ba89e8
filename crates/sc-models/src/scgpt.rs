//! scGPT (Cui et al., Nature Methods 2024) and its ancestor scFormer: genes are the tokens of a
//! cell, values are binned expression.
//!
//! One post-norm transformer over `LN(E[gene]) + f(value)` covers both; scFormer is the
//! configuration with a batch norm on the summed embeddings. Source:
//! reference/scformer-scgpt-cellplm.md parts A and B.

mod config;
mod embedding;
mod generative;
mod heads;
mod known;
mod model;
mod perturb;

pub use config::{CellEmbedding, InputNorm, MvcStyle, ScGptConfig, Scale, ValueEncoderConfig};
pub use generative::{Generated, Targets};
pub use heads::Prediction;
pub use model::{INIT, NAMES, Output, Outputs, SPECIAL_MODALITIES, ScGpt, Tokens};
pub use perturb::{NOT_PERTURBED, PERTURB_NAMES, Perturb};

#[cfg(all(test, feature = "flex"))]
mod tests;
