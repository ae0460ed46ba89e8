//! scCLIP (Xiong, Chen, Kellis, NeurIPS 2023 AI4Science): RNA and open chromatin of a cell are
//! embedded in one space, by contrast with the other cells of the minibatch.
//!
//! The authors publish no licence; this is written from a description of what their code computes.
//! Source: reference/schyena-scclip-evaluation.md A1.

mod config;
mod model;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod tower;

pub use config::{ScClipConfig, Temperature, TowerConfig};
pub use model::{INIT, NAMES, ScClip};
pub use tower::{Modality, Tower};
