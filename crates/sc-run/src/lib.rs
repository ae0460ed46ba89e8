//! Doing one run of an experiment: [`execute`](execute::execute) trains, embeds and evaluates a
//! [`sc_experiment::run::Run`]; [`evaluate`] evaluates the embeddings in a file.

pub mod denoise;
pub mod error;
pub mod evaluate;
pub mod execute;
pub mod finetune;
pub mod gene_vectors;
pub mod map;
pub mod memory;
pub mod network;
pub mod overview;
pub mod perturb;
pub mod provenance;
pub mod reference;

pub use error::{Result, RunError};
