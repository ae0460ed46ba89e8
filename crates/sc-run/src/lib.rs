//! Doing one run of an experiment: [`execute`](execute::execute) trains, embeds and judges what a
//! [`sc_experiment::run::Run`] says; [`evaluate`] judges the embeddings that a file holds already.

pub mod error;
pub mod evaluate;
pub mod execute;
pub mod memory;
pub mod network;
pub mod provenance;
pub mod reference;

pub use error::{Result, RunError};
