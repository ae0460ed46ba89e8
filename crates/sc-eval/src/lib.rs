//! Evaluation of cell embeddings with error bars.
//!
//! No burn and no training here: embeddings are plain arrays `[cells, dims]`, labels are plain
//! codes, and everything is evaluated by the same metrics, probes and intervals, whatever produced
//! it.
//!
//! [`protocol`] runs everything; [`metrics`], [`probe`], [`baselines`] and [`halves`] are its
//! parts and can be used alone.

pub mod baselines;
pub mod benchmark;
pub mod categories;
pub mod cluster;
pub mod controls;
mod eigen;
pub mod error;
pub mod exposure;
pub mod gene_sets;
pub mod graph;
pub mod grn;
pub mod halves;
pub mod layout;
pub mod metrics;
pub mod neighbors;
mod pairs;
pub mod perturbation;
pub mod probe;
pub mod protocol;
pub mod report;
pub mod results;
pub mod scib;
pub mod transfer;

pub use categories::Categories;
pub use error::{EvalError, Outcome, Undefined};
