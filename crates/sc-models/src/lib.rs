//! Single-cell foundation models as burn modules.
//!
//! Models are plain structs: the backend is chosen by the [`device`], not by a type parameter.
//! Every architecture has its own module, keeps the published tensor names in its weight files
//! ([`weights`]), draws its initial weights from named streams ([`init`]), and takes all other
//! random numbers as inputs, so a forward pass is a pure function.
//!
//! Weights are the only file format here; counts arrive as [`sc_data::CsrMatrix`].

pub mod annotator;
pub mod cellplm;
pub mod composed;
pub mod configured;
pub mod device;
pub mod draws;
pub mod error;
pub mod geneformer;
pub mod hyena;
pub mod init;
pub mod layers;
pub mod nicheformer;
pub mod operations;
pub mod perceptron;
pub mod precision;
pub mod ranges;
pub mod saturn;
pub mod scclip;
pub mod scgpt;
pub mod scprint;
#[cfg(all(test, feature = "flex"))]
mod testing;
pub mod uce;
pub mod vae;
pub mod weights;

pub use error::{ModelError, Result};
