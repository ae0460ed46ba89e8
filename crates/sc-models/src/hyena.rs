//! Hyena operators (Poli et al., ICML 2023) and scHyena (Oh et al. 2023), which applies them to
//! whole transcriptomes.
//!
//! A Hyena operator has a filter as long as the sequence for every channel and applies it with fast
//! Fourier transforms, so its cost grows with `L log L`. scHyena has no public code; the model here
//! follows the first author's later code and CellPainTR's, with the faults of both corrected.
//! Source: reference/schyena-scclip-evaluation.md A2.

mod config;
#[cfg(feature = "flex")]
mod fft;
mod filter;
mod longconv;
mod model;
mod operator;
mod shortconv;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub use config::{Activation, Direction, FilterConfig, OperatorConfig, ScHyenaConfig, Training};
pub use filter::HyenaFilter;
pub use longconv::long_conv;
pub use model::{Encoded, INIT, NAMES, Profiles, ScHyena};
pub use operator::{HyenaOperator, Projections};
pub use shortconv::ShortFilter;
